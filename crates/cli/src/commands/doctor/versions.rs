//! What runs here.

use super::{Finding, Patient};

pub(super) fn check(_: &Patient) -> Vec<Finding> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let (system, machine) = (std::env::consts::OS, std::env::consts::ARCH);
    vec![Finding::ok(format!(
        "rlhf-audit {}, {system} {}, {machine}",
        env!("CARGO_PKG_VERSION"),
        kernel.trim(),
    ))]
}

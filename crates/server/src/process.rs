//! What the system says of this process, as proc(5) has it.

use std::fs;

/// Clock ticks a second, which Linux has fixed for programs.
const TICKS: f64 = 100.0;

/// This process, as far as the system says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Process {
    /// Bytes of memory that are resident.
    pub(crate) memory: u64,
    /// Seconds of processor time, all threads together.
    pub(crate) cpu: f64,
    /// Threads.
    pub(crate) threads: u64,
    /// Open file descriptors.
    pub(crate) descriptors: u64,
    /// The most it may have open.
    pub(crate) max_descriptors: u64,
}

impl Process {
    /// This process now.
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().collect())
            .unwrap_or_default();
        let number = |at: usize| -> u64 {
            let field = fields.get(at).and_then(|field| field.parse().ok());
            field.unwrap_or_default()
        };
        let descriptors = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Self {
            memory: resident_memory().unwrap_or(0),
            // utime and stime are the 14th and 15th field of all, the 12th and 13th behind the name.
            cpu: (number(11) + number(12)) as f64 / TICKS,
            threads: number(17),
            descriptors: descriptors as u64,
            max_descriptors: max_descriptors().unwrap_or(0),
        }
    }
}

/// Resident bytes of this process, where the system says so in proc(5).
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

fn max_descriptors() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_has_memory_threads_and_files() {
        let process = Process::now();
        assert!(process.memory > 100_000, "{process:?}");
        assert!(process.threads >= 1, "{process:?}");
        assert!(process.descriptors >= 3, "{process:?}");
        assert!(
            process.max_descriptors >= process.descriptors,
            "{process:?}"
        );
    }
}

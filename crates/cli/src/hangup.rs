//! SIGHUP: read the configuration again.

use tokio::signal::unix::{SignalKind, signal};

use crate::Cli;
use crate::logging;
use crate::outcome::Failure;
use crate::settings::{Refused, parse};

/// From now on SIGHUP reads file and environment again: the log follows at once, and what else may change while the
/// program runs is `apply`'s. What cannot be read changes nothing.
pub(crate) fn on_hangup(apply: impl Fn(&Cli) + Send + 'static) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::unavailable)?;
    let mut hangups = {
        let _inside = runtime.enter();
        signal(SignalKind::hangup()).map_err(Failure::unavailable)?
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            while hangups.recv().await.is_some() {
                match parse() {
                    Ok(cli) => {
                        logging::configure(cli.log.clone());
                        apply(&cli);
                        tracing::info!("the configuration was read again");
                    }
                    Err(Refused::Settings(error)) => {
                        tracing::error!(%error, "the configuration stays as it was");
                    }
                    Err(Refused::Usage(error)) => {
                        let error = error.to_string();
                        let error = error.lines().next().unwrap_or_default();
                        tracing::error!(error, "the configuration stays as it was");
                    }
                }
            }
        });
    });
    Ok(())
}

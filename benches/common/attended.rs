//! A run that ends when it is told to, or when it takes far too long.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::fault::{During as _, Fault};

/// Runs `work` on this thread. Whichever ends first drops it, and with it every child.
pub(crate) fn run<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .during("starting a runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).during("waiting for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).during("waiting for signals")?;
        tokio::select! {
            results = work => results,
            _ = terminate.recv() => Err(Fault::new("SIGTERM")),
            _ = interrupt.recv() => Err(Fault::new("SIGINT")),
            () = tokio::time::sleep(timeout) => Err(Fault::new("it took far too long")),
        }
    })
}

//! The bare SDK, which sends by itself: how it is started and measured.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::args::Role;
use crate::common::child::Actor;
use crate::common::fault::{During as _, Fault};
use crate::common::ledger::Ledger;
use crate::common::measure::Sample;
use crate::common::process::Cpu;

/// Starts it, sending to `sink`, and waits until it has its records.
pub(crate) async fn start(sink: SocketAddr, record_bytes: usize) -> Result<Actor, Fault> {
    let args = [format!("--sink={sink}"), format!("--record-bytes={record_bytes}")];
    let (actor, _ready) = Actor::start(Role::BareSdk.as_str(), &args).await?;
    Ok(actor)
}

/// Lets the bare SDK send for `time`, at so many records a second or, at 0, as fast as it can, and says
/// what it did and used.
pub(crate) async fn measure(
    sdk: &mut Actor,
    time: Duration,
    rate: u32,
    ledger: &mut Ledger,
) -> Result<Sample, Fault> {
    let before = Cpu::of(sdk.pid())?;
    let begin = Instant::now();
    let sent = sdk.ask(&format!("{} {rate}", time.as_millis())).await?;
    let elapsed = begin.elapsed();
    let spent = Cpu::of(sdk.pid())?.since(&before);
    let sent = sent.parse().during("what the bare SDK has sent")?;
    ledger.settle(sent).await?;
    Ok(Sample::new(sent, elapsed, &spent))
}

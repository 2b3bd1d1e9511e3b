//! What this program is when the benchmark starts itself. A role ends when its standard input does.

mod bare_sdk;
mod bare_server;

use crate::args::{Args, Role};
use crate::common::fault::{During as _, Fault};
use crate::common::roles::{orders, sink};

/// Plays a role until the owner is gone.
pub(crate) fn play(role: Role, args: &Args) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .during("starting a runtime")?;
    let orders = orders();
    match role {
        Role::BareServer => runtime.block_on(bare_server::serve(orders)),
        Role::Sink => runtime.block_on(sink::serve(orders)),
        Role::BareSdk => {
            let sink = args.sink.ok_or_else(|| Fault::new("bare-sdk needs a sink"))?;
            runtime.block_on(bare_sdk::send(sink, args.record_bytes, orders))
        }
    }
}

//! What this program is when the benchmark starts itself. A role ends when its standard input does.

mod bare_sdk;
mod bare_server;
mod http1;
mod sink;

use std::io::{BufRead as _, stdin};
use std::thread;

use tokio::sync::mpsc;

use crate::args::{Args, Role};
use crate::fault::{During as _, Fault};

/// What the owner says, line by line. It ends when the owner is gone.
type Orders = mpsc::Receiver<String>;

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

fn orders() -> Orders {
    let (orders_in, orders_out) = mpsc::channel(1);
    let _detached = thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            if orders_in.blocking_send(line).is_err() {
                return;
            }
        }
    });
    orders_out
}

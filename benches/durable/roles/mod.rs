//! What this program is when the benchmark starts itself. A role ends when its standard input does.

mod appender;
mod plain_writer;

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
        Role::Sink => runtime.block_on(sink::serve(orders)),
        Role::PlainWriter => {
            let folder = args.folder.as_ref().ok_or_else(|| Fault::new("no folder"))?;
            runtime.block_on(plain_writer::serve(folder, orders))
        }
    }
}

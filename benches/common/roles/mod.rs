//! The roles that both benchmarks have, and what every role needs. A role ends when its standard input does.

pub(crate) mod http1;
mod scan;
pub(crate) mod sink;

use std::io::{BufRead as _, stdin};
use std::thread;

use tokio::sync::mpsc;

/// What the owner says, line by line. It ends when the owner is gone.
pub(crate) type Orders = mpsc::Receiver<String>;

/// Listens to the owner.
pub(crate) fn orders() -> Orders {
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

//! `probe`: asks the admin listener how things are, for those who can only run a command.
//!
//! One GET: a probe runs every few seconds, and has to be small.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::Preset;

use super::args;
use super::exit::{Exit, Failure};
use super::http::{Answer, get, in_one_line, reachable};

pub(super) fn run(probe: &args::Probe) -> Result<(), Failure> {
    let (path, well) = if probe.question.live { ("/livez", "live") } else { ("/readyz", "ready") };
    let address = match probe.address {
        Some(address) => address,
        None => configured(&probe.config)?,
    };
    let deadline = Instant::now() + Duration::from_millis(probe.timeout_ms);
    match get(reachable(address), path, deadline) {
        Ok(Answer { status: 200..=299, .. }) => super::print(&format!("{well}\n")),
        Ok(Answer { status, body }) => {
            let reason = in_one_line(&body);
            Err(Failure::new(Exit::Unwell, format!("not {well}: {status} {reason}")))
        }
        Err(why) => {
            Err(Failure::new(Exit::Unwell, format!("not {well}: no answer from {address}: {why}")))
        }
    }
}

fn configured(file: &args::ConfigFile) -> Result<SocketAddr, Failure> {
    let path = file.path.as_deref();
    // What is asked may run with `--embedded`, where less has to be configured.
    let loaded = super::load(path, Preset::Service)
        .or_else(|failure| super::load(path, Preset::Embedded).map_err(|_| failure))?;
    let admin = loaded.config.admin;
    Ok(admin.health_listen.unwrap_or(admin.listen))
}

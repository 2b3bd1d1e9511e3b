//! `check`: what a configuration means, in a few lines.

use std::fmt::Write as _;

use crate::app;
use crate::config::Preset;
use crate::encryption::keys;
use crate::forward;
use crate::ingest::StreamSettings;
use crate::record::StreamName;
use crate::spool::{Provider, Volume};

use super::args;
use super::disk;
use super::exit::{Exit, Failure};

/// How many streams are listed one by one.
const STREAMS_LISTED_MAX: usize = 20;

/// The stream that a data key is made for when none is named.
const ANY_STREAM: &str = "check";

pub(super) fn run(check: &args::Check) -> Result<(), Failure> {
    let loaded = super::load(check.config.path.as_deref(), Preset::Service)?;
    super::print(&facts(&loaded.config))?;
    if check.live { live(&loaded.config) } else { Ok(()) }
}

/// Tries all that is needed.
fn live(config: &app::Config) -> Result<(), Failure> {
    let disk = config.spool.as_ref().map(|spool| disk::look(&spool.dir));
    if let Some(disk) = &disk {
        super::print(&format!("live      {}\n", disk.line))?;
    }
    live_services(config)?;
    match disk.filter(|disk| !disk.is_well) {
        Some(_) => Err(Failure::new(Exit::Io, "the spool can not be kept in its directory")),
        None => Ok(()),
    }
}

/// Asks the service about the streams, and whoever keeps the keys.
fn live_services(config: &app::Config) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::new(Exit::Internal, format!("the system gives no runtime: {error}"))
    })?;
    let names: Vec<StreamName> =
        config.ingest.streams.iter().map(|stream| stream.name.clone()).collect();
    let looks = runtime
        .block_on(forward::look(&config.forward, &names))
        .map_err(|error| Failure::new(Exit::Configuration, error.to_string()))?;
    let lines: Vec<String> = looks.iter().map(|look| format!("live      {look}\n")).collect();
    super::print(&lines.concat())?;
    let keys_are_ill = match &config.keys {
        Some(encryption) => !live_keys(&runtime, encryption, &names)?,
        None => false,
    };
    match looks.iter().filter(|look| !look.is_well).count() {
        0 if keys_are_ill => {
            Err(Failure::new(Exit::Unavailable, "no data keys can be had now".to_owned()))
        }
        0 => Ok(()),
        ill => {
            let message = format!("{ill} of {} streams can not be delivered to now", looks.len());
            Err(Failure::new(Exit::Unavailable, message))
        }
    }
}

/// Has a data key made and unwrapped. Says whether that went well.
fn live_keys(
    runtime: &tokio::runtime::Runtime,
    encryption: &keys::Config,
    names: &[StreamName],
) -> Result<bool, Failure> {
    let any = || ANY_STREAM.parse().expect("it is a name within the limits");
    let stream = names.first().cloned().unwrap_or_else(any);
    let look = runtime
        .block_on(keys::look(encryption, &stream))
        .map_err(|error| Failure::new(Exit::Configuration, error.to_string()))?;
    super::print(&format!("live      {}\n", look.said))?;
    Ok(look.is_well)
}

/// What somebody wants to know before they start it.
fn facts(config: &app::Config) -> String {
    let mut lines = vec!["ok: the configuration has no faults".to_owned()];
    lines.extend(listeners(config));
    lines.extend(streams(config));
    lines.push(upstream(config));
    lines.extend(config.keys.as_ref().map(keys));
    lines.push(format!("memory    {} bytes for records and bodies", config.memory_bytes_max));
    lines.push(spool(config));
    let mut out = String::new();
    for line in lines {
        out.push_str(&line);
        out.push('\n');
    }
    out
}

fn listeners(config: &app::Config) -> Vec<String> {
    let (ingest, admin) = (&config.ingest, &config.admin);
    let mut lines = vec![format!("records   http://{}", ingest.listen)];
    if let Some(path) = &ingest.unix_socket {
        lines.push(format!("records   unix:{}", path.display()));
    }
    lines.push(format!("admin     http://{}", admin.listen));
    if let Some(address) = admin.health_listen {
        lines.push(format!("health    http://{address}"));
    }
    lines
}

fn streams(config: &app::Config) -> Vec<String> {
    let streams = &config.ingest.streams;
    let listed = streams.iter().take(STREAMS_LISTED_MAX);
    let mut lines: Vec<String> = listed
        .map(|stream| format!("stream    {}: {}", stream.name, levels(&stream.settings)))
        .collect();
    if streams.len() > STREAMS_LISTED_MAX {
        lines.push(format!("stream    and {} more", streams.len() - STREAMS_LISTED_MAX));
    }
    if let Some(any) = &config.ingest.any_stream {
        lines.push(format!(
            "stream    any other, up to {}: {}",
            any.streams_max,
            levels(&any.settings)
        ));
    }
    lines
}

fn levels(settings: &StreamSettings) -> String {
    format!("answers at {}, never below {}", settings.ack, settings.min_ack)
}

fn spool(config: &app::Config) -> String {
    let Some(spool) = &config.spool else {
        return "spool     none: what is in memory is lost with the process".to_owned();
    };
    let volume = match spool.volume {
        Volume::Persistent => "on a volume that stays",
        Volume::Ephemeral => "on a volume that goes with the pod",
    };
    format!(
        "spool     {}: {volume}, up to {} bytes ({} for one stream), {} left free",
        spool.dir.display(),
        spool.bytes_max,
        spool.stream_bytes_max,
        spool.free_bytes_min
    )
}

fn keys(encryption: &keys::Config) -> String {
    let by = match (encryption.provider, &encryption.key, &encryption.file) {
        (Provider::Kms, Some(key), _) => key.clone(),
        (Provider::File, _, Some(file)) => format!("the file {}, which is not KMS", file.display()),
        _ => "nothing that is named".to_owned(),
    };
    let more = match encryption.decrypt_only.len() {
        0 => String::new(),
        count => format!(", and {count} more keys open old segments"),
    };
    format!("keys      data keys are wrapped under {by}{more}")
}

fn upstream(config: &app::Config) -> String {
    let upstream = &config.forward.upstream;
    let mut line = match (&upstream.endpoint, &upstream.region) {
        (Some(endpoint), _) => format!("upstream  {endpoint}"),
        (None, Some(region)) => format!("upstream  Amazon Data Firehose in {region}"),
        (None, None) => {
            "upstream  Amazon Data Firehose in the Region of the environment or profile".to_owned()
        }
    };
    for (is_so, what) in
        [(upstream.fips, ", FIPS"), (upstream.proxy.is_some(), ", through a proxy")]
    {
        if is_so {
            line.push_str(what);
        }
    }
    if let Some(profile) = &upstream.profile {
        let written = write!(line, ", as the profile {profile}");
        debug_assert!(written.is_ok(), "writing to a string can not fail");
    }
    line
}

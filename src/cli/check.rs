//! `check`: what a configuration means, in a few lines.

use std::fmt::Write as _;

use crate::app;
use crate::config::Preset;
use crate::encryption::keys;
use crate::encryption::sse::{Declared, Destination, Policy, Target};
use crate::ingest::StreamSettings;
use crate::record::StreamName;
use crate::spool::{Provider, Volume};

use super::args;
use super::disk;
use super::encryption::{self, Look, Looks};
use super::exit::{Exit, Failure};
use super::table;

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
    let looks = encryption::Service::new(&config.sse)?.look(encryption::all(&config.sse));
    super::print(&streams_live(&looks))?;
    let names: Vec<StreamName> =
        config.ingest.streams.iter().map(|stream| stream.name.clone()).collect();
    let keys_are_ill = match &config.keys {
        Some(keys) => !live_keys(keys, &names)?,
        None => false,
    };
    let (ill, all) = (looks.each().filter(|look| !is_well(look)).count(), looks.each().count());
    match ill {
        0 if keys_are_ill => {
            Err(Failure::new(Exit::Unavailable, "no data keys can be had now".to_owned()))
        }
        0 => Ok(()),
        ill => {
            let message = format!("{ill} of {all} streams can not be delivered to now");
            Err(Failure::new(Exit::Unavailable, message))
        }
    }
}

/// What was found of each stream, and what is not as it is declared.
fn streams_live(looks: &Looks) -> String {
    let mut lines = Vec::new();
    for (asked, found) in looks.each() {
        match found {
            Err(refused) => lines.push(format!("{}: {refused}", asked.name)),
            Ok(described) => {
                lines.push(format!("{}: {}", asked.name, encryption::sentence(described)));
                let deviations = encryption::deviations(&asked.declared, described);
                lines.extend(deviations.iter().map(|one| format!("{}: {one}", asked.name)));
            }
        }
    }
    lines.iter().map(|line| format!("live      {}\n", table::plain(line))).collect()
}

/// Whether records would be delivered now, or as soon as a start has seen to the encryption.
fn is_well((asked, found): &Look) -> bool {
    let declared = &asked.declared;
    let sees_to_it = matches!(declared.manage, Some(Target::Encrypted(_)));
    found.as_ref().is_ok_and(|described| {
        // A data stream takes records while it is updated.
        let is_open = matches!(&*described.status, "ACTIVE" | "UPDATING");
        let waits = declared.policy == Policy::Require && !described.is_encrypted();
        described.takes_records && is_open && (!waits || sees_to_it)
    })
}

/// Has a data key made and unwrapped. Says whether that went well.
fn live_keys(config: &keys::Config, names: &[StreamName]) -> Result<bool, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::new(Exit::Internal, format!("the system gives no runtime: {error}"))
    })?;
    let any = || ANY_STREAM.parse().expect("it is a name within the limits");
    let stream = names.first().cloned().unwrap_or_else(any);
    let look = runtime
        .block_on(keys::look(config, &stream))
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
        .map(|stream| {
            let declared = config.sse.streams.get(&stream.name).map(declared).unwrap_or_default();
            format!("stream    {}: {}{declared}", stream.name, levels(&stream.settings))
        })
        .collect();
    if streams.len() > STREAMS_LISTED_MAX {
        lines.push(format!("stream    and {} more", streams.len() - STREAMS_LISTED_MAX));
    }
    if let Some(any) = &config.ingest.any_stream {
        lines.push(format!(
            "stream    any other, up to {}: {}{}",
            any.streams_max,
            levels(&any.settings),
            declared(&config.sse.others)
        ));
    }
    lines
}

fn levels(settings: &StreamSettings) -> String {
    format!("answers at {}, never below {}", settings.ack, settings.min_ack)
}

/// Where the records of a stream go, and what is declared of its encryption.
fn declared(declared: &Declared) -> String {
    let goes_to = match &declared.destination {
        Destination::Auto => "where the service says".to_owned(),
        Destination::Firehose => "the delivery stream".to_owned(),
        Destination::Kinesis(stream) => format!("the data stream {stream}"),
    };
    let policy = match declared.policy {
        Policy::Ignore => "its encryption is not looked at",
        Policy::Report => "its encryption is shown",
        Policy::Require => "nothing leaves unless it is encrypted",
    };
    let owner = match &declared.manage {
        Some(target) => format!("kept {target}"),
        None => "never changed".to_owned(),
    };
    format!("; goes to {goes_to}; {policy}, and {owner}")
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

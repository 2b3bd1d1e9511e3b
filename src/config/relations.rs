//! What has to hold between values that are right each by itself. Pure.

mod encryption;
mod keys;
mod spool;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use http::Uri;

use super::draft::{Draft, NamedStream, Slot, StreamDraft};
use super::fault::{Fault, Place};
use super::keys::DEFAULTS;

/// A relation that does not hold.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) fault: Fault,
    /// The keys that it relates.
    pub(super) slots: Vec<Slot>,
    /// Whether it is about all streams together, and means nothing when one of them could not be read.
    pub(super) is_of_all_streams: bool,
}

/// All relations that do not hold in `draft`.
pub(super) fn faults(draft: &Draft, is_readable: fn(&Path) -> Result<(), String>) -> Vec<Broken> {
    let mut relations = Relations { draft, broken: Vec::new() };
    relations.streams();
    relations.levels();
    relations.spool();
    relations.memory();
    relations.times();
    relations.listeners();
    relations.upstream();
    relations.keys();
    relations.encryption();
    relations.files(is_readable);
    relations.broken
}

struct Relations<'d> {
    draft: &'d Draft,
    broken: Vec<Broken>,
}

impl Relations<'_> {
    /// Notes a fault at the first of `slots` that was set by somebody.
    fn broken(&mut self, slots: &[Slot], message: String) {
        let place = slots.iter().find_map(|slot| self.draft.origins.get(slot)).cloned();
        let fault = Fault::new(place.unwrap_or(Place::Whole), message);
        self.broken.push(Broken { fault, slots: slots.to_vec(), is_of_all_streams: false });
    }

    fn streams(&mut self) {
        if self.draft.streams_count() == 0 {
            let message = "no stream is named; write [[streams]] and below it name = \"...\" in the \
                           file, or set STANDPIPE_STREAMS to names or to *";
            self.broken.push(Broken {
                fault: Fault::new(Place::Whole, message),
                slots: Vec::new(),
                is_of_all_streams: true,
            });
        }
    }

    fn levels(&mut self) {
        let draft = self.draft;
        self.levels_of(&draft.defaults, |key| Slot::table(DEFAULTS, key));
        for (name, NamedStream { stream, .. }) in &draft.streams {
            self.levels_of(stream, |key| Slot::stream(name, key));
        }
    }

    fn levels_of(&mut self, stream: &StreamDraft, slot: impl Fn(&'static str) -> Slot) {
        let (ack, min_ack) = (stream.settings.ack, stream.settings.min_ack);
        let is_set = |key| self.draft.origins.contains_key(&slot(key));
        if ack < min_ack && (is_set("ack") || is_set("min_ack")) {
            let (ack_slot, min_slot) = (slot("ack"), slot("min_ack"));
            let message = format!(
                "{ack_slot} = \"{ack}\" is weaker than min_ack = \"{min_ack}\"; write ack = \"{min_ack}\""
            );
            let inherited = [Slot::table(DEFAULTS, "ack"), Slot::table(DEFAULTS, "min_ack")];
            self.broken(&[&[ack_slot, min_slot][..], &inherited].concat(), message);
        }
    }

    fn memory(&mut self) {
        let draft = self.draft;
        let ingest = &draft.config.ingest;
        let bytes_max = draft.config.memory_bytes_max;
        let streams_bytes = draft.streams_memory_bytes();
        let buffers = if draft.spool_dir.is_some() { " and the buffers of the spool" } else { "" };
        let memory = Slot::table("memory", "bytes_max");
        let body = Slot::table("ingest", "body_bytes_max");
        let decoded = Slot::table("ingest", "decoded_bytes_max");
        if ingest.body_bytes_max > ingest.decoded_bytes_max {
            let message = format!(
                "ingest.body_bytes_max = {} is more than ingest.decoded_bytes_max = {}, which bounds \
                 every body; make it at most that",
                ingest.body_bytes_max, ingest.decoded_bytes_max
            );
            self.broken(&[body.clone(), decoded.clone()], message);
        }
        let floors_bytes = draft.floors_bytes();
        let mut floors: Vec<Slot> =
            draft.streams.keys().map(|name| Slot::stream(name, "memory_floor_bytes")).collect();
        floors.push(Slot::table(DEFAULTS, "memory_floor_bytes"));
        // A body as it is sent, what it becomes, and for zstd as much again for its window.
        let one_body_bytes =
            ingest.body_bytes_max.saturating_add(ingest.decoded_bytes_max.saturating_mul(2));
        if floors_bytes > streams_bytes {
            floors.push(memory);
            let message = format!(
                "the floors of {} streams{buffers} are {} bytes together, more than \
                 memory.bytes_max = {bytes_max}; lower memory_floor_bytes or raise memory.bytes_max",
                draft.streams_count(),
                floors_bytes + (bytes_max - streams_bytes)
            );
            self.broken(&floors, message);
        } else if streams_bytes - floors_bytes < one_body_bytes {
            let message = format!(
                "memory.bytes_max = {bytes_max} leaves {} bytes above the floors of the streams{buffers}, and one \
                 request may take {one_body_bytes} (ingest.body_bytes_max and twice \
                 decoded_bytes_max); raise memory.bytes_max or lower those",
                streams_bytes - floors_bytes
            );
            self.broken(&[&[memory, body, decoded][..], &floors].concat(), message);
        }
    }

    fn times(&mut self) {
        let (forward, stop) = (&self.draft.config.forward, &self.draft.config.lifecycle);
        let control = &self.draft.config.sse;
        let ordered = [
            (
                "forward",
                "connect_timeout_ms",
                forward.connect_timeout,
                "attempt_timeout_ms",
                forward.attempt_timeout,
            ),
            (
                "forward",
                "backoff_min_ms",
                forward.backoff_min,
                "backoff_max_ms",
                forward.backoff_max,
            ),
            ("control", "poll_min_ms", control.poll_min, "poll_max_ms", control.poll_max),
            ("forward", "hold_min_ms", forward.hold_min, "hold_max_ms", forward.hold_max),
            ("stop", "quiet_ms", stop.quiet, "grace_ms", stop.grace),
            ("stop", "deliver_ms", stop.deliver, "grace_ms", stop.grace),
        ];
        for (table, shorter, short, longer, long) in ordered {
            if short > long {
                let message = format!(
                    "{table}.{shorter} = {} is more than {table}.{longer} = {}; make it at most that",
                    short.as_millis(),
                    long.as_millis()
                );
                self.broken(&[Slot::table(table, shorter), Slot::table(table, longer)], message);
            }
        }
        let retry_after = self.draft.config.ingest.retry_after;
        let whole = Duration::from_secs(retry_after.as_secs());
        if retry_after != whole {
            let message = format!(
                "ingest.retry_after_ms = {} is no whole number of seconds, which Retry-After needs; \
                 write {}",
                retry_after.as_millis(),
                (whole + Duration::from_secs(1)).as_millis()
            );
            self.broken(&[Slot::table("ingest", "retry_after_ms")], message);
        }
    }

    fn listeners(&mut self) {
        let draft = self.draft;
        let (ingest, admin) = (&draft.config.ingest, &draft.config.admin);
        if !is_loopback(ingest.listen)
            && ingest.token_file.is_none()
            && !draft.ingest_allow_unprotected
        {
            let message = format!(
                "ingest.listen = \"{}\" is not on loopback, and whoever reaches it can send records; \
                 listen on 127.0.0.1, name a token_file, or write allow_unprotected = true below \
                 [ingest]",
                ingest.listen
            );
            let keys = ["listen", "token_file", "allow_unprotected"];
            self.broken(&keys.map(|key| Slot::table("ingest", key)), message);
        }
        if !is_loopback(admin.listen) && admin.token_file.is_none() && !admin.allow_unprotected {
            let message = format!(
                "admin.listen = \"{}\" is not on loopback and has no token_file; name one, use \
                 health_listen for probes and scrapes, or write allow_unprotected = true below [admin]",
                admin.listen
            );
            let keys = ["listen", "token_file", "allow_unprotected"];
            self.broken(&keys.map(|key| Slot::table("admin", key)), message);
        }
        let listeners = [
            Some((Slot::table("ingest", "listen"), ingest.listen)),
            Some((Slot::table("admin", "listen"), admin.listen)),
            admin.health_listen.map(|address| (Slot::table("admin", "health_listen"), address)),
        ];
        let listeners: Vec<_> = listeners.into_iter().flatten().collect();
        for (index, (slot, address)) in listeners.iter().enumerate() {
            for (earlier_slot, earlier) in listeners.iter().take(index) {
                if do_clash(*earlier, *address) {
                    let message = format!(
                        "{slot} = \"{address}\" is taken by {earlier_slot} = \"{earlier}\"; \
                         give it a port of its own"
                    );
                    self.broken(&[slot.clone(), earlier_slot.clone()], message);
                }
            }
        }
    }

    fn upstream(&mut self) {
        let draft = self.draft;
        let (listen, upstream) = (draft.config.ingest.listen, &draft.config.forward.upstream);
        let endpoints =
            [("endpoint", &upstream.endpoint), ("kinesis_endpoint", &draft.kinesis_endpoint)];
        for (key, endpoint) in endpoints {
            let Some(endpoint) = endpoint else { continue };
            if leads_to(endpoint, listen) {
                let message = format!(
                    "upstream.{key} = \"{endpoint}\" is our own ingest.listen = \"{listen}\"; name the \
                     service, or leave it out for the Region's own endpoint"
                );
                let slots = [Slot::table("upstream", key), Slot::table("ingest", "listen")];
                self.broken(&slots, message);
            }
            if upstream.fips {
                let message = format!(
                    "upstream.fips = true has no meaning beside upstream.{key}; drop one of them"
                );
                self.broken(
                    &[Slot::table("upstream", "fips"), Slot::table("upstream", key)],
                    message,
                );
            }
        }
    }

    fn files(&mut self, is_readable: fn(&Path) -> Result<(), String>) {
        let draft = self.draft;
        let files = [
            (Slot::table("ingest", "token_file"), &draft.config.ingest.token_file),
            (Slot::table("admin", "token_file"), &draft.config.admin.token_file),
            (Slot::table("upstream", "ca_file"), &draft.config.forward.upstream.ca_file),
        ];
        for (slot, path) in files {
            let Some(path) = path else { continue };
            if let Err(error) = is_readable(path) {
                let message = format!("{slot} = \"{}\" can not be read: {error}", path.display());
                self.broken(&[slot], message);
            }
        }
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Whether two listeners would fight for the same port.
fn do_clash(one: SocketAddr, other: SocketAddr) -> bool {
    let (one_ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    let is_shared = one_ip == other_ip || one_ip.is_unspecified() || other_ip.is_unspecified();
    one.port() != 0 && one.port() == other.port() && is_shared
}

/// Whether a request to `endpoint` would arrive at `listen`, as far as names tell.
fn leads_to(endpoint: &str, listen: SocketAddr) -> bool {
    let Ok(uri) = endpoint.parse::<Uri>() else { return false };
    let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let port = uri.port_u16().unwrap_or(default_port);
    let host = uri.host().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let listen_ip = listen.ip().to_canonical();
    let is_local_name = host == "localhost" || host.ends_with(".localhost");
    let is_here = match ip.map(|ip| ip.to_canonical()) {
        // Connecting to the unspecified address connects to loopback.
        Some(ip) if ip.is_unspecified() || ip.is_loopback() => {
            listen_ip.is_unspecified()
                || listen_ip == ip
                || (ip.is_unspecified() && listen_ip.is_loopback())
        }
        Some(ip) => listen_ip == ip,
        None => is_local_name && (listen_ip.is_loopback() || listen_ip.is_unspecified()),
    };
    port == listen.port() && is_here
}

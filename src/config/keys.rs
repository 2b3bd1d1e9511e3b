//! The table of all keys: the one source of what can be configured, from file and environment.
//!
//! The parser, the names of the variables, `config show` and the reference come from it. Defaults
//! are not repeated here: they are those of the stages' `Config`, read through the same accessor.

mod streams;

use super::draft::Draft;
use super::kind::{
    ADDRESS, APPLICATION, ENDPOINT, FILTER, KEY_ARN, KEY_ARNS, KINESIS_ENDPOINT, KMS_ENDPOINT,
    Kind, PATH, PROFILE, PROXY, REGION, Unit,
};
use super::value::Setting;
pub(super) use streams::STREAM_KEYS;

/// One key. `T` is what it sets a field of.
#[derive(Debug)]
pub(super) struct Key<T: 'static> {
    /// The table it stands in. Keys of streams have none: they stand in `[defaults]` and `[[streams]]`.
    pub(super) table: &'static str,
    /// Its name, with its unit last but for `_max`.
    pub(super) name: &'static str,
    /// What it takes.
    pub(super) kind: Kind,
    /// What it is for, in one sentence, in Markdown.
    pub(super) doc: &'static str,
    /// The field it sets.
    pub(super) field: fn(&mut T) -> &mut dyn Setting,
}

impl<T> Key<T> {
    const fn new(
        table: &'static str,
        name: &'static str,
        kind: Kind,
        doc: &'static str,
        field: fn(&mut T) -> &mut dyn Setting,
    ) -> Self {
        Self { table, name, kind, doc, field }
    }
}

/// The table of the settings that hold for all streams.
pub(super) const DEFAULTS: &str = "defaults";

/// The array of the streams' tables.
pub(super) const STREAMS: &str = "streams";

/// What every variable begins with.
pub(super) const PREFIX: &str = "STANDPIPE_";

/// The variable that names the configuration file.
pub(super) const CONFIG_VARIABLE: &str = "STANDPIPE_CONFIG";

/// The variable that lists streams.
pub(super) const STREAMS_VARIABLE: &str = "STANDPIPE_STREAMS";

/// The variable for a key of a table.
pub(super) fn variable(table: &str, name: &str) -> String {
    format!("{PREFIX}{}_{}", as_variable(table), as_variable(name))
}

/// `text` as it stands in the name of a variable: in capitals, and `_` for all that is no letter or digit.
pub(super) fn as_variable(text: &str) -> String {
    let capital = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    text.chars().map(capital).collect()
}

/// The tables in the order in which they are shown, `[defaults]` left out.
pub(super) fn tables() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    KEYS.iter().filter_map(move |key| {
        let is_new = key.table != last;
        last = key.table;
        is_new.then_some(key.table)
    })
}

const fn things(min: u64, max: u64) -> Kind {
    Kind::Whole { min, max, unit: Unit::Things }
}

const fn ms(min: u64, max: u64) -> Kind {
    Kind::Whole { min, max, unit: Unit::Milliseconds }
}

const fn bytes(min: u64, max: u64) -> Kind {
    Kind::Whole { min, max, unit: Unit::Bytes }
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// The keys that are set once. Those of a table stand together.
#[rustfmt::skip]
pub(super) static KEYS: &[Key<Draft>] = &[
    Key::new("memory", "bytes_max", bytes(MIB, 1024 * GIB),
        "The bound on the memory for records and bodies. At the bound, requests are answered 503 with `Retry-After`.",
        |draft| &mut draft.config.memory_bytes_max),

    Key::new("ingest", "listen", ADDRESS,
        "Where records are taken over TCP. Port 0 takes a free one.",
        |draft| &mut draft.config.ingest.listen),
    Key::new("ingest", "token_file", PATH,
        "The file with the bearer token that every request needs then. AWS SDKs can not send one: their calls are refused.",
        |draft| &mut draft.config.ingest.token_file),
    Key::new("ingest", "allow_unprotected", Kind::Switch,
        "Whether `ingest.listen` may be off loopback without a token, where anybody who reaches it can send records, in the clear.",
        |draft| &mut draft.ingest_allow_unprotected),
    Key::new("ingest", "allow_encryption_calls", Kind::Switch,
        "Whether applications may call `StartDeliveryStreamEncryption` and `StopDeliveryStreamEncryption` here. Otherwise those are answered `AccessDeniedException`.",
        |draft| &mut draft.config.ingest.allow_encryption_calls),
    Key::new("ingest", "unix_socket", PATH,
        "A Unix socket where records are taken too.",
        |draft| &mut draft.config.ingest.unix_socket),
    Key::new("ingest", "workers", things(1, 64),
        "How many threads serve connections.",
        |draft| &mut draft.config.ingest.workers),
    Key::new("ingest", "connections_max", things(1, 1_000_000),
        "The most open connections. One more is answered 503 and closed.",
        |draft| &mut draft.config.ingest.connections_max),
    Key::new("ingest", "requests_max", things(1, 1_000_000),
        "The most requests that are read, served or waited for at once. A quarter is never waited in; another quarter is divided between the streams, and each may wait in its part and in what others leave of the rest.",
        |draft| &mut draft.config.ingest.requests_max),
    Key::new("ingest", "head_bytes_max", bytes(8 * KIB, MIB),
        "The most bytes of a request's line and headers.",
        |draft| &mut draft.config.ingest.head_bytes_max),
    Key::new("ingest", "body_bytes_max", bytes(KIB, 256 * MIB),
        "The most bytes of a body as it is sent. A full `PutRecordBatch` takes about 5.7 MiB.",
        |draft| &mut draft.config.ingest.body_bytes_max),
    Key::new("ingest", "decoded_bytes_max", bytes(KIB, GIB),
        "The most bytes of a body after decompression.",
        |draft| &mut draft.config.ingest.decoded_bytes_max),
    Key::new("ingest", "head_timeout_ms", ms(1, 10 * MINUTE_MS),
        "How long the head of a request may take from its first byte.",
        |draft| &mut draft.config.ingest.head_timeout),
    Key::new("ingest", "body_timeout_ms", ms(1, 10 * MINUTE_MS),
        "How long the body of a request may take from the end of its head.",
        |draft| &mut draft.config.ingest.body_timeout),
    Key::new("ingest", "idle_timeout_ms", ms(1, 24 * HOUR_MS),
        "How long a connection may be idle between requests.",
        |draft| &mut draft.config.ingest.idle_timeout),
    Key::new("ingest", "delivered_wait_ms", ms(1, 10 * MINUTE_MS),
        "How long an answer waits for `delivered` before it says what is true until then.",
        |draft| &mut draft.config.ingest.delivered_wait),
    Key::new("ingest", "durable_wait_ms", ms(1, 10 * MINUTE_MS),
        "How long an answer waits until the spool has the records. After that it is 503, and the records may be kept all the same.",
        |draft| &mut draft.config.ingest.durable_wait),
    Key::new("ingest", "retry_after_ms", ms(1_000, HOUR_MS),
        "What `Retry-After` says when there is no room. Whole seconds, since the header has no smaller unit.",
        |draft| &mut draft.config.ingest.retry_after),

    Key::new("ingest.repeats", "enabled", Kind::Switch,
        "Whether a repeat of the same `amz-sdk-invocation-id` with the same body gets the first answer.",
        |draft| &mut draft.repeats_enabled),
    Key::new("ingest.repeats", "window_ms", ms(1, HOUR_MS),
        "How long an answer is remembered.",
        |draft| &mut draft.repeats.window),
    Key::new("ingest.repeats", "entries_max", things(1, 10_000_000),
        "How many answers are remembered.",
        |draft| &mut draft.repeats.entries_max),
    Key::new("ingest.repeats", "bytes_max", bytes(KIB, GIB),
        "How many bytes the remembered answers may take.",
        |draft| &mut draft.repeats.bytes_max),

    Key::new("any_stream", "streams_max", things(0, 10_000),
        "How many streams may come into being when they are first written to, beside those that are named. 0 is none; `STANDPIPE_STREAMS=*` makes it 100.",
        |draft| &mut draft.any_streams_max),

    Key::new("spool", "dir", PATH,
        "The directory of the spool: what is kept on disk, sealed. One process at a time has it. Unset, there is no spool, and no level `durable`.",
        |draft| &mut draft.spool_dir),
    Key::new("spool", "volume", Kind::Word(&["persistent", "ephemeral"]),
        "What becomes of the directory with the pod. What an `ephemeral` one holds at a stop is lost: the stop delivers for the whole grace time, and names what it could not.",
        |draft| &mut draft.spool.volume),
    Key::new("spool", "allow_tmpfs", Kind::Switch,
        "Whether the directory may be in memory (tmpfs), where a restart of the machine empties it.",
        |draft| &mut draft.spool.allow_tmpfs),
    Key::new("spool", "bytes_max", bytes(8 * MIB, 1024 * GIB),
        "The most bytes on disk, over all streams.",
        |draft| &mut draft.spool.bytes_max),
    Key::new("spool", "stream_bytes_max", bytes(8 * MIB, 1024 * GIB),
        "The most bytes on disk of one stream. Unset, it is at most `spool.bytes_max`.",
        |draft| &mut draft.spool.stream_bytes_max),
    Key::new("spool", "stream_floor_bytes", bytes(0, 1024 * GIB),
        "The disk space that no other stream can take. Unset, it is at most an even part of half of `spool.bytes_max`.",
        |draft| &mut draft.spool.stream_floor_bytes),
    Key::new("spool", "free_bytes_min", bytes(0, 1024 * GIB),
        "The space on the disk that is left free for others.",
        |draft| &mut draft.spool.free_bytes_min),
    Key::new("spool", "reserve_bytes", bytes(0, 1024 * GIB),
        "The part of `spool.bytes_max` that is kept for what is in memory when the process stops. Unset, it is `memory.bytes_max`, or at most a quarter of `spool.bytes_max`.",
        |draft| &mut draft.spool.reserve_bytes),
    Key::new("spool", "segment_bytes_max", bytes(8 * MIB, GIB),
        "A segment of this size is ended, and another one begun. Unset, it is at most a quarter of `spool.stream_bytes_max`.",
        |draft| &mut draft.spool.segment_bytes_max),
    Key::new("spool", "segment_age_max_ms", ms(1_000, 24 * HOUR_MS),
        "A segment of this age is ended.",
        |draft| &mut draft.spool.segment_age_max),
    Key::new("spool", "files_max", things(16, 1_000_000),
        "The most segments that are open for writing.",
        |draft| &mut draft.spool.files_max),
    Key::new("spool", "threads", things(1, 64),
        "How many threads write and read.",
        |draft| &mut draft.spool.threads),
    Key::new("spool", "read_ahead_bytes_max", bytes(6 * MIB, GIB),
        "The memory for what is read ahead of the forwarder, out of `memory.bytes_max`. Unset, it is at most an eighth of that.",
        |draft| &mut draft.spool.read_ahead_bytes_max),
    Key::new("spool", "group_bytes_max", bytes(6 * MIB, GIB),
        "The most bytes that one disk sync covers, and the memory for what is on its way to the disk, out of `memory.bytes_max`. Unset, it is at most an eighth of that.",
        |draft| &mut draft.spool.group_bytes_max),
    Key::new("spool", "dead_letter_bytes_max", bytes(8 * MIB, 1024 * GIB),
        "The most bytes of dead letters on disk, over all streams. When they are full, a stream with another one is held.",
        |draft| &mut draft.spool.dead_letter_bytes_max),

    Key::new("upstream", "region", REGION,
        "The Region. Otherwise it is that of the environment, the profile or the instance.",
        |draft| &mut draft.config.forward.upstream.region),
    Key::new("upstream", "endpoint", ENDPOINT,
        "The service's URL. Otherwise it is the Region's own. `AWS_ENDPOINT_URL*` is the application's and not used for it.",
        |draft| &mut draft.config.forward.upstream.endpoint),
    Key::new("upstream", "kinesis_endpoint", KINESIS_ENDPOINT,
        "The URL of Kinesis, for streams that read from a data stream. Otherwise it is the Region's own.",
        |draft| &mut draft.kinesis_endpoint),
    Key::new("upstream", "profile", PROFILE,
        "The named profile of the AWS configuration files.",
        |draft| &mut draft.config.forward.upstream.profile),
    Key::new("upstream", "proxy", PROXY,
        "The URL of a proxy for HTTPS. A user and a password in it are never shown.",
        |draft| &mut draft.config.forward.upstream.proxy),
    Key::new("upstream", "ca_file", PATH,
        "A file of PEM certificates to trust beside the system's.",
        |draft| &mut draft.config.forward.upstream.ca_file),
    Key::new("upstream", "fips", Kind::Switch,
        "Whether the FIPS endpoints are used.",
        |draft| &mut draft.config.forward.upstream.fips),

    Key::new("keys", "provider", Kind::Word(&["kms", "file"]),
        "Who wraps the data keys of the spool: `kms`, or a `file` for those without KMS.",
        |draft| &mut draft.keys.provider),
    Key::new("keys", "key", KEY_ARN,
        "The KMS key that new data keys are wrapped under. It is asked in its own Region, as who `[upstream]` says.",
        |draft| &mut draft.keys.key),
    Key::new("keys", "decrypt_only", KEY_ARNS,
        "KMS keys that old segments may be opened with, after a change of `key`. No other is ever asked to unwrap.",
        |draft| &mut draft.keys.decrypt_only),
    Key::new("keys", "file", PATH,
        "The key file of the provider `file`, made when it is not there. With `kms` it only opens old segments.",
        |draft| &mut draft.keys.file),
    Key::new("keys", "endpoint", KMS_ENDPOINT,
        "The URL of KMS. Otherwise it is the Region's own.",
        |draft| &mut draft.keys.upstream.endpoint),
    Key::new("keys", "application", APPLICATION,
        "What the encryption context calls the application, as `standpipe:application` beside `standpipe:stream`.",
        |draft| &mut draft.keys.application),
    Key::new("keys", "soft_age_ms", ms(1_000, 30 * 24 * HOUR_MS),
        "The age at which a data key is renewed, shortened by up to a tenth at random. One that sealed nothing is kept for half of `hard_age_ms`.",
        |draft| &mut draft.keys.soft_age),
    Key::new("keys", "hard_age_ms", ms(1_000, 30 * 24 * HOUR_MS),
        "The age from which a data key seals nothing more, when KMS has been away all that time. `durable` is 503 then.",
        |draft| &mut draft.keys.hard_age),
    Key::new("keys", "key_bytes_max", bytes(MIB, 1024 * GIB),
        "After how many sealed bytes a data key is renewed.",
        |draft| &mut draft.keys.key_bytes_max),

    Key::new("forward", "connect_timeout_ms", ms(10, 5 * MINUTE_MS),
        "How long a connection to the service may take to be made.",
        |draft| &mut draft.config.forward.connect_timeout),
    Key::new("forward", "attempt_timeout_ms", ms(10, 10 * MINUTE_MS),
        "How long one request to the service may take in all.",
        |draft| &mut draft.config.forward.attempt_timeout),
    Key::new("forward", "requests_in_flight_max", things(1, 256),
        "The most requests of one stream that are under way at once. The true number adapts below it.",
        |draft| &mut draft.config.forward.requests_in_flight_max),
    Key::new("forward", "bytes_in_flight_max", bytes(64 * KIB, 4 * GIB),
        "The most raw bytes that are under way at once, over all streams. A single request may always go.",
        |draft| &mut draft.config.forward.bytes_in_flight_max),
    Key::new("forward", "backoff_min_ms", ms(1, HOUR_MS),
        "The upper bound of the first wait before something is sent again. Each further one doubles it.",
        |draft| &mut draft.config.forward.backoff_min),
    Key::new("forward", "backoff_max_ms", ms(1, HOUR_MS),
        "The upper bound of every such wait.",
        |draft| &mut draft.config.forward.backoff_max),
    Key::new("forward", "circuit_failures", things(1, 1_000),
        "After how many failed requests in a row a stream's circuit opens.",
        |draft| &mut draft.config.forward.circuit_failures),
    Key::new("forward", "hold_min_ms", ms(1, 24 * HOUR_MS),
        "How long a stream that is held waits before it is tried again at first. The wait doubles.",
        |draft| &mut draft.config.forward.hold_min),
    Key::new("forward", "hold_max_ms", ms(1, 24 * HOUR_MS),
        "The longest such wait.",
        |draft| &mut draft.config.forward.hold_max),
    Key::new("forward", "spool_blocked_after_ms", ms(0, HOUR_MS),
        "How long a stream is held, or its circuit open, before what is in memory alone goes to the spool.",
        |draft| &mut draft.config.forward.spool_blocked_after),

    Key::new("control", "watch_interval_ms", ms(100, 7 * 24 * HOUR_MS),
        "How often the service is asked about a stream with which all is well: half of it to one and a half, at random. All sidecars of an account share five such calls a second.",
        |draft| &mut draft.config.sse.watch_interval),
    Key::new("control", "settle_ms", ms(0, 10 * MINUTE_MS),
        "How long the service may take after `ENABLED` until every record is encrypted.",
        |draft| &mut draft.config.sse.settle),
    Key::new("control", "proof_holds_ms", ms(100, 24 * HOUR_MS),
        "How long one answer that confirms the encryption of a stream that requires it holds. After a longer silence one record goes first.",
        |draft| &mut draft.config.sse.proof_holds),
    Key::new("control", "poll_min_ms", ms(10, HOUR_MS),
        "The first wait before the service is asked again about something that is not well. It doubles.",
        |draft| &mut draft.config.sse.poll_min),
    Key::new("control", "poll_max_ms", ms(10, 24 * HOUR_MS),
        "The longest such wait.",
        |draft| &mut draft.config.sse.poll_max),
    Key::new("control", "calls_max", things(1, 25),
        "How many calls that start or stop the encryption of one stream are made in 24 hours without a person asking. The service takes 25 in all.",
        |draft| &mut draft.config.sse.calls_max),

    Key::new("admin", "listen", ADDRESS,
        "Where health, metrics, status and what changes something are served.",
        |draft| &mut draft.config.admin.listen),
    Key::new("admin", "health_listen", ADDRESS,
        "Where health and metrics alone are served, for kubelet and Prometheus. It may be off loopback.",
        |draft| &mut draft.config.admin.health_listen),
    Key::new("admin", "token_file", PATH,
        "The file that holds the bearer token for what changes something.",
        |draft| &mut draft.config.admin.token_file),
    Key::new("admin", "allow_unprotected", Kind::Switch,
        "Whether `admin.listen` may be off loopback without a token.",
        |draft| &mut draft.config.admin.allow_unprotected),
    Key::new("admin", "manage_encryption", Kind::Switch,
        "Whether `PUT /v1/streams/{stream}/encryption` exists, by which whoever has the token changes the encryption of a stream. Needs `token_file`.",
        |draft| &mut draft.config.admin.manage_encryption),
    Key::new("admin", "connections_max", things(1, 100_000),
        "The most open connections.",
        |draft| &mut draft.config.admin.connections_max),

    Key::new("log", "format", Kind::Word(&["auto", "text", "json"]),
        "How log lines look. `auto` is text on a terminal and JSON otherwise.",
        |draft| &mut draft.config.telemetry.format),
    Key::new("log", "filter", FILTER,
        "What is logged, as `tracing` directives.",
        |draft| &mut draft.config.telemetry.filter),

    Key::new("stop", "grace_ms", ms(0, 24 * HOUR_MS),
        "How long a stop may take in all. Keep it below the grace time of whoever sends SIGTERM.",
        |draft| &mut draft.config.lifecycle.grace),
    Key::new("stop", "quiet_ms", ms(0, HOUR_MS),
        "How long no connection must have been open before a stop believes that the application is gone.",
        |draft| &mut draft.config.lifecycle.quiet),
    Key::new("stop", "deliver_ms", ms(0, 24 * HOUR_MS),
        "The part of the grace time that is kept for delivering what is in memory.",
        |draft| &mut draft.config.lifecycle.deliver),
];

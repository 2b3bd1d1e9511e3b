//! The keys of streams: what is set for all in `[defaults]`, and for one in `[[streams]]`.

use super::super::draft::StreamDraft;
use super::super::kind::{DATA_STREAM, ENCRYPTION_KEY, Kind, PARTITION_KEY, Unit};
use super::{GIB, KIB, Key, MIB, MINUTE_MS, bytes, ms, things};

const ACK: Kind = Kind::Word(&["memory", "durable", "delivered"]);

/// The keys that are set for all streams in `[defaults]`, and for one in `[[streams]]`.
#[rustfmt::skip]
pub(in super::super) static STREAM_KEYS: &[Key<StreamDraft>] = &[
    Key::new("", "ack", ACK,
        "The level of an answer when the request names none. Unset, it is at least `min_ack`. `durable` needs a spool.",
        |stream| &mut stream.settings.ack),
    Key::new("", "min_ack", ACK,
        "The weakest level that a request gets, whatever it names.",
        |stream| &mut stream.settings.min_ack),
    Key::new("", "framing", Kind::Word(&["auto", "lines", "body"]),
        "How a native body is cut: `auto` by its content type, `lines` a record per line, `body` one record.",
        |stream| &mut stream.settings.framing),
    Key::new("", "delimiter", Kind::Word(&["auto", "newline", "none"]),
        "What records end with: `newline` adds it when missing, `none` adds nothing, `auto` adds it to native records only.",
        |stream| &mut stream.settings.delimiter),
    Key::new("", "oversize", Kind::Word(&["refuse", "dead-letter"]),
        "What becomes of a native record that is larger than the service takes: `refuse` refuses its request, `dead-letter` sets it aside and says so, which needs a spool.",
        |stream| &mut stream.settings.oversize),
    Key::new("", "batch_records_max", things(1, 500),
        "The most records in a request to the service.",
        |stream| &mut stream.settings.limits.batch_records_max),
    Key::new("", "batch_bytes_max", bytes(KIB, 4 * MIB),
        "The most raw bytes in a request to the service. A single larger record goes alone.",
        |stream| &mut stream.settings.limits.batch_bytes_max),
    Key::new("", "linger_ms", ms(0, 15 * MINUTE_MS),
        "How long the first record of a batch waits for others at most.",
        |stream| &mut stream.settings.limits.linger),
    Key::new("", "linger_jitter_percent", Kind::Whole { min: 0, max: 100, unit: Unit::Percent },
        "How much that time is shortened at random, so that a fleet does not send in step.",
        |stream| &mut stream.settings.limits.linger_jitter_percent),
    Key::new("", "memory_floor_bytes", bytes(0, 1024 * GIB),
        "The memory that no other stream can take. Unset, it is an even part of a quarter of `memory.bytes_max`.",
        |stream| &mut stream.memory_floor_bytes),
    Key::new("", "destination", Kind::Word(&["auto", "firehose", "kinesis"]),
        "Where records go: into the delivery stream (`firehose`), into the Kinesis data stream that it reads from (`kinesis`), or where the service says that its source is (`auto`).",
        |stream| &mut stream.declared.destination),
    Key::new("", "kinesis_stream", DATA_STREAM,
        "The data stream for `destination = \"kinesis\"`, and for that alone.",
        |stream| &mut stream.declared.kinesis_stream),
    Key::new("", "partition_key", PARTITION_KEY,
        "What is a record's partition key in a data stream: something `random`, what the request says in the `header` `standpipe-partition-key`, or what a JSON pointer finds in the record.",
        |stream| &mut stream.declared.partition_key),
    Key::new("", "encryption", Kind::Word(&["ignore", "report", "require"]),
        "What follows when the stream is not known to be encrypted at the service: nothing (`ignore`), it is shown and counted (`report`), or its records wait until it is (`require`).",
        |stream| &mut stream.declared.encryption),
    Key::new("", "manage", Kind::Switch,
        "Whether this process sees to the encryption of the stream, by starting or stopping it. Nobody else changes a stream, so let one process of a fleet do it.",
        |stream| &mut stream.declared.manage),
    Key::new("", "encryption_key", ENCRYPTION_KEY,
        "What a stream with `manage` is to be encrypted under, or `none` for not encrypted. Unset, it is `aws-owned`.",
        |stream| &mut stream.declared.encryption_key),
];

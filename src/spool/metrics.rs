//! What is counted of the spool.

use metrics::{Histogram, counter, gauge, histogram};

use super::status::StreamStatus;
use crate::pipeline::NotDurable;
use crate::telemetry::MetricSpec;

const RECORDS: &str = "standpipe_spool_records";
const BYTES: &str = "standpipe_spool_bytes";
const BYTES_MAX: &str = "standpipe_spool_bytes_max";
const SEGMENTS: &str = "standpipe_spool_segments";
const SEGMENTS_UNCOUNTED: &str = "standpipe_spool_segments_uncounted";
const OLDEST_AGE: &str = "standpipe_spool_oldest_waiting_age_seconds";
const OBSTACLE: &str = "standpipe_spool_obstacle";
const WAITS: &str = "standpipe_spool_reading_waits";
const RECOVERED: &str = "standpipe_spool_records_recovered_total";
const WRITTEN: &str = "standpipe_spool_records_written_total";
const WRITTEN_BYTES: &str = "standpipe_spool_bytes_written_total";
const FRAMES_READ: &str = "standpipe_spool_frames_read_total";
const QUARANTINED: &str = "standpipe_spool_records_quarantined_total";
const QUARANTINED_SEGMENTS: &str = "standpipe_spool_segments_quarantined_total";
const TORN: &str = "standpipe_spool_torn_bytes_total";
const UNVERIFIED: &str = "standpipe_spool_note_unverified_bytes_total";
const DEAD_LETTERS: &str = "standpipe_spool_records_dead_lettered_total";
const DEAD_LETTERS_FOUND: &str = "standpipe_spool_dead_letters_found_total";
const DEAD_LETTERS_REPLAYED: &str = "standpipe_spool_dead_letters_replayed_total";
const DEAD_LETTER_BYTES: &str = "standpipe_spool_dead_letter_bytes";
const FAILURES: &str = "standpipe_spool_disk_failures_total";
const UNCLEAN: &str = "standpipe_spool_last_life_unclean";
const SYNC_SECONDS: &str = "standpipe_spool_sync_seconds";
const SEAL_SECONDS: &str = "standpipe_spool_seal_seconds";
const GROUP_RECORDS: &str = "standpipe_spool_group_records";

/// All metrics of this stage.
pub const METRICS: &[MetricSpec] = &[
    MetricSpec::gauge(
        RECORDS,
        &["stream"],
        "Records on disk that are not delivered, as far as they are counted; those that are in memory too \
         are among them.",
    ),
    MetricSpec::gauge(BYTES, &["stream"], "Bytes of segments and notes on disk."),
    MetricSpec::gauge(
        BYTES_MAX,
        &[],
        "The bound on the bytes on disk over all streams (spool.bytes_max).",
    ),
    MetricSpec::gauge(SEGMENTS, &["stream"], "Segments on disk."),
    MetricSpec::gauge(
        SEGMENTS_UNCOUNTED,
        &["stream"],
        "Segments of an earlier life whose records are not counted yet.",
    ),
    MetricSpec::gauge(
        OLDEST_AGE,
        &["stream"],
        "Age of the oldest record that waits on disk alone, in seconds; 0 when there is none.",
    ),
    MetricSpec::gauge(
        OBSTACLE,
        &["stream", "reason"],
        "1 for the reason why durable records are refused, 0 for the others: starting, no_key, \
         key_too_old, stream_full, spool_full, disk_full, disk_failed, stopping, dead_letters_full.",
    ),
    MetricSpec::gauge(
        WAITS,
        &["stream"],
        "1 while segments wait to be read for a key or the disk; /v1/status says for which.",
    ),
    MetricSpec::counter(
        RECOVERED,
        &["stream"],
        "Records that an earlier life left behind, counted when they are known.",
    ),
    MetricSpec::counter(WRITTEN, &["stream"], "Records that were made durable."),
    MetricSpec::counter(WRITTEN_BYTES, &["stream"], "Bytes that were made durable, sealed."),
    MetricSpec::counter(FRAMES_READ, &["stream"], "Frames that were read back."),
    MetricSpec::counter(
        QUARANTINED,
        &["stream"],
        "Records that can not be read any more: their segment is damaged. Worth an alarm.",
    ),
    MetricSpec::counter(
        QUARANTINED_SEGMENTS,
        &["stream"],
        "Segments that were moved to quarantine for damage.",
    ),
    MetricSpec::counter(
        TORN,
        &["stream"],
        "Bytes of torn tails: what a dying machine was about to write, which nobody was promised.",
    ),
    MetricSpec::counter(
        UNVERIFIED,
        &["stream"],
        "Bytes of delivered notes that do not verify. What they said is delivered again.",
    ),
    MetricSpec::counter(DEAD_LETTERS, &["stream"], "Records that were set aside as dead letters."),
    MetricSpec::counter(
        DEAD_LETTERS_FOUND,
        &["stream"],
        "Dead letters that an earlier life left, as the ends of their segments claim.",
    ),
    MetricSpec::counter(
        DEAD_LETTERS_REPLAYED,
        &["stream"],
        "Dead letters that were sent on their way again.",
    ),
    MetricSpec::gauge(DEAD_LETTER_BYTES, &[], "Bytes of dead letters on disk, over all streams."),
    MetricSpec::counter(FAILURES, &["stream"], "Reads, writes and syncs of the disk that failed."),
    MetricSpec::gauge(
        UNCLEAN,
        &[],
        "1 if the last life of the process did not end cleanly: what was in memory alone then is lost.",
    ),
    MetricSpec::histogram(
        SYNC_SECONDS,
        &[],
        "From the append of a group to its fdatasync, in seconds.",
    ),
    MetricSpec::histogram(SEAL_SECONDS, &[], "Encoding and sealing one frame, in seconds."),
    MetricSpec::histogram(GROUP_RECORDS, &[], "Records that one disk sync made durable."),
];

/// The handles of one writer. They are of all streams together: a bucket for each stream would be too many.
#[derive(Debug)]
pub(super) struct WriterMetrics {
    pub(super) sync_seconds: Histogram,
    pub(super) seal_seconds: Histogram,
    pub(super) group_records: Histogram,
}

impl WriterMetrics {
    pub(super) fn new() -> Self {
        Self {
            sync_seconds: histogram!(SYNC_SECONDS),
            seal_seconds: histogram!(SEAL_SECONDS),
            group_records: histogram!(GROUP_RECORDS),
        }
    }
}

/// What is shown of the whole spool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    pub(super) bytes_max: usize,
    pub(super) dead_letter_bytes: usize,
    pub(super) was_unclean: bool,
}

/// Brings the metrics up to date for a scrape.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; bytes stay far below 2^53")]
pub(super) fn show(whole: Whole, streams: &[StreamStatus], now_unix_ms: u64) {
    gauge!(BYTES_MAX).set(whole.bytes_max as f64);
    gauge!(DEAD_LETTER_BYTES).set(whole.dead_letter_bytes as f64);
    gauge!(UNCLEAN).set(f64::from(u8::from(whole.was_unclean)));
    for status in streams {
        let stream = status.stream.to_string();
        let set = |name: &'static str, value: u64| {
            gauge!(name, "stream" => stream.clone()).set(value as f64)
        };
        let count = |name: &'static str, value: u64| {
            counter!(name, "stream" => stream.clone()).absolute(value);
        };
        set(RECORDS, status.records);
        set(BYTES, status.bytes);
        set(SEGMENTS, status.segments);
        set(SEGMENTS_UNCOUNTED, status.segments_uncounted);
        set(WAITS, u64::from(status.waits_for.is_some()));
        let age_ms = status.oldest_unix_ms.map_or(0, |oldest| now_unix_ms.saturating_sub(oldest));
        gauge!(OLDEST_AGE, "stream" => stream.clone()).set(age_ms as f64 / 1e3);
        for reason in NotDurable::ALL {
            let is_it = f64::from(u8::from(status.obstacle == Some(reason)));
            gauge!(OBSTACLE, "stream" => stream.clone(), "reason" => reason.as_str()).set(is_it);
        }
        count(RECOVERED, status.records_recovered);
        count(WRITTEN, status.records_written);
        count(WRITTEN_BYTES, status.bytes_written);
        count(FRAMES_READ, status.frames_read);
        count(QUARANTINED, status.records_quarantined);
        count(QUARANTINED_SEGMENTS, status.segments_quarantined);
        count(TORN, status.torn_bytes);
        count(UNVERIFIED, status.unverified_note_bytes);
        count(DEAD_LETTERS, status.dead_letters);
        count(DEAD_LETTERS_FOUND, status.dead_letters_found);
        count(DEAD_LETTERS_REPLAYED, status.dead_letters_replayed);
        count(FAILURES, status.failures);
    }
}

//! `spool`: what lies in the spool of a process that lives or is gone. It only reads.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::record::StreamName;
use crate::spool::Provider;
use crate::spool::tools::{Inspector, Listing, Place, SegmentFile};

use super::exit::Failure;
use super::table::{self, Table};
use super::{args, export, spool_source, verify};

pub(super) fn run(spool: &args::Spool) -> Result<(), Failure> {
    match spool {
        args::Spool::List(list) => {
            let inspector = spool_source::inspector(&list.place)?;
            super::print(&listed(&inspector, list.place.stream.as_ref(), list.json)?)
        }
        args::Spool::Verify(command) => verify::run(command),
        args::Spool::Export(command) => export::records(command),
    }
}

/// What `spool list` prints.
pub(super) fn listed(
    inspector: &Inspector,
    only: Option<&StreamName>,
    is_json: bool,
) -> Result<String, Failure> {
    let listing = inspector.list(only)?;
    let now = table::now_unix_ms();
    if is_json {
        return Ok(format!("{:#}\n", as_json(inspector, &listing, now)));
    }
    let mut text = segments(&listing, now);
    text.push_str(&streams(&listing, now));
    text.push_str(if listing.is_alive {
        "a standpipe runs with this spool: it goes on changing\n"
    } else {
        "no standpipe runs with this spool\n"
    });
    Ok(text)
}

fn segments(listing: &Listing, now: u64) -> String {
    let mut table = Table::new(&[
        "STREAM", "PLACE", "SEGMENT", "STATE", "RECORDS", "BYTES", "NOTE", "AGE", "KEY",
    ]);
    for file in &listing.segments {
        table.row([
            file.stream.to_string(),
            file.place.as_str().to_owned(),
            format!("{:016x}", file.id),
            file.state.as_str().to_owned(),
            // Believed when it was opened; `verify` does that.
            file.claim.map_or_else(|| "unknown".to_owned(), |claim| claim.records.to_string()),
            table::bytes(file.bytes),
            table::bytes(file.note_bytes),
            table::age(begun(file), now),
            file.key.as_ref().map_or_else(|| "-".to_owned(), |key| key.key_id.clone()),
        ]);
    }
    let mut text = table.text();
    for file in &listing.segments {
        if let Some(why) = file.state.reason() {
            text.push_str(&format!("{}: {}\n", file.path.display(), table::plain(why)));
        }
    }
    text
}

fn streams(listing: &Listing, now: u64) -> String {
    let mut all: BTreeMap<(&StreamName, Place), Sum> = BTreeMap::new();
    for file in &listing.segments {
        all.entry((&file.stream, file.place)).or_default().add(file);
    }
    let lines = all.iter().map(|((stream, place), sum)| {
        let unknown = match sum.unclaimed {
            0 => String::new(),
            segments => {
                format!(" and what is in {} without an end", table::count(segments, "segment"))
            }
        };
        format!(
            "{stream} ({}): {}, {} claimed{unknown}, {}, oldest {}\n",
            place.as_str(),
            table::count(sum.segments, "segment"),
            table::count(sum.records, "record"),
            table::bytes(sum.bytes),
            table::age(sum.oldest, now),
        )
    });
    lines.collect()
}

/// What the segments of a stream come to.
struct Sum {
    segments: u64,
    records: u64,
    unclaimed: u64,
    bytes: u64,
    oldest: u64,
    keys: BTreeSet<String>,
}

impl Default for Sum {
    fn default() -> Self {
        let keys = BTreeSet::new();
        Self { segments: 0, records: 0, unclaimed: 0, bytes: 0, oldest: u64::MAX, keys }
    }
}

impl Sum {
    fn add(&mut self, file: &SegmentFile) {
        self.segments += 1;
        match file.claim {
            Some(claim) => self.records += claim.records,
            None => self.unclaimed += 1,
        }
        self.bytes += file.bytes + file.note_bytes;
        self.oldest = self.oldest.min(begun(file));
        self.keys.extend(file.key.as_ref().map(|key| key.key_id.clone()));
    }
}

/// When a segment was begun: what its header says, or else its name.
fn begun(file: &SegmentFile) -> u64 {
    file.created_unix_ms.unwrap_or(file.id)
}

fn as_json(inspector: &Inspector, listing: &Listing, now: u64) -> Value {
    let mut all: BTreeMap<(&StreamName, Place), Sum> = BTreeMap::new();
    for file in &listing.segments {
        all.entry((&file.stream, file.place)).or_default().add(file);
    }
    let streams = all.iter().map(|((stream, place), sum)| {
        json!({
            "stream": stream.as_str(),
            "place": place.as_str(),
            "segments": sum.segments,
            "segments_unclaimed": sum.unclaimed,
            "records_claimed": sum.records,
            "key_ids": sum.keys,
            "oldest_age_ms": now.saturating_sub(sum.oldest),
            "bytes": sum.bytes,
        })
    });
    let segments = listing.segments.iter().map(|file| {
        json!({
            "stream": file.stream.as_str(),
            "place": file.place.as_str(),
            "segment": format!("{:016x}", file.id),
            "state": file.state.as_str(),
            "reason": file.state.reason(),
            "frames_claimed": file.claim.map(|claim| claim.frames),
            "records_claimed": file.claim.map(|claim| claim.records),
            "provider": file.key.as_ref().map(|key| provider(key.provider)),
            "key_id": file.key.as_ref().map(|key| key.key_id.as_str()),
            "created_unix_ms": file.created_unix_ms,
            "age_ms": now.saturating_sub(begun(file)),
            "bytes": file.bytes,
            "note_bytes": file.note_bytes,
        })
    });
    json!({
        "dir": inspector.dir().display().to_string(),
        "is_alive": listing.is_alive,
        "streams": streams.collect::<Vec<_>>(),
        "segments": segments.collect::<Vec<_>>(),
    })
}

const fn provider(provider: Provider) -> &'static str {
    match provider {
        Provider::Kms => "kms",
        Provider::File => "file",
    }
}

//! What has to hold between the spool, the levels that need it, and its bounds. Pure.

use crate::config::draft::{NamedStream, Slot, StreamDraft};
use crate::config::fault::{Fault, Place};
use crate::config::keys::{DEFAULTS, KEYS};
use crate::ingest::Oversize;
use crate::record::Ack;

use super::{Broken, Relations};

/// One of the two levels that a stream has.
type LevelOf = fn(&StreamDraft) -> Ack;

impl Relations<'_> {
    /// All relations of the spool.
    pub(super) fn spool(&mut self) {
        if self.draft.spool_dir.is_none() {
            self.keys_without_a_directory();
            self.levels_without_a_spool();
            self.oversize_without_a_spool();
        } else {
            self.spool_bounds();
            self.spool_floors();
            self.spool_memory();
        }
    }

    fn keys_without_a_directory(&mut self) {
        for key in KEYS.iter().filter(|key| key.table == "spool" && key.name != "dir") {
            let slot = Slot::table("spool", key.name);
            if self.draft.origins.contains_key(&slot) {
                let message = format!(
                    "{slot} has no meaning without a spool; name a directory with spool.dir"
                );
                self.broken(&[slot, Slot::table("spool", "dir")], message);
            }
        }
    }

    /// Durable is what nobody has to ask for, and what a pipe without a spool can not be.
    fn levels_without_a_spool(&mut self) {
        let draft = self.draft;
        let dir = Slot::table("spool", "dir");
        let default = |key| Slot::table(DEFAULTS, key);
        let is_set = |slot: &Slot| draft.origins.contains_key(slot);
        let mut unsaid = Vec::new();
        let levels: [(&str, LevelOf); 2] =
            [("ack", |stream| stream.settings.ack), ("min_ack", |stream| stream.settings.min_ack)];
        for (key, level) in levels {
            let of = |stream: &StreamDraft| level(stream) == Ack::Durable;
            // A level that nobody set follows the weakest that is allowed: it is no fault of its own.
            let follows =
                |stream: &StreamDraft| key == "ack" && stream.settings.min_ack == Ack::Durable;
            let mut heirs = Vec::new();
            if of(&draft.defaults) && draft.any_streams_max > 0 && !follows(&draft.defaults) {
                heirs.push(default(key));
            }
            for (name, NamedStream { stream, .. }) in &draft.streams {
                let own = Slot::stream(name, key);
                if of(stream) && is_set(&own) {
                    self.durable(&[own, dir.clone()]);
                } else if of(stream) && !follows(stream) {
                    heirs.push(own);
                }
            }
            // What holds for nobody is no fault.
            if !is_set(&default(key)) {
                unsaid.append(&mut heirs);
            } else if !heirs.is_empty() {
                self.durable(&[default(key), dir.clone()]);
            }
        }
        if !unsaid.is_empty() {
            let message = "a pipe without a spool must say ack = \"memory\" itself: write \
                           ack = \"memory\" below [defaults], or name a directory with spool.dir";
            unsaid.extend([default("ack"), dir]);
            self.broken.push(Broken {
                fault: Fault::new(Place::Whole, message),
                slots: unsaid,
                is_of_all_streams: true,
            });
        }
    }

    fn durable(&mut self, slots: &[Slot]) {
        let what = slots.first().map_or_else(String::new, ToString::to_string);
        let message = format!(
            "{what} = \"durable\" needs a spool; name a directory with spool.dir, or write \"memory\""
        );
        self.broken(slots, message);
    }

    fn oversize_without_a_spool(&mut self) {
        let draft = self.draft;
        let sets_aside = |stream: &StreamDraft| stream.settings.oversize == Oversize::DeadLetter;
        let default = Slot::table(DEFAULTS, "oversize");
        let named = draft.streams.iter().filter(|(_, named)| sets_aside(&named.stream));
        let own = named.map(|(name, _)| Slot::stream(name, "oversize"));
        let all = sets_aside(&draft.defaults).then_some(default).into_iter().chain(own);
        for slot in all.filter(|slot| draft.origins.contains_key(slot)) {
            let message = format!(
                "{slot} = \"dead-letter\" needs a spool; name a directory with spool.dir, or write \
                 \"refuse\""
            );
            self.broken(&[slot, Slot::table("spool", "dir")], message);
        }
    }

    fn spool_bounds(&mut self) {
        let spool = &self.draft.spool;
        let ordered = [
            ("stream_bytes_max", spool.stream_bytes_max, "bytes_max", spool.bytes_max),
            (
                "segment_bytes_max",
                spool.segment_bytes_max,
                "stream_bytes_max",
                spool.stream_bytes_max,
            ),
            (
                "stream_floor_bytes",
                spool.stream_floor_bytes,
                "stream_bytes_max",
                spool.stream_bytes_max,
            ),
        ];
        for (less, smaller, more, larger) in ordered {
            if smaller > larger {
                let message = format!(
                    "spool.{less} = {smaller} is more than spool.{more} = {larger}; make it at most that"
                );
                self.broken(&[Slot::table("spool", less), Slot::table("spool", more)], message);
            }
        }
    }

    fn spool_floors(&mut self) {
        let (spool, streams) = (&self.draft.spool, self.draft.streams_count());
        let floors_bytes = spool.stream_floor_bytes.saturating_mul(streams);
        if floors_bytes.saturating_add(spool.reserve_bytes) > spool.bytes_max {
            let message = format!(
                "the floors of {streams} streams and spool.reserve_bytes are {} bytes together, more than \
                 spool.bytes_max = {}; lower spool.stream_floor_bytes or raise spool.bytes_max",
                floors_bytes.saturating_add(spool.reserve_bytes),
                spool.bytes_max
            );
            let keys = ["stream_floor_bytes", "reserve_bytes", "bytes_max"];
            self.broken(&keys.map(|key| Slot::table("spool", key)), message);
        }
    }

    fn spool_memory(&mut self) {
        let draft = self.draft;
        let (spool_bytes, memory_bytes) =
            (draft.spool_memory_bytes(), draft.config.memory_bytes_max);
        // Half of it is for records, or the spool is read into memory that nobody can fill otherwise.
        if spool_bytes > memory_bytes / 2 {
            let message = format!(
                "spool.read_ahead_bytes_max and spool.group_bytes_max are {spool_bytes} bytes together, \
                 more than half of memory.bytes_max = {memory_bytes}; lower those or raise \
                 memory.bytes_max"
            );
            let slots = [
                Slot::table("spool", "read_ahead_bytes_max"),
                Slot::table("spool", "group_bytes_max"),
                Slot::table("memory", "bytes_max"),
            ];
            self.broken(&slots, message);
        }
    }
}

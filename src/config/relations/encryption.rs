//! What has to hold between a stream's destination, its encryption, and who manages it. Pure.

use super::{Relations, Slot};
use crate::config::declared::{DeclaredDraft, RANDOM, Way};
use crate::config::draft::{NamedStream, StreamDraft};
use crate::config::keys::DEFAULTS;
use crate::encryption::sse::Policy;
use crate::forward::When;
use crate::ingest::Delimiter;

/// A key of a stream that means something only beside another one.
struct Dependent {
    key: &'static str,
    /// What it depends on, and what that has to be.
    other: &'static str,
    needs: &'static str,
    is_set: fn(&DeclaredDraft) -> bool,
    has_meaning: fn(&DeclaredDraft) -> bool,
}

const DEPENDENT: [Dependent; 4] = [
    Dependent {
        key: "kinesis_stream",
        other: "destination",
        needs: "destination = \"kinesis\"; write that, or drop it",
        is_set: |declared| declared.kinesis_stream.is_some(),
        has_meaning: |declared| declared.destination == Way::Kinesis,
    },
    Dependent {
        key: "partition_key",
        other: "destination",
        needs: "a destination that can be a data stream; write destination = \"auto\" or \"kinesis\", or drop it",
        is_set: |declared| declared.partition_key != RANDOM,
        has_meaning: |declared| declared.destination != Way::Firehose,
    },
    Dependent {
        key: "aggregate_delimiter",
        other: "aggregate",
        needs: "aggregate = \"on\" or \"auto\"; write that, or drop it",
        is_set: |declared| declared.aggregate_delimiter.is_some(),
        has_meaning: |declared| declared.aggregate != When::Off,
    },
    Dependent {
        key: "encryption_key",
        other: "manage",
        needs: "manage = true, since nobody else changes a stream; write that, or drop it",
        is_set: |declared| declared.encryption_key.is_some(),
        has_meaning: |declared| declared.manage,
    },
];

impl Relations<'_> {
    /// All relations of destinations and encryption.
    pub(super) fn encryption(&mut self) {
        let draft = self.draft;
        for (name, NamedStream { stream, .. }) in &draft.streams {
            self.declared(&stream.declared, |key| Slot::stream(name, key));
            self.joined(stream, |key| Slot::stream(name, key));
            for dependent in DEPENDENT {
                self.dependent(&stream.declared, &dependent, |key| Slot::stream(name, key));
            }
        }
        // What holds for nobody is no fault, but for what is said for all and means nothing to any.
        if draft.any_streams_max > 0 {
            self.declared(&draft.defaults.declared, |key| Slot::table(DEFAULTS, key));
            self.joined(&draft.defaults, |key| Slot::table(DEFAULTS, key));
        }
        for dependent in DEPENDENT {
            let mut streams = draft.streams.values();
            if !streams.any(|named| (dependent.has_meaning)(&named.stream.declared)) {
                let slot = |key| Slot::table(DEFAULTS, key);
                self.dependent(&draft.defaults.declared, &dependent, slot);
            }
        }
        let admin = &draft.config.admin;
        if admin.manage_encryption && admin.token_file.is_none() {
            let message = "admin.manage_encryption = true needs admin.token_file: nobody changes a stream \
                           without the token";
            let slots = ["manage_encryption", "token_file"].map(|key| Slot::table("admin", key));
            self.broken(&slots, message.to_owned());
        }
    }

    fn dependent(
        &mut self,
        declared: &DeclaredDraft,
        dependent: &Dependent,
        slot: impl Fn(&'static str) -> Slot,
    ) {
        if (dependent.is_set)(declared) && !(dependent.has_meaning)(declared) {
            let own = slot(dependent.key);
            let message = format!("{own} has no meaning without {}", dependent.needs);
            let inherited = Slot::table(DEFAULTS, dependent.other);
            self.broken(&[own, slot(dependent.other), inherited], message);
        }
    }

    fn declared(&mut self, declared: &DeclaredDraft, slot: impl Fn(&'static str) -> Slot) {
        if declared.destination == Way::Kinesis && declared.kinesis_stream.is_none() {
            let message = format!(
                "{} = \"kinesis\" needs kinesis_stream, the name or the ARN of the data stream",
                slot("destination")
            );
            self.of_stream(&["destination", "kinesis_stream"], &slot, message);
        }
        if !declared.manage {
            return;
        }
        if declared.encryption == Policy::Ignore {
            let message = format!(
                "{} = true can not stand beside encryption = \"ignore\", by which the service is not even \
                 asked; write encryption = \"report\" or \"require\", or drop manage",
                slot("manage")
            );
            self.of_stream(&["manage", "encryption"], &slot, message);
        }
        if declared.encryption == Policy::Require && declared.is_plain() {
            let message = format!(
                "{} = \"none\" can not stand beside encryption = \"require\": no record would ever leave; \
                 name a key, or write encryption = \"report\"",
                slot("encryption_key")
            );
            self.of_stream(&["encryption_key", "encryption"], &slot, message);
        }
        if declared.destination == Way::Firehose
            && let Some(key) = declared.key().filter(|key| !key.is_for_firehose())
        {
            let message = format!(
                "{} = \"{key}\" can not be the key of a delivery stream, which takes the ARN of a key alone \
                 (arn:aws:kms:...:key/...) or \"aws-owned\"",
                slot("encryption_key")
            );
            self.of_stream(&["encryption_key", "destination"], &slot, message);
        }
    }

    /// Records that have no delimiter of their own are joined only when somebody says how.
    fn joined(&mut self, stream: &StreamDraft, slot: impl Fn(&'static str) -> Slot) {
        let declared = &stream.declared;
        let is_said =
            declared.aggregate_delimiter.is_some() || declared.destination == Way::Kinesis;
        let is_bare = stream.settings.delimiter == Delimiter::None;
        if declared.aggregate != When::Off && is_bare && !is_said {
            let message = format!(
                "{} needs aggregate_delimiter beside delimiter = \"none\": write \"newline\" to have one \
                 added to each record, or \"none\" if what comes out of records one behind the other can \
                 be told apart",
                slot("aggregate")
            );
            self.of_stream(&["aggregate", "delimiter", "aggregate_delimiter"], &slot, message);
        }
    }

    /// Notes a fault of a stream at the first of `keys` that was set, for it or for all.
    fn of_stream(
        &mut self,
        keys: &[&'static str],
        slot: &impl Fn(&'static str) -> Slot,
        message: String,
    ) {
        let inherited = keys.iter().map(|key| Slot::table(DEFAULTS, key));
        let slots: Vec<Slot> = keys.iter().map(|key| slot(key)).chain(inherited).collect();
        self.broken(&slots, message);
    }
}

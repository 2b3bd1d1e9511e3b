//! What has to hold between the settings of the data keys. Pure.

use super::{Relations, Slot, leads_to};
use crate::aws::key_region;
use crate::spool::Provider;

impl Relations<'_> {
    pub(super) fn keys(&mut self) {
        let draft = self.draft;
        let keys = &draft.keys;
        let slot = |key| Slot::table("keys", key);
        if draft.needs_keys() {
            // The emulator brings a key of its own.
            if keys.provider == Provider::Kms && keys.key.is_none() && !draft.is_embedded() {
                let whose = if draft.spool_dir.is_some() { " of the spool" } else { "" };
                let message = format!(
                    "keys.key is not set, and KMS wraps the data keys{whose}: set it to the ARN of a KMS \
                     key, or write provider = \"file\" and name a file"
                );
                let slots = ["provider", "key", "decrypt_only", "file"].map(slot);
                self.broken(&slots, message);
            }
            if keys.provider == Provider::File && keys.file.is_none() {
                let message = "keys.provider = \"file\" needs keys.file, the path of the key file; it \
                               is made when it is not there";
                self.broken(&[slot("provider"), slot("file")], message.to_owned());
            }
        }
        if keys.soft_age > keys.hard_age {
            let message = format!(
                "keys.soft_age_ms = {} is more than keys.hard_age_ms = {}; make it at most that",
                keys.soft_age.as_millis(),
                keys.hard_age.as_millis()
            );
            self.broken(&[slot("soft_age_ms"), slot("hard_age_ms")], message);
        }
        self.regions_of_keys();
        let listen = draft.config.ingest.listen;
        if let Some(endpoint) = &keys.upstream.endpoint
            && leads_to(endpoint, listen)
        {
            let message = format!(
                "keys.endpoint = \"{endpoint}\" is our own ingest.listen = \"{listen}\"; name KMS, or \
                 leave it out for the Region's own endpoint"
            );
            self.broken(&[slot("endpoint"), Slot::table("ingest", "listen")], message);
        }
    }

    /// All keys are asked for at one endpoint, which is that of one Region.
    fn regions_of_keys(&mut self) {
        let keys = &self.draft.keys;
        let mut arns = keys.key.iter().chain(&keys.decrypt_only);
        let Some(first) = arns.next() else { return };
        if let Some(other) = arns.find(|arn| key_region(arn) != key_region(first)) {
            let message = format!(
                "the keys \"{first}\" and \"{other}\" are in two Regions; all keys have to be in one, \
                 as replicas of multi-Region keys can be"
            );
            self.broken(
                &[Slot::table("keys", "decrypt_only"), Slot::table("keys", "key")],
                message,
            );
        }
    }
}

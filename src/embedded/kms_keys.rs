//! The keys of the emulator's KMS: what there is, in which state, and how it is kept in `keys.json`.

use std::collections::BTreeMap;

use base64_simd::STANDARD;
use serde::{Deserialize, Serialize};

use super::emulator::StartError;
use super::files::{DataDir, KEYS};
use super::kms_seal::Material;
use super::wire::{ServiceError, uuid_text};
use super::{ACCOUNT_ID, DEFAULT_KEY};

/// The keys by their id, and the names that they go by.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    keys: BTreeMap<u128, Key>,
    /// `alias/…`, and the key that it means.
    aliases: BTreeMap<String, u128>,
}

/// One key. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) id: u128,
    pub(super) created_ms: u64,
    pub(super) description: String,
    pub(super) state: KeyState,
    pub(super) material: Material,
}

/// What a key can be used for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum KeyState {
    Enabled,
    Disabled,
    PendingDeletion {
        /// It is gone from then on.
        at_ms: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct KeysFile {
    version: u32,
    keys: Vec<KeptKey>,
    /// Each with the id of its key.
    #[serde(default)]
    aliases: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct KeptKey {
    id: String,
    created_ms: u64,
    description: String,
    state: KeyState,
    /// In base64.
    material: String,
}

impl Keys {
    /// Reads the keys of an earlier life, and makes the one that is always there.
    pub(super) fn open(dir: &DataDir, now_ms: u64) -> Result<Self, StartError> {
        let path = dir.path(KEYS);
        let failed = |source| StartError::DataDir { path: path.clone(), source };
        let bad =
            |reason: &str| StartError::KeysFile { path: path.clone(), reason: reason.to_owned() };
        let mut keys = Self::default();
        if let Some(text) = dir.read(KEYS).map_err(failed)? {
            let file: KeysFile =
                serde_json::from_str(&text).map_err(|error| bad(&error.to_string()))?;
            if file.version != VERSION {
                return Err(bad(&format!("version {} is not known", file.version)));
            }
            for kept in file.keys {
                let key = kept.into_key().ok_or_else(|| bad("a key is damaged"))?;
                keys.insert(key);
            }
            for (alias, id) in file.aliases {
                let id = parse_uuid(&id).ok_or_else(|| bad("an alias is damaged"))?;
                keys.aliases.insert(alias, id);
            }
        }
        keys.forget_deleted(now_ms);
        if !keys.keys.contains_key(&DEFAULT_KEY) {
            let material = Material::random()
                .map_err(|_| failed(std::io::Error::other("the system gives no random numbers")))?;
            keys.insert(Key {
                id: DEFAULT_KEY,
                created_ms: now_ms,
                description: "The key that is always there".to_owned(),
                state: KeyState::Enabled,
                material,
            });
        }
        dir.replace(KEYS, &keys.to_json()).map_err(failed)?;
        Ok(keys)
    }

    /// What is kept.
    pub(super) fn to_json(&self) -> String {
        let keys = self.keys.values().map(|key| KeptKey {
            id: uuid_text(key.id),
            created_ms: key.created_ms,
            description: key.description.clone(),
            state: key.state,
            material: STANDARD.encode_to_string(key.material.as_bytes()),
        });
        let aliases = self.aliases.iter().map(|(alias, id)| (alias.clone(), uuid_text(*id)));
        let file = KeysFile { version: VERSION, keys: keys.collect(), aliases: aliases.collect() };
        serde_json::to_string_pretty(&file).expect("texts and numbers can be written as JSON")
    }

    pub(super) fn insert(&mut self, key: Key) {
        self.keys.insert(key.id, key);
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.values()
    }

    /// The aliases, by name, each with the key that it means.
    pub(super) fn aliases(&self) -> impl Iterator<Item = (&str, u128)> {
        self.aliases.iter().map(|(alias, id)| (alias.as_str(), *id))
    }

    /// Lets an alias mean a key; `false` when it means one already.
    pub(super) fn add_alias(&mut self, alias: &str, id: u128) -> bool {
        let is_free = !self.aliases.contains_key(alias);
        if is_free {
            self.aliases.insert(alias.to_owned(), id);
        }
        is_free
    }

    /// Forgets an alias; `false` when there is none.
    pub(super) fn remove_alias(&mut self, alias: &str) -> bool {
        self.aliases.remove(alias).is_some()
    }

    /// Forgets what was to be deleted until now.
    pub(super) fn forget_deleted(&mut self, now_ms: u64) {
        self.keys.retain(|_, key| match key.state {
            KeyState::PendingDeletion { at_ms } => at_ms > now_ms,
            KeyState::Enabled | KeyState::Disabled => true,
        });
        self.aliases.retain(|_, id| self.keys.contains_key(id));
    }

    /// The key with this id.
    pub(super) fn by_id(&self, id: u128) -> Option<&Key> {
        self.keys.get(&id)
    }

    /// The key that is named by its id, its alias or the ARN of either, if there is one.
    pub(super) fn found(&self, named: &str, region: &str) -> Option<&Key> {
        let local = named.strip_prefix(&arn_head(region)).unwrap_or(named);
        let id = match self.aliases.get(local) {
            Some(id) => *id,
            None => parse_uuid(named.strip_prefix(&arn_prefix(region)).unwrap_or(named))?,
        };
        self.keys.get(&id)
    }

    /// The key that a request names, by its id, its alias or the ARN of either.
    pub(super) fn named(&mut self, named: &str, region: &str) -> Result<&mut Key, ServiceError> {
        let id = self.found(named, region).map(|key| key.id);
        let key = id.and_then(|id| self.keys.get_mut(&id));
        key.ok_or_else(|| match named.rsplit_once("alias/") {
            Some((_, alias)) => {
                not_found(&format!("Alias {}alias/{alias} is not found.", arn_head(region)))
            }
            None if named.starts_with("arn:") => {
                not_found(&format!("Key '{named}' does not exist"))
            }
            None => not_found(&format!("Key '{}{named}' does not exist", arn_prefix(region))),
        })
    }
}

impl Key {
    /// Its ARN.
    pub(super) fn arn(&self, region: &str) -> String {
        format!("{}{}", arn_prefix(region), uuid_text(self.id))
    }

    /// Refuses what can not be done with a key in this state.
    pub(super) fn check_usable(&self, region: &str) -> Result<(), ServiceError> {
        match self.state {
            KeyState::Enabled => Ok(()),
            KeyState::Disabled => {
                let message = format!("{} is disabled.", self.arn(region));
                Err(ServiceError::of_code("DisabledException", None, message))
            }
            KeyState::PendingDeletion { .. } => Err(self.pending_deletion(region)),
        }
    }

    /// The refusal of what can not be done with a key that is to be deleted.
    pub(super) fn pending_deletion(&self, region: &str) -> ServiceError {
        let message = format!("{} is pending deletion.", self.arn(region));
        ServiceError::of_code("KMSInvalidStateException", None, message)
    }
}

impl KeptKey {
    fn into_key(self) -> Option<Key> {
        let material = STANDARD.decode_to_vec(self.material.as_bytes()).ok()?;
        Some(Key {
            id: parse_uuid(&self.id)?,
            created_ms: self.created_ms,
            description: self.description,
            state: self.state,
            material: Material::from_bytes(&material)?,
        })
    }
}

/// The ARN of the key that is always there.
pub(super) fn default_arn(region: &str) -> String {
    format!("{}{}", arn_prefix(region), uuid_text(DEFAULT_KEY))
}

pub(super) fn arn_head(region: &str) -> String {
    format!("arn:aws:kms:{region}:{ACCOUNT_ID}:")
}

fn arn_prefix(region: &str) -> String {
    format!("{}key/", arn_head(region))
}

pub(super) fn not_found(message: &str) -> ServiceError {
    ServiceError::of_code("NotFoundException", None, message)
}

fn parse_uuid(text: &str) -> Option<u128> {
    let hex: String = text.chars().filter(|c| *c != '-').collect();
    let id = u128::from_str_radix(&hex, 16).ok()?;
    (uuid_text(id) == text).then_some(id)
}

/// The version of `keys.json`.
const VERSION: u32 = 1;

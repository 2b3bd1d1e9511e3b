//! What the service says of a stream, in words that hold for delivery streams and data streams alike. Pure.

use std::sync::Arc;

use super::declared::{Key, Target};
use super::status::State;
use crate::gate::Joins;

/// What one round of questions has brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Description {
    /// Where the records of the stream go.
    pub(super) place: Place,
    /// What the delivery stream reads from, as the service writes it.
    pub(super) source: Option<Arc<str>>,
    /// The status of the stream that the records go into.
    pub(super) status: Arc<str>,
    pub(super) observed: Observed,
    /// Whether records that go there may be joined.
    pub(super) joins: Joins,
}

/// Where the records of a stream go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Into the delivery stream.
    Firehose,
    /// Into the data stream that it reads from.
    Kinesis {
        /// Its ARN, or its name.
        id: Arc<str>,
        /// The most bytes of a record with its key.
        record_bytes_max: usize,
    },
    /// It reads from something that takes no records from here.
    Nowhere,
}

impl Place {
    /// Whether it is the same stream, whatever it takes now.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Kinesis { id, .. }, Self::Kinesis { id: other, .. }) => id == other,
            _ => self == other,
        }
    }
}

/// The most bytes of a data stream's record with its key, when nobody said otherwise, and the least that any takes.
/// Source: the service.
pub(super) const RECORD_BYTES_DEFAULT: usize = 1024 * 1024;

/// The encryption of a stream, as the service says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Observed {
    pub(super) sse: Sse,
    /// The key that the service names.
    pub(super) key: Option<Key>,
    /// Why the last change failed.
    pub(super) failure: Option<Failure>,
    /// Whether a change can be asked for now.
    pub(super) is_changeable: bool,
}

/// The status of a stream's encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Sse {
    Disabled,
    Enabling,
    Enabled,
    EnablingFailed,
    Disabling,
    DisablingFailed,
    /// A status that nobody foresaw.
    Other,
}

/// Why a change failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// The service's type, such as `KMS_ACCESS_DENIED`.
    pub(super) kind: Arc<str>,
    /// Its details.
    pub(super) details: Arc<str>,
}

impl Sse {
    /// All of them.
    #[cfg(test)]
    pub(super) const ALL: [Self; 7] = [
        Self::Disabled,
        Self::Enabling,
        Self::Enabled,
        Self::EnablingFailed,
        Self::Disabling,
        Self::DisablingFailed,
        Self::Other,
    ];

    /// What Firehose's word means. A stream that says nothing of its encryption has none.
    pub(super) fn of(status: Option<&str>) -> Self {
        match status {
            None | Some("DISABLED") => Self::Disabled,
            Some("ENABLING") => Self::Enabling,
            Some("ENABLED") => Self::Enabled,
            Some("ENABLING_FAILED") => Self::EnablingFailed,
            Some("DISABLING") => Self::Disabling,
            Some("DISABLING_FAILED") => Self::DisablingFailed,
            Some(_) => Self::Other,
        }
    }

    /// The state that is shown for it.
    pub(super) const fn state(self) -> State {
        match self {
            Self::Disabled => State::Disabled,
            Self::Enabling => State::Enabling,
            Self::Enabled => State::Enabled,
            Self::EnablingFailed => State::EnablingFailed,
            Self::Disabling => State::Disabling,
            Self::DisablingFailed => State::DisablingFailed,
            Self::Other => State::Unknown,
        }
    }

    /// Whether it ends by itself.
    pub(super) const fn is_passing(self) -> bool {
        matches!(self, Self::Enabling | Self::Disabling)
    }
}

/// What has to be done for a stream to be what it is meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: it is.
    Nothing,
    /// A change is under way: it has to be waited for.
    Patience,
    /// Encryption is to be started, or the key to be changed.
    Start,
    /// Encryption is to be stopped.
    Stop,
}

impl Observed {
    /// What has to be done for it to become `target`.
    pub(super) fn need(&self, target: &Target) -> Need {
        if self.sse.is_passing() {
            return Need::Patience;
        }
        let need = match (target, self.sse) {
            (Target::Encrypted(key), Sse::Enabled | Sse::DisablingFailed) => {
                if self.has_key(key) == Some(false) { Need::Start } else { Need::Nothing }
            }
            (Target::Encrypted(_), Sse::Disabled | Sse::EnablingFailed) => Need::Start,
            (Target::Plain, Sse::Enabled | Sse::EnablingFailed | Sse::DisablingFailed) => {
                Need::Stop
            }
            // A data stream that is being changed may be on the way to encryption.
            (Target::Plain, Sse::Disabled) if !self.is_changeable => Need::Patience,
            (Target::Plain, Sse::Disabled) => Need::Nothing,
            (_, Sse::Other | Sse::Enabling | Sse::Disabling) => Need::Patience,
        };
        if matches!(need, Need::Start | Need::Stop) && !self.is_changeable {
            return Need::Patience;
        }
        need
    }

    /// The same when a person asks for it, who means it where nobody can tell: a customer's key that may or may
    /// not be the one in force is put in force, and a stream whose status nobody foresaw is changed. It is asked
    /// for once, and changes nothing where it is so already.
    pub(super) fn need_when_asked(&self, target: &Target) -> Need {
        match (self.need(target), target) {
            (_, target) if self.sse == Sse::Other && self.is_changeable => match target {
                Target::Encrypted(_) => Need::Start,
                Target::Plain => Need::Stop,
            },
            (Need::Nothing, Target::Encrypted(key @ Key::Customer(_)))
                if self.has_key(key).is_none() =>
            {
                if self.is_changeable {
                    Need::Start
                } else {
                    Need::Patience
                }
            }
            (need, _) => need,
        }
    }

    /// Whether it is encrypted under `key`. Nothing when that can not be told: an alias says nothing of the key
    /// behind it.
    pub(super) fn has_key(&self, key: &Key) -> Option<bool> {
        // Older streams name no key.
        let current = self.key.as_ref()?;
        match (key, current) {
            (Key::Customer(wanted), Key::Customer(named)) if !key.is_own() && !current.is_own() => {
                is_same_key(wanted, named)
            }
            _ => Some(key.is_own() && current.is_own()),
        }
    }
}

/// Whether two names are of the same key, if they can be compared.
fn is_same_key(a: &str, b: &str) -> Option<bool> {
    let (a, b) = (KeyName::of(a), KeyName::of(b));
    match (a, b) {
        (KeyName::Alias(a), KeyName::Alias(b)) => Some(a == b),
        (KeyName::Id(a), KeyName::Id(b)) => Some(a == b),
        (KeyName::Alias(_), KeyName::Id(_)) | (KeyName::Id(_), KeyName::Alias(_)) => None,
    }
}

/// The part of a key's name that tells it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyName<'a> {
    Alias(&'a str),
    Id(&'a str),
}

impl<'a> KeyName<'a> {
    fn of(name: &'a str) -> Self {
        // In an ARN it stands behind the account.
        let resource = if name.starts_with("arn:") {
            name.splitn(6, ':').nth(5).unwrap_or(name)
        } else {
            name
        };
        match resource.strip_prefix("alias/") {
            Some(alias) => Self::Alias(alias),
            None => Self::Id(resource.strip_prefix("key/").unwrap_or(resource)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "arn:aws:kms:eu-west-1:1:key/00000000-0000-0000-0000-000000000001";

    fn observed(sse: Sse, key: Option<Key>) -> Observed {
        Observed { sse, key, failure: None, is_changeable: true }
    }

    fn customer(name: &str) -> Key {
        Key::Customer(name.into())
    }

    #[test]
    fn what_is_needed_follows_from_what_is_and_what_is_meant() {
        let encrypted = Target::Encrypted(customer(KEY));
        let owned = Target::Encrypted(Key::AwsOwned);
        let table = [
            (Sse::Disabled, Need::Start, Need::Nothing),
            (Sse::Enabling, Need::Patience, Need::Patience),
            (Sse::Enabled, Need::Nothing, Need::Stop),
            (Sse::EnablingFailed, Need::Start, Need::Stop),
            (Sse::Disabling, Need::Patience, Need::Patience),
            (Sse::DisablingFailed, Need::Nothing, Need::Stop),
            (Sse::Other, Need::Patience, Need::Patience),
        ];
        assert_eq!(table.map(|(sse, ..)| sse), Sse::ALL);
        for (sse, for_encrypted, for_plain) in table {
            let seen = observed(sse, Some(customer(KEY)));
            assert_eq!(seen.need(&encrypted), for_encrypted, "{sse:?}");
            assert_eq!(seen.need(&Target::Plain), for_plain, "{sse:?}");
            let busy = Observed { is_changeable: false, ..seen.clone() };
            let changes = |need| matches!(need, Need::Start | Need::Stop);
            assert!(!changes(busy.need(&encrypted)) && !changes(busy.need(&Target::Plain)));
        }
        let enabled = observed(Sse::Enabled, Some(customer(KEY)));
        assert_eq!(enabled.need(&owned), Need::Start, "another key is a change");
    }

    #[test]
    fn names_of_keys_are_compared_only_where_they_can_be() {
        let id = "00000000-0000-0000-0000-000000000001";
        assert_eq!(is_same_key(KEY, KEY), Some(true));
        assert_eq!(is_same_key(KEY, id), Some(true));
        assert_eq!(is_same_key(KEY, "00000000-0000-0000-0000-000000000002"), Some(false));
        assert_eq!(is_same_key("alias/a", "arn:aws:kms:eu-west-1:1:alias/a"), Some(true));
        assert_eq!(is_same_key("alias/a", "alias/b"), Some(false));
        assert_eq!(is_same_key("alias/a", KEY), None);
        // What can not be compared is left alone: a change for every look would use up the day's calls.
        let seen = observed(Sse::Enabled, Some(customer(KEY)));
        assert_eq!(seen.need(&Target::Encrypted(customer("alias/a"))), Need::Nothing);
        let old = observed(Sse::Enabled, None);
        assert_eq!(old.need(&Target::Encrypted(Key::AwsOwned)), Need::Nothing);
        // A person who asks for it means it.
        let asked = |seen: &Observed, key| seen.need_when_asked(&Target::Encrypted(key));
        assert_eq!(asked(&seen, customer("alias/a")), Need::Start);
        assert_eq!(asked(&seen, customer(id)), Need::Nothing);
        assert_eq!(asked(&old, Key::AwsOwned), Need::Nothing);
        let strange = observed(Sse::Other, Some(customer(KEY)));
        assert_eq!(asked(&strange, customer(KEY)), Need::Start);
        assert_eq!(strange.need_when_asked(&Target::Plain), Need::Stop);
        let busy = Observed { is_changeable: false, ..seen };
        assert_eq!(asked(&busy, customer("alias/a")), Need::Patience);
    }

    #[test]
    fn the_services_own_key_is_one_key_by_both_of_its_names() {
        let arn = "arn:aws:kms:eu-west-1:1:alias/aws/kinesis";
        let own = [Key::AwsOwned, customer("alias/aws/kinesis"), customer(arn)];
        for (a, b) in own.iter().flat_map(|a| own.iter().map(move |b| (a, b))) {
            let seen = observed(Sse::Enabled, Some(a.clone()));
            assert_eq!(seen.has_key(b), Some(true), "{a} {b}");
            assert_eq!(seen.has_key(&customer("alias/mine")), Some(false), "{a}");
            let other = observed(Sse::Enabled, Some(customer(KEY)));
            assert_eq!(other.has_key(a), Some(false), "{a}");
        }
    }

    #[test]
    fn a_data_stream_that_is_being_changed_may_be_on_the_way_to_encryption() {
        let updating = Observed { is_changeable: false, ..observed(Sse::Disabled, None) };
        assert_eq!(updating.need(&Target::Plain), Need::Patience);
    }
}

//! Whether the key of a stream can be used: what KMS holds against it, and what the caller may not do with
//! it; and how each service says so. Pure.
//!
//! A key of the emulator's account is looked up in the emulator's KMS; those of other accounts are believed.

use super::ACCOUNT_ID;
use super::account::Account;
use super::kms_keys::{KeyState, Keys};
use super::sse::{FailureType, Key, KeyType};
use super::sse_control::is_kinesis_alias;
use super::wire::ServiceError;

/// What stands against the use of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Missing,
    Disabled,
    PendingDeletion,
    /// The caller lacks a permission of KMS.
    Denied,
}

/// What keys are judged by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge<'s> {
    pub(super) keys: &'s Keys,
    pub(super) account: &'s Account,
    pub(super) region: &'s str,
    pub(super) now_ms: u64,
}

impl Judge<'_> {
    /// What stands against a key and these permissions (`kms:Decrypt`, …). The services' own keys are
    /// always there, and nobody needs a permission for them.
    pub(super) fn trouble(&self, key: &Key, needs: &[&str]) -> Option<Trouble> {
        let (KeyType::CustomerManaged, Some(named)) = (key.key_type, &key.key_arn) else {
            return None;
        };
        self.trouble_of(named, needs)
    }

    fn trouble_of(&self, named: &str, needs: &[&str]) -> Option<Trouble> {
        if is_kinesis_alias(named) {
            return None;
        }
        let mut arn = named.to_owned();
        if is_of_this_account(named) {
            let Some(key) = self.keys.found(named, self.region) else {
                return Some(Trouble::Missing);
            };
            match key.state {
                KeyState::Enabled => {}
                KeyState::Disabled => return Some(Trouble::Disabled),
                KeyState::PendingDeletion { at_ms } if at_ms <= self.now_ms => {
                    return Some(Trouble::Missing);
                }
                KeyState::PendingDeletion { .. } => return Some(Trouble::PendingDeletion),
            }
            arn = key.arn(self.region);
        }
        let denied = needs.iter().any(|action| self.account.denies(action, &arn));
        denied.then_some(Trouble::Denied)
    }
}

impl Trouble {
    /// The failure that a change to such a key ends in.
    pub(super) fn failure(self) -> FailureType {
        match self {
            Self::Missing => FailureType::KmsKeyNotFound,
            Self::Disabled => FailureType::DisabledKmsKey,
            Self::PendingDeletion => FailureType::InvalidKmsKey,
            Self::Denied => FailureType::CreateKmsGrantFailed,
        }
    }

    /// What Firehose refuses a put with.
    pub(super) fn of_firehose(self, key: &Key) -> ServiceError {
        let arn = key.key_arn.as_deref().unwrap_or_default();
        match self {
            Self::Missing => {
                let message = format!("The CMK {arn} does not exist.");
                ServiceError::invalid_kms_resource("NotFoundException", message)
            }
            Self::Disabled => {
                let message = format!("The CMK {arn} is disabled.");
                ServiceError::invalid_kms_resource("DisabledException", message)
            }
            Self::PendingDeletion => {
                let message = format!("The CMK {arn} is pending deletion.");
                ServiceError::invalid_kms_resource("KMSInvalidStateException", message)
            }
            Self::Denied => {
                let message = "The grant for the CMK to this delivery stream might have been revoked \
                               or caller might not have sufficient permissions for the CMK.";
                ServiceError::invalid_kms_resource("AccessDeniedException", message)
            }
        }
    }

    /// What Kinesis refuses a call with.
    pub(super) fn of_kinesis(self, key: &Key) -> ServiceError {
        let arn = key.key_arn.as_deref().unwrap_or_default();
        let (code, message) = match self {
            Self::Missing => ("KMSNotFoundException", format!("Key '{arn}' does not exist")),
            Self::Disabled => ("KMSDisabledException", format!("{arn} is disabled.")),
            Self::PendingDeletion => {
                ("KMSInvalidStateException", format!("{arn} is pending deletion."))
            }
            Self::Denied => (
                "KMSAccessDeniedException",
                String::from(
                    "The ciphertext refers to a customer master key that does not exist, does not \
                     exist in this region, or you are not allowed to access.",
                ),
            ),
        };
        ServiceError::of_code(code, None, message)
    }
}

/// An id and an alias without an ARN are of the caller's account.
fn is_of_this_account(key: &str) -> bool {
    !key.starts_with("arn:") || key.split(':').nth(4) == Some(ACCOUNT_ID)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::sse_control::Of;

    fn trouble(account: &Account, named: &str, needs: &[&str]) -> Option<Trouble> {
        let keys = Keys::default();
        let judge = Judge { keys: &keys, account, region: "us-east-1", now_ms: 0 };
        judge.trouble(&Of::DataStream.key(Some(named.to_owned())), needs)
    }

    #[test]
    fn keys_of_this_account_are_looked_up_and_others_are_believed() {
        let account = Account::default();
        for (named, expected) in [
            ("arn:aws:kms:us-east-1:123456789012:key/1234", None),
            ("alias/aws/kinesis", None),
            ("arn:aws:kms:us-east-1:000000000000:key/1234", Some(Trouble::Missing)),
            ("1234", Some(Trouble::Missing)),
            ("alias/mine", Some(Trouble::Missing)),
        ] {
            assert_eq!(trouble(&account, named, &[]), expected, "{named}");
        }
    }

    #[test]
    fn a_permission_is_needed_for_a_customer_s_key_alone() {
        let account = Account::from_json(br#"{"denied": ["kms:Decrypt"]}"#).unwrap();
        let other = "arn:aws:kms:us-east-1:123456789012:key/1234";
        assert_eq!(trouble(&account, other, &["kms:Decrypt"]), Some(Trouble::Denied));
        assert_eq!(trouble(&account, other, &["kms:GenerateDataKey"]), None);
        assert_eq!(trouble(&account, "alias/aws/kinesis", &["kms:Decrypt"]), None);
    }
}

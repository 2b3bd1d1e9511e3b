//! What holds for the account as a whole: what its callers may not do, and how often they may ask. Pure,
//! given `now`.
//!
//! ```json
//! {"denied": ["kms:GenerateDataKey", "firehose:PutRecordBatch arn:aws:firehose:…"],
//!  "rps": {"firehose:DescribeDeliveryStream": 5}}
//! ```
//!
//! What is denied is denied on every resource, or on the one whose ARN follows after a space.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ACCOUNT_ID;
use super::quota::Bucket;
use super::service::Service;
use super::wire::ServiceError;

/// The account of all callers.
#[derive(Debug, Default)]
pub(super) struct Account {
    settings: Settings,
    /// By action; each is made when it is first asked for.
    buckets: BTreeMap<String, Bucket>,
}

/// What can be set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    denied: Vec<String>,
    rps: BTreeMap<String, u32>,
}

impl Account {
    /// Reads settings and checks them.
    pub(super) fn from_json(json: &[u8]) -> Result<Self, String> {
        let settings: Settings = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let denied = settings.denied.iter().map(|denied| parts(denied).0);
        for action in denied.chain(settings.rps.keys().map(String::as_str)) {
            if !is_action(action) {
                let known = Service::ALL.map(|service| {
                    let actions = service.actions().join(", ");
                    format!("{}: and one of {actions}", service.name())
                });
                let reason = format!("{action:?} is no action; there are kms:CreateGrant, ");
                return Err(reason + &known.join("; "));
            }
        }
        Ok(Self { settings, buckets: BTreeMap::new() })
    }

    /// What is set.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether callers lack a permission (`kms:Decrypt`) for a resource.
    pub(super) fn denies(&self, action: &str, resource: &str) -> bool {
        self.settings
            .denied
            .iter()
            .map(|denied| parts(denied))
            .any(|(denied, on)| denied == action && on.is_none_or(|on| on == resource))
    }

    /// Refuses a call that callers may not make, or make too often. `resource` is asked for its ARN only
    /// when it matters.
    pub(super) fn admit(
        &mut self,
        service: Service,
        action: &str,
        resource: impl FnOnce() -> String,
        now: Duration,
    ) -> Result<(), ServiceError> {
        if self.settings.denied.is_empty() && self.settings.rps.is_empty() {
            return Ok(());
        }
        let permission = format!("{}:{action}", service.name());
        let resource = resource();
        if self.denies(&permission, &resource) {
            return Err(ServiceError::access_denied(&permission, &resource));
        }
        let Some(rps) = self.settings.rps.get(&permission).copied() else { return Ok(()) };
        let bucket = self.buckets.entry(permission).or_insert_with(|| Bucket::new(rps, now));
        if bucket.take_one(now) { Ok(()) } else { Err(too_often(service, action, rps)) }
    }
}

/// What each service says to a call of its control plane that comes too often.
fn too_often(service: Service, action: &str, rps: u32) -> ServiceError {
    match service {
        Service::Firehose => {
            let message =
                format!("Please slow down. Max limit of {rps} RPS has breached for {action}");
            ServiceError::of_code("ThrottlingException", None, message)
        }
        Service::Kinesis => {
            let message = format!("Rate exceeded for {action} under account {ACCOUNT_ID}.");
            ServiceError::limit_exceeded(message)
        }
        Service::Kms => service.throttled(),
    }
}

/// The action, and the resource that it is denied on.
fn parts(denied: &str) -> (&str, Option<&str>) {
    denied.split_once(' ').map_or((denied, None), |(action, on)| (action, Some(on.trim())))
}

fn is_action(action: &str) -> bool {
    let is_of = |service: Service| {
        let action = action.strip_prefix(service.name()).and_then(|rest| rest.strip_prefix(':'));
        action.is_some_and(|action| service.actions().contains(&action))
    };
    // It is no call that the emulator takes, but whoever starts encryption needs it.
    action == CREATE_GRANT || Service::ALL.into_iter().any(is_of)
}

/// What the start of encryption under a customer's key needs.
pub(super) const CREATE_GRANT: &str = "kms:CreateGrant";

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn admit(account: &mut Account, action: &str, now: Duration) -> Result<(), String> {
        let resource = || String::from("arn:demo");
        let admitted = account.admit(Service::Firehose, action, resource, now);
        admitted.map_err(|error| error.code().to_owned())
    }

    #[test]
    fn what_is_denied_is_denied_everywhere_or_on_one_resource() {
        let json = br#"{"denied": ["firehose:PutRecord", "firehose:PutRecordBatch arn:other"]}"#;
        let mut account = Account::from_json(json).unwrap();
        let denied = Err(String::from("AccessDeniedException"));
        assert_eq!(admit(&mut account, "PutRecord", NOW), denied);
        assert_eq!(admit(&mut account, "PutRecordBatch", NOW), Ok(()));
        assert!(account.denies("firehose:PutRecordBatch", "arn:other"));
    }

    #[test]
    fn a_rate_is_of_one_action_and_of_one_second() {
        let json = br#"{"rps": {"firehose:DescribeDeliveryStream": 2}}"#;
        let mut account = Account::from_json(json).unwrap();
        let throttled = Err(String::from("ThrottlingException"));
        let describe = "DescribeDeliveryStream";
        assert_eq!(admit(&mut account, describe, NOW), Ok(()));
        assert_eq!(admit(&mut account, describe, NOW), Ok(()));
        assert_eq!(admit(&mut account, describe, NOW), throttled);
        assert_eq!(admit(&mut account, "ListDeliveryStreams", NOW), Ok(()));
        assert_eq!(admit(&mut account, describe, NOW + Duration::from_millis(500)), Ok(()));
    }

    #[test]
    fn an_action_that_does_not_exist_is_told() {
        for json in [r#"{"denied": ["kms:Nothing"]}"#, r#"{"rps": {"PutRecord": 1}}"#] {
            let reason = Account::from_json(json.as_bytes()).unwrap_err();
            assert!(reason.contains("is no action; there are kms:CreateGrant"), "{reason}");
        }
        Account::from_json(br#"{"denied": ["kms:CreateGrant", "kinesis:PutRecords"]}"#).unwrap();
    }
}

//! The services that the emulator plays: what their actions are called, and what each says when it sheds.

use http::StatusCode;

use super::wire::ServiceError;

/// One of the services behind the one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Firehose,
    Kms,
}

impl Service {
    const ALL: [Self; 2] = [Self::Firehose, Self::Kms];

    /// What stands before the action in `X-Amz-Target`.
    const fn target_prefix(self) -> &'static str {
        match self {
            Self::Firehose => "Firehose_20150804.",
            Self::Kms => "TrentService.",
        }
    }

    /// The actions that there are, by the names that they have at the service.
    pub(super) const fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Firehose => &[
                "CreateDeliveryStream",
                "DeleteDeliveryStream",
                "DescribeDeliveryStream",
                "ListDeliveryStreams",
                "PutRecord",
                "PutRecordBatch",
                "StartDeliveryStreamEncryption",
                "StopDeliveryStreamEncryption",
            ],
            Self::Kms => &[
                "CancelKeyDeletion",
                "CreateKey",
                "Decrypt",
                "DescribeKey",
                "DisableKey",
                "EnableKey",
                "GenerateDataKey",
                "ListKeys",
                "ScheduleKeyDeletion",
            ],
        }
    }

    /// The actions that faults hit when none are named: those of the data plane.
    pub(super) const fn usual_actions(self) -> &'static [&'static str] {
        match self {
            Self::Firehose => &["PutRecord", "PutRecordBatch"],
            Self::Kms => &["Decrypt", "GenerateDataKey"],
        }
    }

    /// What a request over a quota is answered.
    pub(super) fn throttled(self) -> ServiceError {
        match self {
            Self::Firehose => ServiceError::slow_down(),
            Self::Kms => ServiceError::of_code(
                "ThrottlingException",
                None,
                "You have exceeded the rate at which you may call KMS. Reduce the frequency of \
                 your calls.",
            ),
        }
    }

    /// What every request is answered while the service is away.
    pub(super) fn unavailable(self) -> ServiceError {
        match self {
            Self::Firehose => ServiceError::slow_down(),
            Self::Kms => ServiceError::of_code(
                "DependencyTimeoutException",
                Some(StatusCode::SERVICE_UNAVAILABLE),
                "The system timed out while trying to fulfill the request. You can retry the \
                 request.",
            ),
        }
    }
}

/// The action that a target names, of those that there are.
pub(super) fn action_of(target: &str) -> Option<(Service, &'static str)> {
    Service::ALL.into_iter().find_map(|service| {
        let named = target.strip_prefix(service.target_prefix())?;
        let action = service.actions().iter().find(|action| **action == named)?;
        Some((service, *action))
    })
}

//! The services that the emulator plays: what their actions are called, and what each says when it sheds.

use http::StatusCode;

use super::wire::{RATE_EXCEEDED, ServiceError};

/// One of the services behind the one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Service {
    Firehose,
    Kinesis,
    Kms,
}

impl Service {
    pub(super) const ALL: [Self; 3] = [Self::Firehose, Self::Kinesis, Self::Kms];

    /// Its name in permissions (`firehose:PutRecord`).
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Firehose => "firehose",
            Self::Kinesis => "kinesis",
            Self::Kms => "kms",
        }
    }

    /// What stands before the action in `X-Amz-Target`.
    const fn target_prefix(self) -> &'static str {
        match self {
            Self::Firehose => "Firehose_20150804.",
            Self::Kinesis => "Kinesis_20131202.",
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
            Self::Kinesis => &[
                "CreateStream",
                "DeleteStream",
                "DescribeStream",
                "DescribeStreamSummary",
                "GetRecords",
                "GetShardIterator",
                "ListShards",
                "ListStreams",
                "PutRecord",
                "PutRecords",
                "StartStreamEncryption",
                "StopStreamEncryption",
                "UpdateMaxRecordSize",
            ],
            Self::Kms => &[
                "CancelKeyDeletion",
                "CreateAlias",
                "CreateKey",
                "Decrypt",
                "DeleteAlias",
                "DescribeKey",
                "DisableKey",
                "EnableKey",
                "GenerateDataKey",
                "ListAliases",
                "ListKeys",
                "ScheduleKeyDeletion",
            ],
        }
    }

    /// The actions that faults hit when none are named: those of the data plane.
    pub(super) const fn usual_actions(self) -> &'static [&'static str] {
        match self {
            Self::Firehose => &["PutRecord", "PutRecordBatch"],
            Self::Kinesis => &["PutRecord", "PutRecords"],
            Self::Kms => &["Decrypt", "GenerateDataKey"],
        }
    }

    /// What a request over a quota is answered.
    pub(super) fn throttled(self) -> ServiceError {
        match self {
            Self::Firehose => ServiceError::slow_down(),
            Self::Kinesis => {
                ServiceError::of_code("ProvisionedThroughputExceededException", None, RATE_EXCEEDED)
            }
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
            Self::Kinesis => ServiceError::of_code(
                "ServiceUnavailable",
                None,
                "The request has failed due to a temporary failure of the server.",
            ),
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

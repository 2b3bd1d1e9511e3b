//! The answer of `DescribeDeliveryStream`: complete, since the Rust SDK refuses one that lacks a
//! required member. Pure.

use serde_json::{Value, json};

use super::sse::{FailureType, Shown};
use super::streams::{Definition, Destination, Source};

/// The description of a stream at this moment.
pub(super) fn describe(
    definition: &Definition,
    sse: Option<&Shown>,
    region: &str,
    now_ms: u64,
) -> Value {
    let status = if definition.is_active(now_ms) { "ACTIVE" } else { "CREATING" };
    let s3 = s3_destination(&definition.destination);
    let mut extended = s3.clone();
    if let Value::Object(members) = &mut extended {
        members.insert("S3BackupMode".into(), "Disabled".into());
    }
    let mut description = json!({
        "DeliveryStreamName": definition.name,
        "DeliveryStreamARN": definition.arn(region),
        "DeliveryStreamStatus": status,
        "DeliveryStreamType": definition.source.stream_type(),
        "VersionId": "1",
        "CreateTimestamp": seconds(definition.created_ms),
        "HasMoreDestinations": false,
        "Destinations": [{
            "DestinationId": "destinationId-000000000001",
            "S3DestinationDescription": s3,
            "ExtendedS3DestinationDescription": extended,
        }],
    });
    if let Value::Object(members) = &mut description {
        if let Some(sse) = sse {
            members.insert("DeliveryStreamEncryptionConfiguration".into(), encryption(sse));
        }
        if let Some(source) = source(&definition.source) {
            members.insert("Source".into(), source);
        }
    }
    json!({ "DeliveryStreamDescription": description })
}

/// Where the records come from; nothing is said of those that are put directly.
fn source(source: &Source) -> Option<Value> {
    match source {
        Source::DirectPut | Source::Database => None,
        Source::DataStream { arn, role_arn, since_ms } => {
            Some(json!({ "KinesisStreamSourceDescription": {
                "KinesisStreamARN": arn,
                "RoleARN": role_arn,
                "DeliveryStartTimestamp": seconds(*since_ms),
            } }))
        }
        Source::Msk { given } => Some(json!({ "MSKSourceDescription": given })),
    }
}

fn encryption(sse: &Shown) -> Value {
    let mut shown = serde_json::Map::new();
    shown.insert("Status".into(), json!(sse.status));
    if let Some(key) = &sse.key {
        shown.insert("KeyType".into(), json!(key.key_type));
        if let Some(arn) = &key.key_arn {
            shown.insert("KeyARN".into(), json!(arn));
        }
    }
    if let Some(failure) = sse.failure {
        let description = json!({ "Type": failure, "Details": details(failure) });
        shown.insert("FailureDescription".into(), description);
    }
    Value::Object(shown)
}

/// The words are the emulator's own; the service's are not documented.
fn details(failure: FailureType) -> &'static str {
    match failure {
        FailureType::RetireKmsGrantFailed => "The grant on the key cannot be retired.",
        FailureType::CreateKmsGrantFailed => "No grant on the key can be created.",
        FailureType::KmsAccessDenied => "The access to the key is denied.",
        FailureType::DisabledKmsKey => "The key is disabled.",
        FailureType::InvalidKmsKey => "The key is in a state in which it cannot be used.",
        FailureType::KmsKeyNotFound => "The key does not exist.",
        FailureType::KmsOptInRequired => "The account has not opted in to KMS.",
        FailureType::UnknownError => "An unknown error.",
    }
}

fn s3_destination(destination: &Destination) -> Value {
    let mut s3 = json!({
        "RoleARN": destination.role_arn,
        "BucketARN": destination.bucket_arn,
        "BufferingHints": {
            "SizeInMBs": destination.buffer_mib,
            "IntervalInSeconds": destination.buffer_s,
        },
        "CompressionFormat": "UNCOMPRESSED",
        "EncryptionConfiguration": { "NoEncryptionConfig": "NoEncryption" },
        "CloudWatchLoggingOptions": { "Enabled": false },
    });
    if let Value::Object(members) = &mut s3 {
        let given = [
            ("Prefix", &destination.prefix),
            ("ErrorOutputPrefix", &destination.error_output_prefix),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                members.insert(name.into(), json!(value));
            }
        }
    }
    s3
}

/// A moment as JSON 1.1 writes it: seconds with a fraction.
pub(super) fn seconds(unix_ms: u64) -> Value {
    let whole = unix_ms / 1000;
    let fraction = u32::try_from(unix_ms % 1000).unwrap_or(0);
    // Whole seconds stay far below 2^53, where an f64 is exact.
    let whole = u32::try_from(whole).map_or(f64::from(u32::MAX), f64::from);
    json!(whole + f64::from(fraction) / 1000.0)
}

//! The answer of `DescribeDeliveryStream`: complete, since the Rust SDK refuses one that lacks a
//! required member. Pure.

use serde_json::{Value, json};

use super::sse::Shown;
use super::streams::{Definition, Destination};

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
        "DeliveryStreamType": "DirectPut",
        "VersionId": "1",
        "CreateTimestamp": seconds(definition.created_ms),
        "HasMoreDestinations": false,
        "Destinations": [{
            "DestinationId": "destinationId-000000000001",
            "S3DestinationDescription": s3,
            "ExtendedS3DestinationDescription": extended,
        }],
    });
    if let (Value::Object(members), Some(sse)) = (&mut description, sse) {
        members.insert("DeliveryStreamEncryptionConfiguration".into(), encryption(sse));
    }
    json!({ "DeliveryStreamDescription": description })
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
        let details = "The emulator was told to let this fail.";
        shown.insert("FailureDescription".into(), json!({ "Type": failure, "Details": details }));
    }
    Value::Object(shown)
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
fn seconds(unix_ms: u64) -> Value {
    let whole = unix_ms / 1000;
    let fraction = u32::try_from(unix_ms % 1000).unwrap_or(0);
    // Whole seconds stay far below 2^53, where an f64 is exact.
    let whole = u32::try_from(whole).map_or(f64::from(u32::MAX), f64::from);
    json!(whole + f64::from(fraction) / 1000.0)
}

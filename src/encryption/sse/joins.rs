//! Whether joined records come out of a delivery stream as they would have one by one, by what Describe says of
//! its destinations. Pure.
//!
//! What is not known to be safe is not. Only the members that matter are looked at, wherever they stand, and
//! one that is of another form than foreseen is as good as unknown.

use serde_json::Value;

use crate::gate::Joins;

/// Firehose takes the KPL's format apart before anything else.
pub(super) const TAKEN_APART: Joins =
    safe("the delivery stream behind the data stream takes the KPL's format apart");

/// Nobody knows who reads the data stream.
pub(super) const ANY_READER: Joins =
    not("whether all who read the data stream take the KPL's format apart is not known");

const PLAIN: Joins = safe("the destination is S3, where records are put one behind the other");
const CONVERTED: Joins =
    safe("the destination is S3 with a conversion of the format, which reads JSON of any number");
const DE_AGGREGATED: Joins = safe("the stream takes joined records apart (RecordDeAggregation)");
const PARTITIONED: Joins =
    not("the stream has dynamic partitioning, and does not take joined records apart");
const TRANSFORMED: Joins = not("a Lambda function is given records as they are put");
const OTHER_DELIMITER: Joins =
    not("the stream takes records apart at another delimiter than a newline");
const PROCESSED: Joins =
    not("the stream processes its records in a way that is not known to be safe");
const BY_RECORD: Joins = not("the destination takes each record by itself");
const UNKNOWN: Joins = not("the service says nothing of a destination that is known to be safe");
const SEVERAL: Joins = not("the stream has several destinations");

/// A newline in base64: Describe has delimiters like that. Source: the service's guide.
const NEWLINE: &str = "Cg==";

/// The members that describe a destination end like this; these two are S3's. Any other has records by
/// themselves, or is not known not to.
const DESCRIPTION: &str = "DestinationDescription";
const S3: &str = "S3DestinationDescription";
const EXTENDED_S3: &str = "ExtendedS3DestinationDescription";

const fn safe(why: &'static str) -> Joins {
    Joins { is_safe: true, why }
}

const fn not(why: &'static str) -> Joins {
    Joins { is_safe: false, why }
}

/// What holds for a stream with these destinations.
pub(super) fn of(destinations: &Value) -> Joins {
    let destination = match destinations.as_array().map(Vec::as_slice) {
        Some([destination]) => destination,
        Some([_, _, ..]) => return SEVERAL,
        _ => return UNKNOWN,
    };
    let Some(members) = destination.as_object() else { return UNKNOWN };
    let described = members.iter().filter(|(_, value)| !value.is_null());
    // That of S3 may stand beside another one, for what that did not take.
    let is_other = |name: &str| name.ends_with(DESCRIPTION) && name != S3 && name != EXTENDED_S3;
    if described.clone().any(|(name, _)| is_other(name)) {
        return BY_RECORD;
    }
    match members.get(EXTENDED_S3).filter(|extended| extended.is_object()) {
        Some(extended) => of_s3(extended),
        None if described.clone().any(|(name, _)| name == S3) => PLAIN,
        None => UNKNOWN,
    }
}

fn of_s3(extended: &Value) -> Joins {
    let is_on = |name: &str| switch(extended.get(name));
    let (Some(is_processed), Some(is_partitioned), Some(is_converted)) = (
        is_on("ProcessingConfiguration"),
        is_on("DynamicPartitioningConfiguration"),
        is_on("DataFormatConversionConfiguration"),
    ) else {
        return PROCESSED;
    };
    let processors = if is_processed {
        let processors = extended.pointer("/ProcessingConfiguration/Processors");
        match processors.and_then(Value::as_array) {
            Some(processors) => processors.as_slice(),
            None => return PROCESSED,
        }
    } else {
        &[]
    };
    let mut has_lambda = false;
    let mut taken_apart = None;
    for processor in processors {
        match processor.get("Type").and_then(Value::as_str) {
            Some("RecordDeAggregation") => taken_apart = Some(processor),
            Some("Lambda") => has_lambda = true,
            // What reads a record is of use only behind what takes it apart.
            Some("MetadataExtraction") | Some("AppendDelimiterToRecord") => {}
            _ => return PROCESSED,
        }
    }
    match taken_apart {
        Some(processor) if is_taken_apart_at_newlines(processor) => DE_AGGREGATED,
        Some(_) => OTHER_DELIMITER,
        None if is_partitioned => PARTITIONED,
        None if has_lambda => TRANSFORMED,
        None if !processors.is_empty() => PROCESSED,
        None if is_converted => CONVERTED,
        None => PLAIN,
    }
}

/// Whether something is on: `Enabled` of a member that is there. Nothing when it is not what it should be. The
/// service's own default of a member that does not say so is on, or is not known.
fn switch(configuration: Option<&Value>) -> Option<bool> {
    match configuration {
        None | Some(Value::Null) => Some(false),
        Some(Value::Object(members)) => match members.get("Enabled") {
            None => Some(!members.is_empty()),
            Some(enabled) => enabled.as_bool(),
        },
        Some(_) => None,
    }
}

fn is_taken_apart_at_newlines(processor: &Value) -> bool {
    let parameters = processor.get("Parameters").and_then(Value::as_array);
    let value = |name: &str| {
        let is_it = |parameter: &&Value| {
            parameter.get("ParameterName").and_then(Value::as_str) == Some(name)
        };
        parameters?.iter().find(is_it)?.get("ParameterValue")?.as_str()
    };
    match value("SubRecordType") {
        Some("JSON") => true,
        Some("DELIMITED") => value("Delimiter") == Some(NEWLINE),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn extended(more: &Value) -> Joins {
        of(&json!([{"DestinationId": "d", "S3DestinationDescription": {},
            "ExtendedS3DestinationDescription": more}]))
    }

    fn processed(processors: &Value) -> Value {
        json!({"ProcessingConfiguration": {"Enabled": true, "Processors": processors}})
    }

    fn taken_apart(parameters: &[(&str, &str)]) -> Value {
        let parameter =
            |(name, value): &(&str, &str)| json!({"ParameterName": name, "ParameterValue": value});
        let parameters: Vec<Value> = parameters.iter().map(parameter).collect();
        json!({"Type": "RecordDeAggregation", "Parameters": parameters})
    }

    #[test]
    fn s3_as_it_is_and_with_a_conversion_of_the_format_is_safe() {
        assert_eq!(extended(&json!({})), PLAIN);
        assert_eq!(of(&json!([{"S3DestinationDescription": {"BucketARN": "b"}}])), PLAIN);
        let off = json!({"ProcessingConfiguration": {"Enabled": false, "Processors": [{"Type": "Lambda"}]},
            "DynamicPartitioningConfiguration": {"Enabled": false}, "DataFormatConversionConfiguration": null});
        assert_eq!(extended(&off), PLAIN);
        assert_eq!(
            extended(&json!({"DataFormatConversionConfiguration": {"Enabled": true}})),
            CONVERTED
        );
    }

    #[test]
    fn what_reads_a_record_is_safe_only_behind_what_takes_it_apart() {
        let lambda = json!({"Type": "Lambda", "Parameters": []});
        assert_eq!(extended(&processed(&json!([lambda]))), TRANSFORMED);
        let partitioned = json!({"DynamicPartitioningConfiguration": {"Enabled": true}});
        assert_eq!(extended(&partitioned), PARTITIONED);
        let extraction = json!({"Type": "MetadataExtraction", "Parameters": []});
        let mut with_extraction = processed(&json!([extraction]));
        assert_eq!(extended(&with_extraction), PROCESSED);
        with_extraction["DynamicPartitioningConfiguration"] = json!({"Enabled": true});
        assert_eq!(extended(&with_extraction), PARTITIONED);
        let json_records = taken_apart(&[("SubRecordType", "JSON")]);
        let lines = taken_apart(&[("SubRecordType", "DELIMITED"), ("Delimiter", "Cg==")]);
        for apart in [json_records, lines] {
            let mut all = processed(&json!([apart, lambda, extraction]));
            all["DynamicPartitioningConfiguration"] = json!({"Enabled": true});
            assert_eq!(extended(&all), DE_AGGREGATED);
        }
        for other in [
            taken_apart(&[("SubRecordType", "DELIMITED"), ("Delimiter", "Iw==")]),
            taken_apart(&[("SubRecordType", "DELIMITED")]),
            taken_apart(&[]),
        ] {
            assert_eq!(extended(&processed(&json!([other]))), OTHER_DELIMITER);
        }
    }

    #[test]
    fn other_destinations_take_each_record_by_itself() {
        for name in [
            "AmazonopensearchserviceDestinationDescription",
            "AmazonOpenSearchServerlessDestinationDescription",
            "ElasticsearchDestinationDescription",
            "HttpEndpointDestinationDescription",
            "IcebergDestinationDescription",
            "RedshiftDestinationDescription",
            "SnowflakeDestinationDescription",
            "SplunkDestinationDescription",
            "NeverHeardOfDestinationDescription",
        ] {
            assert_eq!(
                of(&json!([{name: {}, "S3DestinationDescription": {}}])),
                BY_RECORD,
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_not_safe() {
        for unknown in [
            json!(null),
            json!([]),
            json!({}),
            json!("x"),
            json!([1]),
            json!([{}]),
            json!([{"DestinationId": "d"}]),
            json!([{"S3DestinationDescription": {}}, {"S3DestinationDescription": {}}]),
        ] {
            assert!(!of(&unknown).is_safe, "{unknown}");
        }
        for odd in [
            json!({"ProcessingConfiguration": {"Enabled": true}}),
            json!({"ProcessingConfiguration": {"Enabled": "yes", "Processors": []}}),
            json!({"ProcessingConfiguration": 7}),
            json!({"DynamicPartitioningConfiguration": {"RetryOptions": {}}}),
            processed(&json!([{"Type": "Decompression"}])),
            processed(&json!([{"Type": "CloudWatchLogProcessing"}])),
            processed(&json!([{"Type": "Tomorrow"}])),
            processed(&json!([{}])),
        ] {
            assert!(!extended(&odd).is_safe, "{odd}");
        }
    }
}

//! A look at the service before anything is sent: are there credentials, and will the streams take records?
//!
//! For `check --live`. It changes nothing and sends no record; it needs `firehose:DescribeDeliveryStream`,
//! which delivering does not.

use std::fmt;

use super::Config;
use super::answer::Described;
use super::firehose::Firehose;
use super::outcome::classify;
use crate::aws::{BadUpstream, CallError};
use crate::record::StreamName;

/// What was found of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The delivery stream.
    pub stream: StreamName,
    /// Whether it would take records now.
    pub is_well: bool,
    /// What the service says, or why it could not be asked.
    pub said: String,
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.stream, self.said)
    }
}

/// Asks the service about each of `streams`, one after the other: it allows five such calls a second.
///
/// # Errors
/// When the proxy, the CA file or the endpoint of the configuration can not be used.
pub async fn look(config: &Config, streams: &[StreamName]) -> Result<Vec<Look>, BadUpstream> {
    let firehose = Firehose::new(config)?;
    let mut found = Vec::new();
    for stream in streams {
        let (is_well, said) = judge(firehose.describe(stream).await);
        found.push(Look { stream: stream.clone(), is_well, said });
    }
    Ok(found)
}

fn judge(described: Result<Described, CallError>) -> (bool, String) {
    match described {
        Ok(Described { status, source }) if source != "DirectPut" => {
            (false, format!("{status}, but its source is {source}: records can not be put into it"))
        }
        Ok(Described { status, .. }) if status == "ACTIVE" => {
            (true, "ACTIVE, takes records".to_owned())
        }
        Ok(Described { status, .. }) => (false, format!("{status}: it takes no records now")),
        Err(error) => {
            let (_, reason) = classify(&error);
            (false, format!("{}: {}", reason.text, reason.message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(status: &str, source: &str) -> (bool, String) {
        judge(Ok(Described { status: status.to_owned(), source: source.to_owned() }))
    }

    #[test]
    fn only_an_active_stream_that_records_are_put_into_is_well() {
        assert!(described("ACTIVE", "DirectPut").0);
        assert!(!described("CREATING", "DirectPut").0);
        let (is_well, said) = described("ACTIVE", "KinesisStreamAsSource");
        assert!(!is_well && said.contains("its source is KinesisStreamAsSource"), "{said}");
        let (is_well, said) = judge(Err(CallError::Timeout));
        assert!(!is_well && said.contains("no answer came in time"), "{said}");
    }
}

//! What is asked of, and answered by, `POST /v1/dead-letters/{stream}/replay`.
//!
//! A request does a piece of the work: as much as fits its time. Whether that was all is in the answer, and
//! with the `segment_max` of it the next request goes on where this one ended, and not with letters that
//! came back meanwhile. Who replays is handed in by `app`; this only reads the request.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;

use super::respond::Problem;

/// A replay that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRequest {
    /// The name of the stream, as the path says it.
    pub stream: String,
    /// The ids of the dead letters; all of them when there is none.
    pub ids: Vec<String>,
    /// What an earlier answer said of where it ends.
    pub segment_max: Option<String>,
    /// How long it may take.
    pub within: Duration,
}

/// Why nothing is replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayRefused {
    /// The process has no spool.
    NoSpool,
    /// It knows no such stream.
    UnknownStream,
    /// An id or a segment is none.
    Malformed(String),
    /// The process stops, or its disk does not answer.
    Stopping,
}

impl fmt::Display for ReplayRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSpool => {
                f.write_str("this standpipe has no spool, so that it has no dead letters")
            }
            Self::UnknownStream => f.write_str(
                "no stream of that name is configured, or has left anything in the spool",
            ),
            Self::Malformed(why) => f.write_str(why),
            Self::Stopping => f.write_str(
                "the process stops, or its disk does not answer; ask again when that is over",
            ),
        }
    }
}

/// What becomes of a replay: what is shown of it, as an object.
pub type ReplayAnswer = Pin<Box<dyn Future<Output = Result<Value, ReplayRefused>>>>;

/// Who replays. It is called on the admin thread and does not wait; what it gives does.
pub type Replay = Box<dyn Fn(ReplayRequest) -> ReplayAnswer + Send>;

/// The most bytes of a request: a thousand ids.
pub(super) const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// How long one request may replay: shorter than an exchange may be.
const WITHIN: Duration = Duration::from_secs(10);

/// Reads a request: an object with `ids` and `segment_max`, both of which may be left out, or nothing.
pub(super) fn parse(stream: &str, body: &str) -> Result<ReplayRequest, Problem> {
    let bad = |why: &str| Problem::BadReplay(why.to_owned());
    let mut request = ReplayRequest {
        stream: stream.to_owned(),
        ids: Vec::new(),
        segment_max: None,
        within: WITHIN,
    };
    if body.trim().is_empty() {
        return Ok(request);
    }
    let Ok(Value::Object(members)) = serde_json::from_str(body) else {
        return Err(bad("the body is no JSON object"));
    };
    for (name, value) in members {
        match (name.as_str(), value) {
            ("ids", Value::Array(ids)) => {
                let ids = ids.into_iter().map(|id| match id {
                    Value::String(id) => Ok(id),
                    _ => Err(bad("an id is a string")),
                });
                request.ids = ids.collect::<Result<_, _>>()?;
                if request.ids.is_empty() {
                    return Err(bad("ids is empty; leave it out to replay all"));
                }
            }
            ("segment_max", Value::String(segment)) => request.segment_max = Some(segment),
            _ => {
                return Err(bad(
                    "what is known is \"ids\", an array, and \"segment_max\", a string",
                ));
            }
        }
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_which_letters_or_nothing() {
        let all = parse("demo", " \n").unwrap();
        assert_eq!((all.stream.as_str(), all.ids.len(), all.segment_max), ("demo", 0, None));
        assert_eq!(parse("demo", "{}").unwrap().ids.len(), 0);
        let some = parse("demo", r#"{"ids":["a","b"],"segment_max":"c"}"#).unwrap();
        assert_eq!(
            (some.ids, some.segment_max.as_deref()),
            (vec!["a".into(), "b".into()], Some("c"))
        );
        for wrong in
            ["[]", "x", r#"{"ids":[]}"#, r#"{"ids":[1]}"#, r#"{"ids":"a"}"#, r#"{"id":["a"]}"#]
        {
            assert!(matches!(parse("demo", wrong), Err(Problem::BadReplay(_))), "{wrong}");
        }
    }
}

//! The partition key of a request's records: its header, on a stream that takes the key from there.
//!
//! It holds for all records of the request, in both dialects. On other streams the header means nothing.

use http::HeaderMap;

use super::StreamSettings;
use super::refusal::Refusal;
use super::response::PARTITION_KEY_HEADER;
use crate::record::PartitionKey;

/// The key that a request gives its records, if it gives one and the stream takes it.
///
/// # Errors
/// When the header is there and has no partition key, or more than one.
pub(super) fn key_of(
    headers: &HeaderMap,
    settings: &StreamSettings,
) -> Result<Option<PartitionKey>, Refusal> {
    if !settings.partition_key_header {
        return Ok(None);
    }
    let refused = |why: &dyn std::fmt::Display| {
        Refusal::Invalid(format!("the header \"{PARTITION_KEY_HEADER}\" is refused: {why}"))
    };
    let mut named = headers.get_all(&PARTITION_KEY_HEADER).iter();
    let value = match (named.next(), named.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Err(refused(&"it is there more than once")),
    };
    let text = str::from_utf8(value.as_bytes()).map_err(|_| refused(&"it is not UTF-8"))?;
    let key = text.trim_matches([' ', '\t']).parse();
    key.map(Some).map_err(|error: crate::record::BadPartitionKey| refused(&error))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::ingest::tests::settings;
    use crate::record::Ack;

    fn key(values: &[&[u8]], is_taken: bool) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PARTITION_KEY_HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        let settings =
            StreamSettings { partition_key_header: is_taken, ..settings(Ack::Memory, Ack::Memory) };
        match key_of(&headers, &settings) {
            Ok(key) => Ok(key.map(|key| key.as_str().to_owned())),
            Err(Refusal::Invalid(why)) => Err(why),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_is_the_text_of_the_header_where_the_stream_takes_it_from_there() {
        assert_eq!(key(&[], true), Ok(None));
        assert_eq!(key(&[b"user 7"], true), Ok(Some("user 7".to_owned())));
        assert_eq!(key(&["Käufer".as_bytes()], true), Ok(Some("Käufer".to_owned())));
        let longest = "\u{1f511}".repeat(256);
        assert_eq!(key(&[longest.as_bytes()], true), Ok(Some(longest)));
        for ignored in [&b""[..], b"\xff", &[b'x'; 300]] {
            assert_eq!(key(&[ignored], false), Ok(None));
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_what_is_wrong() {
        let why = |values| key(values, true).unwrap_err();
        assert!(why(&[&[b'x'; 257]]).ends_with("at most 256 characters, this one has 257"));
        assert!(why(&[b" "]).ends_with("needs at least one character"));
        assert!(why(&[b"a\tb"]).ends_with("has no control characters"));
        assert!(why(&[b"\xe9"]).ends_with("it is not UTF-8"));
        assert!(why(&[b"a", b"a"]).ends_with("it is there more than once"));
    }
}

//! What is logged: the directives that a person writes, checked, and completed for the libraries below us.

use std::fmt;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The longest filter, in bytes.
pub const FILTER_BYTES_MAX: usize = 4 * 1024;

/// The libraries that say at `info` and `debug` what concerns only their own authors. A directive of the
/// person's own for one of them wins.
const QUIETED: &str = "aws_config=warn,aws_credential_types=warn,aws_runtime=warn,\
    aws_sdk_firehose=warn,aws_sdk_sso=warn,aws_sdk_ssooidc=warn,aws_sdk_sts=warn,aws_sigv4=warn,\
    aws_smithy_http_client=warn,aws_smithy_runtime=warn,aws_smithy_runtime_api=warn,h2=warn,\
    hyper=warn,hyper_util=warn,rustls=warn,tower=warn";

/// Why directives are no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFilter(String);

impl BadFilter {
    /// The filter is right, and there is nobody who would use it.
    pub(super) fn gone(error: &dyn fmt::Display) -> Self {
        Self(format!("the logs can not be changed: {error}"))
    }
}

impl fmt::Display for BadFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadFilter {}

/// Says whether `directives` are a filter that can be used: `info`, or `info,standpipe::forward=debug`.
///
/// # Errors
///
/// With what is wrong, when they are not.
pub fn check_filter(directives: &str) -> Result<(), BadFilter> {
    parse_filter(directives).map(drop)
}

/// The filter that `directives` ask for, with the libraries below us quieted.
pub(super) fn parse_filter(directives: &str) -> Result<EnvFilter, BadFilter> {
    if directives.len() > FILTER_BYTES_MAX {
        return Err(BadFilter(format!("a filter has at most {FILTER_BYTES_MAX} bytes")));
    }
    let parts: Vec<&str> =
        directives.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return Err(BadFilter("it is empty; try `info`".to_owned()));
    }
    let mut base = LevelFilter::OFF;
    for part in &parts {
        match part.parse::<LevelFilter>() {
            Ok(level) => base = level,
            // `tracing` takes a lone word for a target at level trace, so that a misspelt level would
            // switch everything else off in silence.
            Err(_) if part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
                return Err(BadFilter(format!(
                    "`{part}` is no level (off, error, warn, info, debug, trace); for a target write \
                     `{part}=debug`"
                )));
            }
            Err(_) => {}
        }
    }
    // Quieting is for who asked for much: below `info` it would make the libraries louder.
    let asked = parts.join(",");
    let whole = if base > LevelFilter::WARN { format!("{QUIETED},{asked}") } else { asked };
    EnvFilter::builder().parse(whole).map_err(|error| BadFilter(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused_and_a_target_is_not() {
        for good in [
            "info",
            "WARN",
            "info,standpipe::forward=debug",
            "off",
            "standpipe::spool",
            "3",
            " info, a=warn\n",
        ] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        for bad in ["", " , ", "inof", "info,debgu", "standpipe=loud", "a=b=c"] {
            assert!(check_filter(bad).is_err(), "{bad}");
        }
        assert!(check_filter(&"a=info,".repeat(1_000)).is_err());
        let why = check_filter("inof").unwrap_err().to_string();
        assert!(why.contains("`inof` is no level"), "{why}");
    }

    #[test]
    fn libraries_are_quiet_unless_the_person_names_them() {
        let shown = |directives| parse_filter(directives).unwrap().to_string();
        assert!(shown("debug").contains("hyper=warn"));
        let named = shown("debug,hyper=trace");
        assert!(named.contains("hyper=trace") && !named.contains("hyper=warn"), "{named}");
        assert!(!shown("error").contains("hyper"));
        assert!(!shown("off").contains("hyper"));
    }
}

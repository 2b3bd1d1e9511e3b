//! What all clients of AWS share: where the services are, as whom they are asked, and over what.
//!
//! It knows no service, and sends nothing by itself.

mod arn;
mod backoff;
mod failure;
mod kept_answer;
mod short;
mod transport;
mod way;

use std::fmt;
use std::path::PathBuf;

pub use arn::{is_data_stream, key_region};
pub(crate) use backoff::Backoff;
pub(crate) use failure::{CallError, Unready, failure};
pub(crate) use kept_answer::KeptAnswer;
pub(crate) use short::ShortAnswers;
use transport::{beside, http_client};
pub(crate) use way::Way;

/// Where the services are, and how they are reached. Never taken from the application's
/// `AWS_ENDPOINT_URL*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upstream {
    /// The Region; otherwise from the environment, the profile or the instance.
    pub region: Option<String>,
    /// The endpoint's URL; otherwise the Region's own.
    pub endpoint: Option<String>,
    /// The named profile of the AWS configuration files.
    pub profile: Option<String>,
    /// A proxy's URL for HTTPS.
    pub proxy: Option<String>,
    /// A file of PEM certificates to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether the FIPS endpoints are used.
    pub fips: bool,
    /// Whose signature the requests carry.
    pub credentials: Credentials,
}

/// Where credentials come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Credentials {
    /// The complete AWS chain: environment, profile, web identity, ECS, EKS pod identity, IMDS.
    #[default]
    Chain,
    /// A fixed pair that means nothing, for the embedded emulator, which verifies no signature.
    Embedded,
}

/// What the configuration says of a service, and what can not be used.
#[derive(Debug)]
pub enum BadUpstream {
    /// The endpoint is not a URL with `http` or `https` and a host.
    Endpoint {
        /// The configured text.
        url: String,
    },
    /// The proxy's URL can not be used.
    Proxy {
        /// What is wrong with it.
        message: String,
    },
    /// The file of certificates can not be read, or has none.
    CaFile {
        /// The configured path.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Neither the system nor a CA file has a certificate to trust, and the endpoint needs one.
    NoCertificates,
}

impl fmt::Display for BadUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint { url } => {
                write!(f, "the endpoint {url:?} is not an http or https URL with a host")
            }
            Self::Proxy { message } => write!(f, "the upstream proxy can not be used: {message}"),
            Self::CaFile { path, message } => {
                write!(f, "the upstream CA file {} can not be used: {message}", path.display())
            }
            Self::NoCertificates => f.write_str(
                "the system has no CA certificates to trust the service by; install them (the package \
                 is called ca-certificates), or name a file with upstream.ca_file",
            ),
        }
    }
}

impl std::error::Error for BadUpstream {}

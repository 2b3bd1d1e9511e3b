//! A failed call in plain words, so that nothing else sees the SDK's types. It judges nothing: the stages do.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// The request as a whole came to nothing, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallError {
    /// No connection came about: the service has seen nothing.
    Connect {
        /// What the transport says.
        message: String,
    },
    /// The connection broke, or the answer could not be read: the service may have acted.
    Broken {
        /// The HTTP status, if there was one.
        status: Option<u16>,
        /// What the transport says.
        message: String,
    },
    /// No answer came in time: the service may have acted.
    Timeout,
    /// The service refused, or failed.
    Service {
        /// The service's code, if it gave one.
        code: Option<String>,
        /// The HTTP status.
        status: u16,
        /// The service's words.
        message: String,
    },
    /// It could not be sent at all, for want of credentials, a Region or the like.
    Unready(Unready),
}

/// What is missing before anything can be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unready {
    /// No Region is known.
    NoRegion,
    /// No source of credentials gave any.
    NoCredentials {
        /// What the chain says.
        message: String,
    },
    /// The request could not be built or signed.
    Unbuildable {
        /// What the SDK says.
        message: String,
    },
}

impl CallError {
    /// Whether other credentials could help.
    pub(crate) fn is_of_credentials(&self) -> bool {
        match self {
            Self::Unready(Unready::NoCredentials { .. }) => true,
            Self::Service { code: Some(code), .. } => CREDENTIAL_CODES.contains(&code.as_str()),
            _ => false,
        }
    }
}

/// What a service says to credentials that are wrong, too old, or of somebody else.
const CREDENTIAL_CODES: [&str; 4] = [
    "AccessDeniedException",
    "ExpiredTokenException",
    "UnrecognizedClientException",
    "InvalidSignatureException",
];

/// What came of a call that did not succeed, by what the SDK says.
pub(crate) fn failure<E>(error: &SdkError<E, HttpResponse>) -> CallError
where
    E: Error + ProvideErrorMetadata + 'static,
{
    match error {
        SdkError::TimeoutError(_) => CallError::Timeout,
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let metadata = service.err().meta();
            let message = metadata.message().unwrap_or_default().to_owned();
            CallError::Service { code: metadata.code().map(str::to_owned), status, message }
        }
        SdkError::ResponseError(response) => CallError::Broken {
            status: Some(response.raw().status().as_u16()),
            message: "the answer can not be read".to_owned(),
        },
        SdkError::DispatchFailure(_) => undispatched(error),
        _ => CallError::Unready(Unready::Unbuildable { message: words(error) }),
    }
}

/// It was not sent, or not answered: for want of credentials, of a connection, or midway.
fn undispatched<E: Error + 'static>(error: &SdkError<E, HttpResponse>) -> CallError {
    let message = words(error);
    if causes(error).any(|cause| cause.is::<CredentialsError>()) {
        return CallError::Unready(Unready::NoCredentials { message });
    }
    let connector = match error {
        SdkError::DispatchFailure(failure) => failure.as_connector_error(),
        _ => None,
    };
    let is_connect = causes(error)
        .filter_map(|cause| cause.downcast_ref::<hyper_util::client::legacy::Error>())
        .any(hyper_util::client::legacy::Error::is_connect);
    match connector {
        _ if is_connect => CallError::Connect { message },
        Some(connector) if connector.is_timeout() => CallError::Timeout,
        Some(connector) if connector.is_io() || connector.as_other().is_some() => {
            CallError::Broken { status: None, message }
        }
        Some(connector) if connector.is_user() => {
            CallError::Unready(Unready::Unbuildable { message })
        }
        _ => CallError::Broken { status: None, message },
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// The words of an error and of what caused it.
fn words(error: &(dyn Error + 'static)) -> String {
    // The outermost error says only that something failed.
    let words: Vec<String> = causes(error).skip(1).map(ToString::to_string).collect();
    words.join(": ")
}

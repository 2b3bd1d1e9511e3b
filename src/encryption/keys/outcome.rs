//! What a failed call of KMS means: by its code, never by its HTTP status where there is a code. Pure.

use crate::aws::{CallError, Unready};

/// What is to be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// It passes by itself: asked again after a jittered wait.
    Passing,
    /// An operator has to put something right: asked again slowly.
    Operator,
    /// It will never succeed: a wrapped key that is damaged or of another context.
    Never,
}

/// A failure, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) class: Class,
    /// One of a fixed set, for the label of a metric.
    pub(super) code: &'static str,
    /// For people, in one line, with the code as it came.
    pub(super) message: String,
}

/// The code of a call that succeeded.
pub(super) const OK: &str = "ok";

/// The code of a failure that is in no table.
const OTHER: &str = "other";

/// The most characters of a message that are kept.
const MESSAGE_CHARS_MAX: usize = 300;

/// The codes of KMS and of the services' common front, and what they mean.
const CODES: &[(&str, Class)] = &[
    ("ThrottlingException", Class::Passing),
    ("Throttling", Class::Passing),
    ("RequestLimitExceeded", Class::Passing),
    ("LimitExceededException", Class::Passing),
    ("KMSInternalException", Class::Passing),
    ("KeyUnavailableException", Class::Passing),
    ("DependencyTimeoutException", Class::Passing),
    ("InternalFailure", Class::Passing),
    ("InternalServerError", Class::Passing),
    ("ServiceUnavailable", Class::Passing),
    ("ServiceUnavailableException", Class::Passing),
    ("RequestTimeoutException", Class::Passing),
    ("DisabledException", Class::Operator),
    ("KMSInvalidStateException", Class::Operator),
    ("NotFoundException", Class::Operator),
    ("AccessDeniedException", Class::Operator),
    ("InvalidArnException", Class::Operator),
    ("InvalidGrantTokenException", Class::Operator),
    ("UnsupportedOperationException", Class::Operator),
    ("ExpiredTokenException", Class::Operator),
    ("UnrecognizedClientException", Class::Operator),
    ("InvalidSignatureException", Class::Operator),
    ("IncompleteSignatureException", Class::Operator),
    ("RequestExpired", Class::Operator),
    ("OptInRequired", Class::Operator),
    ("UnknownOperationException", Class::Operator),
    ("ValidationException", Class::Operator),
    ("InvalidCiphertextException", Class::Never),
    ("IncorrectKeyException", Class::Never),
    ("InvalidKeyUsageException", Class::Never),
];

/// Judges a call for a new data key: there is nothing in it that could be damaged, so that whatever does not
/// pass by itself is an operator's.
pub(super) fn of_generate(error: &CallError) -> Trouble {
    let trouble = of(error);
    let class = match trouble.class {
        Class::Passing => Class::Passing,
        Class::Operator | Class::Never => Class::Operator,
    };
    Trouble { class, ..trouble }
}

/// Judges a call that was to unwrap a data key.
pub(super) fn of_decrypt(error: &CallError) -> Trouble {
    of(error)
}

fn of(error: &CallError) -> Trouble {
    match error {
        CallError::Connect { message } => trouble(Class::Passing, "Connect", message),
        CallError::Timeout => trouble(Class::Passing, "Timeout", "no answer came in time"),
        CallError::Broken { status: None, message } => trouble(Class::Passing, "Broken", message),
        CallError::Broken { status: Some(status), message }
        | CallError::Service { code: None, status, message } => of_status(*status, message),
        CallError::Service { code: Some(code), status, message } => of_code(code, *status, message),
        CallError::Unready(Unready::NoRegion) => trouble(
            Class::Operator,
            "NoRegion",
            "no Region is set: neither here, nor in the environment, the profile or the instance",
        ),
        CallError::Unready(Unready::NoCredentials { message }) => {
            trouble(Class::Operator, "NoCredentials", message)
        }
        CallError::Unready(Unready::Unbuildable { message }) => {
            trouble(Class::Operator, "Unbuildable", message)
        }
    }
}

fn of_code(text: &str, status: u16, message: &str) -> Trouble {
    let known = CODES.iter().find(|(code, _)| *code == text);
    let (class, code) = match known {
        Some((code, class)) => (*class, *code),
        None if status >= 500 => (Class::Passing, OTHER),
        None => (Class::Operator, OTHER),
    };
    Trouble { class, code, message: one_line(text, message) }
}

/// An answer without a code: from something between us and the service, or from a broken one.
fn of_status(status: u16, message: &str) -> Trouble {
    let (class, code) = match status {
        429 => (Class::Passing, "HTTP429"),
        400..=499 => (Class::Operator, "HTTP4xx"),
        500.. => (Class::Passing, "HTTP5xx"),
        _ => (Class::Passing, "Broken"),
    };
    Trouble { class, code, message: one_line(&format!("HTTP {status}"), message) }
}

/// A trouble with one of our own codes.
pub(super) fn trouble(class: Class, code: &'static str, message: &str) -> Trouble {
    Trouble { class, code, message: one_line(code, message) }
}

fn one_line(code: &str, message: &str) -> String {
    let text = if message.is_empty() { code.to_owned() } else { format!("{code}: {message}") };
    text.chars().take(MESSAGE_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(code: &str, status: u16) -> CallError {
        CallError::Service { code: Some(code.to_owned()), status, message: "why".to_owned() }
    }

    #[test]
    fn a_code_means_what_the_table_says_whatever_the_status() {
        for status in [400, 409, 412, 500, 503] {
            let class = |code| of_decrypt(&service(code, status)).class;
            for code in [
                "ThrottlingException",
                "KMSInternalException",
                "KeyUnavailableException",
                "DependencyTimeoutException",
            ] {
                assert_eq!(class(code), Class::Passing, "{code}");
            }
            for code in [
                "DisabledException",
                "KMSInvalidStateException",
                "NotFoundException",
                "AccessDeniedException",
            ] {
                assert_eq!(class(code), Class::Operator, "{code}");
            }
            for code in
                ["InvalidCiphertextException", "IncorrectKeyException", "InvalidKeyUsageException"]
            {
                assert_eq!(class(code), Class::Never, "{code}");
                assert_eq!(of_generate(&service(code, status)).class, Class::Operator, "{code}");
            }
        }
    }

    #[test]
    fn what_nobody_foresaw_is_asked_again_slowly_unless_the_service_says_that_it_failed() {
        assert_eq!(of_decrypt(&service("SomethingNew", 400)).class, Class::Operator);
        assert_eq!(of_decrypt(&service("SomethingNew", 500)).class, Class::Passing);
        assert_eq!(of_decrypt(&service("SomethingNew", 500)).code, OTHER);
        let status = |status| {
            let error = CallError::Broken { status: Some(status), message: String::new() };
            of_decrypt(&error).class
        };
        assert_eq!([429, 502, 200].map(status), [Class::Passing; 3]);
        assert_eq!([403, 407].map(status), [Class::Operator; 2]);
    }

    #[test]
    fn a_message_is_short_on_one_line_and_says_its_code() {
        let message = of_code("DisabledException", 400, &"a\nb".repeat(1_000)).message;
        assert!(message.starts_with("DisabledException: a b"));
        assert_eq!(message.chars().count(), MESSAGE_CHARS_MAX);
        assert!(!message.contains('\n'));
        assert_eq!(of_code("X", 400, "").message, "X");
    }
}

//! What a failed call of the management API means: by its code, never by its HTTP status where there is a
//! code. Pure.

use std::sync::Arc;

use crate::aws::{CallError, Unready};

/// What is to be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// It passes by itself, and the service has done nothing.
    Passing,
    /// Nobody knows whether the service has done it.
    Unanswered,
    /// A change is under way, or the stream is not `ACTIVE`.
    Busy,
    /// The calls of the day are used up.
    Limit,
    /// There is no such stream.
    NotFound,
    /// An operator has to put something right.
    Operator,
}

/// A failure, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) class: Class,
    /// The service's code, or one of ours.
    pub(super) code: Arc<str>,
    /// The service's words, in one line, shortened.
    pub(super) message: Arc<str>,
}

impl Trouble {
    /// Code and words.
    pub(super) fn sentence(&self) -> Arc<str> {
        if self.message.is_empty() {
            return Arc::clone(&self.code);
        }
        format!("{}: {}", self.code, self.message).into()
    }

    /// With the name of the call, where no service has spoken: there are two, each at its own address.
    pub(super) fn during(mut self, call: &str) -> Self {
        if matches!(&*self.code, "Connect" | "Timeout" | "Broken") {
            self.message = format!("{call}: {}", self.message).into();
        }
        self
    }
}

/// The codes, and what they mean. What is in no table is an operator's.
const CODES: &[(&str, Class)] = &[
    ("ThrottlingException", Class::Passing),
    ("Throttling", Class::Passing),
    ("RequestLimitExceeded", Class::Passing),
    ("ServiceUnavailableException", Class::Passing),
    ("ServiceUnavailable", Class::Passing),
    ("KMSThrottlingException", Class::Passing),
    ("ConcurrentModificationException", Class::Passing),
    ("InternalFailure", Class::Unanswered),
    ("InternalServerError", Class::Unanswered),
    ("InternalServiceException", Class::Unanswered),
    ("RequestTimeoutException", Class::Unanswered),
    ("ResourceInUseException", Class::Busy),
    ("LimitExceededException", Class::Limit),
    ("ResourceNotFoundException", Class::NotFound),
];

/// The most characters of a message or a code that are kept.
const CHARS_MAX: usize = 300;

/// Judges a failed call.
pub(super) fn of(error: &CallError) -> Trouble {
    let ours = |class, code: &str, message: &str| trouble(class, code, message);
    match error {
        CallError::Connect { message } => ours(Class::Passing, "Connect", message),
        CallError::Timeout => ours(Class::Unanswered, "Timeout", "no answer came in time"),
        CallError::Broken { message, .. } => ours(Class::Unanswered, "Broken", message),
        CallError::Service { code: Some(code), status, message } => {
            let known = CODES.iter().find(|(known, _)| known == code);
            let class = match known {
                Some((_, class)) => *class,
                None if *status >= 500 => Class::Unanswered,
                None => Class::Operator,
            };
            trouble(class, code, message)
        }
        CallError::Service { code: None, status: status @ 500.., message } => {
            trouble(Class::Unanswered, &format!("HTTP{status}"), message)
        }
        CallError::Service { code: None, status: 429, message } => {
            trouble(Class::Passing, "HTTP429", message)
        }
        CallError::Service { code: None, status, message } => {
            trouble(Class::Operator, &format!("HTTP{status}"), message)
        }
        CallError::Unready(Unready::NoRegion) => ours(
            Class::Operator,
            "NoRegion",
            "no Region is set: neither here, nor in the environment, the profile or the instance",
        ),
        CallError::Unready(Unready::NoCredentials { message }) => {
            ours(Class::Operator, "NoCredentials", message)
        }
        CallError::Unready(Unready::Unbuildable { message }) => {
            ours(Class::Operator, "Unbuildable", message)
        }
    }
}

fn trouble(class: Class, code: &str, message: &str) -> Trouble {
    let short = |text: &str| -> Arc<str> {
        let one_line = |c: char| if c.is_control() { ' ' } else { c };
        text.chars().take(CHARS_MAX).map(one_line).collect::<String>().into()
    };
    Trouble { class, code: short(code), message: short(message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_counts_whatever_the_status_says_and_what_nobody_foresaw_is_an_operator_s() {
        let class = |code: &str, status| {
            let error =
                CallError::Service { code: Some(code.to_owned()), status, message: String::new() };
            of(&error).class
        };
        for status in [400, 500] {
            assert_eq!(class("LimitExceededException", status), Class::Limit);
            assert_eq!(class("ResourceInUseException", status), Class::Busy);
            assert_eq!(class("ThrottlingException", status), Class::Passing);
        }
        assert_eq!(class("AccessDeniedException", 400), Class::Operator);
        assert_eq!(class("InvalidKMSResourceException", 400), Class::Operator);
        assert_eq!(class("SomethingNew", 400), Class::Operator);
        assert_eq!(class("SomethingNew", 503), Class::Unanswered);
    }

    #[test]
    fn where_no_service_has_spoken_the_call_is_named() {
        let said = |error| of(&error).during("DescribeStreamSummary").sentence();
        let message = "no such host".to_owned();
        assert_eq!(
            &*said(CallError::Connect { message }),
            "Connect: DescribeStreamSummary: no such host"
        );
        let (code, message) = (Some("AccessDeniedException".to_owned()), "no".to_owned());
        let service = CallError::Service { code, status: 400, message };
        assert_eq!(&*said(service), "AccessDeniedException: no");
    }

    #[test]
    fn a_message_is_short_and_on_one_line() {
        let trouble = trouble(Class::Operator, "X", &"a\nb".repeat(1_000));
        assert_eq!(trouble.message.chars().count(), CHARS_MAX);
        assert!(!trouble.sentence().contains('\n'));
    }
}

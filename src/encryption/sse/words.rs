//! What people are told of a stream under control: one sentence each. Pure.

use std::sync::Arc;
use std::time::Instant;

use super::guard::Stand;
use super::machine::Machine;
use super::observed::{Description, Sse};
use super::owner::Phase;
use super::status::State;

/// Why the records of a stream go nowhere.
pub(super) fn nowhere(description: Option<&(Description, Instant)>) -> Arc<str> {
    let source = description.and_then(|(description, _)| description.source.as_deref());
    format!(
        "the delivery stream reads from {}, and takes no records from here; what can be delivered to are \
         streams whose source is Direct PUT or a Kinesis data stream",
        source.unwrap_or("another source")
    )
    .into()
}

/// Why the records of a stream that has to be encrypted wait.
pub(super) fn closed(machine: &Machine) -> Arc<str> {
    match (machine.guard.stand(), &machine.trouble) {
        (Stand::Unknown, Some(trouble)) => format!(
            "it is not known whether the stream is encrypted, and the service can not be asked: {}",
            trouble.sentence()
        )
        .into(),
        (Stand::Settling { .. }, _) if state(machine) == State::Contradicted => {
            format!("{CONTRADICTED}; ever later one record is sent to find out").into()
        }
        (Stand::Settling { .. }, _) => {
            "the stream was found encrypted a moment ago; until every record is, they wait".into()
        }
        _ => detail(machine),
    }
}

/// The state that is shown, from what the service says and what answers say.
pub(super) fn state(machine: &Machine) -> State {
    let said = machine.description.as_ref().map(|(description, _)| description.observed.sse);
    match (machine.guard.stand(), said) {
        (Stand::Plain, Some(Sse::Enabled | Sse::DisablingFailed)) => State::Contradicted,
        // Until an answer confirms it, it stays so: between two tries too.
        (Stand::Settling { .. } | Stand::Trying, Some(Sse::Enabled | Sse::DisablingFailed))
            if machine.guard.is_contradicted() =>
        {
            State::Contradicted
        }
        (Stand::Plain, Some(sse)) => sse.state(),
        (Stand::Plain, None) => State::Disabled,
        (
            Stand::Proven,
            Some(sse @ (Sse::Enabling | Sse::EnablingFailed | Sse::DisablingFailed)),
        ) => sse.state(),
        (Stand::Proven, _) => State::Enabled,
        (Stand::Unknown | Stand::Settling { .. } | Stand::Trying, Some(sse)) => sse.state(),
        (Stand::Unknown | Stand::Settling { .. } | Stand::Trying, None) => State::Unknown,
    }
}

/// One sentence about how it stands.
pub(super) fn detail(machine: &Machine) -> Arc<str> {
    let failure = machine
        .description
        .as_ref()
        .and_then(|(description, _)| description.observed.failure.as_ref())
        .map(|failure| format!(" ({}: {})", failure.kind, failure.details))
        .unwrap_or_default();
    match (state(machine), machine.guard.stand()) {
        (State::Unknown, _) => match &machine.trouble {
            Some(trouble) => {
                format!("the service can not be asked about the stream: {}", trouble.sentence()).into()
            }
            None => "the service is being asked whether the stream is encrypted".into(),
        },
        (State::Disabled, _) => "the stream is not encrypted".into(),
        (State::Enabling, Stand::Proven) => {
            "the key is being changed; the old one encrypts until that is done".into()
        }
        (State::Enabling, Stand::Unknown | Stand::Plain) => {
            "encryption is being switched on; until that is done nothing is encrypted".into()
        }
        (State::EnablingFailed, Stand::Settling { .. } | Stand::Trying) => format!(
            "the last change of the key failed{failure}; the next answer confirms that the old key encrypts"
        )
        .into(),
        (State::Enabling, Stand::Settling { .. } | Stand::Trying) => {
            "the key is being changed; the next answer confirms that the old one encrypts".into()
        }
        (State::EnablingFailed, Stand::Proven) => format!(
            "the last change of the key failed{failure}; the old key goes on encrypting"
        )
        .into(),
        (State::EnablingFailed, Stand::Unknown | Stand::Plain) => format!(
            "the last attempt to encrypt the stream failed{failure}, and whether an older key encrypts is not \
             known; start encryption again with a key that works"
        )
        .into(),
        (State::Disabling, _) => "encryption is being switched off".into(),
        (State::DisablingFailed, _) => {
            format!("the last attempt to switch encryption off failed{failure}; it is still on").into()
        }
        (State::Contradicted, _) => CONTRADICTED.into(),
        (State::Enabled, Stand::Trying) if machine.guard.is_silent() => {
            "the stream is said to be encrypted, and answers say nothing of it: it is asked on with one record \
             at a time"
                .into()
        }
        (State::Enabled, Stand::Trying) => {
            "the stream is said to be encrypted; the next answer confirms it".into()
        }
        (State::Enabled, Stand::Settling { .. }) => {
            "the stream was found encrypted; the service takes a moment until every record is".into()
        }
        (State::Enabled, _) => "the stream is encrypted, and answers confirm it".into(),
    }
}

const CONTRADICTED: &str =
    "the service says that the stream is encrypted, and its answers say that records are not";

/// What the owner does, in a word.
pub(super) fn doing(machine: &Machine) -> &'static str {
    match machine.owner.phase() {
        Phase::Calling(_) => "calling",
        Phase::Changing(_) => "changing",
        Phase::Idle if machine.owner.is_busy() => "waiting",
        Phase::Idle => "idle",
    }
}

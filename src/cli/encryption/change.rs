//! `encryption enable` and `encryption disable`: one call, and if it is asked for the wait for its end.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::args;
use super::super::exit::{Exit, Failure};
use super::super::table;
use super::show::{as_target, described_json, error};
use super::{Asked, Service};
use crate::encryption::sse::{ChangeRefused, Described, State, Target};

/// The first wait for the service, and the longest. It doubles.
const POLL_MIN: Duration = Duration::from_secs(1);
const POLL_MAX: Duration = Duration::from_secs(15);

pub(super) fn run(
    asked: &args::AskedStream,
    target: &Target,
    waiting: args::Waiting,
) -> Result<(), Failure> {
    let config = super::configured(&asked.config)?;
    let Some(stream) = super::one(&config, asked) else {
        return Err(Failure::new(Exit::Usage, "say which stream is meant, or --kinesis-stream"));
    };
    let service = Service::new(&config)?;
    let wait = waiting.wait.then(|| Duration::from_millis(waiting.timeout_ms));
    let change = Change { asked: stream, target, poll: (POLL_MIN, POLL_MAX) };
    let changed = change.make(&service, wait);
    super::super::print(&if asked.json {
        changed.as_json(&change)
    } else {
        changed.text(&change)
    })?;
    changed.result(&change)
}

/// What is to be done.
pub(super) struct Change<'a> {
    pub(super) asked: Asked,
    pub(super) target: &'a Target,
    /// The first wait for the service, and the longest.
    pub(super) poll: (Duration, Duration),
}

/// What came of it.
pub(super) struct Changed {
    /// The call that was made, if one was.
    pub(super) call: Result<Option<&'static str>, ChangeRefused>,
    /// How the stream stood at the end of the wait, if it was waited.
    pub(super) end: Option<End>,
}

/// How a wait ended.
pub(super) enum End {
    /// It is what was asked for.
    Reached(Described),
    /// The change failed.
    Failed(Described),
    /// It took too long; the last answer or the last trouble.
    TooLong(Result<Described, ChangeRefused>),
}

impl Change<'_> {
    pub(super) fn make(&self, service: &Service, wait: Option<Duration>) -> Changed {
        let until = wait.map(|wait| Instant::now() + wait);
        let mut pause = self.poll.0;
        let call = loop {
            match (service.change(&self.asked, self.target), until) {
                // A change that is under way is waited for too.
                (Err(ChangeRefused::Busy(_)), Some(until)) if Instant::now() < until => {
                    self.pause(service, &mut pause, until);
                }
                (call, _) => break call,
            }
        };
        let end = match (&call, until) {
            (Ok(_), Some(until)) => Some(self.wait(service, until)),
            // It may have been done all the same.
            (Err(ChangeRefused::Unanswered(_)), Some(until)) => Some(self.wait(service, until)),
            _ => None,
        };
        Changed { call, end }
    }

    fn wait(&self, service: &Service, until: Instant) -> End {
        let mut pause = self.poll.0;
        loop {
            let found = service.describe(&self.asked);
            if let Ok(described) = &found {
                let has_failed = match self.target {
                    Target::Encrypted(_) => described.state == State::EnablingFailed,
                    Target::Plain => described.state == State::DisablingFailed,
                };
                if described.is(self.target) {
                    return End::Reached(described.clone());
                }
                if has_failed {
                    return End::Failed(described.clone());
                }
            }
            if Instant::now() >= until {
                return End::TooLong(found);
            }
            self.pause(service, &mut pause, until);
        }
    }

    fn pause(&self, service: &Service, pause: &mut Duration, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        service.sleep((*pause).min(left));
        *pause = (*pause * 2).min(self.poll.1);
    }

    /// What the configuration says against it.
    fn warning(&self) -> Option<String> {
        let declared = self.asked.declared.manage.as_ref().filter(|own| *own != self.target)?;
        Some(format!(
            "{declared} is declared (manage = true): a running standpipe with this configuration brings the \
             stream back to that"
        ))
    }
}

impl Changed {
    pub(super) fn text(&self, change: &Change<'_>) -> String {
        let name = &change.asked.name;
        let mut lines: Vec<String> = change.warning().into_iter().collect();
        match &self.call {
            Ok(Some(call)) => {
                lines.push(format!("the service has taken {call}: {}", means(change.target)));
                if self.end.is_none() {
                    lines.push(
                        "it goes on with that by itself; `encryption status` shows how it stands, and --wait \
                         waits for the end"
                            .to_owned(),
                    );
                }
            }
            Ok(None) => {
                lines.push(format!("it is {} as it stands; nothing was done", change.target))
            }
            Err(_) => {}
        }
        match &self.end {
            Some(End::Reached(_)) if self.call.as_ref().is_ok_and(Option::is_some) => {
                lines.push(format!(
                    "it is {} now; the service may take some 5 s more for every record",
                    change.target
                ));
            }
            Some(End::Reached(_)) if self.call.is_err() => {
                lines.push(format!("no answer came, and it is {} now", change.target));
            }
            Some(End::Reached(_) | End::Failed(_) | End::TooLong(_)) | None => {}
        }
        lines.iter().map(|line| format!("{name}: {}\n", table::plain(line))).collect()
    }

    pub(super) fn as_json(&self, change: &Change<'_>) -> String {
        let (waited, described) = match &self.end {
            None => (Value::Null, None),
            Some(End::Reached(described)) => ("reached".into(), Some(described)),
            Some(End::Failed(described)) => ("failed".into(), Some(described)),
            Some(End::TooLong(found)) => ("too_long".into(), found.as_ref().ok()),
        };
        let shown = json!({
            "name": change.asked.name,
            "target": as_target(change.target),
            "call": self.call.as_ref().ok().copied().flatten(),
            "error": self.call.as_ref().err().map(error),
            "warning": change.warning(),
            "waited": waited,
            "encryption": described.map(described_json),
        });
        format!("{shown:#}\n")
    }

    pub(super) fn result(&self, change: &Change<'_>) -> Result<(), Failure> {
        let (name, target) = (&change.asked.name, change.target);
        let failed = |message: String| Err(Failure::new(Exit::Unavailable, table::plain(&message)));
        match (&self.call, &self.end) {
            (_, Some(End::Reached(_))) | (Ok(_), None) => Ok(()),
            (_, Some(End::Failed(described))) => {
                let why = described.failure.as_ref().map_or_else(
                    || "the service does not say why".to_owned(),
                    |(kind, details)| format!("{kind}: {details}"),
                );
                failed(format!("{name} did not become {target}: {why}"))
            }
            (Ok(_), Some(End::TooLong(found))) => {
                let last = match found {
                    Ok(described) => described.state.as_str().to_owned(),
                    Err(refused) => refused.to_string(),
                };
                failed(format!(
                    "{name} is not {target} yet: {last}; the service goes on with it by itself"
                ))
            }
            (Err(refused), _) => failed(format!("{name} was not changed: {refused}")),
        }
    }
}

/// What a change means to records.
const fn means(target: &Target) -> &'static str {
    match target {
        Target::Encrypted(_) => {
            "once that is done, what is put into the stream is encrypted at the service"
        }
        Target::Plain => {
            "once that is done, what is put into the stream is not encrypted at the service"
        }
    }
}

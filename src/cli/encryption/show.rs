//! What is told of streams that were asked about: to people in a table, to programs in JSON, by an exit code.

use serde_json::{Value, json};

use super::super::exit::{Exit, Failure};
use super::super::table::{self, Table};
use super::Asked;
use crate::encryption::sse::{
    ChangeRefused, Declared, Described, Destination, Policy, State, Target,
};

/// A stream, and what was found of it.
pub(in super::super) type Look = (Asked, Result<Described, ChangeRefused>);

/// All that were asked about.
pub(in super::super) struct Looks(pub(super) Vec<Look>);

impl Looks {
    pub(in super::super) fn each(&self) -> impl Iterator<Item = &Look> {
        self.0.iter()
    }

    pub(super) fn text(&self) -> String {
        let names = ["STREAM", "ENCRYPTION", "KEY", "RECORDS GO TO", "STATUS", "DECLARED"];
        let mut table = Table::new(&names);
        let mut notes = String::new();
        for (asked, found) in &self.0 {
            let declared = declaration(asked);
            let name = asked.name.clone();
            match found {
                Ok(described) => {
                    let key = described.key.as_ref().map_or("-".to_owned(), ToString::to_string);
                    let state = described.state.as_str().to_owned();
                    let status = described.status.to_string();
                    table.row([name, state, key, goes_to(described), status, declared]);
                }
                Err(_) => {
                    let unknown = || "?".to_owned();
                    table.row([name, unknown(), unknown(), unknown(), unknown(), declared]);
                }
            }
            for note in notes_of(asked, found) {
                notes.push_str(&format!("{}: {}\n", asked.name, table::plain(&note)));
            }
        }
        table.text() + &notes
    }

    pub(super) fn as_json(&self) -> String {
        let streams: Vec<Value> =
            self.0.iter().map(|(asked, found)| as_json(asked, found)).collect();
        format!("{:#}\n", json!({ "streams": streams }))
    }

    /// How the command ends. Only with `require` is a stream that is not encrypted anything but an answer.
    pub(super) fn result(&self, require: bool) -> Result<(), Failure> {
        let all = self.0.len();
        let unknown = self.0.iter().filter(|(_, found)| found.is_err()).count();
        if unknown > 0 {
            let message = format!("{unknown} of {all} streams could not be asked about");
            return Err(Failure::new(Exit::Unavailable, message));
        }
        let is_bad = |(asked, found): &&Look| {
            found.as_ref().is_ok_and(|described| {
                !described.is_encrypted() || !deviations(&asked.declared, described).is_empty()
            })
        };
        match self.0.iter().filter(is_bad).count() {
            bad if require && bad > 0 => {
                let message = format!("{bad} of {all} streams are not encrypted as they should be");
                Err(Failure::new(Exit::Unwell, message))
            }
            _ => Ok(()),
        }
    }
}

/// What is not as it is declared, a sentence each.
pub(in super::super) fn deviations(declared: &Declared, described: &Described) -> Vec<String> {
    let mut found = Vec::new();
    if !described.takes_records {
        let source = described.source.as_deref().unwrap_or("another one");
        found.push(match declared.destination {
            Destination::Firehose => format!(
                "destination = \"firehose\" is declared, and its source is {source}: no record can be put into it"
            ),
            Destination::Auto | Destination::Kinesis(_) => {
                format!("its source is {source}, which takes no records from here")
            }
        });
    }
    if declared.policy == Policy::Require && !described.is_encrypted() {
        found.push(
            "encryption = \"require\" is declared, and it is not encrypted: its records wait"
                .to_owned(),
        );
    }
    if let Some(target) = declared.manage.as_ref().filter(|target| !described.is(target)) {
        found
            .push(format!("{target} is declared (manage = true), and it is {}", stands(described)));
    }
    found
}

/// How a stream stands, behind "it is".
fn stands(described: &Described) -> String {
    match (described.state, &described.key) {
        (State::Enabled, Some(key)) => format!("encrypted under {key}"),
        (State::Enabled, None) => "encrypted".to_owned(),
        (State::Disabled, _) => "not encrypted".to_owned(),
        (state, _) => state.as_str().to_owned(),
    }
}

/// All about a stream in a sentence.
pub(in super::super) fn sentence(described: &Described) -> String {
    let source =
        described.source.as_deref().map_or_else(String::new, |source| format!(", source {source}"));
    let key = described.key.as_ref().map_or_else(String::new, |key| format!(" under {key}"));
    format!(
        "{}{source}, records go to {}, encryption {}{key}",
        described.status,
        goes_to(described),
        described.state.as_str()
    )
}

fn goes_to(described: &Described) -> String {
    match &described.data_stream {
        Some(id) => format!("kinesis: {id}"),
        None if described.takes_records => "firehose".to_owned(),
        None => "nowhere".to_owned(),
    }
}

/// What is worth a line of its own.
fn notes_of(asked: &Asked, found: &Result<Described, ChangeRefused>) -> Vec<String> {
    match found {
        Err(refused) => vec![format!("it could not be asked about: {refused}")],
        Ok(described) => {
            let failure = described
                .failure
                .iter()
                .map(|(kind, details)| format!("the last change failed: {kind}: {details}"));
            let unsure = asked.declared.manage.iter().filter(|target| described.may_be(target));
            let unsure = unsure.map(|target| {
                let key = described.key.as_ref().map_or("no key".to_owned(), ToString::to_string);
                format!(
                    "{target} is declared (manage = true), and the service names {key}: whether that is the same \
                     key can not be told from here"
                )
            });
            let passing = described.is_passing_unseen().then(|| {
                "the data stream is UPDATING: what its encryption becomes is known when that is over".to_owned()
            });
            let strange = (described.state == State::Unknown).then(|| {
                "the service does not say whether it is encrypted in words that are known here"
                    .to_owned()
            });
            let declared = deviations(&asked.declared, described);
            failure.chain(declared).chain(unsure).chain(passing).chain(strange).collect()
        }
    }
}

/// What is declared, in a few words.
fn declaration(Asked { declared, is_named, .. }: &Asked) -> String {
    let policy = declared.policy.as_str();
    let owner = match &declared.manage {
        Some(target) => format!("managed: {target}"),
        None => "not managed".to_owned(),
    };
    let named = if *is_named { "" } else { " (by default: it is not named)" };
    format!("{policy}, {owner}{named}")
}

fn as_json(asked: &Asked, found: &Result<Described, ChangeRefused>) -> Value {
    let declared = json!({
        "encryption": asked.declared.policy.as_str(),
        "manage": asked.declared.manage.as_ref().map(as_target),
        "named": asked.is_named,
    });
    match found {
        Err(refused) => json!({
            "name": asked.name,
            "error": error(refused),
            "declared": declared,
        }),
        Ok(described) => {
            let mut shown = described_json(described);
            if let Value::Object(members) = &mut shown {
                members.insert("name".to_owned(), asked.name.as_str().into());
                members.insert("error".to_owned(), Value::Null);
                members.insert("declared".to_owned(), declared);
                let deviations = deviations(&asked.declared, described);
                members.insert("deviations".to_owned(), deviations.into());
            }
            shown
        }
    }
}

pub(super) fn described_json(described: &Described) -> Value {
    json!({
        "source": described.source.as_deref(),
        "takes_records": described.takes_records,
        "data_stream": described.data_stream.as_deref(),
        "record_bytes_max": described.record_bytes_max,
        "status": &*described.status,
        "encrypted": described.is_encrypted(),
        "state": described.state.as_str(),
        "key": described.key.as_ref().map(ToString::to_string),
        "failure": described
            .failure
            .as_ref()
            .map(|(kind, details)| json!({ "type": &**kind, "details": &**details })),
    })
}

pub(super) fn as_target(target: &Target) -> Value {
    match target {
        Target::Encrypted(key) => json!({ "state": "enabled", "key": key.to_string() }),
        Target::Plain => json!({ "state": "disabled", "key": null }),
    }
}

/// Why it is not known, or not done.
pub(super) fn error(refused: &ChangeRefused) -> Value {
    let code = match refused {
        ChangeRefused::UnknownStream => "unknown_stream",
        ChangeRefused::Impossible(_) => "impossible",
        ChangeRefused::Busy(_) => "busy",
        ChangeRefused::TooManyCalls { .. } => "too_many_calls",
        ChangeRefused::Service { code, .. } => code,
        ChangeRefused::Unanswered(_) => "unanswered",
        ChangeRefused::Stopping => "stopping",
    };
    let message = match refused {
        ChangeRefused::Service { message, .. } => message.clone(),
        other => other.to_string(),
    };
    json!({ "code": code, "message": message })
}

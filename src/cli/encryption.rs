//! `encryption`: how streams are encrypted at the service, and a change of that, straight to the service.
//!
//! It is the code of the running process, without its process: nothing is declared by it, and nothing is kept.

mod change;
mod show;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::config::Preset;
use crate::encryption::sse::{
    ChangeRefused, Config, Declared, Described, Destination, Direct, Target,
};
use crate::record::StreamName;

use super::args;
use super::exit::{Exit, Failure};

pub(super) use show::{Look, Looks, deviations, sentence};

pub(super) fn run(command: &args::Encryption) -> Result<(), Failure> {
    match command {
        args::Encryption::Status(status) => self::status(status),
        args::Encryption::Enable(enable) => {
            let target = Target::Encrypted(enable.key.clone());
            change::run(&enable.asked, &target, enable.waiting)
        }
        args::Encryption::Disable(disable) => {
            change::run(&disable.asked, &Target::Plain, disable.waiting)
        }
    }
}

fn status(status: &args::EncryptionStatus) -> Result<(), Failure> {
    let config = configured(&status.asked.config)?;
    let asked = match one(&config, &status.asked) {
        Some(asked) => vec![asked],
        None => all(&config),
    };
    if asked.is_empty() {
        let message = "no stream is configured; say which one is meant";
        return Err(Failure::new(Exit::Usage, message));
    }
    let looks = Service::new(&config)?.look(asked);
    super::print(&if status.asked.json { looks.as_json() } else { looks.text() })?;
    looks.result(status.require)
}

/// A stream that is asked about.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// What people call it.
    pub(super) name: String,
    pub(super) stream: StreamName,
    /// What holds for it: its own, or what holds for those that are not named.
    pub(super) declared: Declared,
    /// Whether the configuration names it.
    pub(super) is_named: bool,
}

/// What the configuration says of the way to the services and of the streams.
fn configured(file: &args::ConfigFile) -> Result<Config, Failure> {
    Ok(super::load(file.path.as_deref(), Preset::Tool)?.config.sse)
}

/// The stream that the command line names.
fn one(config: &Config, asked: &args::AskedStream) -> Option<Asked> {
    let name = asked.stream.as_ref().map(ToString::to_string);
    let name = name.or_else(|| asked.kinesis_stream.clone())?;
    let stream = asked.stream.clone().unwrap_or_else(any_stream);
    let own = config.streams.get(&stream);
    let is_named = own.is_some();
    let mut declared = own.unwrap_or(&config.others).clone();
    if let Some(id) = &asked.kinesis_stream {
        declared.destination = Destination::Kinesis(id.as_str().into());
    }
    Some(Asked { name, stream, declared, is_named })
}

/// What is asked about when only a data stream is named: Firehose never hears of it.
fn any_stream() -> StreamName {
    "data-stream".parse().expect("it is a name within the limits")
}

/// All streams that are configured.
pub(super) fn all(config: &Config) -> Vec<Asked> {
    let asked = |(stream, declared): (&StreamName, &Declared)| Asked {
        name: stream.to_string(),
        stream: stream.clone(),
        declared: declared.clone(),
        is_named: true,
    };
    config.streams.iter().map(asked).collect()
}

/// How many streams are asked about without a pause, and the pause before each further one: the service answers
/// five such questions a second, to a whole account.
const ASKED_AT_ONCE: usize = 5;
const PAUSE: Duration = Duration::from_millis(250);

/// The way to the service, and what it needs to go there.
pub(super) struct Service {
    runtime: Runtime,
    direct: Direct,
}

impl Service {
    pub(super) fn new(config: &Config) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| {
            Failure::new(Exit::Internal, format!("the system gives no runtime: {error}"))
        })?;
        let direct = Direct::new(config)
            .map_err(|error| Failure::new(Exit::Configuration, error.to_string()))?;
        Ok(Self { runtime, direct })
    }

    /// Asks about each of them, one after the other.
    pub(super) fn look(&self, asked: Vec<Asked>) -> Looks {
        let look = async |(index, asked): (usize, Asked)| {
            if index >= ASKED_AT_ONCE {
                tokio::time::sleep(PAUSE).await;
            }
            let found = self.direct.describe(&asked.stream, &asked.declared.destination).await;
            (asked, found)
        };
        self.runtime.block_on(async {
            let mut looks = Vec::new();
            for each in asked.into_iter().enumerate() {
                looks.push(look(each).await);
            }
            Looks(looks)
        })
    }

    fn describe(&self, asked: &Asked) -> Result<Described, ChangeRefused> {
        let described = self.direct.describe(&asked.stream, &asked.declared.destination);
        self.runtime.block_on(described)
    }

    fn change(
        &self,
        asked: &Asked,
        target: &Target,
    ) -> Result<Option<&'static str>, ChangeRefused> {
        let changed = self.direct.change(&asked.stream, &asked.declared.destination, target);
        self.runtime.block_on(changed)
    }

    fn sleep(&self, time: Duration) {
        // A sleep is made where there is a runtime to wake it.
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }
}

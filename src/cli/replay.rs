//! `dead-letter replay`: tells the process that owns the spool to send dead letters on their way again.
//!
//! One request does a piece of the work; it is asked again until all of it is done.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::token::{TOKEN_FILE_BYTES_MAX, Token};

use super::exit::{Exit, Failure};
use super::http::{self, Answer, in_one_line, reachable};
use super::table;
use super::{args, spool_source};

/// The most letters that are named one by one.
const IDS_MAX: usize = 1_000;

/// How long one answer may take: longer than the process works for it.
const ANSWER_WAIT: Duration = Duration::from_secs(25);

pub(super) fn run(command: &args::LetterReplay) -> Result<(), Failure> {
    if command.ids.len() > IDS_MAX {
        let message =
            format!("at most {IDS_MAX} ids can be named at once; without any, all are replayed");
        return Err(Failure::new(Exit::Usage, message));
    }
    let (address, token) = whom(command)?;
    let ids: Vec<String> = command.ids.iter().map(ToString::to_string).collect();
    let done = replay(reachable(address), &token, command.stream.as_str(), &ids)?;
    super::print(&format!("{}\n", done.told(command.stream.as_str())))?;
    done.result(ids.len())
}

/// Where the process listens, and its token.
fn whom(command: &args::LetterReplay) -> Result<(SocketAddr, String), Failure> {
    let configured = match (&command.address, &command.token_file) {
        (Some(_), Some(_)) => None,
        _ => Some(spool_source::load(&command.config)?.config.admin),
    };
    let address = command.address.or(configured.as_ref().map(|admin| admin.listen));
    let file = command.token_file.as_ref();
    let file = file.or(configured.as_ref().and_then(|admin| admin.token_file.as_ref()));
    let (Some(address), Some(file)) = (address, file) else {
        let message = "a replay needs the token of the admin listener, and none is configured: set \
                       admin.token_file, or say --token-file FILE";
        return Err(Failure::new(Exit::Configuration, message));
    };
    Ok((address, token(file)?))
}

/// The token in the clear: only to be sent.
fn token(path: &Path) -> Result<String, Failure> {
    let unusable = |message: String| Failure::new(Exit::Configuration, message);
    // It is what the process itself would take.
    Token::read("admin.token_file", path).map_err(|error| unusable(error.to_string()))?;
    let text = std::fs::read_to_string(path)
        .map_err(|error| unusable(format!("{} can not be read: {error}", path.display())))?;
    debug_assert!(text.len() as u64 <= TOKEN_FILE_BYTES_MAX, "it was looked at just now");
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// What became of all requests together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) letters: u64,
    pub(super) letters_unreadable: u64,
    pub(super) obstacles: Vec<String>,
    pub(super) is_through: bool,
}

/// Asks until it is through, or until something is in the way.
pub(super) fn replay(
    address: SocketAddr,
    token: &str,
    stream: &str,
    ids: &[String],
) -> Result<Done, Failure> {
    let path = format!("/v1/dead-letters/{stream}/replay");
    let mut done = Done::default();
    let mut segment_max: Option<String> = None;
    loop {
        let mut body = Map::new();
        if !ids.is_empty() {
            body.insert("ids".to_owned(), ids.into());
        }
        if let Some(segment) = &segment_max {
            body.insert("segment_max".to_owned(), segment.as_str().into());
        }
        let body = Value::Object(body).to_string();
        let deadline = Instant::now() + ANSWER_WAIT;
        let answer = http::post(address, &path, token, &body, deadline);
        let answer = answer.map_err(|why| {
            Failure::new(
                Exit::Unavailable,
                format!(
                    "no answer from {address}: {why}; dead letters are replayed by the process that owns the \
                     spool, so that it has to run"
                ),
            )
        })?;
        let value = understood(&answer)?;
        let number = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or(0);
        done.letters += number("letters");
        done.letters_unreadable += number("letters_unreadable");
        let obstacles = value.get("obstacles").and_then(Value::as_array).into_iter().flatten();
        done.obstacles.extend(obstacles.filter_map(Value::as_str).map(table::plain));
        done.is_through = value.get("is_through").and_then(Value::as_bool).unwrap_or(false);
        if done.is_through || !done.obstacles.is_empty() {
            return Ok(done);
        }
        segment_max =
            value.get("segment_max").and_then(Value::as_str).map(str::to_owned).or(segment_max);
    }
}

fn understood(answer: &Answer) -> Result<Value, Failure> {
    let value: Option<Value> = serde_json::from_str(&answer.body).ok();
    if let (200, Some(value)) = (answer.status, value.as_ref()) {
        return Ok(value.clone());
    }
    let exit = match answer.status {
        400 => Exit::Usage,
        401 | 403 => Exit::Configuration,
        _ => Exit::Unavailable,
    };
    let detail = value.as_ref().and_then(|value| value.get("detail")).and_then(Value::as_str);
    let detail = detail.map_or_else(|| in_one_line(&answer.body), table::plain);
    Err(Failure::new(exit, format!("nothing is replayed: {} {detail}", answer.status)))
}

impl Done {
    fn told(&self, stream: &str) -> String {
        let letters = table::count(self.letters, "dead letter");
        format!("{stream}: {letters} on the way again")
    }

    /// `named` letters were asked for one by one, or all of them when it is 0.
    fn result(&self, named: usize) -> Result<(), Failure> {
        if let Some(first) = self.obstacles.first() {
            let more = match self.obstacles.len() {
                1 => String::new(),
                all => format!(" (and {} more)", all - 1),
            };
            return Err(Failure::new(
                Exit::Unavailable,
                format!("not all are replayed: {first}{more}"),
            ));
        }
        if self.letters_unreadable > 0 {
            let message = format!(
                "{} can not be read: their segment is damaged; `spool verify` says where",
                table::count(self.letters_unreadable, "dead letter")
            );
            return Err(Failure::new(Exit::Io, message));
        }
        let missing = (named as u64).saturating_sub(self.letters);
        if missing > 0 {
            let message =
                format!("{missing} of {named} ids are not there, or were replayed before");
            return Err(Failure::new(Exit::Unavailable, message));
        }
        Ok(())
    }
}

//! What each endpoint answers. It only looks at what it was given; `app` decides what that is.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::ACCEPT;
use http::request::Parts;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::encryption::{self, Encryption, EncryptionRefused};
use super::metrics::{Metrics, TokenRefusal};
use super::page;
use super::replay::{self, Replay};
use super::respond::{self, Answer, Problem};
use super::routes::{Endpoint, Listener, NoRoute, route};
use crate::lifecycle::Lifecycle;
use crate::telemetry::{FILTER_BYTES_MAX, LevelHandle, RateLimit};
use crate::token::{NotShown, Token};

/// What the admin listeners show and can do. The closures are called on the admin thread, one at a time;
/// as long as one takes, no other request is answered.
pub struct Sources {
    /// The phase and the reasons for not being ready.
    pub lifecycle: Lifecycle,
    /// Brings those reasons up to date that nobody says by himself. Before each look at them.
    pub look: Box<dyn Fn() + Send>,
    /// What is worth knowing beside the reasons, and makes nothing unready: what, and why. Before each look at it.
    pub notes: Box<dyn Fn() -> Vec<(String, String)> + Send>,
    /// The names of the threads that do not answer any more; empty while all is well.
    pub stalled: Box<dyn Fn() -> Vec<String> + Send>,
    /// What `/v1/status` and the status page show.
    pub status: Box<dyn Fn() -> Value + Send>,
    /// What `/metrics` shows.
    pub metrics: Box<dyn Fn() -> String + Send>,
    /// Called once a second, so that histograms do not grow between scrapes.
    pub upkeep: Box<dyn Fn() + Send>,
    /// Sends dead letters on their way again.
    pub replay: Replay,
    /// Shows and changes the encryption of streams.
    pub encryption: Encryption,
    /// Asks the process to stop, as SIGTERM does. May be called more than once.
    pub quit: Box<dyn Fn() + Send>,
    /// The filter of the logs.
    pub log_level: LevelHandle,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("lifecycle", &self.lifecycle).finish_non_exhaustive()
    }
}

/// Everything that answering needs, for both listeners.
pub(super) struct Endpoints {
    sources: Sources,
    token: Option<Token>,
    /// Whether the encryption of streams can be changed here.
    manages_encryption: bool,
    /// Whether others than this machine come in at `listen`, and were not let in by the configuration.
    exposed: bool,
    /// How long a small body may take.
    body_timeout: Duration,
    /// In KiB, for large answers that are not taken yet.
    room: Arc<Semaphore>,
    metrics: Metrics,
    refusal_logs: RefCell<RateLimit>,
}

impl Endpoints {
    pub(super) fn new(
        sources: Sources,
        token: Option<Token>,
        (exposed, manages_encryption): (bool, bool),
        body_timeout: Duration,
    ) -> Self {
        Self {
            sources,
            token,
            manages_encryption,
            exposed,
            body_timeout,
            room: Arc::new(Semaphore::new(usize::try_from(ROOM_KIB).unwrap_or(usize::MAX))),
            metrics: Metrics::new(),
            refusal_logs: RefCell::new(RateLimit::new(REFUSAL_LOG_INTERVAL)),
        }
    }

    pub(super) const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn upkeep(&self) {
        (self.sources.upkeep)();
    }

    /// The answer to one request.
    pub(super) async fn answer(
        &self,
        listener: Listener,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> Answer {
        let (head, body) = request.into_parts();
        let found = route(listener, &head.method, head.uri.path());
        let answer = match found {
            Ok(endpoint) => match self.serve(endpoint, peer, &head, body).await {
                Ok(answer) => answer,
                Err(problem) => problem.answer(),
            },
            Err(NoRoute::Method(endpoint)) => Problem::MethodNotAllowed(endpoint).answer(),
            Err(NoRoute::Path) => {
                let path = head.uri.path().chars().take(PATH_CHARS_SHOWN).collect();
                Problem::NotFound { path, listener }.answer()
            }
        };
        let answer = self.within_room(answer);
        let counted = match found {
            Ok(endpoint) | Err(NoRoute::Method(endpoint)) => Some(endpoint),
            Err(NoRoute::Path) => None,
        };
        self.metrics.answered(counted, answer.status());
        answer
    }

    /// Lets a large answer go only while the untaken ones of all clients leave room for it.
    fn within_room(&self, mut answer: Answer) -> Answer {
        let bytes = answer.body().len();
        if bytes <= SMALL_BYTES_MAX {
            return answer;
        }
        // One that is larger than the room is let through alone.
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(ROOM_KIB);
        match Arc::clone(&self.room).try_acquire_many_owned(kib) {
            Ok(room) => {
                answer.body_mut().keep(room);
                answer
            }
            Err(_) => Problem::TooManyAnswers.answer(),
        }
    }

    async fn serve(
        &self,
        endpoint: Endpoint,
        peer: SocketAddr,
        head: &Parts,
        body: Incoming,
    ) -> Result<Answer, Problem> {
        let is_change = head.method == Method::PUT;
        if endpoint == Endpoint::Encryption && is_change && !self.manages_encryption {
            return Err(Problem::EncryptionNotManaged);
        }
        if endpoint.needs_token(&head.method, self.exposed) {
            self.check_token(endpoint, peer, &head.headers)?;
        }
        match endpoint {
            Endpoint::Livez => Ok(self.livez(&head.headers)),
            Endpoint::Readyz => Ok(self.readyz(&head.headers, head.uri.query())),
            Endpoint::Metrics => {
                Ok(respond::body(StatusCode::OK, respond::PROMETHEUS, (self.sources.metrics)()))
            }
            Endpoint::Status => {
                (self.sources.look)();
                Ok(respond::json(StatusCode::OK, &(self.sources.status)()))
            }
            Endpoint::Page => {
                (self.sources.look)();
                let reasons = self.sources.lifecycle.unready_reasons();
                let phase = self.sources.lifecycle.phase();
                Ok(respond::html(page::render(phase, &reasons, &(self.sources.status)())))
            }
            Endpoint::Replay => self.replay(peer, head, body).await,
            Endpoint::Quit => Ok(self.quit(peer)),
            Endpoint::Encryption if is_change => self.change_encryption(peer, head, body).await,
            Endpoint::Encryption => self.show_encryption(head),
            Endpoint::LogLevel if is_change => self.set_log_level(peer, body).await,
            Endpoint::LogLevel => {
                Ok(respond::text(StatusCode::OK, self.sources.log_level.filter()))
            }
        }
    }

    fn check_token(
        &self,
        endpoint: Endpoint,
        peer: SocketAddr,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let shown = self.token.as_ref().map(|token| token.check(headers));
        let (refusal, problem) = match shown {
            Some(Ok(())) => return Ok(()),
            Some(Err(NotShown::Missing)) => (TokenRefusal::Missing, Problem::TokenMissing),
            Some(Err(NotShown::Wrong)) => (TokenRefusal::Wrong, Problem::TokenWrong),
            None => (TokenRefusal::Unconfigured, Problem::TokenUnconfigured),
        };
        self.metrics.token_refused(refusal);
        if let Some(suppressed) = self.refusal_logs.borrow_mut().admit(Instant::now()) {
            let (endpoint, reason) = (endpoint.path(), refusal.label());
            tracing::warn!(endpoint, reason, %peer, suppressed, "admin request without its token");
        }
        Err(problem)
    }

    fn livez(&self, headers: &HeaderMap) -> Answer {
        let stalled = (self.sources.stalled)();
        let live = stalled.is_empty();
        let status = if live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        if wants_json(headers) {
            respond::json(status, &json!({ "live": live, "stalled": stalled }))
        } else if live {
            respond::text(status, "ok")
        } else {
            respond::text(status, format!("stalled: {}", stalled.join(", ")))
        }
    }

    fn readyz(&self, headers: &HeaderMap, query: Option<&str>) -> Answer {
        (self.sources.look)();
        let phase = self.sources.lifecycle.phase().as_str();
        let reasons = self.sources.lifecycle.unready_reasons();
        let ready = reasons.is_empty();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        if wants_json(headers) {
            let pairs = |pairs: &[(String, String)]| -> Vec<Value> {
                pairs.iter().map(|(what, why)| json!({ "what": what, "why": why })).collect()
            };
            let (reasons, notes) = (pairs(&reasons), pairs(&(self.sources.notes)()));
            return respond::json(
                status,
                &json!({ "ready": ready, "phase": phase, "reasons": reasons, "notes": notes }),
            );
        }
        let mut lines = vec![if ready { "ready" } else { "not ready" }.to_owned()];
        lines.extend(reasons.iter().map(|(what, why)| format!("{what}: {why}")));
        if is_verbose(query) {
            if ready {
                lines.push(format!("phase: {phase}"));
                lines.push("in the way: nothing".to_owned());
            }
            let notes = (self.sources.notes)();
            lines.extend(notes.iter().map(|(what, why)| format!("note: {what}: {why}")));
        }
        respond::text(status, lines.join("\n"))
    }

    fn show_encryption(&self, head: &Parts) -> Result<Answer, Problem> {
        let stream = Endpoint::Encryption.stream(head.uri.path()).unwrap_or_default();
        let shown = (self.sources.encryption.show)(stream)
            .ok_or(Problem::NotChanged(EncryptionRefused::UnknownStream))?;
        Ok(respond::json(StatusCode::OK, &shown))
    }

    async fn change_encryption(
        &self,
        peer: SocketAddr,
        head: &Parts,
        body: Incoming,
    ) -> Result<Answer, Problem> {
        let stream = Endpoint::Encryption.stream(head.uri.path()).unwrap_or_default();
        let body = read_text(body, encryption::REQUEST_BYTES_MAX, self.body_timeout).await?;
        let change = encryption::parse(stream, &body)?;
        let key = change.key.as_deref().unwrap_or("none");
        tracing::warn!(%peer, stream, key, "a change of a stream's encryption was asked for");
        let changed = timeout(CHANGE_WAIT_MAX, (self.sources.encryption.change)(change)).await;
        // The connection would be cut off without a word a little later.
        let unanswered = |_| Err(EncryptionRefused::Unanswered(NOT_ANSWERED_YET.to_owned()));
        match changed.unwrap_or_else(unanswered) {
            Ok(changed) if changed.is_under_way => {
                Ok(respond::json(StatusCode::ACCEPTED, &changed.shown))
            }
            Ok(changed) => Ok(respond::json(StatusCode::OK, &changed.shown)),
            Err(refused) => {
                tracing::warn!(%peer, stream, reason = %refused, "the encryption was not changed");
                Err(Problem::NotChanged(refused))
            }
        }
    }

    fn quit(&self, peer: SocketAddr) -> Answer {
        tracing::info!(%peer, "a stop was asked for");
        (self.sources.quit)();
        respond::text(StatusCode::ACCEPTED, "stopping")
    }

    async fn replay(
        &self,
        peer: SocketAddr,
        head: &Parts,
        body: Incoming,
    ) -> Result<Answer, Problem> {
        let stream = Endpoint::Replay.stream(head.uri.path()).unwrap_or_default();
        let body = read_text(body, replay::REQUEST_BYTES_MAX, self.body_timeout).await?;
        let request = replay::parse(stream, &body)?;
        tracing::info!(%peer, stream, ids = request.ids.len(), "a replay of dead letters was asked for");
        let replayed = (self.sources.replay)(request).await.map_err(Problem::NotReplayed)?;
        Ok(respond::json(StatusCode::OK, &replayed))
    }

    async fn set_log_level(&self, peer: SocketAddr, body: Incoming) -> Result<Answer, Problem> {
        let directives = read_text(body, FILTER_BYTES_MAX, self.body_timeout).await?;
        let before = self.sources.log_level.filter();
        self.sources
            .log_level
            .set(&directives)
            .map_err(|error| Problem::BadFilter(error.to_string()))?;
        let after = self.sources.log_level.filter();
        tracing::info!(%peer, before, after, "the log filter was changed");
        Ok(respond::text(StatusCode::OK, after))
    }
}

/// Reads a small body as text.
async fn read_text(body: Incoming, bytes_max: usize, within: Duration) -> Result<String, Problem> {
    let collected = timeout(within, Limited::new(body, bytes_max).collect()).await;
    let collected = collected.map_err(|_| Problem::BodySlow)?.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Problem::BodyTooLarge { bytes_max }
        } else {
            Problem::BodyBroken
        }
    })?;
    String::from_utf8(collected.to_bytes().into()).map_err(|_| Problem::BodyBroken)
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepts
        .flat_map(|value| value.split(','))
        .filter_map(|part| part.split(';').next())
        .any(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn is_verbose(query: Option<&str>) -> bool {
    let mut pairs = query.unwrap_or_default().split('&');
    pairs.any(|pair| matches!(pair, "verbose" | "verbose=" | "verbose=1" | "verbose=true"))
}

/// How long a change is waited for: with the time that its body may take, less than an exchange may.
const CHANGE_WAIT_MAX: Duration = Duration::from_secs(24);

const NOT_ANSWERED_YET: &str = "the service has not answered yet; the change is not taken back, and GET shows what \
                                became of it";

/// At most one refused token is logged in this time.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The most KiB of large answers that clients have not taken yet, in all: a scrape of a thousand streams
/// is a few MiB, and as many of them as there may be connections would be more than the pipe itself.
const ROOM_KIB: u32 = 16 * 1024;

/// What needs no room, so that probes are answered whatever others do: less than a connection's own buffers.
const SMALL_BYTES_MAX: usize = 4 * 1024;

/// How much of an unknown path is repeated in the answer.
const PATH_CHARS_SHOWN: usize = 100;

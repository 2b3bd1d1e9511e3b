//! All streams under control, shared by the thread that acts and by those who look. Each with its gate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{oneshot, watch};

use super::Config;
use super::calls::{CALLS_PER_DAY, CallKind};
use super::declared::{Declared, Target};
use super::handle::{ChangeRefused, Changed};
use super::kept::Kept;
use super::machine::Machine;
use super::owner::{Now, Outcome};
use super::status::{Records, StreamStatus};
use super::words;
use crate::gate::{Flag, Gate, Keeper, Seen, gate};
use crate::record::StreamName;

/// All streams under control.
pub(super) struct Book {
    config: Config,
    /// What was kept of streams that nobody has asked for yet.
    kept: BTreeMap<StreamName, Kept>,
    pub(super) streams: BTreeMap<StreamName, Minded>,
    /// Those that the thread does not listen to yet.
    fresh: Vec<(StreamName, watch::Receiver<Seen>)>,
    is_over: bool,
}

/// What somebody who ordered a change waits for.
pub(super) type Reply = oneshot::Sender<Result<Changed, ChangeRefused>>;

/// One stream, with its gate.
pub(super) struct Minded {
    pub(super) machine: Machine,
    pub(super) keeper: Keeper,
    /// Until the data plane comes for it.
    gate: Option<Gate>,
    /// When there is something to do; nothing when it is to be looked at now.
    pub(super) due_at: Option<Instant>,
    pub(super) reply: Option<Reply>,
}

impl Book {
    /// The streams that are known by name, each from where it was when `kept` was.
    pub(super) fn new(config: Config, kept: BTreeMap<StreamName, Kept>, now: Instant) -> Self {
        let names: Vec<StreamName> = config.streams.keys().cloned().collect();
        let streams = BTreeMap::new();
        let mut book = Self { config, kept, streams, fresh: Vec::new(), is_over: false };
        for name in &names {
            book.mind(name, now);
        }
        book
    }

    /// The data plane's end of a stream's gate.
    pub(super) fn open(&mut self, name: &StreamName, now: Instant) -> Gate {
        let minded = self.mind(name, now);
        minded.due_at = None;
        if let Some(gate) = minded.gate.take() {
            return gate;
        }
        // Whoever had the first one has lost it.
        let (keeper, gate) = gate(minded.machine.guidance().clone());
        let heard = keeper.listen();
        minded.keeper = keeper;
        self.fresh.push((name.clone(), heard));
        gate
    }

    fn mind(&mut self, name: &StreamName, now: Instant) -> &mut Minded {
        if !self.streams.contains_key(name) {
            let kept = self.kept.remove(name).unwrap_or_default();
            let declared = self.declared(name).clone();
            let random = fastrand::Rng::new();
            let machine = Machine::new(declared, &self.config, kept, now, random);
            let (keeper, gate) = gate(machine.guidance().clone());
            self.fresh.push((name.clone(), keeper.listen()));
            let minded = Minded { machine, keeper, gate: Some(gate), due_at: None, reply: None };
            self.streams.insert(name.clone(), minded);
        }
        self.streams.get_mut(name).expect("it was put there just now, if it was not there")
    }

    fn declared(&self, name: &StreamName) -> &Declared {
        self.config.streams.get(name).unwrap_or(&self.config.others)
    }

    /// The streams that the thread is to listen to from now on.
    pub(super) fn take_fresh(&mut self) -> Vec<(StreamName, watch::Receiver<Seen>)> {
        std::mem::take(&mut self.fresh)
    }

    /// What is to be kept of all streams, those of earlier lives too.
    pub(super) fn kept(&self) -> Vec<(StreamName, Kept)> {
        let now = self.streams.iter().map(|(name, minded)| (name.clone(), minded.machine.kept()));
        let before = self.kept.iter().map(|(name, kept)| (name.clone(), kept.clone()));
        now.chain(before).collect()
    }

    /// A person orders a change.
    pub(super) fn order(
        &mut self,
        name: &StreamName,
        target: Target,
        reply: Reply,
        now: Now,
    ) -> Result<(), ChangeRefused> {
        if self.is_over {
            return Err(ChangeRefused::Stopping);
        }
        let minded = self.streams.get_mut(name).ok_or(ChangeRefused::UnknownStream)?;
        if !minded.machine.order(target, now) {
            let why = "another change of this stream is under way; ask again when it has ended";
            return Err(ChangeRefused::Busy(why.to_owned()));
        }
        minded.reply = Some(reply);
        minded.due_at = None;
        Ok(())
    }

    /// The thread ends: nobody is answered any more.
    pub(super) fn end(&mut self) {
        self.is_over = true;
        for minded in self.streams.values_mut() {
            if let Some(reply) = minded.reply.take() {
                // Who has gone needs no answer.
                let _is_heard = reply.send(Err(ChangeRefused::Stopping)).is_ok();
            }
        }
    }

    /// How it stands with all streams.
    pub(super) fn status(&self, now: Now) -> Vec<StreamStatus> {
        self.streams.iter().map(|(name, minded)| minded.status(name, now)).collect()
    }
}

impl Minded {
    /// Tells a person what became of the order.
    pub(super) fn tell(&mut self, name: &StreamName, outcome: Outcome, now: Now) {
        let Some(reply) = self.reply.take() else { return };
        let place = self.machine.place();
        let result = match outcome {
            Outcome::Done(kind) => Ok(Changed {
                call: kind.map(|kind| kind.name(&place)),
                status: self.status(name, now),
            }),
            Outcome::Impossible(why) => Err(ChangeRefused::Impossible(why.to_string())),
            Outcome::Busy => Err(ChangeRefused::Busy(
                "a change of this stream's encryption is under way, or the stream is not ACTIVE; ask again \
                 when that is over"
                    .to_owned(),
            )),
            Outcome::NoCalls(until) => {
                let seconds =
                    until.map(|until| until.saturating_duration_since(now.at).as_secs().max(1));
                Err(ChangeRefused::TooManyCalls { retry_after_seconds: seconds })
            }
            Outcome::Failed(trouble) => Err(ChangeRefused::of(&trouble)),
        };
        // Who has gone needs no answer.
        let _is_heard = reply.send(result).is_ok();
    }

    pub(super) fn status(&self, name: &StreamName, now: Now) -> StreamStatus {
        let machine = &self.machine;
        let seen = self.keeper.seen();
        let description = machine.description.as_ref();
        let observed = description.map(|(description, _)| &description.observed);
        let place = machine.place();
        let left = |kind| machine.calls.left(kind, &place, now.unix_ms);
        StreamStatus {
            stream: name.clone(),
            declared: machine.declared.clone(),
            by_hand: machine.owner.by_hand().cloned(),
            route: machine.guidance().route.clone(),
            is_route_assumed: machine.is_assumed(),
            source: description.and_then(|(description, _)| description.source.clone()),
            state: words::state(machine),
            since: machine.guard.since(),
            detail: words::detail(machine),
            key: observed.and_then(|observed| observed.key.clone()),
            failure: observed.and_then(|observed| {
                let failure = observed.failure.as_ref()?;
                Some((Arc::clone(&failure.kind), Arc::clone(&failure.details)))
            }),
            passage: machine.guidance().passage.clone(),
            passage_since: machine.passage_since(),
            records: Records {
                confirmed: seen.records(Flag::Encrypted),
                unencrypted: seen.records(Flag::Plain),
                unverified: seen.records(Flag::Absent),
            },
            confirmed_at: seen.last(Flag::Encrypted).map(|proof| proof.at),
            described_at: description.map(|(_, asked_at)| *asked_at),
            describe_at: machine.describe_at(),
            trouble: machine
                .owner
                .trouble()
                .or(machine.trouble.as_ref())
                .map(super::trouble::Trouble::sentence),
            calls_left: left(CallKind::Start).min(left(CallKind::Stop)).min(CALLS_PER_DAY),
            doing: words::doing(machine),
        }
    }
}

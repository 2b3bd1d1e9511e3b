//! The gate of a stream: what the control plane tells the data plane, and what the data plane has seen.
//!
//! ```text
//!  encryption ──Guidance: where to, and may it go──► forward
//!             ◄──Seen: what the answers said──
//! ```
//!
//! Two cells for each stream, each with one writer. A look at one costs no call and wakes nobody; the
//! control plane is woken only by what changes something. Neither side knows the other. It decides nothing.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::record::StreamName;

/// Where the records of a stream go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Nobody knows yet: the service is being asked.
    Unknown,
    /// Into the delivery stream itself.
    Firehose,
    /// Into the data stream that the delivery stream reads from.
    Kinesis(Arc<DataStream>),
    /// Nowhere, and why.
    Nowhere(Arc<str>),
}

impl Route {
    /// Whether it leads into the same stream, whatever that takes.
    #[must_use]
    pub fn is_same_way(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Kinesis(one), Self::Kinesis(other)) => one.id == other.id,
            (one, other) => one == other,
        }
    }
}

/// A Kinesis data stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataStream {
    /// Its name or its ARN.
    pub id: Arc<str>,
    /// The most bytes of a record with its partition key.
    pub record_bytes_max: usize,
}

/// Whether the records of a stream may leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passage {
    /// They may.
    Open,
    /// One may, whose answer decides about the others.
    Half,
    /// None may, and why.
    Closed(Arc<str>),
}

/// What the data plane is told of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guidance {
    /// Where its records go.
    pub route: Route,
    /// Whether they may.
    pub passage: Passage,
    /// Grows with every change of the route or the passage: what an answer says holds for the epoch in which
    /// its request began.
    pub epoch: u64,
    /// How long one confirmation of encryption holds. Nothing where encryption is not required: then an
    /// answer changes nothing about the passage.
    pub proof_holds: Option<Duration>,
    /// Whether its records may be joined, by what the service says of it. Another one begins no epoch.
    pub joins: Joins,
}

/// Whether what is joined comes out of a stream as it would have by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joins {
    /// Whether it is known to.
    pub is_safe: bool,
    /// Why, or why not: a sentence without its end.
    pub why: &'static str,
}

impl Joins {
    /// Nobody knows.
    pub const UNKNOWN: Self =
        Self { is_safe: false, why: "nobody knows yet what the stream does with its records" };
}

impl Guidance {
    /// What a stream has that nobody minds: its records go into the delivery stream.
    #[must_use]
    pub const fn unminded() -> Self {
        Self {
            route: Route::Firehose,
            passage: Passage::Open,
            epoch: 0,
            proof_holds: None,
            joins: Joins::UNKNOWN,
        }
    }
}

/// What the flag of an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flag {
    /// The stream was encrypted.
    Encrypted,
    /// It was not.
    Plain,
    /// The service says nothing.
    Absent,
}

impl Flag {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Encrypted, Self::Plain, Self::Absent];

    /// The flag that an answer has.
    #[must_use]
    pub const fn of(encrypted: Option<bool>) -> Self {
        match encrypted {
            Some(true) => Self::Encrypted,
            Some(false) => Self::Plain,
            None => Self::Absent,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Encrypted => 0,
            Self::Plain => 1,
            Self::Absent => 2,
        }
    }
}

/// The last answer with some flag, of the newest epoch that had one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The epoch in which its request began.
    pub epoch: u64,
    /// When its request began.
    pub began_at: Instant,
    /// When it came.
    pub at: Instant,
}

/// Why the service's answers make it doubtful where the records of a stream go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It says that the stream has another source, or that there is none of that name.
    Source,
    /// It says that it can not use the stream's key.
    Key,
}

/// What the data plane has seen of a stream in this life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    records: [u64; 3],
    last: [Option<Proof>; 3],
    latest: Option<Flag>,
    doubts: [u64; 2],
}

impl Seen {
    /// How many records were delivered with this flag in the answer.
    #[must_use]
    pub const fn records(&self, flag: Flag) -> u64 {
        match flag {
            Flag::Encrypted => self.records[0],
            Flag::Plain => self.records[1],
            Flag::Absent => self.records[2],
        }
    }

    /// The last answer with this flag, of the newest epoch that had one.
    #[must_use]
    pub const fn last(&self, flag: Flag) -> Option<Proof> {
        match flag {
            Flag::Encrypted => self.last[0],
            Flag::Plain => self.last[1],
            Flag::Absent => self.last[2],
        }
    }

    /// The flag of the last answer.
    #[must_use]
    pub const fn latest(&self) -> Option<Flag> {
        self.latest
    }

    /// How often there was such a doubt.
    #[must_use]
    pub const fn doubts(&self, doubt: Doubt) -> u64 {
        match doubt {
            Doubt::Source => self.doubts[0],
            Doubt::Key => self.doubts[1],
        }
    }
}

/// The data plane's end of a gate.
#[derive(Debug)]
pub struct Gate {
    guidance: watch::Receiver<Guidance>,
    seen: watch::Sender<Seen>,
}

/// The control plane's end of a gate.
#[derive(Debug)]
pub struct Keeper {
    guidance: watch::Sender<Guidance>,
    seen: watch::Receiver<Seen>,
}

/// A gate that begins with this guidance, by its two ends.
#[must_use]
pub fn gate(first: Guidance) -> (Keeper, Gate) {
    let (guidance, told) = watch::channel(first);
    let (shown, seen) = watch::channel(Seen::default());
    (Keeper { guidance, seen }, Gate { guidance: told, seen: shown })
}

impl Gate {
    /// What it is told now. Not to be kept.
    pub fn guidance(&self) -> watch::Ref<'_, Guidance> {
        self.guidance.borrow()
    }

    /// Waits until it is told something that [`Gate::guidance`] of the last look did not say. For ever, when
    /// nobody minds the stream.
    pub async fn changed(&mut self) {
        if self.guidance.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Says what an answer said of so many delivered records.
    ///
    /// `wakes`: the control plane waits for it. It is woken too when the flag is another one than before.
    pub fn saw(&self, flag: Flag, records: usize, proof: Proof, wakes: bool) {
        self.seen.send_if_modified(|seen| {
            let index = flag.index();
            if let Some(count) = seen.records.get_mut(index) {
                *count += records as u64;
            }
            // The control plane may not have looked since: a late answer to a request of an earlier epoch must not
            // take the place of what it waits for.
            if let Some(last) = seen.last.get_mut(index)
                && last.is_none_or(|last| last.epoch <= proof.epoch)
            {
                *last = Some(proof);
            }
            let is_new = seen.latest.replace(flag) != Some(flag);
            wakes || is_new
        });
    }

    /// Says that the service's answers raise a doubt.
    pub fn doubts(&self, doubt: Doubt) {
        self.seen.send_modify(|seen| {
            let [source, key] = &mut seen.doubts;
            *match doubt {
                Doubt::Source => source,
                Doubt::Key => key,
            } += 1;
        });
    }
}

impl Keeper {
    /// Tells the data plane. Says whether that is news.
    pub fn tell(&self, guidance: Guidance) -> bool {
        self.guidance.send_if_modified(|told| {
            let is_news = *told != guidance;
            *told = guidance;
            is_news
        })
    }

    /// What the data plane has seen until now.
    pub fn seen(&self) -> watch::Ref<'_, Seen> {
        self.seen.borrow()
    }

    /// Another end at which to hear of it.
    #[must_use]
    pub fn listen(&self) -> watch::Receiver<Seen> {
        self.seen.clone()
    }
}

/// Gives each stream its gate.
#[derive(Clone)]
pub struct Gates(Arc<dyn Fn(&StreamName) -> Gate + Send + Sync>);

impl Gates {
    /// Gates that `open` gives.
    #[must_use]
    pub fn new(open: impl Fn(&StreamName) -> Gate + Send + Sync + 'static) -> Self {
        Self(Arc::new(open))
    }

    /// Gates that nobody minds.
    #[must_use]
    pub fn unminded() -> Self {
        Self::new(|_| gate(Guidance::unminded()).1)
    }

    /// The gate of a stream. To be asked for once.
    #[must_use]
    pub fn open(&self, stream: &StreamName) -> Gate {
        (self.0)(stream)
    }
}

impl fmt::Debug for Gates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gates")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(epoch: u64) -> Proof {
        let now = Instant::now();
        Proof { epoch, began_at: now, at: now }
    }

    #[test]
    fn what_answers_say_is_counted_and_only_news_wake() {
        let (keeper, gate) = gate(Guidance::unminded());
        let mut heard = keeper.listen();
        gate.saw(Flag::Encrypted, 3, proof(1), false);
        assert!(heard.has_changed().unwrap(), "the first answer is news");
        heard.mark_unchanged();
        gate.saw(Flag::Encrypted, 4, proof(2), false);
        assert!(!heard.has_changed().unwrap());
        assert_eq!(keeper.seen().records(Flag::Encrypted), 7);
        assert_eq!(keeper.seen().last(Flag::Encrypted).map(|proof| proof.epoch), Some(2));
        gate.saw(Flag::Encrypted, 1, proof(2), true);
        assert!(heard.has_changed().unwrap(), "somebody waits for it");
        heard.mark_unchanged();
        gate.saw(Flag::Plain, 5, proof(2), false);
        assert!(heard.has_changed().unwrap());
        heard.mark_unchanged();
        gate.doubts(Doubt::Key);
        assert!(heard.has_changed().unwrap());
        let seen = keeper.seen();
        assert_eq!((seen.records(Flag::Plain), seen.records(Flag::Absent)), (5, 0));
        assert_eq!((seen.latest(), seen.last(Flag::Absent)), (Some(Flag::Plain), None));
        assert_eq!((seen.doubts(Doubt::Key), seen.doubts(Doubt::Source)), (1, 0));
    }

    #[test]
    fn a_late_answer_of_an_earlier_epoch_does_not_hide_the_one_that_is_waited_for() {
        let (keeper, gate) = gate(Guidance::unminded());
        for flag in Flag::ALL {
            gate.saw(flag, 1, proof(5), true);
            gate.saw(flag, 4, proof(3), false);
            let seen = keeper.seen();
            assert_eq!(seen.last(flag).map(|proof| proof.epoch), Some(5));
            assert_eq!(seen.records(flag), 5, "it is counted all the same");
        }
    }

    #[test]
    fn a_gate_tells_what_it_was_told_last_and_the_same_again_is_no_news() {
        let (keeper, mut gate) = gate(Guidance::unminded());
        assert!(!keeper.tell(Guidance::unminded()));
        let told = Guidance { epoch: 1, passage: Passage::Half, ..Guidance::unminded() };
        assert!(keeper.tell(told.clone()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(gate.changed());
        assert_eq!(*gate.guidance(), told);
    }
}

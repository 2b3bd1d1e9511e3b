//! The other half of a worker: what is done when a request came back.
//!
//! Every record is settled by its own index in the answer, whatever the answer's counts say. Failed
//! records stay in the plan.

use std::time::Instant;

use super::answer::{Entry, PutAnswer};
use super::code::Code;
use super::flow::{Begin, Change, Fate, Standing};
use super::letters;
use super::metrics::RequestResult;
use super::outcome::{self, Class, Reason};
use super::request::{self, Request, Sent, Verdict};
use super::spooling;
use super::status::{Joined, StreamReason, StreamState, StreamStatus};
use super::worker::{Flight, Worker};
use crate::gate::Flag;
use crate::pipeline::{Delivered, Word};

impl Worker {
    /// A request came back: its records are settled, or wait for another try.
    pub(super) fn land(&mut self, flight: Flight) {
        let now = Instant::now();
        let Flight { request, begin, result } = flight;
        self.metrics.request_seconds.record(now.saturating_duration_since(begin.at).as_secs_f64());
        match result {
            Ok(answer) if answer.entries.len() == request.entries() => {
                let put = request.sent(|entry| is_put(&answer.entries, entry)).records;
                let put = usize::try_from(put).unwrap_or(usize::MAX);
                self.saw(now, begin, Flag::of(answer.encrypted), put);
                match refusal(&answer.entries) {
                    Some(reason) => self.refused(now, begin, request, &reason),
                    None => self.answered(now, begin, request, answer),
                }
            }
            Ok(answer) => {
                self.metrics.answers_unfit.increment(1);
                self.saw(now, begin, Flag::of(answer.encrypted), 0);
                self.report.wrong_length(request.entries(), answer.entries.len());
                let reason = Reason::ours(Code::WrongLength, "answer does not fit its request");
                self.failed(now, begin, request, Class::Ambiguous, reason);
            }
            Err(error) => {
                let (class, reason) = outcome::classify(&error);
                self.saw_nothing(now, begin, &reason);
                match class {
                    Class::Refused => self.refused(now, begin, request, &reason),
                    class => self.failed(now, begin, request, class, reason),
                }
            }
        }
    }

    fn answered(&mut self, now: Instant, begin: Begin, request: Request, answer: PutAnswer) {
        let PutAnswer { encrypted, entries } = answer;
        let failed = self.count_entries(&request, &entries);
        let put = entries.len() - failed;
        self.metrics.count_request(if failed == 0 {
            RequestResult::Ok
        } else {
            RequestResult::Partial
        });
        let sent = self.count_delivered(&request, &entries);
        if let Some(reason) = first_failure(&entries) {
            let records = request.picks.len();
            let put = usize::try_from(sent.records).unwrap_or(usize::MAX);
            self.report.failed(now, records.saturating_sub(put), records, &reason);
            self.reason = Some(reason);
        }
        let changes = self.flow.ended(now, begin, Fate::Answered { put, failed });
        self.note(&changes);
        let tickets = self.plan.tickets(&request);
        let aside = asides(&request, &entries, put > 0);
        let of: Vec<usize> =
            (0..request.picks.len()).map(|place| request.entry_of(place)).collect();
        let fates: Vec<request::Fate> = of
            .iter()
            .map(|entry| match fate(entries.get(*entry), put > 0) {
                request::Fate::Aside if request.records_of(*entry) > 1 => request::Fate::Suspect,
                fate => fate,
            })
            .collect();
        let entry_at = |place: usize| of.get(place).and_then(|entry| entries.get(*entry));
        let flow = &mut self.flow;
        let settlement = self.plan.settle(
            request,
            now,
            begin.at,
            |place| fates.get(place).copied().unwrap_or(request::Fate::Again),
            |attempt| now + flow.record_wait(attempt),
        );
        if put > 0 {
            self.last_success_at = Some(now);
        }
        for (bytes, reason) in aside {
            self.report.set_aside(bytes, &reason);
        }
        self.note_on_disk(settlement.notes);
        for (place, name) in settlement.letters {
            if let Some(reason) = entry_at(place).and_then(reason_of) {
                self.write_letter(name, letters::OWN_ERROR, &reason);
            }
        }
        self.metrics.records_retried.increment(settlement.again as u64);
        for part in settlement.parts {
            let took = now.saturating_duration_since(part.opened_at);
            self.metrics.delivery_seconds.record(took.as_secs_f64());
        }
        if !tickets.is_empty() {
            self.shared.post.settle(tickets.into_iter().filter_map(|(place, ticket)| {
                let Some(Entry::Put(id)) = entry_at(place) else { return None };
                let delivered = Delivered { record_id: id.as_str().into(), encrypted };
                Some((ticket, Word::Delivered(delivered)))
            }));
        }
        self.let_go(settlement.done);
    }

    /// One record of the request is at fault, or the stream.
    fn refused(&mut self, now: Instant, begin: Begin, request: Request, reason: &Reason) {
        self.metrics.count_request(RequestResult::Refused);
        self.metrics.count_failed(reason.code, request.picks.len());
        self.report.failed(now, request.picks.len(), request.picks.len(), reason);
        let changes = self.flow.ended(now, begin, Fate::Failed(Class::Refused));
        self.reason = Some(reason.clone());
        self.note(&changes);
        let (verdict, done) = self.plan.refused(request, now, begin.at);
        match verdict {
            Verdict::Open => {}
            Verdict::SetAside { bytes, letter } => {
                self.report.set_aside(bytes, reason);
                if let Some(name) = letter {
                    self.write_letter(name, letters::REFUSED_ALONE, reason);
                }
            }
            Verdict::Hold => self.hold(now),
        }
        self.let_go(done);
    }

    /// What looked like a record's fault is the stream's.
    pub(super) fn hold(&mut self, now: Instant) {
        let change = self.flow.hold(now);
        self.note(change.as_slice());
    }

    /// The request came to nothing, and no record is to blame.
    fn failed(
        &mut self,
        now: Instant,
        begin: Begin,
        request: Request,
        class: Class,
        reason: Reason,
    ) {
        let records = request.picks.len();
        self.metrics.count_request(result_of(class));
        self.metrics.count_failed(reason.code, records);
        self.metrics.records_retried.increment(records as u64);
        if class == Class::Ambiguous {
            self.metrics.records_ambiguous.increment(records as u64);
        }
        if class != Class::Hold {
            self.report.failed(now, records, records, &reason);
        }
        self.reason = Some(reason);
        let changes = self.flow.ended(now, begin, Fate::Failed(class));
        self.note(&changes);
        // When something goes again is the stream's matter here, not the record's.
        self.plan.failed(request, |_| now);
    }

    /// Counts what failed, in records. Says how many entries did.
    fn count_entries(&self, request: &Request, entries: &[Entry]) -> usize {
        let mut failed = 0;
        let mut ambiguous = 0;
        for (at, entry) in entries.iter().enumerate() {
            if let Entry::Failed { code, .. } = entry {
                let code = code.as_deref().map_or(Code::Missing, Code::of);
                let records = request.records_of(at);
                self.metrics.count_failed(code, records);
                failed += 1;
                ambiguous += if outcome::is_ambiguous(code) { records as u64 } else { 0 };
            }
        }
        self.metrics.records_ambiguous.increment(ambiguous);
        failed
    }

    fn count_delivered(&mut self, request: &Request, entries: &[Entry]) -> Sent {
        let sent = request.sent(|entry| is_put(entries, entry));
        self.metrics.count_sent(sent);
        let joined = &mut self.joined;
        joined.requests += u64::from(sent.blobs > 0);
        joined.records += sent.records;
        joined.blobs += sent.blobs;
        joined.bytes_billed += sent.billed;
        joined.bytes_saved += sent.saved;
        sent
    }

    fn note(&mut self, changes: &[Change]) {
        for change in changes {
            self.report.changed(*change, self.reason.as_ref());
        }
    }

    /// Shows the state as it is now.
    pub(super) fn publish(&mut self) {
        let counts = self.plan.counts();
        let block = self.spooling.as_ref().and_then(|spooling| spooling.letters.block());
        let gated = self.passing.reason();
        let state = match self.flow.standing() {
            _ if block.is_some() => StreamState::Held,
            _ if gated.is_some() => StreamState::Gated,
            Standing::Flowing => StreamState::Flowing,
            Standing::BackingOff => StreamState::BackingOff,
            Standing::CircuitOpen => StreamState::CircuitOpen,
            Standing::Held => StreamState::Held,
        };
        if state == StreamState::Flowing && counts.suspect == 0 && counts.failed == 0 {
            self.reason = None;
        }
        let block = block
            .map(|(_, why)| Reason::ours(Code::DeadLetterStore, &spooling::letters_refused(why)));
        let reason = block.as_ref().or(gated.as_ref()).or(self.reason.as_ref()).map(|reason| {
            StreamReason { code: reason.text.clone(), message: reason.message.clone() }
        });
        let joined =
            Joined { is_joining: self.plan.joining.is_some(), why: self.why(), ..self.joined };
        self.status.send_modify(|status| {
            if status.state != state {
                status.since = Instant::now();
            }
            *status = StreamStatus {
                stream: status.stream.clone(),
                state,
                since: status.since,
                reason,
                batches: self.plan.batches(),
                records_waiting: counts.ready + counts.failed + counts.suspect,
                records_in_flight: counts.in_flight,
                records_set_aside: counts.aside,
                records_spilling: self.plan.on_its_way().records,
                requests_in_flight: self.flights.len(),
                requests_in_flight_limit: self.flow.limit(),
                oldest_accepted_at: self.plan.oldest(),
                last_success_at: self.last_success_at,
                joined,
            };
        });
        if self.is_done() {
            self.shared.idle.finished(&self.is_busy);
        }
    }
}

/// What becomes of a record, by its entry. `has_put`: another record of its request went through.
fn fate(entry: Option<&Entry>, has_put: bool) -> request::Fate {
    match entry {
        Some(Entry::Put(_)) => request::Fate::Put,
        Some(Entry::Failed { code: Some(code), .. })
            if has_put && outcome::is_of_record(Code::of(code)) =>
        {
            request::Fate::Aside
        }
        Some(Entry::Failed { .. }) | None => request::Fate::Again,
    }
}

/// Why an answer is as good as a refusal: each of its records has an error that is a record's own.
fn refusal(entries: &[Entry]) -> Option<Reason> {
    let is_refused = |entry: &Entry| fate(Some(entry), true) == request::Fate::Aside;
    entries.iter().all(is_refused).then(|| entries.first().and_then(reason_of)).flatten()
}

/// The records that are set aside: how large each is, and why. One that is in a blob with others is not.
fn asides(request: &Request, entries: &[Entry], has_put: bool) -> Vec<(usize, Reason)> {
    let with_place = request.picks.iter().enumerate();
    with_place
        .map(|(place, pick)| (pick.bytes as usize, request.entry_of(place)))
        .filter(|(_, at)| request.records_of(*at) == 1)
        .filter_map(|(bytes, at)| Some((bytes, entries.get(at)?)))
        .filter(|(_, entry)| fate(Some(entry), has_put) == request::Fate::Aside)
        .filter_map(|(bytes, entry)| Some((bytes, reason_of(entry)?)))
        .collect()
}

fn is_put(entries: &[Entry], at: usize) -> bool {
    matches!(entries.get(at), Some(Entry::Put(_)))
}

fn first_failure(entries: &[Entry]) -> Option<Reason> {
    entries.iter().find_map(reason_of)
}

fn reason_of(entry: &Entry) -> Option<Reason> {
    match entry {
        Entry::Put(_) => None,
        Entry::Failed { code: Some(code), message } => {
            Some(Reason::service(code, message.as_deref().unwrap_or_default()))
        }
        Entry::Failed { code: None, .. } => {
            Some(Reason::ours(Code::Missing, "an entry of the answer has neither an id nor a code"))
        }
    }
}

const fn result_of(class: Class) -> RequestResult {
    match class {
        Class::Throttled => RequestResult::Throttled,
        Class::Unavailable => RequestResult::Unavailable,
        Class::Ambiguous => RequestResult::Ambiguous,
        Class::Unreachable => RequestResult::Unreachable,
        Class::Refused => RequestResult::Refused,
        Class::Hold => RequestResult::Hold,
    }
}

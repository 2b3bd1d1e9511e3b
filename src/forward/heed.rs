//! The part of a worker that deals with its gate: what it is told, what answers say, what is shown of it.
//!
//! What may leave is `passage`'s to say. It sends nothing.

use std::time::Instant;

use super::blobs::When;
use super::code::Code;
use super::flow::Begin;
use super::letters;
use super::outcome::{self, Reason};
use super::passage::Heard;
use super::request::Request;
use super::sink::Sink;
use super::worker::Worker;
use crate::gate::{Flag, Joins, Proof};

impl Worker {
    /// Takes in what the gate says now.
    pub(super) fn heed(&mut self, now: Instant) {
        let told = self.gate.guidance();
        if *told == *self.passing.told() {
            return;
        }
        let news = self.passing.tell(now, &told);
        let epoch = told.epoch;
        let (sink, joins) = (Sink::of(&told.route), told.joins);
        drop(told);
        if news.is_new_epoch {
            self.flow.renew(now, epoch, news.is_new_route);
        }
        if news.is_new_route {
            self.plan.rerouted(now);
        }
        if let Some(sink) = sink.filter(|_| news.is_new_route) {
            self.bounds = sink.bounds(&self.config, &self.stream_config, &self.keys);
            self.sink = sink;
        }
        self.join(joins, news.is_new_route);
        self.note_shift(false);
    }

    /// Joins records from now on as far as that is safe by `joins`.
    pub(super) fn join(&mut self, joins: Joins, is_new_route: bool) {
        let joining = self.sink.joining(&self.stream_config, joins);
        let aggregate = self.stream_config.aggregate.when;
        if is_new_route || joining.is_some() != self.plan.joining.is_some() {
            self.plan.joining = joining;
            if aggregate == When::Auto {
                self.report.joins(joins);
            }
        }
    }

    /// Why records are joined, or why not.
    pub(super) fn why(&self) -> &'static str {
        match self.stream_config.aggregate.when {
            When::Off => "the configuration does not say so",
            When::On => "the configuration says so",
            When::Auto => self.passing.told().joins.why,
        }
    }

    /// An answer with this flag came, of which `put` records were put.
    pub(super) fn saw(&mut self, now: Instant, begin: Begin, flag: Flag, put: usize) {
        self.metrics.count_flag(flag, put);
        let heard = self.passing.answered(now, begin.epoch, flag, put, &mut self.random);
        if let Heard::Flag { wakes } = heard {
            let proof = Proof { epoch: begin.epoch, began_at: begin.at, at: now };
            self.gate.saw(flag, put, proof, wakes);
        }
        self.note_shift(false);
    }

    /// No answer came, or one that is an error.
    pub(super) fn saw_nothing(&mut self, now: Instant, begin: Begin, reason: &Reason) {
        self.passing.failed(now, begin.epoch, &mut self.random);
        let is_of_now = begin.epoch == self.passing.told().epoch;
        if let Some(doubt) = outcome::doubt(reason).filter(|_| is_of_now) {
            self.gate.doubts(doubt);
        }
    }

    /// Says whether records may leave, if that has changed.
    pub(super) fn note_shift(&mut self, is_first: bool) {
        if let Some(shift) = self.passing.shift() {
            self.report.shifted(&shift, is_first);
        }
    }

    /// The request without the records that are too large for what it goes into, if any are left.
    pub(super) fn fitting(&mut self, mut request: Request) -> Option<Request> {
        let large = self.sink.too_large(&self.plan, &request, &mut self.keys);
        let Some((places, bytes_max)) = large else { return Some(request) };
        let taken = self.plan.take_out(&mut request, &places);
        for (bytes, letter) in taken.letters {
            let message = format!(
                "the record has {bytes} bytes, and the data stream takes at most {bytes_max} with the \
                 partition key"
            );
            let reason = Reason::ours(Code::RecordTooLarge, &message);
            self.report.too_large(bytes, &reason);
            if let Some(name) = letter {
                self.write_letter(name, letters::OVER_LIMIT, &reason);
            }
        }
        self.let_go(taken.done);
        (!request.picks.is_empty()).then_some(request)
    }
}

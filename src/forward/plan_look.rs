//! What a request of the plan is made of: its records, their keys, and who waits for them.
//!
//! It looks, and changes nothing.

use super::plan::Plan;
use super::request::{Pick, Request, runs};
use crate::pipeline::{Batch, Ticket};

impl Plan {
    /// The records of a request in its order.
    pub(super) fn records<'a>(&'a self, request: &'a Request) -> impl Iterator<Item = &'a [u8]> {
        self.placed_records(request).map(|(_, _, record)| record)
    }

    /// The same, each with the partition key that came with it.
    pub(super) fn keyed_records<'a>(
        &'a self,
        request: &'a Request,
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a str>)> {
        let placed = self.placed_records(request);
        placed.map(|(batch, index, record)| (record, batch.key(index)))
    }

    fn placed_records<'a>(
        &'a self,
        request: &'a Request,
    ) -> impl Iterator<Item = (&'a Batch, usize, &'a [u8])> {
        let held = |(id, run)| Some((&*self.batches.get(&id)?.batch, run));
        runs(&request.picks).filter_map(held).flat_map(|(batch, run): (&Batch, &[Pick])| {
            let mut wanted = run.iter().map(|pick| pick.index as usize).peekable();
            let placed = batch.records().enumerate();
            let is_wanted = move |(at, _): &(usize, &[u8])| wanted.next_if_eq(at).is_some();
            placed.filter(is_wanted).map(move |(at, record)| (batch, at, record))
        })
    }

    /// Who waits for which record of a request: the record's place in the request, and the ticket.
    pub(super) fn tickets(&self, request: &Request) -> Vec<(usize, Ticket)> {
        let mut tickets = Vec::new();
        let mut before = 0;
        for (id, run) in runs(&request.picks) {
            if let Some(held) = self.batches.get(&id) {
                tickets.extend(held.batch.tickets().filter_map(|(index, ticket)| {
                    let at = run.binary_search_by_key(&index, |pick| pick.index as usize).ok()?;
                    Some((before + at, ticket))
                }));
            }
            before += run.len();
        }
        tickets
    }
}

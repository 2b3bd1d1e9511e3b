//! What is due when: each thing at one time at most. Pure.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Instant;

/// Things by the time at which they are due.
#[derive(Debug)]
pub(super) struct Agenda<T> {
    by_time: BTreeSet<(Instant, T)>,
    times: HashMap<T, Instant>,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { by_time: BTreeSet::new(), times: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash + Ord> Agenda<T> {
    /// Puts `what` on the agenda for this time and for no other; `None` takes it off.
    pub(super) fn set(&mut self, what: &T, due: Option<Instant>) {
        if self.times.get(what).copied() == due {
            return;
        }
        if let Some(before) = self.times.remove(what) {
            self.by_time.remove(&(before, what.clone()));
        }
        if let Some(due) = due {
            self.times.insert(what.clone(), due);
            self.by_time.insert((due, what.clone()));
        }
    }

    /// Takes what has been due for longest at `now`.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<T> {
        if self.next().is_none_or(|due| due > now) {
            return None;
        }
        let (_, what) = self.by_time.pop_first()?;
        self.times.remove(&what);
        Some(what)
    }

    /// When something is due next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_due_comes_in_the_order_of_its_time_and_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut agenda = Agenda::default();
        agenda.set(&"a", Some(at(30)));
        agenda.set(&"b", Some(at(10)));
        agenda.set(&"a", Some(at(5)));
        agenda.set(&"c", Some(at(20)));
        agenda.set(&"c", None);
        assert_eq!(agenda.next(), Some(at(5)));
        assert_eq!(agenda.take_due(at(4)), None);
        assert_eq!(agenda.take_due(at(30)), Some("a"));
        assert_eq!(agenda.take_due(at(30)), Some("b"));
        assert_eq!(agenda.take_due(at(30)), None);
        assert_eq!(agenda.next(), None);
    }
}

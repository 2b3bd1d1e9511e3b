//! Reads the body of a `PutRecordBatch` in passing: how many records it has, and their numbers.

use base64_simd::{AsOut as _, STANDARD};
use memchr::memmem::Finder;

use crate::common::records::{NUMBER_AT, NUMBER_DIGITS};

/// What stands before each record and, since data is base64, never in one.
const MARK: &[u8] = b"\"Data\":\"";

/// Where the number is behind the begin of a mark, in base64, if the record has one.
const NUMBER_BEGIN: usize = MARK.len() + NUMBER_AT / 3 * 4;
const NUMBER_END: usize = NUMBER_BEGIN + NUMBER_DIGITS / 3 * 4;

/// A body that is being read. No more than one part of it is kept at a time.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    mark: &'a Finder<'static>,
    /// The end of what came before, with marks that are not counted yet: too short to hold a whole number.
    rest: Vec<u8>,
    /// How many records there are.
    pub(super) records: usize,
    /// The numbers of those that have one.
    pub(super) numbers: Vec<u64>,
}

/// Finds what stands before a record.
pub(super) fn mark() -> Finder<'static> {
    Finder::new(MARK)
}

impl<'a> Scan<'a> {
    /// Of a body of which nothing is read.
    pub(super) const fn new(mark: &'a Finder<'static>) -> Self {
        Self { mark, rest: Vec::new(), records: 0, numbers: Vec::new() }
    }

    /// Takes in the next part.
    pub(super) fn part(&mut self, part: &[u8]) {
        let before = self.rest.len();
        let (seam, _) = part.split_at(part.len().min(NUMBER_END));
        self.rest.extend_from_slice(seam);
        let joined = std::mem::take(&mut self.rest);
        let taken = self.take(&joined, before);
        if seam.len() == part.len() {
            self.rest = joined;
            self.rest.drain(..taken);
        } else {
            // From the begin of this part on, since all marks before are taken.
            let taken = self.take(part, part.len());
            self.rest.extend_from_slice(part.get(taken..).unwrap_or_default());
        }
    }

    /// Counts what is left, whose records are too short to have a number.
    pub(super) fn end(&mut self) {
        self.records += self.mark.find_iter(&self.rest).count();
    }

    /// Counts the marks of `bytes` that begin before `end` and have all that may belong to them behind
    /// them. Says up to where that is done.
    fn take(&mut self, bytes: &[u8], end: usize) -> usize {
        let end = end.min((bytes.len() + 1).saturating_sub(NUMBER_END));
        for at in self.mark.find_iter(bytes).take_while(|&at| at < end) {
            self.records += 1;
            self.numbers.extend(bytes.get(at + NUMBER_BEGIN..at + NUMBER_END).and_then(number));
        }
        end
    }
}

/// The number that this is, if it is one.
fn number(text: &[u8]) -> Option<u64> {
    let mut digits = [0; NUMBER_DIGITS];
    let digits = STANDARD.decode(text, digits.as_mut_slice().as_out()).ok()?;
    digits.iter().try_fold(0, |number: u64, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(number * 10 + digit)
    })
}

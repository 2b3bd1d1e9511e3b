//! A piece of a file, held in memory while it is looked at.
//!
//! Pure: it asks for what it lacks and is filled by whoever owns the file. It holds what was asked for at
//! once and one piece more, never the whole file.

use std::io;

/// How much is read at once where less is needed, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Where in the file the window begins.
    start: u64,
    bytes: Vec<u8>,
    /// How many bytes behind the window are to be read into it.
    wanted: usize,
}

/// The window lacks something: it is to be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NeedBytes;

impl Window {
    /// What lies at `offset`: `count` bytes at least, and what else is there. The caller has made sure that
    /// the file, which ends at `end`, has them. What lies before `offset` may be forgotten.
    pub(super) fn at(
        &mut self,
        offset: u64,
        count: usize,
        end: u64,
    ) -> Result<&mut [u8], NeedBytes> {
        let from = self.position(offset);
        let held = from.map_or(0, |from| self.bytes.len() - from);
        if held < count {
            match from {
                Some(from) => drop(self.bytes.drain(..from)),
                None => self.bytes.clear(),
            }
            self.start = offset;
            let left = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
            self.wanted = count.max(PIECE_BYTES).min(left).saturating_sub(held);
            return Err(NeedBytes);
        }
        let from = from.expect("what is held is in the window");
        Ok(self.bytes.get_mut(from..).expect("a position is in the window"))
    }

    /// What lies at `offset`, if `count` bytes of it are held. Changes nothing.
    pub(super) fn peek(&self, offset: u64, count: usize) -> Option<&[u8]> {
        let from = self.position(offset)?;
        self.bytes.get(from..from.checked_add(count)?)
    }

    /// Reads what is wanted, if anything is: `read` is given where in the file, and where to. Says how many
    /// bytes came; fewer than wanted come only at the end of the file. After an error all is as it was.
    pub(super) fn fill(
        &mut self,
        read: impl FnOnce(u64, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let held = self.bytes.len();
        let offset = self.end();
        self.bytes.resize(held + self.wanted, 0);
        let came = read(offset, self.bytes.get_mut(held..).expect("it was just made"));
        let count = came.as_ref().map_or(0, |count| (*count).min(self.wanted));
        self.bytes.truncate(held + count);
        came?;
        self.wanted -= count;
        Ok(count)
    }

    /// Where in the file the window ends.
    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(to_u64(self.bytes.len()))
    }

    /// Forgets everything, and gives its memory back.
    pub(super) fn clear(&mut self) {
        self.bytes = Vec::new();
        self.wanted = 0;
    }

    fn position(&self, offset: u64) -> Option<usize> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        (from <= self.bytes.len()).then_some(from)
    }
}

/// A length in memory as one in a file.
pub(super) fn to_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("a length in memory fits 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_what_was_asked_for_and_a_piece_more() {
        let file: Vec<u8> =
            (0..3 * PIECE_BYTES).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let end = u64::try_from(file.len()).unwrap();
        let mut window = Window::default();
        let mut reads = 0;
        for offset in [0, 5, 1_000, PIECE_BYTES - 5, PIECE_BYTES, 2 * PIECE_BYTES + 9, 7] {
            let at = u64::try_from(offset).unwrap();
            let found = loop {
                match window.at(at, 10, end) {
                    Ok(bytes) => break bytes[..10].to_vec(),
                    Err(NeedBytes) => reads += 1,
                }
                let read = |from: u64, into: &mut [u8]| {
                    let from = usize::try_from(from).unwrap();
                    into.copy_from_slice(&file[from..from + into.len()]);
                    Ok(into.len())
                };
                window.fill(read).unwrap();
            };
            assert_eq!(found, file[offset..offset + 10]);
            assert!(window.bytes.len() <= PIECE_BYTES);
        }
        assert_eq!(reads, 4);
    }

    #[test]
    fn a_read_that_fails_changes_nothing_and_a_short_one_is_asked_for_again() {
        let mut window = Window::default();
        assert_eq!(window.at(3, 4, 9), Err(NeedBytes));
        assert!(window.fill(|_, _| Err(io::ErrorKind::Other.into())).is_err());
        assert_eq!(
            window
                .fill(|from, into| Ok([from, into.len() as u64].iter().fold(0, |_, _| 2)))
                .unwrap(),
            2
        );
        assert_eq!(window.at(3, 4, 9), Err(NeedBytes));
        assert_eq!(
            window
                .fill(|from, into| if (from, into.len()) == (5, 4) { Ok(4) } else { Ok(0) })
                .unwrap(),
            4
        );
        assert_eq!(window.at(3, 6, 9).unwrap().len(), 6);
        assert_eq!(window.fill(|_, into| Ok(into.len())).unwrap(), 0, "nothing is wanted");
    }
}

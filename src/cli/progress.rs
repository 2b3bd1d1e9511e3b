//! How far long work is: on stderr, when that is a terminal, and nothing otherwise.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::table;

/// See the module. What it shows is gone when it is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    is_shown: bool,
    all_bytes: u64,
    /// Of the files that are done.
    before_bytes: u64,
    shown_at: Instant,
    has_shown: bool,
}

/// How often it is shown.
const INTERVAL: Duration = Duration::from_millis(250);

impl Progress {
    /// Of work on so many bytes.
    pub(super) fn new(what: &'static str, all_bytes: u64) -> Self {
        let is_shown = std::io::stderr().is_terminal();
        let shown_at = Instant::now();
        Self { what, is_shown, all_bytes, before_bytes: 0, shown_at, has_shown: false }
    }

    /// So many bytes of the file at hand are done.
    pub(super) fn at(&mut self, bytes: u64) {
        if self.is_shown && self.shown_at.elapsed() >= INTERVAL {
            self.shown_at = Instant::now();
            self.has_shown = true;
            say(&format!("\r\x1b[K{}", self.line(bytes)));
        }
    }

    /// A file of so many bytes is done.
    pub(super) fn done(&mut self, bytes: u64) {
        self.before_bytes = self.before_bytes.saturating_add(bytes);
        self.at(0);
    }

    fn line(&self, bytes: u64) -> String {
        // A living process appends, and takes away: what is done may be more than there was.
        let done = self.before_bytes.saturating_add(bytes).min(self.all_bytes);
        let percent = done.saturating_mul(100).checked_div(self.all_bytes).unwrap_or(100);
        let (done, all) = (table::bytes(done), table::bytes(self.all_bytes));
        format!("{} {percent} %: {done} of {all}", self.what)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.has_shown {
            say("\r\x1b[K");
        }
    }
}

fn say(text: &str) {
    let mut err = std::io::stderr().lock();
    // A terminal that is gone needs no progress.
    let _is_shown = err.write_all(text.as_bytes()).and_then(|()| err.flush()).is_ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_is_done_of_all() {
        let mut progress = Progress::new("verifying", 4096);
        assert_eq!(progress.line(1024), "verifying 25 %: 1.0 KiB of 4.0 KiB");
        progress.done(4096);
        assert_eq!(progress.line(1024), "verifying 100 %: 4.0 KiB of 4.0 KiB");
        assert_eq!(Progress::new("verifying", 0).line(0), "verifying 100 %: 0 B of 0 B");
    }
}

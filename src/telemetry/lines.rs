//! The way of log lines to stderr: a bounded channel and a thread, so that nothing waits for a reader of
//! logs that reads no more.
//!
//! A line that finds the channel full is left out, and a later line says how many were. It formats nothing.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing_subscriber::fmt::MakeWriter;

/// How many lines wait for stderr at most.
const LINES_MAX: usize = 1024;

/// How long the end of the process waits for its last lines to be read.
const LAST_LINES_WAIT_MAX: Duration = Duration::from_secs(1);

/// The way of this process, once it has one.
static WAY: OnceLock<Lines> = OnceLock::new();

/// Where lines are put. Cloning gives another end of the same way.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    way: Sender<Letter>,
    left_out: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Letter {
    Line(Vec<u8>),
    /// All lines before it are written when this is answered.
    Flush(Sender<()>),
}

impl Lines {
    /// The way to stderr, with its thread. It is the process's from now on.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn to_stderr() -> io::Result<Self> {
        let lines = Self::to(io::stderr(), LINES_MAX)?;
        // A second one is refused a moment later, when it is to be the process's subscriber.
        let _is_first = WAY.set(lines.clone()).is_ok();
        Ok(lines)
    }

    /// A way to `out` on which `lines_max` lines may wait.
    fn to(out: impl Write + Send + 'static, lines_max: usize) -> io::Result<Self> {
        let (way, letters) = bounded(lines_max);
        let left_out = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&left_out);
        let thread = std::thread::Builder::new().name("logs".to_owned());
        thread.spawn(move || write_all(&letters, &counted, out))?;
        Ok(Self { way, left_out })
    }

    fn put(&self, line: &[u8]) {
        if self.way.try_send(Letter::Line(line.to_vec())).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all lines until now are written, or until `deadline`.
    fn flush(&self, deadline: Instant) {
        let (done, is_done) = bounded(1);
        if self.way.send_deadline(Letter::Flush(done), deadline).is_ok() {
            let _in_time = is_done.recv_deadline(deadline).is_ok();
        }
    }
}

fn write_all(letters: &Receiver<Letter>, left_out: &AtomicU64, mut out: impl Write) {
    for letter in letters {
        match letter {
            Letter::Line(line) => {
                // With stderr closed there is nobody to tell.
                let _is_written = out.write_all(&line).is_ok();
            }
            Letter::Flush(done) => {
                let _somebody_waits = done.send(()).is_ok();
            }
        }
        let lines = left_out.swap(0, Ordering::Relaxed);
        if lines > 0 {
            tracing::warn!(lines, "log lines were left out: they were not read in time");
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// A line comes in one piece.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for the lines that were logged until now, but not for ever: the process ends.
pub fn flush() {
    if let Some(lines) = WAY.get() {
        lines.flush(Instant::now() + LAST_LINES_WAIT_MAX);
    }
}

/// Says something on stderr that is no log line, behind all that were logged, and waits as [`flush`] does.
pub fn say_last(text: &str) {
    match WAY.get() {
        Some(lines) => {
            let deadline = Instant::now() + LAST_LINES_WAIT_MAX;
            let letter = Letter::Line(text.as_bytes().to_vec());
            if lines.way.send_deadline(letter, deadline).is_ok() {
                lines.flush(deadline);
            }
        }
        None => {
            let _is_told = io::stderr().write_all(text.as_bytes()).is_ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that reads a line only when it is allowed to.
    struct Reluctant {
        leave: Receiver<()>,
        read: Sender<Vec<u8>>,
    }

    impl Write for Reluctant {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.leave.recv().map_err(io::Error::other)?;
            self.read.send(line.to_vec()).map_err(io::Error::other)?;
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_reads_no_more_keeps_nobody_waiting_and_what_is_left_out_is_counted() {
        let (allow, leave) = bounded(100);
        let (read, lines_read) = bounded(100);
        let lines = Lines::to(Reluctant { leave, read }, 3).unwrap();
        for line in 0..10_u8 {
            lines.put(&[line]);
        }
        // One at the writer if it has come for it, three on the way.
        let left_out = lines.left_out.load(Ordering::Relaxed);
        assert!((6..=7).contains(&left_out), "{left_out}");
        let begun = Instant::now();
        lines.flush(begun + Duration::from_millis(20));
        assert!(begun.elapsed() < Duration::from_secs(5), "a flush has an end");
        (0..100).for_each(|_| allow.send(()).unwrap());
        lines.flush(Instant::now() + Duration::from_secs(10));
        let lines_read: Vec<Vec<u8>> = lines_read.try_iter().collect();
        assert_eq!(lines_read.first().unwrap(), &[0]);
        assert_eq!(lines_read.len() as u64, 10 - left_out, "the others are written in the end");
    }
}

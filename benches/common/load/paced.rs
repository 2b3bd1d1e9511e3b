//! The open loop: requests leave at times that are fixed beforehand, whatever the answers do.
//!
//! An answer's time counts from when its request was due, so that a stall also counts for those that had
//! to wait behind it. Each connection has a thread, since a thread that sleeps wakes more exactly than a
//! timer of an asynchronous runtime.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{ANSWER_TIMEOUT, Aim, Load, REFUSED_WAIT, Tally, nanoseconds, sum};
use crate::common::fault::{During as _, Fault};
use crate::common::http::{self, ANSWER_BYTES_MAX};

/// So that all threads are there before the first request is due.
const LEAD: Duration = Duration::from_millis(20);

/// Sends `rate` requests a second for as long as `time`, evenly, the connections in turn.
///
/// # Errors
/// When a connection breaks, an answer is neither an acceptance nor a 503, or it takes too long.
pub(crate) async fn pace(aim: &Aim, rate: u32, time: Duration) -> Result<Load, Fault> {
    let interval = Duration::from_secs(1) / rate.max(1);
    let begin = Instant::now() + LEAD;
    let (tallies_in, mut tallies_out) = mpsc::channel(usize::from(aim.connections));
    for number in 0..aim.connections {
        let schedule = Schedule {
            first: begin + interval * u32::from(number),
            interval: interval * u32::from(aim.connections),
            end: begin + time,
        };
        let (aim, tallies_in) = (aim.clone(), tallies_in.clone());
        let work = move || {
            // Nobody takes it when the run was given up.
            let _is_taken = tallies_in.blocking_send(connection(&aim, number, &schedule)).is_ok();
        };
        // It ends by itself: the schedule has an end, and every answer a time-out.
        let _detached =
            thread::Builder::new().name("paced".to_owned()).spawn(work).during("a thread")?;
    }
    drop(tallies_in);
    let mut tallies = Vec::new();
    while let Some(tally) = tallies_out.recv().await {
        tallies.push(tally?);
    }
    Ok(sum(tallies, begin.elapsed()))
}

/// When the requests of a connection are due.
#[derive(Debug)]
struct Schedule {
    first: Instant,
    interval: Duration,
    end: Instant,
}

fn connection(aim: &Aim, number: u16, schedule: &Schedule) -> Result<Tally, Fault> {
    wake_exactly();
    let mut stream = TcpStream::connect(aim.addr).during("connecting")?;
    stream.set_nodelay(true).during("connecting")?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).during("connecting")?;
    let mut tally = Tally::default();
    let mut buffer = vec![0; ANSWER_BYTES_MAX];
    let mut due = schedule.first;
    let mut numbered = Vec::new();
    for request in aim.requests.from(number, aim.connections) {
        if due >= schedule.end {
            break;
        }
        let request = aim.ready(request, &mut numbered);
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            sleep(early);
            tally.lags_ns.push(nanoseconds(due.elapsed()));
        }
        stream.write_all(request).during("sending a request")?;
        let status = read_answer(&mut stream, &mut buffer)?;
        if tally.count(status)? {
            tally.answers_ns.push(nanoseconds(due.elapsed()));
        } else {
            sleep(REFUSED_WAIT);
        }
        due += schedule.interval;
    }
    Ok(tally)
}

fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<u16, Fault> {
    let mut end = 0;
    loop {
        let count = stream.read(buffer.get_mut(end..).unwrap_or_default());
        let count = count.during("reading an answer")?;
        if count == 0 {
            return Err(Fault::new("a connection was closed before the answer"));
        }
        end += count;
        if let Some(answer) = http::answer(buffer.get(..end).unwrap_or_default())? {
            return Ok(answer.status);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a moment is what is waited for")]
fn sleep(time: Duration) {
    thread::sleep(time);
}

/// Lets this thread wake when it wants to, and not up to 50 us later. Without the right to, it wakes later.
fn wake_exactly() {
    let id = fs::read_link("/proc/thread-self").ok();
    let id = id.as_deref().and_then(|path| path.file_name()?.to_str());
    if let Some(id) = id {
        let _is_done = fs::write(format!("/proc/{id}/timerslack_ns"), "1").is_ok();
    }
}

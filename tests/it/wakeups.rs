//! Threads are woken for batches, never for records: shown by counting, not by promise.

use crate::ledger::Ledger;
use crate::pipe::Setup;
use crate::upstream::Upstream;

/// How often the kernel has put a thread of the process to sleep and woken it.
fn wake_ups_of(pid: u32, thread: &str) -> u64 {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let task = task.unwrap().path();
        let name = std::fs::read_to_string(task.join("comm")).unwrap();
        if name.trim() == thread {
            let status = std::fs::read_to_string(task.join("status")).unwrap();
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt")).unwrap();
            sum += line.split_whitespace().last().unwrap().parse::<u64>().unwrap();
        }
    }
    sum
}

#[test]
fn a_record_wakes_no_thread() {
    const RECORDS: u64 = 20_000;
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint()).set("STANDPIPE_DEFAULTS_LINGER_MS", "1000").start();
    let mut ledger = Ledger::default();
    let mut client = pipe.client();
    assert_eq!(ledger.post(&mut client, 1, &[]), 202);
    pipe.settle();
    let slept_before = wake_ups_of(pipe.pid(), "forward");
    let rung_before = pipe.metric("standpipe_forward_wakeups_total", "");
    // One record to a POST: the way of an application that does not batch.
    for _ in 0..RECORDS {
        assert_eq!(ledger.post(&mut client, 1, &[]), 202);
    }
    pipe.settle();
    let rung = pipe.metric("standpipe_forward_wakeups_total", "") - rung_before;
    let slept = wake_ups_of(pipe.pid(), "forward") - slept_before;
    // 40 full batches, and one for each second that this took. A call upstream makes a handful of
    // system calls that sleep, and the stream's timers a few more.
    assert!(rung < 200.0, "the bell was rung {rung} times for {RECORDS} records");
    assert!(
        slept < RECORDS / 10,
        "the forward thread was woken {slept} times for {RECORDS} records"
    );
    assert_eq!(
        pipe.metric("standpipe_ingest_wakeups_total", ""),
        0.0,
        "nobody waited for a receipt"
    );
    assert_eq!(ledger.check(upstream.records("demo").values()), 0);
}

#[test]
fn receipts_wake_their_worker_by_the_batch() {
    const CLIENTS: usize = 32;
    const ROUNDS: usize = 50;
    let upstream = Upstream::start();
    let pipe = Setup::new(&upstream.endpoint()).set("STANDPIPE_DEFAULTS_ACK", "delivered").start();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = pipe.client();
                for _ in 0..ROUNDS {
                    assert_eq!(Ledger::default().post(&mut client, 1, &[]), 200);
                }
            });
        }
    });
    let calls = pipe.metric("standpipe_forward_requests_total", "");
    let rung = pipe.metric("standpipe_ingest_wakeups_total", "");
    assert!(rung <= 2.0 * calls, "{rung} wake-ups for {calls} calls");
    assert!(
        calls < (CLIENTS * ROUNDS) as f64 / 2.0,
        "{calls} calls for {} receipts",
        CLIENTS * ROUNDS
    );
}

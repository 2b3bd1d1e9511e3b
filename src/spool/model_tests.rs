//! The engine of the spool against a model, over a storage that fails and crashes.
//!
//! The model plays the ingest workers, the forwarder, the key ring, the machine and its disk; it gives the
//! actors their turns, in any order and at a time of its own, so that what a seed does it does again. It
//! knows of each record what was said of it, and so what must come back, what may, and what must not:
//!
//! - a record that was answered as durable comes back until it is noted: its own bytes, in its stream;
//! - one that was refused, or not answered, comes back in a later life only;
//! - a note holds for the life; beyond it when it was written, beyond a crash when the life ended as it should;
//! - nobody waits for an answer when no actor is awake, and no actor is awake for ever;
//! - when everything works again and is noted, no file is left, and the counts say so;
//! - no nonce is used twice under a key.
//!
//! `STANDPIPE_MODEL_RUNS` is how many random lives there are, and `STANDPIPE_MODEL_SEED` the first seed; a
//! run that fails says its seed.

mod life;
mod ring;
mod world;

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use super::Config;
use super::faulty::Call;
use world::{CALLS, DIR, Seen, World};

const KIB: usize = 1024;

fn config(random: &mut fastrand::Rng) -> Config {
    Config {
        dir: DIR.into(),
        bytes_max: [512, 100_000][random.usize(..2)] * KIB,
        stream_bytes_max: [64, 100_000][random.usize(..2)] * KIB,
        stream_floor_bytes: 16 * KIB,
        free_bytes_min: [0, 4 * KIB][random.usize(..2)],
        reserve_bytes: 8 * KIB,
        segment_bytes_max: [6, 16, 64][random.usize(..3)] * KIB,
        segment_age_max: Duration::from_secs(600),
        files_max: [1, 2, 256][random.usize(..3)],
        read_ahead_bytes_max: [2, 32, 8_192][random.usize(..3)] * KIB,
        group_bytes_max: [KIB, 8 * 1024 * KIB][random.usize(..2)],
        dead_letter_bytes_max: [8, 1024][random.usize(..2)] * KIB,
        ..Config::default()
    }
}

/// Runs `test`, and says with which `seed` if it fails.
fn with_seed(seed: u64, what: &str, test: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(test)) {
        eprintln!("it failed with seed {seed}{what}");
        resume_unwind(panic);
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn whatever_happens_nothing_durable_is_lost_and_nothing_settled_comes_back() {
    let first = number("STANDPIPE_MODEL_SEED").unwrap_or(0);
    let runs = number("STANDPIPE_MODEL_RUNS").unwrap_or(150);
    let mut all = Seen::default();
    let mut failures = [0; CALLS.len()];
    let mut short = 0;
    for seed in first..first + runs {
        with_seed(seed, "", || {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut world = World::new(seed, config(&mut random));
            world.open();
            for _ in 0..random.usize(20..250) {
                world.step();
            }
            for (failures, call) in failures.iter_mut().zip(CALLS) {
                *failures += world.storage.failures(call, false);
            }
            short += world.storage.failures(Call::Append, true);
            world.peace();
            all.add(&world.seen);
        });
    }
    println!("{all:?} {failures:?} {short}");
}

fn _unused() {
    let _ = ErrorKind::Other;
}

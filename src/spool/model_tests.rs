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

mod damage;
mod edges;
mod life;
mod ring;
mod world;

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use super::Config;
use super::faulty::Call;
use world::{CALLS, DIR, KINDS, Seen, World};

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
    let (mut seen, mut failures) = (Seen::default(), [0; KINDS.len()]);
    for seed in first..first + runs {
        with_seed(seed, "", || {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut world = World::new(seed, config(&mut random));
            world.open();
            for _ in 0..random.usize(20..250) {
                world.step();
            }
            world.peace();
            seen.add(&world.seen);
            failures.iter_mut().zip(world.failures).for_each(|(all, some)| *all += some);
        });
    }
    println!("{seen:?} {failures:?}");
    if runs >= 100 {
        // Only what is damaged is renamed.
        let has_missed =
            |(kind, count): &(&(Call, bool), u64)| *count == 0 && kind.0 != Call::Rename;
        let missed: Vec<_> = KINDS.iter().zip(failures).filter(has_missed).collect();
        assert!(missed.is_empty(), "these never failed: {missed:?}");
        let Seen { refused, from_backlog, recovered, crashes, kills, stops, buried, .. } = seen;
        let Seen { durable, came_back_refused, came_back_noted, .. } = seen;
        for count in [durable, refused, from_backlog, recovered, crashes, kills, stops, buried] {
            assert!(count > 100, "{seen:?}");
        }
        assert!(came_back_refused > 10 && came_back_noted > 10, "{seen:?}");
    }
}

/// A few lives, always the same, in which everything happens that is not damage.
fn lives(world: &mut World) {
    world.open();
    for life in 0..3 {
        world.append(0);
        world.append(1);
        world.turns(2);
        world.append(0);
        world.settle();
        world.spill(0);
        world.spill(1);
        world.settle();
        world.pass(Duration::from_secs(2));
        world.note();
        world.set_aside();
        world.turns(1);
        world.let_go();
        world.want(true);
        world.pass(Duration::from_secs(1));
        world.note();
        world.append(1);
        world.settle();
        if life == 0 {
            world.pass(Duration::from_secs(25));
            world.kill();
        } else {
            world.stop();
        }
        world.want(life == 1);
        world.pass(Duration::from_secs(3));
        world.note();
        world.let_go();
        world.settle();
    }
}

fn small() -> Config {
    let segment_age_max = Duration::from_secs(20);
    Config { segment_age_max, ..config(&mut fastrand::Rng::with_seed(3)) }
}

/// Lets `what` go wrong at every single call, one after the other.
fn at_every_call(seeds: u64, what: impl Fn(&World, Call, u64)) {
    let mut world = World::new(0, small());
    lives(&mut world);
    let calls = CALLS.map(|call| world.storage.calls(call));
    let mut all = 0;
    for (call, count) in CALLS.into_iter().zip(calls) {
        assert!(count > 0 || call == Call::Rename, "{call:?} is never called");
        for n in 1..=count {
            for seed in 0..seeds {
                with_seed(seed, &format!(" at call {n} of {call:?}"), || {
                    let mut world = World::new(seed, small());
                    what(&world, call, n);
                    lives(&mut world);
                    // What was said to be durable is, also where something had failed before.
                    world.crash();
                    world.peace();
                    let failed: u64 = world.failures.iter().sum();
                    all += u64::from(failed > 0);
                });
            }
        }
    }
    // What is random in a life may lead past a call.
    assert!(all >= calls.iter().sum::<u64>() * seeds * 9 / 10, "{all} of {calls:?}");
}

#[test]
fn a_machine_that_dies_at_any_call_loses_nothing() {
    at_every_call(2, |world, call, n| world.storage.crash_nth(call, n));
}

#[test]
fn any_single_call_that_fails_loses_nothing() {
    at_every_call(1, |world, call, n| world.storage.fail_nth(call, n, ErrorKind::Other));
}

#[test]
fn a_disk_that_is_full_at_any_append_and_writes_a_part_loses_nothing() {
    at_every_call(1, |world, call, n| match call {
        Call::Append => world.storage.short_write_nth(n, ErrorKind::StorageFull),
        _ => world.storage.fail_nth(call, n, ErrorKind::StorageFull),
    });
}

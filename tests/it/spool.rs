//! The spool from outside: what has to be configured for it, and what the process keeps to itself.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Output;

use crate::pipe::Setup;
use crate::upstream::Upstream;

/// Runs `words` to their end, and says how they ended and what they printed.
fn run(setup: &Setup, words: &[&str]) -> (i32, String) {
    let directory = tempfile::tempdir().unwrap();
    let Output { status, stdout, stderr } = setup.command_of(&directory, words).output().unwrap();
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[test]
fn a_pipe_that_has_no_spool_and_says_no_level_does_not_start() {
    let setup = Setup::new("http://127.0.0.1:9").set("STANDPIPE_DEFAULTS_ACK", "");
    let (code, said) = run(&setup, &["serve"]);
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("must say ack = \"memory\" itself"), "{said}");
    assert!(said.contains("spool.dir"), "{said}");
}

#[test]
fn a_check_says_where_the_spool_is_and_at_which_level_streams_answer() {
    let upstream = Upstream::start();
    let without = Setup::new(&upstream.endpoint());
    let (code, said) = run(&without, &["check"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("demo: answers at memory") && said.contains("spool     none"), "{said}");

    let with = Setup::new(&upstream.endpoint()).spool().set("STANDPIPE_DEFAULTS_ACK", "");
    let (code, said) = run(&with, &["check", "--live"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("demo: answers at durable, never below memory"), "{said}");
    assert!(said.contains("live      spool spool: is not there yet and can be made"), "{said}");

    let wrong = with.set("STANDPIPE_SPOOL_DIR", "/dev/null");
    let (code, said) = run(&wrong, &["check", "--live"]);
    assert_eq!(code, 74, "{said}");
    assert!(said.contains("live      spool /dev/null: /dev/null can not be used"), "{said}");
}

/// Whether the process leaves its memory in a file when it dies of a signal that is meant for that.
fn dumps_core(setup: Setup) -> bool {
    let pipe = setup.after("ulimit -c unlimited").start();
    pipe.signal("ABRT");
    let (status, _) = pipe.ended();
    assert_eq!(status.signal(), Some(6));
    status.core_dumped()
}

#[test]
fn a_process_with_a_spool_leaves_its_memory_in_no_core_dump() {
    let upstream = Upstream::start();
    if !dumps_core(Setup::new(&upstream.endpoint())) {
        // This machine dumps nobody's core, so that nothing can be shown here.
        return;
    }
    assert!(!dumps_core(Setup::new(&upstream.endpoint()).spool()));
}

//! No input panics the loader, and whatever it accepts means the same when it is shown and loaded again.

use proptest::prelude::*;

use super::{loaded, sources};
use crate::config::{Preset, load};

const GOOD: &str = r#"
[memory]
bytes_max = 134_217_728
[ingest]
listen = "127.0.0.1:4573"
repeats = { enabled = true, window_ms = 1000 }
[upstream]
endpoint = "https://firehose.eu-west-1.amazonaws.com"
proxy = 'http://user:pass@proxy:3128'
[log]
filter = "info,standpipe=debug"
[defaults]
ack = "delivered"
[[streams]]
name = "one"
linger_ms = 0x10
[[streams]]
name = "two"
memory_floor_bytes = 1000
"#;

fn survives(text: &str, variables: &[(&str, &str)]) {
    for preset in [Preset::Service, Preset::Embedded] {
        match load(&sources(text, variables), preset) {
            Ok(accepted) => drop(accepted.show()),
            Err(faults) => {
                assert!(!faults.list().is_empty());
                assert_eq!(faults.to_string().lines().count(), faults.list().len(), "{faults}");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused_in_order(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        survives(&String::from_utf8_lossy(&bytes), &[]);
    }

    #[test]
    fn a_file_with_something_cut_out_and_put_in_is_survived(
        at in 0..GOOD.len(),
        cut in 0_usize..40,
        put in prop::collection::vec(prop::sample::select(&b"[]{}=\"'\\.,#\n\t\0 -_0123456789abex\xff"[..]), 0..12),
    ) {
        let mut bytes = GOOD.as_bytes().to_vec();
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, put);
        survives(&String::from_utf8_lossy(&bytes), &[]);
    }

    #[test]
    fn lines_in_another_order_are_survived(lines in Just(GOOD.lines().collect::<Vec<_>>()).prop_shuffle(), keep in 0_usize..20) {
        survives(&lines.into_iter().take(keep).collect::<Vec<_>>().join("\n"), &[]);
    }

    #[test]
    fn any_variable_is_survived(
        name in "[A-Z_]{0,12}", value in any::<String>(),
        table in prop::sample::select(&["", "STREAMS", "STREAMS_ONE_", "INGEST_", "DEFAULTS_", "UPSTREAM_PROXY", "UPSTREAM_ENDPOINT", "LOG_FILTER", "INGEST_LISTEN"][..]),
    ) {
        survives(GOOD, &[(&format!("STANDPIPE_{table}{name}"), &value)]);
        survives(GOOD, &[(&format!("STANDPIPE_{table}"), &value)]);
    }
}

#[test]
fn what_is_shown_means_the_same() {
    let first = loaded(&GOOD.replace("user:pass@", ""), &[("STANDPIPE_STREAMS", "three,*")]);
    assert_eq!(loaded(&first.show(), &[]).config, first.config);
}

#[test]
fn deep_nesting_ends_in_a_fault() {
    for open in ["[", "{a=", "[{a="] {
        survives(&format!("a = {}", open.repeat(100_000)), &[]);
    }
    survives(&format!("{}a = 1", "a.".repeat(100_000)), &[]);
}

//! The table of keys holds what it promises: each key can be set both ways, and is shown.

use std::collections::BTreeSet;

use super::{FILE, loaded};
use crate::config::draft::Draft;
use crate::config::environment::stream_variable;
use crate::config::keys::{
    CONFIG_VARIABLE, DEFAULTS, KEYS, STREAM_KEYS, STREAMS_VARIABLE, variable,
};
use crate::config::kind::Kind;
use crate::config::reference;
use crate::config::value::Value;

/// A spool.
const SPOOL: (&str, &str) = ("STANDPIPE_SPOOL_DIR", "/spool");

/// A KMS key.
const KEY: (&str, &str) = ("STANDPIPE_KEYS_KEY", "arn:aws:kms:eu-west-1:111122223333:key/mrk-1");

/// A value for a key that is right, and not its default.
fn sample(name: &str, kind: Kind, default: Option<&Value>) -> Value {
    match (kind, default) {
        (Kind::Switch, Some(Value::Switch(on))) => Value::Switch(!on),
        (Kind::Whole { min, max, .. }, default) => {
            let default = match default {
                Some(Value::Whole(number)) => *number,
                _ => min,
            };
            // A thousand keeps whole seconds whole. One stream has no more than all together.
            let near = match name {
                "stream_bytes_max" => [default - 1_000; 3],
                _ => near(default),
            };
            let right = near.into_iter().find(|number| (min..=max).contains(number));
            Value::Whole(right.unwrap_or_else(|| panic!("no other value for {name}")))
        }
        (Kind::Word(words), _) => Value::Text(words[words.len() - 1].to_owned()),
        (Kind::Text { .. }, _) => Value::Text(sample_text(name).to_owned()),
        (Kind::List { .. }, _) => Value::List(vec![KEY.1.to_owned(), KEY.1.to_owned()]),
        (Kind::Switch, _) => panic!("{name} is a switch without a default"),
    }
}

fn near(number: u64) -> [u64; 3] {
    [number + 1_000, number + 1, number.saturating_sub(1)]
}

fn sample_text(name: &str) -> &'static str {
    match name {
        "listen" => "127.0.0.1:9999",
        "health_listen" => "0.0.0.0:9998",
        "region" => "eu-west-1",
        "profile" => "our profile",
        "endpoint" => "https://firehose.test",
        "kinesis_endpoint" => "https://kinesis.test",
        "kinesis_stream" => "arn:aws:kinesis:eu-west-1:111122223333:stream/clicks",
        "partition_key" => "/user/id",
        "encryption_key" => "none",
        "proxy" => "http://proxy.test:3128",
        "filter" => "info,standpipe::forward=debug",
        "key" => "arn:aws:kms:eu-west-1:111122223333:key/mrk-2",
        "application" => "orders/eu@test",
        "unix_socket" | "token_file" | "ca_file" | "dir" | "file" => {
            "/a path/with \"quotes\" and @"
        }
        _ => panic!("no sample for {name}"),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Switch(on) => on.to_string(),
        Value::Whole(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::List(items) => items.join(","),
    }
}

/// What has to be set beside a key for it to have a meaning.
fn beside(table: &str, name: &str) -> Vec<(&'static str, &'static str)> {
    match name {
        "oversize" => vec![SPOOL, KEY],
        "dir" => vec![KEY],
        "destination" => vec![("STANDPIPE_DEFAULTS_KINESIS_STREAM", "clicks")],
        "kinesis_stream" => vec![("STANDPIPE_DEFAULTS_DESTINATION", "kinesis")],
        "aggregate_delimiter" => vec![("STANDPIPE_DEFAULTS_AGGREGATE", "on")],
        "encryption_key" => vec![("STANDPIPE_DEFAULTS_MANAGE", "true")],
        "manage_encryption" => vec![("STANDPIPE_ADMIN_TOKEN_FILE", "/token")],
        "provider" => vec![KEY, ("STANDPIPE_KEYS_FILE", "/key")],
        _ if table.contains("spool") => vec![SPOOL, KEY],
        _ if !table.contains("keys") || name == "key" => Vec::new(),
        _ => vec![KEY],
    }
}

/// Sets one key in the file and then in the environment, and looks for it in what is shown.
fn check(head: &str, name: &str, variable: &str, value: &Value) {
    let streams = (STREAMS_VARIABLE, "my-stream");
    let text = format!("{head}\n{name} = {}\n", value.to_toml());
    let line = head.lines().count() + 1;
    let with = |more: &[(&str, &str)]| {
        let beside = beside(head, name);
        loaded(if more.is_empty() { &text } else { "" }, &[&[streams][..], &beside, more].concat())
    };
    let from_file = with(&[]);
    let shown = format!("{name} = {} # {FILE}:{line}\n", value.to_toml());
    assert!(from_file.show().contains(&shown), "{shown} is not in\n{}", from_file.show());

    let plain = plain(value);
    let from_variable = with(&[(variable, &plain)]);
    let shown = format!("{name} = {} # {variable}\n", value.to_toml());
    assert!(from_variable.show().contains(&shown), "{shown} is not in\n{}", from_variable.show());
    assert_eq!(from_variable.config, from_file.config);

    // What is shown can be loaded again, and means the same.
    assert_eq!(loaded(&from_file.show(), &[]).config, from_file.config, "{name}");
}

#[test]
fn every_key_can_be_set_in_the_file_and_in_the_environment_and_is_shown() {
    let mut draft = Draft::default();
    for key in KEYS {
        let default = (key.field)(&mut draft).value();
        let value = sample(key.name, key.kind, default.as_ref());
        assert_ne!(Some(&value), default.as_ref());
        check(&format!("[{}]", key.table), key.name, &variable(key.table, key.name), &value);
    }
    for key in STREAM_KEYS {
        let default = (key.field)(&mut draft.defaults).value();
        let value = sample(key.name, key.kind, default.as_ref());
        check("[defaults]", key.name, &variable(DEFAULTS, key.name), &value);
        let variable = stream_variable("my-stream", key.name);
        check("[[streams]]\nname = \"my-stream\"", key.name, &variable, &value);
    }
}

#[test]
fn every_setting_reaches_the_stages() {
    let unseen = ["allow_unprotected", "window_ms", "entries_max", "bytes_max"];
    let mut draft = Draft::default();
    for key in KEYS.iter().filter(|key| !unseen.contains(&key.name)) {
        let default = (key.field)(&mut draft).value();
        let value = plain(&sample(key.name, key.kind, default.as_ref()));
        let name = variable(key.table, key.name);
        let beside = [&[(STREAMS_VARIABLE, "a")][..], &beside(key.table, key.name)].concat();
        let before = loaded("", &beside).config;
        let after = loaded("", &[&beside[..], &[(&name, &value)]].concat()).config;
        assert_ne!(before, after, "{name}");
    }
    let text = "[ingest]\nlisten = \"0.0.0.0:1\"\nallow_unprotected = true\n\
                [admin]\nlisten = \"0.0.0.0:2\"\nallow_unprotected = true\n\
                [ingest.repeats]\nenabled = true\nwindow_ms = 1\nentries_max = 2\nbytes_max = 3000\n";
    let config = loaded(text, &[(STREAMS_VARIABLE, "a")]).config;
    assert!(config.admin.allow_unprotected);
    let repeats = config.ingest.repeats.unwrap();
    assert_eq!((repeats.window.as_millis(), repeats.entries_max, repeats.bytes_max), (1, 2, 3_000));
}

#[test]
fn every_default_is_within_its_bounds_and_every_bound_fits_its_field() {
    fn holds(name: &str, kind: Kind, field: &mut dyn crate::config::value::Setting) {
        let default = field.value();
        match kind {
            Kind::Whole { min, max, .. } => {
                if let Some(Value::Whole(number)) = default {
                    assert!((min..=max).contains(&number), "{name} = {number}");
                }
                for bound in [min, max] {
                    assert_eq!(field.set(&Value::Whole(bound)), Some(()), "{name} = {bound}");
                }
            }
            Kind::Word(words) => {
                for word in words {
                    assert_eq!(field.set(&Value::Text((*word).to_owned())), Some(()), "{name}");
                }
            }
            Kind::List { .. } => {
                let list = Value::List(vec![KEY.1.to_owned()]);
                assert_eq!(field.set(&list), Some(()), "{name}");
            }
            Kind::Switch => assert_eq!(field.set(&Value::Switch(true)), Some(()), "{name}"),
            Kind::Text { .. } => {
                let text = Value::Text(sample_text(name).to_owned());
                assert_eq!(field.set(&text), Some(()), "{name}");
            }
        }
    }
    let mut draft = Draft::default();
    for key in KEYS {
        holds(key.name, key.kind, (key.field)(&mut draft));
    }
    for key in STREAM_KEYS {
        holds(key.name, key.kind, (key.field)(&mut draft.defaults));
    }
}

#[test]
fn no_two_settings_share_a_variable() {
    let global = KEYS.iter().map(|key| variable(key.table, key.name));
    let defaults = STREAM_KEYS.iter().map(|key| variable(DEFAULTS, key.name));
    let fixed = [CONFIG_VARIABLE, STREAMS_VARIABLE].map(str::to_owned);
    let all: Vec<String> = global.chain(defaults).chain(fixed).collect();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    // The variables of streams are told apart by what they begin with.
    let of_streams = format!("{STREAMS_VARIABLE}_");
    assert!(all.iter().all(|name| !name.starts_with(&of_streams)));
}

#[test]
fn a_secret_is_not_shown() {
    let proxy = "http://user:secret@proxy.test:3128";
    let loaded = loaded("", &[(STREAMS_VARIABLE, "a"), ("STANDPIPE_UPSTREAM_PROXY", proxy)]);
    assert_eq!(loaded.config.forward.upstream.proxy.as_deref(), Some(proxy));
    assert!(
        loaded
            .show()
            .contains("proxy = \"http://***@proxy.test:3128\" # STANDPIPE_UPSTREAM_PROXY\n")
    );
    assert!(!loaded.show().contains("secret"));
}

#[test]
fn the_reference_has_a_row_for_every_key() {
    let reference = reference();
    let rows = reference.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, KEYS.len() + STREAM_KEYS.len());
    assert!(
        reference
            .lines()
            .filter(|line| line.starts_with('|'))
            .all(|row| { row.replace("\\|", "").matches('|').count() == 6 })
    );
    assert!(reference.contains(
        "| `linger_ms` | `STANDPIPE_DEFAULTS_LINGER_MS` | a whole number of milliseconds from 0 to \
         900000 | `1000` | How long the first record of a batch waits for others at most. |"
    ));
}

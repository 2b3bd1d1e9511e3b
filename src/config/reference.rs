//! The reference of all keys in Markdown, made from the table of keys.

use std::fmt::Write as _;

use super::draft::Draft;
use super::environment::stream_variable;
use super::keys::{DEFAULTS, KEYS, PREFIX, STREAM_KEYS, STREAMS_VARIABLE, tables, variable};
use super::kind::Kind;
use super::value::Value;

/// Every key with its variable, what it takes, its default and what it is for, as Markdown tables.
#[must_use]
pub fn reference() -> String {
    let mut out = String::new();
    let mut draft = Draft::default();
    for table in tables() {
        head(&mut out, &format!("`[{table}]`"));
        for key in KEYS.iter().filter(|key| key.table == table) {
            let default = (key.field)(&mut draft).value();
            row(
                &mut out,
                key.name,
                &variable(table, key.name),
                key.kind,
                default.as_ref(),
                key.doc,
            );
        }
        out.push('\n');
    }
    head(&mut out, "`[defaults]`, and the same below each `[[streams]]`");
    for key in STREAM_KEYS {
        let default = (key.field)(&mut draft.defaults).value();
        let name = variable(DEFAULTS, key.name);
        row(&mut out, key.name, &name, key.kind, default.as_ref(), key.doc);
    }
    out.push_str(&outro());
    out
}

fn outro() -> String {
    let example = stream_variable("my-stream", "linger_ms");
    format!(
        "\nA stream has a `name` besides. `{STREAMS_VARIABLE}=a,b` names streams beside those of the \
         file, `*` in it stands for any other. For one stream, the name goes into the variable in \
         capitals, with `_` for what is no letter or digit: `{example}`. `{PREFIX}CONFIG` names the \
         file. A variable that is empty says nothing; a `{PREFIX}*` variable that nobody knows is a \
         fault, but for those that Kubernetes sets for a Service.\n"
    )
}

fn head(out: &mut String, title: &str) {
    line(out, format_args!("**{title}**\n"));
    line(out, format_args!("| Key | Variable | Takes | Default | What it is for |"));
    line(out, format_args!("|---|---|---|---|---|"));
}

fn row(
    out: &mut String,
    name: &str,
    variable: &str,
    kind: Kind,
    default: Option<&Value>,
    doc: &str,
) {
    let default =
        default.map_or_else(|| "unset".to_owned(), |value| format!("`{}`", value.to_toml()));
    let kind = kind.to_string().replace('|', "\\|");
    line(out, format_args!("| `{name}` | `{variable}` | {kind} | {default} | {doc} |"));
}

fn line(out: &mut String, line: std::fmt::Arguments<'_>) {
    let written = writeln!(out, "{line}");
    debug_assert!(written.is_ok(), "writing to a string can not fail");
}

//! `config show`: the values that hold, as TOML that could be loaded again, each with where it comes from.

use std::fmt::Write as _;

use crate::record::StreamName;

use super::draft::{Draft, NamedStream, Slot, StreamDraft};
use super::fault::Place;
use super::keys::{DEFAULTS, KEYS, STREAM_KEYS, STREAMS, tables};
use super::kind::redacted;
use super::load::Loaded;
use super::value::{Value, quoted};

impl Loaded {
    /// The values that hold, as TOML. Secrets are left out.
    #[must_use]
    pub fn show(&self) -> String {
        let mut out = String::new();
        // The accessors of the table take a `&mut`, of what is only read here.
        let mut draft = self.draft.clone();
        for table in tables() {
            line(&mut out, format_args!("[{table}]"));
            // Without a directory the other keys of the spool mean nothing, and would be refused.
            let has_spool = draft.spool_dir.is_some();
            let is_shown = |name: &str| table != "spool" || name == "dir" || has_spool;
            for key in KEYS.iter().filter(|key| key.table == table && is_shown(key.name)) {
                let origin = draft.origins.get(&Slot::table(table, key.name)).cloned();
                let value = (key.field)(&mut draft).value();
                self.entry(&mut out, key.name, value.as_ref(), &self.origin(origin.as_ref()));
            }
            line(&mut out, format_args!(""));
        }
        self.defaults(&mut out, &mut draft);
        let even_floor_bytes = draft.even_floor_bytes();
        for (name, NamedStream { place, mut stream }) in draft.streams.clone() {
            stream.memory_floor_bytes.get_or_insert(even_floor_bytes);
            self.stream(&mut out, &name, &place, stream);
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
        out
    }

    fn defaults(&self, out: &mut String, draft: &mut Draft) {
        line(out, format_args!("[{DEFAULTS}]"));
        for key in STREAM_KEYS {
            let origin = draft.origins.get(&Slot::table(DEFAULTS, key.name)).cloned();
            let value = (key.field)(&mut draft.defaults).value();
            self.entry(out, key.name, value.as_ref(), &self.origin(origin.as_ref()));
        }
        line(out, format_args!(""));
    }

    fn stream(&self, out: &mut String, name: &StreamName, place: &Place, mut stream: StreamDraft) {
        let origins = &self.draft.origins;
        line(out, format_args!("[[{STREAMS}]]"));
        let shown = Value::Text(name.to_string());
        self.entry(out, "name", Some(&shown), &self.origin(Some(place)));
        for key in STREAM_KEYS {
            let own = origins.get(&Slot::stream(name, key.name));
            let origin = own.or_else(|| origins.get(&Slot::table(DEFAULTS, key.name)));
            let value = (key.field)(&mut stream).value();
            self.entry(out, key.name, value.as_ref(), &self.origin(origin));
        }
        line(out, format_args!(""));
    }

    fn entry(&self, out: &mut String, name: &str, value: Option<&Value>, origin: &str) {
        match value {
            // Only a URL can hold a secret; a path may well have an `@`.
            Some(Value::Text(text)) if text.contains("://") => {
                line(out, format_args!("{name} = {} # {origin}", quoted(&redacted(text))));
            }
            Some(value) => line(out, format_args!("{name} = {} # {origin}", value.to_toml())),
            None => line(out, format_args!("# {name} is not set")),
        }
    }

    fn origin(&self, place: Option<&Place>) -> String {
        match place {
            Some(Place::File { line, .. }) => {
                // A name of a file may have any character, and a comment ends with its line.
                let file = self.file.as_deref().unwrap_or("file").replace(char::is_control, "?");
                format!("{file}:{line}")
            }
            Some(Place::Variable(name)) => name.clone(),
            Some(Place::Option(option)) => (*option).to_owned(),
            Some(Place::Whole) | None => "default".to_owned(),
        }
    }
}

fn line(out: &mut String, line: std::fmt::Arguments<'_>) {
    let written = writeln!(out, "{line}");
    debug_assert!(written.is_ok(), "writing to a string can not fail");
}

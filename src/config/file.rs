//! Reads the text of a configuration file: what it says, and where. Believes nothing and opens nothing.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Lines, Place, did_you_mean};
use super::keys::{DEFAULTS, KEYS, Key, STREAM_KEYS, STREAMS, tables};
use super::kind::Raw;
use super::nearest::nearest;
use super::said::{Said, SaidStream, Statement};
use super::value::quoted;

/// What `text` says. A text that is not TOML is read as far as it is.
pub(super) fn read(text: &str) -> Said {
    let (root, errors) = DeTable::parse_recoverable(text);
    let lines = Lines::new(text);
    let mut reader = Reader { lines: &lines, said: Said::default() };
    reader.table("", root.get_ref());
    let mut said = reader.said;
    if errors.is_empty() {
        return said;
    }
    // What stands in a line that could not be read is not worth a second fault.
    let syntax: Vec<Fault> = errors.iter().map(|error| not_toml(&lines, error)).collect();
    let is_readable = |place: &Place| syntax.iter().all(|fault| fault.place.line() != place.line());
    said.faults.retain(|fault| is_readable(&fault.place));
    said.global.retain(|statement| is_readable(&statement.place));
    said.defaults.retain(|statement| is_readable(&statement.place));
    for stream in &mut said.streams {
        stream.settings.retain(|statement| is_readable(&statement.place));
    }
    said.faults.extend(syntax);
    said.is_partial = true;
    said
}

/// What the parser says, and what was most likely meant.
fn not_toml(lines: &Lines<'_>, error: &toml::de::Error) -> Fault {
    let span = error.span().unwrap_or_default();
    let place = lines.place(span.start);
    let what = error.message().trim().trim_end_matches(", expected nothing");
    if let (Some(key), "duplicate key") = (lines.text.get(span.clone()), what) {
        return Fault::new(place, format!("{} is set twice; keep one of them", quoted(key.trim())));
    }
    let value = lines.line(span.start).split_once('=').map(|(_, value)| value.trim());
    let message = match value {
        Some("") => "there is no value behind the =".to_owned(),
        Some(value) if is_bare(value) => {
            format!("{} is no value of TOML; a string stands in quotes", quoted(value))
        }
        _ => format!("this is not TOML: {what}"),
    };
    Fault::new(place, message)
}

/// Whether a value looks like a string that lacks its quotes.
fn is_bare(value: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/*".contains(c);
    value.len() <= 80 && value.chars().all(is_plain)
}

struct Reader<'t> {
    lines: &'t Lines<'t>,
    said: Said,
}

type Entry<'e, 'i> = (&'e Spanned<std::borrow::Cow<'i, str>>, &'e Spanned<DeValue<'i>>);

/// The entries of a table in the order in which they stand in the file.
fn in_order<'e, 'i>(table: &'e DeTable<'i>) -> Vec<Entry<'e, 'i>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

impl Reader<'_> {
    fn place<T>(&self, spanned: &Spanned<T>) -> Place {
        self.lines.place(spanned.span().start)
    }

    fn fault<T>(&mut self, at: &Spanned<T>, message: impl Into<String>) {
        let fault = Fault::new(self.place(at), message);
        self.said.faults.push(fault);
    }

    fn table(&mut self, path: &str, table: &DeTable<'_>) {
        for (name, value) in in_order(table) {
            let child = if path.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{path}.{}", name.get_ref())
            };
            if child == STREAMS {
                self.streams(value);
            } else if child == DEFAULTS || tables().any(|table| table == child) {
                match value.get_ref().as_table() {
                    Some(table) => self.table(&child, table),
                    None => self.fault(name, format!("{child} is a table; write [{child}]")),
                }
            } else {
                self.key(path, name, value);
            }
        }
    }

    fn key(
        &mut self,
        path: &str,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let place = self.place(value);
        if path == DEFAULTS {
            if let Some(key) = find(STREAM_KEYS, "", name.get_ref()) {
                let raw = raw(value.get_ref());
                return self.said.defaults.push(Statement { key, raw, place });
            }
        } else if let Some(key) = find(KEYS, path, name.get_ref()) {
            let raw = raw(value.get_ref());
            return self.said.global.push(Statement { key, raw, place });
        }
        let message = unknown_key(path, name.get_ref());
        self.fault(name, message);
    }

    fn streams(&mut self, value: &Spanned<DeValue<'_>>) {
        let Some(streams) = value.get_ref().as_array() else {
            self.said.is_partial = true;
            return self.fault(value, SAY_STREAMS);
        };
        for stream in streams {
            match stream.get_ref().as_table() {
                Some(table) => self.stream(stream, table),
                None => {
                    self.said.is_partial = true;
                    self.fault(stream, SAY_STREAMS);
                }
            }
        }
    }

    fn stream(&mut self, at: &Spanned<DeValue<'_>>, table: &DeTable<'_>) {
        let mut stream = SaidStream { name: None, place: self.place(at), settings: Vec::new() };
        let mut is_named = false;
        for (name, value) in in_order(table) {
            if name.get_ref() == "name" {
                is_named = true;
                stream.place = self.place(value);
                match name_of(value.get_ref()) {
                    Ok(name) => stream.name = Some(name),
                    Err(message) => self.fault(value, message),
                }
            } else if let Some(key) = find(STREAM_KEYS, "", name.get_ref()) {
                let raw = raw(value.get_ref());
                stream.settings.push(Statement { key, raw, place: self.place(value) });
            } else {
                let message = unknown_key(STREAMS, name.get_ref());
                self.fault(name, message);
            }
        }
        if !is_named {
            self.fault(at, "a stream needs a name; write name = \"...\" below [[streams]]");
        }
        self.said.is_partial |= stream.name.is_none();
        self.said.streams.push(stream);
    }
}

const SAY_STREAMS: &str =
    "a stream is a table of its own; write [[streams]] and below it name = \"...\", once for each";

fn name_of(value: &DeValue<'_>) -> Result<crate::record::StreamName, String> {
    let name = value
        .as_str()
        .ok_or_else(|| format!("the name of a stream must be a string, not {}", raw(value)))?;
    name.parse().map_err(|error| format!("{} can not name a stream: {error}", quoted(name)))
}

fn find<T>(keys: &'static [Key<T>], table: &str, name: &str) -> Option<&'static Key<T>> {
    keys.iter().find(|key| key.table == table && key.name == name)
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::Boolean(on) => Raw::Switch(*on),
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(integer) => {
            let number = i128::from_str_radix(integer.as_str(), integer.radix());
            let bound = if integer.as_str().starts_with('-') { i128::MIN } else { i128::MAX };
            Raw::Whole(number.unwrap_or(bound))
        }
        DeValue::Float(_) => Raw::Other("a number with a fraction"),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<_>>().map_or(Raw::Other("an array"), Raw::List)
        }
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

fn unknown_key(path: &str, name: &str) -> String {
    let stream_names = || STREAM_KEYS.iter().map(|key| key.name);
    let (place, hint) = match path {
        "" => {
            let known = tables().chain([DEFAULTS, STREAMS]);
            ("at the top".to_owned(), did_you_mean(name, known))
        }
        DEFAULTS => (format!("in [{DEFAULTS}]"), did_you_mean(name, stream_names())),
        STREAMS => {
            (format!("in [[{STREAMS}]]"), did_you_mean(name, stream_names().chain(["name"])))
        }
        _ => {
            let keys = KEYS.iter().filter(|key| key.table == path).map(|key| key.name);
            let tables = tables().filter_map(|table| table.strip_prefix(path)?.strip_prefix('.'));
            (format!("in [{path}]"), did_you_mean(name, keys.chain(tables)))
        }
    };
    let hint = if hint.is_empty() { belongs_in(name) } else { hint };
    format!("there is no key {} {place}{hint}", quoted(name))
}

/// Where a key belongs that stands in the wrong table, or what was meant.
fn belongs_in(name: &str) -> String {
    let known = || KEYS.iter().map(|key| key.name).chain(STREAM_KEYS.iter().map(|key| key.name));
    let Some(meant) = nearest(name, known()) else {
        return "; `standpipe config reference` prints all keys".to_owned();
    };
    let mut homes: Vec<String> =
        KEYS.iter().filter(|key| key.name == meant).map(|key| format!("[{}]", key.table)).collect();
    if STREAM_KEYS.iter().any(|key| key.name == meant) {
        homes.extend([format!("[{DEFAULTS}]"), format!("[[{STREAMS}]]")]);
    }
    let homes = homes.join(" or ");
    if meant == name {
        format!("; it belongs in {homes}")
    } else {
        format!("; did you mean \"{meant}\" in {homes}?")
    }
}

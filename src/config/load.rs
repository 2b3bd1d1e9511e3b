//! From what was said to a configuration, or to all that is wrong with it. Pure: it is given the text,
//! the variables and a way to ask whether a file can be read.

use std::collections::BTreeSet;
use std::path::Path;

use crate::app;
use crate::record::StreamName;

use super::draft::{ANY_STREAMS_MAX, Draft, NamedStream, Scope, Slot, StreamDraft, control_dir};
use super::fault::{Fault, Faults, Place};
use super::keys::{DEFAULTS, Key};
use super::relations;
use super::said::{Said, SaidStream, Statement};
use super::sources::Sources;
use super::value::Value;
use super::{environment, file};

/// What a configuration starts from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Preset {
    /// The real service.
    #[default]
    Service,
    /// The emulator in the same process: a stream `demo` when none is named, no account, and no upstream
    /// but the emulator. Its address is filled in by who starts it.
    Embedded,
    /// A tool that asks the service and takes no records: no stream has to be named, and no level or spool.
    Tool,
}

/// A configuration without a fault, and where each of its values comes from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the stages are given.
    pub config: app::Config,
    pub(super) draft: Draft,
    pub(super) file: Option<String>,
}

/// The configuration that `sources` describe.
///
/// # Errors
/// All that is wrong with it at once.
pub fn load(sources: &Sources, preset: Preset) -> Result<Loaded, Faults> {
    let mut loading = Loading {
        draft: match preset {
            Preset::Service | Preset::Tool => Draft::default(),
            Preset::Embedded => Draft::embedded(),
        },
        faults: sources.faults.clone(),
        wrong: BTreeSet::new(),
    };
    let from_file = sources.file_text.as_deref().map(file::read).unwrap_or_default();
    let file_streams: Vec<StreamName> =
        from_file.streams.iter().filter_map(|stream| stream.name.clone()).collect();
    let from_environment = environment::read(&sources.variables, &file_streams);
    let is_partial = from_file.is_partial || from_environment.is_partial;
    loading.take(from_file, from_environment);
    if preset == Preset::Embedded {
        loading.embed(is_partial);
    }
    loading.draft.forget_what_means_nothing();
    loading.draft.raise_unset_acks();
    loading.draft.fit_unset_bounds();
    let related = relations::faults(&loading.draft, sources.is_readable);
    // A relation with a value that could not be read would be a second fault for the same thing.
    let wrong = &loading.wrong;
    let is_new =
        |relation: &relations::Broken| relation.slots.iter().all(|slot| !wrong.contains(slot));
    let is_whole = sources.faults.is_empty() && !is_partial && preset != Preset::Tool;
    loading.faults.extend(
        related
            .into_iter()
            .filter(|relation| is_new(relation) && (is_whole || !relation.is_of_all_streams))
            .map(|relation| relation.fault),
    );
    if loading.faults.is_empty() {
        let config = loading.draft.finish();
        Ok(Loaded { config, draft: loading.draft, file: sources.file_name.clone() })
    } else {
        Err(Faults::new(sources.file_name.clone(), loading.faults))
    }
}

impl Loaded {
    /// Puts the spool of an embedded run below `data_dir`, unless somebody said where it is.
    pub fn place_spool(&mut self, data_dir: &Path) {
        let is_said = self.draft.origins.contains_key(&Slot::table("spool", "dir"));
        if let Some(spool) = self.config.spool.as_mut().filter(|_| !is_said) {
            spool.dir = data_dir.join("spool");
            self.draft.spool_dir = Some(spool.dir.clone());
            self.config.sse.dir = Some(control_dir(&spool.dir));
        }
    }
}

struct Loading {
    draft: Draft,
    faults: Vec<Fault>,
    /// The keys whose values were refused.
    wrong: BTreeSet<Slot>,
}

impl Loading {
    /// Believes the file first and the environment over it, and the streams after what holds for all.
    fn take(&mut self, mut file: Said, mut environment: Said) {
        self.faults.append(&mut file.faults);
        self.faults.append(&mut environment.faults);
        for Statement { key, raw, place } in file.global.iter().chain(&environment.global) {
            let said = read(key, raw, &Scope::Table(key.table));
            self.put(said, place, Slot::table(key.table, key.name), |draft, value| {
                (key.field)(draft).set(value)
            });
        }
        for Statement { key, raw, place } in file.defaults.iter().chain(&environment.defaults) {
            let said = read(key, raw, &Scope::Table(DEFAULTS));
            self.put(said, place, Slot::table(DEFAULTS, key.name), |draft, value| {
                (key.field)(&mut draft.defaults).set(value)
            });
        }
        if let Some(place) = file.any_stream.or(environment.any_stream) {
            self.any_stream(place);
        }
        self.name_streams(&file.streams, true);
        self.name_streams(&environment.streams, false);
        for stream in file.streams.iter().chain(&environment.streams) {
            self.settings(stream);
        }
    }

    fn put(
        &mut self,
        said: Result<Option<Value>, String>,
        place: &Place,
        slot: Slot,
        set: impl FnOnce(&mut Draft, &Value) -> Option<()>,
    ) {
        let result = said.and_then(|value| match value {
            Some(value) => set(&mut self.draft, &value)
                .map(|()| true)
                .ok_or_else(|| format!("{slot} can not be {} on this machine", value.to_toml())),
            None => Ok(false),
        });
        match result {
            Ok(false) => {}
            Ok(true) => drop(self.draft.origins.insert(slot, place.clone())),
            Err(message) => {
                self.faults.push(Fault::new(place.clone(), message));
                self.wrong.insert(slot);
            }
        }
    }

    fn any_stream(&mut self, place: Place) {
        let slot = Slot::table("any_stream", "streams_max");
        let is_set = self.draft.origins.contains_key(&slot);
        if is_set && self.draft.any_streams_max == 0 {
            let message =
                "\"*\" allows any stream, and any_stream.streams_max = 0 none; drop one of them";
            self.faults.push(Fault::new(place.clone(), message));
        }
        if self.draft.any_streams_max == 0 {
            self.draft.any_streams_max = ANY_STREAMS_MAX;
            self.draft.origins.insert(slot, place);
        }
    }

    /// Makes the streams known. In the file no stream may stand twice; the environment may name it again.
    fn name_streams(&mut self, streams: &[SaidStream], is_file: bool) {
        for SaidStream { name, place, .. } in streams {
            let Some(name) = name else { continue };
            match self.draft.streams.get(name) {
                None => self.draft.add_stream(name.clone(), place.clone()),
                Some(NamedStream { place: Place::File { line, .. }, .. }) if is_file => {
                    let message = format!(
                        "the stream \"{name}\" is already in line {line}; write its settings once"
                    );
                    self.faults.push(Fault::new(place.clone(), message));
                }
                Some(_) => {}
            }
        }
    }

    fn settings(&mut self, said: &SaidStream) {
        for Statement { key, raw, place } in &said.settings {
            let scope = said.name.clone().map_or(Scope::Unnamed, Scope::Stream);
            let value = read(key, raw, &scope);
            let slot = Slot { scope, key: key.name };
            self.put(value, place, slot, |draft, value| {
                let stream = said.name.as_ref().and_then(|name| draft.streams.get_mut(name));
                match stream {
                    Some(known) => (key.field)(&mut known.stream).set(value),
                    None => (key.field)(&mut nobody()).set(value),
                }
            });
        }
    }

    fn embed(&mut self, is_partial: bool) {
        let demo = "demo".parse().expect("\"demo\" is a name within the limits");
        if self.draft.streams_count() == 0 && !is_partial {
            self.draft.add_stream(demo, Place::Option("--embedded"));
        }
        for (slot, place) in &self.draft.origins {
            let brings = match &slot.scope {
                Scope::Table("upstream") if slot.key != "region" => "upstream",
                Scope::Table("keys") if slot.key == "endpoint" => "KMS",
                _ => continue,
            };
            let message = format!("--embedded brings its own {brings}; drop {slot} or --embedded");
            self.faults.push(Fault::new(place.clone(), message));
        }
    }
}

/// The value that was said for `key`, or `None` when it was left empty.
fn read<T>(key: &Key<T>, raw: &super::kind::Raw, scope: &Scope) -> Result<Option<Value>, String> {
    if raw.is_empty() {
        return Ok(None);
    }
    let slot = Slot { scope: scope.clone(), key: key.name };
    key.kind.read(raw).map(Some).map_err(|wrong| format!("{slot} {wrong}"))
}

/// A stream that is looked at for its faults alone, since it has no name to be known by.
fn nobody() -> StreamDraft {
    Draft::default().defaults
}

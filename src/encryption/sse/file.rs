//! What survives a restart: the calls of the last 24 hours, and where the records of each stream went.
//!
//! One small file of JSON, replaced as a whole and synced. One that can not be read is set aside and named: the
//! service itself counts the calls too, and where records go is asked again. It holds no secret.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::kept::Kept;
use crate::record::StreamName;

/// The name of the file.
const NAME: &str = "streams.json";

/// The version of its form.
const VERSION: u32 = 1;

/// The most bytes of it that are read: ten thousand streams take less.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Where it is kept, if anywhere.
#[derive(Debug, Clone)]
pub(super) struct Store {
    path: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    streams: BTreeMap<String, Kept>,
}

impl Store {
    /// A store in this directory, which is made when it is not there. Without one nothing is kept.
    pub(super) fn new(dir: Option<&Path>) -> Self {
        Self { path: dir.map(|dir| dir.join(NAME)) }
    }

    /// Whether anything is kept.
    pub(super) const fn is_kept(&self) -> bool {
        self.path.is_some()
    }

    /// What was kept. A file that can not be used is set aside.
    pub(super) fn read(&self) -> BTreeMap<StreamName, Kept> {
        let Some(path) = &self.path else { return BTreeMap::new() };
        match read(path) {
            Ok(streams) => streams,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                let aside = path.with_extension("json.unusable");
                let is_aside = fs::rename(path, &aside).is_ok();
                tracing::warn!(
                    path = %path.display(), %error, is_aside,
                    "what was kept of the streams can not be read: the calls of the last 24 hours are not known"
                );
                BTreeMap::new()
            }
        }
    }

    /// Keeps that, and nothing else.
    ///
    /// # Errors
    /// When the disk does not take it: what was kept before is then still there.
    pub(super) fn write<'a>(
        &self,
        streams: impl Iterator<Item = (&'a StreamName, Kept)>,
    ) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let streams = streams.map(|(name, kept)| (name.to_string(), kept)).collect();
        let text = serde_json::to_vec(&Content { version: VERSION, streams })?;
        let dir = path.parent().unwrap_or_else(|| Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let fresh = path.with_extension("json.new");
        // What a life that was killed has left there may be anything: it is neither opened nor followed.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(dir)?.sync_all()
    }
}

fn read(path: &Path) -> io::Result<BTreeMap<StreamName, Kept>> {
    let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() > BYTES_MAX {
        return Err(bad("it is no file of a size that it can have".to_owned()));
    }
    let content: Content = serde_json::from_slice(&fs::read(path)?)?;
    if content.version != VERSION {
        return Err(bad(format!("version {} is not known", content.version)));
    }
    let named = content.streams.into_iter().map(|(name, kept)| {
        let name: StreamName = name.parse().map_err(|_| bad(format!("{name:?} is no stream")))?;
        Ok((name, kept))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::super::calls::CallKind;
    use super::super::kept::KeptRoute;
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_what_can_not_be_read_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("control");
        let store = Store::new(Some(&below));
        assert!(store.read().is_empty());
        let name: StreamName = "demo".parse().unwrap();
        let mut kept = Kept { route: Some(KeptRoute::Firehose), ..Kept::default() };
        kept.calls.count(CallKind::Start, true, 5);
        store.write([(&name, kept.clone())].into_iter()).unwrap();
        assert_eq!(store.read(), BTreeMap::from([(name, kept)]));

        for wrong in
            ["", "{", r#"{"version":2,"streams":{}}"#, r#"{"version":1,"streams":{"/":{}}}"#]
        {
            fs::write(below.join(NAME), wrong).unwrap();
            assert!(store.read().is_empty(), "{wrong}");
            assert!(!below.join(NAME).exists(), "{wrong}");
        }
        assert!(below.join("streams.json.unusable").exists());
    }

    #[test]
    fn whatever_lies_in_the_way_is_neither_waited_for_nor_followed() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("control");
        let store = Store::new(Some(&below));
        store.write(std::iter::empty()).unwrap();
        assert_eq!(fs::metadata(&below).unwrap().permissions().mode() & 0o777, 0o700);
        let (fresh, other) = (below.join("streams.json.new"), dir.path().join("other"));
        let made = std::process::Command::new("mkfifo").arg(&fresh).status().unwrap();
        assert!(made.success());
        store.write(std::iter::empty()).unwrap();
        fs::write(&other, "whole").unwrap();
        symlink(&other, &fresh).unwrap();
        store.write(std::iter::empty()).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "whole");
        fs::create_dir(&fresh).unwrap();
        assert!(store.write(std::iter::empty()).is_err());
    }

    #[test]
    fn without_a_directory_nothing_is_kept() {
        let store = Store::new(None);
        assert!(!store.is_kept());
        store.write(std::iter::empty()).unwrap();
        assert!(store.read().is_empty());
    }
}

//! Where a configuration comes from: the file and the environment of the process. The one place of
//! `config` that touches either.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::fault::{Fault, Place};
use super::keys::{CONFIG_VARIABLE, PREFIX};

/// The most bytes that a configuration file may have.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What there is to read, read.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The file as it is named in faults.
    pub file_name: Option<String>,
    /// What is in it.
    pub file_text: Option<String>,
    /// All variables of the environment.
    pub variables: Vec<(String, String)>,
    /// Whether a file that the configuration names can be read; the error says why not.
    pub is_readable: fn(&Path) -> Result<(), String>,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

impl Default for Sources {
    /// No file, no variables, and every file can be read.
    fn default() -> Self {
        Self {
            file_name: None,
            file_text: None,
            variables: Vec::new(),
            is_readable: |_| Ok(()),
            faults: Vec::new(),
        }
    }
}

impl Sources {
    /// The environment of the process, and the file at `path`, or else the one that
    /// `STANDPIPE_CONFIG` names.
    #[must_use]
    pub fn of_process(path: Option<&Path>) -> Self {
        Self::of(path, std::env::vars_os())
    }

    fn of(path: Option<&Path>, environment: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut sources = Self { is_readable, ..Self::default() };
        for (name, value) in environment {
            // A name that is not text is not one of ours.
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => sources.variables.push((name, value)),
                Err(_) if name.starts_with(PREFIX) => sources.faults.push(Fault::new(
                    Place::Variable(name),
                    "the value is not UTF-8; every setting is text in UTF-8",
                )),
                Err(_) => {}
            }
        }
        sources.variables.sort();
        let variable = |(name, value): &(String, String)| {
            (name == CONFIG_VARIABLE && !value.is_empty()).then(|| value.clone())
        };
        let (file, named_by) = match path {
            Some(path) => (Some(path.to_path_buf()), Place::Option("--config")),
            None => {
                let named = sources.variables.iter().find_map(variable).map(Into::into);
                (named, Place::Variable(CONFIG_VARIABLE.to_owned()))
            }
        };
        if let Some(file) = file {
            sources.file_name = Some(file.display().to_string());
            match read(&file) {
                Ok(text) => sources.file_text = Some(text),
                Err(error) => {
                    let message = format!("can not read the file {}: {error}", file.display());
                    sources.faults.push(Fault::new(named_by, message));
                }
            }
        }
        sources
    }
}

fn read(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let mut bounded = file.take(FILE_BYTES_MAX + 1);
    let bytes = bounded.read_to_string(&mut text).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => "it is not text in UTF-8".to_owned(),
        _ => error.to_string(),
    })?;
    if u64::try_from(bytes).is_ok_and(|bytes| bytes <= FILE_BYTES_MAX) {
        Ok(text)
    } else {
        Err(format!("it has more than {FILE_BYTES_MAX} bytes"))
    }
}

fn is_readable(path: &Path) -> Result<(), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if metadata.is_dir() { Err("it is a directory".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
        let pairs: Vec<(OsString, OsString)> =
            pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
        pairs.into_iter()
    }

    #[test]
    fn the_file_of_the_command_line_goes_before_that_of_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one.toml"), dir.path().join("other.toml"));
        std::fs::write(&one, "one").unwrap();
        std::fs::write(&other, "other").unwrap();
        let variables = [("STANDPIPE_CONFIG", other.to_str().unwrap())];
        let sources = Sources::of(Some(&one), environment(&variables));
        assert_eq!(sources.file_text.as_deref(), Some("one"));
        let sources = Sources::of(None, environment(&variables));
        assert_eq!(sources.file_text.as_deref(), Some("other"));
        let sources = Sources::of(None, environment(&[("STANDPIPE_CONFIG", "")]));
        assert_eq!((sources.file_name, sources.faults), (None, Vec::new()));
    }

    #[test]
    fn a_file_that_can_not_be_read_is_a_fault_that_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing.toml");
        let sources = Sources::of(Some(&missing), environment(&[]));
        assert_eq!(sources.faults[0].place, Place::Option("--config"));
        assert!(sources.faults[0].message.ends_with("No such file or directory (os error 2)"));

        let binary = dir.path().join("binary.toml");
        std::fs::write(&binary, [0xff, 0xfe]).unwrap();
        let sources = Sources::of(Some(&binary), environment(&[]));
        assert!(sources.faults[0].message.ends_with("it is not text in UTF-8"));
        assert!(is_readable(dir.path()).is_err());
        assert!(is_readable(&binary).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_of_ours_that_is_not_text_is_a_fault_and_one_of_others_is_not() {
        use std::os::unix::ffi::OsStringExt as _;
        let bad = || OsString::from_vec(vec![0xff]);
        let variables = [("STANDPIPE_LOG_FILTER".into(), bad()), ("OTHER".into(), bad())];
        let sources = Sources::of(None, variables.into_iter());
        assert_eq!(sources.faults.len(), 1);
        assert_eq!(sources.faults[0].place, Place::Variable("STANDPIPE_LOG_FILTER".to_owned()));
    }
}

//! How the process ends: the one place where failures become exit codes. The codes are those of `sysexits`.

use std::fmt;
use std::process::ExitCode;

use crate::config::Faults;
use crate::embedded;

/// Why the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Ok,
    /// A probe was answered, and the answer is no; or it was not answered. 1, as probes expect it.
    Unwell,
    /// The command line is not understood. 64, `EX_USAGE`.
    Usage,
    /// Something that is needed is not there, such as a port. 69, `EX_UNAVAILABLE`.
    Unavailable,
    /// A fault of our own. 70, `EX_SOFTWARE`.
    Internal,
    /// A disk or a file failed, or records were lost at a stop. 74, `EX_IOERR`.
    Io,
    /// The configuration has faults. 78, `EX_CONFIG`.
    Configuration,
}

impl Exit {
    /// The code that the process ends with.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Unwell => 1,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::Io => 74,
            Self::Configuration => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A command that did not do what it should, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What is wrong, where, and what to do, in one line.
    pub message: String,
    /// The faults of a configuration, a line each.
    pub faults: Option<Faults>,
}

impl Failure {
    /// A failure that ends the process with `exit`.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), faults: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(faults) = &self.faults {
            writeln!(f, "{faults}")?;
        }
        write!(f, "standpipe: {}", self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        let message = match faults.list().len() {
            1 => "the configuration has a fault".to_owned(),
            count => format!("the configuration has {count} faults"),
        };
        Self { exit: Exit::Configuration, message, faults: Some(faults) }
    }
}

impl From<embedded::StartError> for Failure {
    fn from(error: embedded::StartError) -> Self {
        let (exit, advice) = match &error {
            embedded::StartError::Listen { .. } => {
                (Exit::Unavailable, "; choose another address with --listen")
            }
            embedded::StartError::DataDirInUse { .. } => {
                (Exit::Unavailable, "; stop it, or choose another directory with --data-dir")
            }
            embedded::StartError::DataDir { .. }
            | embedded::StartError::StreamsFile { .. }
            | embedded::StartError::KeysFile { .. } => {
                (Exit::Io, "; choose another directory with --data-dir")
            }
            embedded::StartError::Faults(_) => (Exit::Usage, ""),
            embedded::StartError::Thread(_) => (Exit::Internal, ""),
        };
        Self::new(exit, format!("{error}{advice}"))
    }
}

impl From<embedded::StopError> for Failure {
    fn from(error: embedded::StopError) -> Self {
        let exit = match &error {
            embedded::StopError::ObjectsLeftOpen { .. } => Exit::Io,
            embedded::StopError::Panicked | embedded::StopError::Runtime(_) => Exit::Internal,
        };
        Self::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn the_codes_are_those_of_sysexits() {
        let codes = [Exit::Usage, Exit::Unavailable, Exit::Internal, Exit::Io, Exit::Configuration];
        assert_eq!(codes.map(Exit::code), [64, 69, 70, 74, 78]);
    }

    #[test]
    fn a_failure_ends_in_one_line_after_the_faults() {
        let sources = config::Sources::default();
        let faults = config::load(&sources, config::Preset::Service).unwrap_err();
        let failure = Failure::from(faults);
        let told = failure.to_string();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("configuration: no stream is named; "));
        assert_eq!(lines[1], "standpipe: the configuration has a fault");
        assert_eq!(failure.exit.code(), 78);
        assert_eq!(Failure::new(Exit::Io, "x").to_string(), "standpipe: x");
    }
}

//! What is wrong with a configuration, and where. Knows no key and reads nothing.

use std::fmt;

use super::nearest::nearest;

/// Where something was said.
///
/// The order is that in which faults are printed: the file from its top, then variables, then the whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the configuration file. Both count from 1, the column in characters.
    File {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// In a variable of the environment.
    Variable(String),
    /// On the command line, by this option.
    Option(&'static str),
    /// Nowhere: something was not said at all.
    Whole,
}

impl Place {
    /// The line in the file, for a place that is one.
    pub(super) const fn line(&self) -> Option<usize> {
        match self {
            Self::File { line, .. } => Some(*line),
            Self::Variable(_) | Self::Option(_) | Self::Whole => None,
        }
    }
}

/// A text and where its lines begin.
#[derive(Debug)]
pub(super) struct Lines<'t> {
    pub(super) text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(breaks).collect() }
    }

    /// The place of the byte at `offset`.
    pub(super) fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        Place::File { line, column: before.chars().count() + 1 }
    }

    /// The line with the byte at `offset`.
    pub(super) fn line(&self, offset: usize) -> &'t str {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default()
    }
}

/// One thing that is wrong, where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where it is.
    pub place: Place,
    /// What is wrong and what would be right, in one line.
    pub message: String,
}

impl Fault {
    pub(super) fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into() }
    }
}

/// All that is wrong with a configuration: a line for each fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    file: Option<String>,
    faults: Vec<Fault>,
}

impl Faults {
    /// `faults` of a configuration from the file of this name, if there is one, in the order of their places.
    pub(super) fn new(file: Option<String>, mut faults: Vec<Fault>) -> Self {
        faults.sort();
        faults.dedup();
        Self { file, faults }
    }

    /// The single faults. There is at least one.
    #[must_use]
    pub fn list(&self) -> &[Fault] {
        &self.faults
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Fault { place, message }) in self.faults.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match place {
                Place::File { line, column } => {
                    let file = self.file.as_deref().unwrap_or("configuration");
                    write!(f, "{file}:{line}:{column}: {message}")?;
                }
                Place::Variable(name) => write!(f, "{name}: {message}")?,
                Place::Option(option) => write!(f, "{option}: {message}")?,
                Place::Whole => write!(f, "configuration: {message}")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// `; did you mean "..."?` when one of `known` is near to `found`.
pub(super) fn did_you_mean<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(found, known).map_or_else(String::new, |known| format!("; did you mean \"{known}\"?"))
}

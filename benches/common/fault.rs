//! Why a benchmark could not be measured: words for the person who started it.

use std::fmt;

/// What went wrong, in one line.
#[derive(Debug)]
pub(crate) struct Fault(String);

impl Fault {
    /// A fault in these words.
    pub(crate) fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says what was being done when something failed.
pub(crate) trait During<T> {
    /// Puts `doing` before the error's own words.
    fn during(self, doing: &str) -> Result<T, Fault>;
}

impl<T, E: fmt::Display> During<T> for Result<T, E> {
    fn during(self, doing: &str) -> Result<T, Fault> {
        self.map_err(|error| Fault(format!("{doing}: {error}")))
    }
}

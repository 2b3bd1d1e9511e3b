//! Metrics as they are scraped: the few that a benchmark wants to know.

/// One scrape.
#[derive(Debug, Clone)]
pub(crate) struct Scrape {
    text: String,
}

impl Scrape {
    /// Of an answer of `/metrics`.
    pub(crate) const fn new(text: String) -> Self {
        Self { text }
    }

    /// The series of this name whose labels have this text, as they stand there.
    pub(crate) fn series(&self, name: &str, label: &str) -> impl Iterator<Item = &str> {
        self.text.lines().filter(move |line| line.starts_with(name) && line.contains(label))
    }

    /// The sum over all series of this name. 0 when there is none.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let values = self.text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let is_it = rest.starts_with(['{', ' ']);
            is_it.then(|| rest.rsplit_once(' ')?.1.parse::<f64>().ok())?
        });
        values.sum()
    }
}

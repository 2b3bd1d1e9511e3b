//! Percentiles and medians, exact and from all samples. Pure.

/// The answer times of a run, sorted, in nanoseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times {
    sorted: Vec<u64>,
}

impl Times {
    /// Takes samples in any order.
    pub(crate) fn new(mut samples: Vec<u64>) -> Self {
        samples.sort_unstable();
        Self { sorted: samples }
    }

    /// The smallest time that so many of a thousand do not exceed, in microseconds. 0 without samples.
    pub(crate) fn permille_us(&self, permille: usize) -> f64 {
        let rank = (self.sorted.len() * permille.min(1000)).div_ceil(1000);
        self.sorted.get(rank.saturating_sub(1)).map_or(0.0, |&ns| ns as f64 / 1e3)
    }
}

/// The median, or the mean of the two in the middle. 0 without values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        middle(half)
    } else {
        f64::midpoint(middle(half.saturating_sub(1)), middle(half))
    }
}

/// The median of values, and between what they lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    /// The one in the middle.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
}

impl Spread {
    /// Of these values.
    pub(crate) fn of(values: &[f64]) -> Self {
        Self {
            median: median(values),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

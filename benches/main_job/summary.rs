//! From rounds to figures: ratios of what stood side by side, by round. Pure.

use crate::case::Figure;
use crate::common::measure::Sample;
use crate::common::medians::Medians;
use crate::common::stats::Spread;
use crate::run::{CaseResult, Round};

/// What Standpipe's figure is to what it is compared with: by round, then the median.
pub(crate) fn ratio(result: &CaseResult, of: fn(&Round) -> f64, to: fn(&Round) -> f64) -> Spread {
    let ratios: Vec<f64> = result.rounds.iter().map(|round| of(round) / to(round)).collect();
    Spread::of(&ratios)
}

/// What Standpipe's figure is to that of both halves of the floor at once, where that was measured.
pub(crate) fn ratio_beside(result: &CaseResult, figure: fn(&Sample) -> f64) -> Option<Spread> {
    let ratios = result.rounds.iter().filter_map(|round| {
        round.beside.as_ref().map(|beside| figure(&round.pipe) / figure(beside))
    });
    let ratios: Vec<f64> = ratios.collect();
    (!ratios.is_empty()).then(|| Spread::of(&ratios))
}

/// The ratio that a target is about.
pub(crate) fn figure(result: &CaseResult, figure: Figure) -> Spread {
    match figure {
        Figure::CpuToFloor => ratio(result, |r| r.pipe.cpu_s, |r| r.server.cpu_s + r.sdk.cpu_s),
        Figure::CpuToServer => ratio(result, |r| r.pipe.cpu_s, |r| r.server.cpu_s),
        Figure::P50ToServer => ratio(result, |r| r.pipe.p50_us, |r| r.server.p50_us),
        Figure::P99ToServer => ratio(result, |r| r.pipe.p99_us, |r| r.server.p99_us),
        Figure::P999ToServer => ratio(result, |r| r.pipe.p999_us, |r| r.server.p999_us),
    }
}

/// Both halves of the floor at once, where that was measured.
pub(crate) fn beside(rounds: &[Round]) -> Option<Medians> {
    let mut samples = rounds.iter().filter_map(|round| round.beside.as_ref()).peekable();
    samples.peek().is_some().then(|| Medians::of(samples))
}

//! What is measured: the cases, and the targets that the design sets for them. Pure.

use crate::args::Args;
use crate::common::records::Shape;

/// How many requests a second are sent where sidecars live.
const PACE_PER_SECOND: u32 = 2_000;

/// How requests come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Closed loop: each connection sends the next request when it has the answer.
    Saturated,
    /// Open loop: so many requests a second, whatever the answers do.
    Paced(u32),
    /// Open loop at half of the rate at which Standpipe is saturated.
    Half,
}

/// A figure that has a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// CPU per record, against the bare server and the bare SDK together.
    CpuToFloor,
    /// CPU per record, against the bare server alone.
    CpuToServer,
    /// The median answer time, against the bare server's.
    P50ToServer,
    /// The 99th percentile of the answer time, against the bare server's of the same round.
    P99ToServer,
    /// The same for 99.9 %.
    P999ToServer,
}

/// A case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// What a request looks like.
    pub(crate) shape: Shape,
    /// How requests come.
    pub(crate) load: Load,
    /// What the design promises for it: ratios that are not to be passed.
    pub(crate) targets: &'static [(Figure, f64)],
}

const SINGLE: Shape =
    Shape { name: "512x1", title: "512-byte record, 1 a POST", record_bytes: 512, records: 1 };
const HUNDRED: Shape = Shape {
    name: "512x100",
    title: "512-byte records, 100 a POST (NDJSON)",
    record_bytes: 512,
    records: 100,
};
const LARGE: Shape =
    Shape { name: "64Kx1", title: "64 KiB record, 1 a POST", record_bytes: 64 * 1024, records: 1 };

/// All cases, in the order in which they are measured.
const CASES: &[Case] = &[
    Case { shape: SINGLE, load: Load::Saturated, targets: &[(Figure::CpuToFloor, 1.25)] },
    Case {
        shape: SINGLE,
        load: Load::Paced(PACE_PER_SECOND),
        targets: &[(Figure::CpuToServer, 1.25)],
    },
    Case {
        shape: SINGLE,
        load: Load::Half,
        targets: &[(Figure::P50ToServer, 1.15), (Figure::P99ToServer, 1.5)],
    },
    Case { shape: HUNDRED, load: Load::Saturated, targets: &[(Figure::CpuToFloor, 1.10)] },
    Case { shape: HUNDRED, load: Load::Paced(PACE_PER_SECOND), targets: &[] },
    Case { shape: LARGE, load: Load::Saturated, targets: &[] },
    Case { shape: LARGE, load: Load::Paced(PACE_PER_SECOND), targets: &[] },
];

impl Shape {
    /// How many requests over each connection warm a server up.
    ///
    /// With 16 connections, those of small records fill whole batches, so that none lingers.
    pub(crate) const fn warm_up_requests(self) -> u64 {
        if self.records > 1 {
            100
        } else if self.record_bytes > 16 * 1024 {
            60
        } else {
            2_500
        }
    }
}

impl Case {
    /// The cases that were asked for.
    pub(crate) fn wanted(args: &Args) -> Vec<Self> {
        let is_wanted = |case: &&Self| {
            let is_short = case.load != Load::Half || !args.quick || !args.filters.is_empty();
            is_short && args.wants(&case.name())
        };
        CASES.iter().filter(is_wanted).copied().collect()
    }

    /// The name that filters are compared with.
    pub(crate) fn name(&self) -> String {
        let shape = self.shape.name;
        match self.load {
            Load::Saturated => format!("{shape}/saturated"),
            Load::Paced(rate) => format!("{shape}/{rate}"),
            Load::Half => format!("{shape}/half"),
        }
    }
}

impl Figure {
    /// The figure in words.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::CpuToFloor => "CPU to floor",
            Self::CpuToServer => "CPU to bare server",
            Self::P50ToServer => "p50 to bare server",
            Self::P99ToServer => "p99 to bare server",
            Self::P999ToServer => "p99.9 to bare server",
        }
    }
}

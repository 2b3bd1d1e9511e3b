//! The run: each size of record without and with joining in turn, round by round.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::Args;
use crate::common::child::Actor;
use crate::common::fault::Fault;
use crate::common::ledger::Ledger;
use crate::common::load::{self, Aim, Until};
use crate::common::machine::Machine;
use crate::common::pipe::{self, Pipe};
use crate::common::process::Cpu;
use crate::common::records::{Requests, STREAM, Shape};
use crate::common::stats::median;

/// How large the records are, with their newlines, and how many are in a request.
const SIZES: [usize; 4] = [100, 512, 1_000, 5_000];
const RECORDS: usize = 100;

/// How long what was accepted may take to be delivered, and how often it is looked.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
const DRAIN_INTERVAL: Duration = Duration::from_millis(10);

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) args: Args,
    pub(crate) cases: Vec<Case>,
}

/// What a size costs without and with joining.
#[derive(Debug)]
pub(crate) struct Case {
    /// The bytes of a record, with its newline.
    pub(crate) record_bytes: usize,
    pub(crate) alone: Cost,
    pub(crate) joined: Cost,
}

/// What a million records cost: medians of the rounds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// Requests to the service.
    pub(crate) requests: f64,
    /// Records as the service counts them.
    pub(crate) records: f64,
    /// Bytes as it bills them.
    pub(crate) billed: f64,
    /// What was saved of them, as Standpipe says.
    pub(crate) saved: f64,
    /// Seconds of CPU time.
    pub(crate) cpu_s: f64,
}

/// Measures everything.
pub(crate) async fn run(args: &Args) -> Result<Results, Fault> {
    let machine = Machine::this();
    let mut cases = Vec::new();
    for record_bytes in SIZES {
        eprintln!("{record_bytes} bytes ...");
        let (mut alone, mut joined) = (Vec::new(), Vec::new());
        for _ in 0..args.rounds {
            alone.push(measure(args, record_bytes, "off").await?);
            joined.push(measure(args, record_bytes, "on").await?);
        }
        cases.push(Case { record_bytes, alone: medians(&alone), joined: medians(&joined) });
    }
    Ok(Results { machine, args: args.clone(), cases })
}

/// One round with a process of its own.
async fn measure(args: &Args, record_bytes: usize, aggregate: &str) -> Result<Cost, Fault> {
    let (_sink_actor, sink) = Actor::server("sink", &[]).await?;
    // The sink knows nothing but puts.
    let own = format!(
        "aggregate = \"{aggregate}\"\ndestination = \"firehose\"\nencryption = \"ignore\"\n"
    );
    let config = format!("{}{own}", pipe::in_memory(sink));
    let mut pipe = Pipe::start(&config).await?;
    let records = if args.pace.is_some() { 1 } else { RECORDS };
    let shape = Shape { name: "cost", title: "cost", record_bytes: record_bytes - 1, records };
    let requests = Arc::new(Requests::new(shape, &[STREAM.to_owned()]));
    let (addr, connections) = (pipe.data, args.connections);
    let aim = Aim { addr, connections, requests, numbers: None };
    let before = Cpu::of(pipe.pid())?;
    let time = Duration::from_secs(args.seconds);
    let load = match args.pace {
        Some(rate) => load::pace(&aim, rate, time).await?,
        None => load::saturate(&aim, Until::Elapsed(time)).await?,
    };
    let accepted = load.accepted * u64::try_from(records).unwrap_or(u64::MAX);
    let counted = delivered(&pipe, accepted as f64).await?;
    let spent = Cpu::of(pipe.pid())?.since(&before);
    let arrived = Ledger::new(sink).arrived().await?;
    if arrived.records as f64 != counted.records {
        let (got, said) = (arrived.records, counted.records);
        return Err(Fault::new(format!("the sink has {got} records, and {said} were counted")));
    }
    pipe.pass_on_remarks();
    let per_million = |count: f64| count * 1e6 / accepted as f64;
    Ok(Cost {
        requests: per_million(counted.requests),
        records: per_million(counted.records),
        billed: per_million(counted.billed),
        saved: per_million(counted.saved),
        cpu_s: per_million(spent.ns as f64 / 1e9),
    })
}

/// Waits until all that was accepted is delivered, and says what that cost.
async fn delivered(pipe: &Pipe, accepted: f64) -> Result<Cost, Fault> {
    let begin = Instant::now();
    loop {
        let scrape = pipe.scrape().await?;
        let delivered = scrape.sum("standpipe_forward_records_delivered_total");
        if delivered >= accepted {
            let requests = scrape.sum("standpipe_forward_requests_total");
            let records = scrape.sum("standpipe_forward_blobs_delivered_total");
            let billed = scrape.sum("standpipe_forward_bytes_billed_total");
            let saved = scrape.sum("standpipe_forward_bytes_saved_total");
            return Ok(Cost { requests, records, billed, saved, cpu_s: 0.0 });
        }
        if begin.elapsed() > DRAIN_TIMEOUT {
            return Err(Fault::new(format!("{delivered} of {accepted} records were delivered")));
        }
        sleep(DRAIN_INTERVAL).await;
    }
}

fn medians(rounds: &[Cost]) -> Cost {
    let of = |figure: fn(&Cost) -> f64| median(&rounds.iter().map(figure).collect::<Vec<_>>());
    Cost {
        requests: of(|cost| cost.requests),
        records: of(|cost| cost.records),
        billed: of(|cost| cost.billed),
        saved: of(|cost| cost.saved),
        cpu_s: of(|cost| cost.cpu_s),
    }
}

//! The run: case by case, the floor and Standpipe in turn, round by round.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::args::{Args, Role};
use crate::case::{Case, Load};
use crate::common::child::Actor;
use crate::common::fault::Fault;
use crate::common::ledger::Ledger;
use crate::common::load::Aim;
use crate::common::machine::Machine;
use crate::common::measure::{self, Drive, Sample};
use crate::common::pipe::{self, Pipe};
use crate::common::process::Memory;
use crate::common::records::{Requests, STREAM};
use crate::sender;

/// The name of the measurement of an idle process, for filters.
const START: &str = "start";

/// How long an idle process is left alone before its memory is looked at.
const IDLE: Duration = Duration::from_millis(300);

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Results {
    /// Where.
    pub(crate) machine: Machine,
    /// What was asked for.
    pub(crate) args: Args,
    /// Starts of the process, if they were asked for.
    pub(crate) starts: Vec<Start>,
    /// The cases.
    pub(crate) cases: Vec<CaseResult>,
}

/// One start, and the memory of the idle process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    /// How long until it was ready, in milliseconds.
    pub(crate) ready_ms: f64,
    /// Its memory before the first request.
    pub(crate) idle: Memory,
}

/// What was measured of a case.
#[derive(Debug)]
pub(crate) struct CaseResult {
    /// The case.
    pub(crate) case: Case,
    /// Requests a second, where they were paced.
    pub(crate) pace: Option<u32>,
    /// The rounds.
    pub(crate) rounds: Vec<Round>,
    /// The memory of the bare server after all rounds.
    pub(crate) server_memory: Memory,
    /// The memory of the bare SDK after all rounds.
    pub(crate) sdk_memory: Memory,
    /// Standpipe's.
    pub(crate) pipe_memory: Memory,
}

/// What was measured side by side.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// The bare server.
    pub(crate) server: Sample,
    /// The bare SDK.
    pub(crate) sdk: Sample,
    /// Standpipe.
    pub(crate) pipe: Sample,
    /// Where the load is paced: the bare server while the bare SDK sends as many records beside it. The
    /// CPU time is that of both.
    pub(crate) beside: Option<Sample>,
}

/// Measures all that was asked for.
pub(crate) async fn run(args: Args) -> Result<Results, Fault> {
    let machine = Machine::this();
    let mut results = Results { machine, starts: Vec::new(), cases: Vec::new(), args };
    let args = &results.args;
    let cases = Case::wanted(args);
    if cases.is_empty() && !args.wants(START) {
        return Err(Fault::new("no case has such a name"));
    }
    if args.wants(START) {
        eprintln!("{START} ...");
        for _ in 0..if args.quick { 3 } else { 10 } {
            results.starts.push(start().await?);
        }
    }
    for case in cases {
        eprintln!("{} ...", case.name());
        results.cases.push(measure_case(args, case).await?);
    }
    Ok(results)
}

async fn start() -> Result<Start, Fault> {
    let (_sink_actor, sink) = Actor::server(Role::Sink.as_str(), &[]).await?;
    let mut pipe = Pipe::start(&pipe::in_memory(sink)).await?;
    sleep(IDLE).await;
    pipe.pass_on_remarks();
    Ok(Start { ready_ms: pipe.ready_after.as_secs_f64() * 1e3, idle: Memory::of(pipe.pid())? })
}

async fn measure_case(args: &Args, case: Case) -> Result<CaseResult, Fault> {
    let mut stage = Stage::set(args, case).await?;
    let pace = stage.warm_up(args, case).await?;
    let mut rounds = Vec::new();
    for number in 0..args.rounds() {
        rounds.push(stage.round(number % 2 == 1).await?);
        stage.pipe.pass_on_remarks();
    }
    Ok(CaseResult {
        case,
        pace,
        rounds,
        server_memory: Memory::of(stage.server.pid())?,
        sdk_memory: Memory::of(stage.sdk.pid())?,
        pipe_memory: Memory::of(stage.pipe.pid())?,
    })
}

/// The processes of a case, and how they are driven. All are there all the time, and one is at work.
struct Stage {
    server: Actor,
    sdk: Actor,
    pipe: Pipe,
    ledger: Ledger,
    _sink: Actor,
    to_server: Drive,
    to_pipe: Drive,
    /// How long the bare SDK sends.
    sdk_time: Duration,
}

impl Stage {
    async fn set(args: &Args, case: Case) -> Result<Self, Fault> {
        let (sink_actor, sink) = Actor::server(Role::Sink.as_str(), &[]).await?;
        let (server, server_addr) = Actor::server(Role::BareServer.as_str(), &[]).await?;
        let sdk = sender::start(sink, case.shape.record_bytes).await?;
        let pipe = Pipe::start(&pipe::in_memory(sink)).await?;
        let requests = Arc::new(Requests::new(case.shape, &[STREAM.to_owned()]));
        let drive = |addr| Drive {
            aim: Aim {
                addr,
                connections: args.connections,
                requests: Arc::clone(&requests),
                numbers: None,
            },
            pace: match case.load {
                Load::Paced(rate) => Some(rate),
                Load::Saturated | Load::Half => None,
            },
            time: Duration::from_secs_f64(args.seconds()),
        };
        Ok(Self {
            to_server: drive(server_addr),
            to_pipe: drive(pipe.data),
            sdk_time: Duration::from_secs_f64((args.seconds() / 2.0).min(1.0)),
            server,
            sdk,
            pipe,
            ledger: Ledger::new(sink),
            _sink: sink_actor,
        })
    }

    /// Makes what is slow only at first happen, and finds out what half of saturation is.
    async fn warm_up(&mut self, args: &Args, case: Case) -> Result<Option<u32>, Fault> {
        let requests = case.shape.warm_up_requests() / if args.quick { 10 } else { 1 };
        measure::warm_up(&self.to_server, requests, None).await?;
        measure::warm_up(&self.to_pipe, requests, Some(&mut self.ledger)).await?;
        sender::measure(&mut self.sdk, self.sdk_time / 4, 0, &mut self.ledger).await?;
        match case.load {
            Load::Saturated => Ok(None),
            Load::Paced(rate) => Ok(Some(rate)),
            Load::Half => {
                let full = self.pipe().await?;
                let half = u32::try_from(requests_per_second(&full) / 2).unwrap_or(u32::MAX).max(1);
                self.to_server.pace = Some(half);
                self.to_pipe.pace = Some(half);
                Ok(Some(half))
            }
        }
    }

    /// One measurement of each. Every second round goes the other way, so that a drift cancels out.
    async fn round(&mut self, is_backwards: bool) -> Result<Round, Fault> {
        let mut round = Round::default();
        if is_backwards {
            round.pipe = self.pipe().await?;
            round.beside = self.beside().await?;
        }
        round.server = measure::server(self.server.pid(), &self.to_server, None).await?;
        round.sdk = sender::measure(&mut self.sdk, self.sdk_time, 0, &mut self.ledger).await?;
        if !is_backwards {
            round.beside = self.beside().await?;
            round.pipe = self.pipe().await?;
        }
        Ok(round)
    }

    async fn pipe(&mut self) -> Result<Sample, Fault> {
        measure::server(self.pipe.pid(), &self.to_pipe, Some(&mut self.ledger)).await
    }

    /// Both halves of the floor at once, as they would be in one process: they share the machine.
    async fn beside(&mut self) -> Result<Option<Sample>, Fault> {
        let Some(rate) = self.to_server.pace else { return Ok(None) };
        let records = u32::try_from(self.to_server.aim.requests.shape().records);
        let rate = rate.saturating_mul(records.unwrap_or(u32::MAX));
        let (answered, sent) = tokio::join!(
            measure::server(self.server.pid(), &self.to_server, None),
            sender::measure(&mut self.sdk, self.to_server.time, rate, &mut self.ledger),
        );
        let (mut both, sent) = (answered?, sent?);
        let halves = [("bare server", both.cpu_s), ("bare SDK", sent.cpu_s)];
        both.cpu_s += sent.cpu_s;
        both.cpu_s_by_thread = halves.map(|(name, cpu_s)| (name.to_owned(), cpu_s)).to_vec();
        Ok(Some(both))
    }
}

/// Requests a second, rounded down.
fn requests_per_second(sample: &Sample) -> u64 {
    let ms = u64::try_from(sample.elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    sample.requests.saturating_mul(1000) / ms
}

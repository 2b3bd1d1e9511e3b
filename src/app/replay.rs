//! Dead letters on their way again: from the admin listener's words to the spool's, and back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};
use serde_json::{Value, json};

use crate::admin::{Replay, ReplayRefused, ReplayRequest};
use crate::ingest::Streams;
use crate::spool::{BadLetterId, LetterId, ReplayAsk, Replayed, Spools};

/// Replays what is in `spools`, when there are any.
pub(super) fn over(streams: Arc<Streams>, spools: Option<Spools>) -> Replay {
    Box::new(move |request| {
        let begun = begin(&streams, spools.as_ref(), &request);
        Box::pin(async move {
            let answers = begun?;
            let answer = tokio::time::timeout(request.within + GRACE, answer(&answers)).await;
            let replayed = answer.ok().flatten().ok_or(ReplayRefused::Stopping)?;
            Ok(shown(&request.stream, &replayed))
        })
    })
}

fn begin(
    streams: &Streams,
    spools: Option<&Spools>,
    request: &ReplayRequest,
) -> Result<Receiver<Replayed>, ReplayRefused> {
    let spools = spools.ok_or(ReplayRefused::NoSpool)?;
    let ask = ask(request)?;
    let stream =
        streams.all().into_iter().find(|stream| stream.lane.name().as_str() == request.stream);
    let stream = stream.ok_or(ReplayRefused::UnknownStream)?;
    let spool = spools.open(&stream.lane).ok_or(ReplayRefused::Stopping)?;
    Ok(spool.replay(ask))
}

fn ask(request: &ReplayRequest) -> Result<ReplayAsk, ReplayRefused> {
    let malformed = |text: &str, error: &dyn std::fmt::Display| {
        ReplayRefused::Malformed(format!("{text:?} is no id: {error}"))
    };
    let ids: BTreeSet<LetterId> = request
        .ids
        .iter()
        .map(|id| id.parse().map_err(|error: BadLetterId| malformed(id, &error)))
        .collect::<Result<_, _>>()?;
    let segment_max = request.segment_max.as_ref().map(|text| {
        u64::from_str_radix(text, 16)
            .map_err(|_| ReplayRefused::Malformed(format!("{text:?} is no segment")))
    });
    Ok(ReplayAsk {
        ids: (!ids.is_empty()).then_some(ids),
        segment_max: segment_max.transpose()?,
        until: Instant::now() + request.within,
    })
}

/// The answer of the spool's thread, which rings no bell: it is rare, and looked for.
async fn answer(answers: &Receiver<Replayed>) -> Option<Replayed> {
    loop {
        match answers.try_recv() {
            Ok(replayed) => return Some(replayed),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

fn shown(stream: &str, replayed: &Replayed) -> Value {
    let Replayed { letters, letters_unreadable, segment_max, is_through, obstacles } = replayed;
    json!({
        "stream": stream,
        "letters": letters,
        "letters_unreadable": letters_unreadable,
        "is_through": is_through,
        "segment_max": format!("{segment_max:016x}"),
        "obstacles": obstacles,
    })
}

/// How long an answer may take beyond the time of the work: for the disk, and whoever is before it.
const GRACE: Duration = Duration::from_secs(10);

/// How often it is looked for an answer.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest;
    use crate::pipeline;
    use crate::record::{Ack, StreamName};
    use crate::spool::{
        Config, DataKey, KeyRing, Letter, NoKey, Provider, Spool, Unwrapped, WrappedKey,
    };

    struct Ring;

    fn data_key() -> Arc<DataKey> {
        let wrapped = WrappedKey {
            provider: Provider::File,
            key_id: "file:1".to_owned(),
            context: [].into(),
            wrapped: vec![1],
        };
        Arc::new(DataKey::new(wrapped, [7; 32]))
    }

    impl KeyRing for Ring {
        fn current(&self, _: &StreamName) -> Result<Arc<DataKey>, NoKey> {
            Ok(data_key())
        }

        fn used(&self, _: &StreamName, _: u64) {}

        fn unwrap(&self, _: &StreamName, _: &WrappedKey, _: Box<dyn FnOnce() + Send>) -> Unwrapped {
            Unwrapped::Ready(data_key())
        }
    }

    fn request(stream: &str, ids: &[&str], segment_max: Option<&str>) -> ReplayRequest {
        ReplayRequest {
            stream: stream.to_owned(),
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            segment_max: segment_max.map(str::to_owned),
            within: Duration::from_secs(20),
        }
    }

    fn streams() -> Arc<Streams> {
        let settings = ingest::StreamSettings {
            ack: Ack::Memory,
            min_ack: Ack::Memory,
            framing: ingest::Framing::Auto,
            delimiter: ingest::Delimiter::None,
            oversize: ingest::Oversize::Refuse,
            partition_key_header: false,
            limits: pipeline::testing::limits(),
            memory_floor_bytes: 0,
            ingest_limits: ingest::IngestLimits::NONE,
        };
        let name: StreamName = "demo".parse().unwrap();
        let streams = vec![ingest::StreamConfig { name, settings }];
        let config = ingest::Config { streams, ..ingest::Config::default() };
        Arc::new(Streams::new(1 << 26, &config, Box::new(|_| None)))
    }

    fn asked(replay: &Replay, request: ReplayRequest) -> Result<Value, ReplayRefused> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(replay(request))
    }

    #[test]
    fn a_stream_s_dead_letters_are_replayed_and_others_refused() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            dir: dir.path().to_owned(),
            reserve_bytes: 0,
            free_bytes_min: 0,
            allow_tmpfs: true,
            ..Config::default()
        };
        let (post, _boxes) = pipeline::post(1);
        let (spool, words) = Spool::start(config, Arc::new(Ring), post).unwrap();
        let streams = streams();
        let demo = spool.spools().open(&streams.all()[0].lane).unwrap();
        demo.set_aside(Letter {
            id: 1,
            record: b"poison".to_vec(),
            partition_key: None,
            opened_at: Instant::now(),
            reason: "refused_alone",
            code: "x".into(),
            message: "y".into(),
            origin: None,
        });
        while words.try_take().is_none() {
            std::thread::yield_now();
        }
        let replay = over(streams, Some(spool.spools()));
        let bad = asked(&replay, request("demo", &["1-2-3"], None)).unwrap_err();
        assert!(matches!(bad, ReplayRefused::Malformed(_)), "{bad}");
        assert!(asked(&replay, request("demo", &[], Some("x"))).is_err());
        let unknown = asked(&replay, request("other", &[], None));
        assert_eq!(unknown, Err(ReplayRefused::UnknownStream));
        let done = asked(&replay, request("demo", &[], None)).unwrap();
        assert_eq!((&done["letters"], &done["is_through"]), (&json!(1), &json!(true)));
        let max = done["segment_max"].as_str().unwrap().to_owned();
        let again = asked(&replay, request("demo", &[], Some(&max))).unwrap();
        assert_eq!((&again["letters"], &again["segment_max"]), (&json!(0), &json!(max)));
        let left = spool.stop(Instant::now() + Duration::from_secs(20));
        assert_eq!((left.records, left.is_whole), (1, true));
        let stopped = asked(&replay, request("demo", &[], None));
        assert_eq!(stopped, Err(ReplayRefused::Stopping));
    }

    #[test]
    fn without_a_spool_there_is_nothing_to_replay() {
        let replay = over(streams(), None);
        assert_eq!(asked(&replay, request("demo", &[], None)), Err(ReplayRefused::NoSpool));
    }
}

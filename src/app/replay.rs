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
            let replayed = answer(&answers).await.ok_or(ReplayRefused::Stopping)?;
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

/// How often it is looked for an answer.
const LOOK_EVERY: Duration = Duration::from_millis(20);

//! Decompression of a body, bounded at every step: gzip and zstd.
//!
//! It works through the body in small steps and lets other tasks of the worker run in between, so that
//! one large body does not stand in the way of small ones, even if it comes to nothing. It reserves
//! memory before it uses it.

use std::cell::Cell;
use std::io::{self, BufRead, ErrorKind, Read};

use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use super::refusal::Refusal;
use crate::pipeline::Reservation;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// How many bytes are made between two looks at the other tasks: well under a millisecond's work.
const STEP_BYTES: usize = 128 * 1024;

/// How many bytes of the body are taken between two looks: 400 empty members of gzip, which make nothing
/// and cost as much work.
const STEP_BODY_BYTES: usize = 8 * 1024;

/// The largest window that a zstd frame may ask for, as a power of two: 8 MiB, what RFC 9659 allows.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

impl Encoding {
    /// What the headers say. Several encodings on top of each other are refused.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return if headers.contains_key(CONTENT_ENCODING) {
                Err(Refusal::UnsupportedEncoding("several".to_owned()))
            } else {
                Ok(Self::Identity)
            };
        };
        let text = value.as_bytes().trim_ascii();
        for (name, encoding) in [
            ("gzip", Self::Gzip),
            ("x-gzip", Self::Gzip),
            ("zstd", Self::Zstd),
            ("identity", Self::Identity),
        ] {
            if text.eq_ignore_ascii_case(name.as_bytes()) {
                return Ok(encoding);
            }
        }
        Err(Refusal::UnsupportedEncoding(String::from_utf8_lossy(text).into_owned()))
    }
}

/// Decompresses `body` into a buffer of at most `bytes_max`, and pays for it out of `room`.
///
/// The buffer has a byte to spare, for a delimiter.
pub(super) async fn decode(
    encoding: Encoding,
    body: &[u8],
    bytes_max: usize,
    room: &mut Reservation,
) -> Result<Vec<u8>, Refusal> {
    let allowed = Cell::new(0);
    let steps = Steps { left: body, allowed: &allowed };
    // A zstd frame keeps a window of its output beside the output.
    let (mut inflate, copies): (Box<dyn Read + '_>, usize) = match encoding {
        Encoding::Identity => (Box::new(steps), 1),
        Encoding::Gzip => (Box::new(flate2::bufread::MultiGzDecoder::new(steps)), 1),
        Encoding::Zstd => (Box::new(zstd_reader(steps)?), 2),
    };
    let reserved_before = room.bytes();
    let mut output: Vec<u8> = Vec::new();
    let mut filled = 0;
    loop {
        if filled > bytes_max {
            return Err(Refusal::DecodedTooLarge { bytes_max });
        }
        if output.len() - filled < STEP_BYTES {
            // Twice as much as there is, but no more than the largest body that is allowed needs.
            let needed = bytes_max.saturating_sub(filled) + STEP_BYTES;
            let more = filled.max(STEP_BYTES).min(needed);
            room.grow(more * copies).map_err(|_| Refusal::NoRoom)?;
            output.reserve_exact(more);
            output.resize(output.len() + more, 0);
        }
        allowed.set(STEP_BODY_BYTES);
        let step = output.get_mut(filled..filled + STEP_BYTES).unwrap_or_default();
        match inflate.read(step) {
            Ok(0) => break,
            Ok(written) => filled += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(damaged(&error)),
        }
        tokio::task::yield_now().await;
    }
    output.truncate(filled);
    output.shrink_to(filled + 1);
    room.shrink_to(reserved_before + output.capacity());
    Ok(output)
}

/// A body of which only so much is shown at a time.
struct Steps<'a> {
    left: &'a [u8],
    allowed: &'a Cell<usize>,
}

impl BufRead for Steps<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let shown = self.left.len().min(self.allowed.get());
        if shown == 0 && !self.left.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(self.left.get(..shown).unwrap_or_default())
    }

    fn consume(&mut self, bytes: usize) {
        self.left = self.left.get(bytes..).unwrap_or_default();
        self.allowed.set(self.allowed.get().saturating_sub(bytes));
    }
}

impl Read for Steps<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

fn damaged(error: &io::Error) -> Refusal {
    Refusal::Malformed(format!("the body does not decompress: {error}"))
}

fn zstd_reader<R: BufRead>(body: R) -> Result<zstd::stream::read::Decoder<'static, R>, Refusal> {
    let mut reader =
        zstd::stream::read::Decoder::with_buffer(body).map_err(|error| damaged(&error))?;
    reader.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| damaged(&error))?;
    Ok(reader)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::pipeline::Budget;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(text).unwrap();
        writer.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(text, 1).unwrap()
    }

    async fn decoded(
        encoding: Encoding,
        body: &[u8],
        bytes_max: usize,
    ) -> Result<Vec<u8>, Refusal> {
        let share = Budget::new(1 << 24).share(0);
        let mut room = share.empty_reservation();
        let result = decode(encoding, body, bytes_max, &mut room).await;
        if let Ok(output) = &result {
            assert_eq!(room.bytes(), output.capacity(), "what it holds is what is paid for");
        }
        result
    }

    #[tokio::test]
    async fn both_encodings_give_back_what_went_in() {
        for length in [0, 1, STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, 1_000_000] {
            let text: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            assert_eq!(decoded(Encoding::Gzip, &gzip(&text), 1_000_000).await.unwrap(), text);
            assert_eq!(decoded(Encoding::Zstd, &zstd(&text), 1_000_000).await.unwrap(), text);
        }
    }

    #[tokio::test]
    async fn members_and_frames_behind_each_other_are_one_body() {
        let gzips = [gzip(b"a\n"), gzip(b"b\n")].concat();
        assert_eq!(decoded(Encoding::Gzip, &gzips, 100).await.unwrap(), b"a\nb\n");
        let frames = [zstd(b"a\n"), zstd(b"b\n")].concat();
        assert_eq!(decoded(Encoding::Zstd, &frames, 100).await.unwrap(), b"a\nb\n");
    }

    #[tokio::test]
    async fn others_have_their_turn_even_while_nothing_comes_of_a_body() {
        for (encoding, member) in [(Encoding::Gzip, gzip(b"")), (Encoding::Zstd, zstd(b""))] {
            let body = member.repeat(100 * STEP_BODY_BYTES / member.len());
            let mut turns = 0;
            let others = async {
                loop {
                    turns += 1;
                    tokio::task::yield_now().await;
                }
            };
            let output = tokio::select! {
                output = decoded(encoding, &body, 100) => output.unwrap(),
                () = others => unreachable!(),
            };
            assert!(output.is_empty() && turns >= 90, "{encoding:?}: {turns} turns");
        }
    }

    #[tokio::test]
    async fn the_bound_holds_to_the_byte_and_a_bomb_stops_at_it() {
        let text = vec![0; 300_000];
        assert!(decoded(Encoding::Gzip, &gzip(&text), 300_000).await.is_ok());
        let refused = Err(Refusal::DecodedTooLarge { bytes_max: 299_999 });
        assert_eq!(decoded(Encoding::Gzip, &gzip(&text), 299_999).await, refused);
        assert_eq!(decoded(Encoding::Zstd, &zstd(&text), 299_999).await, refused);
        let bomb = gzip(&vec![0; 50_000_000]);
        let refused = Err(Refusal::DecodedTooLarge { bytes_max: 1_000_000 });
        assert_eq!(decoded(Encoding::Gzip, &bomb, 1_000_000).await, refused);
    }

    #[tokio::test]
    async fn a_bomb_that_memory_has_no_room_for_is_refused_and_gives_all_back() {
        let share = Budget::new(1_000_000).share(0);
        let mut room = share.empty_reservation();
        let bomb = zstd(&vec![0; 10_000_000]);
        let result = decode(Encoding::Zstd, &bomb, 1 << 26, &mut room).await;
        assert_eq!(result, Err(Refusal::NoRoom));
        drop(room);
        assert_eq!(share.used_bytes(), 0);
    }

    #[tokio::test]
    async fn damage_and_early_ends_are_malformed() {
        for (encoding, body) in
            [(Encoding::Gzip, gzip(&[7; 5_000])), (Encoding::Zstd, zstd(&[7; 5_000]))]
        {
            for bad in [&body[..body.len() - 1], b"not compressed", &body[..6]] {
                let result = decoded(encoding, bad, 10_000).await;
                assert!(matches!(result, Err(Refusal::Malformed(_))), "{result:?}");
            }
        }
    }
}

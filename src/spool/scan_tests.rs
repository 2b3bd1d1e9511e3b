//! Tests of reading segments: sound ones, damaged ones, and those that somebody put together.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::header;
use super::scan::{Damage, Event, Extent, Scanner};
use super::testing::{Segment, data_key};

/// What is read of a segment.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    /// The frames that came, by their index, with their records.
    frames: Vec<(u32, Vec<Vec<u8>>)>,
    skipped: Vec<u32>,
    damage: Vec<Damage>,
    records: u64,
    is_closed: bool,
}

impl Read {
    /// The records that are said to be missing, and not torn.
    fn quarantined(&self) -> u64 {
        let lost = self.damage.iter().filter(|damage| !damage.is_torn);
        lost.map(|damage| damage.records.expect("what is quarantined is counted")).sum()
    }

    fn came(&self) -> u64 {
        u64::try_from(self.frames.iter().map(|(_, records)| records.len()).sum::<usize>()).unwrap()
    }
}

fn scanner(bytes: &[u8], extent: Extent) -> Option<Scanner> {
    let parsed = header::decode(bytes).ok()?;
    let keys = parsed.keys(&data_key()).ok()?;
    Some(Scanner::new(Arc::new(keys), parsed.digest, parsed.bytes as u64, extent))
}

/// Reads on until there is no more, or no more for now; at most `piece` bytes at a time.
fn go_on(
    scanner: &mut Scanner,
    bytes: &[u8],
    piece: usize,
    is_needed: impl Fn(u32) -> bool,
    read: &mut Read,
) {
    for _ in 0..1_000_000 {
        // As the reader does before each step: it disturbs nothing.
        let _announced = scanner.next_frame();
        match scanner.next(&is_needed) {
            Event::Frame { head, payload, .. } => {
                read.frames.push((head.index, payload.records().map(<[u8]>::to_vec).collect()));
                // Whoever reads in small pieces is short of memory, too.
                if piece < 1_000 {
                    scanner.release();
                }
            }
            Event::Skipped { head, .. } => read.skipped.push(head.index),
            Event::Damage(damage) => read.damage.push(damage),
            Event::NeedBytes => scanner
                .fill(|offset, into| {
                    let there = bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
                    let count = there.len().min(into.len()).min(piece);
                    into[..count].copy_from_slice(&there[..count]);
                    Ok(count)
                })
                .unwrap(),
            Event::Wait => return,
            Event::End { records, is_closed } => {
                (read.records, read.is_closed) = (records, is_closed);
                assert_eq!(scanner.next(&is_needed), Event::End { records, is_closed });
                return;
            }
        }
    }
    panic!("the scanner does not come to an end");
}

fn read(bytes: &[u8]) -> Read {
    let mut read = Read::default();
    let mut scanner = scanner(bytes, Extent::found(bytes.len() as u64)).unwrap();
    go_on(&mut scanner, bytes, usize::MAX, |_| true, &mut read);
    read
}

/// All that came is what was written, in order and once.
fn assert_true(read: &Read, segment: &Segment) {
    let mut last = None;
    for (index, records) in &read.frames {
        assert!(last < Some(*index), "in order and once");
        last = Some(*index);
        assert_eq!(records, &segment.records[*index as usize]);
    }
}

/// The range of frame `index` in its segment.
fn place(segment: &Segment, index: usize) -> std::ops::Range<usize> {
    let (start, head) = segment.frames[index];
    start..start + head.frame_bytes()
}

#[test]
fn a_sound_segment_gives_all_its_records_and_says_how_many_they_are() {
    for ends in [true, false] {
        let segment = Segment::of(1, &[2, 3, 1], ends);
        let read = read(&segment.bytes);
        assert_true(&read, &segment);
        assert_eq!((read.frames.len(), &read.damage), (6, &Vec::new()));
        assert_eq!((read.records, read.is_closed), (segment.records_in_all(), ends));
    }
    let empty = Segment::of(1, &[], false);
    assert_eq!(read(&empty.bytes), Read::default());
}

#[test]
fn a_segment_cut_anywhere_gives_every_whole_frame_and_a_torn_tail() {
    let segment = Segment::of(1, &[2, 2, 2], true);
    for cut in segment.encoded.bytes.len()..segment.bytes.len() {
        let read = read(&segment.bytes[..cut]);
        assert_true(&read, &segment);
        let whole = (0..6).filter(|index| place(&segment, *index).end <= cut).count();
        assert_eq!(read.frames.len(), whole);
        assert!(!read.is_closed);
        let ends: Vec<usize> = segment.frames.iter().map(|(start, _)| *start).collect();
        let torn = Damage {
            from_offset: ends[whole] as u64,
            to_offset: cut as u64,
            first: u32::try_from(whole).unwrap(),
            frames: 0,
            records: None,
            is_torn: true,
        };
        let expected = if ends.contains(&cut) { Vec::new() } else { vec![torn] };
        assert_eq!(read.damage, expected, "cut at {cut}");
    }
}

#[test]
fn every_bit_of_a_segment_flipped_costs_one_frame_and_never_gives_a_wrong_record() {
    let segment = Segment::of(1, &[1, 2, 1], true);
    let all: BTreeSet<u32> = (0..4).collect();
    for bit in 0..segment.bytes.len() * 8 {
        let mut bytes = segment.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if bit / 8 < segment.encoded.bytes.len() {
            assert!(scanner(&bytes, Extent::found(0)).is_none(), "bit {bit} of the header");
            continue;
        }
        let read = read(&bytes);
        assert_true(&read, &segment);
        let hit = (0..5).find(|index| place(&segment, *index).contains(&(bit / 8))).unwrap();
        let came: BTreeSet<u32> = read.frames.iter().map(|(index, _)| *index).collect();
        let missing: Vec<u32> = all.difference(&came).copied().collect();
        let [damage] = read.damage[..] else { panic!("bit {bit}: {read:?}") };
        assert_eq!(damage.from_offset, place(&segment, hit).start as u64);
        assert_eq!(damage.to_offset, place(&segment, hit).end as u64);
        if hit == 4 {
            assert!(missing.is_empty() && damage.is_torn && !read.is_closed);
        } else {
            assert_eq!(missing, [u32::try_from(hit).unwrap()]);
            assert_eq!((damage.first, damage.frames), (missing[0], 1));
            assert!(!damage.is_torn && read.is_closed);
            assert_eq!(read.quarantined(), segment.records[hit].len() as u64);
            assert_eq!(read.records, segment.records_in_all());
        }
    }
}

#[test]
fn damage_above_the_last_watermark_of_an_open_segment_is_torn_and_below_it_is_not() {
    // Frames 0 and 1, then 2 and 3, then 4 and 5, whose group says that 0 to 3 are durable.
    let segment = Segment::of(1, &[2, 2, 2], false);
    for hit in 0..6 {
        let mut bytes = segment.bytes.clone();
        bytes[place(&segment, hit).start + 60] ^= 1;
        let read = read(&bytes);
        assert_true(&read, &segment);
        let [damage] = read.damage[..] else { panic!("{read:?}") };
        // When 4 is damaged, 5 still says it; when both are, nobody does.
        assert_eq!(damage.is_torn, hit >= 4, "frame {hit}");
        assert_eq!(read.frames.len(), 5);
    }
    let mut bytes = segment.bytes.clone();
    for hit in [2, 4, 5] {
        bytes[place(&segment, hit).start + 60] ^= 1;
    }
    let read = read(&bytes);
    let torn: Vec<bool> = read.damage.iter().map(|damage| damage.is_torn).collect();
    assert_eq!((torn, read.frames.len()), (vec![true, true], 3));
}

#[test]
fn frames_that_are_not_where_they_were_written_are_never_taken_for_others() {
    let segment = Segment::of(1, &[1, 1, 1, 1], true);
    let stranger = Segment::of(2, &[1, 1, 1, 1], true);
    let frame = |of: &Segment, index: usize| of.bytes[place(of, index)].to_vec();
    let of = |frames: &[&Vec<u8>]| {
        let frames = frames.iter().flat_map(|frame| frame.iter());
        segment.encoded.bytes.iter().chain(frames).copied().collect::<Vec<u8>>()
    };
    let strange = frame(&stranger, 1);
    let [a, b, c, d, end] = [0, 1, 2, 3, 4].map(|index| frame(&segment, index));
    let indices = |read: &Read| read.frames.iter().map(|(index, _)| *index).collect::<Vec<_>>();
    for (frames, came, quarantined) in [
        // Swapped: the one that comes too late is missing.
        (vec![&a, &c, &b, &d, &end], vec![0, 2, 3], 2),
        // Repeated.
        (vec![&a, &b, &b, &c, &d, &end], vec![0, 1, 2, 3], 0),
        // Cut out.
        (vec![&a, &d, &end], vec![0, 3], 2 + 3),
        (vec![&end], vec![], 1 + 2 + 3 + 1),
        // From another segment.
        (vec![&a, &strange, &c, &d, &end], vec![0, 2, 3], 2),
        // Behind the end.
        (vec![&a, &b, &c, &d, &end, &a], vec![0, 1, 2, 3], 0),
    ] {
        let read = read(&of(&frames));
        assert_true(&read, &segment);
        assert_eq!(indices(&read), came);
        assert_eq!(read.quarantined(), quarantined, "{read:?}");
        assert_eq!(read.records, segment.records_in_all());
        assert!(!read.damage.is_empty() && read.is_closed);
    }
    // All of it from another segment, and a header from another stream.
    let read = read(
        &[&segment.encoded.bytes[..], &stranger.bytes[stranger.encoded.bytes.len()..]].concat(),
    );
    assert!(read.frames.is_empty() && read.damage.len() == 1);
}

#[test]
fn a_head_that_claims_anything_at_all_costs_no_memory_and_no_more_than_its_frame() {
    let segment = Segment::of(1, &[1, 1, 1], true);
    let start = place(&segment, 1).start;
    for claimed in [0, 1, 5_000_000, u32::MAX] {
        let mut bytes = segment.bytes.clone();
        bytes[start + 16..start + 20].copy_from_slice(&claimed.to_le_bytes());
        let read = read(&bytes);
        assert_eq!((read.frames.len(), read.quarantined()), (2, 2));
    }
}

#[test]
fn a_file_that_is_shorter_than_was_said_ends_where_it_ends() {
    let segment = Segment::of(1, &[1, 1], true);
    let bytes = &segment.bytes[..place(&segment, 1).start + 10];
    let mut read = Read::default();
    let mut scanner = scanner(bytes, Extent::found(bytes.len() as u64 + 1_000)).unwrap();
    go_on(&mut scanner, bytes, usize::MAX, |_| true, &mut read);
    assert_eq!((read.frames.len(), read.damage.len()), (1, 1));
    assert!(read.damage[0].is_torn && read.damage[0].to_offset == bytes.len() as u64);
}

#[test]
fn an_error_of_reading_is_no_damage() {
    let segment = Segment::of(1, &[1, 1], true);
    let mut scanner = scanner(&segment.bytes, Extent::found(segment.bytes.len() as u64)).unwrap();
    assert_eq!(scanner.next(|_| true), Event::NeedBytes);
    for _ in 0..3 {
        assert!(scanner.fill(|_, _| Err(std::io::ErrorKind::Other.into())).is_err());
        assert_eq!(scanner.next(|_| true), Event::NeedBytes);
    }
    let mut read = Read::default();
    go_on(&mut scanner, &segment.bytes, usize::MAX, |_| true, &mut read);
    assert_eq!((read.frames.len(), read.damage.len()), (2, 0));
}

#[test]
fn frames_that_nobody_needs_are_passed_unopened_where_nothing_is_strange() {
    let segment = Segment::of(1, &[3, 3], true);
    let needed = |index| index == 2;
    let scan = |bytes: &[u8]| {
        let mut read = Read::default();
        let mut scanner = scanner(bytes, Extent::found(bytes.len() as u64)).unwrap();
        go_on(&mut scanner, bytes, usize::MAX, needed, &mut read);
        read
    };
    let sound = scan(&segment.bytes);
    assert_eq!((&sound.skipped[..], sound.frames.len()), (&[0, 1, 3, 4, 5][..], 1));
    assert_eq!((sound.records, sound.damage.len()), (segment.records_in_all(), 0));
    // Damage to a payload that nobody needs is not looked for.
    let mut bytes = segment.bytes.clone();
    bytes[place(&segment, 4).start + 50] ^= 1;
    assert_eq!(scan(&bytes), sound);
    // Every bit of a head that is passed: the frame that is needed comes all the same, and once.
    for bit in place(&segment, 1).start * 8..(place(&segment, 1).start + 40) * 8 {
        let mut bytes = segment.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let read = scan(&bytes);
        assert_eq!(read.frames, sound.frames, "bit {bit}");
        assert_eq!(read.records, segment.records_in_all());
    }
}

#[test]
fn a_living_segment_is_read_as_far_as_it_is_durable_and_then_on() {
    let segment = Segment::of(1, &[2, 2], true);
    let ends: Vec<u64> = (0..5).map(|index| place(&segment, index).end as u64).collect();
    let records = |frames: usize| segment.frames[frames].1.records_before;
    let extent = |frames: usize, is_final| Extent {
        bytes: ends[frames - 1],
        frames: u32::try_from(frames).unwrap(),
        records: records(frames.min(4)),
        is_final,
    };
    let mut read = Read::default();
    let mut scanner = scanner(&segment.bytes, extent(2, false)).unwrap();
    go_on(&mut scanner, &segment.bytes, usize::MAX, |_| true, &mut read);
    assert_eq!((read.frames.len(), scanner.position()), (2, (ends[1], 2)));
    go_on(&mut scanner, &segment.bytes, usize::MAX, |_| true, &mut read);
    assert_eq!(read.frames.len(), 2, "no more for now");
    scanner.extend(extent(4, false));
    go_on(&mut scanner, &segment.bytes, usize::MAX, |_| true, &mut read);
    assert_eq!(read.frames.len(), 4);
    scanner.extend(Extent { bytes: ends[4], ..extent(4, true) });
    go_on(&mut scanner, &segment.bytes, usize::MAX, |_| true, &mut read);
    assert!(read.is_closed && read.damage.is_empty() && read.records == segment.records_in_all());
}

#[test]
fn what_this_life_knows_to_be_durable_is_never_torn() {
    let segment = Segment::of(1, &[4], false);
    let whole = Extent {
        bytes: segment.bytes.len() as u64,
        frames: 4,
        records: segment.records_in_all(),
        is_final: true,
    };
    for hit in 0..4 {
        let mut bytes = segment.bytes.clone();
        bytes[place(&segment, hit).start + 45] ^= 1;
        let mut read = Read::default();
        let mut living = scanner(&bytes, Extent { is_final: false, ..whole }).unwrap();
        go_on(&mut living, &bytes, usize::MAX, |_| true, &mut read);
        assert_eq!(read.damage.len(), usize::from(hit < 3), "the last one may yet be found");
        living.extend(whole);
        go_on(&mut living, &bytes, usize::MAX, |_| true, &mut read);
        assert_eq!((read.damage.len(), read.frames.len()), (1, 3));
        assert_eq!(read.quarantined(), segment.records[hit].len() as u64);
        assert_eq!(read.records, segment.records_in_all());
    }
    // The file was cut behind our back.
    let mut read = Read::default();
    let cut = place(&segment, 2).start;
    let mut scanner = scanner(&segment.bytes, whole).unwrap();
    go_on(&mut scanner, &segment.bytes[..cut], usize::MAX, |_| true, &mut read);
    assert_eq!((read.frames.len(), read.damage.len(), read.quarantined()), (2, 1, 4));
}

#[test]
fn large_frames_are_held_one_at_a_time_and_searched_through() {
    let mut segment = Segment::new(&super::testing::header(1));
    for index in 0..4 {
        let records = (0..4).map(|record| vec![record; 700_000]).collect();
        segment.append(records, index);
    }
    segment.end();
    let mut bytes = segment.bytes.clone();
    bytes[place(&segment, 1).start + 1_000_000] ^= 1;
    let read = read(&bytes);
    assert_true(&read, &segment);
    assert_eq!((read.frames.len(), read.quarantined()), (3, 4));
}

#[test]
fn large_frames_that_nobody_needs_are_passed_however_often_it_is_asked_what_comes_next() {
    let mut segment = Segment::new(&super::testing::header(1));
    for index in 0..4 {
        segment.append(vec![vec![7; 400_000]], index);
    }
    segment.end();
    let mut read = Read::default();
    let extent = Extent::found(segment.bytes.len() as u64);
    let mut scanner = scanner(&segment.bytes, extent).unwrap();
    go_on(&mut scanner, &segment.bytes, usize::MAX, |index| index == 2, &mut read);
    assert_eq!((&read.skipped[..], read.frames.len()), (&[0, 1, 3][..], 1));
    assert!(read.is_closed && read.damage.is_empty());
}

#[test]
fn a_frame_that_is_needed_only_when_its_surroundings_were_asked_for_is_not_passed() {
    let segment = Segment::of(1, &[2], true);
    let mut scanner = scanner(&segment.bytes, Extent::found(segment.bytes.len() as u64)).unwrap();
    let mut read = Read::default();
    // Up to the head of the first frame and no further: what follows is still to be read.
    let first = place(&segment, 0).start;
    assert_eq!(scanner.next(|_| false), Event::NeedBytes);
    scanner
        .fill(|offset, into| {
            assert_eq!(usize::try_from(offset).unwrap(), first);
            into[..40].copy_from_slice(&segment.bytes[first..first + 40]);
            Ok(40)
        })
        .unwrap();
    assert_eq!(scanner.next(|_| false), Event::NeedBytes);
    go_on(&mut scanner, &segment.bytes, usize::MAX, |_| true, &mut read);
    assert_eq!(read.frames.len(), 2);
}

/// What a disk may do to a segment.
#[derive(Debug, Clone)]
enum Hit {
    Flip(usize, u8),
    Zeros(usize, usize),
    CutOut(usize, usize),
    Insert(usize, Vec<u8>),
    Copy(usize, usize, usize),
    End(usize),
}

fn hit() -> impl Strategy<Value = Hit> {
    let at = 0_usize..20_000;
    prop_oneof![
        4 => (at.clone(), 0_u8..8).prop_map(|(at, bit)| Hit::Flip(at, bit)),
        1 => (at.clone(), 1_usize..600).prop_map(|(at, bytes)| Hit::Zeros(at, bytes)),
        1 => (at.clone(), 1_usize..600).prop_map(|(at, bytes)| Hit::CutOut(at, bytes)),
        1 => (at.clone(), vec(any::<u8>(), 1..80)).prop_map(|(at, bytes)| Hit::Insert(at, bytes)),
        1 => (at.clone(), at.clone(), 1_usize..600).prop_map(|(from, to, n)| Hit::Copy(from, to, n)),
        1 => at.prop_map(Hit::End),
    ]
}

impl Hit {
    /// Does it to what comes behind the header.
    fn happen(&self, bytes: &mut Vec<u8>, header: usize) {
        let place = |at: usize| header + at % (bytes.len() - header + 1);
        let range = |at: usize, count: usize| {
            let start = place(at);
            start..(start + count).min(bytes.len())
        };
        match self {
            Self::Flip(at, bit) => {
                let at = place(*at).min(bytes.len() - 1).max(header);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            Self::Zeros(at, count) => {
                let range = range(*at, *count);
                bytes[range].fill(0);
            }
            Self::CutOut(at, count) => drop(bytes.drain(range(*at, *count))),
            Self::Insert(at, more) => {
                let at = place(*at);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Copy(from, to, count) => {
                let (copied, to) = (bytes[range(*from, *count)].to_vec(), place(*to));
                bytes.splice(to..to, copied);
            }
            Self::End(at) => bytes.truncate(place(*at)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_disk_does_every_record_is_right_and_all_are_accounted_for(
        groups in vec(1_u32..6, 1..8),
        ends in any::<bool>(),
        hits in vec(hit(), 0..5),
        piece in 1_usize..3_000,
        skips in vec(any::<bool>(), 40),
    ) {
        let segment = Segment::of(1, &groups, ends);
        let mut bytes = segment.bytes.clone();
        for hit in &hits {
            hit.happen(&mut bytes, segment.encoded.bytes.len());
        }
        let mut got = Read::default();
        let mut scanner = scanner(&bytes, Extent::found(bytes.len() as u64)).unwrap();
        go_on(&mut scanner, &bytes, piece, |_| true, &mut got);
        assert_true(&got, &segment);
        prop_assert_eq!(&got, &read(&bytes), "whatever the pieces");
        // Of what was read, each record came or is missing.
        let missing: u64 = got.damage.iter().filter_map(|damage| damage.records).sum();
        prop_assert_eq!(got.came() + missing, got.records);
        prop_assert!(got.records <= segment.records_in_all());
        if got.is_closed {
            prop_assert_eq!(got.records, segment.records_in_all());
        }
        // What is torn is what nobody who is still there says to be durable.
        let heads = got.frames.iter().map(|(index, _)| segment.frames[*index as usize].1);
        let watermark = heads.map(|head| head.durable_frames()).max().unwrap_or(0);
        for damage in &got.damage {
            prop_assert_eq!(damage.is_torn, !got.is_closed && damage.first >= watermark);
            prop_assert!(damage.is_torn || damage.records.is_some());
        }
        // A frame that nothing touched, and that lies behind all earlier ones, comes.
        let came: BTreeSet<u32> = got.frames.iter().map(|(index, _)| *index).collect();
        if hits.iter().all(|hit| !matches!(hit, Hit::Copy(..))) {
            for index in 0..segment.records.len() {
                let frame = &segment.bytes[place(&segment, index)];
                let is_there = memchr::memmem::find(&bytes, frame).is_some();
                prop_assert_eq!(is_there, came.contains(&u32::try_from(index).unwrap()));
            }
        }
        // Who needs only some frames gets those, and nothing wrong.
        let needs = |index: u32| skips.get(index as usize).is_none_or(|skip| !skip);
        let mut some = Read::default();
        let mut scanner = self::scanner(&bytes, Extent::found(bytes.len() as u64)).unwrap();
        go_on(&mut scanner, &bytes, piece, needs, &mut some);
        assert_true(&some, &segment);
        let given: BTreeSet<u32> = some.frames.iter().map(|(index, _)| *index).collect();
        for index in came.into_iter().filter(|index| needs(*index)) {
            prop_assert!(given.contains(&index), "frame {} of {:?}", index, some);
        }
    }

    #[test]
    fn no_bytes_at_all_make_the_scanner_panic_or_run_for_ever(
        mut noise in vec(prop_oneof![Just(vec![b'S', b'P', b'F', b'R', 1, 0, 0, 0]), vec(any::<u8>(), 1..40)], 0..60),
        whole in any::<bool>(),
    ) {
        let segment = Segment::of(1, &[1], false);
        if whole {
            noise.push(segment.bytes[segment.encoded.bytes.len()..].to_vec());
        }
        let bytes = [segment.encoded.bytes.clone(), noise.concat()].concat();
        let read = read(&bytes);
        assert_true(&read, &segment);
        prop_assert_eq!(read.frames.len(), usize::from(whole));
    }
}

//! The files of a spool, read by the description of their format and not by the product's code.
//!
//! It needs no key: heads and lengths are in the clear. It opens nothing and changes nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

const HEAD_BYTES: usize = 40;
const TAG_BYTES: usize = 16;

/// The header of a segment, as far as it is looked at here.
#[derive(Debug, PartialEq, Eq)]
pub struct Header {
    pub id: u64,
    pub wrapped: Vec<u8>,
    pub salt: [u8; 32],
    pub bytes: usize,
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub kind: u8,
    pub index: u32,
    pub records: u32,
    pub sealed_bytes: u32,
    pub watermark: u32,
    pub records_before: u64,
    pub random: [u8; 8],
}

impl Head {
    /// How long the whole frame is.
    pub fn frame_bytes(&self) -> usize {
        HEAD_BYTES + self.sealed_bytes as usize + TAG_BYTES
    }
}

/// All files below a folder, by their path in it.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        // What is looked at may live: a folder or a file may be gone before it is read.
        for entry in std::fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                all.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
            }
        }
    }
    all
}

/// The segments of all streams below a spool's folder: what was written, by the path of the file.
pub fn segments(spool: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = files(spool);
    all.retain(|path, _| path.extension().is_some_and(|extension| extension == "seg"));
    all
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().unwrap()
}

/// The header that `segment` begins with; `None` when it is not there whole.
pub fn header(segment: &[u8]) -> Option<Header> {
    let length = segment.get(12..16)?;
    let bytes = u32::from_le_bytes(length.try_into().unwrap()) as usize;
    let header = segment.get(..bytes)?;
    assert_eq!(&header[..8], b"STPIPE\0S");
    assert_eq!((&header[8..10], &header[10..12]), (&[1, 0][..], &[1, 0][..]), "version and suite");
    // Stream, key id and the pairs of the context stand between the fixed fields and the wrapped key.
    let mut at = 35 + usize::from(header[34]);
    let field = |at: &mut usize| {
        let length = usize::from(u16::from_le_bytes(array(header, *at)));
        *at += 2 + length;
        header[*at - length..*at].to_vec()
    };
    let _key_id = field(&mut at);
    let pairs = header[at];
    at += 1;
    for _ in 0..2 * pairs {
        let _text = field(&mut at);
    }
    let wrapped = field(&mut at);
    assert_eq!(at + 64, bytes, "salt and commitment are what is left");
    let id = u64::from_le_bytes(array(header, 16));
    Some(Header { id, wrapped, salt: array(header, at), bytes })
}

/// The heads of a segment, whole frames and a torn one, and how many bytes at the end are of no whole frame.
pub fn heads(segment: &[u8], header: &Header) -> (Vec<Head>, usize) {
    let mut heads = Vec::new();
    let mut rest = &segment[header.bytes..];
    while rest.len() >= HEAD_BYTES {
        assert_eq!(&rest[..4], b"SPFR", "a frame follows a frame");
        let word = |at| u32::from_le_bytes(array(rest, at));
        let head = Head {
            kind: rest[4],
            index: word(8),
            records: word(12),
            sealed_bytes: word(16),
            watermark: word(20),
            records_before: u64::from_le_bytes(array(rest, 24)),
            random: array(rest, 32),
        };
        heads.push(head);
        let Some(next) = rest.get(head.frame_bytes()..) else {
            break;
        };
        rest = next;
    }
    (heads, rest.len())
}

/// What was seen of a spool, over all its lives. It holds on to every nonce.
#[derive(Debug, Default)]
pub struct Archive {
    seen: BTreeMap<PathBuf, Vec<u8>>,
    salts: HashMap<[u8; 32], PathBuf>,
    nonces: HashSet<([u8; 32], u32, [u8; 8])>,
    /// Segments whose end was torn.
    pub torn: usize,
}

impl Archive {
    /// Looks at a spool that nobody writes to now.
    pub fn look(&mut self, spool: &Path) {
        for (path, bytes) in segments(spool) {
            if let Some(before) = self.seen.get(&path) {
                assert!(*before == bytes, "{path:?} was written to by a later life");
                continue;
            }
            self.enter(&path, &bytes);
            self.seen.insert(path, bytes);
        }
        let quarantine = files(&spool.join("quarantine"));
        assert!(quarantine.is_empty(), "nothing is damaged: {:?}", quarantine.keys());
    }

    fn enter(&mut self, path: &Path, bytes: &[u8]) {
        let Some(header) = header(bytes) else { return };
        let name = u64::from_str_radix(path.file_stem().unwrap().to_str().unwrap(), 16).unwrap();
        assert_eq!(header.id, name, "a segment is called by its id");
        if let Some(other) = self.salts.insert(header.salt, path.to_owned()) {
            panic!("{path:?} and {other:?} have the same salt");
        }
        let (heads, torn_bytes) = heads(bytes, &header);
        self.torn += usize::from(torn_bytes > 0);
        let mut records = 0;
        for (index, head) in (0..).zip(&heads) {
            let what = format!("frame {index} of {path:?}");
            assert_eq!(head.index, index, "{what}: indexes ascend by one");
            assert_eq!(head.records_before, records, "{what}");
            assert!(head.watermark <= head.index, "{what}");
            assert!(
                matches!(head.kind, 1 | 3) || head.kind == 2 && index as usize + 1 == heads.len(),
                "{what}"
            );
            records += u64::from(head.records);
            assert!(
                self.nonces.insert((header.salt, head.index, head.random)),
                "{what}: its nonce"
            );
        }
    }

    /// How many segments and how many frames were seen.
    pub fn size(&self) -> (usize, usize) {
        (self.salts.len(), self.nonces.len())
    }
}

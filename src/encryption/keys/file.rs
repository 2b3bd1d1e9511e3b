//! The local key file, for those without KMS: read once, or made when it is not there.
//!
//! ```text
//!  standpipe key file, version 1
//!  <32 random bytes, as 64 hex digits or in base64>
//! ```
//! Whoever has the file opens the spool; whoever loses it has lost the spool. It is no KMS, and the log says so.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64_simd::STANDARD;
use zeroize::Zeroizing;

use super::wrap::{KeyBytes, Wrapper, key_bytes, random_key};

/// The first line of a key file.
const FORMAT: &str = "standpipe key file, version 1";

/// The most bytes that a key file may have.
const FILE_BYTES_MAX: usize = 1024;

/// The permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Why there is no key file, and which.
#[derive(Debug)]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: FileFault,
}

/// What is wrong with a key file.
#[derive(Debug)]
pub enum FileFault {
    /// It can not be read.
    Unreadable(io::Error),
    /// It is not there, and can not be made.
    Unmakeable(io::Error),
    /// It is a directory, a pipe or a device.
    NoFile,
    /// Others than its owner may read or write it.
    Exposed {
        /// Its permissions.
        mode: u32,
    },
    /// It does not begin with the line that a key file begins with.
    Format,
    /// Its second line is no key.
    NoKey,
    /// The system gives no random numbers to make a key of.
    NoRandom,
}

/// The key in the file at `path`, which is made when it is not there; then the answer is `true`.
pub(super) fn open_or_make(path: &Path) -> Result<(Wrapper, bool), FileError> {
    let fault = |fault| FileError { path: path.to_owned(), fault };
    // Asked before opening: opening a pipe would wait for its writer.
    let is_made = match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(fault(FileFault::NoFile)),
        Ok(_) => false,
        Err(error) if error.kind() == ErrorKind::NotFound => make(path).map_err(fault)?,
        Err(error) => return Err(fault(FileFault::Unreadable(error))),
    };
    // Read even if it was just made: by whom, is another question.
    let key = read(path).map_err(fault)?;
    Ok((Wrapper::new(&key), is_made))
}

fn read(path: &Path) -> Result<KeyBytes, FileFault> {
    let file = File::open(path).map_err(FileFault::Unreadable)?;
    let mode = file.metadata().map_err(FileFault::Unreadable)?.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(FileFault::Exposed { mode });
    }
    // As large as it can become, so that no copy of it stays behind when it grows.
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX + 1));
    let bytes_max = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    file.take(bytes_max).read_to_end(&mut text).map_err(FileFault::Unreadable)?;
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    if lines.next() != Some(FORMAT.as_bytes()) {
        return Err(FileFault::Format);
    }
    let key = lines.next().and_then(decoded).ok_or(FileFault::NoKey)?;
    if lines.any(|line| !line.is_empty()) { Err(FileFault::NoKey) } else { Ok(key) }
}

fn decoded(text: &[u8]) -> Option<KeyBytes> {
    if let Some(key) = from_hex(text) {
        return Some(key);
    }
    let bytes = Zeroizing::new(STANDARD.decode_to_vec(text).ok()?);
    key_bytes(&bytes)
}

fn from_hex(text: &[u8]) -> Option<KeyBytes> {
    let mut key = KeyBytes::default();
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != key.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in key.iter_mut().zip(pairs) {
        let digit = |text: &u8| char::from(*text).to_digit(16);
        *byte = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    }
    Some(key)
}

/// Makes the file, complete or not at all. `false` when somebody else was faster.
fn make(path: &Path) -> Result<bool, FileFault> {
    let key = random_key().map_err(|_| FileFault::NoRandom)?;
    let text = Zeroizing::new(format!("{FORMAT}\n{}\n", *encoded(&key)));
    let name = path.file_name().ok_or(FileFault::NoFile)?;
    let next = path.with_file_name(format!(".{}.{}", name.display(), std::process::id()));
    let made = write_new(&next, text.as_bytes()).and_then(|()| fs::hard_link(&next, path));
    // It is one file under two names, or none that anybody needs.
    let removed = fs::remove_file(&next);
    match made {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.exists() => {
            return Ok(false);
        }
        Err(error) => return Err(FileFault::Unmakeable(error)),
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(directory.unwrap_or(Path::new(".")));
    removed.and_then(|()| directory?.sync_all()).map_err(FileFault::Unmakeable)?;
    Ok(true)
}

fn encoded(key: &KeyBytes) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode_to_string(key.as_slice()))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys.file `{}`: ", self.path.display())?;
        match &self.fault {
            FileFault::Unreadable(error) => write!(f, "can not be read: {error}"),
            FileFault::Unmakeable(error) => write!(f, "is not there and can not be made: {error}"),
            FileFault::NoFile => f.write_str("is not a regular file"),
            FileFault::Exposed { mode } => write!(
                f,
                "is open to others than its owner (mode {mode:04o}); take their rights away \
                 (chmod go= FILE), and take another key if they may have read it"
            ),
            FileFault::Format => write!(f, "does not begin with the line \"{FORMAT}\""),
            FileFault::NoKey => f.write_str(
                "has no key in its second line, which has to be 32 bytes as hex digits or in base64, \
                 and the last",
            ),
            FileFault::NoRandom => {
                f.write_str("can not be made: the system gives no random numbers")
            }
        }
    }
}

impl std::error::Error for FileError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(content: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    fn opened(content: &str, mode: u32) -> Result<Wrapper, String> {
        let (_directory, path) = written(content, mode);
        open_or_make(&path).map(|(wrapper, _)| wrapper).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_that_is_not_there_is_made_for_its_owner_alone_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let (first, is_made) = open_or_make(&path).unwrap();
        assert!(is_made);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let (again, is_made) = open_or_make(&path).unwrap();
        assert!(!is_made);
        assert_eq!(again.id(), first.id());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left");
        let (other, _) = open_or_make(&directory.path().join("other")).unwrap();
        assert_ne!(other.id(), first.id());
    }

    #[test]
    fn a_key_is_read_as_hex_and_as_base64() {
        let hex = opened(&format!("{FORMAT}\n{}\n", "0aFf".repeat(16)), 0o600).unwrap();
        let bytes: Vec<u8> = [0x0a, 0xff].repeat(16);
        let base64 = opened(&format!("{FORMAT}\r\n{}", STANDARD.encode_to_string(bytes)), 0o400);
        assert_eq!(hex.id(), base64.unwrap().id());
    }

    #[test]
    fn a_file_that_others_can_read_or_that_is_no_key_is_refused_and_never_quoted() {
        let good = format!("{FORMAT}\n{}\n", "0a".repeat(32));
        for mode in [0o640, 0o604, 0o660, 0o602] {
            let refused = opened(&good, mode).unwrap_err();
            assert!(refused.contains(&format!("mode {mode:04o}")), "{refused}");
            assert!(!refused.contains("0a0a"));
        }
        for content in ["", "0a0a\n", "standpipe key file, version 2\n0a0a\n"] {
            assert!(opened(content, 0o600).unwrap_err().contains("does not begin with"));
        }
        for key in ["", "0a0a", "0a0g".repeat(16).as_str(), &"0a".repeat(33)] {
            let refused = opened(&format!("{FORMAT}\n{key}\n"), 0o600).unwrap_err();
            assert!(refused.contains("has no key in its second line"), "{refused}");
        }
        assert!(opened(&format!("{good}more\n"), 0o600).is_err());
        assert!(opened(&format!("{good}{}", "x".repeat(5_000)), 0o600).is_err());
        let directory = tempfile::tempdir().unwrap();
        let error = open_or_make(directory.path()).unwrap_err();
        assert!(matches!(error.fault, FileFault::NoFile));
        let error = open_or_make(&directory.path().join("none/key")).unwrap_err();
        assert!(matches!(error.fault, FileFault::Unmakeable(_)), "{error}");
    }
}

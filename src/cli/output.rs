//! Where records go that leave the spool in the clear: stdout, or a new file that only its owner can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};

/// See the module.
pub(super) enum Output {
    Stdout(BufWriter<io::Stdout>),
    File { file: BufWriter<File>, path: PathBuf },
}

const FILE_MODE: u32 = 0o600;

impl Output {
    /// Stdout, or the file of this name, which must not be there yet.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::Stdout(BufWriter::new(io::stdout()))) };
        let mut options = OpenOptions::new();
        match options.create_new(true).write(true).mode(FILE_MODE).open(path) {
            Ok(file) => Ok(Self::File { file: BufWriter::new(file), path: path.to_owned() }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Failure::new(
                Exit::Usage,
                format!("{} is there already, and is not overwritten", path.display()),
            )),
            Err(error) => {
                Err(Failure::new(Exit::Io, format!("{} can not be made: {error}", path.display())))
            }
        }
    }

    /// Ends what was written: `written` says how that went. A file that is not whole is taken away again. A
    /// reader that has gone away, as `head` does, is no failure.
    pub(super) fn end(self, written: io::Result<()>) -> Result<(), Failure> {
        match self {
            Self::Stdout(mut out) => match written.and_then(|()| out.flush()) {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                    Err(Failure::new(Exit::Io, format!("can not write to stdout: {error}")))
                }
                Ok(()) => Ok(()),
                Err(_) => {
                    // What is left in the buffer has no reader, and is not tried again.
                    let _unread = out.into_parts();
                    Ok(())
                }
            },
            Self::File { mut file, path } => {
                let ended = written.and_then(|()| file.flush());
                ended.and_then(|()| file.get_ref().sync_all()).map_err(|error| {
                    let is_gone = fs::remove_file(&path).is_ok();
                    let (path, end) =
                        (path.display(), if is_gone { "; it was taken away again" } else { "" });
                    Failure::new(Exit::Io, format!("{path} can not be written: {error}{end}"))
                })
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(out) => out.write(bytes),
            Self::File { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::File { file, .. } => file.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_its_owner_s_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut output = Output::open(Some(&path)).unwrap();
        output.write_all(b"record\n").unwrap();
        output.end(Ok(())).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"record\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let refused = Output::open(Some(&path)).err().unwrap();
        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.message.contains("not overwritten"));
        assert_eq!(fs::read(&path).unwrap(), b"record\n");
    }

    #[test]
    fn a_file_that_is_not_whole_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut output = Output::open(Some(&path)).unwrap();
        output.write_all(b"rec").unwrap();
        let failure = output.end(Err(ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(failure.exit, Exit::Io);
        assert!(!path.exists());
    }
}

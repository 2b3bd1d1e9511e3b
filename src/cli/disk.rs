//! `check --live` for the spool: whether its directory can be written to and synced. Leaves nothing behind.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// What was found of the spool's directory.
#[derive(Debug)]
pub(super) struct DiskLook {
    pub(super) is_well: bool,
    /// In a line.
    pub(super) line: String,
}

/// Writes a file where the spool is or will be, syncs it and its directory, and removes it.
///
/// A process that has the spool is not disturbed: it knows its own files.
pub(super) fn look(dir: &Path) -> DiskLook {
    let shown = dir.display();
    // One that is missing is made by the first start, below the first of its parents that is there.
    let parents =
        dir.ancestors().map(|parent| if parent == Path::new("") { Path::new(".") } else { parent });
    let Some(there) = parents.into_iter().find(|parent| parent.exists()) else {
        return DiskLook { is_well: false, line: format!("spool {shown}: there is no such place") };
    };
    let (is_well, found) = match try_disk(there) {
        Ok(took) if there == dir => {
            (true, format!("can be written to, a sync took {:.1} ms", took.as_secs_f64() * 1_000.0))
        }
        Ok(_) => (true, format!("is not there yet and can be made in {}", there.display())),
        Err(error) => (false, format!("{} can not be used: {error}", there.display())),
    };
    DiskLook { is_well, line: format!("spool {shown}: {found}") }
}

/// How long one sync took.
fn try_disk(dir: &Path) -> io::Result<Duration> {
    let path = dir.join(format!(".standpipe-check-{}", std::process::id()));
    let tried = try_file(dir, &path);
    match (tried, fs::remove_file(&path)) {
        (Ok(took), Ok(())) => Ok(took),
        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
    }
}

fn try_file(dir: &Path, path: &Path) -> io::Result<Duration> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&[0; 4_096])?;
    let begun = Instant::now();
    file.sync_data()?;
    let took = begun.elapsed();
    File::open(dir)?.sync_all()?;
    Ok(took)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_there_or_can_be_made_is_well_and_stays_as_it_was() {
        let there = tempfile::tempdir().unwrap();
        let look_there = look(there.path());
        assert!(
            look_there.is_well && look_there.line.contains("can be written to"),
            "{look_there:?}"
        );
        let missing = there.path().join("a/b");
        let look_missing = look(&missing);
        assert!(look_missing.is_well && look_missing.line.contains("is not there yet"));
        assert!(!missing.exists());
        assert_eq!(fs::read_dir(there.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_directory_is_not_well() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "precious").unwrap();
        let look_file = look(&file);
        assert!(!look_file.is_well && look_file.line.contains("can not be used"), "{look_file:?}");
        assert_eq!(fs::read(&file).unwrap(), b"precious");
    }
}

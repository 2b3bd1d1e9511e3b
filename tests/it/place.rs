//! A file system of a test's own, in a mount namespace that nobody else sees: small, full, read-only, broken.
//!
//! It needs root. Where that is not to be had there is no place, and the test that wanted one says so on
//! stderr and ends; `tests/run` says it before. A place ends with the process that holds its namespace.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// See the module.
pub struct Place {
    directory: TempDir,
    holder: Child,
}

impl Place {
    /// A file system in memory, of `bytes`.
    pub fn in_memory(bytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mount = format!("mount -t tmpfs -o size={bytes} none {}", directory.path().display());
        Self::new(directory, &mount)
    }

    /// An ext4 of `bytes`, in a file.
    pub fn on_disk(bytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().display();
        let mount = format!(
            "truncate -s {bytes} {dir}/image && mkfs.ext4 -q -m 0 {dir}/image && mkdir {dir}/mounted && \
             mount -o loop {dir}/image {dir}/mounted"
        );
        Self::new(directory, &mount)
    }

    /// Runs `mount` in a new namespace, which is held until this is dropped.
    fn new(directory: TempDir, mount: &str) -> Option<Self> {
        let mut holder = Command::new("unshare")
            .args(["--mount", "sh", "-c", &format!("{mount} && echo held && read _end")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let place = Self { directory, holder };
        if said == "held\n" {
            return Some(place);
        }
        eprintln!("SKIPPED: nothing can be mounted here; that needs root");
        None
    }

    /// Where it is for who is inside.
    pub fn path(&self) -> PathBuf {
        let mounted = self.directory.path().join("mounted");
        if mounted.is_dir() { mounted } else { self.directory.path().to_owned() }
    }

    /// Where the test, which is outside, sees `inside`, a path that begins with that of the place.
    pub fn seen(&self, inside: &Path) -> PathBuf {
        let root = format!("/proc/{}/root", self.holder.id());
        Path::new(&root).join(inside.strip_prefix("/").unwrap())
    }

    /// The words in front of a command that make it run inside.
    pub fn words(&self) -> [String; 2] {
        ["nsenter".to_owned(), format!("--mount=/proc/{}/ns/mnt", self.holder.id())]
    }

    /// Runs a line of the shell inside.
    #[track_caller]
    pub fn run(&self, line: &str) {
        let [program, argument] = self.words();
        let run = Command::new(program).args([&argument, "sh", "-c", line]).status().unwrap();
        assert!(run.success(), "{line}");
    }

    /// Fills it to the last byte with something that is nobody's business. Gives the file.
    pub fn fill(&self) -> PathBuf {
        let file = self.seen(&self.path().join("somebody-else"));
        self.run(&format!(
            "cat /dev/zero >{}/somebody-else 2>/dev/null || true",
            self.path().display()
        ));
        file
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Its end of the pipe: the holder reads no more and ends, and the namespace with the last in it.
        drop(self.holder.stdin.take());
        drop(self.holder.wait());
    }
}

//! Child processes that end with their owner, and what they say line by line.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::common::fault::{During as _, Fault};

/// How long a child may take to say what it is waited for.
const LINE_TIMEOUT: Duration = Duration::from_secs(20);

/// How often it is looked whether a child has ended.
const END_INTERVAL: Duration = Duration::from_millis(5);

/// The most lines that wait to be read. A child that says more is not listened to meanwhile.
const LINES_MAX: usize = 10_000;

/// A process that is killed when this goes, however it goes.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts it.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self, Fault> {
        let doing = format!("starting {}", command.get_program().to_string_lossy());
        Ok(Self { child: command.spawn().during(&doing)? })
    }

    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(&mut self) -> Result<(), Fault> {
        let doing = "ending a child";
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).during(doing)?;
        while self.child.try_wait().during(doing)?.is_none() {
            sleep(END_INTERVAL).await;
        }
        Ok(())
    }

    /// Its standard error, line by line.
    pub(crate) fn stderr(&mut self) -> Result<Lines, Fault> {
        self.child.stderr.take().ok_or_else(|| Fault::new("a child has no stderr")).map(lines)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _is_killed = self.child.kill().is_ok();
        let _is_reaped = self.child.wait().is_ok();
    }
}

/// What a child says.
pub(crate) type Lines = mpsc::Receiver<String>;

fn lines(source: impl Read + Send + 'static) -> Lines {
    let (lines_in, lines_out) = mpsc::channel(LINES_MAX);
    // It ends when the child has, since the child's end of the pipe goes with it.
    let _detached = thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            // What nobody wants to hear any more is read all the same, so that the child never waits.
            let _is_heard = lines_in.try_send(line).is_ok();
        }
    });
    lines_out
}

/// The next line, or a fault when the child says nothing or has ended.
pub(crate) async fn next_line(lines: &mut Lines) -> Result<String, Fault> {
    let line = timeout(LINE_TIMEOUT, lines.recv()).await.during("waiting for a child")?;
    line.ok_or_else(|| Fault::new("a child has ended; see above for what it said"))
}

/// This program in another role.
#[derive(Debug)]
pub(crate) struct Actor {
    running: Running,
    stdin: ChildStdin,
    stdout: Lines,
}

impl Actor {
    /// Starts a role that serves, and says where.
    pub(crate) async fn server(role: &str, args: &[String]) -> Result<(Self, SocketAddr), Fault> {
        let (actor, addr) = Self::start(role, args).await?;
        Ok((actor, addr.parse().during("the address of a child")?))
    }

    /// Starts a role, and waits for the line that it says when it is ready.
    pub(crate) async fn start(role: &str, args: &[String]) -> Result<(Self, String), Fault> {
        let program = std::env::current_exe().during("finding the benchmark itself")?;
        let mut command = Command::new(program);
        // Nothing of the environment is to change how the SDK behaves.
        command.env_clear().arg("--role").arg(role).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = Running::spawn(&mut command)?;
        let (stdin, stdout) = (running.child.stdin.take(), running.child.stdout.take());
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(Fault::new("a child has no pipes"));
        };
        let mut actor = Self { running, stdin, stdout: lines(stdout) };
        let said = next_line(&mut actor.stdout).await?;
        Ok((actor, said))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Tells it something, and waits for what it answers.
    pub(crate) async fn ask(&mut self, question: &str) -> Result<String, Fault> {
        writeln!(self.stdin, "{question}").during("telling a child what to do")?;
        next_line(&mut self.stdout).await
    }
}

//! The command line: what is typed, to what is done, to an exit code.
//!
//! It prints and it ends; the work is done by the stages. A failure is one line on stderr that says what
//! is wrong, where, and what to do; only a configuration's faults are one line each before it.

mod args;
mod check;
mod dead_letter;
mod disk;
mod emulator;
mod encryption;
mod exit;
mod export;
mod http;
mod letter_list;
mod output;
mod probe;
mod progress;
mod replay;
mod serve;
mod spool;
mod spool_source;
mod table;
#[cfg(test)]
mod tests;
mod verify;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use crate::config::{self, Loaded, Preset, Sources};
use crate::telemetry;

pub use exit::{Exit, Failure};

/// Does what `arguments` say, the first of which is the name of the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let exit = match args::Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(cli.command).map_or_else(|failure| told(&failure), done),
        // Help and version are what somebody asked for. All else is a mistake, which clap explains.
        Err(error) => {
            let _printed = error.print().is_ok();
            if error.use_stderr() { Exit::Usage } else { Exit::Ok }
        }
    };
    exit.into()
}

fn done((): ()) -> Exit {
    telemetry::flush();
    Exit::Ok
}

fn told(failure: &Failure) -> Exit {
    // With stderr closed or unread there is nobody to tell, and the exit code says it all the same.
    telemetry::say_last(&format!("{failure}\n"));
    failure.exit
}

fn dispatch(command: args::Command) -> Result<(), Failure> {
    match command {
        args::Command::Serve(serve) => serve::run(serve),
        args::Command::Check(file) => check::run(&file),
        args::Command::Config(args::Config::Show(file)) => {
            print(&load(file.path.as_deref(), Preset::Service)?.show())
        }
        args::Command::Config(args::Config::Reference) => print(&config::reference()),
        args::Command::Probe(probe) => probe::run(&probe),
        args::Command::Spool(spool) => spool::run(&spool),
        args::Command::DeadLetter(letter) => dead_letter::run(&letter),
        args::Command::Encryption(encryption) => encryption::run(&encryption),
        args::Command::Emulator(emulator) => emulator::run(emulator),
    }
}

/// The configuration of the process.
fn load(path: Option<&Path>, preset: Preset) -> Result<Loaded, Failure> {
    Ok(config::load(&Sources::of_process(path), preset)?)
}

/// Prints `text` on stdout. A reader that has gone away, as `head` does, is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Io, format!("can not write to stdout: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

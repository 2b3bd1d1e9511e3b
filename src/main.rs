//! The binary: the command line, and the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    standpipe::cli::run(std::env::args_os())
}

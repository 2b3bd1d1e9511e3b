//! `dead-letter`: the records that the service refuses, by what it said of them.

use super::exit::Failure;
use super::{args, export, letter_list, replay};

pub(super) fn run(letter: &args::DeadLetter) -> Result<(), Failure> {
    match letter {
        args::DeadLetter::List(command) => letter_list::run(command),
        args::DeadLetter::Export(command) => export::letters(command),
        args::DeadLetter::Replay(command) => replay::run(command),
    }
}

//! The results as a table, which can be pasted where people read it.

use std::fmt::{self, Display, Formatter};

use crate::common::table::show_machine;
use crate::run::{Cost, Results};

const MB: f64 = 1e6;

/// Shows [`Results`].
#[derive(Debug)]
pub(crate) struct Table<'a>(pub(crate) &'a Results);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let args = &self.0.args;
        let how = match args.pace {
            Some(rate) => format!("one record a request, {rate} requests a second"),
            None => "a hundred records a request, as many as can be".to_owned(),
        };
        writeln!(
            f,
            "A million records cost, medians of {} rounds of {} s; {} connections, {how}.",
            args.rounds, args.seconds, args.connections
        )?;
        show_machine(f, &self.0.machine)?;
        writeln!(f)?;
        writeln!(f, "| record | `aggregate` | requests | records | billed, MB | CPU, s |")?;
        writeln!(f, "|---|---|---:|---:|---:|---:|")?;
        for case in &self.0.cases {
            let mut row = |how: &str, cost: &Cost| {
                writeln!(
                    f,
                    "| {} B | {how} | {:.0} | {:.0} | {:.0} | {:.2} |",
                    case.record_bytes,
                    cost.requests,
                    cost.records,
                    cost.billed / MB,
                    cost.cpu_s
                )
            };
            row("off", &case.alone)?;
            row("on", &case.joined)?;
        }
        Ok(())
    }
}

//! What the benchmarks have in common: processes, load, measurement and words. It knows no case and no target.
//!
//! | file | what it is |
//! |---|---|
//! | `attended` | a run that ends when it is told to |
//! | `child`, `roles` | this program in other roles, and those that both benchmarks have |
//! | `pipe`, `scrape` | Standpipe itself, and what it says of itself |
//! | `records`, `load`, `http` | what is sent, and how |
//! | `measure`, `process`, `machine` | one measurement, and what the kernel says of it |
//! | `ledger` | whether all arrived that was accepted |
//! | `stats`, `medians`, `table`, `json` | from samples to figures |

pub(crate) mod attended;
pub(crate) mod child;
pub(crate) mod fault;
pub(crate) mod http;
pub(crate) mod json;
pub(crate) mod ledger;
pub(crate) mod load;
pub(crate) mod machine;
pub(crate) mod measure;
pub(crate) mod medians;
pub(crate) mod pipe;
pub(crate) mod process;
pub(crate) mod records;
pub(crate) mod roles;
pub(crate) mod scrape;
pub(crate) mod stats;
pub(crate) mod table;

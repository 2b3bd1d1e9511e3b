//! What people read: columns that stand one below the other, and quantities with their units. Pure.

use std::fmt::Write as _;

/// A table with a line of names above it.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(names: &[&str]) -> Self {
        Self { rows: vec![names.iter().map(|name| (*name).to_owned()).collect()] }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| plain(&cell)).collect());
    }

    /// As text; without rows, nothing.
    pub(super) fn text(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        if self.rows.len() > 1 {
            for row in &self.rows {
                let mut line = String::new();
                for (cell, width) in row.iter().zip(&widths) {
                    write!(line, "{cell:width$}  ").expect("a string takes all that is written");
                }
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        text
    }
}

/// `text` without what would move a terminal's cursor, on one line: what a service or a file says is a
/// stranger's.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A number of bytes.
#[expect(clippy::cast_precision_loss, reason = "two digits of it are shown")]
pub(super) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// How long ago something was.
pub(super) fn age(unix_ms: u64, now_unix_ms: u64) -> String {
    let seconds = now_unix_ms.saturating_sub(unix_ms) / 1_000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A time, in UTC.
pub(super) fn time(unix_ms: u64) -> String {
    use aws_smithy_types::date_time::{DateTime, Format};
    let time = i64::try_from(unix_ms).ok().map(DateTime::from_millis);
    time.and_then(|time| time.fmt(Format::DateTime).ok()).unwrap_or_else(|| "-".to_owned())
}

/// `1 record`, `2 records`.
pub(super) fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// The time now, in milliseconds since 1970.
pub(super) fn now_unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.ok().and_then(|now| u64::try_from(now.as_millis()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_one_below_the_other() {
        let mut table = Table::new(&["NAME", "N"]);
        assert_eq!(table.text(), "");
        table.row(["long name".to_owned(), "1".to_owned()]);
        table.row(["x".to_owned(), "22".to_owned()]);
        assert_eq!(table.text(), "NAME       N\nlong name  1\nx          22\n");
    }

    #[test]
    fn a_stranger_s_text_moves_no_cursor() {
        assert_eq!(plain("a\u{1b}[2J\nb"), "a\u{fffd}[2J\u{fffd}b");
    }

    #[test]
    fn quantities_have_their_units() {
        assert_eq!([0, 1023, 1536, 5 << 30].map(bytes), ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
        let ages = [0, 59_999, 60_000, 3_660_000, 90_000_000].map(|ago| age(0, ago));
        assert_eq!(ages, ["0 s", "59 s", "1 min", "1 h 1 min", "1 d 1 h"]);
        assert_eq!(age(5, 0), "0 s", "clocks differ");
        assert_eq!(time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!([count(1, "record"), count(0, "record")], ["1 record", "0 records"]);
    }
}

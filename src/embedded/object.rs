//! The names of delivered objects: pure, like the names that the service gives.

use std::path::{Path, PathBuf};

/// A moment as a calendar shows it, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Calendar {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Calendar {
    /// The civil date of a Unix time. The years since March 0000 go in eras of 400, each of
    /// 146,097 days, so that leap days fall on the ends of the parts.
    fn of_unix_s(unix_s: u64) -> Self {
        let days = unix_s / 86_400 + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let second_of_day = unix_s % 86_400;
        Self {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
            hour: second_of_day / 3_600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
        }
    }
}

/// `<stream>-<version>-YYYY-MM-DD-HH-MM-SS-<id>`.
pub(super) fn object_name(stream: &str, version: u64, unix_s: u64, id: &str) -> String {
    let Calendar { year, month, day, hour, minute, second } = Calendar::of_unix_s(unix_s);
    format!(
        "{stream}-{version}-{year:04}-{month:02}-{day:02}-{hour:02}-{minute:02}-{second:02}-{id}"
    )
}

/// The place of an object below the directory of delivered ones, by its name alone: an object that an
/// earlier life left open finds its way home.
///
/// `None` when the name is not that of an object.
pub(super) fn object_path(name: &str) -> Option<PathBuf> {
    let id_starts = name.len().checked_sub(UUID_CHARS)?;
    let (rest, id) = name.split_at_checked(id_starts)?;
    let rest = rest.strip_suffix('-')?;
    let (rest, moment) = rest.split_at_checked(rest.len().checked_sub(MOMENT_CHARS)?)?;
    let (stream, version) = rest.strip_suffix('-')?.rsplit_once('-')?;
    let mut parts = moment.split('-');
    let (year, month, day, hour) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let numbers = moment.split('-').chain([version]);
    let right = !stream.is_empty()
        && numbers.into_iter().all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    right.then(|| {
        Path::new(&stream_dir(stream)).join(year).join(month).join(day).join(hour).join(name)
    })
}

/// The directory of a stream's objects. A name that begins with a dot is legal at the service, but
/// `..` must not lead out of the directory: `%` is not legal there, so that nothing clashes.
pub(super) fn stream_dir(stream: &str) -> String {
    match stream.strip_prefix('.') {
        Some(rest) => format!("%2E{rest}"),
        None => stream.to_owned(),
    }
}

const UUID_CHARS: usize = "00000000-0000-4000-8000-000000000000".len();
const MOMENT_CHARS: usize = "YYYY-MM-DD-HH-MM-SS".len();

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00000001-0000-4000-8000-000000000000";

    #[test]
    fn a_name_carries_the_moment_in_utc() {
        for (unix_s, moment) in [
            (0, "1970-01-01-00-00-00"),
            (951_827_696, "2000-02-29-12-34-56"),
            (1_709_251_199, "2024-02-29-23-59-59"),
            (1_735_689_599, "2024-12-31-23-59-59"),
            (4_107_542_400, "2100-03-01-00-00-00"),
        ] {
            assert_eq!(object_name("demo", 1, unix_s, ID), format!("demo-1-{moment}-{ID}"));
        }
    }

    #[test]
    fn a_name_alone_tells_the_place() {
        let name = object_name("my-stream.2", 1, 951_827_696, ID);
        let place = Path::new("my-stream.2/2000/02/29/12").join(&name);
        assert_eq!(object_path(&name), Some(place));
        for no_object in ["", "README", ID, "-1-2000-02-29-12-34-56-x", "streams.json"] {
            assert_eq!(object_path(no_object), None, "{no_object}");
        }
    }

    #[test]
    fn a_stream_of_dots_stays_below_the_directory() {
        assert_eq!(stream_dir(".."), "%2E.");
        assert_eq!(stream_dir("."), "%2E");
        assert_eq!(stream_dir("a..b"), "a..b");
    }
}

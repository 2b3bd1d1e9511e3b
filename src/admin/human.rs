//! Values as a person reads them: the unit is taken from the end of the name.

use serde_json::Value;

/// `records_in` as a headline: `Records in`. A unit at the end is left out, since the value shows it.
pub(super) fn headline(name: &str) -> String {
    let stem = UNITS.iter().find_map(|unit| name.strip_suffix(unit)).unwrap_or(name);
    let words = stem.replace('_', " ");
    let mut chars = words.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// The value of `name` for a person.
pub(super) fn human(name: &str, value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => quantity(name, number),
        Value::Array(values) => {
            let shown = values.iter().take(PARTS_MAX).map(|value| human(name, value));
            shown.collect::<Vec<_>>().join(", ")
        }
        Value::Object(values) => {
            let shown = values.iter().take(PARTS_MAX).map(|(name, value)| match value {
                // One level is for reading, the rest is for programs.
                Value::Array(_) | Value::Object(_) => format!("{name}: {value}"),
                value => format!("{name}: {}", human(name, value)),
            });
            shown.collect::<Vec<_>>().join(", ")
        }
    }
}

fn quantity(name: &str, number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(bytes) if name.ends_with(BYTES) => human_bytes(bytes),
        Some(seconds) if name.ends_with(SECONDS) => human_seconds(seconds),
        Some(millis) if name.ends_with(MILLIS) => human_seconds(millis / 1_000.0),
        _ => number.as_u64().map_or_else(|| number.to_string(), grouped),
    }
}

fn human_bytes(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{value} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

fn human_seconds(seconds: f64) -> String {
    if seconds < 0.001 {
        return if seconds <= 0.0 { "0 s".to_owned() } else { "under 1 ms".to_owned() };
    }
    if seconds < 1.0 {
        return format!("{:.0} ms", seconds * 1_000.0);
    }
    if seconds < 60.0 {
        let text = format!("{seconds:.1}");
        return format!("{} s", text.strip_suffix(".0").unwrap_or(&text));
    }
    let (size, large, small) = if seconds < 3_600.0 {
        (60.0, "min", "s")
    } else if seconds < 86_400.0 {
        (3_600.0, "h", "min")
    } else {
        (86_400.0, "d", "h")
    };
    let per_small = if small == "s" {
        1.0
    } else if small == "min" {
        60.0
    } else {
        3_600.0
    };
    let (whole, rest) = ((seconds / size).floor(), (seconds % size / per_small).floor());
    format!("{whole} {large} {rest} {small}")
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const BYTES: &str = "_bytes";
const SECONDS: &str = "_seconds";
const MILLIS: &str = "_ms";
const UNITS: [&str; 3] = [BYTES, SECONDS, MILLIS];

/// The most parts of one cell.
const PARTS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_is_shown_in_the_unit_of_its_name() {
        for (name, value, shown) in [
            ("records_in", json!(999), "999"),
            ("records_in", json!(1_000), "1,000"),
            ("records_in", json!(u64::MAX), "18,446,744,073,709,551,615"),
            ("held_bytes", json!(512), "512 B"),
            ("held_bytes", json!(5_242_880), "5.0 MiB"),
            ("oldest_age_seconds", json!(0), "0 s"),
            ("oldest_age_seconds", json!(0.0125), "12 ms"),
            ("oldest_age_seconds", json!(2.0), "2 s"),
            ("oldest_age_seconds", json!(59.94), "59.9 s"),
            ("oldest_age_seconds", json!(3_599), "59 min 59 s"),
            ("uptime_seconds", json!(90_000), "1 d 1 h"),
            ("linger_ms", json!(1_500), "1.5 s"),
            ("ratio", json!(0.5), "0.5"),
            ("delta", json!(-3), "-3"),
            ("ready", json!(true), "yes"),
            ("error", json!(null), "-"),
            ("errors", json!({ "Throttled": 1_200, "x": [1] }), "Throttled: 1,200, x: [1]"),
            ("peers", json!(["a", "b"]), "a, b"),
        ] {
            assert_eq!(human(name, &value), shown, "{name} {value}");
        }
    }

    #[test]
    fn a_headline_is_words_without_the_unit() {
        assert_eq!(headline("oldest_age_seconds"), "Oldest age");
        assert_eq!(headline("name"), "Name");
        assert_eq!(headline(""), "");
    }
}

//! The status page: the same values as `/v1/status`, for a person. Made here, without script or assets.
//!
//! It knows no stage: whatever object it is given, it shows as lists and tables. Everything that is not a
//! constant of this file goes through [`Html::text`], which escapes it.

use serde_json::{Map, Value};

use super::human::{headline, human};
use crate::lifecycle::Phase;

/// Nothing is loaded from anywhere, nothing runs, nothing is sent; only [`STYLE`] is applied, by its digest.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; img-src data:; \
    style-src 'sha256-kKmm1qlR/xGxNfriDsHk/TWoF5L194qV8vrUDfeHzjo='; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page for a process in `phase` that is not ready because of `reasons`.
pub(super) fn render(phase: Phase, reasons: &[(String, String)], status: &Value) -> String {
    let mut html = Html(String::with_capacity(8 * 1024));
    html.raw(HEAD_BEFORE_STYLE).raw(STYLE).raw(HEAD_AFTER_STYLE);
    html.raw("<header><h1>Standpipe</h1><span class=\"badge ");
    html.raw(if reasons.is_empty() { "good\">" } else { "bad\">" });
    html.text(phase.as_str())
        .raw("</span><span class=version>")
        .text(VERSION)
        .raw("</span></header>");
    if !reasons.is_empty() {
        html.raw("<section class=alert><h2>Not ready</h2><dl>");
        for (what, why) in reasons {
            html.raw("<dt>").text(what).raw("</dt><dd>").text(why).raw("</dd>");
        }
        html.raw("</dl></section>");
    }
    match status {
        Value::Object(status) => top(&mut html, status),
        other => drop(html.raw("<p>").text(&other.to_string()).raw("</p>")),
    }
    html.raw(FOOT);
    html.0
}

/// First what has one value, then the streams, then everything else that has parts.
fn top(html: &mut Html, status: &Map<String, Value>) {
    section(html, "", status, 0);
    let streams = status.get_key_value("streams");
    let others = status.iter().filter(|(name, _)| *name != "streams");
    for (name, value) in streams.into_iter().chain(others) {
        part(html, name, value, 0);
    }
}

/// The plain values of `values` as a list.
fn section(html: &mut Html, name: &str, values: &Map<String, Value>, depth: usize) {
    if !name.is_empty() {
        html.raw(if depth == 0 { "<h2>" } else { "<h3>" }).text(&headline(name));
        html.raw(if depth == 0 { "</h2>" } else { "</h3>" });
    }
    let plain = || values.iter().filter(|(_, value)| is_plain(value));
    if plain().next().is_none() {
        return;
    }
    html.raw("<dl>");
    for (name, value) in plain().take(ROWS_MAX) {
        html.raw("<dt>").text(&headline(name)).raw("</dt><dd>").text(&human(name, value));
        html.raw("</dd>");
    }
    html.raw("</dl>");
}

/// One value that has parts, with its headline.
fn part(html: &mut Html, name: &str, value: &Value, depth: usize) {
    match value {
        value if is_plain(value) => {}
        Value::Object(values) if values.is_empty() => {}
        Value::Array(rows) => {
            let rows: Vec<(Option<&str>, &Value)> = rows.iter().map(|row| (None, row)).collect();
            html.raw("<h2>").text(&headline(name)).raw("</h2>");
            table(html, &rows);
        }
        // An object whose values are all objects is a table that is keyed by its names.
        Value::Object(rows) if rows.values().all(Value::is_object) && !rows.is_empty() => {
            let rows: Vec<(Option<&str>, &Value)> =
                rows.iter().map(|(name, row)| (Some(name.as_str()), row)).collect();
            html.raw("<h2>").text(&headline(name)).raw("</h2>");
            table(html, &rows);
        }
        Value::Object(values) => {
            section(html, name, values, depth);
            if depth < DEPTH_MAX {
                for (name, value) in values {
                    part(html, name, value, depth + 1);
                }
            }
        }
        _ => {}
    }
}

fn table(html: &mut Html, rows: &[(Option<&str>, &Value)]) {
    if rows.is_empty() {
        html.raw("<p class=none>none</p>");
        return;
    }
    let columns = columns(rows);
    let keyed = rows.iter().any(|(key, _)| key.is_some());
    html.raw("<div class=wide><table><thead><tr>");
    if keyed {
        html.raw("<th>Name</th>");
    }
    for column in &columns {
        html.raw("<th>").text(&headline(column)).raw("</th>");
    }
    html.raw("</tr></thead><tbody>");
    for (key, row) in rows.iter().take(ROWS_MAX) {
        html.raw("<tr>");
        if let Some(key) = key {
            html.raw("<td>").text(key).raw("</td>");
        }
        for column in &columns {
            let value = match row {
                Value::Object(row) => row.get(*column).unwrap_or(&Value::Null),
                value => value,
            };
            html.raw(if value.is_number() { "<td class=number>" } else { "<td>" });
            html.text(&human(column, value)).raw("</td>");
        }
        html.raw("</tr>");
    }
    html.raw("</tbody></table></div>");
    if rows.len() > ROWS_MAX {
        let more = rows.len() - ROWS_MAX;
        html.raw("<p class=none>").text(&format!("and {more} more: see /v1/status")).raw("</p>");
    }
}

/// The columns of a table: those that a person looks for first, then the others by name.
fn columns<'a>(rows: &[(Option<&str>, &'a Value)]) -> Vec<&'a str> {
    let mut columns: Vec<&str> = Vec::new();
    for (_, row) in rows.iter().take(ROWS_MAX) {
        match row {
            Value::Object(row) => {
                for name in row.keys() {
                    if !columns.contains(&name.as_str()) {
                        columns.push(name);
                    }
                }
            }
            _ if columns.is_empty() => columns.push("value"),
            _ => {}
        }
        columns.truncate(COLUMNS_MAX);
    }
    let rank = |name: &str| FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len());
    columns.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)));
    columns
}

const fn is_plain(value: &Value) -> bool {
    !matches!(value, Value::Array(_) | Value::Object(_))
}

/// The page as it grows.
struct Html(String);

impl Html {
    /// A constant of this file.
    fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Anything else, made harmless and not endless.
    fn text(&mut self, text: &str) -> &mut Self {
        for (n, c) in text.chars().enumerate() {
            if n == TEXT_CHARS_MAX {
                self.0.push_str(" ...");
                break;
            }
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
        self
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The most rows of a table or a list.
const ROWS_MAX: usize = 1_000;

/// The most columns of a table.
const COLUMNS_MAX: usize = 32;

/// How deep objects in objects are followed.
const DEPTH_MAX: usize = 3;

/// The most characters of one value.
const TEXT_CHARS_MAX: usize = 300;

/// The columns that come first, in their order.
const FIRST: &[&str] = &[
    "name",
    "stream",
    "state",
    "phase",
    "reason",
    "encryption",
    "gate",
    "gate_reason",
    "ack",
    "records_in_memory",
    "spool",
    "oldest_age_seconds",
    "last_success_age_seconds",
    "records_waiting",
    "records_in_flight",
    "records_set_aside",
    "memory_bytes",
];

const HEAD_BEFORE_STYLE: &str = "<!doctype html><html lang=en><head><meta charset=utf-8>\
    <meta name=viewport content=\"width=device-width, initial-scale=1\">\
    <meta name=color-scheme content=\"light dark\"><meta http-equiv=refresh content=5>\
    <link rel=icon href=\"data:,\"><title>Standpipe</title><style>";

const HEAD_AFTER_STYLE: &str = "</style></head><body>";

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--line:#d9dee5;--page:#f6f7f9;--box:#fff;\
--good:#1d7a46;--bad:#b3261e}\
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ee;--soft:#98a3b3;--line:#303947;--page:#12161c;\
--box:#1a2029;--good:#4cc38a;--bad:#ff8a80}}\
*{box-sizing:border-box}\
body{margin:0 auto;max-width:75rem;padding:1.5rem;background:var(--page);color:var(--ink);\
font:15px/1.5 system-ui,sans-serif}\
header{display:flex;align-items:center;gap:.75rem;flex-wrap:wrap}\
h1{font-size:1.5rem;margin:0}h2{font-size:1.05rem;margin:1.75rem 0 .5rem}\
h3{font-size:.95rem;margin:1.25rem 0 .5rem;color:var(--soft)}\
.badge{border:1px solid;border-radius:1rem;padding:.05rem .7rem;font-weight:600}\
.good{color:var(--good)}.bad{color:var(--bad)}.version,.none,footer{color:var(--soft)}\
dl{display:grid;grid-template-columns:minmax(9rem,max-content) 1fr;gap:.2rem 1.5rem;margin:.5rem 0}\
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}\
.alert{border-left:4px solid var(--bad);padding:.1rem 1rem;margin-top:1rem;background:var(--box)}\
.alert h2{margin-top:.5rem}\
.wide{overflow-x:auto;border:1px solid var(--line);border-radius:.5rem;background:var(--box)}\
table{border-collapse:collapse;width:100%}\
th,td{padding:.4rem .8rem;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}\
tr:last-child td{border-bottom:0}th{color:var(--soft);font-weight:600;white-space:nowrap}\
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\
footer{margin-top:2rem}a{color:inherit}";

const FOOT: &str = "<footer><a href=\"/v1/status\">/v1/status</a> &middot; \
    <a href=\"/metrics\">/metrics</a> &middot; <a href=\"/readyz?verbose\">/readyz</a> &middot; \
    <a href=\"/livez\">/livez</a> &middot; looks again every 5 s</footer></body></html>\n";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(status: &Value) -> String {
        render(Phase::Serving, &[], status)
    }

    #[test]
    fn the_policy_names_the_digest_of_the_style() {
        let digest = ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes());
        let digest = base64_simd::STANDARD.encode_to_string(digest.as_ref());
        assert!(CONTENT_SECURITY_POLICY.contains(&format!("'sha256-{digest}'")), "it is {digest}");
        assert!(page(&json!({})).contains(&format!("<style>{STYLE}</style>")));
    }

    #[test]
    fn hostile_strings_become_text_wherever_they_are() {
        let evil = "</td><script>alert('x')</script>\"&";
        let status = json!({
            evil: evil,
            "streams": [{ "name": evil, evil: 1, "nested": { evil: evil }, "list": [evil] }],
            "by_name": { evil: { "state": evil } },
            "list": [evil],
            "object": { evil: evil, "deeper": { evil: evil, "x": 1 } },
        });
        let reasons = [(evil.to_owned(), evil.to_owned())];
        let html = render(Phase::Draining, &reasons, &status);
        assert!(!html.contains("<script"), "{html}");
        assert!(!html.contains("alert('"), "{html}");
        assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;"));
    }

    #[test]
    fn streams_are_a_table_with_what_matters_first() {
        let html = page(&json!({
            "uptime_seconds": 61,
            "streams": [
                { "batches": 2, "name": "orders", "records_in_memory": 1_234_567, "state": "held" },
                { "name": "clicks", "records_in_memory": 1, "extra": true },
            ],
        }));
        assert!(html.contains("<dt>Uptime</dt><dd>1 min 1 s</dd>"), "{html}");
        let heads =
            "<th>Name</th><th>State</th><th>Records in memory</th><th>Batches</th><th>Extra</th>";
        assert!(html.contains(heads), "{html}");
        assert!(html.contains("<td>orders</td><td>held</td><td class=number>1,234,567</td>"));
        assert!(html.contains("<td>clicks</td><td>-</td>"), "{html}");
    }

    #[test]
    fn an_object_of_objects_is_a_table_too() {
        let html = page(&json!({ "streams": { "orders": { "state": "open" } } }));
        assert!(html.contains("<th>Name</th><th>State</th>"), "{html}");
        assert!(html.contains("<td>orders</td><td>open</td>"), "{html}");
    }

    #[test]
    fn a_page_of_anything_is_bounded() {
        let rows: Vec<Value> =
            (0..3_000).map(|n| json!({ "n": n, "s": "x".repeat(900) })).collect();
        let html = page(&json!({ "rows": rows }));
        assert!(html.contains("and 2000 more"));
        assert!(html.len() < 600_000, "{}", html.len());
        assert!(page(&json!([1, 2])).contains("[1,2]"));
    }
}

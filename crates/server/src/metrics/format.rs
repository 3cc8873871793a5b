//! The two formats of a scrape: `OpenMetrics`, and Prometheus' older text format (0.0.4) for those who ask for it.

use std::fmt::Write as _;

use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderName};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A scrape in the format that is asked for; `OpenMetrics` where nobody asks for one.
pub(crate) fn answer(
    headers: &HeaderMap,
    openmetrics: String,
) -> ([(HeaderName, &'static str); 2], String) {
    let wants = |what: &str| {
        let mut accepted = headers.get_all(ACCEPT).iter();
        accepted.any(|value| value.to_str().is_ok_and(|value| value.contains(what)))
    };
    let (media_type, text) = if wants("text/plain") && !wants("application/openmetrics-text") {
        (PLAIN, plain(&openmetrics))
    } else {
        (OPENMETRICS, openmetrics)
    };
    ([(CONTENT_TYPE, media_type), (VARY, "accept")], text)
}

/// The same in the older format: there a counter's name ends in `_total`, an info is a gauge, and nothing is said of
/// units and of the end.
fn plain(openmetrics: &str) -> String {
    let mut plain = String::with_capacity(openmetrics.len());
    let mut help = "";
    for line in openmetrics.lines() {
        let words = |rest: &'static str| line.strip_prefix(rest)?.split_once(' ');
        if let Some((_, text)) = words("# HELP ") {
            help = text;
        } else if let Some((name, kind)) = words("# TYPE ") {
            let (ending, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            // Writing to a string never fails.
            let _ = writeln!(plain, "# HELP {name}{ending} {help}");
            let _ = writeln!(plain, "# TYPE {name}{ending} {kind}");
        } else if !line.starts_with('#') {
            plain.push_str(line);
            plain.push('\n');
        }
    }
    plain
}

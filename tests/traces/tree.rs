//! Checks of whole traces.

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::receiver::Seen;

/// The most by which the clocks of two processes on one machine seem to differ: each reads the wall clock now and then and
/// counts on by itself. A busy machine may pause a process between the two.
const SKEW: Duration = Duration::from_millis(500);

/// Checks that a trace is complete: one root, whose parent is `above` (empty for a trace of its own); the parent of every
/// other span is in it; every span lies within its parent.
pub fn check(spans: &[Seen], above: &[u8]) {
    let tree = || spans.iter().map(line).collect::<Vec<_>>().join("\n");
    let roots = spans.iter().filter(|seen| seen.span.parent_span_id == above).count();
    assert_eq!(roots, 1, "roots of\n{}", tree());
    for seen in spans.iter().filter(|seen| seen.span.parent_span_id != above) {
        let parent = spans.iter().find(|other| other.span.span_id == seen.span.parent_span_id);
        let parent = parent.unwrap_or_else(|| panic!("{} is an orphan in\n{}", seen.span.name, tree()));
        let skew = if parent.node == seen.node { Duration::ZERO } else { SKEW }.as_nanos() as u64;
        let (inner, outer) = (&seen.span, &parent.span);
        assert!(
            inner.start_time_unix_nano + skew >= outer.start_time_unix_nano
                && inner.end_time_unix_nano <= outer.end_time_unix_nano + skew
                && inner.start_time_unix_nano <= inner.end_time_unix_nano,
            "{} is not within {} in\n{}",
            inner.name,
            outer.name,
            tree()
        );
    }
    spans.iter().for_each(check_private);
}

/// Checks that a span contains neither an address nor a whole info hash.
pub fn check_private(seen: &Seen) {
    let text = format!("{:?} {:?}", seen.resource, seen.span);
    for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != ':') {
        let word = word.trim_matches(['.', ':']);
        assert!(word.parse::<std::net::IpAddr>().is_err(), "{word} is an address in {text}");
        let bare = word.rsplit_once(':').map_or(word, |(address, _)| address);
        assert!(bare.parse::<std::net::IpAddr>().is_err(), "{word} is an address in {text}");
        let is_hash = word.len() >= 40 && word.bytes().all(|c| c.is_ascii_hexdigit());
        assert!(!is_hash, "{word} is an info hash in {text}");
    }
}

/// The span with this name, and kind if there are several.
pub fn find<'a>(spans: &'a [Seen], name: &str, kind: SpanKind) -> &'a Seen {
    let found = spans.iter().find(|seen| seen.span.name == name && seen.span.kind == kind as i32);
    found.unwrap_or_else(|| panic!("no {name} among\n{}", spans.iter().map(line).collect::<Vec<_>>().join("\n")))
}

/// The names of all spans, in order.
pub fn names(spans: &[Seen]) -> Vec<&str> {
    let mut names: Vec<&str> = spans.iter().map(|seen| seen.span.name.as_str()).collect();
    // A span of this name is there only on a busy machine.
    names.retain(|name| *name != "queue");
    names.sort_unstable();
    names
}

/// A trace as indented lines.
pub fn waterfall(spans: &[Seen]) -> String {
    let mut out = String::new();
    let known = |id: &[u8]| spans.iter().any(|seen| seen.span.span_id == id);
    let start = spans.iter().map(|seen| seen.span.start_time_unix_nano).min().unwrap_or_default();
    let mut rows: Vec<_> =
        spans.iter().filter(|seen| !known(&seen.span.parent_span_id)).map(|seen| (0, seen)).collect();
    while let Some((depth, seen)) = rows.pop() {
        let after = Duration::from_nanos(seen.span.start_time_unix_nano - start);
        let label = format!("{:1$}{2}", "", depth * 2, seen.span.name);
        out += &format!("{label:<34} {:<6} +{:>9.3?} {:>9.3?}\n", seen.node, after, seen.duration());
        let mut below: Vec<_> = spans.iter().filter(|other| other.span.parent_span_id == seen.span.span_id).collect();
        below.sort_by_key(|seen| std::cmp::Reverse(seen.span.start_time_unix_nano));
        rows.extend(below.into_iter().map(|seen| (depth + 1, seen)));
    }
    out
}

fn line(seen: &Seen) -> String {
    format!(
        "{:<28} {:<6} {} below {} {}..{} {:?}",
        seen.span.name,
        seen.node,
        hex::encode(&seen.span.span_id),
        hex::encode(&seen.span.parent_span_id),
        seen.span.start_time_unix_nano,
        seen.span.end_time_unix_nano,
        seen.attribute("error.type"),
    )
}

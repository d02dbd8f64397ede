//! The results as a table and as JSON.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::tally::{Faults, Kind, Tally};
use super::verify::Recall;

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// A finished phase.
pub struct Phase {
    /// `fill`, `load` or `verify`.
    pub name: &'static str,
    pub tally: Tally,
    /// The results of `--verify`, with the tracker if it is not one of the targets.
    pub recall: Vec<(Option<String>, Recall)>,
}

impl Phase {
    /// The phase as a plain table.
    pub fn table(&self) -> String {
        let t = &self.tally;
        let seconds = t.elapsed as f64 / 1e9;
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(out, "{} ({seconds:.1} s)", self.name);
        let _ = write!(out, "  {:<10}{:>12}{:>12}", "", "answers", "per second");
        QUANTILES.iter().for_each(|(name, _)| {
            let _ = write!(out, "{name:>11}");
        });
        let _ = writeln!(out, "{:>11}", "max");
        let all = t.all_latencies();
        let rows = Kind::ALL.map(|kind| (kind.name(), t.latency(kind)));
        for (name, latency) in rows.into_iter().chain([("requests", &all)]).filter(|(_, latency)| !latency.is_empty()) {
            let _ = write!(out, "  {name:<10}{:>12}{:>12.0}", latency.len(), latency.len() as f64 / seconds);
            for (_, quantile) in QUANTILES {
                let _ = write!(out, "{:>11}", duration(latency.value_at_quantile(quantile)));
            }
            let _ = writeln!(out, "{:>11}", duration(latency.max()));
        }
        let _ = writeln!(
            out,
            "  peers per reply: mean {:.2}, p50 {}, max {}",
            t.peers.mean(),
            t.peers.value_at_quantile(0.5),
            t.peers.max()
        );
        let _ = writeln!(
            out,
            "  sent {}, errors {}, malformed {}, lost {} ({:.3} %), unsent {}, sent late {}, stray {}, failed over {}",
            t.sent,
            t.errors.count,
            t.malformed.count,
            t.lost,
            t.loss(),
            t.unsent,
            t.late,
            t.stray,
            t.failed_over
        );
        for (name, faults) in [("error", &t.errors), ("malformed", &t.malformed), ("socket", &t.io)] {
            faults.texts.iter().for_each(|text| {
                let _ = writeln!(out, "  {name}: {text:?}");
            });
        }
        for (at, recall) in &self.recall {
            let _ = match at {
                Some(at) => writeln!(out, "  at {at}: {recall}"),
                None => writeln!(out, "  {recall}"),
            };
        }
        out
    }

    /// The phase as a JSON object; times in microseconds.
    pub fn json(&self) -> Value {
        let t = &self.tally;
        let seconds = t.elapsed as f64 / 1e9;
        let kind = |kind| latency(t.latency(kind), seconds);
        let mut value = json!({
            "seconds": seconds,
            "sent": t.sent,
            "answers": t.all_answers(),
            "answers_per_second": t.all_answers() as f64 / seconds,
            "connect": kind(Kind::Connect),
            "announce": kind(Kind::Announce),
            "scrape": kind(Kind::Scrape),
            "requests": latency(&t.all_latencies(), seconds),
            "peers_per_reply": {
                "mean": t.peers.mean(), "p50": t.peers.value_at_quantile(0.5), "max": t.peers.max(),
            },
            "errors": faults(&t.errors),
            "malformed": faults(&t.malformed),
            "socket_errors": faults(&t.io),
            "lost": t.lost,
            "loss_percent": t.loss(),
            "unsent": t.unsent,
            "sent_late": t.late,
            "stray": t.stray,
            "failed_over": t.failed_over,
            "started_unix_ms": t.started_millis,
            "timeline": t.timeline.json(),
        });
        for (at, recall) in &self.recall {
            match at {
                Some(at) => value["recall_at"][at] = recall.json(),
                None => value["recall"] = recall.json(),
            }
        }
        value
    }
}

fn latency(latency: &Histogram<u64>, seconds: f64) -> Value {
    let micros = |nanos: u64| nanos as f64 / 1e3;
    let mut value = json!({
        "answers": latency.len(),
        "per_second": latency.len() as f64 / seconds,
        "mean_us": latency.mean() / 1e3,
        "max_us": micros(latency.max()),
    });
    for (name, quantile) in QUANTILES {
        value[format!("{name}_us")] = micros(latency.value_at_quantile(quantile)).into();
    }
    value
}

fn faults(faults: &Faults) -> Value {
    json!({ "count": faults.count, "texts": faults.texts })
}

/// Nanoseconds with a unit that leaves three or four digits.
fn duration(nanos: u64) -> String {
    match nanos as f64 {
        n if n < 1e6 => format!("{:.1} µs", n / 1e3),
        n if n < 1e9 => format!("{:.2} ms", n / 1e6),
        n => format!("{:.2} s", n / 1e9),
    }
}

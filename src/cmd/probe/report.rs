//! The results of a round as a table, as one line, and as JSON.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::reason::{Reason, millis};
use super::round::Round;
use super::target::TargetProbe;

impl Round<'_> {
    /// Each failure, with its target or pair of targets.
    fn failures(&self) -> Vec<String> {
        let url = |at: usize| self.probes[at].url;
        let phases = self.probes.iter().flat_map(|probe| {
            let failed = probe.report.phases.iter().filter_map(|phase| Some((phase.name, phase.failed.as_ref()?)));
            failed.map(move |(name, reason)| format!("{name} at {}: {reason}", probe.url))
        });
        let pairs = self.pairs.iter().filter_map(|pair| {
            let reason = pair.outcome.as_ref().err()?;
            // Such a pair is a consequence of a failed target, which is listed itself.
            let is_own = !matches!(reason, Reason::NotTried(_));
            is_own.then(|| format!("replication from {} to {}: {reason}", url(pair.from), url(pair.to)))
        });
        phases.chain(pairs).collect()
    }

    /// Whether all passed, and one sentence about it.
    pub fn verdict(&self) -> (bool, String) {
        let failures = self.failures();
        if !failures.is_empty() {
            return (false, failures.join("; "));
        }
        let mut text = match &self.probes[..] {
            [probe] => format!("{} passed in {}", probe.url, millis(&self.took)),
            probes => format!("all {} targets passed in {}", probes.len(), millis(&self.took)),
        };
        let slowest = self.pairs.iter().filter_map(|pair| pair.outcome.as_ref().ok()).max();
        if let Some(slowest) = slowest {
            text += &format!(", which return each other's peers within {}", millis(slowest));
        }
        (true, text)
    }

    /// The whole round, without the verdict.
    pub fn table(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        for probe in &self.probes {
            let _ = writeln!(out, "{}", heading(probe));
            for phase in &probe.report.phases {
                let _ = writeln!(out, "  {:<13}{}", phase.name, outcome(phase.took, phase.failed.as_ref()));
            }
            for warning in &probe.report.warnings {
                let _ = writeln!(out, "  {:<13}{warning}", "warning");
            }
        }
        if !self.pairs.is_empty() {
            let _ = writeln!(out, "replication");
        }
        let width = self.probes.iter().map(|probe| probe.url.to_string().len()).max().unwrap_or(0);
        for pair in &self.pairs {
            let [from, to] = [pair.from, pair.to].map(|at| self.probes[at].url.to_string());
            let shown = match &pair.outcome {
                Ok(took) => outcome(*took, None),
                Err(reason) => format!("FAILED  {reason}"),
            };
            let _ = writeln!(out, "  {from:<width$} -> {to:<width$}  {shown}");
        }
        if let Some(trace) = &self.trace {
            let _ = writeln!(out, "trace {}", trace.id);
        }
        out
    }

    /// The round as one line.
    pub fn line(&self) -> String {
        let (ok, text) = self.verdict();
        let trace = self.trace.as_ref().map_or(String::new(), |trace| format!(", trace {}", trace.id));
        format!("{} {}  {text}{trace}\n", self.at(), if ok { "ok    " } else { "FAILED" })
    }

    /// The round as a JSON object.
    pub fn json(&self) -> Value {
        let url = |at: usize| self.probes[at].url.to_string();
        let pairs = self.pairs.iter().map(|pair| {
            let (ok, reason) = (pair.outcome.as_ref().ok(), pair.outcome.as_ref().err());
            json!({
                "from": url(pair.from),
                "to": url(pair.to),
                "ok": ok.is_some(),
                "millis": ok.map(float),
                "reason": reason.map(Reason::word),
                "error": reason.map(ToString::to_string),
            })
        });
        let (ok, text) = self.verdict();
        json!({
            "ok": ok,
            "verdict": text,
            "at": self.at(),
            "millis": float(&self.took),
            "trace_id": self.trace.as_ref().map(|trace| &trace.id),
            "targets": self.probes.iter().map(target).collect::<Vec<_>>(),
            "replication": pairs.collect::<Vec<_>>(),
        })
    }

    fn at(&self) -> String {
        humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(self.at_millis)).to_string()
    }
}

fn heading(probe: &TargetProbe<'_>) -> String {
    let mut text = probe.url.to_string();
    if let Some(addr) = probe.report.addr {
        text += &format!(" at {addr}");
        match probe.report.others {
            0 => {}
            1 => text += " (of 2 addresses)",
            others => text += &format!(" (of {} addresses)", others + 1),
        }
    }
    for node in probe.session.iter().flat_map(|session| &session.nodes) {
        text += &format!(", node {} in {}", node.node, node.region);
    }
    if let Some(ip) = probe.report.seen_as {
        text += &format!(", sees this host as {ip}");
    }
    text
}

fn outcome(took: Duration, failed: Option<&Reason>) -> String {
    match failed {
        None => format!("ok    {:>9}", millis(&took)),
        Some(reason) => format!("FAILED{:>9}  {reason}", millis(&took)),
    }
}

fn target(probe: &TargetProbe<'_>) -> Value {
    let phases = probe.report.phases.iter().map(|phase| {
        json!({
            "phase": phase.name,
            "ok": phase.failed.is_none(),
            "millis": float(&phase.took),
            "reason": phase.failed.as_ref().map(Reason::word),
            "error": phase.failed.as_ref().map(ToString::to_string),
        })
    });
    let nodes = probe.session.iter().flat_map(|session| &session.nodes);
    json!({
        "target": probe.url.to_string(),
        "ok": probe.has_passed(),
        "address": probe.report.addr.map(|addr| addr.to_string()),
        "other_addresses": probe.report.others,
        "nodes": nodes.map(|node| json!({"node": node.node, "region": node.region})).collect::<Vec<_>>(),
        "seen_as": probe.report.seen_as.map(|ip| ip.to_string()),
        "phases": phases.collect::<Vec<_>>(),
        "warnings": probe.report.warnings,
    })
}

/// Milliseconds, to a microsecond.
fn float(time: &Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

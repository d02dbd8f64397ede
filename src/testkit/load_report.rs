//! The report of `tidings load --json`.

use std::time::Duration;

use serde_json::Value;

use super::figures::{Figures, choose};

/// The report of a load.
pub struct Report(Value);

/// How the peers that a node knows after a load differ from those that it should know.
#[derive(Debug, Default)]
pub struct Recall {
    /// Peers that were acknowledged and have not stopped.
    pub expected: u64,
    /// Of these, how many the counts of a scrape lack.
    pub uncounted: u64,
    /// Of these, how many the peer lists lack.
    pub missing: u64,
    /// Peers that are counted but were never announced or have stopped.
    pub extra: u64,
}

impl Report {
    /// Parses the output of a load with `--json`.
    pub fn read(stdout: &[u8], stderr: &[u8]) -> Self {
        let errors = String::from_utf8_lossy(stderr);
        Self(serde_json::from_slice(stdout).unwrap_or_else(|e| panic!("{e}: {errors}")))
    }

    pub fn answers(&self) -> u64 {
        self.0["load"]["requests"]["answers"].as_u64().unwrap()
    }

    /// Requests of the load that failed: refused, malformed, lost or not sent.
    pub fn errors(&self) -> u64 {
        let load = &self.0["load"];
        let faults = [&load["errors"]["count"], &load["malformed"]["count"], &load["lost"], &load["unsent"]];
        faults.into_iter().map(|count| count.as_u64().unwrap()).sum()
    }

    /// Seconds from the start of the load to a time in milliseconds since the Unix epoch.
    pub fn second_of(&self, millis: u64) -> f64 {
        (millis as f64 - self.0["load"]["started_unix_ms"].as_f64().unwrap()) / 1e3
    }

    /// The highest p99 and the highest latency of the full seconds between two times of the load.
    pub fn latency(&self, from: f64, to: f64) -> [Duration; 2] {
        let rows = self.0["load"]["timeline"].as_array().unwrap().iter();
        let within = |row: &&Value| {
            let second = row["second"].as_f64().unwrap();
            second >= from && second + 1.0 <= to
        };
        rows.filter(within).fold([Duration::ZERO; 2], |most, row| {
            let row = ["p99_us", "max_us"].map(|name| Duration::from_micros(row[name].as_u64().unwrap()));
            [most[0].max(row[0]), most[1].max(row[1])]
        })
    }

    /// The p99 of each second, in milliseconds.
    pub fn p99s(&self) -> String {
        let rows = self.0["load"]["timeline"].as_array().unwrap().iter();
        rows.map(|row| format!("{:.1} ", row["p99_us"].as_f64().unwrap() / 1e3)).collect()
    }

    /// The recall over all nodes that were asked afterwards; of each number the worst.
    pub fn recall(&self) -> Recall {
        let at = self.0["verify"]["recall_at"].as_object().unwrap_or_else(|| panic!("no node was asked: {:#}", self.0));
        at.values().fold(Recall::default(), |worst, it| {
            let number = |value: &Value| value.as_u64().unwrap();
            let sample = &it["sample"];
            Recall {
                expected: worst.expected.max(number(&it["expected"])),
                uncounted: worst.uncounted.max(number(&it["expected"]) - number(&it["known"])),
                missing: worst.missing.max(number(&sample["missing"])),
                extra: worst.extra.max(number(&it["extra"]) + number(&sample["strangers"]) + number(&sample["risen"])),
            }
        })
    }

    /// The figures of nearly every test: no request failed, and the cluster knows every peer that it has acknowledged and no
    /// others. Up to `may_miss` peers may be missing; if that is not 0, lost stops may leave peers, too.
    ///
    /// The quick form allows half a percent: on a busy machine replicas miss the deadline of an acknowledgement, and a request
    /// that was sent to a second node may be applied by the first one after the peer has stopped.
    pub fn judge(&self, figures: &mut Figures, may_miss: u64) {
        let recall = self.recall();
        println!("{} answers, afterwards {recall:?}, failed over {}", self.answers(), self.0["load"]["failed_over"]);
        for (node, it) in self.0["verify"]["recall_at"].as_object().into_iter().flatten() {
            println!(
                "{node}: known {} of {}, {} too many; lists: {}",
                it["known"], it["expected"], it["extra"], it["sample"]
            );
        }

        let slack = choose(recall.expected / 200, 0);
        let most = may_miss.max(slack);
        let bound = if most == 0 { "0".into() } else { format!("≤ {most}") };
        figures.none("client errors", self.errors());
        let missing = recall.missing.max(recall.uncounted);
        let known = missing <= most && recall.expected > 0;
        figures.row("acknowledged peers missing", format!("{missing} of {}", recall.expected), &bound, known);
        if may_miss == 0 {
            figures.row("peers too many", recall.extra, &bound, recall.extra <= slack);
        }
    }
}

//! The outcome of the requests of each second.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::flights::Nanos;

const SECOND: Nanos = 1_000_000_000;
const MICRO: Nanos = 1000;
/// The most rows: one hour, about 11 kB each.
const MAX_ROWS: usize = 3600;
/// The longest latency that is recorded exactly, in microseconds.
const MAX_LATENCY: u64 = 120_000_000;

/// The requests that were due in each second of a phase.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    rows: Vec<Row>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    sent: u64,
    answered: u64,
    errors: u64,
    /// In microseconds, to two digits.
    latency: Option<Histogram<u32>>,
}

impl Timeline {
    /// A request was sent; `due` counts from the start of the phase.
    pub fn sent(&mut self, due: Nanos) {
        if let Some(row) = self.row(due) {
            row.sent += 1;
        }
    }

    /// A request was answered correctly.
    pub fn answered(&mut self, due: Nanos, latency: Nanos) {
        let Some(row) = self.row(due) else { return };
        row.answered += 1;
        if row.latency.is_none() {
            // Its bounds are constants that the histogram's own rules allow.
            row.latency = Histogram::new_with_bounds(1, MAX_LATENCY, 2).ok();
        }
        if let Some(histogram) = &mut row.latency {
            histogram.saturating_record(latency / MICRO);
        }
    }

    /// A request was lost, not sent, or answered incorrectly.
    pub fn failed(&mut self, due: Nanos) {
        if let Some(row) = self.row(due) {
            row.errors += 1;
        }
    }

    fn row(&mut self, due: Nanos) -> Option<&mut Row> {
        let second = (due / SECOND) as usize;
        if second >= MAX_ROWS {
            return None;
        }
        if second >= self.rows.len() {
            self.rows.resize_with(second + 1, Row::default);
        }
        self.rows.get_mut(second)
    }

    /// Adds the timeline of another worker.
    pub fn merge(&mut self, other: &Self) {
        if self.rows.len() < other.rows.len() {
            self.rows.resize_with(other.rows.len(), Row::default);
        }
        for (mine, theirs) in self.rows.iter_mut().zip(&other.rows) {
            mine.sent += theirs.sent;
            mine.answered += theirs.answered;
            mine.errors += theirs.errors;
            match (&mut mine.latency, &theirs.latency) {
                // Same bounds, so that it cannot fail.
                (Some(mine), Some(theirs)) => _ = mine.add(theirs),
                (mine, theirs) => *mine = mine.take().or_else(|| theirs.clone()),
            }
        }
    }

    /// One object for each second.
    pub fn json(&self) -> Value {
        let row = |(second, row): (usize, &Row)| {
            let micros = |quantile| row.latency.as_ref().map_or(0, |latency| latency.value_at_quantile(quantile));
            json!({
                "second": second,
                "sent": row.sent,
                "answered": row.answered,
                "errors": row.errors,
                "p99_us": micros(0.99),
                "p99.9_us": micros(0.999),
                "max_us": micros(1.0),
            })
        };
        self.rows.iter().enumerate().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_in_the_second_when_it_was_due() {
        let (mut one, mut other) = (Timeline::default(), Timeline::default());
        one.sent(SECOND - 1);
        // Answered two seconds later, yet a matter of the first.
        one.answered(SECOND - 1, 2 * SECOND);
        other.sent(2 * SECOND);
        other.failed(2 * SECOND);
        other.sent(u64::MAX);
        one.merge(&other);
        let json = one.json();
        assert_eq!(json.as_array().unwrap().len(), 3);
        assert_eq!((&json[0]["sent"], &json[0]["answered"], &json[0]["errors"]), (&1.into(), &1.into(), &0.into()));
        assert!((1_980_000..=2_020_000).contains(&json[0]["max_us"].as_u64().unwrap()), "{json}");
        assert_eq!((&json[1]["sent"], &json[1]["max_us"]), (&0.into(), &0.into()));
        assert_eq!((&json[2]["errors"], &json[2]["answered"]), (&1.into(), &0.into()));
    }
}

//! The text that `/metrics` returns.

use std::collections::HashMap;

/// The samples of one scrape.
pub struct Metrics(HashMap<String, f64>);

impl Metrics {
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        Self(samples.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect())
    }

    /// The value of one sample, by its name with labels.
    pub fn get(&self, sample: &str) -> Option<f64> {
        self.0.get(sample).copied()
    }

    /// The sum of the samples of a metric whose labels contain all of `labels`.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let matches = |sample: &str| {
            let (other, its_labels) = sample.split_once('{').unwrap_or((sample, ""));
            other == name && labels.iter().all(|label| its_labels.contains(label))
        };
        self.0.iter().filter(|(sample, _)| matches(sample)).map(|(_, value)| value).sum()
    }
}

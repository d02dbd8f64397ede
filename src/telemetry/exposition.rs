//! Prometheus text format 0.0.4.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Sample, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use super::histogram::{BOUNDS_MICROS, Spread};
use super::metrics::{Kind, Metric};

/// A snapshot of metrics and their values.
#[derive(Debug, Default)]
pub struct Exposition {
    families: Vec<MetricFamily>,
}

impl Exposition {
    /// The content type of [`Exposition::text`].
    pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

    /// Adds a metric without labels.
    pub fn single(&mut self, metric: &Metric, value: f64) {
        self.by_label(metric, [([""; 0], value)]);
    }

    /// Adds a metric with one value per combination of label values, which are in the order of the metric's label names.
    pub fn by_label<L: Into<String>, const N: usize>(
        &mut self,
        metric: &Metric,
        values: impl IntoIterator<Item = ([L; N], f64)>,
    ) {
        self.add(metric, values.into_iter().map(|(labels, value)| sample(metric, labels, value)).collect());
    }

    /// Adds one histogram per combination of label values.
    pub fn histograms<L: Into<String>, const N: usize>(
        &mut self,
        metric: &Metric,
        values: impl IntoIterator<Item = ([L; N], Spread)>,
    ) {
        self.add(metric, values.into_iter().map(|(labels, spread)| histogram(metric, labels, &spread)).collect());
    }

    fn add(&mut self, metric: &Metric, samples: Vec<Sample>) {
        if samples.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(metric.name.into());
        family.set_help(metric.help.into());
        family.set_field_type(match metric.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        family.set_metric(samples);
        self.families.push(family);
    }

    /// Encodes all metrics as text.
    ///
    /// # Errors
    /// When the encoder rejects a metric as inconsistent.
    pub fn text(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::with_capacity(16 << 10);
        TextEncoder::new().encode(&self.families, &mut text)?;
        Ok(text)
    }
}

fn sample<L: Into<String>, const N: usize>(metric: &Metric, labels: [L; N], value: f64) -> Sample {
    let mut sample = labelled(metric, labels);
    if metric.kind == Kind::Counter {
        let mut counter = Counter::default();
        counter.set_value(value);
        sample.set_counter(counter);
    } else {
        debug_assert_eq!(metric.kind, Kind::Gauge, "{}", metric.name);
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        sample.set_gauge(gauge);
    }
    sample
}

fn histogram<L: Into<String>, const N: usize>(metric: &Metric, labels: [L; N], spread: &Spread) -> Sample {
    debug_assert_eq!(metric.kind, Kind::Histogram, "{}", metric.name);
    let buckets = BOUNDS_MICROS.iter().zip(spread.up_to).map(|(micros, up_to)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*micros as f64 / 1e6);
        bucket.set_cumulative_count(up_to);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(spread.count);
    histogram.set_sample_sum(spread.seconds);
    let mut sample = labelled(metric, labels);
    sample.set_histogram(histogram);
    sample
}

fn labelled<L: Into<String>, const N: usize>(metric: &Metric, labels: [L; N]) -> Sample {
    debug_assert_eq!(metric.labels.len(), N, "{}", metric.name);
    let pairs = metric.labels.iter().zip(labels).map(|(name, label)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).into());
        pair.set_value(label.into());
        pair
    });
    Sample::from_label(pairs.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::telemetry::histogram::Histogram;
    use crate::telemetry::metrics::{BUILD_INFO, EVENT_LOOP_LAG, OWNER_RESTARTS};

    #[test]
    fn the_text_is_what_prometheus_documents() {
        let mut exposition = Exposition::default();
        exposition.single(&OWNER_RESTARTS, 3_000_000_000.0);
        exposition.by_label(&BUILD_INFO, [(["a\"b\\c\n"], 1.0)]);
        exposition.by_label(&BUILD_INFO, [([""; 1], 1.0); 0]);
        assert_eq!(
            String::from_utf8(exposition.text().unwrap()).unwrap(),
            "# HELP tidings_owner_restarts_total Partition owners that failed and were replaced, which is always a bug.\n\
             # TYPE tidings_owner_restarts_total counter\n\
             tidings_owner_restarts_total 3000000000\n\
             # HELP tidings_build_info The version of this program; always 1.\n\
             # TYPE tidings_build_info gauge\n\
             tidings_build_info{version=\"a\\\"b\\\\c\\n\"} 1\n"
        );
    }

    #[test]
    fn the_buckets_of_a_histogram_add_up() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_millis(100), 3);
        histogram.record(Duration::from_secs(5), 1);
        let mut exposition = Exposition::default();
        exposition.histograms(&EVENT_LOOP_LAG, [(["serve-0"], histogram.spread())]);
        let text = String::from_utf8(exposition.text().unwrap()).unwrap();
        for line in [
            "# TYPE tidings_event_loop_lag_seconds histogram",
            "tidings_event_loop_lag_seconds_bucket{thread=\"serve-0\",le=\"0.05\"} 0",
            "tidings_event_loop_lag_seconds_bucket{thread=\"serve-0\",le=\"0.1\"} 3",
            "tidings_event_loop_lag_seconds_bucket{thread=\"serve-0\",le=\"0.25\"} 3",
            "tidings_event_loop_lag_seconds_bucket{thread=\"serve-0\",le=\"+Inf\"} 4",
            "tidings_event_loop_lag_seconds_sum{thread=\"serve-0\"} 5.3",
            "tidings_event_loop_lag_seconds_count{thread=\"serve-0\"} 4",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in:\n{text}");
        }
    }
}

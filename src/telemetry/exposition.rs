//! Prometheus' text format 0.0.4, from values that others count.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric as Sample, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use super::metrics::{Kind, Metric};

/// Metrics and their values at one moment.
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

    /// Adds a metric with one value for each combination of its labels' values, which are in the order of their names.
    pub fn by_label<L: Into<String>, const N: usize>(
        &mut self,
        metric: &Metric,
        values: impl IntoIterator<Item = ([L; N], f64)>,
    ) {
        debug_assert_eq!(metric.labels.len(), N, "{}", metric.name);
        let samples: Vec<_> = values.into_iter().map(|(labels, value)| sample(metric, labels, value)).collect();
        if samples.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(metric.name.into());
        family.set_help(metric.help.into());
        family.set_field_type(match metric.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
        });
        family.set_metric(samples);
        self.families.push(family);
    }

    /// All of it as text.
    ///
    /// # Errors
    /// When the encoder finds a metric that makes no sense to it.
    pub fn text(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::with_capacity(16 << 10);
        TextEncoder::new().encode(&self.families, &mut text)?;
        Ok(text)
    }
}

fn sample<L: Into<String>, const N: usize>(metric: &Metric, labels: [L; N], value: f64) -> Sample {
    let pairs = metric.labels.iter().zip(labels).map(|(name, label)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).into());
        pair.set_value(label.into());
        pair
    });
    let mut sample = Sample::from_label(pairs.collect());
    match metric.kind {
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(value);
            sample.set_counter(counter);
        }
        Kind::Gauge => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            sample.set_gauge(gauge);
        }
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::{BUILD_INFO, OWNER_RESTARTS};

    #[test]
    fn the_text_is_what_prometheus_documents() {
        let mut exposition = Exposition::default();
        exposition.single(&OWNER_RESTARTS, 3_000_000_000.0);
        exposition.by_label(&BUILD_INFO, [(["a\"b\\c\n"], 1.0)]);
        exposition.by_label(&BUILD_INFO, [([""; 1], 1.0); 0]);
        assert_eq!(
            String::from_utf8(exposition.text().unwrap()).unwrap(),
            "# HELP tidings_owner_restarts_total Owners of partitions that failed and were replaced, which is always a bug.\n\
             # TYPE tidings_owner_restarts_total counter\n\
             tidings_owner_restarts_total 3000000000\n\
             # HELP tidings_build_info The version of this program; always 1.\n\
             # TYPE tidings_build_info gauge\n\
             tidings_build_info{version=\"a\\\"b\\\\c\\n\"} 1\n"
        );
    }
}

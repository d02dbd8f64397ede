//! What is traced and where it goes: the standard variables over `[telemetry]`.

use std::time::Duration;

use ipnet::IpNet;

use crate::config::Settings;

/// Switches tracing off.
const DISABLED: &str = "OTEL_SDK_DISABLED";
/// `otlp` or `none`.
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
/// Where traces go, the first that is set; then `telemetry.otlp_endpoint`.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// How: only `grpc` is possible.
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
/// The most spans that wait. The SDK's own default would be filled by a second of a busy node that samples one in a
/// hundred.
const QUEUE: (&str, usize) = ("OTEL_BSP_MAX_QUEUE_SIZE", 8192);
/// How long spans wait for enough others, in milliseconds.
const DELAY: (&str, usize) = ("OTEL_BSP_SCHEDULE_DELAY", 5000);
/// The most spans of one export.
const BATCH: (&str, usize) = ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512);

/// Why traces cannot be exported as the settings say.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// A protocol that this program does not speak.
    #[error(
        "{variable}: {value:?} is not spoken here: set it to grpc, and the endpoint to the collector's port for gRPC"
    )]
    Protocol {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// An exporter that this program does not have.
    #[error("{EXPORTER}: there is no exporter {0:?}: set it to otlp or none")]
    Exporter(String),
    /// The endpoint cannot be used.
    #[error("cannot export traces to {endpoint}: {reason}; write a URL such as http://127.0.0.1:4317")]
    Endpoint {
        /// The endpoint.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The system refuses a thread.
    #[error("cannot start the export of traces: {0}")]
    System(String),
}

/// How to trace.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceOptions {
    /// The collector's URL.
    pub endpoint: String,
    /// The share of announces that are traced from their beginning.
    pub ratio: f64,
    /// Whether a probe that says that its trace is or is not sampled is followed in that.
    pub follow_parent: bool,
    /// From when on an announce is slow.
    pub slow: Duration,
    /// Slow and failed ones that are traced in a second.
    pub slow_per_second: u32,
    /// Whose traceparent is honoured.
    pub probes: Vec<IpNet>,
    /// The most spans that wait for the collector.
    pub queue: usize,
    /// The most spans of one export.
    pub batch: usize,
    /// How long they wait for enough of them.
    pub delay: Duration,
    /// The name of the node.
    pub node: String,
    /// Its region.
    pub region: String,
    /// What operators should know: one sentence each.
    pub advice: Vec<String>,
}

impl TraceOptions {
    /// As the settings and the environment say; `None` if nothing is to be traced.
    ///
    /// # Errors
    /// See [`TraceError`].
    pub fn new(settings: &Settings, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, TraceError> {
        // An empty one counts as not set, as the specification of OpenTelemetry has it.
        let variable =
            |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let telemetry = &settings.telemetry;
        let endpoint = ENDPOINTS.iter().find_map(|name| variable(name)).or_else(|| telemetry.otlp_endpoint.clone());
        let Some(endpoint) = endpoint else { return Ok(None) };
        if variable(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        match variable(EXPORTER).as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => return Err(TraceError::Exporter(other.into())),
        }
        let protocol = PROTOCOLS.into_iter().find_map(|name| Some((name, variable(name)?)));
        if let Some((variable, value)) = protocol.filter(|(_, value)| value != "grpc") {
            return Err(TraceError::Protocol { variable, value });
        }
        let size = |(name, usual): (&str, usize)| {
            variable(name).and_then(|size| size.parse().ok()).filter(|size| *size > 0).unwrap_or(usual)
        };
        let mut options = Self {
            endpoint,
            ratio: telemetry.sample_ratio,
            follow_parent: true,
            slow: Duration::from_millis(telemetry.slow.into()),
            slow_per_second: telemetry.slow_per_second,
            probes: telemetry.trusted_probes.clone(),
            queue: size(QUEUE),
            batch: size(BATCH),
            delay: Duration::from_millis(size(DELAY) as u64),
            node: settings.node.id.clone(),
            region: settings.node.region.clone(),
            advice: Vec::new(),
        };
        if let Some(sampler) = variable(SAMPLER) {
            if sampler == "always_off" {
                return Ok(None);
            }
            options.sampler(&sampler, variable(SAMPLER_ARG).as_deref());
        }
        Ok(Some(options))
    }

    fn sampler(&mut self, sampler: &str, argument: Option<&str>) {
        let (root, follow_parent) = match sampler.strip_prefix("parentbased_") {
            Some(root) => (root, true),
            None => (sampler, false),
        };
        let ratio = match root {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => match argument.and_then(|text| text.parse::<f64>().ok()) {
                Some(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
                // The SDK would trace everything, which is the last thing that a tracker wants to do by mistake.
                _ => {
                    let kept = self.ratio;
                    return self.advice.push(format!(
                        "{SAMPLER_ARG} is not a share from 0 to 1: telemetry.sample_ratio ({kept}) holds"
                    ));
                }
            },
            _ => {
                let kept = self.ratio;
                return self.advice.push(format!(
                    "{SAMPLER}: there is no sampler {sampler:?} here: telemetry.sample_ratio ({kept}) holds"
                ));
            }
        };
        (self.ratio, self.follow_parent) = (ratio, follow_parent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");

    fn options(variables: &[(&str, &str)]) -> Result<Option<TraceOptions>, TraceError> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        TraceOptions::new(&Settings::default(), find)
    }

    #[test]
    fn nothing_is_traced_without_an_endpoint_or_when_switched_off() {
        assert_eq!(options(&[]), Ok(None));
        assert_eq!(options(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Ok(None));
        for off in [(DISABLED, "TRUE"), (EXPORTER, "none"), (SAMPLER, "always_off")] {
            assert_eq!(options(&[ENDPOINT, off]), Ok(None), "{off:?}");
        }
        assert!(options(&[ENDPOINT, (DISABLED, "false")]).unwrap().is_some());
    }

    #[test]
    fn the_environment_goes_before_the_settings() {
        let mut settings = Settings::default();
        settings.telemetry.otlp_endpoint = Some("http://file:4317".into());
        settings.telemetry.sample_ratio = 0.5;
        let of_file = TraceOptions::new(&settings, |_| None).unwrap().unwrap();
        assert_eq!((of_file.endpoint.as_str(), of_file.ratio, of_file.follow_parent), ("http://file:4317", 0.5, true));
        let both = [ENDPOINT, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4317")];
        assert_eq!(options(&both).unwrap().unwrap().endpoint, "http://traces:4317");
        assert_eq!(options(&[ENDPOINT, (QUEUE.0, "77")]).unwrap().unwrap().queue, 77);
        assert_eq!(options(&[ENDPOINT, (BATCH.0, "64")]).unwrap().unwrap().batch, 64);
        let usual = options(&[ENDPOINT]).unwrap().unwrap();
        assert_eq!((usual.queue, usual.batch), (8192, 512));
    }

    #[test]
    fn samplers_are_those_of_the_sdk() {
        for (sampler, argument, ratio, follow_parent) in [
            ("always_on", "", 1.0, false),
            ("traceidratio", "0.25", 0.25, false),
            ("parentbased_traceidratio", "0.25", 0.25, true),
            ("parentbased_always_on", "", 1.0, true),
            ("parentbased_always_off", "", 0.0, true),
        ] {
            let it = options(&[ENDPOINT, (SAMPLER, sampler), (SAMPLER_ARG, argument)]).unwrap().unwrap();
            assert_eq!((it.ratio, it.follow_parent, it.advice.len()), (ratio, follow_parent, 0), "{sampler}");
        }
        for (sampler, argument) in [("jaeger_remote", ""), ("traceidratio", ""), ("parentbased_traceidratio", "1.5")] {
            let it = options(&[ENDPOINT, (SAMPLER, sampler), (SAMPLER_ARG, argument)]).unwrap().unwrap();
            assert_eq!((it.ratio, it.advice.len()), (1e-4, 1), "{sampler}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let protocol = options(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]).unwrap_err();
        assert!(protocol.to_string().contains("set it to grpc"), "{protocol}");
        assert_eq!(options(&[ENDPOINT, (EXPORTER, "zipkin")]), Err(TraceError::Exporter("zipkin".into())));
    }
}

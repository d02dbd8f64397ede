//! The way of spans to the collector: a bounded queue, a thread that sends, and counts of what became of them. Whoever
//! makes spans never waits.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};
use tokio::runtime::{Builder, Handle, Runtime};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::registry::LookupSpan;

use super::names::{SCOPE, TARGET, key};
use super::options::{TraceError, TraceOptions};

/// How long the last spans may take when the node stops.
const FLUSH: Duration = Duration::from_millis(1500);
/// The variable with the name of the service.
const SERVICE_NAME_VARIABLE: &str = "OTEL_SERVICE_NAME";

/// What became of spans, since the start.
#[derive(Debug, Default)]
pub struct SpanCounts {
    /// The collector has them.
    pub exported: AtomicU64,
    /// Dropped, as the queue was full.
    pub queue_full: AtomicU64,
    /// Dropped, as the collector did not take them.
    pub failed: AtomicU64,
    /// In the queue now.
    pub waiting: AtomicUsize,
}

/// The near end of the queue.
pub(super) struct Sink {
    processor: Box<dyn SpanProcessor>,
    counts: Arc<SpanCounts>,
    limit: usize,
}

impl Sink {
    /// A queue for up to `limit` spans that end at `exporter`, which works on a runtime if there is one.
    fn new<E: SpanExporter + 'static, P: SpanProcessor + 'static>(
        exporter: E,
        runtime: Option<Handle>,
        limit: usize,
        resource: &Resource,
        processor: impl FnOnce(Counting<E>) -> P,
    ) -> Self {
        let counts = Arc::<SpanCounts>::default();
        let mut processor = processor(Counting { exporter: Arc::new(exporter), runtime, counts: counts.clone() });
        processor.set_resource(resource);
        Self { processor: Box::new(processor), counts, limit }
    }

    /// One that exports at once, for tests.
    #[cfg(test)]
    pub(super) fn at_once<E: SpanExporter + 'static>(exporter: E) -> Arc<Self> {
        use opentelemetry_sdk::trace::SimpleSpanProcessor;
        Arc::new(Self::new(exporter, None, 1024, &Resource::builder_empty().build(), SimpleSpanProcessor::new))
    }

    /// One whose collector never answers, for tests.
    #[cfg(test)]
    pub(super) fn stuck(limit: usize) -> Arc<Self> {
        #[derive(Debug)]
        struct Stuck;
        impl SpanProcessor for Stuck {
            fn on_start(&self, _: &mut Span, _: &Context) {}
            fn on_end(&self, _: SpanData) {}
            fn force_flush(&self) -> OTelSdkResult {
                Ok(())
            }
            fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
                Ok(())
            }
        }
        let exporter = opentelemetry_sdk::trace::InMemorySpanExporter::default();
        Arc::new(Self::new(exporter, None, limit, &Resource::builder_empty().build(), |_| Stuck))
    }

    /// Takes a span, or drops and counts it.
    pub(super) fn take(&self, span: SpanData) {
        if self.counts.waiting.fetch_add(1, Relaxed) >= self.limit {
            self.counts.waiting.fetch_sub(1, Relaxed);
            self.counts.queue_full.fetch_add(1, Relaxed);
            return;
        }
        self.processor.on_end(span);
    }

    pub(super) fn counts(&self) -> &SpanCounts {
        &self.counts
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// The sink as the provider of a tracer wants it.
#[derive(Debug)]
struct Shared(Arc<Sink>);

impl SpanProcessor for Shared {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.take(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.processor.shutdown_with_timeout(timeout)
    }
}

/// The far end of the queue.
#[derive(Debug)]
struct Counting<E> {
    exporter: Arc<E>,
    /// The thread of the processor is none of tokio's, which the connection to the collector needs.
    runtime: Option<Handle>,
    counts: Arc<SpanCounts>,
}

impl<E: SpanExporter + 'static> SpanExporter for Counting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.counts.waiting.fetch_sub(count, Relaxed);
        let exporter = self.exporter.clone();
        let exported = match &self.runtime {
            None => exporter.export(batch).await,
            Some(runtime) => match runtime.spawn(async move { exporter.export(batch).await }).await {
                Ok(exported) => exported,
                Err(error) => Err(opentelemetry_sdk::error::OTelSdkError::InternalFailure(error.to_string())),
            },
        };
        let counts = &self.counts;
        let (count, became) = (count as u64, if exported.is_ok() { &counts.exported } else { &counts.failed });
        let before = became.fetch_add(count, Relaxed);
        if let (Err(error), 0) = (&exported, before) {
            tracing::warn!(
                "the collector does not take traces, which are dropped (tidings_trace_spans_total): {error}"
            );
        }
        exported
    }

    fn set_resource(&mut self, resource: &Resource) {
        if let Some(exporter) = Arc::get_mut(&mut self.exporter) {
            exporter.set_resource(resource);
        }
    }
}

/// The export of this process' traces.
#[derive(Debug)]
pub struct TraceExport {
    pub(super) options: TraceOptions,
    pub(super) sink: Arc<Sink>,
    provider: SdkTracerProvider,
    runtime: Option<Runtime>,
}

impl TraceExport {
    /// Starts it. The collector need not be there.
    ///
    /// # Errors
    /// See [`TraceError`].
    pub fn start(options: TraceOptions) -> Result<Self, TraceError> {
        // Apart from the node's own threads, so that it takes nothing from them but time of the processor.
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("traces").enable_all().build();
        let runtime = runtime.map_err(|error| TraceError::System(error.to_string()))?;
        let exporter = {
            let _inside = runtime.enter();
            OtlpExporter::builder().with_tonic().with_endpoint(&options.endpoint).build()
        };
        let exporter = match exporter {
            Ok(exporter) => exporter,
            Err(error) => {
                runtime.shutdown_background();
                let (endpoint, reason) = (options.endpoint, error.to_string());
                return Err(TraceError::Endpoint { endpoint, reason });
            }
        };
        let resource = resource(&options);
        let handle = Some(runtime.handle().clone());
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(options.queue)
            .with_max_export_batch_size(options.batch)
            .build();
        let sink = Arc::new(Sink::new(exporter, handle, options.queue, &resource, |exporter| {
            BatchSpanProcessor::new(exporter, batches)
        }));
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Shared(sink.clone()))
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(resource)
            .build();
        Ok(Self { options, sink, provider, runtime: Some(runtime) })
    }

    /// Exports the spans that the macros of `tracing` make under [`TARGET`].
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let ours = FilterFn::new(|metadata| metadata.target() == TARGET).with_max_level_hint(LevelFilter::INFO);
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(SCOPE))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_filter(ours)
    }

    /// What operators should know: one sentence each.
    pub fn advice(&self) -> &[String] {
        &self.options.advice
    }

    /// Sends what waits, and ends. A collector that does not answer delays that by no more than a second and a half.
    pub fn stop(mut self) {
        // What could not be sent in time is lost.
        let _ = self.provider.shutdown_with_timeout(FLUSH);
        self.end();
    }

    fn end(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for TraceExport {
    fn drop(&mut self) {
        // Within another runtime this one must not be waited for.
        let _ = self.provider.shutdown_with_timeout(Duration::ZERO);
        self.end();
    }
}

/// What all spans of this process have in common. The environment has the last word.
fn resource(options: &TraceOptions) -> Resource {
    let named = Resource::builder_empty()
        .with_attributes([
            KeyValue::new(key::SERVICE_NAME, SCOPE),
            KeyValue::new(key::SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
            KeyValue::new(key::SERVICE_INSTANCE, options.node.clone()),
            KeyValue::new(key::REGION, options.region.clone()),
        ])
        .with_detector(Box::new(EnvResourceDetector::new()));
    match std::env::var(SERVICE_NAME_VARIABLE) {
        Ok(name) if !name.is_empty() => named.with_attribute(KeyValue::new(key::SERVICE_NAME, name)).build(),
        _ => named.build(),
    }
}

//! The way of spans from the queue to the collector, on a thread of its own.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::registry::LookupSpan;

use super::names::{SCOPE, TARGET, key};
use super::options::{TraceError, TraceOptions};
use super::queue::{Queue, Record, scope};

/// How long the last spans may take when the node stops.
const FLUSH: Duration = Duration::from_millis(1500);
/// How the threads that export give way to those that answer announces: a core that both want gives them a tenth of its
/// time (`sched(7)`), which is several times what they need for one announce in a hundred.
const NICE: i32 = 10;
/// The variable with the name of the service.
const SERVICE_NAME_VARIABLE: &str = "OTEL_SERVICE_NAME";

/// The queue as the provider of a tracer wants it.
#[derive(Debug)]
struct Processor(Arc<Queue>);

impl SpanProcessor for Processor {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.push(Record::Sdk(Box::new(span)));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    /// What waits is sent by [`TraceExport::stop`].
    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The far end of the queue.
pub(super) struct Exporting<E> {
    queue: Arc<Queue>,
    exporter: E,
    scope: InstrumentationScope,
    /// Empty between two rounds.
    records: Vec<Record>,
    /// Fewer than are enough.
    spans: Vec<SpanData>,
}

impl<E: SpanExporter> Exporting<E> {
    /// Takes what is in the queue to the exporter.
    pub(super) fn new(queue: &Arc<Queue>, exporter: E) -> Self {
        Self { queue: queue.clone(), exporter, scope: scope(), records: Vec::new(), spans: Vec::new() }
    }

    /// Exports whenever there is enough, or this time is over, until `stop` resolves; then all that there still is.
    async fn run(mut self, delay: Duration, mut stop: oneshot::Receiver<()>) {
        let mut pause = tokio::time::interval(delay);
        pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut stop => break,
                () = self.queue.enough() => self.round(false).await,
                _ = pause.tick() => self.round(true).await,
            }
        }
        self.round(true).await;
    }

    /// Exports what waits; fewer spans than are enough only if it is to be all.
    pub(super) async fn round(&mut self, all: bool) {
        let mut records = std::mem::take(&mut self.records);
        self.queue.swap(&mut records);
        for record in records.drain(..) {
            record.into_sdk(&self.scope, &mut self.spans);
            while self.spans.len() >= self.queue.batch() {
                self.export().await;
            }
        }
        self.records = records;
        while all && !self.spans.is_empty() {
            self.export().await;
        }
    }

    /// Exports no more than are enough.
    async fn export(&mut self) {
        let count = self.spans.len().min(self.queue.batch());
        // As many again will follow.
        let mut rest = Vec::with_capacity(count);
        rest.extend(self.spans.drain(count..));
        let spans = std::mem::replace(&mut self.spans, rest);
        let counts = self.queue.counts();
        counts.waiting.fetch_sub(count, Relaxed);
        let exported = self.exporter.export(spans).await;
        let became = if exported.is_ok() { &counts.exported } else { &counts.failed };
        let before = became.fetch_add(count as u64, Relaxed);
        if let (Err(error), 0) = (&exported, before) {
            tracing::warn!(
                "the collector does not take traces, which are dropped (tidings_trace_spans_total): {error}"
            );
        }
    }
}

/// The export of this process' traces.
#[derive(Debug)]
pub struct TraceExport {
    pub(super) options: TraceOptions,
    pub(super) queue: Arc<Queue>,
    provider: SdkTracerProvider,
    /// Its one thread does all of it.
    runtime: Option<Runtime>,
    /// Makes it send what waits, and end.
    stop: Option<oneshot::Sender<()>>,
    /// Disconnected when it has.
    stopped: mpsc::Receiver<()>,
}

impl TraceExport {
    /// Starts it. The collector need not be there.
    ///
    /// # Errors
    /// See [`TraceError`].
    pub fn start(options: TraceOptions) -> Result<Self, TraceError> {
        // Threads inherit it from the one that makes them.
        let start = || {
            // Without it all still works.
            let _ = rustix::process::setpriority_process(None, NICE);
            Self::start_here(options)
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().spawn_scoped(scope, start);
            let started = thread.map_err(|error| TraceError::System(error.to_string()))?.join();
            started.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn start_here(options: TraceOptions) -> Result<Self, TraceError> {
        // Apart from the node's own threads, so that it takes nothing from them but time of the processor.
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("traces").enable_all().build();
        let runtime = runtime.map_err(|error| TraceError::System(error.to_string()))?;
        let exporter = {
            let _inside = runtime.enter();
            OtlpExporter::builder().with_tonic().with_endpoint(&options.endpoint).build()
        };
        let mut exporter = match exporter {
            Ok(exporter) => exporter,
            Err(error) => {
                runtime.shutdown_background();
                let (endpoint, reason) = (options.endpoint, error.to_string());
                return Err(TraceError::Endpoint { endpoint, reason });
            }
        };
        let resource = resource(&options);
        exporter.set_resource(&resource);
        let queue = Arc::new(Queue::new(options.queue, options.batch));
        let (stop, stop_requested) = oneshot::channel();
        let (running, stopped) = mpsc::channel();
        let (exporting, delay) = (Exporting::new(&queue, exporter), options.delay);
        runtime.spawn(async move {
            let _running = running;
            exporting.run(delay, stop_requested).await;
        });
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Processor(queue.clone()))
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(resource)
            .build();
        Ok(Self { options, queue, provider, runtime: Some(runtime), stop: Some(stop), stopped })
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
        self.end();
        // What could not be sent in time is lost.
        let _ = self.stopped.recv_timeout(FLUSH);
    }

    fn end(&mut self) {
        // Spans that end from now on come too late.
        let _ = self.provider.shutdown_with_timeout(Duration::ZERO);
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

impl Drop for TraceExport {
    fn drop(&mut self) {
        self.end();
        // Within another runtime this one must not be waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
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

//! A collector: takes traces by OTLP over gRPC, and keeps them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A span, and the node that it comes from.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `service.instance.id`.
    pub node: String,
    pub resource: Resource,
    pub span: Span,
}

impl Seen {
    /// The text of an attribute.
    pub fn attribute(&self, key: &str) -> Option<String> {
        text(&self.span.attributes, key)
    }

    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.span.end_time_unix_nano - self.span.start_time_unix_nano)
    }
}

/// The value of an attribute as text.
pub fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|pair| pair.key == key)?.value.as_ref()?.value.as_ref()?;
    Some(match value {
        Value::StringValue(text) => text.clone(),
        Value::BoolValue(value) => value.to_string(),
        Value::IntValue(value) => value.to_string(),
        other => format!("{other:?}"),
    })
}

#[derive(Clone, Default)]
struct Kept {
    spans: Arc<Mutex<Vec<Seen>>>,
    silent: Arc<AtomicBool>,
    forgets: Arc<AtomicBool>,
}

/// A running collector; gone when dropped.
pub struct Receiver {
    pub addr: SocketAddr,
    kept: Kept,
    runtime: Option<Runtime>,
}

impl Receiver {
    /// One that takes what comes.
    pub fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let kept = Kept::default();
        let service = TraceServiceServer::new(kept.clone());
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        runtime.spawn(async move {
            let incoming = TcpIncoming::from(listener);
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        Self { addr, kept, runtime: Some(runtime) }
    }

    /// One that takes what comes and never answers.
    pub fn silent() -> Self {
        let it = Self::start();
        it.kept.silent.store(true, Relaxed);
        it
    }

    /// Keeps nothing from now on.
    pub fn forget(&self) {
        self.kept.forgets.store(true, Relaxed);
    }

    /// Where it is to be found, as a setting.
    pub fn setting(&self) -> String {
        format!("telemetry.otlp_endpoint=\"http://{}\"", self.addr)
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Seen> {
        self.kept.spans.lock().clone()
    }

    /// The spans of a trace.
    pub fn trace(&self, id: &[u8]) -> Vec<Seen> {
        self.kept.spans.lock().iter().filter(|seen| seen.span.trace_id == id).cloned().collect()
    }

    /// Ends it in the middle of whatever it does.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if self.silent.load(Relaxed) {
            return std::future::pending().await;
        }
        if self.forgets.load(Relaxed) {
            return Ok(Response::new(ExportTraceServiceResponse::default()));
        }
        let mut spans = self.spans.lock();
        for of_resource in request.into_inner().resource_spans {
            let resource = of_resource.resource.unwrap_or_default();
            let node = text(&resource.attributes, "service.instance.id").unwrap_or_default();
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.push(Seen { node: node.clone(), resource: resource.clone(), span });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

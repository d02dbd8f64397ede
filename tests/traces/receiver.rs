//! A collector in this process, which receives traces by OTLP over gRPC and stores them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{self, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::http::{self, HeaderMap};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// A span and the node that has exported it.
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
struct Stored {
    spans: Arc<Mutex<Vec<Seen>>>,
    silent: Arc<AtomicBool>,
}

/// A running collector, which ends with the value.
pub struct Receiver {
    pub addr: SocketAddr,
    stored: Stored,
    runtime: Option<Runtime>,
}

impl Receiver {
    /// Stores all spans.
    pub fn start() -> Self {
        let stored = Stored::default();
        Self::serve(TraceServiceServer::new(stored.clone()), stored, || {})
    }

    /// Accepts all spans without decoding them, at a lower priority than the load: decoding a span costs more than making
    /// it, and the load needs the processor.
    pub fn discarding() -> Self {
        Self::serve(Discarding, Stored::default(), || rustix::process::setpriority_process(None, 5).unwrap())
    }

    fn serve<S>(service: S, stored: Stored, begin: fn()) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().on_thread_start(begin).build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        runtime.spawn(async move {
            let incoming = TcpIncoming::from(listener);
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        Self { addr, stored, runtime: Some(runtime) }
    }

    /// Accepts requests and never answers.
    pub fn silent() -> Self {
        let it = Self::start();
        it.stored.silent.store(true, Relaxed);
        it
    }

    /// The setting that names it.
    pub fn setting(&self) -> String {
        format!("telemetry.otlp_endpoint=\"http://{}\"", self.addr)
    }

    pub fn spans(&self) -> Vec<Seen> {
        self.stored.spans.lock().clone()
    }

    pub fn trace(&self, id: &[u8]) -> Vec<Seen> {
        self.stored.spans.lock().iter().filter(|seen| seen.span.trace_id == id).cloned().collect()
    }

    /// Ends it without finishing any request.
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

/// Answers every export with success.
#[derive(Clone)]
struct Discarding;

impl NamedService for Discarding {
    const NAME: &'static str = <TraceServiceServer<Stored> as NamedService>::NAME;
}

impl Service<http::Request<Body>> for Discarding {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async {
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.frame().await {}
            let status = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
            // A message of no bytes, which is a response without any field.
            let message = Full::new(Bytes::from_static(&[0; 5])).with_trailers(async { Some(Ok(status)) });
            let response = http::Response::builder().header("content-type", "application/grpc");
            Ok(response.body(Body::new(message)).unwrap())
        })
    }
}

#[tonic::async_trait]
impl TraceService for Stored {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if self.silent.load(Relaxed) {
            return std::future::pending().await;
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

//! A collector: takes traces by OTLP over gRPC, and keeps them.

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
        let kept = Kept::default();
        Self::serve(TraceServiceServer::new(kept.clone()), kept, || {})
    }

    /// One that takes what comes and looks at none of it, and gives way to the load: to read every span would cost more
    /// than to make it, and what the collector takes of the processor the load would lack.
    pub fn careless() -> Self {
        Self::serve(Careless, Kept::default(), || rustix::process::setpriority_process(None, 5).unwrap())
    }

    fn serve<S>(service: S, kept: Kept, begin: fn()) -> Self
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
        Self { addr, kept, runtime: Some(runtime) }
    }

    /// One that takes what comes and never answers.
    pub fn silent() -> Self {
        let it = Self::start();
        it.kept.silent.store(true, Relaxed);
        it
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

/// Answers that all is well.
#[derive(Clone)]
struct Careless;

impl NamedService for Careless {
    const NAME: &'static str = <TraceServiceServer<Kept> as NamedService>::NAME;
}

impl Service<http::Request<Body>> for Careless {
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
impl TraceService for Kept {
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

//! The bare HTTP responder: hyper on one thread with a constant body.

use std::convert::Infallible;
use std::net::SocketAddrV4;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Answers every request on `listen` with `body` bytes until the process is ended.
pub fn run(listen: SocketAddrV4, body: usize) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(listen, Bytes::from(vec![b'0'; body])))
}

async fn serve(listen: SocketAddrV4, body: Bytes) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let body = body.clone();
        tokio::spawn(async move {
            let service = service_fn(move |_: Request<Incoming>| {
                let reply = Response::new(Full::new(body.clone()));
                async move { Ok::<_, Infallible>(reply) }
            });
            // A client that goes away is no concern of this responder.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

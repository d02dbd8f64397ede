//! Requests over HTTP/1.1, plain or TLS, one at a time.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::head::{Head, HeadError, header, parse_head};

/// More than any answer to a request for a few peers needs.
const MAX_RESPONSE: usize = 64 << 10;

/// The trusted certificates, and the name that the server must prove.
#[derive(Clone, Debug)]
pub struct Tls {
    pub config: Arc<ClientConfig>,
    /// The host of the URL.
    pub name: ServerName<'static>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection to one tracker, reopened when the tracker closes it between requests.
pub struct HttpClient {
    addr: SocketAddr,
    tls: Option<Tls>,
    /// All header lines, each with its end.
    headers: String,
    local: Option<IpAddr>,
    stream: Option<Box<dyn Stream>>,
    /// Whether the stream has already carried an answer.
    proven: bool,
}

/// A response with status 200.
#[derive(Debug)]
pub struct HttpReply {
    input: Vec<u8>,
    body: usize,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The connection cannot be opened, or broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error(transparent)]
    Head(#[from] HeadError),
    #[error("the connection was closed without an answer")]
    Closed,
    #[error("the connection was closed within a response")]
    Cut,
    #[error("{0} bytes follow the response")]
    Trailing(usize),
    #[error("a response of more than {MAX_RESPONSE} bytes")]
    TooLong,
}

impl HttpClient {
    /// A client of the tracker at `addr`, with `authority` as `Host` header, and over HTTPS with `tls`. It is not connected
    /// yet.
    pub fn new(addr: SocketAddr, authority: &str, tls: Option<Tls>) -> Self {
        let headers =
            format!("Host: {authority}\r\nUser-Agent: {}\r\n", concat!("tidings/", env!("CARGO_PKG_VERSION")));
        Self { addr, tls, headers, local: None, stream: None, proven: false }
    }

    /// Adds a header to all requests from now on.
    pub fn add_header(&mut self, name: &str, value: &str) {
        self.headers += &format!("{name}: {value}\r\n");
    }

    /// The local address, once connected.
    pub fn local_ip(&self) -> Option<IpAddr> {
        self.local
    }

    /// Opens the connection.
    ///
    /// # Errors
    /// [`HttpError::Io`] and [`HttpError::Tls`].
    pub async fn connect(&mut self) -> Result<(), HttpError> {
        let stream = TcpStream::connect(self.addr).await?;
        stream.set_nodelay(true)?;
        self.local = Some(stream.local_addr()?.ip());
        self.proven = false;
        self.stream = Some(match &self.tls {
            None => Box::new(stream),
            Some(tls) => {
                let connector = TlsConnector::from(tls.config.clone());
                Box::new(connector.connect(tls.name.clone(), stream).await.map_err(HttpError::Tls)?)
            }
        });
        Ok(())
    }

    /// Sends a GET for `target` and returns the response. There is no timeout: the caller sets one and may drop this future
    /// at any time.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub async fn get(&mut self, target: &[u8]) -> Result<HttpReply, HttpError> {
        // Taken out, so that a dropped request closes its connection.
        if let Some(stream) = self.stream.take() {
            let proven = self.proven;
            match self.send(stream, target).await {
                // A tracker may close an idle connection at any time: retry once, as HTTP clients do.
                Err(HttpError::Closed | HttpError::Io(_)) if proven => {}
                answer => return answer,
            }
        }
        self.connect().await?;
        let stream = self.stream.take().ok_or(HttpError::Closed)?;
        self.send(stream, target).await
    }

    async fn send(&mut self, mut stream: Box<dyn Stream>, target: &[u8]) -> Result<HttpReply, HttpError> {
        let request = [b"GET ", target, b" HTTP/1.1\r\n", self.headers.as_bytes(), b"\r\n"].concat();
        stream.write_all(&request).await?;
        stream.flush().await?;
        let (reply, keep_alive) = read(&mut stream).await?;
        if keep_alive {
            (self.stream, self.proven) = (Some(stream), true);
        }
        Ok(reply)
    }
}

/// Reads one response; true if the connection can carry another one.
async fn read(stream: &mut Box<dyn Stream>) -> Result<(HttpReply, bool), HttpError> {
    let mut input = Vec::new();
    loop {
        let ended = match stream.read_buf(&mut input).await {
            Ok(len) => len == 0,
            // Many servers close without a TLS close_notify; a truncated response is found below.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => true,
            Err(error) => return Err(error.into()),
        };
        if input.len() > MAX_RESPONSE {
            return Err(HttpError::TooLong);
        }
        match parse_head(&input)? {
            Some(Head { body, total: None, .. }) if ended => return Ok((HttpReply { input, body }, false)),
            Some(Head { total: Some(total), .. }) if input.len() > total => {
                return Err(HttpError::Trailing(input.len() - total));
            }
            Some(Head { keep_alive, body, total: Some(total) }) if input.len() == total => {
                return Ok((HttpReply { input, body }, keep_alive && !ended));
            }
            _ if ended && input.is_empty() => return Err(HttpError::Closed),
            _ if ended => return Err(HttpError::Cut),
            _ => {}
        }
    }
}

impl HttpReply {
    pub fn body(&self) -> &[u8] {
        &self.input[self.body..]
    }

    /// The value of the first header with this name, ignoring case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.input[..self.body], name)
    }
}

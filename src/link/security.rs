//! Proof of who is at the other end: none, or TLS with certificates on both sides.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::net::Stream;
use crate::cluster::NodeId;

/// rustls asks the socket for 4 KiB at a time.
const READ_AHEAD: usize = 64 << 10;

/// How a link is secured.
#[derive(Clone)]
pub enum Security {
    /// Not at all: for networks of one's own, and tests.
    Plain,
    /// By TLS. Both configurations have to ask for a certificate of the other side.
    Tls {
        /// For connections that others open.
        server: Arc<rustls::ServerConfig>,
        /// For those that this node opens.
        client: Arc<rustls::ClientConfig>,
        /// The name in the certificate of a node.
        name: fn(&NodeId) -> String,
        /// Whether a certificate, whose issuer was checked before, is that of a node.
        verify: fn(&CertificateDer<'_>, &NodeId) -> bool,
    },
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Plain) { "Plain" } else { "Tls" })
    }
}

/// A connection, and the certificate of the other side.
pub(super) struct Secured {
    pub(super) stream: Box<dyn Stream>,
    certificate: Option<CertificateDer<'static>>,
}

impl Security {
    /// Secures a connection that this node has opened.
    pub(super) async fn connect(&self, stream: Box<dyn Stream>, to: &NodeId) -> io::Result<Secured> {
        let Self::Tls { client, name, .. } = self else {
            return Ok(Secured { stream, certificate: None });
        };
        let name = ServerName::try_from(name(to)).map_err(io::Error::other)?;
        let stream = BufReader::with_capacity(READ_AHEAD, stream);
        let stream = TlsConnector::from(client.clone()).connect(name, stream).await?;
        let certificate = first(stream.get_ref().1.peer_certificates());
        Ok(Secured { stream: Box::new(stream), certificate })
    }

    /// Secures a connection that another node has opened.
    pub(super) async fn accept(&self, stream: Box<dyn Stream>) -> io::Result<Secured> {
        let Self::Tls { server, .. } = self else {
            return Ok(Secured { stream, certificate: None });
        };
        let stream = BufReader::with_capacity(READ_AHEAD, stream);
        match TlsAcceptor::from(server.clone()).accept(stream).into_fallible().await {
            Ok(stream) => {
                let certificate = first(stream.get_ref().1.peer_certificates());
                Ok(Secured { stream: Box::new(stream), certificate })
            }
            Err((error, stream)) => {
                linger(stream).await;
                Err(error)
            }
        }
    }

    /// Whether the other side is the node that it says it is.
    pub(super) fn is(&self, secured: &Secured, node: &NodeId) -> bool {
        match self {
            Self::Plain => true,
            Self::Tls { verify, .. } => secured.certificate.as_ref().is_some_and(|cert| verify(cert, node)),
        }
    }
}

fn first(chain: Option<&[CertificateDer<'static>]>) -> Option<CertificateDer<'static>> {
    chain.and_then(|chain| chain.first()).cloned()
}

/// Whether TLS itself refused the connection, on this side or the other.
pub(super) fn refusal(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|error| error.downcast_ref())
}

/// Ends a connection so that the other side gets to read the last words: to close it with bytes unread would reset it.
pub(super) async fn linger(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
    let _ = tokio::time::timeout(Duration::from_secs(1), async {
        stream.shutdown().await?;
        let mut ignored = [0; 1024];
        for _ in 0..64 {
            if stream.read(&mut ignored).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    })
    .await;
}

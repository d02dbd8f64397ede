//! A client of one's own: announces over UDP and HTTP as peers do, and checks every byte of the answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::router::Unavailable;
use crate::swarm::{Event, Family, InfoHash};
use crate::wire::bencode::{self, Value};
use crate::wire::udp::{self, ConnectionId, Options, Response, ResponseError, TransactionId};

/// The info hash that probes announce, reserved for them.
pub(super) const INFO_HASH: InfoHash = InfoHash(*b"tidings readiness v1");
/// The port that probes announce. Always the same, so that all probes are one peer of one swarm.
const PORT: u16 = 9;
const PEER_ID: &[u8; 20] = b"-TIDNGS-readiness-v1";
/// After this time without an answer a datagram is sent again.
const RESEND: Duration = Duration::from_millis(300);
/// More bytes than any reply to a probe has.
const MAX_REPLY: usize = 16 << 10;

/// What a tracker said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The announce is applied.
    Announced,
    /// It is not, for this reason.
    Refused(String),
}

/// Why a probe has no answer, or a bad one.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("no answer within {} ms", .0.as_millis())]
    NoAnswer(Duration),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Unavailable(#[from] Unavailable),
    #[error("refused: {0}")]
    Refused(String),
    #[error("malformed UDP reply: {0}")]
    Udp(#[from] ResponseError),
    #[error("a UDP reply of the wrong kind")]
    UdpKind,
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("HTTP: {0}")]
    HttpBody(Box<dyn std::error::Error + Send + Sync>),
    #[error("HTTP status {0}")]
    HttpStatus(StatusCode),
    #[error("not a request: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("malformed bencode: {0}")]
    Bencode(#[from] bencode::Error),
    #[error("the reply has no valid {0:?}")]
    Key(&'static str),
}

/// Connects, announces and stops again, over UDP.
pub(super) async fn udp(addr: SocketAddr) -> Result<Answer, ProbeError> {
    let (any, family): (IpAddr, _) = match addr {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), Family::V4),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), Family::V6),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(addr).await?;
    let mut buffer = vec![0; MAX_REPLY];

    let mut request = Vec::new();
    udp::encode_connect(&mut request, TransactionId(1));
    let connection_id = match exchange(&socket, &request, TransactionId(1), family, &mut buffer).await? {
        Response::Connect { connection_id, .. } => connection_id,
        Response::Error { message, .. } => return Ok(refused(message)),
        _ => return Err(ProbeError::UdpKind),
    };
    for (id, event) in [(2, Event::Started), (3, Event::Stopped)] {
        request.clear();
        udp::encode_announce(&mut request, &announce(connection_id, TransactionId(id), event), PEER_ID);
        match exchange(&socket, &request, TransactionId(id), family, &mut buffer).await? {
            Response::Announce { interval: 1.., .. } => {}
            Response::Error { message, .. } => return Ok(refused(message)),
            _ => return Err(ProbeError::UdpKind),
        }
    }
    Ok(Answer::Announced)
}

fn announce(connection_id: ConnectionId, transaction_id: TransactionId, event: Event) -> udp::Announce<'static> {
    udp::Announce {
        connection_id,
        transaction_id,
        info_hash: INFO_HASH,
        event,
        left: 1,
        key: 0,
        num_want: 1,
        port: PORT,
        options: Options::new(&[]),
    }
}

/// Sends a request, again and again as datagrams may get lost, until its reply is there. Never ends without one.
async fn exchange<'a>(
    socket: &UdpSocket,
    request: &[u8],
    id: TransactionId,
    family: Family,
    buffer: &'a mut [u8],
) -> Result<Response<'a>, ProbeError> {
    let len = loop {
        socket.send(request).await?;
        let answered = async {
            loop {
                let len = socket.recv(buffer).await?;
                // Others are late replies to what was sent twice.
                if udp::parse_response(&buffer[..len], family)?.transaction_id() == id {
                    return Ok::<_, ProbeError>(len);
                }
            }
        };
        if let Ok(answered) = timeout(RESEND, answered).await {
            break answered?;
        }
    };
    Ok(udp::parse_response(&buffer[..len], family)?)
}

fn refused(message: &[u8]) -> Answer {
    Answer::Refused(String::from_utf8_lossy(message).into_owned())
}

/// Announces and stops again, over one plain HTTP connection. The header that proxies name their clients in is sent
/// along, for the case that this host is a trusted proxy; others are not believed, and do no harm.
pub(super) async fn http(addr: SocketAddr, proxy_header: &str) -> Result<Answer, ProbeError> {
    let stream = TcpStream::connect(addr).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let talk = async {
        for event in ["started", "stopped"] {
            let body = get(&mut sender, addr, proxy_header, event).await?;
            if let Answer::Refused(reason) = read_announce(&body)? {
                return Ok(Answer::Refused(reason));
            }
        }
        Ok(Answer::Announced)
    };
    // The connection makes no progress by itself. When it ends early, so does the request on it.
    let (mut talk, mut connection) = (std::pin::pin!(talk), std::pin::pin!(connection));
    tokio::select! {
        answer = &mut talk => answer,
        ended = &mut connection => {
            ended?;
            talk.await
        }
    }
}

async fn get(
    sender: &mut SendRequest<Empty<Bytes>>,
    addr: SocketAddr,
    proxy_header: &str,
    event: &str,
) -> Result<Bytes, ProbeError> {
    let info_hash = percent_encode(&INFO_HASH.0, NON_ALPHANUMERIC);
    let peer_id = percent_encode(PEER_ID, NON_ALPHANUMERIC);
    let request = Request::get(format!(
        "/announce?info_hash={info_hash}&peer_id={peer_id}&port={PORT}&uploaded=0&downloaded=0&left=1&compact=1\
         &numwant=1&event={event}"
    ))
    .header(HOST, addr.to_string())
    .header(USER_AGENT, concat!("tidings/", env!("CARGO_PKG_VERSION"), " readiness"))
    .header(proxy_header, addr.ip().to_string())
    .body(Empty::new())?;
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::OK {
        return Err(ProbeError::HttpStatus(response.status()));
    }
    let body = Limited::new(response.into_body(), MAX_REPLY).collect().await.map_err(ProbeError::HttpBody)?;
    Ok(body.to_bytes())
}

/// Reads the reply to an announce, strictly.
fn read_announce(body: &[u8]) -> Result<Answer, ProbeError> {
    let reply = bencode::parse(body)?;
    if let Some(reason) = reply.get("failure reason").and_then(Value::as_bytes) {
        return Ok(refused(reason));
    }
    for (key, least) in [("interval", 1), ("complete", 0), ("incomplete", 0)] {
        if reply.get(key).and_then(Value::as_int).is_none_or(|number| number < least) {
            return Err(ProbeError::Key(key));
        }
    }
    let compact = |key, family: Family| match reply.get(key) {
        None => Ok(false),
        Some(value) if value.as_bytes().is_some_and(|peers| peers.len().is_multiple_of(family.stride())) => Ok(true),
        Some(_) => Err(ProbeError::Key(key)),
    };
    let (v4, v6) = (compact("peers", Family::V4)?, compact("peers6", Family::V6)?);
    if v4 || v6 { Ok(Answer::Announced) } else { Err(ProbeError::Key("peers")) }
}

#[cfg(test)]
mod tests;

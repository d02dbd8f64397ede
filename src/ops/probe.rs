//! The readiness probes: announce over UDP and HTTP as a peer does, and check every byte of the replies.

use std::net::SocketAddr;
use std::time::Duration;

use crate::client::{
    AnnounceParams, HttpClient, HttpError, ReplyError, Resend, UdpClient, UdpError, announce_target, read_announce,
};
use crate::router::Unavailable;
use crate::swarm::{Event, InfoHash};
use crate::wire::udp::{self, Options, Response, TransactionId};

/// The info hash that probes announce, reserved for them.
pub(super) const INFO_HASH: InfoHash = InfoHash(*b"tidings readiness v1");
/// The port that probes announce. Always the same, so that all probes are one peer of one swarm.
const PORT: u16 = 9;
const PEER_ID: &[u8; 20] = b"-TIDNGS-readiness-v1";
/// Datagrams are resent until the deadline of the check.
const RESEND: Resend = Resend { after: Duration::from_millis(300), times: u32::MAX };

/// The reply of a tracker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Announced,
    /// With the reason.
    Refused(String),
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("no answer within {} ms", .0.as_millis())]
    NoAnswer(Duration),
    #[error("{0}")]
    Unavailable(#[from] Unavailable),
    #[error("refused: {0}")]
    Refused(String),
    #[error("UDP: {0}")]
    Udp(#[from] UdpError),
    #[error("a UDP reply of the wrong kind")]
    UdpKind,
    #[error("HTTP: {0}")]
    Http(#[from] HttpError),
    #[error("malformed reply: {0}")]
    Reply(#[from] ReplyError),
    #[error("the reply has no valid {0:?}")]
    Key(&'static str),
}

/// Connects, announces and stops again, over UDP.
pub(super) async fn udp(addr: SocketAddr) -> Result<Answer, ProbeError> {
    let mut client = UdpClient::new(addr, TransactionId(1), RESEND).await.map_err(UdpError::Io)?;
    let connection_id = match client.exchange(udp::encode_connect).await? {
        Response::Connect { connection_id, .. } => connection_id,
        Response::Error { message, .. } => return Ok(refused(message)),
        _ => return Err(ProbeError::UdpKind),
    };
    for event in [Event::Started, Event::Stopped] {
        let params = params(event);
        let encode = |out: &mut Vec<u8>, id| params.encode_udp(out, connection_id, id, Options::default());
        match client.exchange(encode).await? {
            Response::Announce { interval: 1.., .. } => {}
            Response::Error { message, .. } => return Ok(refused(message)),
            _ => return Err(ProbeError::UdpKind),
        }
    }
    Ok(Answer::Announced)
}

fn params(event: Event) -> AnnounceParams {
    AnnounceParams { info_hash: INFO_HASH, peer_id: *PEER_ID, key: 0, event, left: 1, num_want: 1, port: PORT }
}

fn refused(message: &[u8]) -> Answer {
    Answer::Refused(String::from_utf8_lossy(message).into_owned())
}

/// Announces and stops again, over one plain HTTP connection. It sends the header in which proxies name their clients, in
/// case this host is a trusted proxy; otherwise the tracker ignores it.
pub(super) async fn http(addr: SocketAddr, proxy_header: &str) -> Result<Answer, ProbeError> {
    let mut client = HttpClient::new(addr, &addr.to_string(), None);
    client.add_header(proxy_header, &addr.ip().to_string());
    for event in [Event::Started, Event::Stopped] {
        let mut target = Vec::new();
        announce_target(&mut target, "/announce", &params(event));
        if let Answer::Refused(reason) = check_reply(client.get(&target).await?.body())? {
            return Ok(Answer::Refused(reason));
        }
    }
    Ok(Answer::Announced)
}

/// Checks the reply to an announce strictly.
fn check_reply(body: &[u8]) -> Result<Answer, ProbeError> {
    let reply = match read_announce(body) {
        Err(ReplyError::Refused(reason)) => return Ok(Answer::Refused(reason)),
        reply => reply?,
    };
    if reply.interval == 0 {
        return Err(ProbeError::Key("interval"));
    }
    for (key, is_there) in [
        ("complete", reply.seeders.is_some()),
        ("incomplete", reply.leechers.is_some()),
        ("peers", reply.peers.is_some() || reply.peers6.is_some()),
    ] {
        if !is_there {
            return Err(ProbeError::Key(key));
        }
    }
    Ok(Answer::Announced)
}

#[cfg(test)]
mod tests;

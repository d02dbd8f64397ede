//! What both sides of a new connection send each other, and check.

use std::io;

use tokio::io::AsyncWriteExt;

use super::api::LinkError;
use super::connection::{End, Input};
use super::limits::Class;
use super::net::Stream;
use super::security::{Secured, Security, linger, refusal};
use crate::cluster::NodeId;
use crate::faults;
use crate::wire::peer::{self, Frame, FrameError, Hello, Opening, Welcome};

/// Bytes of a frame before the peer is authenticated.
const FRAME: usize = 4096;
/// Characters of a refusal that are kept.
const SENTENCE: usize = 300;

/// What two nodes disagree about.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Mismatch {
    #[error("the clusters differ: {theirs:?} wants a link with {ours:?}; check cluster.name")]
    Cluster { ours: String, theirs: String },
    #[error("two nodes are called {0:?}; give each its own node.id")]
    Duplicate(String),
    #[error("the node is {is:?}, not {wanted:?}; check the addresses of both")]
    Name { is: String, wanted: String },
    #[error("the node {node:?} is of incarnation {is}, not {wanted}; one of the two has restarted")]
    Incarnation { node: String, is: u64, wanted: u64 },
    #[error("a later start of {0:?} is connected")]
    Superseded(String),
    #[error("the certificate is not that of {0:?}; check the cluster's key files")]
    Certificate(String),
    #[error(
        "the versions of the protocol do not overlap: {}-{} and {}-{}; update the older node",
        ours[0], ours[1], theirs[0], theirs[1]
    )]
    Version { ours: [u16; 2], theirs: [u16; 2] },
    #[error("the nodes have {ours} and {theirs} partitions; set cluster.partitions to the same number")]
    Partitions { ours: u16, theirs: u16 },
    #[error("the nodes keep {ours} and {theirs} replicas in a region; set the same number on both")]
    Replicas { ours: u8, theirs: u8 },
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// This node refuses.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The other one does, and says this.
    #[error("refused by the peer: {0}")]
    Refused(String),
    /// TLS does.
    #[error("TLS: {0}; check the cluster's key files")]
    Tls(rustls::Error),
    /// It broke on the way.
    #[error(transparent)]
    End(#[from] End),
    /// It took too long.
    #[error("the handshake took too long")]
    Slow,
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match refusal(&error) {
            Some(error) => Self::Tls(error.clone()),
            None => Self::End(End::Io(error)),
        }
    }
}

impl HandshakeError {
    /// Retrying is pointless until an operator fixes the setup.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Mismatch(_) | Self::Refused(_) | Self::Tls(_) => true,
            Self::End(End::Frame(_)) => true,
            Self::End(End::Io(error)) => refusal(error).is_some(),
            Self::End(_) | Self::Slow => false,
        }
    }
}

impl From<HandshakeError> for LinkError {
    fn from(_: HandshakeError) -> Self {
        Self::NotConnected
    }
}

/// Whether two nodes fit together, and the highest version that both speak.
pub(super) fn check(ours: &Hello, theirs: &Hello) -> Result<u16, Mismatch> {
    if ours.cluster != theirs.cluster {
        return Err(Mismatch::Cluster { ours: ours.cluster.clone(), theirs: theirs.cluster.clone() });
    }
    if ours.node == theirs.node {
        return Err(Mismatch::Duplicate(ours.node.clone()));
    }
    let version = ours.versions[1].min(theirs.versions[1]);
    if version < ours.versions[0].max(theirs.versions[0]) {
        return Err(Mismatch::Version { ours: ours.versions, theirs: theirs.versions });
    }
    if ours.partitions != theirs.partitions {
        return Err(Mismatch::Partitions { ours: ours.partitions, theirs: theirs.partitions });
    }
    if ours.replicas != theirs.replicas {
        return Err(Mismatch::Replicas { ours: ours.replicas, theirs: theirs.replicas });
    }
    Ok(version)
}

/// A connection that may be used.
pub(super) struct Opened {
    pub(super) stream: Box<dyn Stream>,
    pub(super) input: Input,
    pub(super) version: u16,
}

/// The side that has opened the connection.
pub(super) async fn call(
    ours: &Hello,
    security: &Security,
    stream: Box<dyn Stream>,
    to: &NodeId,
    incarnation: u64,
    class: Class,
) -> Result<Opened, HandshakeError> {
    let mut secured = security.connect(stream, to).await?;
    if !security.is(&secured, to) {
        return Err(Mismatch::Certificate(to.to_string()).into());
    }
    let opening = Opening {
        hello: ours.clone(),
        bulk: class == Class::Bulk,
        target: to.to_string(),
        target_incarnation: incarnation,
    };
    let mut bytes = Vec::new();
    peer::write_hello(&mut bytes, &opening, FRAME).map_err(End::Frame)?;
    send(&mut secured.stream, &bytes).await?;
    let mut input = Input::default();
    let answer = input.frame(&mut secured.stream, FRAME, |frame| match frame {
        Frame::Welcome(body) => Ok(peer::decode::<Welcome>(body).map_err(End::Frame)?),
        Frame::Refuse(why) => Err(HandshakeError::Refused(sentence(why))),
        _ => Err(End::Frame(FrameError::Kind).into()),
    });
    let welcome = answer.await.map_err(unwrap_tls)??;
    let theirs = &welcome.hello;
    let highest = check(ours, theirs)?;
    expect(theirs, to.as_str(), incarnation)?;
    if welcome.version != highest {
        return Err(Mismatch::Version { ours: ours.versions, theirs: theirs.versions }.into());
    }
    Ok(Opened { stream: secured.stream, input, version: welcome.version })
}

/// A connection that another node has opened, before this node has replied.
pub(super) struct Called {
    secured: Secured,
    input: Input,
    pub(super) opening: Opening,
    version: u16,
}

/// The first half of the other side: secures the connection, and checks who calls. Tells the peer if it is refused.
pub(super) async fn hear(ours: &Hello, security: &Security, stream: Box<dyn Stream>) -> Result<Called, HandshakeError> {
    let mut secured = security.accept(stream).await?;
    let mut input = Input::default();
    let opening = input.frame(&mut secured.stream, FRAME, |frame| match frame {
        Frame::Hello(body) => peer::decode::<Opening>(body),
        _ => Err(FrameError::Kind),
    });
    let opening = opening.await.map_err(unwrap_tls)?.map_err(End::Frame)?;
    let theirs = &opening.hello;
    let checked = check(ours, theirs).and_then(|version| {
        if !security.is(&secured, &NodeId::from(theirs.node.as_str())) {
            return Err(Mismatch::Certificate(theirs.node.clone()));
        }
        expect(ours, &opening.target, opening.target_incarnation)?;
        Ok(version)
    });
    match checked {
        Ok(version) => Ok(Called { secured, input, opening, version }),
        Err(mismatch) => {
            refuse(secured.stream, &mismatch).await;
            Err(mismatch.into())
        }
    }
}

impl Called {
    /// Takes the connection.
    pub(super) async fn welcome(mut self, ours: &Hello) -> Result<Opened, HandshakeError> {
        let welcome = Welcome { hello: ours.clone(), version: self.version };
        let mut bytes = Vec::new();
        peer::write_welcome(&mut bytes, &welcome, FRAME).map_err(End::Frame)?;
        send(&mut self.secured.stream, &bytes).await?;
        Ok(Opened { stream: self.secured.stream, input: self.input, version: self.version })
    }

    /// Does not take it.
    pub(super) async fn refuse(self, mismatch: &Mismatch) {
        refuse(self.secured.stream, mismatch).await;
    }
}

/// Whether a node is the expected one.
fn expect(is: &Hello, node: &str, incarnation: u64) -> Result<(), Mismatch> {
    if is.node != node {
        return Err(Mismatch::Name { is: is.node.clone(), wanted: node.to_owned() });
    }
    if is.incarnation != incarnation && !faults::NO_FENCING.is_on() {
        return Err(Mismatch::Incarnation { node: is.node.clone(), is: is.incarnation, wanted: incarnation });
    }
    Ok(())
}

async fn refuse(mut stream: Box<dyn Stream>, mismatch: &Mismatch) {
    let mut bytes = Vec::new();
    let written = peer::write_refuse(&mut bytes, &sentence(&mismatch.to_string()), FRAME);
    if written.is_ok() && send(&mut stream, &bytes).await.is_ok() {
        linger(stream).await;
    }
}

async fn send(stream: &mut Box<dyn Stream>, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// What a peer says, fit for a log.
fn sentence(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(SENTENCE).collect()
}

fn unwrap_tls(end: End) -> HandshakeError {
    match end {
        End::Io(error) => error.into(),
        end => end.into(),
    }
}

//! A peer that does what it likes.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::wire::peer::{self, Frame, Opening, Parsed, Welcome};

/// One connection, byte by byte.
pub struct Raw {
    pub stream: TcpStream,
    bytes: Vec<u8>,
}

impl Raw {
    pub async fn connect(addr: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(addr).await.unwrap(), bytes: Vec::new() }
    }

    /// A connection that is through with its handshake.
    pub async fn greeted(addr: SocketAddr, from: &str, to: &str) -> Self {
        let mut raw = Self::connect(addr).await;
        raw.send(&opening(&hello(from), to)).await;
        raw.frame(|frame| assert!(matches!(frame, Frame::Welcome(_)), "{frame:?}")).await;
        raw
    }

    /// What a node that calls here gets to talk to.
    pub async fn accept(listener: &TcpListener, node: &str) -> Self {
        let mut raw = Self { stream: listener.accept().await.unwrap().0, bytes: Vec::new() };
        raw.frame(|frame| assert!(matches!(frame, Frame::Hello(_)), "{frame:?}")).await;
        let mut welcome = Vec::new();
        peer::write_welcome(&mut welcome, &Welcome { hello: hello(node), version: 1 }, 4096).unwrap();
        raw.send(&welcome).await;
        raw
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame.
    pub async fn frame<T>(&mut self, take: impl FnOnce(Frame<'_>) -> T) -> T {
        loop {
            if let Parsed::Frame(frame, used) = peer::parse(&self.bytes, 1 << 20).unwrap() {
                let taken = take(frame);
                self.bytes.drain(..used);
                return taken;
            }
            let read = tokio::time::timeout(10 * SECOND, self.stream.read_buf(&mut self.bytes)).await;
            assert_ne!(read.expect("a frame").unwrap(), 0, "closed");
        }
    }

    /// The next reply.
    pub async fn reply(&mut self) -> (u64, Reply) {
        self.frame(|frame| match frame {
            Frame::Reply { id, body, .. } => (id, peer::decode(body).unwrap()),
            frame => panic!("{frame:?}"),
        })
        .await
    }

    /// Reads until the other side has closed the connection.
    pub async fn closed(&mut self) {
        let mut ignored = Vec::new();
        let read = tokio::time::timeout(10 * SECOND, self.stream.read_to_end(&mut ignored)).await;
        let _ = read.expect("the connection ends");
    }
}

pub fn opening(hello: &Hello, to: &str) -> Vec<u8> {
    let opening = Opening { hello: hello.clone(), bulk: false, target: to.into(), target_incarnation: 1 };
    let mut bytes = Vec::new();
    peer::write_hello(&mut bytes, &opening, 4096).unwrap();
    bytes
}

pub fn request(id: u64, incarnation: u64, request: &Request) -> Vec<u8> {
    let mut bytes = Vec::new();
    peer::write_request(&mut bytes, id, incarnation, request, &[], 1 << 20).unwrap();
    bytes
}

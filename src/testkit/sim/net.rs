//! Links over turmoil's TCP, whose frames are inspected: they show what nodes really send to each other.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::link::net::{Listener, Net, Stream};
use crate::wire::peer::{Frame, Parsed, Refusal, Reply, Request, decode, parse};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use super::World;
use super::invariants::{i5_one_hop, i8_fencing};

pub const PORT: u16 = 7072;

/// The network of one run of a node.
pub struct SimNet {
    pub world: Arc<World>,
    pub node: usize,
    pub incarnation: u64,
}

impl Net for SimNet {
    fn connect(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let watch = Watch::new(self, false);
        Box::pin(async move {
            let stream = TcpStream::connect(addr).await?;
            Ok(Box::new(Watched { stream, watch }) as Box<dyn Stream>)
        })
    }

    fn listen(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let (world, node, incarnation) = (self.world.clone(), self.node, self.incarnation);
        Box::pin(async move {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, addr.port())).await?;
            let net = SimNet { world, node, incarnation };
            Ok(Box::new(SimListener { listener, net }) as Box<dyn Listener>)
        })
    }
}

struct SimListener {
    listener: TcpListener,
    net: SimNet,
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        Box::pin(async {
            let (stream, peer) = self.listener.accept().await?;
            let watch = Watch::new(&self.net, true);
            Ok((Box::new(Watched { stream, watch }) as Box<dyn Stream>, peer))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

struct Watched {
    stream: TcpStream,
    watch: Watch,
}

/// The inspected state of a connection.
struct Watch {
    world: Arc<World>,
    node: usize,
    incarnation: u64,
    /// The other side has opened it.
    inbound: bool,
    read: Mutex<Vec<u8>>,
    written: Mutex<Vec<u8>>,
    /// Requests for another incarnation that must be refused.
    foreign: Mutex<BTreeSet<u64>>,
}

impl Watch {
    fn new(net: &SimNet, inbound: bool) -> Self {
        let (world, node, incarnation) = (net.world.clone(), net.node, net.incarnation);
        let (read, written, foreign) = Default::default();
        Self { world, node, incarnation, inbound, read, written, foreign }
    }

    fn saw(&self, bytes: &mut Vec<u8>, more: &[u8]) {
        bytes.extend_from_slice(more);
        let mut start = 0;
        while let Ok(Parsed::Frame(frame, used)) = parse(&bytes[start..], 8 << 20) {
            self.frame(&frame);
            start += used;
        }
        bytes.drain(..start);
    }

    fn frame(&self, frame: &Frame<'_>) {
        match *frame {
            Frame::Request { id, incarnation, .. } if self.inbound => {
                if incarnation != self.incarnation {
                    self.foreign.lock().insert(id);
                }
                self.world.checked(i8_fencing::NAME);
            }
            Frame::Reply { id, body, .. } if self.inbound && self.foreign.lock().contains(&id) => {
                let refused = matches!(decode::<Reply>(body), Ok(Reply::Refused(Refusal::Incarnation)));
                i8_fencing::check(&self.world, self.node, refused);
            }
            Frame::Request { body, .. } if !self.inbound => {
                if let Ok(Request::Announces(packed)) = decode::<Request>(body) {
                    i5_one_hop::check(&self.world, self.node, &packed);
                }
            }
            _ => {}
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.watch.inbound && buf.filled().len() > before {
            self.watch.saw(&mut self.watch.read.lock(), &buf.filled()[before..]);
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = polled {
            self.watch.saw(&mut self.watch.written.lock(), &buf[..written]);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

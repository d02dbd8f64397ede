//! Repairs the request lines of clients that do not escape what they send.
//!
//! An HTTP parser rightly refuses `GET /announce ?info_hash=…` and raw bytes in an info hash, yet clients send both, and
//! ask again for ever if all they get is a 400. So this stands between the socket and the parser: in the target of a GET
//! or HEAD, a space before `?` is dropped, and every other byte that a URI must not hold is percent-encoded. A line feed
//! cannot be distinguished from the end of the line, and is not repaired.
//!
//! Bodies are not understood, and might be mistaken for request lines; the service therefore closes every connection
//! after a request with a body.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose incoming HTTP/1 request lines are repaired.
pub struct RepairedStream<S> {
    inner: S,
    repair: Repair,
    /// Repaired bytes that the reader has not taken yet: at most three times what it last asked for.
    pending: Bytes,
}

impl<S> RepairedStream<S> {
    /// Wraps `inner` before the first byte of the first request.
    pub fn new(inner: S) -> Self {
        Self { inner, repair: Repair::default(), pending: Bytes::new() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for RepairedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.pending.is_empty() {
            let start = buf.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            let chunk = &buf.filled()[start..];
            let clean = this.repair.clean_prefix(chunk);
            if clean == chunk.len() {
                return Poll::Ready(Ok(()));
            }
            let mut repaired = Vec::with_capacity(chunk.len() + 64);
            chunk[clean..].iter().for_each(|byte| this.repair.push(*byte, &mut repaired));
            this.pending = Bytes::from(repaired);
            buf.set_filled(start + clean);
            if clean > 0 {
                return Poll::Ready(Ok(()));
            }
            // All of it was one held-back space: an empty read would mean the end of the stream.
        }
        let length = this.pending.len().min(buf.remaining());
        buf.put_slice(&this.pending[..length]);
        this.pending.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for RepairedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Where in a request the next byte is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Before the first byte of a request.
    #[default]
    Start,
    /// In the method.
    Method,
    /// In the target.
    Target,
    /// After a space in the target, which is held back until the next byte shows what it is.
    Space,
    /// After the target.
    Version,
    /// In the headers; `true` while the line is empty.
    Headers(bool),
    /// Not HTTP/1, or a method that carries a body: nothing is repaired any more.
    Off,
}

#[derive(Default)]
struct Repair {
    at: At,
}

impl Repair {
    /// How many bytes of `chunk` need no repair. They count as passed on; the rest has to be [pushed](Self::push).
    fn clean_prefix(&mut self, chunk: &[u8]) -> usize {
        let mut index = 0;
        while let Some(&byte) = chunk.get(index) {
            match self.at {
                At::Off => return chunk.len(),
                At::Target => {
                    let rest = &chunk[index..];
                    index += rest.iter().position(|byte| !URI_BYTES[usize::from(*byte)]).unwrap_or(rest.len());
                    match chunk[index..] {
                        [] => {}
                        [b' ', b'H', ..] => {
                            index += 2;
                            self.at = At::Version;
                        }
                        [b'\r' | b'\n', ..] => self.at = At::Version,
                        _ => return index,
                    }
                    continue;
                }
                At::Version | At::Headers(_) => {
                    // Line by line, as nothing but an empty line matters here.
                    let rest = &chunk[index..];
                    let line = rest.iter().position(|byte| *byte == b'\n');
                    let empty = self.at == At::Headers(true)
                        && rest[..line.unwrap_or(rest.len())].iter().all(|byte| *byte == b'\r');
                    self.at = match (line, empty) {
                        (Some(_), true) => At::Start,
                        (Some(_), false) => At::Headers(true),
                        (None, _) if self.at == At::Version => At::Version,
                        (None, empty) => At::Headers(empty),
                    };
                    index += line.map_or(rest.len(), |line| line + 1);
                    continue;
                }
                At::Space => return index,
                At::Start | At::Method => self.step(byte),
            }
            index += 1;
        }
        index
    }

    /// Passes `byte` on to `out`, repaired.
    fn push(&mut self, byte: u8, out: &mut Vec<u8>) {
        if self.at == At::Space {
            match byte {
                b'?' => {}
                b'H' | b'\r' | b'\n' => out.push(b' '),
                _ => out.extend_from_slice(b"%20"),
            }
            self.at = if byte == b'H' { At::Version } else { At::Target };
        }
        match (self.at, byte) {
            (At::Target, b' ') => self.at = At::Space,
            (At::Target, byte) if !matches!(byte, b'\r' | b'\n') && !URI_BYTES[usize::from(byte)] => {
                const HEX: [u8; 16] = *b"0123456789ABCDEF";
                out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => {
                out.push(byte);
                self.step(byte);
            }
        }
    }

    /// Follows one byte that is passed on as it is.
    fn step(&mut self, byte: u8) {
        self.at = match (self.at, byte) {
            (At::Start, b'\r' | b'\n') => At::Start,
            (At::Start, b'G' | b'H') => At::Method,
            (At::Start, _) => At::Off,
            (At::Method, b' ') => At::Target,
            (At::Method, b'A'..=b'Z') => At::Method,
            (At::Method, _) => At::Off,
            (At::Target, b'\r') => At::Version,
            (At::Target | At::Version, b'\n') => At::Headers(true),
            (At::Headers(true), b'\n') => At::Start,
            (At::Headers(_), b'\n') => At::Headers(true),
            (At::Headers(true), b'\r') => At::Headers(true),
            (At::Headers(_), _) => At::Headers(false),
            (at, _) => at,
        };
    }
}

/// The bytes that a target may hold as they are (RFC 3986). `#` is none of them: a fragment is never sent.
const URI_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~:/?[]@!$&'()*+,;=%";
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    use super::*;

    /// Reads `input` through a [`RepairedStream`], `step` bytes at a time.
    async fn repaired(input: &[u8], step: usize) -> Vec<u8> {
        let mut output = Vec::new();
        let input = Steps { input: input.to_vec(), step };
        RepairedStream::new(input).read_to_end(&mut output).await.unwrap();
        output
    }

    struct Steps {
        input: Vec<u8>,
        step: usize,
    }

    impl AsyncRead for Steps {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let length = self.step.min(self.input.len()).min(buf.remaining());
            buf.put_slice(&self.input.drain(..length).collect::<Vec<_>>());
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_clients_do_wrong_is_repaired_however_it_is_cut() {
        let cases: [(&[u8], &[u8]); 7] = [
            (b"GET /announce ?a=b HTTP/1.1\r\n\r\n", b"GET /announce?a=b HTTP/1.1\r\n\r\n"),
            (b"GET /a?b=\xff\x00\"# |c HTTP/1.0\r\n\r\n", b"GET /a?b=%FF%00%22%23%20%7Cc HTTP/1.0\r\n\r\n"),
            (b"GET /a?b= Hc HTTP/1.0\r\n\r\n", b"GET /a?b= Hc HTTP/1.0\r\n\r\n"),
            (
                b"GET /1 HTTP/1.1\nA: \xff b\n\nGET /2^ HTTP/1.1\n\n",
                b"GET /1 HTTP/1.1\nA: \xff b\n\nGET /2%5E HTTP/1.1\n\n",
            ),
            (
                b"\r\nHEAD /  ? HTTP/1.1\r\nX:\r\n y\r\n\r\nGET /^ HTTP/1.1",
                b"\r\nHEAD /%20? HTTP/1.1\r\nX:\r\n y\r\n\r\nGET /%5E HTTP/1.1",
            ),
            (b"POST /^ HTTP/1.1\r\n\r\nGET /^ HTTP/1.1\r\n", b"POST /^ HTTP/1.1\r\n\r\nGET /^ HTTP/1.1\r\n"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff^", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff^"),
        ];
        for (input, expected) in cases {
            for step in 1..=input.len() {
                let output = repaired(input, step).await;
                assert_eq!(output, expected, "{:?} in steps of {step}", String::from_utf8_lossy(input));
            }
        }
    }

    proptest! {
        #[test]
        fn the_cut_never_matters(input in "(GET|HEAD|PUT) [ -~\\x80-\\xff]{0,40} HTTP/1.1\r?\n([a-z]{0,3}:[ -~]{0,9}\r?\n){0,3}\r?\n([ -~\r\n]{0,40})", step in 1_usize..60) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let whole = runtime.block_on(repaired(input.as_bytes(), input.len()));
            let cut = runtime.block_on(repaired(input.as_bytes(), step));
            prop_assert_eq!(whole, cut);
        }

        #[test]
        fn a_proper_request_passes_unchanged(query in "[a-zA-Z0-9%&=._~-]{0,80}", name in "[a-zA-Z-]{1,10}", value in "[ -~]{0,20}") {
            let request = format!("GET /announce?{query} HTTP/1.1\r\nhost: a\r\n{name}: {value}\r\n\r\n");
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            prop_assert_eq!(runtime.block_on(repaired(request.repeat(2).as_bytes(), 50)), request.repeat(2).into_bytes());
        }
    }
}

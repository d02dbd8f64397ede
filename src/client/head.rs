//! The head of an HTTP response.

use httparse::{Response, Status};

/// The most headers that a response may have.
const MAX_HEADERS: usize = 64;

/// A complete head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whether another request may follow on the connection.
    pub keep_alive: bool,
    /// The offset of the body.
    pub body: usize,
    /// Length of head and body; without it the body ends with the stream.
    pub total: Option<usize>,
}

/// Why a response is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    #[error("not an HTTP response: {0}")]
    NoHttp(#[from] httparse::Error),
    /// Clients do not read the body of any other status.
    #[error("HTTP status {0}")]
    Status(u16),
    #[error("Content-Length: {0}")]
    Length(String),
    #[error("Transfer-Encoding: {0} is not understood by all BitTorrent clients")]
    Encoding(String),
}

/// Parses the head of a response; `None` if it is incomplete.
///
/// # Errors
/// See [`HeadError`].
pub fn parse_head(input: &[u8]) -> Result<Option<Head>, HeadError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = Response::new(&mut headers);
    let Status::Complete(body) = response.parse(input)? else { return Ok(None) };
    if response.code != Some(200) {
        return Err(HeadError::Status(response.code.unwrap_or(0)));
    }
    let mut keep_alive = response.version == Some(1);
    let mut length = None;
    for header in response.headers.iter() {
        let value = String::from_utf8_lossy(header.value);
        let value = value.trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            length = Some(value.parse::<u32>().map_err(|_| HeadError::Length(value.to_owned()))? as usize);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(HeadError::Encoding(value.to_owned()));
        } else if header.name.eq_ignore_ascii_case("connection") {
            keep_alive =
                !value.eq_ignore_ascii_case("close") && (keep_alive || value.eq_ignore_ascii_case("keep-alive"));
        }
    }
    Ok(Some(Head { keep_alive, body, total: length.map(|length| body + length) }))
}

/// The value of the first header with this name in a head that [`parse_head`] found complete.
pub fn header<'a>(input: &'a [u8], name: &str) -> Option<&'a str> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = Response::new(&mut headers);
    response.parse(input).ok()?;
    let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(header.value).ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_head_is_recognised() {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX-Node: eu-1 \r\n\r\n";
        for len in 0..head.len() {
            assert!(parse_head(&head[..len]).unwrap().is_none(), "{len}");
        }
        let parsed = parse_head(head).unwrap().unwrap();
        assert_eq!(parsed, Head { keep_alive: true, body: head.len(), total: Some(head.len() + 5) });
        assert_eq!((header(head, "x-node"), header(head, "x")), (Some("eu-1"), None));
        assert!(!parse_head(b"HTTP/1.0 200 OK\r\n\r\n").unwrap().unwrap().keep_alive);
        assert!(!parse_head(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").unwrap().unwrap().keep_alive);
        for (bad, text) in [
            (&b"HTTP/1.1 503 Busy\r\n\r\n"[..], "503"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "chunked"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "-1"),
            (b"\x00\x01\x02", "HTTP"),
        ] {
            assert!(parse_head(bad).unwrap_err().to_string().contains(text));
        }
    }
}

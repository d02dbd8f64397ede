//! Announce URLs, as in a torrent.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// BEP 15.
    Udp,
    /// BEP 3 over plain HTTP.
    Http,
    /// BEP 3 over TLS.
    Https,
}

/// A valid announce URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackerUrl {
    pub scheme: Scheme,
    /// A name or an IP address, the latter without brackets.
    pub host: String,
    /// The port: that of the scheme if the URL names none.
    pub port: u16,
    /// Path and query of the announce URL, `/announce` if the URL has none.
    pub path: String,
    text: String,
}

/// Why a URL is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("write udp://HOST:PORT, http://HOST:PORT/announce or https://HOST/announce")]
    Scheme,
    #[error("{0:?} is not HOST:PORT; put an IPv6 address in brackets")]
    Host(String),
    /// UDP has no default port.
    #[error("the port is missing: write udp://HOST:PORT")]
    NoPort,
    #[error("the path has a space, a fragment or a byte that must be percent-encoded")]
    Path,
}

impl FromStr for TrackerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("udp", rest)) => (Scheme::Udp, rest),
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            _ => return Err(UrlError::Scheme),
        };
        let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
        let wrong = || UrlError::Host(authority.to_owned());
        let (host, port) = match authority.strip_prefix('[') {
            Some(inner) => {
                let (host, port) = inner.split_once(']').ok_or_else(wrong)?;
                host.parse::<Ipv6Addr>().map_err(|_| wrong())?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(wrong)?) })
            }
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let is_host =
            |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_') || (authority.starts_with('[') && c == ':');
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(wrong());
        }
        let port = match (port, scheme) {
            (Some(port), _) => port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
            (None, Scheme::Udp) => return Err(UrlError::NoPort),
            (None, Scheme::Http) => 80,
            (None, Scheme::Https) => 443,
        };
        if path.contains(|c: char| !c.is_ascii_graphic() || c == '#') {
            return Err(UrlError::Path);
        }
        let path = match path {
            "" | "/" => "/announce".to_owned(),
            path if path.starts_with('?') => format!("/announce{path}"),
            path => path.to_owned(),
        };
        Ok(Self { scheme, host: host.to_owned(), port, path, text: text.to_owned() })
    }
}

/// The URL as it was written.
impl fmt::Display for TrackerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TrackerUrl {
    /// The value of the HTTP `Host` header.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.scheme, self.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// The addresses of the host, in the system's order. Blocks if the host is a name.
    ///
    /// # Errors
    /// The system cannot resolve the name, or it has no address.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<_> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        if found.is_empty() { Err(io::Error::other("the name has no address")) } else { Ok(found) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TrackerUrl, UrlError> {
        text.parse()
    }

    #[test]
    fn valid_urls() {
        for (text, scheme, host, port, path, authority) in [
            ("udp://t.example:6969", Scheme::Udp, "t.example", 6969, "/announce", "t.example:6969"),
            ("udp://[::1]:6969/announce", Scheme::Udp, "::1", 6969, "/announce", "[::1]:6969"),
            ("http://127.0.0.1", Scheme::Http, "127.0.0.1", 80, "/announce", "127.0.0.1"),
            ("http://[2001:db8::1]/", Scheme::Http, "2001:db8::1", 80, "/announce", "[2001:db8::1]"),
            ("https://t.example/a/announce?k=1", Scheme::Https, "t.example", 443, "/a/announce?k=1", "t.example"),
            ("https://t.example:8443?k=1", Scheme::Https, "t.example", 8443, "/announce?k=1", "t.example:8443"),
        ] {
            let url = parse(text).unwrap();
            assert_eq!((url.scheme, &*url.host, url.port, &*url.path), (scheme, host, port, path), "{text}");
            assert_eq!((&*url.authority(), &*url.to_string()), (authority, text));
        }
    }

    #[test]
    fn invalid_urls() {
        for text in ["", "t.example:80", "ftp://t.example", "wss://t.example", "UDP://t.example:1"] {
            assert_eq!(parse(text), Err(UrlError::Scheme), "{text}");
        }
        for text in
            ["udp://:1", "udp://a:0", "udp://a:65536", "udp://::1:80", "http://[::1", "http://[x]:1", "http://u@h/"]
        {
            assert!(matches!(parse(text), Err(UrlError::Host(_))), "{text}");
        }
        assert_eq!(parse("udp://t.example/announce"), Err(UrlError::NoPort));
        for text in ["http://h/a b", "http://h/a#b", "http://h/\u{e4}"] {
            assert_eq!(parse(text), Err(UrlError::Path), "{text}");
        }
    }
}

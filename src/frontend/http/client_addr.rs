//! Whose announce it is: the connection's peer, or what a trusted proxy says.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// Which proxies are believed, and where they name their clients. What a client itself says in `&ip=` never counts: it could name a victim.
#[derive(Clone, Debug)]
pub struct ProxyRules {
    /// The networks of the proxies whose `header` is believed.
    pub trusted: Vec<IpNet>,
    /// The header in which they name the client, such as `x-forwarded-for`.
    pub header: HeaderName,
}

/// Why a request of a trusted proxy has no client address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyHeaderError {
    /// The header is not there.
    #[error("the proxy in front of this tracker does not send the client's address")]
    Missing,
    /// What should be the client's address is none.
    #[error("the proxy in front of this tracker sends a malformed client address")]
    Garbled,
}

impl ProxyRules {
    /// Whether `peer` is a trusted proxy. The answer holds for all of a connection.
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|network| network.contains(&peer))
    }

    /// The canonical address of the client that a trusted proxy names in `headers`: the right-most that is not a trusted
    /// proxy itself. All further left is hearsay. If all are trusted proxies, the left-most of them is the client.
    ///
    /// # Errors
    /// See [`ProxyHeaderError`].
    pub fn proxied(&self, headers: &HeaderMap) -> Result<IpAddr, ProxyHeaderError> {
        let mut client = Err(ProxyHeaderError::Missing);
        for line in headers.get_all(&self.header).iter().rev() {
            for entry in line.as_bytes().rsplit(|byte| *byte == b',') {
                let address = parse(entry).ok_or(ProxyHeaderError::Garbled)?;
                client = Ok(address);
                if !self.is_proxy(address) {
                    return client;
                }
            }
        }
        client
    }
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip())).ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn rules() -> ProxyRules {
        ProxyRules {
            trusted: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            header: HeaderName::from_static("x-forwarded-for"),
        }
    }

    fn proxied(lines: &[&[u8]]) -> Result<IpAddr, ProxyHeaderError> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("X-Forwarded-For", HeaderValue::from_bytes(line).unwrap());
        }
        rules().proxied(&headers)
    }

    #[test]
    fn trap_09_the_right_most_foreign_address_is_the_client() {
        let client = Ok("198.51.100.1".parse().unwrap());
        assert_eq!(proxied(&[b"198.51.100.1"]), client);
        assert_eq!(proxied(&[b"1.1.1.1, 198.51.100.1"]), client);
        assert_eq!(proxied(&[b"1.1.1.1,198.51.100.1:4711 , 10.1.2.3"]), client);
        assert_eq!(proxied(&[b"1.1.1.1", b"::ffff:198.51.100.1", b"[fd00::1]:80,10.0.0.1"]), client);
        assert_eq!(proxied(&[b"garbage, 198.51.100.1"]), client);
        assert_eq!(proxied(&[b"10.0.0.2, 10.0.0.1"]), Ok("10.0.0.2".parse().unwrap()));
        assert_eq!(proxied(&[b"[2001:db8::1]"]), Ok("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn trap_09_a_missing_or_garbled_header_is_an_error() {
        assert_eq!(proxied(&[]), Err(ProxyHeaderError::Missing));
        for garbage in
            [&b""[..], b"198.51.100.1,", b"unknown", b"198.51.100.1, \xff", b"1.2.3", b"[", b"10.0.0.1, x, 10.0.0.1"]
        {
            assert_eq!(proxied(&[garbage]), Err(ProxyHeaderError::Garbled), "{garbage:?}");
        }
    }

    #[test]
    fn a_mapped_peer_is_matched_by_its_ipv4_address() {
        assert!(rules().is_proxy("::ffff:10.9.8.7".parse().unwrap()));
        assert!(!rules().is_proxy("11.0.0.1".parse().unwrap()));
    }
}

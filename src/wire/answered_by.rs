//! Which node answered. A tracker of many nodes behind one address reports it on request only, so that ordinary answers
//! do not grow.
//!
//! - **HTTP**: a request with the header `X-Tracker-Probe: 1` is answered with the headers `X-Tracker-Node` and
//!   `X-Tracker-Region`.
//! - **UDP**: a scrape of [`WHICH_NODE`] alone is answered with an error packet whose message is `node=<id> region=<region>`.
//!   It needs a valid connection id, as every scrape does. Trackers that do not know of this answer with the counts of an
//!   unknown swarm.

use std::fmt;

use crate::swarm::InfoHash;

/// The info hash reserved for this query over UDP: `746964696e6773207768696368206e6f64652031`, which is the ASCII
/// text `tidings which node 1`.
pub const WHICH_NODE: InfoHash = InfoHash(*b"tidings which node 1");
/// The request header that asks for it, with the value `1`.
pub const PROBE_HEADER: &str = "x-tracker-probe";
/// The response header with the id of the node.
pub const NODE_HEADER: &str = "x-tracker-node";
/// The response header with the region of the node.
pub const REGION_HEADER: &str = "x-tracker-region";

/// The identity that a node reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnsweredBy {
    pub node: String,
    pub region: String,
}

impl AnsweredBy {
    /// Reads the message of an error packet; `None` if it is another one, as it may be an ordinary error.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let (node, region) = std::str::from_utf8(message).ok()?.strip_prefix("node=")?.split_once(" region=")?;
        Self::new(node, region)
    }

    /// From the names as they came over the wire; `None` if these are no names that a node can have.
    pub fn new(node: &str, region: &str) -> Option<Self> {
        let is_name = |text: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            (1..=64).contains(&text.len()) && text.bytes().all(allowed)
        };
        (is_name(node) && is_name(region)).then(|| Self { node: node.to_owned(), region: region.to_owned() })
    }
}

/// The message of the error packet.
impl fmt::Display for AnsweredBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node={} region={}", self.node, self.region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_other_errors_are_not() {
        let node = AnsweredBy { node: "eu-1".into(), region: "eu".into() };
        assert_eq!(node.to_string(), "node=eu-1 region=eu");
        assert_eq!(AnsweredBy::parse(b"node=eu-1 region=eu"), Some(node));
        for other in
            [&b""[..], b"connection id expired", b"node= region=eu", b"node=a b region=c", b"node=\xff region=c"]
        {
            assert_eq!(AnsweredBy::parse(other), None, "{}", other.escape_ascii());
        }
        assert_eq!(AnsweredBy::new(&"a".repeat(65), "eu"), None);
        assert_eq!(WHICH_NODE.to_string(), "746964696e6773207768696368206e6f64652031");
    }
}

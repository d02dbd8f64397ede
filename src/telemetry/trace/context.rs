//! Which span another one belongs to: W3C trace context, as text and between nodes.

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// The header of W3C trace context, and the name that it has in the URL data of a UDP announce.
pub const TRACEPARENT: &str = "traceparent";
/// Where in the flags of W3C trace context it says that the trace is sampled.
const SAMPLED: u8 = 1;

/// A span of a sampled trace, wherever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
}

/// What a client says its span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The span.
    pub context: TraceContext,
    /// Whether the client wants the trace to be recorded.
    pub sampled: bool,
}

impl TraceContext {
    /// Bytes of the binary form: trace id (16), span id (8), flags (1).
    pub const BYTES: usize = 25;

    /// The binary form.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [SAMPLED; Self::BYTES];
        bytes[..16].copy_from_slice(&self.trace.to_bytes());
        bytes[16..24].copy_from_slice(&self.span.to_bytes());
        bytes
    }

    /// Reads the binary form; `None` if it is not sampled, or none.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (trace, rest) = bytes.split_first_chunk::<16>()?;
        let (span, flags) = rest.split_first_chunk::<8>()?;
        let it = Self { trace: TraceId::from_bytes(*trace), span: SpanId::from_bytes(*span) };
        let valid = it.trace != TraceId::INVALID && it.span != SpanId::INVALID;
        (valid && flags[0] & SAMPLED != 0).then_some(it)
    }

    /// The form of the SDK.
    pub(super) fn of_sdk(self, remote: bool) -> SpanContext {
        SpanContext::new(self.trace, self.span, TraceFlags::SAMPLED, remote, TraceState::NONE)
    }
}

impl Parent {
    /// Reads a `traceparent`.
    pub fn parse(text: &str) -> Option<Self> {
        let context =
            TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), &Carrier(text));
        let span = context.span();
        let span = span.span_context();
        let it = TraceContext { trace: span.trace_id(), span: span.span_id() };
        span.is_valid().then_some(Self { context: it, sampled: span.is_sampled() })
    }

    /// Reads the `traceparent` of a query, which a UDP announce brings along as pieces of its URL (BEP 41).
    pub fn in_url<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let url: Vec<u8> = pieces.flatten().copied().collect();
        let query = url.split(|byte| *byte == b'?').nth(1)?;
        let value = query
            .split(|byte| *byte == b'&')
            .find_map(|pair| pair.strip_prefix(TRACEPARENT.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")))?;
        Self::parse(std::str::from_utf8(value).ok()?)
    }
}

/// The only header there is.
struct Carrier<'a>(&'a str);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn some() -> TraceContext {
        TraceContext {
            trace: TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").unwrap(),
            span: SpanId::from_hex("b7ad6b7169203331").unwrap(),
        }
    }

    #[test]
    fn the_binary_form_has_its_golden_bytes() {
        let golden =
            b"\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c\xb7\xad\x6b\x71\x69\x20\x33\x31\x01";
        assert_eq!(&some().to_bytes(), golden);
        assert_eq!(TraceContext::from_bytes(golden), Some(some()));
        let mut other = *golden;
        other[24] = 0;
        assert_eq!(TraceContext::from_bytes(&other), None, "not sampled");
        assert_eq!(TraceContext::from_bytes(&[1; 25].map(|_| 0)), None);
    }

    #[test]
    fn a_traceparent_is_read_and_nonsense_is_not() {
        assert_eq!(Parent::parse(TEXT), Some(Parent { context: some(), sampled: true }));
        assert_eq!(Parent::parse(&TEXT.replace("-01", "-00")), Some(Parent { context: some(), sampled: false }));
        for text in ["", "00", "00-0-0-01", &TEXT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32))] {
            assert_eq!(Parent::parse(text), None, "{text}");
        }
    }

    #[test]
    fn url_data_brings_one_along() {
        let pieces = |url: &str| {
            let url = url.to_owned();
            Parent::in_url(url.as_bytes().chunks(20))
        };
        let parent = Some(Parent { context: some(), sampled: true });
        assert_eq!(pieces(&format!("/announce?traceparent={TEXT}")), parent);
        assert_eq!(pieces(&format!("/announce?key=7&traceparent={TEXT}&x")), parent);
        for url in ["/announce", "/announce?traceparent", "/announce?traceparent=", "?xtraceparent=1", "traceparent=1"]
        {
            assert_eq!(pieces(url), None, "{url}");
        }
    }
}

//! Traces of single announces, of batches of changes, and of the cluster.
//!
//! An announce that is not sampled has no span: its batch keeps a few times ([`BatchTimes`]), from which spans are made
//! afterwards if it turns out slow or fails. One that is sampled carries a [`RequestTrace`].

mod announce;
mod context;
mod error_type;
mod export;
mod inner;
pub mod names;
mod options;
mod queue;
mod sample;
mod span;
#[cfg(test)]
mod tests;
mod traces;

pub use announce::{AnnounceSummary, AnsweredFrom, BatchTimes, RequestTrace, Transport, Unsampled};
pub use context::{Parent, TRACEPARENT, TraceContext};
pub use error_type::ErrorType;
pub use export::TraceExport;
pub use options::{TraceError, TraceOptions};
pub use queue::SpanCounts;
pub use sample::Countdown;
pub use span::{OpenSpan, Steps};
pub use traces::Traces;

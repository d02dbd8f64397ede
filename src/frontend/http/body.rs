//! The body of a reply: nearly always one buffer.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::router::Unavailable;

/// Makes the next piece of a body; `None` ends it, and an error ends the connection, so that half a body is not taken for
/// a whole one.
type NextPiece = dyn FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, Unavailable>>> + Send;

/// What a reply holds.
pub(super) enum ReplyBody {
    /// All of it; empty once sent.
    Whole(Bytes),
    /// Piece by piece, as fast as the client takes it.
    Streamed(Box<NextPiece>),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Unavailable;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Unavailable>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Streamed(next) => next(cx).map(|piece| piece.map(|bytes| bytes.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Streamed(_) => SizeHint::default(),
        }
    }
}

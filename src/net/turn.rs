//! Taking turns on a thread.

use std::future::poll_fn;
use std::task::Poll;

/// Lets every task of this thread that can run do so once, such as the owners that were just sent messages. Unlike
/// tokio's `yield_now` it does not poll the I/O driver, which would be one more system call.
pub async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

//! Load over UDP (BEP 15).

mod format;
mod request;
mod source;
mod worker;

pub use worker::Worker;

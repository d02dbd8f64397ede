//! Load over HTTP (BEP 3, 7, 23, 48).

mod connection;
mod format;
mod worker;

pub use worker::Worker;

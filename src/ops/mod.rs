//! Operations over HTTP: liveness, readiness, metrics and a JSON API. It runs on the control runtime, apart from the
//! threads that serve announces, and listens on a private address: nothing here is authenticated.

mod api;
mod context;
mod metrics;
mod probe;
mod ready;
mod server;

pub use api::ClusterStatus;
pub use context::{Addrs, ClusterView, Context};
pub use server::Server;

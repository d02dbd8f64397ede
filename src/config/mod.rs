//! The typed settings. Precedence: flags, environment, file, defaults.

mod error;
mod layers;
mod load;
mod off;
mod reference;
mod settings;
mod suggest;
mod validate;

pub use error::{Error, Origin, Problem};
pub use load::load;
pub use reference::default_file;
pub use settings::{AccessList, AccessMode, Ack, Announce, Cluster, Limits, Node, Ops, Settings, Telemetry, Tls};
pub use validate::Invalid;

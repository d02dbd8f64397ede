//! A client of trackers over UDP and HTTP, for `tidings probe`, the readiness check and the load generator. It is strict
//! where real clients are lenient, so that it finds faults that only some of them would notice.

mod head;
mod http;
mod near;
mod reply;
mod request;
mod udp;
mod url;

pub use head::{Head, HeadError, header, parse_head};
pub use http::{HttpClient, HttpError, HttpReply, Tls};
pub use near::is_near;
pub use reply::{Announced, ReplyError, read_announce, read_scrape};
pub use request::{AnnounceParams, announce_target, scrape_target, url_data};
pub use udp::{Resend, UdpClient, UdpError};
pub use url::{Scheme, TrackerUrl, UrlError};

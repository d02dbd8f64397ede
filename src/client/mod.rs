//! A tracker's client: URLs, requests and answers over UDP and HTTP, for `tidings probe`, for readiness and for the load
//! generator. It is strict where real clients forgive, so that it finds what some of them would not.

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

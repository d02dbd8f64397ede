//! Where clients come in: UDP and HTTP, and what both have in common.

pub mod access_list;
pub mod external;
pub mod http;
pub mod udp;

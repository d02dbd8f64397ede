//! The announce sockets: for each thread one at every address.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use crate::config;
use crate::net::bind;
use crate::ops::Addrs;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {transport} {addr}: {}", reason(error, key))]
pub struct BindError {
    /// `UDP` or `TCP`.
    pub transport: &'static str,
    pub addr: SocketAddr,
    /// The settings key that names it.
    pub key: &'static str,
    pub error: io::Error,
}

fn reason(error: &io::Error, key: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("the port is in use; stop the other program or choose another port in {key}")
        }
        io::ErrorKind::AddrNotAvailable => format!("this host has no such address; change {key}"),
        io::ErrorKind::PermissionDenied => format!("ports below 1024 need privileges; choose another port in {key}"),
        _ => format!("{error}; change {key}"),
    }
}

/// The sockets of all threads.
pub struct Sockets {
    pub addrs: Addrs,
    /// Those of each thread, in the order of `addrs`.
    pub of_threads: Vec<ThreadSockets>,
}

#[derive(Default)]
pub struct ThreadSockets {
    pub udp: Vec<UdpSocket>,
    pub http: Vec<TcpListener>,
}

impl Sockets {
    /// Binds all addresses for this many threads. `fragments`: whether UDP replies may be so large that networks have to
    /// fragment them.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(settings: &config::Announce, threads: usize, fragments: bool) -> Result<Self, BindError> {
        let mut of_threads: Vec<_> = (0..threads).map(|_| ThreadSockets::default()).collect();
        let mut addrs = Addrs::default();
        for &addr in &settings.udp {
            let failed = |error| BindError { transport: "UDP", addr, key: "announce.udp", error };
            // Sockets that share a port would share it with those of another tracker, too: binding this one exclusively
            // first shows whether there is one.
            let addr = bind::udp(addr, false, fragments).and_then(|socket| socket.local_addr()).map_err(failed)?;
            addrs.udp.push(addr);
            for thread in &mut of_threads {
                thread.udp.push(bind::udp(addr, true, fragments).map_err(failed)?);
            }
        }
        for &addr in &settings.http {
            let failed = |error| BindError { transport: "TCP", addr, key: "announce.http", error };
            let addr = bind::tcp(addr, false).and_then(|socket| socket.local_addr()).map_err(failed)?;
            addrs.http.push(addr);
            for thread in &mut of_threads {
                thread.http.push(bind::tcp(addr, true).map_err(failed)?);
            }
        }
        Ok(Self { addrs, of_threads })
    }
}

/// Binds the address for operations.
///
/// # Errors
/// See [`BindError`].
pub fn bind_ops(addr: SocketAddr) -> Result<TcpListener, BindError> {
    bind::tcp(addr, false).map_err(|error| BindError { transport: "TCP", addr, key: "ops.listen", error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_in_use_is_reported_although_threads_share_ports() {
        let settings = config::Announce {
            udp: vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()],
            http: vec!["127.0.0.1:0".parse().unwrap()],
            ..Default::default()
        };
        let sockets = Sockets::bind(&settings, 3, false).unwrap();
        assert_eq!(sockets.of_threads.len(), 3);
        for (udp, http) in [(sockets.addrs.udp.clone(), vec![]), (vec![], sockets.addrs.http.clone())] {
            let again = config::Announce { udp, http, ..Default::default() };
            let error = Sockets::bind(&again, 1, false).err().unwrap().to_string();
            assert!(error.contains("the port is in use") && error.contains("announce."), "{error}");
        }
    }
}

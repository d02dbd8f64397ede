//! Addresses for peers that are next to the tracker.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses at which others reach peers that announce from this host or its private network.
#[derive(Clone, Copy, Debug, Default)]
pub struct External {
    /// Instead of a loopback, private or link-local IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Instead of a loopback, unique local or link-local IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
}

impl External {
    /// The address that others reach `client` by: the address that a neighbour has here means something else, or
    /// nothing, further away.
    pub fn of(&self, client: IpAddr) -> IpAddr {
        let substitute = match client {
            IpAddr::V4(ip) if ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified() => {
                self.ipv4.map(IpAddr::V4)
            }
            IpAddr::V6(ip)
                if ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified() =>
            {
                self.ipv6.map(IpAddr::V6)
            }
            _ => None,
        };
        substitute.unwrap_or(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_10_a_neighbour_is_returned_with_its_external_address() {
        let external = External { ipv4: Some(Ipv4Addr::new(203, 0, 113, 7)), ipv6: None };
        for near in ["127.0.0.1", "10.1.2.3", "192.168.0.9", "172.16.5.5", "169.254.1.1", "0.0.0.0"] {
            assert_eq!(external.of(near.parse().unwrap()), IpAddr::from([203, 0, 113, 7]), "{near}");
        }
        for kept in ["198.51.100.1", "::1", "fd00::1", "2001:db8::1"] {
            assert_eq!(external.of(kept.parse().unwrap()), kept.parse::<IpAddr>().unwrap());
        }
    }
}

//! Which DNS servers are asked: those that are named, else those of the machine.
//!
//! Of resolv.conf only the servers count: names are asked as they are, without search lists or a hosts file.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::Path,
};

/// Where the machine's servers stand.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The port of DNS (RFC 1035 section 4.2).
const PORT: u16 = 53;
/// As many as the resolver of the C library takes (resolv.conf(5), MAXNS).
const MAX_SERVERS: usize = 3;

/// Why no server is known.
#[derive(Debug, thiserror::Error)]
pub enum ServersError {
    /// The file can't be read.
    #[error(
        "{RESOLV_CONF} can't be read ({0}), and no DNS server is named: give one by --resolver or `resolvers` in [dns]"
    )]
    Read(#[from] io::Error),
    /// It names none.
    #[error("{RESOLV_CONF} names no DNS server: give one by --resolver or `resolvers` in [dns]")]
    None,
}

/// Reads a server: an IP address, with or without a port.
#[must_use]
pub fn parse(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let at_port = |ip: IpAddr| SocketAddr::new(ip, PORT);
    text.parse().ok().or_else(|| bare.parse().ok().map(at_port)).filter(|server| server.port() != 0)
}

/// The servers of this machine.
///
/// # Errors
/// Where there are none.
pub fn of_machine() -> Result<Vec<SocketAddr>, ServersError> {
    let servers = named(&fs::read_to_string(Path::new(RESOLV_CONF))?);
    if servers.is_empty() { Err(ServersError::None) } else { Ok(servers) }
}

/// The servers that a resolv.conf names (resolv.conf(5)). Addresses of one link only (`fe80::1%eth0`) are left out.
fn named(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten().and_then(parse)
    };
    text.lines().filter_map(server).take(MAX_SERVERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_addresses_with_or_without_a_port() {
        let read = |text| parse(text).map(|server| server.to_string());
        assert_eq!(read("9.9.9.9").as_deref(), Some("9.9.9.9:53"));
        assert_eq!(read(" 127.0.0.1:5353 ").as_deref(), Some("127.0.0.1:5353"));
        assert_eq!(read("2620:fe::fe").as_deref(), Some("[2620:fe::fe]:53"));
        assert_eq!(read("[::1]").as_deref(), Some("[::1]:53"));
        assert_eq!(read("[::1]:5353").as_deref(), Some("[::1]:5353"));
        for wrong in ["", "dns.example.com", "9.9.9.9:0", "9.9.9.9:99999", "9.9.9", "[::1", "https://9.9.9.9"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn of_resolv_conf_the_servers_are_read_and_nothing_else() {
        let text = "# nameserver 1.1.1.1\nsearch example.com\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\n\
                    nameserver\t::1 # here\noptions edns0\nnameservers 9.9.9.9\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n";
        let found: Vec<String> = named(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.53:53", "[::1]:53", "10.0.0.1:53"]);
        assert!(named("").is_empty());
    }
}

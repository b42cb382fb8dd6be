//! What one peer may ask: connections at once and in a minute, mails in a minute. In proportion to a network of IPv6 (/64), which
//! one machine may have for itself.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use governor::{Quota, RateLimiter, clock, middleware::NoOpMiddleware, state::keyed::HashMapStateStore};
use tokio::time::Instant;

use super::{Refusal, session::Gate};
use crate::config::Network;

/// Peers that are told apart; the next ones share what one of them may ask.
const MAX_PEERS: usize = 50_000;

/// How often those who have asked for nothing of late are let go of, at most.
const TIDY: Duration = Duration::from_secs(1);
/// After how long a peer has its full allowance again.
const FORGET: Duration = Duration::from_mins(1);

/// Who is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    V4(Ipv4Addr),
    V6([u16; 4]),
    /// All for whom there is no room.
    Others,
}

/// The process's monotonic time, which tests can pause.
#[derive(Debug, Clone)]
struct Monotonic(Instant);

impl clock::Clock for Monotonic {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

type Limiter = RateLimiter<Key, HashMapStateStore<Key>, Monotonic, NoOpMiddleware<Duration>>;

/// What each peer has asked. Clones share it.
#[derive(Debug, Clone)]
pub struct Peers(Arc<Inner>);

#[derive(Debug, Default)]
struct Known {
    /// When each of them last connected.
    peers: HashMap<Key, Instant>,
    tidied: Option<Instant>,
}

#[derive(Debug)]
struct Inner {
    connections: Limiter,
    mails: Limiter,
    open: Mutex<HashMap<Key, u32>>,
    /// Peers that are told apart.
    known: Mutex<Known>,
    max_peers: usize,
    at_once: u32,
    trusted: Vec<Network>,
}

/// How much one peer may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// Connections at once.
    pub at_once: u32,
    /// Connections in a minute.
    pub connections_per_minute: u32,
    /// Mails in a minute.
    pub mails_per_minute: u32,
    /// For whom none of this holds, beside this machine.
    pub trusted: Vec<Network>,
}

impl Peers {
    /// Nobody has asked anything yet.
    #[must_use]
    pub fn new(allowance: Allowance) -> Self {
        Self::of(allowance, MAX_PEERS)
    }

    fn of(allowance: Allowance, max_peers: usize) -> Self {
        let started = Monotonic(Instant::now());
        let limiter = |number: u32| {
            let quota = Quota::per_minute(NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN));
            RateLimiter::new(quota, HashMapStateStore::default(), started.clone())
        };
        Self(Arc::new(Inner {
            connections: limiter(allowance.connections_per_minute),
            mails: limiter(allowance.mails_per_minute),
            open: Mutex::default(),
            known: Mutex::default(),
            max_peers,
            at_once: allowance.at_once.max(1),
            trusted: allowance.trusted,
        }))
    }

    /// Lets a peer connect, if it may; through a socket of this machine there is no address.
    ///
    /// # Errors
    /// Where it has too many connections, or opened too many within a minute.
    pub fn admit(&self, address: Option<IpAddr>) -> Result<Peer, Refusal> {
        let inner = &self.0;
        let address = address.map(|address| address.to_canonical());
        let limited = address
            .filter(|address| !address.is_loopback() && !inner.trusted.iter().any(|network| network.holds(*address)));
        let Some(address) = limited else { return Ok(Peer { peers: self.clone(), key: None }) };
        let key = self.key(address);
        if inner.connections.check_key(&key).is_err() {
            return Err(Refusal::Rate);
        }
        let mut open = inner.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(key).or_default();
        if *count >= inner.at_once {
            return Err(Refusal::Rate);
        }
        *count += 1;
        drop(open);
        Ok(Peer { peers: self.clone(), key: Some(key) })
    }

    fn key(&self, address: IpAddr) -> Key {
        let key = match address {
            IpAddr::V4(address) => Key::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Key::V6([a, b, c, d])
            }
        };
        let inner = &self.0;
        let now = Instant::now();
        let mut known = inner.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = known.peers.get_mut(&key) {
            *last = now;
            return key;
        }
        // Looking through all of them is dear: a flood of strangers must not cause it with each connection.
        if known.peers.len() >= inner.max_peers && known.tidied.is_none_or(|last| now.duration_since(last) >= TIDY) {
            known.tidied = Some(now);
            inner.connections.retain_recent();
            inner.mails.retain_recent();
            let open = inner.open.lock().unwrap_or_else(PoisonError::into_inner);
            known.peers.retain(|key, last| open.contains_key(key) || now.duration_since(*last) < FORGET);
        }
        if known.peers.len() >= inner.max_peers {
            return Key::Others;
        }
        known.peers.insert(key, now);
        key
    }
}

/// One connection of a peer, which counts until it's dropped.
#[derive(Debug)]
pub struct Peer {
    peers: Peers,
    key: Option<Key>,
}

impl Peer {
    /// Whether no limits hold for it.
    #[must_use]
    pub const fn is_trusted(&self) -> bool {
        self.key.is_none()
    }

    /// What asks for each mail of this connection.
    #[must_use]
    pub fn gate(&self) -> Box<dyn Gate> {
        Box::new(Mails { peers: self.peers.clone(), key: self.key })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut open = self.peers.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&key);
            }
        }
    }
}

struct Mails {
    peers: Peers,
    key: Option<Key>,
}

impl Gate for Mails {
    fn admits_mail(&self) -> bool {
        self.key.is_none_or(|key| self.peers.0.mails.check_key(&key).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers() -> Peers {
        let trusted = vec![Network::parse("192.0.2.0/24").expect("a network")];
        Peers::new(Allowance { at_once: 2, connections_per_minute: 5, mails_per_minute: 3, trusted })
    }

    /// Lets a peer of this address connect.
    fn admit(peers: &Peers, text: &str) -> Result<Peer, Refusal> {
        peers.admit(Some(text.parse().expect(text)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_has_so_many_connections_at_once_and_in_a_minute() {
        let peers = peers();
        let first = admit(&peers, "198.51.100.1").expect("one");
        let second = admit(&peers, "198.51.100.1").expect("two");
        assert_eq!(admit(&peers, "198.51.100.1").err(), Some(Refusal::Rate), "at once");
        assert!(admit(&peers, "198.51.100.2").is_ok(), "another peer");
        drop((first, second));
        assert!(admit(&peers, "198.51.100.1").is_ok());
        assert!(admit(&peers, "198.51.100.1").is_ok());
        assert_eq!(admit(&peers, "198.51.100.1").err(), Some(Refusal::Rate), "in a minute");
        tokio::time::advance(Duration::from_secs(13)).await;
        assert!(admit(&peers, "198.51.100.1").is_ok(), "one more after a fifth of it");
        assert!(peers.0.open.lock().expect("a map").is_empty(), "nothing is kept of who has gone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_of_ipv6_is_one_peer() {
        let peers = peers();
        for number in 0..5 {
            assert!(admit(&peers, &format!("2001:db8::{number}")).is_ok());
        }
        assert!(admit(&peers, "2001:db8::9").is_err());
        assert!(admit(&peers, "2001:db8:0:1::9").is_ok());
    }

    /// A flood of strangers takes nothing from those who were there before, and whoever has gone makes room.
    #[tokio::test(start_paused = true)]
    async fn who_is_known_stays_known_where_there_is_no_more_room() {
        let peers =
            Peers::of(Allowance { at_once: 2, connections_per_minute: 5, mails_per_minute: 3, trusted: vec![] }, 2);
        let key = |text: &str| peers.key(text.parse().expect(text));
        let stays = admit(&peers, "198.51.100.1").expect("one");
        assert!(admit(&peers, "198.51.100.2").is_ok());
        assert_eq!(key("198.51.100.3"), Key::Others);
        assert_ne!(key("198.51.100.1"), Key::Others, "it was there before");
        tokio::time::advance(FORGET + TIDY).await;
        assert_ne!(key("198.51.100.3"), Key::Others, "the second has gone");
        assert_eq!(key("198.51.100.2"), Key::Others);
        drop(stays);
        assert_eq!(key("198.51.100.2"), Key::Others, "not looked through twice in a second");
        tokio::time::advance(TIDY).await;
        assert_ne!(key("198.51.100.2"), Key::Others);
    }

    #[tokio::test(start_paused = true)]
    async fn mails_are_counted_over_the_connections_of_a_peer() {
        let peers = peers();
        let (one, other) = (admit(&peers, "198.51.100.1").expect("one"), admit(&peers, "198.51.100.1").expect("two"));
        assert!(one.gate().admits_mail() && other.gate().admits_mail() && one.gate().admits_mail());
        assert!(!other.gate().admits_mail());
    }

    #[tokio::test(start_paused = true)]
    async fn this_machine_and_trusted_peers_are_not_limited() {
        let peers = peers();
        let free = |peer: Peer| peer.is_trusted() && peer.gate().admits_mail();
        for _ in 0..10 {
            assert!(peers.admit(None).is_ok_and(free));
            for address in ["127.0.0.1", "::1", "192.0.2.7", "::ffff:192.0.2.7"] {
                assert!(admit(&peers, address).is_ok_and(free));
            }
        }
        assert!(peers.0.connections.is_empty());
    }
}

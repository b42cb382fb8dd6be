//! What two settings want that only one can have: a port, a file, a queue, a URL.

use std::{net::SocketAddr, path::Path};

use super::{MailAddress, PublicUrl, feed_path, validate::Checks};

/// Whether two can listen at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Clash {
    /// Both can.
    None,
    /// Only one can, unless the machine is told otherwise: where Linux has `net.ipv6.bindv6only` set, a listener on all of IPv6 leaves
    /// IPv4 alone.
    Likely,
    /// Only one can.
    Sure,
}

/// Whether two can listen at the same time: a listener on all addresses has the port of each; that on all of IPv6 those of IPv4
/// too, as Linux has it unless it is told otherwise.
pub(crate) fn clash(one: SocketAddr, other: SocketAddr) -> Clash {
    // An IPv4 address can be written as one of IPv6.
    let (own, others) = (one.ip().to_canonical(), other.ip().to_canonical());
    if one.port() != other.port() || one.port() == 0 {
        return Clash::None;
    }
    match (own.is_ipv4() == others.is_ipv4(), own.is_unspecified(), others.is_unspecified()) {
        (true, ..) if own == others => Clash::Sure,
        (true, true, _) | (true, _, true) => Clash::Sure,
        (false, ..) if [own, others].iter().any(|ip| ip.is_ipv6() && ip.is_unspecified()) => Clash::Likely,
        _ => Clash::None,
    }
}

/// What is done where only one of two can listen unless the machine is told otherwise.
pub(super) const BINDV6ONLY: &str =
    "give each a port of its own, or leave it where net.ipv6.bindv6only is set to 1 on this machine";

impl Checks<'_> {
    /// Finds what two settings want that only one can have.
    pub(super) fn clashes(&mut self) {
        self.ports();
        self.logs();
        self.queues();
        self.mandrill();
    }

    fn ports(&mut self) {
        let listen = &self.config.listen;
        let listeners =
            [("listen.public".to_owned(), listen.public.0), ("listen.private".to_owned(), listen.private.0)];
        let feeds = self.config.feeds.mail.iter().enumerate();
        let feeds: Vec<_> = feeds
            .filter_map(|(index, feed)| {
                Some((format!("feeds.mail.{index}.listen"), MailAddress::parse(feed.listen.as_deref()?)?))
            })
            .collect();
        for (index, (path, address)) in feeds.iter().enumerate() {
            let of = |other: &MailAddress| match (address, other) {
                (MailAddress::Tcp(one), MailAddress::Tcp(other)) => clash(*one, *other),
                (one, other) if one == other => Clash::Sure,
                _ => Clash::None,
            };
            let beside = listeners.iter().map(|(other, address)| (other, of(&MailAddress::Tcp(*address))));
            let before = feeds.iter().take(index).map(|(other, address)| (other, of(address)));
            // The first of the worst.
            let worst = beside.chain(before).rev().max_by_key(|(_, clash)| *clash);
            let Some((other, clash)) = worst.filter(|(_, clash)| *clash != Clash::None) else { continue };
            let other = self.written(other);
            if clash == Clash::Sure {
                let message = format!("`{other}` is on the same place: only one can listen");
                self.error(path, message, "give each an address and port of its own");
            } else {
                let message =
                    format!("`{other}` has the same port: where one is on all of IPv6, mostly only one can listen");
                self.warning(path, message, BINDV6ONLY);
            }
        }
    }

    fn logs(&mut self) {
        let feeds: Vec<(String, Option<&Path>)> = self
            .config
            .feeds
            .postfix
            .iter()
            .enumerate()
            .filter_map(|(index, feed)| match (&feed.log_file, feed.journal) {
                (Some(file), false) => Some((format!("feeds.postfix.{index}.log_file"), Some(file.as_ref()))),
                (None, true) => Some((format!("feeds.postfix.{index}.journal"), None)),
                _ => None,
            })
            .collect();
        for (index, (path, log)) in feeds.iter().enumerate() {
            if let Some((other, _)) = feeds.iter().take(index).find(|(_, other)| other == log) {
                let other = self.written(other);
                let message = format!("`{other}` is the same log: each of its lines would be read twice");
                self.error(path, message, "keep one of the two feeds");
            }
        }
    }

    fn queues(&mut self) {
        let feeds = &self.config.feeds.sqs;
        for (index, feed) in feeds.iter().enumerate() {
            if let Some(other) = feeds.iter().take(index).position(|other| other.is_same_queue(feed)) {
                let other = self.written(&format!("feeds.sqs.{other}.queue_url"));
                let message =
                    format!("`{other}` is the same queue: each message would come to one of the two by chance");
                self.error(&format!("feeds.sqs.{index}.queue_url"), message, "keep one of the two feeds");
            }
        }
    }

    /// Mandrill signs the URL along, so one that leads elsewhere is told. It is no error: a gateway before relaywatch may rewrite
    /// whatever it likes.
    fn mandrill(&mut self) {
        const GATEWAY: &str = "leave it where a gateway makes the one of the other";
        let base = self.config.listen.public_url.as_ref().map(|PublicUrl(url)| url);
        for (index, feed) in self.config.feeds.mandrill.iter().enumerate() {
            let Some(url) = feed.url.as_deref().and_then(|url| url::Url::parse(url).ok()) else { continue };
            if !matches!(url.scheme(), "http" | "https") {
                continue;
            }
            let path = format!("feeds.mandrill.{index}.url");
            let own = format!("/in/{}", feed_path("mandrill", feed.name.as_deref()));
            match base {
                Some(base) => {
                    let wanted = format!("{}{own}", base.as_str().trim_end_matches('/'));
                    let other = url::Url::parse(&wanted).map(|wanted| differences(&url, &wanted)).unwrap_or_default();
                    if !other.is_empty() {
                        self.warning(
                            &path,
                            format!(
                                "by `listen.public_url` this feed has another {}: \"{wanted}\"",
                                other.join(" and ")
                            ),
                            format!(
                                "write that here and at Mandrill, or put `public_url` in [listen] right; {GATEWAY}"
                            ),
                        );
                    }
                }
                // A proxy may put something before it.
                None if !url.path().ends_with(&own) => {
                    let message = format!("this URL does not lead to the feed, whose path is {own}");
                    self.warning(&path, message, format!("let it end in {own}, here and at Mandrill; {GATEWAY}"));
                }
                None => {}
            }
        }
    }
}

/// In what one URL leads elsewhere than another, whatever follows a `?`.
pub(crate) fn differences(one: &url::Url, other: &url::Url) -> Vec<&'static str> {
    let parts = [
        ("scheme", one.scheme() != other.scheme()),
        ("host", one.host() != other.host()),
        // Each scheme has a port of its own.
        (
            "port",
            if one.scheme() == other.scheme() {
                one.port_or_known_default() != other.port_or_known_default()
            } else {
                one.port() != other.port()
            },
        ),
        ("path", one.path() != other.path()),
    ];
    parts.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_clash_where_the_kernel_says_so() {
        let clashes = |one: &str, other: &str| {
            let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
            assert_eq!(clash(parse(one), parse(other)), clash(parse(other), parse(one)));
            clash(parse(one), parse(other))
        };
        for (one, other, expected) in [
            ("127.0.0.1:25", "127.0.0.1:25", Clash::Sure),
            ("0.0.0.0:25", "127.0.0.1:25", Clash::Sure),
            ("[::]:25", "[::1]:25", Clash::Sure),
            ("[::ffff:127.0.0.1]:25", "127.0.0.1:25", Clash::Sure),
            ("[::ffff:127.0.0.1]:25", "0.0.0.0:25", Clash::Sure),
            ("[::]:25", "127.0.0.1:25", Clash::Likely),
            ("[::]:25", "0.0.0.0:25", Clash::Likely),
            ("127.0.0.1:25", "127.0.0.1:26", Clash::None),
            ("127.0.0.1:25", "127.0.0.2:25", Clash::None),
            ("0.0.0.0:25", "[::1]:25", Clash::None),
            ("[::]:25", "0.0.0.0:26", Clash::None),
            ("127.0.0.1:0", "127.0.0.1:0", Clash::None),
        ] {
            assert_eq!(clashes(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn urls_differ_in_what_leads_elsewhere() {
        let of = |one: &str, other: &str| {
            let parse = |text: &str| url::Url::parse(text).expect("a URL");
            differences(&parse(one), &parse(other))
        };
        let none: [&str; 0] = [];
        assert_eq!(of("https://example.com:443/in/a?x=y", "https://EXAMPLE.com/in/a"), none);
        assert_eq!(of("http://example.com/in/a", "https://example.com/in/a"), ["scheme"]);
        assert_eq!(of("https://example.com:8443/in/a", "https://example.com/in/a"), ["port"]);
        assert_eq!(of("https://example.net/rw/in/a", "https://example.com/in/a"), ["host", "path"]);
    }
}

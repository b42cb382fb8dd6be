//! What two settings want that only one can have: a port, a file, a queue, a URL.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use super::{MailAddress, PublicUrl, feed_path, validate::Checks};

/// Whether only one can listen: a listener on all addresses has the port of each; that on all of IPv6 those of IPv4 too, as
/// Linux has it unless it is told otherwise.
pub(super) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let all = |address: SocketAddr, beside: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => ip.is_unspecified() && beside.is_ipv4(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    one.port() == other.port() && one.port() != 0 && (one.ip() == other.ip() || all(one, other) || all(other, one))
}

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
            let help = "give each an address and port of its own";
            if let MailAddress::Tcp(address) = address
                && let Some((listener, _)) = listeners.iter().find(|(_, other)| collide(*address, *other))
            {
                self.error(path, format!("`{listener}` has the same address and port"), help);
                continue;
            }
            let mut before = feeds.iter().take(index);
            let clash = before.find(|(_, other)| match (address, other) {
                (MailAddress::Tcp(one), MailAddress::Tcp(other)) => collide(*one, *other),
                (one, other) => one == other,
            });
            if let Some((other, _)) = clash {
                let other = self.written(other);
                self.error(path, format!("`{other}` is on the same place: only one can listen"), help);
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
        let feeds: Vec<_> = self
            .config
            .feeds
            .sqs
            .iter()
            .enumerate()
            .filter_map(|(index, feed)| {
                let PublicUrl(url) = feed.queue_url.as_ref()?;
                // One queue has several URLs: by its region's host, a legacy one, a VPC endpoint.
                Some((format!("feeds.sqs.{index}.queue_url"), (feed.region()?, url.path())))
            })
            .collect();
        for (index, (path, queue)) in feeds.iter().enumerate() {
            if let Some((other, _)) = feeds.iter().take(index).find(|(_, other)| other == queue) {
                let other = self.written(other);
                let message =
                    format!("`{other}` is the same queue: each message would come to one of the two by chance");
                self.error(path, message, "keep one of the two feeds");
            }
        }
    }

    /// Mandrill signs the URL along, so one that leads elsewhere is no slip without consequence.
    fn mandrill(&mut self) {
        let base = self.config.listen.public_url.as_ref().map(|PublicUrl(url)| url);
        for (index, feed) in self.config.feeds.mandrill.iter().enumerate() {
            let Some(url) = feed.url.as_deref().and_then(|url| url::Url::parse(url).ok()) else { continue };
            if !matches!(url.scheme(), "http" | "https") {
                continue;
            }
            let path = format!("feeds.mandrill.{index}.url");
            let own = format!("/in/{}", feed_path("mandrill", feed.name.as_deref()));
            let place = url.path();
            match base {
                Some(base) => {
                    let wanted = format!("{}{own}", base.as_str().trim_end_matches('/'));
                    let elsewhere = url.origin() != base.origin();
                    let other_path = url.path() != format!("{}{own}", base.path().trim_end_matches('/'));
                    if elsewhere || other_path {
                        let which = if elsewhere { "host" } else { "path" };
                        self.error(
                            &path,
                            format!("by `listen.public_url` this feed has another {which}"),
                            format!("write \"{wanted}\" here and at Mandrill, or put `public_url` in [listen] right"),
                        );
                    }
                }
                // A proxy may put something before it.
                None if !place.ends_with(&own) => {
                    let message = format!("this URL does not lead to the feed, whose path is {own}");
                    self.error(&path, message, format!("let it end in {own}, here and at Mandrill"));
                }
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_collide_where_the_kernel_says_so() {
        let collides = |one: &str, other: &str| {
            let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
            assert_eq!(collide(parse(one), parse(other)), collide(parse(other), parse(one)));
            collide(parse(one), parse(other))
        };
        for (one, other) in [
            ("127.0.0.1:25", "127.0.0.1:25"),
            ("0.0.0.0:25", "127.0.0.1:25"),
            ("[::]:25", "127.0.0.1:25"),
            ("[::]:25", "[::1]:25"),
            ("[::]:25", "0.0.0.0:25"),
        ] {
            assert!(collides(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("127.0.0.1:25", "127.0.0.1:26"),
            ("127.0.0.1:25", "127.0.0.2:25"),
            ("0.0.0.0:25", "[::1]:25"),
            ("127.0.0.1:0", "127.0.0.1:0"),
        ] {
            assert!(!collides(one, other), "{one} {other}");
        }
    }
}

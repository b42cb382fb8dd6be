//! Set-ups in which nothing is wrong, by a seeded generator: no finding above notable, and every stream is carried.

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::sources::answer::Name;

const SET_UPS: u64 = 200;
const TOPS: &[&str] = &["fr", "com", "co.uk", "example", "com.br", "\u{440}\u{444}", "xn--p1ai", "io"];
const WORDS: &[&str] =
    &["mydomain", "b\u{fc}cher", "shop-24", "\u{4f8b}\u{3048}", "a", "caf\u{e9}", "x9", "long-name-of-a-company"];
const BITS: &[usize] = &[2_048, 2_048, 2_048, 3_072, 4_096];

/// How a stream is sent.
#[derive(Debug, Clone, Copy)]
enum Way {
    SesOwn,
    SesDefault,
    Mailgun,
    SendgridAlias,
    PostmarkAlias,
    SparkpostInclude,
    Resend,
    OwnMachines,
}

const WAYS: &[Way] = &[
    Way::SesOwn,
    Way::SesDefault,
    Way::Mailgun,
    Way::SendgridAlias,
    Way::PostmarkAlias,
    Way::SparkpostInclude,
    Way::Resend,
    Way::OwnMachines,
];

struct Maker {
    rng: StdRng,
    zone: Zone,
    sources: Vec<Source>,
    streams: Vec<Stream>,
}

impl Maker {
    fn new(seed: u64) -> Self {
        let mut zone = Zone::default();
        zone.txt("amazonses.com", "v=spf1 ip4:198.51.100.0/24 ip4:203.0.113.0/25 ip6:2001:db8:100::/48 -all");
        zone.txt("mailgun.org", "v=spf1 include:_spf.mailgun.org include:_spf.eu.mailgun.org ~all");
        zone.txt("_spf.mailgun.org", "v=spf1 ip4:198.51.100.64/26 ip4:198.51.100.9 ~all");
        zone.txt("_spf.eu.mailgun.org", "v=spf1 ip4:203.0.113.128/25 ~all");
        zone.txt("sendgrid.net", "v=spf1 ip4:198.51.100.192/27 include:ab.sendgrid.net ~all");
        zone.txt("ab.sendgrid.net", "v=spf1 ip4:203.0.113.64/27 ~all");
        zone.txt("spf.mtasv.net", "v=spf1 ip4:203.0.113.32/28 ~all");
        zone.txt("pm.mtasv.net", "v=spf1 include:spf.mtasv.net ~all").mx("pm.mtasv.net", 10, "inbound.mtasv.net");
        zone.txt("_spf.sparkpostmail.com", "v=spf1 exists:%{i}._spf.sparkpostmail.com ip4:203.0.113.48/28 ~all");
        zone.txt("other.example", "v=spf1 a:mx.other.example ip6:2001:db8:7::/64 -all")
            .a("mx.other.example", [192, 0, 2, 33]);
        zone.txt("u1.wl.sendgrid.net", "v=spf1 ip4:192.0.2.60 -all").mx("u1.wl.sendgrid.net", 10, "mx.sendgrid.net");
        Self { rng: StdRng::seed_from_u64(seed), zone, sources: Vec::new(), streams: Vec::new() }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.random_range(0..from.len())]
    }

    fn happens(&mut self) -> bool {
        self.rng.random()
    }

    fn register(&mut self, name: &str) {
        if !self.sources.iter().any(|source| source.name == name) {
            let days = self.rng.random_range(0..90);
            self.sources.push(source(name, days));
        }
    }

    /// SPF of a domain, once: the provider's include among others, other texts around it.
    fn spf(&mut self, domain: &str, include: Option<&str>) {
        let mut terms: Vec<String> = include.map(|include| format!("include:{include}")).into_iter().collect();
        if self.happens() {
            terms.insert(0, "include:other.example".to_owned());
        }
        if self.happens() {
            terms.push("ip4:192.0.2.0/28".to_owned());
        }
        if self.happens() {
            self.zone.txt(domain, "some-verification=1234");
        }
        let end = self.pick(&["~all", "-all"]);
        self.zone.txt(domain, &format!("v=spf1 {} {end}", terms.join(" ")).replace("  ", " "));
    }

    /// A key at a selector, straight or behind one or two CNAMEs.
    fn key(&mut self, selector: &str, domain: &str, esp: &str) {
        let at = format!("{selector}._domainkey.{domain}");
        let bits = self.pick(BITS);
        let tags = self.pick(&["v=DKIM1; k=rsa; ", "v=DKIM1;", "k=rsa; t=; ", "v=DKIM1; h=sha256; s=email; ", ""]);
        let record = format!("{tags}p={}", crate::sources::testing::rsa(bits));
        let target = format!("{selector}-{}.dkim.{esp}", self.rng.random_range(0..1_000_000));
        match self.rng.random_range(0..3) {
            0 => done(self.zone.txt(&at, &record)),
            1 => done(self.zone.cname(&at, &target).txt(&target, &record)),
            _ => {
                let last = format!("k2.{target}");
                self.zone.cname(&at, &target).cname(&target, &last).txt(&last, &record);
            }
        }
    }

    fn stream(&mut self, org: &str, index: usize, way: Way) {
        let from = if self.happens() { org.to_owned() } else { format!("news{index}.{org}") };
        if !self.sources.iter().any(|source| source.name == from) {
            self.register(&from);
            self.spf(&from, None);
        }
        let (selector_name, bounce) = (format!("s{index}"), format!("bounce{index}.{org}"));
        let esp = match way {
            Way::SesOwn | Way::SesDefault | Way::Resend => "amazonses.com",
            Way::Mailgun => "mailgun.org",
            Way::SendgridAlias => "sendgrid.net",
            Way::PostmarkAlias => "mtasv.net",
            Way::SparkpostInclude => "sparkpostmail.com",
            Way::OwnMachines => "keys.example",
        };
        self.key(&selector_name, &from, esp);
        let provider = match way {
            Way::SesOwn | Way::SesDefault => Provider::Ses,
            Way::Mailgun => Provider::Mailgun,
            Way::SendgridAlias => Provider::Sendgrid,
            Way::PostmarkAlias => Provider::Postmark,
            Way::SparkpostInclude => Provider::Sparkpost,
            Way::Resend => Provider::Resend,
            Way::OwnMachines => Provider::Postfix,
        };
        let sender = if self.happens() { format!("Dev@{from}") } else { from.clone() };
        let mut stream = Stream { selectors: vec![selector(&selector_name, None)], ..Stream::new(provider, sender) };
        match way {
            Way::SesDefault => {}
            Way::SendgridAlias => done(self.zone.cname(&bounce, "u1.wl.sendgrid.net")),
            Way::PostmarkAlias => done(self.zone.cname(&bounce, "pm.mtasv.net")),
            Way::SesOwn => {
                self.zone.mx(&bounce, 10, EU);
                self.spf(&bounce, Some("amazonses.com"));
                stream.region = self.happens().then(|| "eu-west-1".to_owned());
            }
            Way::Resend => {
                self.zone.mx(&bounce, 10, EU);
                self.spf(&bounce, Some("amazonses.com"));
            }
            Way::Mailgun => {
                self.zone.mx(&bounce, 10, "mxa.mailgun.org").mx(&bounce, 10, "mxb.mailgun.org");
                self.spf(&bounce, Some("mailgun.org"));
            }
            Way::SparkpostInclude => {
                self.zone.mx(&bounce, 10, "smtp.sparkpostmail.com");
                self.spf(&bounce, Some("_spf.sparkpostmail.com"));
            }
            Way::OwnMachines => {
                self.zone.a(&bounce, [192, 0, 2, 33]);
                self.zone.txt(&bounce, "v=spf1 ip4:192.0.2.32/30 ip6:2001:db8:9::/64 include:other.example -all");
                stream.addresses = vec!["192.0.2.34".parse().expect("v4"), "2001:db8:9::5".parse().expect("v6")];
            }
        }
        if !matches!(way, Way::SesDefault) {
            self.register(&bounce);
            stream.envelope = Some(if self.happens() { format!("b@{bounce}") } else { bounce });
        }
        if self.happens() {
            stream.team = Some("T1".to_owned());
        }
        self.streams.push(stream);
    }

    fn world(mut self) -> World {
        for _ in 0..self.rng.random_range(1..3) {
            let org = format!("{}{}.{}", self.pick(WORDS), self.rng.random_range(0..100), self.pick(TOPS));
            let policy = self.pick(&["none", "quarantine", "reject"]);
            let modes =
                self.pick(&["", "; adkim=s", "; aspf=r", "; adkim=s; aspf=s", "; sp=reject", "; np=reject; psd=n"]);
            let reports =
                self.pick(&["", "; rua=mailto:d@collector.example!10m", "; fo=1; ruf=mailto:f@collector.example"]);
            if Name::parse(&format!("_dmarc.{org}")).is_err()
                || self.sources.iter().any(|source| source.name.ends_with(&org))
            {
                continue;
            }
            self.zone.txt(&format!("_dmarc.{org}"), &format!("v=DMARC1; p={policy}{modes}{reports}"));
            if !reports.is_empty() {
                self.zone.txt(&format!("{org}._report._dmarc.collector.example"), "v=DMARC1;");
            }
            for index in 0..self.rng.random_range(1..4) {
                let way = self.pick(WAYS);
                self.stream(&org, index, way);
            }
        }
        let team = Team { name: "T1".to_owned(), account: None, sources: self.sources };
        World { zone: self.zone, setup: Setup { teams: vec![team], streams: self.streams } }
    }
}

#[test]
fn set_ups_in_which_nothing_is_wrong_have_no_finding_above_notable() {
    let (mut streams, mut findings, mut notable) = (0, 0, std::collections::BTreeMap::new());
    for seed in 0..SET_UPS {
        let world = Maker::new(seed).world();
        let audit = world.audit();
        for stream in &audit.streams {
            streams += 1;
            assert_eq!(stream.apple.overall, PathVerdict::Pass, "seed {seed}: {stream:#?}");
            assert!(!stream.carriers.is_empty(), "seed {seed}");
        }
        let above: Vec<_> = audit.findings().into_iter().filter(|finding| finding.grade > Grade::Notable).collect();
        findings += above.len();
        assert!(above.is_empty(), "seed {seed}: {above:#?}");
        for finding in audit.findings() {
            *notable.entry(finding.code).or_insert(0) += 1;
        }
    }
    println!("{SET_UPS} set-ups, {streams} streams, {findings} findings above notable; notable: {notable:?}");
    assert!(streams > 300);
}

/// The same set-up asked in another order of answers, or all at once, has the same verdict.
#[test]
fn the_verdict_depends_on_the_answers_alone() {
    for seed in 0..20 {
        let world = Maker::new(seed).world();
        let whole = world.audit();
        let mut known = Known::default();
        let one_by_one = loop {
            match audit(&world.setup, NOW, &known) {
                Step::Done(audit) => break audit,
                Step::Need(questions) => world.zone.tell(questions.into_iter().rev().take(1).collect(), &mut known),
            }
        };
        assert_eq!(whole, one_by_one, "seed {seed}");
    }
}

//! What the configuration declares of sources and streams, as the audit takes it.

use crate::{
    config::{Config, MxFailure, Sending, TeamKind},
    model::Provider,
};

use super::{
    answer::Name,
    apple_rule::{Account, Registered, Source, Team},
    audit::{Selector, Setup, Stream},
    mail_from::OnMxFailure,
};

/// Reads a selector: `s1`, or `s1@example.com` where it signs for that domain. `None` where it is none.
#[must_use]
pub fn selector(text: &str) -> Option<Selector> {
    let (selector, domain) = match text.trim().split_once('@') {
        Some((selector, domain)) => (selector, Some(domain)),
        None => (text.trim(), None),
    };
    let plain = |text: &str| text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    let is_name = |text: &str| plain(text) && Name::parse(text).is_ok();
    (is_name(selector) && domain.is_none_or(is_name))
        .then(|| Selector { selector: selector.to_owned(), domain: domain.map(str::to_owned) })
}

/// The teams, their sources and streams.
#[must_use]
pub fn setup(config: &Config) -> Setup {
    let teams = config.team.iter().map(|team| Team {
        name: team.id.clone(),
        account: Some(match team.kind {
            TeamKind::Organization => Account::Organization,
            TeamKind::Individual => Account::Individual,
        }),
        sources: team
            .source
            .iter()
            .map(|source| Source {
                name: source.domain.clone().or_else(|| source.address.clone()).unwrap_or_default(),
                confirmed_at: source.confirmed(),
                confirmed_by: source.confirmed_by.clone(),
            })
            .collect(),
    });
    let streams =
        config.team.iter().flat_map(|team| team.stream.iter().filter_map(|sending| stream(sending, Some(&team.id))));
    Setup { teams: teams.collect(), streams: streams.collect() }
}

/// What is watched: the declared streams, and the sources that none of them has to do with.
#[must_use]
pub fn watched(config: &Config) -> Setup {
    let mut setup = setup(config);
    let alone = undeclared(&setup);
    setup.streams.extend(alone);
    setup
}

/// Streams of the sources that no declared stream has to do with: whoever sends from them.
#[must_use]
pub fn undeclared(declared: &Setup) -> Vec<Stream> {
    let sources = declared.teams.iter().flat_map(|team| team.sources.iter().map(move |source| (team, source)));
    sources
        .filter_map(|(team, source)| {
            let name = Registered::parse(&source.name)?;
            (!declared.streams.iter().any(|stream| is_of(stream, &name)))
                .then(|| Stream { team: Some(team.name.clone()), ..Stream::new(Provider::Generic, &source.name) })
        })
        .collect()
}

/// Whether a stream sends from this name: its From address or domain, or its envelope domain.
#[must_use]
pub fn is_of(stream: &Stream, name: &Registered) -> bool {
    let from = Registered::parse(&stream.from);
    let domain = from.as_ref().map(Registered::domain);
    match name {
        Registered::Address { .. } => from.as_ref() == Some(name),
        Registered::Domain(asked) => {
            let envelope = stream.envelope.as_deref().and_then(|domain| Name::parse(domain).ok());
            domain == Some(asked) || envelope.as_ref() == Some(asked)
        }
    }
}

/// One stream; `None` where its provider is unknown, which the configuration does not let through.
fn stream(sending: &Sending, team: Option<&str>) -> Option<Stream> {
    Some(Stream {
        team: team.map(str::to_owned),
        envelope: sending.mail_from.clone(),
        selectors: sending.selectors.iter().filter_map(|text| selector(text)).collect(),
        addresses: sending.addresses.iter().filter_map(|address| address.parse().ok()).collect(),
        spf_name: sending.spf_name.clone(),
        region: sending.region.clone(),
        on_mx_failure: sending.on_mx_failure.map(|failure| match failure {
            MxFailure::UseDefaultValue => OnMxFailure::UseDefaultValue,
            MxFailure::RejectMessage => OnMxFailure::RejectMessage,
        }),
        ..Stream::new(Provider::from_name(&sending.provider)?, &sending.from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_with_the_domain_that_they_sign_for() {
        let read = |text| selector(text).map(|read| (read.selector, read.domain));
        assert_eq!(read("s1"), Some(("s1".to_owned(), None)));
        assert_eq!(read("a.b@example.com"), Some(("a.b".to_owned(), Some("example.com".to_owned()))));
        for wrong in ["", "@example.com", "s1@", "s 1", "s1@a@b", "s1@exa mple.com", "s1..x"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}

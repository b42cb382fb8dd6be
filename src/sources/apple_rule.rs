//! Apple's own rule for the relay, a verdict of its own, never merged with DMARC (`email-auth.md` sections 1.1 to 1.3).
//!
//! By SPF the envelope domain must be registered, exactly, and SPF must pass for it; by DKIM `d=` must be the From domain, which
//! is registered. Either is enough (documented by Apple). What Apple does with a `d=` above or below the From domain is not
//! established: the verdict is unknown then, and a warning.
//!
//! Registrations are *declared*: Apple has no interface for them. A declaration can support "not registered" but never exclude
//! it. So a name that the inventory lacks fails; a name that it has passes only while the declaration is fresh; and nobody may
//! conclude from a pass that "not registered" is ruled out as a cause ([`Inventory::excludes_unregistered`]).

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::model::{DAY_MILLIS, Timestamp, words};

use super::{answer::Name, dmarc::org_by_list};

/// How long a declaration is fresh after its confirmation, in milliseconds.
pub const FRESH_MILLIS: i64 = 90 * DAY_MILLIS;

/// The longest part of an address before the at sign that is read, in bytes; RFC 5321 section 4.5.3.1.1 has 64, senders with VERP
/// more.
const MAX_LOCAL_BYTES: usize = 1_024;

words! {
    /// What kind of account a team has, which decides how many sources Apple takes (developer account help, "Configure private
    /// email relay service").
    pub enum Account {
        /// An individual: 32 sources.
        Individual = 1, "individual";
        /// An organization: 100 sources.
        Organization = 2, "organization";
    }
}

impl Account {
    /// How many sources, domains and addresses together, Apple takes.
    #[must_use]
    pub const fn limit(self) -> usize {
        match self {
            Self::Individual => 32,
            Self::Organization => 100,
        }
    }
}

/// What is registered: a domain or one address. Names are compared by A-label, without regard to case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Registered {
    /// A domain.
    Domain(Name),
    /// Exactly one address.
    Address {
        /// The part before the at sign, in lower case.
        local: String,
        /// The domain.
        domain: Name,
    },
}

impl Registered {
    /// Reads a domain or an address. `None` for what is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (local, domain) = match text.rsplit_once('@') {
            Some((local, domain)) => (Some(local), domain),
            None => (None, text),
        };
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        let domain =
            Name::parse(domain).ok().filter(|name| domain.chars().all(plain) && name.as_str().contains('.'))?;
        match local {
            None => Some(Self::Domain(domain)),
            Some(local) if local.len() > MAX_LOCAL_BYTES => None,
            Some(local) if local.is_empty() || local.chars().any(|c| c.is_whitespace() || c.is_control()) => None,
            Some(local) => Some(Self::Address { local: local.to_lowercase(), domain }),
        }
    }

    /// The domain, of an address too.
    #[must_use]
    pub const fn domain(&self) -> &Name {
        match self {
            Self::Domain(domain) | Self::Address { domain, .. } => domain,
        }
    }
}

impl fmt::Display for Registered {
    /// As a person registers it. An address of a source is a sender's own, no recipient's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => domain.fmt(f),
            Self::Address { local, domain } => write!(f, "{local}@{domain}"),
        }
    }
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Registered {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One declared source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What is registered, as declared: a domain or an address.
    pub name: String,
    /// When somebody last saw it in Apple's portal.
    pub confirmed_at: Option<Timestamp>,
    /// Who did.
    pub confirmed_by: Option<String>,
}

/// One Apple developer team with its sources.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Team {
    /// The team's id or name.
    pub name: String,
    /// Its kind of account, where that is known.
    pub account: Option<Account>,
    /// Its sources, all that are registered.
    pub sources: Vec<Source>,
}

/// One registration that was declared and can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The team's place in the inventory.
    pub team: usize,
    /// The source's place in the team.
    pub source: usize,
    /// Whether its declaration is fresh.
    pub fresh: bool,
}

/// What is registered for a name, as far as it was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// No sources were declared, or none of this team.
    NotSupplied,
    /// It is registered, exactly.
    Registered(Entry),
    /// Addresses of the domain are registered, not the domain; which address sends is not known.
    AddressesOnly(Entry),
    /// It is not, but another team has registered it.
    Elsewhere(Entry),
    /// It is not; a name of the same organisation is.
    Related(Entry),
    /// It is not.
    Absent,
}

/// Declared registrations, ready to be asked: by name, so that thousands of sources cost no more than one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    teams: Vec<Team>,
    by_name: BTreeMap<Registered, Vec<Entry>>,
    by_domain: BTreeMap<Name, Vec<Entry>>,
    by_org: BTreeMap<Name, Vec<Entry>>,
    /// Which teams have declared a source that can be read.
    supplied: Vec<bool>,
    invalid: Vec<(usize, usize)>,
}

impl Inventory {
    /// Reads what was declared; `now` decides what is fresh.
    #[must_use]
    pub fn new(teams: Vec<Team>, now: Timestamp) -> Self {
        let mut inventory = Self { supplied: vec![false; teams.len()], teams, ..Self::default() };
        for (team, declared) in inventory.teams.iter().enumerate() {
            for (source, declaration) in declared.sources.iter().enumerate() {
                let Some(name) = Registered::parse(&declaration.name) else {
                    inventory.invalid.push((team, source));
                    continue;
                };
                // A day of grace for clocks that differ; what lies further ahead is a slip of the pen.
                let age = declaration.confirmed_at.map(|at| now.millis_since(at));
                let fresh = age.is_some_and(|age| (-DAY_MILLIS..=FRESH_MILLIS).contains(&age));
                if let Some(supplied) = inventory.supplied.get_mut(team) {
                    *supplied = true;
                }
                let entry = Entry { team, source, fresh };
                if matches!(name, Registered::Address { .. }) {
                    inventory.by_domain.entry(name.domain().clone()).or_default().push(entry.clone());
                }
                inventory.by_org.entry(org_by_list(name.domain())).or_default().push(entry.clone());
                inventory.by_name.entry(name).or_default().push(entry);
            }
        }
        inventory
    }

    /// The teams as declared.
    #[must_use]
    pub fn teams(&self) -> &[Team] {
        &self.teams
    }

    /// The place of a team by its name.
    #[must_use]
    pub fn team(&self, name: &str) -> Option<usize> {
        self.teams.iter().position(|team| team.name == name)
    }

    /// The sources that are neither a domain nor an address, by team and place.
    #[must_use]
    pub fn invalid(&self) -> &[(usize, usize)] {
        &self.invalid
    }

    /// The names that are declared, with their entries.
    pub fn names(&self) -> impl Iterator<Item = (&Registered, &[Entry])> {
        self.by_name.iter().map(|(name, entries)| (name, entries.as_slice()))
    }

    /// A declared source.
    #[must_use]
    pub fn source(&self, entry: &Entry) -> Option<(&Team, &Source)> {
        let team = self.teams.get(entry.team)?;
        Some((team, team.sources.get(entry.source)?))
    }

    /// Whether a declaration rules out that a name is not registered: never. Apple's portal is the only witness, and it can be
    /// changed there without a notice.
    #[must_use]
    pub const fn excludes_unregistered(&self) -> bool {
        false
    }

    /// Whether a team, or where none is named any, has declared a source that can be read.
    #[must_use]
    pub fn supplies(&self, team: Option<usize>) -> bool {
        match team {
            Some(team) => self.supplied.get(team).copied().unwrap_or_default(),
            None => self.supplied.contains(&true),
        }
    }

    /// How an envelope address stands whose local part may hold the recipient (VERP): a registered address that it begins with may
    /// be the one that Apple compares, which is not established.
    #[must_use]
    pub fn envelope_standing(&self, domain: &Name, local: &str, team: Option<usize>) -> Standing {
        let standing = self.standing(domain, Some(local), team);
        if !matches!(standing, Standing::Absent | Standing::Related(_)) {
            return standing;
        }
        let local = local.to_lowercase();
        let begins =
            |own: &str| local.strip_prefix(own).is_some_and(|rest| rest.starts_with(['+', '-', '=', '_', '.', '#']));
        let addresses = self.by_domain.get(domain).map_or(&[][..], Vec::as_slice);
        let own = addresses.iter().filter(|entry| team.is_none_or(|team| entry.team == team)).find(|entry| {
            let name = self.source(entry).and_then(|(_, source)| Registered::parse(&source.name));
            matches!(name, Some(Registered::Address { local, .. }) if begins(&local))
        });
        own.map_or(standing, |entry| Standing::AddressesOnly(entry.clone()))
    }

    /// How a sender stands, for one team or, where none is named, for any. `local` is the part of its address before the at sign,
    /// where that is known.
    #[must_use]
    pub fn standing(&self, domain: &Name, local: Option<&str>, team: Option<usize>) -> Standing {
        if !self.supplies(team) {
            return Standing::NotSupplied;
        }
        let own = |entries: &[Entry]| best(entries.iter().filter(|entry| team.is_none_or(|team| entry.team == team)));
        let at = |name: &Registered| self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        let whole = Registered::Domain(domain.clone());
        let address = local.map(|local| Registered::Address { local: local.to_lowercase(), domain: domain.clone() });
        if let Some(entry) = own(at(&whole)) {
            return Standing::Registered(entry);
        }
        if let Some(entry) = address.as_ref().and_then(|address| own(at(address))) {
            return Standing::Registered(entry);
        }
        let addresses = self.by_domain.get(domain).map_or(&[][..], Vec::as_slice);
        if let (None, Some(entry)) = (local, own(addresses)) {
            return Standing::AddressesOnly(entry);
        }
        let other = best(at(&whole).iter().chain(address.iter().flat_map(at)));
        if let Some(entry) = other {
            return Standing::Elsewhere(entry);
        }
        let related = self.by_org.get(&org_by_list(domain)).map_or(&[][..], Vec::as_slice);
        own(related).map_or(Standing::Absent, Standing::Related)
    }
}

/// The fresh one before the stale one.
fn best<'a>(mut entries: impl Iterator<Item = &'a Entry>) -> Option<Entry> {
    let first = entries.next()?;
    Some(if first.fresh { first } else { entries.find(|entry| entry.fresh).unwrap_or(first) }.clone())
}

words! {
    /// Why a path is closed.
    pub enum FailReason {
        /// The envelope domain is not registered.
        EnvelopeUnregistered = 1, "envelope_unregistered";
        /// The From domain is not registered.
        FromUnregistered = 2, "from_unregistered";
        /// It is registered by another team.
        RegisteredElsewhere = 3, "registered_elsewhere";
        /// SPF does not pass.
        SpfNotPass = 4, "spf_not_pass";
        /// There is no valid signature.
        NoValidSignature = 5, "no_valid_signature";
        /// No valid signature is of the From domain.
        ForeignSignature = 6, "foreign_signature";
        /// The provider sends nothing as it is set up.
        NotSent = 7, "not_sent";
    }
}

words! {
    /// Why nobody can say whether a path is open.
    pub enum UnknownReason {
        /// No inventory was supplied.
        InventoryMissing = 1, "inventory_missing";
        /// The declaration is stale.
        RegistrationStale = 2, "registration_stale";
        /// Single addresses of the domain are registered, and which address sends is not known.
        AddressUnknown = 3, "address_unknown";
        /// DNS did not answer.
        Dns = 4, "dns";
        /// SPF passes for some sending addresses only, or signatures are valid by some keys only.
        Partly = 5, "partly";
        /// `d=` is above, below or beside the From domain.
        RelaxedOnly = 6, "relaxed_only";
        /// All that is valid is Ed25519, which Apple may not know.
        Ed25519Only = 7, "ed25519_only";
        /// Nobody told what sends or signs.
        NotTold = 8, "not_told";
    }
}

/// What is known of one of the two paths, or of both together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PathVerdict {
    /// Apple takes the mail this way.
    Pass,
    /// It does not.
    Fail(FailReason),
    /// It cannot be told.
    Unknown(UnknownReason),
}

impl PathVerdict {
    /// The reason's word; `None` where it passes.
    #[must_use]
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Pass => None,
            Self::Fail(reason) => Some(reason.as_str()),
            Self::Unknown(reason) => Some(reason.as_str()),
        }
    }

    /// The reason in words for people; `None` where it passes.
    #[must_use]
    pub const fn says(self) -> Option<&'static str> {
        Some(match self {
            Self::Pass => return None,
            Self::Fail(reason) => match reason {
                FailReason::EnvelopeUnregistered => "the envelope domain is not registered with Apple",
                FailReason::FromUnregistered => "the From domain is not registered with Apple",
                FailReason::RegisteredElsewhere => "another team has registered it",
                FailReason::SpfNotPass => "SPF does not pass",
                FailReason::NoValidSignature => "no valid DKIM signature",
                FailReason::NotSent => "nothing is sent as it is set up at the provider",
                FailReason::ForeignSignature => "no valid DKIM signature is of the From domain",
            },
            Self::Unknown(reason) => match reason {
                UnknownReason::InventoryMissing => "no registration with Apple is declared ([[team.source]])",
                UnknownReason::RegistrationStale => "the registration was not confirmed within 90 days",
                UnknownReason::AddressUnknown => {
                    "only single addresses of the domain are registered, and which address sends is not told"
                }
                UnknownReason::Dns => "DNS did not answer",
                UnknownReason::Partly => "it holds for some sending addresses or keys only",
                UnknownReason::RelaxedOnly => {
                    "the signature is of a domain above, below or beside the From domain; whether Apple takes that is not known"
                }
                UnknownReason::Ed25519Only => "all valid signatures are Ed25519, which Apple may not know",
                UnknownReason::NotTold => "what sends or signs is not told",
            },
        })
    }

    /// `pass`, `fail` or `unknown`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail(_) => "fail",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl fmt::Display for PathVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            None => f.write_str(self.as_str()),
            Some(reason) => write!(f, "{} ({reason})", self.as_str()),
        }
    }
}

impl Serialize for PathVerdict {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut out = serializer.serialize_struct("PathVerdict", 2)?;
        out.serialize_field("result", self.as_str())?;
        out.serialize_field("reason", &self.reason())?;
        out.end()
    }
}

/// Apple's verdict about a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AppleVerdict {
    /// The path by SPF.
    pub spf: PathVerdict,
    /// The path by DKIM.
    pub dkim: PathVerdict,
    /// Both: pass where either passes, unknown where neither does and one is unknown, else fail.
    pub overall: PathVerdict,
}

impl AppleVerdict {
    /// Both paths together.
    #[must_use]
    pub const fn of(spf: PathVerdict, dkim: PathVerdict) -> Self {
        let overall = match (spf, dkim) {
            (PathVerdict::Pass, _) | (_, PathVerdict::Pass) => PathVerdict::Pass,
            (unknown @ PathVerdict::Unknown(_), _) | (_, unknown @ PathVerdict::Unknown(_)) => unknown,
            (fail @ PathVerdict::Fail(_), _) => fail,
        };
        Self { spf, dkim, overall }
    }
}

/// What SPF says of the addresses that a sender uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpfSeen {
    /// All pass.
    Pass,
    /// Some do.
    Partly,
    /// None does.
    NotPass,
    /// DNS did not answer.
    Trouble,
    /// No address is known.
    NotTold,
}

/// Whether a signature is valid, or would be by the key that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It is.
    Valid,
    /// It is, by Ed25519.
    ValidEd25519,
    /// It is not.
    Invalid,
    /// By chance: several keys stand at its selector.
    Chance,
    /// DNS did not answer.
    Trouble,
    /// Nobody has verified it, or nobody who counts.
    Untold,
}

/// One signature, or one selector that mail is signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// `d=`.
    pub domain: Name,
    /// Whether it is valid.
    pub validity: Validity,
}

/// The path by SPF, given how the envelope domain stands.
#[must_use]
pub const fn by_spf(spf: SpfSeen, standing: &Standing) -> PathVerdict {
    // What closes the path for certain comes before what is not known.
    match (standing, spf) {
        (Standing::Elsewhere(_), _) => PathVerdict::Fail(FailReason::RegisteredElsewhere),
        (Standing::Absent | Standing::Related(_), _) => PathVerdict::Fail(FailReason::EnvelopeUnregistered),
        (_, SpfSeen::NotPass) => PathVerdict::Fail(FailReason::SpfNotPass),
        (Standing::NotSupplied, _) => PathVerdict::Unknown(UnknownReason::InventoryMissing),
        (_, SpfSeen::Trouble) => PathVerdict::Unknown(UnknownReason::Dns),
        (_, SpfSeen::NotTold) => PathVerdict::Unknown(UnknownReason::NotTold),
        (_, SpfSeen::Partly) => PathVerdict::Unknown(UnknownReason::Partly),
        (Standing::AddressesOnly(_), _) => PathVerdict::Unknown(UnknownReason::AddressUnknown),
        (Standing::Registered(entry), SpfSeen::Pass) => {
            if entry.fresh {
                PathVerdict::Pass
            } else {
                PathVerdict::Unknown(UnknownReason::RegistrationStale)
            }
        }
    }
}

/// The path by DKIM, given how the From domain stands. `every` says whether all signatures are on each message, as on one that is
/// at hand; otherwise a message has one or another of them, so that one broken key costs part of the mail.
#[must_use]
pub fn by_dkim(from: &Name, signatures: &[Signature], every: bool, standing: &Standing) -> PathVerdict {
    match standing {
        Standing::Elsewhere(_) => return PathVerdict::Fail(FailReason::RegisteredElsewhere),
        Standing::Absent | Standing::Related(_) => return PathVerdict::Fail(FailReason::FromUnregistered),
        Standing::NotSupplied | Standing::Registered(_) | Standing::AddressesOnly(_) => {}
    }
    if signatures.is_empty() {
        return PathVerdict::Unknown(UnknownReason::NotTold);
    }
    let has = |validity: Validity| {
        signatures.iter().any(|signature| signature.domain == *from && signature.validity == validity)
    };
    let valid = has(Validity::Valid);
    let foreign = signatures.iter().any(|signature| signature.domain != *from);
    let unknown = if valid && every {
        None
    } else if has(Validity::Trouble) {
        Some(UnknownReason::Dns)
    } else if has(Validity::Chance) || (valid && (has(Validity::Invalid) || foreign)) {
        Some(UnknownReason::Partly)
    } else if has(Validity::Untold) {
        Some(UnknownReason::NotTold)
    } else if has(Validity::ValidEd25519) {
        Some(UnknownReason::Ed25519Only)
    } else if valid {
        None
    } else {
        return without_own(from, signatures);
    };
    match (unknown, standing) {
        (_, Standing::NotSupplied) => PathVerdict::Unknown(UnknownReason::InventoryMissing),
        (Some(reason), _) => PathVerdict::Unknown(reason),
        (None, Standing::AddressesOnly(_)) => PathVerdict::Unknown(UnknownReason::AddressUnknown),
        (None, Standing::Registered(entry)) if !entry.fresh => PathVerdict::Unknown(UnknownReason::RegistrationStale),
        (None, _) => PathVerdict::Pass,
    }
}

/// No signature of the From domain itself is valid.
fn without_own(from: &Name, signatures: &[Signature]) -> PathVerdict {
    let org = org_by_list(from);
    let others = || signatures.iter().filter(|signature| signature.domain != *from);
    let lives = |signature: &Signature| signature.validity != Validity::Invalid;
    if others().any(|signature| lives(signature) && org_by_list(&signature.domain) == org) {
        PathVerdict::Unknown(UnknownReason::RelaxedOnly)
    } else if others().any(lives) {
        PathVerdict::Fail(FailReason::ForeignSignature)
    } else {
        PathVerdict::Fail(FailReason::NoValidSignature)
    }
}

#[cfg(test)]
mod tests;

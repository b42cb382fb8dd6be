//! The mark by which a canary is known again. It is keyed, so that nobody else can make one.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What every mark begins with. Letters and digits only: it survives header folding, quoted-printable and a search by IMAP.
pub const PREFIX: &str = "rwc";
/// Hexadecimal digits of the id.
const ID_DIGITS: usize = 16;
/// Bytes of the seal that a mark carries.
const SEAL_BYTES: usize = 10;
/// Marks that are looked at in one text: a hostile mail may hold any number.
const MOST_MARKS: usize = 16;

/// Which canary: random, and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CanaryId(u64);

impl CanaryId {
    /// The canary of this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for CanaryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for CanaryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CanaryId({self})")
    }
}

impl From<CanaryId> for String {
    fn from(id: CanaryId) -> Self {
        id.to_string()
    }
}

/// What is no canary's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a canary's id has 16 hexadecimal digits")]
pub struct NoCanaryId;

impl FromStr for CanaryId {
    type Err = NoCanaryId;

    fn from_str(text: &str) -> Result<Self, NoCanaryId> {
        let digits = text.len() == ID_DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
        digits.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self).ok_or(NoCanaryId)
    }
}

impl TryFrom<String> for CanaryId {
    type Error = NoCanaryId;

    fn try_from(text: String) -> Result<Self, NoCanaryId> {
        text.parse()
    }
}

/// A keyed hash of bytes: the installation's.
pub type Seal<'a> = &'a dyn Fn(&[u8]) -> [u8; 16];

/// A canary's mark: its id, and a keyed hash of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark(String);

impl Mark {
    /// The mark of a canary, by this installation's key.
    #[must_use]
    pub fn of(id: CanaryId, seal: Seal<'_>) -> Self {
        let sealed = seal(&id.0.to_be_bytes());
        let seal = hex::encode(sealed.get(..SEAL_BYTES).unwrap_or(&sealed));
        Self(format!("{PREFIX}{id}{seal}"))
    }

    /// The text that stands in the message.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first canary that a text names by a mark of this installation. Upper and lower case are the same.
    #[must_use]
    pub fn find(text: &str, seal: Seal<'_>) -> Option<CanaryId> {
        let text = text.to_ascii_lowercase();
        let length = PREFIX.len() + ID_DIGITS + 2 * SEAL_BYTES;
        text.match_indices(PREFIX)
            .filter_map(|(at, _)| text.get(at..at + length))
            .take(MOST_MARKS)
            .filter_map(|mark| Some((mark, mark.get(PREFIX.len()..PREFIX.len() + ID_DIGITS)?.parse().ok()?)))
            .find(|(mark, id)| Self::of(*id, seal).0 == **mark)
            .map(|(_, id)| id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seal(key: u8) -> impl Fn(&[u8]) -> [u8; 16] {
        move |bytes| std::array::from_fn(|at| bytes[at % 8].wrapping_mul(31).wrapping_add(key))
    }

    proptest! {
        #[test]
        fn a_mark_is_found_again_whatever_stands_around_it(number: u64, before in "\\PC{0,40}", after in "\\PC{0,40}") {
            let (ours, id) = (seal(1), CanaryId::new(number));
            let mark = Mark::of(id, &ours);
            let text = format!("{before}{}{after}", mark.as_str().to_ascii_uppercase());
            prop_assert_eq!(Mark::find(&text, &ours), Some(id));
        }

        #[test]
        fn nobody_else_can_make_one(number: u64, other in 2_u8..) {
            let mark = Mark::of(CanaryId::new(number), &seal(other));
            prop_assert_eq!(Mark::find(mark.as_str(), &seal(1)), None);
        }

        #[test]
        fn no_text_makes_it_panic(text in "(rwc|[0-9a-fA-F]|\\PC){0,120}") {
            prop_assert_eq!(Mark::find(&text, &seal(1)), None);
        }
    }

    #[test]
    fn ids_are_written_as_they_are_read() {
        let id = CanaryId::new(0xab);
        assert_eq!(id.to_string(), "00000000000000ab");
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "ab", "+0000000000000ab", "00000000000000xx", "00000000000000ab0"] {
            assert_eq!(wrong.parse::<CanaryId>(), Err(NoCanaryId), "{wrong}");
        }
    }
}

//! The vocabulary of relaywatch as types: pure, without clock, I/O or async.
//!
//! Every other room speaks in these words. See `docs/architecture.md` for the list of rooms and the arrows between them.

mod address;
mod counted;
mod digest;
mod event;
mod label;
mod nearest;
mod notice;
mod provider;
mod reply;
mod stream;
mod time;
mod verdict;

pub use address::{Address, AddressError, RelayDomains, domain_of, may_hold_address, normalise_domain};
pub use counted::{counted, verb};
pub use digest::{FNV1A_BASIS, fnv1a};
pub use event::{DedupeMaterial, Event, EventKind, Exposure, SendTime, SendTimeOrigin};
pub use label::LabelSays;
pub(crate) use nearest::nearest_word;
pub use notice::{Notice, NoticeKind, RelayNotice};
pub use provider::{IMPORTED_PREFIX, Provider, holds_reports_millis};
pub use reply::{EnhancedCode, FailureClass, MAX_REPLY_BYTES, Reply};
pub use stream::{OTHER, StreamKey, StreamLevel};
pub use time::{BIN_MILLIS, Bin, DAY_MILLIS, Day, HOUR_MILLIS, MINUTE_MILLIS, Timestamp};
pub use verdict::{
    Action, AddressRole, Cause, CauseFamily, Destination, Evidence, EvidenceKind, Fault, MxFamily, ReplyContext,
    Verdict,
};

/// Declares a closed list of words with a stable code for the store and a stable name for people and machines.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $(#[$vmeta:meta])* $variant:ident = $code:literal, $text:literal; )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $( $(#[$vmeta])* #[serde(rename = $text)] $variant, )+
        }

        impl $name {
            /// Every word of the list, in the order of its code.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),+ ];

            /// The number under which the store keeps the word. It never changes its meaning.
            #[must_use]
            pub const fn code(self) -> i16 {
                match self { $( Self::$variant => $code ),+ }
            }

            /// The word of a stored number, or `None` where a newer version wrote it.
            #[must_use]
            pub const fn from_code(code: i16) -> Option<Self> {
                match code { $( $code => Some(Self::$variant), )+ _ => None }
            }

            /// The word as people and machines read it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text ),+ }
            }

            /// The word that is spelt so, exactly.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $( $text => Some(Self::$variant), )+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    macro_rules! check_words {
        ($($list:ty),+) => {$(
            let mut codes = HashSet::new();
            let mut names = HashSet::new();
            for word in <$list>::ALL {
                assert!(codes.insert(word.code()), "{} uses code {} twice", stringify!($list), word.code());
                assert!(names.insert(word.as_str()), "{} spells {word} twice", stringify!($list));
                assert_eq!(<$list>::from_code(word.code()), Some(*word));
                assert_eq!(<$list>::from_name(word.as_str()), Some(*word));
                assert_eq!(serde_json::to_value(word).expect("serialises"), serde_json::json!(word.as_str()));
            }
            assert_eq!(<$list>::from_code(-1), None);
            assert_eq!(<$list>::from_name("no such word"), None);
        )+};
    }

    #[test]
    fn every_word_has_its_own_code_and_name() {
        check_words!(
            Action,
            AddressRole,
            Cause,
            CauseFamily,
            Destination,
            EventKind,
            EvidenceKind,
            Exposure,
            FailureClass,
            Fault,
            MxFamily,
            NoticeKind,
            Provider,
            RelayNotice,
            SendTimeOrigin,
            StreamLevel
        );
    }
}

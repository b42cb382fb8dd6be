//! Which words of Apple's no rule knows.

use super::{NO_RULE, Receiver};
use crate::model::{Destination, MxFamily, ReplyContext};

/// The built-in files whose rules are for receivers in general: what they make of Apple's words is a guess.
const GENERAL: [&str; 13] = [
    "google",
    "microsoft",
    "yahoo",
    "providers",
    "sender",
    "message",
    "receiver",
    "recipient",
    "form",
    "languages",
    "general",
    "codes",
    "labels",
];

/// Whether a reply is of Apple's and in words that no rule knows as Apple's: none held, or one that is for receivers in
/// general.
///
/// `rule` is the verdict's, as `file/name` or as it is stored, `file/name@version`. A rule of a file of the operator's own
/// knows what it says.
#[must_use]
pub fn is_new_words(rule: &str, context: &ReplyContext) -> bool {
    is_guess(rule) && is_apple(Receiver::of(context))
}

/// Whether a rule (as [`is_new_words`] reads it) knows nothing of Apple's words.
#[must_use]
pub fn is_guess(rule: &str) -> bool {
    let name = rule.rsplit_once('@').map_or(rule, |(name, _)| name);
    name == NO_RULE || name.split_once('/').is_some_and(|(file, _)| GENERAL.contains(&file))
}

/// All that is stored of replies that Apple gave: what the recipient's domain can hold, and whose exchanger answered.
pub fn apple_receivers() -> impl Iterator<Item = (Destination, MxFamily)> {
    let all = Destination::ALL.iter().flat_map(|destination| MxFamily::ALL.iter().map(|mx| (*destination, *mx)));
    let receiver = |(destination, mx): &(Destination, MxFamily)| {
        Receiver::of(&ReplyContext { provider: None, destination: *destination, mx: *mx })
    };
    all.filter(move |pair| is_apple(receiver(pair)))
}

const fn is_apple(receiver: Receiver) -> bool {
    matches!(receiver, Receiver::AppleRelay | Receiver::AppleIcloud)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// The built-in files whose rules know what Apple, a suppression list, a host or an automaton says.
    const KNOWING: [&str; 5] = ["suppression", "transport", "automatic", "apple-relay", "apple-icloud"];

    const fn context(destination: Destination, mx: MxFamily) -> ReplyContext {
        ReplyContext { provider: None, destination, mx }
    }

    #[test]
    fn words_are_new_where_apple_speaks_and_no_rule_of_apples_holds() {
        let relay = context(Destination::Relay, MxFamily::Unknown);
        for rule in ["none/undetermined", "none/undetermined@41", "codes/mailbox@3", "recipient/unknown", "form/x@1@2"]
        {
            assert!(is_new_words(rule, &relay), "{rule}");
        }
        for rule in
            ["apple-relay/user-not-found@1", "suppression/ses@2", "mine/transformed@1", "none/other", "", "codes"]
        {
            assert!(!is_new_words(rule, &relay), "{rule}");
        }
        for (of, new) in [
            (context(Destination::Shared, MxFamily::Unknown), true),
            (context(Destination::Shared, MxFamily::Other), true),
            (context(Destination::Other, MxFamily::AppleIcloud), true),
            (context(Destination::Unknown, MxFamily::AppleRelay), true),
            (context(Destination::Shared, MxFamily::Google), false),
            (context(Destination::Other, MxFamily::Other), false),
            (context(Destination::Unknown, MxFamily::Unknown), false),
        ] {
            assert_eq!(is_new_words(NO_RULE, &of), new, "{of:?}");
            assert_eq!(apple_receivers().any(|pair| pair == (of.destination, of.mx)), new, "{of:?}");
        }
    }

    #[test]
    fn every_built_in_file_is_of_one_kind() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
        let files = fs::read_dir(folder).expect("the rules").map(|entry| entry.expect("a file").path());
        let names: BTreeSet<String> =
            files.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
        let told: BTreeSet<String> = GENERAL.iter().chain(&KNOWING).map(|name| (*name).to_owned()).collect();
        assert_eq!(names, told, "say of a new file whether it knows Apple's words");
    }
}

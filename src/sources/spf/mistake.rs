//! What is wrong with a record, and where.

use std::{fmt, ops::Range};

use super::macros::MAX_EXPLANATION_BYTES;

/// One mistake in the syntax of a record; each makes the whole record a permerror (RFC 7208 section 4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The bytes of the record.
    pub span: Range<usize>,
    /// What is wrong.
    pub kind: MistakeKind,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MistakeKind {
    /// A byte that may not stand there: a control character or one above 127.
    Byte(u8),
    /// Neither a mechanism of RFC 7208 nor a modifier.
    UnknownTerm,
    /// A modifier's name that does not begin with a letter or has other characters than letters, digits, `-`, `_`, `.`.
    ModifierName,
    /// A qualifier before a modifier, which takes none.
    QualifiedModifier,
    /// `redirect` and `exp` are modifiers: an equals sign, no colon.
    ColonForEquals,
    /// A mechanism that takes no argument has one.
    NoArgument,
    /// An argument is missing.
    MissingArgument,
    /// The domain ends neither in a macro nor in a dot and a label that is no number.
    DomainEnd,
    /// An address where a domain belongs.
    AddressForDomain,
    /// No IPv4 address.
    Ip4,
    /// No IPv6 address.
    Ip6,
    /// A prefix length that is no number, has leading zeros or is out of range.
    PrefixLength,
    /// A prefix length on what takes none.
    NoPrefixLength,
    /// A `%` that begins no macro.
    Percent,
    /// A macro with unknown transformers or delimiters, or without its closing brace.
    Macro,
    /// A macro letter that there is not.
    MacroLetter,
    /// `%{c}`, `%{r}` and `%{t}` may stand in explanations only.
    MacroOnlyInExplanation,
    /// A macro that keeps no parts.
    MacroZero,
    /// `redirect` or `exp` for the second time.
    Twice,
}

impl fmt::Display for MistakeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Byte(byte @ 0x80..) => return write!(f, "byte {byte:#04x} is not US-ASCII"),
            Self::Byte(byte) => {
                return write!(f, "byte {byte:#04x} may not stand in a record; terms are separated by blanks");
            }
            Self::UnknownTerm => "neither a mechanism nor a modifier of SPF",
            Self::ModifierName => "a modifier's name begins with a letter and has letters, digits, '-', '_' and '.'",
            Self::QualifiedModifier => "a modifier takes no qualifier",
            Self::ColonForEquals => "a modifier takes '=', not ':'",
            Self::NoArgument => "this mechanism takes no argument",
            Self::MissingArgument => "the argument is missing",
            Self::DomainEnd => "a domain ends in a macro or in a dot and a top-level label",
            Self::AddressForDomain => "an address stands where a domain belongs",
            Self::Ip4 => "no IPv4 address",
            Self::Ip6 => "no IPv6 address",
            Self::PrefixLength => "no prefix length, or out of range",
            Self::NoPrefixLength => "this mechanism takes no prefix length of this form",
            Self::Percent => "'%' begins no macro; a percent sign is written '%%'",
            Self::Macro => "no macro: a letter, digits, 'r', delimiters, a closing brace",
            Self::MacroLetter => "there is no such macro",
            Self::MacroOnlyInExplanation => "this macro may stand in an explanation only",
            Self::MacroZero => "a macro cannot keep 0 parts",
            Self::Twice => "this modifier may stand once only",
        })
    }
}

/// Why an `exp` gave no explanation; the result stays (RFC 7208 section 6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoExplanation {
    /// The target is no name that DNS can be asked for.
    Target,
    /// The answer has no text.
    Absent,
    /// DNS did not answer well.
    Trouble,
    /// There are several texts.
    Several,
    /// The text is wrong: where, as bytes of it, and what.
    Mistake(Range<usize>, MistakeKind),
    /// It is longer than 4,096 bytes, or a macro brought bytes into it that may not stand there.
    Expanded,
}

impl fmt::Display for NoExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target => f.write_str("its target is no domain name"),
            Self::Absent => f.write_str("there is no text at its target"),
            Self::Trouble => f.write_str("DNS did not answer for its target"),
            Self::Several => f.write_str("there are several texts at its target"),
            Self::Mistake(_, kind) => write!(f, "its text is wrong: {kind}"),
            Self::Expanded => {
                write!(f, "its text is longer than {MAX_EXPLANATION_BYTES} bytes or not printable US-ASCII")
            }
        }
    }
}

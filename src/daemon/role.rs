//! What one process does of the whole.

use std::fmt;

use clap::ValueEnum;

/// What a process of `serve` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Role {
    /// Everything: takes reports in, and folds, judges and sends while it leads.
    #[default]
    All,
    /// Takes reports in, and nothing else; any number of them (PostgreSQL only).
    Ingest,
    /// Folds, judges and sends while it leads, else stands by; has no public listener (PostgreSQL only).
    Monitor,
}

impl Role {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Ingest => "ingest",
            Self::Monitor => "monitor",
        }
    }

    /// Whether it takes reports in.
    #[must_use]
    pub const fn ingests(self) -> bool {
        matches!(self, Self::All | Self::Ingest)
    }

    /// Whether it may lead.
    #[must_use]
    pub const fn monitors(self) -> bool {
        matches!(self, Self::All | Self::Monitor)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

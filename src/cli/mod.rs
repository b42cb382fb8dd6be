//! The commands: one file each.

pub mod classify;

/// How a command prints: for people, or for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

//! The commands: one file each. A command writes to the writer that it's given and returns how it ended; only `main`
//! touches stdout and the process.

pub mod accounts;
pub mod address;
pub mod canary;
pub mod check;
pub mod classify;
pub mod config;
pub mod demo;
pub mod diagnose;
pub mod doctor;
pub mod events;
pub mod import;
pub mod incident;
pub mod keys;
pub mod rebuild;
pub mod reports;
pub mod score;
pub mod serve;
pub mod sources;

mod entries;
mod open;
mod operator;
mod progress;
mod resolvers;
mod text;
mod time;
mod told;

use clap::ValueEnum;

/// How a command's result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked, and found nothing wrong.
    Success,
    /// It did what it was asked, and what it looked at is wrong.
    Finding,
    /// It was asked in a way that makes no sense.
    Misuse,
}

impl From<Exit> for std::process::ExitCode {
    /// 0 for success, 1 for a finding, 2 for a mistake on the command line (most of them are clap's).
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Success => Self::SUCCESS,
            Exit::Finding => Self::from(1),
            Exit::Misuse => Self::from(2),
        }
    }
}

//! What both engines do by the same statements, written once.
//!
//! A statement is here where its text is the same for both; where they do it in ways of their own, each has its method.

mod feeds;
mod imports;
mod incidents;
mod new_words;
mod observed;
mod outbox;
mod people;
mod read;
mod relabel;
mod retention;

use sqlx::{Database, Pool};

pub(super) use observed::{OBSERVE, UNOBSERVE};
pub(super) use outbox::ENQUEUE;
pub(super) use people::again;
pub(super) use read::opened;
pub(super) use retention::RESET;

/// Where the engines differ in what they share.
pub(super) trait Engine {
    /// The engine as `sqlx` knows it.
    type Database: Database;

    /// Rows that one step of expiry deletes, so that no step holds up the others for long.
    const STEP: i64;

    /// The statement for the replies of a stretch of the journal, which is bound as `$1` and `$2`.
    const REPLIES_IN: &'static str;

    /// The connections to read from.
    fn reading(&self) -> &Pool<Self::Database>;

    /// The connections to write by, one statement or transaction each.
    fn writing(&self) -> &Pool<Self::Database>;
}

/// A connection to an engine.
type ConnectionOf<E> = <<E as Engine>::Database as Database>::Connection;

/// Writes methods into both engines. A generic function would have to name every type that a statement binds or gives, for
/// each of them.
macro_rules! on_both {
    ($($methods:tt)*) => {
        impl $crate::store::SqliteStore {
            $($methods)*
        }

        impl $crate::store::PgStore {
            $($methods)*
        }
    };
}
use on_both;

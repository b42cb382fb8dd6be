//! Inserts of many rows by few statements: one constant text for each of some sizes.

use std::ops::Range;

/// Rows of one statement, largest first. With at most 21 columns, 128 rows stay far below SQLite's 32,766 parameters.
/// Every number of rows up to 128 is cut into three statements at most, mostly into two: each is handed to the connection's
/// thread and waited for, which costs as much as some ten rows.
const SIZES: [usize; 14] = [128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1];

/// One `INSERT … VALUES …` in each size.
pub(super) struct Bulk {
    texts: [&'static str; SIZES.len()],
}

impl Bulk {
    /// `head` is `INSERT INTO t (a, b)`, `row` one row of placeholders such as `(?, unhex(?))`, `tail` what follows.
    ///
    /// The texts live for the whole process, as constants do; call it once for each statement.
    pub(super) fn new(head: &str, row: &str, tail: &str) -> Self {
        let text = |size: usize| -> &'static str {
            let rows = vec![row; size].join(", ");
            String::leak(format!("{head} VALUES {rows} {tail}"))
        };
        Self { texts: SIZES.map(text) }
    }

    /// Cuts `count` rows into statements.
    pub(super) fn cut(&self, count: usize) -> impl Iterator<Item = (&'static str, Range<usize>)> + '_ {
        let mut done = 0;
        std::iter::from_fn(move || {
            let left = count - done;
            let (size, text) = SIZES.iter().zip(self.texts).find(|(size, _)| **size <= left)?;
            let range = done..done + size;
            done += size;
            Some((text, range))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_exactly_one_statement() {
        let bulk = Bulk::new("INSERT INTO t (a, b)", "(?, ?)", "ON CONFLICT DO NOTHING");
        for count in [0, 1, 15, 16, 17, 127, 128, 129, 300] {
            let cuts: Vec<_> = bulk.cut(count).collect();
            let mut next = 0;
            for (text, range) in &cuts {
                assert_eq!(range.start, next);
                assert_eq!(text.matches("(?, ?)").count(), range.len());
                next = range.end;
            }
            assert_eq!(next, count);
        }
    }
}

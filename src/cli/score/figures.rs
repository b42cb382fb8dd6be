//! The numbers of a table.

use serde::Serialize;

use super::Judged;

/// How well the rules do on a set of labelled replies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    replies: u32,
    true_hards: u32,
    false_hards: u32,
    missed_hards: u32,
    exact: u32,
    family: u32,
    abstained: u32,
    /// Shares of 1; `None` where there is nothing to divide by.
    accuracy: Option<f64>,
    precision: Option<f64>,
    recall: Option<f64>,
    exact_share: Option<f64>,
    family_share: Option<f64>,
}

impl Figures {
    pub(super) const HEAD: &str =
        "                    replies  hard/soft  precision  recall  false hards  missed  exact  family  abstained";

    pub(super) fn of<'a, 'b: 'a>(judged: impl Iterator<Item = &'a Judged<'b>>) -> Self {
        let mut figures = Self::default();
        for one in judged {
            figures.replies += 1;
            match (one.verdict.hard, one.labelled.hard) {
                (true, true) => figures.true_hards += 1,
                (true, false) => figures.false_hards += 1,
                (false, true) => figures.missed_hards += 1,
                (false, false) => {}
            }
            figures.exact += u32::from(one.exact());
            figures.family += u32::from(one.family());
            figures.abstained += u32::from(one.abstained());
        }
        let share = |part: u32, all: u32| (all > 0).then(|| f64::from(part) / f64::from(all));
        let right = figures.replies - figures.false_hards - figures.missed_hards;
        figures.accuracy = share(right, figures.replies);
        figures.precision = share(figures.true_hards, figures.true_hards + figures.false_hards);
        figures.recall = share(figures.true_hards, figures.true_hards + figures.missed_hards);
        figures.exact_share = share(figures.exact, figures.replies);
        figures.family_share = share(figures.family, figures.replies);
        figures
    }

    pub(super) fn row(&self, name: &str) -> String {
        let show = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |share| format!("{share:.3}"));
        format!(
            "{name:<18}{:>9}{:>11}{:>11}{:>8}{:>13}{:>8}{:>7}{:>8}{:>11}",
            self.replies,
            show(self.accuracy),
            show(self.precision),
            show(self.recall),
            self.false_hards,
            self.missed_hards,
            show(self.exact_share),
            show(self.family_share),
            self.abstained
        )
    }
}

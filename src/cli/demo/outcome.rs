//! What a case has come to, and the table of all cases.

use crate::{
    model::{MINUTE_MILLIS, Timestamp},
    simulate::{Case, TrueCause, Truth},
};

/// A message that came to the demo's Slack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// When it came, by the demo's clock.
    pub at: Timestamp,
    /// What stands in a notification.
    pub title: String,
    /// The texts of the message.
    pub details: Vec<String>,
}

impl Page {
    /// Whether it's for working hours, or says that something is over: it wakes nobody.
    #[must_use]
    pub fn is_ticket(&self) -> bool {
        let title = self.title.strip_prefix("possible repeat \u{b7} ").unwrap_or(&self.title);
        ["Ticket", "Closed", "Withdrawn"].iter().any(|start| title.starts_with(start))
    }
}

/// What relaywatch says of an incident.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// When it began, by relaywatch's estimate.
    pub onset: Timestamp,
    /// The cause that was named; none while it is undetermined.
    pub cause: Option<String>,
    /// The share of the refusals that notices explain.
    pub share_explained: Option<f64>,
}

crate::model::words! {
    /// What a case has come to.
    pub enum Verdict {
        /// The trouble was paged, and the right cause was named, or none.
        Found = 1, "found";
        /// The decoy was passed over.
        Silent = 2, "silent";
        /// The trouble was not paged.
        Missed = 4, "MISSED";
        /// The trouble was paged, and another cause was named.
        WrongCause = 5, "WRONG CAUSE";
        /// There was a page where nothing was wrong.
        FalsePage = 6, "FALSE PAGE";
        /// The journal does not hold each outcome exactly once.
        Miscounted = 7, "MISCOUNTED";
    }
}

impl Verdict {
    /// Whether it's as it should be.
    #[must_use]
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Found | Self::Silent)
    }
}

/// What a case has come to.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseReport {
    /// The case.
    pub case: Case,
    /// Outcomes that the providers sent and the journal has to hold, each once.
    pub sent: u64,
    /// Outcomes that the journal holds.
    pub journalled: u64,
    /// From the onset to the first page, in milliseconds, and the relay mail sent in that time.
    pub delay: Option<(i64, usize)>,
    /// The cause that was named.
    pub cause: Option<String>,
    /// The share of the refusals that notices explain.
    pub share_explained: Option<f64>,
    /// The same share in truth.
    pub share_revoked: Option<f64>,
    /// Pages that had no trouble behind them.
    pub false_pages: usize,
    /// Messages that wake nobody.
    pub tickets: usize,
    /// What it has come to.
    pub verdict: Verdict,
}

impl CaseReport {
    /// Compares what was said with the truth.
    #[must_use]
    pub fn new(truth: &Truth, (sent, journalled): (u64, u64), pages: &[Page], incidents: &[Incident]) -> Self {
        let (tickets, pages): (Vec<&Page>, Vec<&Page>) = pages.iter().partition(|page| page.is_ticket());
        let (right, wrong): (Vec<&Page>, Vec<&Page>) =
            pages.into_iter().partition(|page| truth.onset.is_some_and(|onset| page.at >= onset));
        let delay = truth
            .onset
            .zip(right.first())
            .map(|(onset, page)| (page.at.millis_since(onset), truth.messages_until(page.at)));
        // Several streams can have an incident of their own: what was named for any of them was said.
        let said = || incidents.iter();
        let right_cause = truth.cause.map(TrueCause::as_str);
        let cause = said()
            .filter_map(|incident| incident.cause.clone())
            .max_by_key(|cause| Some(cause.as_str()) != right_cause);
        let verdict = if sent != journalled {
            Verdict::Miscounted
        } else if !wrong.is_empty() {
            Verdict::FalsePage
        } else if right_cause.is_none() {
            Verdict::Silent
        } else if delay.is_none() {
            Verdict::Missed
        } else if cause.is_some() && cause.as_deref() != right_cause {
            // "Undetermined" is an answer; a wrong word is not.
            Verdict::WrongCause
        } else {
            Verdict::Found
        };
        Self {
            case: truth.case,
            sent,
            journalled,
            delay,
            cause,
            share_explained: said().filter_map(|incident| incident.share_explained).next_back(),
            share_revoked: truth.share_revoked,
            false_pages: wrong.len(),
            tickets: tickets.len(),
            verdict,
        }
    }
}

/// A column: its head in two lines, and whether it holds numbers, which stand to the right.
struct Column {
    group: &'static str,
    head: &'static str,
    number: bool,
}

const fn column(group: &'static str, head: &'static str, number: bool) -> Column {
    Column { group, head, number }
}

/// The columns of the table. A group's name stands over its first column.
const COLUMNS: [Column; 10] = [
    column("", "case", false),
    column("onset to page", "minutes", true),
    column("", "messages", true),
    column("cause", "said", false),
    column("", "in truth", false),
    column("share explained", "said", true),
    column("", "in truth", true),
    column("false", "pages", true),
    column("", "tickets", true),
    column("", "result", false),
];

/// The table for people: a line for each case, what was said beside the truth.
#[must_use]
pub fn table(reports: &[CaseReport]) -> String {
    let rows: Vec<[String; 10]> = reports.iter().map(row).collect();
    let mut widths = COLUMNS.map(|column| column.head.len());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let mut groups = String::new();
    let mut start = 0;
    for (column, width) in COLUMNS.iter().zip(widths) {
        if !column.group.is_empty() {
            let gap = start - groups.len().min(start);
            groups.extend(std::iter::repeat_n(' ', gap));
            groups.push_str(column.group);
        }
        start += width + GAP.len();
    }
    let line = |cells: &[String; 10]| {
        let mut line = String::new();
        for ((cell, column), width) in cells.iter().zip(&COLUMNS).zip(widths) {
            let pad = " ".repeat(width - cell.len().min(width));
            let (before, after) = if column.number { (pad.as_str(), "") } else { ("", pad.as_str()) };
            line.extend([before, cell, after, GAP]);
        }
        line.truncate(line.trim_end().len());
        line
    };
    let heads = line(&COLUMNS.map(|column| column.head.to_owned()));
    let rule = "-".repeat(heads.len());
    let lines = [groups, heads, rule].into_iter().chain(rows.iter().map(line));
    lines.map(|line| line + "\n").collect()
}

/// What stands between two columns.
const GAP: &str = "   ";

fn row(report: &CaseReport) -> [String; 10] {
    let dash = || "-".to_owned();
    let percent = |share: Option<f64>| share.map_or_else(dash, |share| format!("{:.0} %", share * 100.0));
    let minutes = |(millis, _): (i64, usize)| {
        let tenths = (millis * 10 + MINUTE_MILLIS - 1) / MINUTE_MILLIS;
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    let said = report.cause.clone().unwrap_or_else(|| match report.delay {
        Some(_) => "undetermined".to_owned(),
        None => dash(),
    });
    [
        report.case.to_string(),
        report.delay.map_or_else(dash, minutes),
        report.delay.map_or_else(dash, |(_, messages)| messages.to_string()),
        said,
        report.case.cause().map_or("nothing wrong", TrueCause::as_str).to_owned(),
        percent(report.share_explained),
        percent(report.share_revoked),
        report.false_pages.to_string(),
        report.tickets.to_string(),
        report.verdict.to_string(),
    ]
}

/// What the words of the table mean.
pub(super) const LEGEND: &str = "\
Minutes and messages: how long, and how much relay mail, from the onset to the first page. The share explained is that of the
refusals which Apple's notices of revoked consent explain. \"undetermined\" is an answer: it says that the evidence names no
cause, and the page says what would tell. A ticket wakes nobody.
found: paged, and no wrong cause was said.   silent: a decoy, and nobody was paged.
";

#[cfg(test)]
mod tests {
    use super::*;

    const ONSET: Timestamp = Timestamp::from_seconds(1_754_719_200);

    fn truth(case: Case) -> Truth {
        Truth {
            case,
            onset: case.cause().map(|_| ONSET),
            cause: case.cause(),
            share_revoked: case.cause().map(|_| 0.01),
            refused: 40,
            sent: (0..100).map(|number| ONSET.plus_millis(number * 1_000)).collect(),
        }
    }

    fn page(seconds: i64) -> Page {
        Page {
            at: ONSET.plus_millis(seconds * 1_000),
            title: "Page: relay mail is refused".to_owned(),
            details: Vec::new(),
        }
    }

    fn incident(cause: Option<&str>) -> Incident {
        Incident { onset: ONSET, cause: cause.map(ToOwned::to_owned), share_explained: Some(0.02) }
    }

    fn verdict(case: Case, pages: &[Page], incidents: &[Incident]) -> Verdict {
        CaseReport::new(&truth(case), (10, 10), pages, incidents).verdict
    }

    #[test]
    fn a_trouble_is_found_only_with_its_page_and_its_cause() {
        let case = Case::PurgeBraze;
        let right = [incident(None), incident(Some("purge"))];
        assert_eq!(verdict(case, &[page(60)], &right), Verdict::Found);
        assert_eq!(verdict(case, &[], &right), Verdict::Missed);
        assert_eq!(verdict(case, &[page(60)], &[incident(None)]), Verdict::Found, "undetermined is an answer");
        let both = [incident(Some("purge")), incident(Some("revoked"))];
        assert_eq!(verdict(case, &[page(60)], &both), Verdict::WrongCause, "one wrong word is one too many");
        assert_eq!(verdict(case, &[page(-60), page(60)], &right), Verdict::FalsePage, "a page before the onset");
        let lost = CaseReport::new(&truth(case), (10, 9), &[page(60)], &right);
        assert_eq!(lost.verdict, Verdict::Miscounted);
    }

    #[test]
    fn a_decoy_is_passed_over_only_in_silence() {
        assert_eq!(verdict(Case::Replay, &[], &[]), Verdict::Silent);
        assert_eq!(verdict(Case::Replay, &[page(60)], &[]), Verdict::FalsePage);
        let ticket = Page { title: "Ticket: relay mail is refused".to_owned(), ..page(60) };
        assert!(ticket.is_ticket() && !page(60).is_ticket());
        assert_eq!(verdict(Case::Replay, std::slice::from_ref(&ticket), &[]), Verdict::Silent, "a ticket wakes nobody");
        assert_eq!(verdict(Case::PurgeBraze, &[ticket], &[incident(Some("purge"))]), Verdict::Missed);
        assert!(!Verdict::FalsePage.is_good() && !Verdict::Missed.is_good() && !Verdict::WrongCause.is_good());
    }

    #[test]
    fn the_table_shows_each_case() {
        let found =
            CaseReport::new(&truth(Case::PurgeBraze), (48_210, 48_210), &[page(61)], &[incident(Some("purge"))]);
        let silent = CaseReport::new(&truth(Case::Replay), (9_000, 9_000), &[], &[]);
        let wrong = CaseReport::new(
            &truth(Case::UnauthorizedSender),
            (7_000, 7_000),
            &[page(300), page(600)],
            &[incident(None)],
        );
        insta::assert_snapshot!(table(&[found, silent, wrong]));
    }
}

//! What reports say of a domain that somebody should do something about.

use super::{DomainReport, Sender, SenderRow};
use crate::{
    model::counted,
    sources::finding::{Finding, FindingCode, Fix, Grade},
};

/// From so many messages on, failing by both is fatal where it is at least half of what known addresses send.
pub const FATAL_FROM: u64 = 10;
/// Addresses that a finding names.
const NAMED: usize = 3;

/// The findings of one domain, the worst first.
///
/// Only mail of known addresses makes trouble, and only where SPF and DKIM both fail: forwarding makes SPF fail alone, mailing lists
/// DKIM, and what strangers send in a domain's name fails by both, as it should.
#[must_use]
pub fn judge(report: &DomainReport) -> Vec<Finding> {
    let mut findings = Vec::new();
    let known = || report.senders.iter().filter(|row| row.sender != Sender::Unknown);
    let failing: Vec<&SenderRow> = known().filter(|row| row.counts.trouble() > 0).collect();
    if !failing.is_empty() {
        let sum = |rows: &mut dyn Iterator<Item = u64>| rows.fold(0, u64::saturating_add);
        let failed = sum(&mut failing.iter().map(|row| row.counts.trouble()));
        let all = sum(&mut known().map(|row| row.counts.messages));
        let named = named(&failing, |row| {
            format!("{} of {} from {}{}", row.counts.trouble(), row.counts.messages, row.address, by(row))
        });
        let what = format!(
            "{} of {} that known addresses sent with this From domain failed by SPF and by DKIM: {named}.",
            failed,
            counted(all, "message")
        );
        let fix = Fix::step(format!(
            "Run `relaywatch check {}`, and compare what these addresses send with it: the envelope domain, d= and the selector.",
            report.domain
        ));
        let is_fatal = failed >= FATAL_FROM && failed.saturating_mul(2) >= all;
        let finding = Finding::new(FindingCode::ReportsBothFail, &report.domain, what, fix);
        findings.push(if is_fatal { finding } else { finding.graded(Grade::AtRisk) });
    }
    let undeclared: Vec<&SenderRow> = report.senders.iter().filter(|row| row.sender == Sender::Authorised).collect();
    if !undeclared.is_empty() {
        let named = named(&undeclared, |row| format!("{} from {}", row.counts.messages, row.address));
        let addresses = counted(undeclared.len() as u64, "address");
        let what = format!(
            "{addresses} passed by SPF for this From domain, and no stream of the configuration names them: {named}."
        );
        let fix = Fix::step(
            "Where they are yours, add them to `addresses` of their [[team.stream]]; where they are not, take them out of the SPF \
             record of the envelope domain.",
        );
        findings.push(Finding::new(FindingCode::ReportsUndeclaredSender, &report.domain, what, fix));
    }
    findings
}

/// The first rows in words, and how many more there are.
fn named(rows: &[&SenderRow], say: impl Fn(&SenderRow) -> String) -> String {
    let mut named: Vec<String> = rows.iter().take(NAMED).map(|row| say(row)).collect();
    if rows.len() > NAMED {
        named.push(format!("and {} more", rows.len() - NAMED));
    }
    named.join(", ")
}

fn by(row: &SenderRow) -> String {
    match &row.sender {
        Sender::Declared(provider) => format!(" ({provider})"),
        Sender::Authorised | Sender::Unknown => String::new(),
    }
}

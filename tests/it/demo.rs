//! The demo end to end, shrunk: a daemon on a stepped clock, fed over its real feeds.

use rand::{SeedableRng, rngs::StdRng};
use relaywatch::{
    cli::demo::run_case,
    lifecycle::Signals,
    simulate::{Case, Plan, Size, plan},
};

fn shrunk(case: Case) -> Plan {
    let size = Size { days: 3, users: 300, transactional: 40.0, campaign: 40.0, ..Size::default() };
    plan(case, &size, &mut StdRng::seed_from_u64(5))
}

/// Runs a case; gives what it has come to, and what it wrote.
async fn run(case: Case) -> (relaywatch::cli::demo::CaseReport, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let (_keep, signals) = tokio::sync::mpsc::channel(1);
    let mut out = Vec::new();
    let plan = shrunk(case);
    let report = run_case(&plan, &folder.path().join("case"), Signals::from_channel(signals), &mut out).await;
    (report.expect("it runs"), String::from_utf8(out).expect("text"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_feed_takes_a_case_in_exactly_once() {
    for case in [Case::PurgeBraze, Case::UnauthorizedSender, Case::Revocations] {
        let plan = shrunk(case);
        let mut wanted = std::collections::HashSet::new();
        for outcome in plan.posts.iter().flat_map(|post| post.what.outcomes()) {
            if outcome.is_journalled() {
                wanted.insert((outcome.mail, outcome.kind));
            }
        }
        assert!(plan.posts.iter().any(|post| post.repeated), "{case}: something comes twice");
        let (report, text) = run(case).await;
        assert_eq!((report.sent, report.journalled), (wanted.len() as u64, wanted.len() as u64), "{case}: {text}");
        assert!(text.contains("accounts in"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decoys_raise_no_page() {
    for case in [Case::Replay, Case::BouncesOnly] {
        let (report, text) = run(case).await;
        assert_eq!(report.sent, report.journalled, "{case}: {text}");
        assert!(report.sent > 0 && report.false_pages == 0 && report.delay.is_none(), "{case}: {text}");
        assert!(report.verdict.is_good(), "{case}: {text}");
    }
}

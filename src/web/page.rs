//! The first page of the private listener: how relaywatch stands, and what to connect next. No address is on it.

use std::{
    fmt::{self, Write as _},
    sync::LazyLock,
};

use axum::{
    extract::State as Extract,
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::private::State;
use crate::{
    config::SYSTEM_FILE,
    incident::Body,
    ingest::seen::Seen,
    model::Timestamp,
    monitor::{blind, exposure, new_words::AllWords, overview::Overview},
    sources::watch::Fitness,
    store::{IncidentRecord, IncidentState, StoreError},
};

/// Incidents that are shown.
const SHOWN: u32 = 20;
/// Templates of new words that are shown.
const SHOWN_WORDS: u32 = 10;
/// Sources and streams that are not fit and are shown.
const SHOWN_SOURCES: usize = 20;
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
                     table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem 1rem .3rem 0;\
                     border-bottom:1px solid #8884;vertical-align:top}code{font-size:.95em}\
                     .alarm{border-left:.3rem solid #c00;padding:.5rem 1rem;background:#c001}:root{color-scheme:light dark}";

/// Nothing is loaded, and of styles only the page's own, by its hash.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
    format!("default-src 'none'; style-src 'sha256-{}'; frame-ancestors 'none'", STANDARD.encode(digest))
});

/// Text between tags: streams and feeds carry names that others chose.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A time as the page writes all of them: to the second, since some of what is shown is known no closer.
fn time(at: Timestamp) -> String {
    Timestamp::from_seconds(at.as_seconds()).to_string()
}

/// How a feed stands.
struct FeedRow {
    /// Its name: `ses/eu`.
    name: String,
    /// Where it is.
    address: String,
    /// When it last took a delivery.
    accepted: Option<Timestamp>,
    /// What else it brought.
    seen: Seen,
}

/// What the page is made of.
struct Standing {
    now: Timestamp,
    /// What the process does, and where it stands among the monitors.
    role: String,
    /// Whether it monitors.
    leads: bool,
    /// Each feed; nothing where the process takes no reports in.
    feeds: Option<Vec<FeedRow>>,
    /// Whether the configuration came from a file.
    has_file: bool,
    /// What is wrong with feeds: those that report otherwise than they declare, and blind windows that last.
    findings: Vec<String>,
    incidents: Vec<(IncidentRecord, Option<Body>)>,
    /// What the installation is called, where it has a name.
    installation: Option<String>,
    /// Sources and streams, and how they stand.
    sources: Overview,
    /// Replies of Apple's in words that no rule knows.
    words: AllWords,
    /// Whether pages go anywhere.
    heard: bool,
    /// Rows that came into the journal since the start.
    added: u64,
    /// When the monitor last stood at the end of the journal.
    caught_up: Option<Timestamp>,
    /// Pages and notices that have not left.
    waiting: i64,
}

pub(super) async fn index(Extract(state): Extract<State>) -> Response {
    match standing(&state).await {
        Ok(standing) => {
            let headers = [
                (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
                (header::REFERRER_POLICY, "no-referrer"),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (headers, Html(page(&standing))).into_response()
        }
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store does not tell how it stands");
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n").into_response()
        }
    }
}

async fn standing(state: &State) -> Result<Standing, StoreError> {
    let seconds = |seconds: i64| (seconds > 0).then(|| Timestamp::from_seconds(seconds));
    let last = |path: &str| seconds(state.metrics.feed_last_accepted.with_label_values(&[path]).get());
    let feeds = state.reception.as_ref().zip(state.public).map(|(reception, public)| {
        let row = |name: &str, address| FeedRow {
            name: name.to_owned(),
            address,
            accepted: last(name),
            seen: reception.seen(name),
        };
        let setup = reception.setup();
        let posted = setup.feeds.paths().into_iter().map(|path| row(path, format!("http://{public}/in/{path}")));
        let workers = setup.workers.iter().map(|worker| row(&worker.name.name, worker.place()));
        posted.chain(workers).collect()
    });
    let records = state.store.incidents(&[IncidentState::Open, IncidentState::Masked], SHOWN).await?;
    let leads = *state.leading.borrow();
    Ok(Standing {
        now: state.clock.now(),
        leads,
        role: format!("{}; monitors: {}", state.role, state.standing()),
        feeds,
        has_file: state.has_file,
        findings: findings(state).await?,
        incidents: records.into_iter().map(|record| (record.clone(), Body::from_record(&record).ok())).collect(),
        installation: state.notifiers.installation(),
        sources: Overview::read(&state.store, state.clock.now()).await?,
        words: state.words.read(&state.store, SHOWN_WORDS, state.clock.now()).await?,
        heard: state.notifiers.reach_somebody(),
        added: state.metrics.rows_added.get(),
        caught_up: seconds(state.metrics.monitor_caught_up.get()),
        waiting: state.store.outbox_depth().await?.waiting,
    })
}

async fn findings(state: &State) -> Result<Vec<String>, StoreError> {
    let now = state.clock.now();
    let mut items = exposure::advice(&exposure::check(&state.store, now).await?);
    let refused = state.reload_refused.borrow().clone();
    items.extend(refused.map(|why| {
        format!(
            "The last reload (SIGHUP) was refused, and the configuration and reply rules of before stay in force: {why}. The log \
             names each mistake; so does `relaywatch config check`."
        )
    }));
    let windows = blind::known(&state.store, now).await?;
    items.extend(windows.iter().filter(|window| window.until.is_none()).map(|window| {
        let why = window.reason.map_or("", crate::explain::BlindReason::says);
        format!("Blind since {}: {}; {why}. Absence proves nothing.", time(window.from), window.watched)
    }));
    Ok(items)
}

fn page(standing: &Standing) -> String {
    let name = standing.installation.as_deref().map(|name| Escaped(name).to_string());
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>relaywatch{}</title><style>{STYLE}</style></head><body>\
         <h1>relaywatch {}{}</h1>",
        name.as_ref().map_or_else(String::new, |name| format!(": {name}")),
        env!("CARGO_PKG_VERSION"),
        name.as_ref().map_or_else(String::new, |name| format!(": {name}"))
    );
    if !standing.heard {
        let untold = match standing.incidents.len() {
            0 => String::new(),
            1 => " <strong>An incident is open and nobody was told.</strong>".to_owned(),
            more => format!(" <strong>{more} incidents are open and nobody was told.</strong>"),
        };
        out.push_str("<p class=\"alarm\">No notifier: nobody is told of trouble.");
        out.push_str(&untold);
        out.push_str(" Set <code>[notify.slack]</code> or <code>[notify.webhook]</code> and ");
        out.push_str(&reload(standing.has_file));
        out.push_str(".</p>");
    }
    incidents(&standing.incidents, &mut out);
    if !standing.findings.is_empty() {
        out.push_str("<h2>To be looked at</h2><ul>");
        for finding in &standing.findings {
            out.extend(["<li>", &Escaped(finding).to_string(), "</li>"]);
        }
        out.push_str("</ul>");
    }
    sources(&standing.sources, &mut out);
    words(&standing.words, &mut out);
    feeds(standing.feeds.as_deref(), standing.has_file, &mut out);
    let caught_up = if standing.leads {
        standing.caught_up.map_or_else(|| "not yet".to_owned(), time)
    } else {
        "another process monitors".to_owned()
    };
    let rows = [
        ("Role", standing.role.clone()),
        ("Events received since the start", standing.added.to_string()),
        ("Caught up at", caught_up),
        ("Pages and notices that wait to leave", standing.waiting.to_string()),
        ("Now", time(standing.now)),
    ];
    out.push_str("<h2>State</h2><table>");
    for (name, value) in rows {
        out.extend(["<tr><th>", name, "</th><td>", &value, "</td></tr>"]);
    }
    out.push_str(
        "</table><p><a href=\"/metrics\">metrics</a> · <a href=\"/readyz\">ready</a> · <a href=\"/healthz\">alive</a></p>\
         </body></html>",
    );
    out
}

fn incidents(found: &[(IncidentRecord, Option<Body>)], out: &mut String) {
    out.push_str("<h2>Open incidents</h2>");
    if found.is_empty() {
        out.push_str("<p>None.</p>");
        return;
    }
    out.push_str("<table><tr><th>Number</th><th>As</th><th>Since</th><th>Stream</th><th>Refused</th><th>Cause</th><th>Look at it</th></tr>");
    for (record, body) in found {
        let (severity, stream, refused, cause) = body.as_ref().map_or_else(
            || (String::new(), "made by another version".to_owned(), String::new(), String::new()),
            |body| {
                let cause = body.named.map_or("undetermined", crate::explain::Hypothesis::title);
                (
                    body.severity.to_string(),
                    body.scope.to_string(),
                    format!("{} of {}", body.refused, body.sends),
                    cause.to_owned(),
                )
            },
        );
        let severity =
            if record.state == IncidentState::Masked { "masked: yours to close".to_owned() } else { severity };
        let cells = [&record.id.to_string(), &severity, &time(record.onset), &stream, &refused, &cause];
        // The place that pages link to, as `config::Notify::link_to` has it.
        _ = write!(out, "<tr id=\"incident-{}\">", record.id);
        for cell in cells {
            out.extend(["<td>", &Escaped(cell).to_string(), "</td>"]);
        }
        // Writing to a string cannot fail.
        _ = write!(out, "<td><code>relaywatch incident show {}</code></td></tr>", record.id);
    }
    out.push_str("</table>");
}

/// Sources and streams, where any are watched: those that are not fit, and how many are.
fn sources(found: &Overview, out: &mut String) {
    if found.sources.is_empty() {
        return;
    }
    let [fit, unfit, unknown] = [Fitness::Fit, Fitness::Unfit, Fitness::Unknown].map(|fitness| found.count(fitness));
    // Writing to a string cannot fail.
    _ = write!(
        out,
        "<h2>Sources</h2><p>{fit} fit for the relay, {unfit} unfit, {unknown} that can&#39;t be told. \
         <code>relaywatch sources</code> shows all of them.</p>"
    );
    let not_fit = || found.sources.iter().filter(|row| row.standing.fitness != Fitness::Fit);
    if not_fit().next().is_none() {
        return;
    }
    out.push_str("<table><tr><th>What</th><th>Stands</th><th>Since</th><th>Last looked at</th><th>Findings</th></tr>");
    for row in not_fit().take(SHOWN_SOURCES) {
        let standing = &row.standing;
        let findings: Vec<&str> = standing.findings.iter().map(|finding| finding.code.as_str()).collect();
        out.push_str("<tr>");
        for cell in [
            standing.subject.to_string(),
            standing.fitness.to_string(),
            time(standing.since),
            row.looked_at.map_or_else(String::new, time),
            findings.join(", "),
        ] {
            out.extend(["<td>", &Escaped(&cell).to_string(), "</td>"]);
        }
        out.push_str("</tr>");
    }
    out.push_str("</table>");
}

/// Replies that no rule knows, where there are any.
fn words(found: &AllWords, out: &mut String) {
    if found.shown.is_empty() {
        return;
    }
    out.push_str(
        "<h2>New words of Apple&#39;s</h2><table><tr><th>Template that no rule knows</th><th>Replies</th><th>Addresses</th>\
         <th>First</th><th>Last</th><th>Guess</th></tr>",
    );
    for shown in &found.shown {
        let of = &shown.words;
        out.extend(["<tr><td><code>", &Escaped(&shown.text).to_string(), "</code></td>"]);
        let guess = format!("{} ({})", of.cause, shown.rule);
        let cells = [
            of.replies.to_string(),
            of.addresses.to_string(),
            time(of.first),
            time(of.last),
            Escaped(&guess).to_string(),
        ];
        for cell in &cells {
            out.extend(["<td>", cell, "</td>"]);
        }
        out.push_str("</tr>");
    }
    // Writing to a string cannot fail.
    _ = write!(
        out,
        "</table><p>{} in {}. <code>relaywatch events words</code> shows all of them, and how to write a \
         rule.</p>",
        crate::model::counted(found.templates, "template"),
        crate::model::counted(found.replies, "reply")
    );
}

/// How what is written is taken up: a reload reads the file of the start again, or the system's where there was none.
fn reload(has_file: bool) -> String {
    if has_file {
        "reload with SIGHUP".to_owned()
    } else {
        format!(
            "restart with <code>--config FILE</code>: relaywatch was started without a file, and SIGHUP reads \
             <code>{SYSTEM_FILE}</code> alone"
        )
    }
}

fn feeds(found: Option<&[FeedRow]>, has_file: bool, out: &mut String) {
    out.push_str("<h2>Feeds</h2>");
    let Some(found) = found else {
        out.push_str("<p>This process takes no reports in.</p>");
        return;
    };
    if found.is_empty() {
        // Writing to a string cannot fail.
        _ = write!(
            out,
            "<p>No feed is connected yet. Put a table such as <code>[feeds.ses]</code> into the configuration \
             (<code>relaywatch config default</code> shows all of them), {}. Then point your provider to the address that \
             stands here.</p>",
            reload(has_file)
        );
        return;
    }
    out.push_str(
        "<table><tr><th>Feed</th><th>Address, behind your TLS proxy</th><th>Last delivery</th><th>Last event understood</th>\
         <th>Last refused delivery</th><th>Set aside</th></tr>",
    );
    for FeedRow { name, address, accepted, seen } in found {
        let time = |at: Option<Timestamp>| at.map_or_else(|| "none since the start".to_owned(), time);
        let refused = seen
            .refused
            .map_or_else(|| "none since the start".to_owned(), |(at, reason)| format!("{}: {reason}", self::time(at)));
        let cells = [time(*accepted), time(seen.understood), refused, seen.set_aside.to_string()];
        let (name, address) = (Escaped(name).to_string(), Escaped(address).to_string());
        out.extend(["<tr><td>", &name, "</td><td><code>", &address, "</code></td>"]);
        for cell in &cells {
            out.extend(["<td>", cell, "</td>"]);
        }
        out.push_str("</tr>");
    }
    out.push_str("</table>");
    if found.iter().any(|row| row.seen.set_aside > 0) {
        out.push_str(
            "<p>Set aside since the start, repeats included: acknowledged and not understood, kept sealed for 30 days; it counts nowhere. \
             <code>relaywatch events list</code> names each part with its reason.</p>",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::http::RejectionReason;

    fn row(address: &str, seen: Seen) -> FeedRow {
        let name = address.split_once("/in/").map_or(address, |(_, name)| name);
        FeedRow { name: name.to_owned(), address: address.to_owned(), accepted: None, seen }
    }

    fn quiet() -> Standing {
        Standing {
            sources: Overview::default(),
            now: Timestamp::from_seconds(1_754_719_200),
            role: "all; monitors: leading".to_owned(),
            leads: true,
            feeds: Some(vec![row("http://127.0.0.1:8025/in/ses", Seen::default())]),
            has_file: true,
            findings: Vec::new(),
            incidents: Vec::new(),
            installation: None,
            words: AllWords::default(),
            heard: true,
            added: 17,
            caught_up: Some(Timestamp::from_seconds(1_754_719_199)),
            waiting: 0,
        }
    }

    #[test]
    fn it_says_loudly_that_nobody_is_told() {
        assert!(!page(&quiet()).contains("No notifier"));
        assert!(page(&Standing { heard: false, ..quiet() }).contains("No notifier: nobody is told of trouble."));
        let nothing = Standing { heard: false, feeds: Some(Vec::new()), ..quiet() };
        assert!(page(&nothing).contains("No notifier: nobody is told"), "also where no feed is connected yet");
        let at = Timestamp::from_seconds(1_754_700_000);
        let record = IncidentRecord {
            id: 7,
            state: IncidentState::Open,
            onset: at,
            opened_at: at,
            updated_at: at,
            closed_at: None,
            operator: crate::store::OperatorWord::default(),
            body: serde_json::Value::Null,
        };
        let shown = page(&Standing { heard: false, incidents: vec![(record, None)], ..quiet() });
        assert!(shown.contains("An incident is open and nobody was told."), "{shown}");
        assert!(shown.contains("<code>relaywatch incident show 7</code>"), "{shown}");
    }

    #[test]
    fn it_says_whose_it_is() {
        let named = page(&Standing { installation: Some("acme <production>".to_owned()), ..quiet() });
        let name = "acme &lt;production&gt;";
        assert!(named.contains(&format!("<title>relaywatch: {name}</title>")), "{named}");
        assert!(named.contains(&format!(": {name}</h1>")), "{named}");
        assert!(page(&quiet()).contains("<title>relaywatch</title>"));
    }

    #[test]
    fn feeds_of_one_provider_have_names_and_all_times_one_form() {
        let at = Timestamp::from_millis(1_754_719_100_123);
        let seen = Seen { refused: Some((at, RejectionReason::Stale)), understood: Some(at), set_aside: 0 };
        let feeds = ["http://127.0.0.1:8025/in/ses/eu", "http://127.0.0.1:8025/in/ses/us"];
        let shown = page(&Standing {
            now: at,
            caught_up: Some(at),
            feeds: Some(feeds.map(|address| row(address, seen)).into()),
            ..quiet()
        });
        assert!(shown.contains("<td>ses/eu</td>") && shown.contains("<td>ses/us</td>"), "{shown}");
        assert!(shown.contains("2025-08-09T05:58:20Z") && !shown.contains("20.123"), "{shown}");
    }

    #[test]
    fn a_feed_tells_what_it_refused_understood_and_set_aside() {
        let at = Timestamp::from_seconds(1_754_719_100);
        let seen = Seen { refused: Some((at, RejectionReason::BadCredentials)), understood: Some(at), set_aside: 3 };
        let told = page(&Standing { feeds: Some(vec![row("http://127.0.0.1:8025/in/braze", seen)]), ..quiet() });
        let cells = "<td>none since the start</td><td>2025-08-09T05:58:20Z</td>\
                     <td>2025-08-09T05:58:20Z: bad-credentials</td><td>3</td>";
        assert!(told.contains(cells) && told.contains("relaywatch events list"), "{told}");
        assert!(!page(&quiet()).contains("events list"), "nothing was set aside");
    }

    #[test]
    fn what_takes_a_file_up_is_said_as_it_is() {
        for (has_file, said) in [(true, "reload with SIGHUP"), (false, "restart with <code>--config FILE</code>")] {
            let nothing = page(&Standing { feeds: Some(Vec::new()), has_file, ..quiet() });
            let untold = page(&Standing { heard: false, has_file, ..quiet() });
            assert!(nothing.contains(said) && untold.contains(said), "{nothing}");
        }
        assert!(!page(&Standing { heard: false, has_file: false, ..quiet() }).contains("reload with SIGHUP"));
    }

    #[test]
    fn a_process_that_does_not_monitor_says_who_does() {
        assert!(page(&quiet()).contains("<th>Caught up at</th><td>2025-08-09T05:59:59Z</td>"), "{}", page(&quiet()));
        let standby = page(&Standing { leads: false, caught_up: None, ..quiet() });
        assert!(standby.contains("<th>Caught up at</th><td>another process monitors</td>"), "{standby}");
    }

    #[test]
    fn words_that_no_rule_knows_are_shown() {
        assert!(!page(&quiet()).contains("New words"), "there are none");
        let at = Timestamp::from_seconds(1_754_719_100);
        let words = crate::store::NewWords {
            template: 1,
            replies: 12,
            addresses: 9,
            streams: 2,
            first: at,
            last: at,
            cause: crate::model::Cause::Undetermined,
            rule: 1,
            told: None,
        };
        let text = "550 5.7.1 <{recipient}> is <b>odd</b>".to_owned();
        let shown = crate::monitor::new_words::ShownWords {
            words,
            text,
            id: "0".to_owned(),
            rule: "none/undetermined".to_owned(),
        };
        let told = page(&Standing { words: AllWords { shown: vec![shown], templates: 30, replies: 400 }, ..quiet() });
        assert!(told.contains("<code>550 5.7.1 &lt;{recipient}&gt; is &lt;b&gt;odd&lt;/b&gt;</code>"), "{told}");
        assert!(
            told.contains("<td>undetermined (none/undetermined)</td>") && told.contains("30 templates in 400 replies")
        );
    }

    #[test]
    fn names_of_others_are_text() {
        assert_eq!(Escaped("<b onclick='x'>&\"").to_string(), "&lt;b onclick=&#39;x&#39;&gt;&amp;&quot;");
        let shown = page(&Standing {
            feeds: Some(vec![row("<script>", Seen::default())]),
            findings: vec!["<script>".to_owned()],
            ..quiet()
        });
        assert!(!shown.contains("<script>") && shown.contains("&lt;script&gt;"), "{shown}");
    }

    #[test]
    fn the_policy_names_the_style_alone() {
        assert!(POLICY.starts_with("default-src 'none'; style-src 'sha256-"), "{}", POLICY.as_str());
        assert!(page(&quiet()).contains(&format!("<style>{STYLE}</style>")));
    }
}

//! `relaywatch classify --score`: how well the rules do on replies that others labelled.

mod corpus;
mod figures;
mod map;
mod split;

use std::{io::Write, path::Path};

use self::{
    corpus::{Corpus, Labelled, MailFigures},
    figures::Figures,
};
use super::{Exit, Format, classify::Args, text::Safe};
use crate::{
    classify::{Parties, Rules, context, template_of},
    model::{CauseFamily, RelayDomains, Verdict},
};

pub use corpus::CorpusError;

/// A labelled reply with what the rules say of it.
struct Judged<'a> {
    labelled: &'a Labelled,
    verdict: Verdict,
    template: String,
    /// Whether it belongs to the fifth that was not looked at while rules were written.
    held: bool,
    /// Whether the same template is labelled both hard and not hard.
    disputed: bool,
}

impl Judged<'_> {
    fn exact(&self) -> bool {
        self.labelled.expected.causes.contains(&self.verdict.cause)
    }

    fn family(&self) -> bool {
        let family = self.verdict.cause.family();
        self.labelled.expected.causes.iter().any(|cause| cause.family() == family)
    }

    fn is_false_hard(&self) -> bool {
        self.verdict.hard && !self.labelled.hard
    }

    /// For machines. What is held back has its line alone, unless it is to be shown: a rule that was written with it in view
    /// would be measured by itself.
    fn json(&self, show_held: bool) -> serde_json::Value {
        let mut told = serde_json::json!({ "line": self.labelled.line, "held": self.held });
        if (!self.held || show_held)
            && let Some(fields) = told.as_object_mut()
        {
            fields.insert("reason".to_owned(), self.labelled.reason.clone().into());
            fields.insert("rule".to_owned(), self.verdict.rule.clone().into());
            fields.insert("template".to_owned(), self.template.clone().into());
            fields.insert("disputed".to_owned(), self.disputed.into());
        }
        told
    }

    fn abstained(&self) -> bool {
        self.verdict.cause.family() == CauseFamily::Undetermined
    }
}

/// Prints the table for a corpus: a JSONL file of replies, or a folder of mails with `labels.jsonl`.
///
/// # Errors
/// Where the corpus can't be read, or the output can't be written.
pub fn run(
    path: &Path,
    rules: &Rules,
    relay: &RelayDomains,
    args: &Args,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let corpus = Corpus::read(path)?;
    let judged = judge(&corpus, rules, relay);
    match args.format {
        Format::Json => {
            let value = serde_json::json!({
                "mails": corpus.mails,
                "all": Figures::of(judged.iter()),
                "held": Figures::of(judged.iter().filter(|one| one.held)),
                "seen": Figures::of(judged.iter().filter(|one| !one.held)),
                "undisputed": Figures::of(judged.iter().filter(|one| !one.disputed)),
                "false_hards": judged.iter().filter(|one| one.is_false_hard()).map(|one| one.json(args.show_held)).collect::<Vec<_>>(),
            });
            serde_json::to_writer_pretty(&mut *out, &value)?;
            writeln!(out)?;
        }
        Format::Text => text(&corpus, &judged, args.show_held, out)?,
    }
    Ok(Exit::Success)
}

fn judge<'a>(corpus: &'a Corpus, rules: &Rules, relay: &RelayDomains) -> Vec<Judged<'a>> {
    let held = split::held(corpus.replies.iter().map(|labelled| labelled.reply.text.as_str()));
    let mut judged: Vec<Judged<'a>> = corpus
        .replies
        .iter()
        .zip(held)
        .map(|(labelled, held)| {
            let parties = Parties {
                recipient: labelled.recipient.as_ref(),
                envelope_sender: labelled.sender.as_ref(),
                ..Parties::unknown(relay)
            };
            let template = template_of(&labelled.reply, &parties);
            let context = context(None, labelled.recipient.as_ref(), labelled.mx.as_deref(), relay);
            let verdict = rules.classify(&template, &context);
            Judged { labelled, verdict, template: template.into_string(), held, disputed: false }
        })
        .collect();
    let sides = |hard: bool| -> std::collections::HashSet<String> {
        let side = judged.iter().filter(|one| one.labelled.hard == hard);
        side.map(|one| one.template.to_lowercase()).collect()
    };
    let (hard, soft) = (sides(true), sides(false));
    for one in &mut judged {
        let template = one.template.to_lowercase();
        one.disputed = hard.contains(&template) && soft.contains(&template);
    }
    judged
}

fn text(corpus: &Corpus, judged: &[Judged<'_>], show_held: bool, out: &mut impl Write) -> std::io::Result<()> {
    if let Some(figures) = corpus.mails {
        mails(figures, out)?;
    }
    writeln!(out, "{}", Figures::HEAD)?;
    writeln!(out, "{}", Figures::of(judged.iter()).row("all"))?;
    writeln!(out, "{}", Figures::of(judged.iter().filter(|one| one.held)).row("held-back fifth"))?;
    writeln!(out, "{}", Figures::of(judged.iter().filter(|one| !one.held)).row("the other four"))?;
    writeln!(out, "{}", Figures::of(judged.iter().filter(|one| !one.disputed)).row("undisputed labels"))?;
    let false_hards: Vec<&Judged<'_>> = judged.iter().filter(|one| one.is_false_hard()).collect();
    let held = false_hards.iter().filter(|one| one.held).count();
    let hint = if held == 0 || show_held { "" } else { "; --show-held prints them" };
    writeln!(out, "\nfalse hards by the label: {} ({held} held back{hint})", false_hards.len())?;
    for one in false_hards {
        let line = one.labelled.line;
        if one.held && !show_held {
            writeln!(out, "  line {line}, held back")?;
            continue;
        }
        let held = if one.held { ", held back" } else { "" };
        let disputed = if one.disputed { " (the same text is labelled hard elsewhere)" } else { "" };
        let (reason, rule) = (&one.labelled.reason, &one.verdict.rule);
        writeln!(out, "  line {line}{held}, labelled {reason}, {rule}{disputed}\n    {}", Safe(&one.template))?;
    }
    let mut wrong: std::collections::BTreeMap<(&str, &str), usize> = std::collections::BTreeMap::new();
    for one in judged.iter().filter(|one| !one.family()) {
        *wrong.entry((&one.labelled.reason, one.verdict.cause.as_str())).or_default() += 1;
    }
    writeln!(out, "\nfamilies that differ from the label's: label, cause, replies")?;
    for ((reason, cause), count) in wrong {
        writeln!(out, "  {reason:<18}{cause:<28}{count:>4}")?;
    }
    Ok(())
}

/// How well the mails of a folder were read.
fn mails(figures: MailFigures, out: &mut impl Write) -> std::io::Result<()> {
    let MailFigures { mails, decoded, recipients_right, .. } = figures;
    let rows = [
        ("mails decoded", decoded, mails),
        ("right number of recipients", recipients_right, mails),
        ("right status", figures.statuses_right, figures.statuses),
        ("  rightly none, where nobody gave one", figures.none_given_right, figures.none_given),
        ("right reply code", figures.reply_codes_right, figures.reply_codes),
    ];
    for (name, right, all) in rows.into_iter().filter(|(.., all)| *all > 0) {
        let share = f64::from(right) * 100.0 / f64::from(all);
        writeln!(out, "{name:<40}{right:>5} of {all:<5}{share:>6.1} %")?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_corpus_gives_the_whole_table() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("labelled.jsonl");
        let rows = [
            r#"{"text":"550 5.1.1 <jo@example.net>... User unknown","code":"550","enhanced":"5.1.1","expected_reason":"userunknown","expected_hard":true}"#,
            r#"{"text":"552 5.2.2 Over quota","expected_reason":"mailboxfull"}"#,
            r#"{"text":"550 5.1.1 <kim@example.net>... User unknown","expected_reason":"filtered","expected_hard":false}"#,
            r#"{"text":"550 nobody knows this","expected_reason":"userunknown"}"#,
        ];
        std::fs::write(&file, rows.join("\n")).expect("written");
        let rules = Rules::built_in().expect("rules");
        let scored = |arguments: &[&str]| {
            let mut out = Vec::new();
            run(&file, &rules, &RelayDomains::default(), &parsed(arguments), &mut out).expect("a table");
            String::from_utf8(out).expect("UTF-8")
        };
        insta::assert_snapshot!(scored(&[]));
        let shown = scored(&["--show-held"]);
        assert!(shown.contains("line 3, held back, labelled filtered") && shown.contains("User unknown"), "{shown}");
        let json = scored(&["--format", "json"]);
        assert!(!json.contains("User unknown") && json.contains("\"held\": true"), "{json}");
        assert!(scored(&["--format", "json", "--show-held"]).contains("User unknown"));
    }

    /// The command's arguments.
    fn parsed(more: &[&str]) -> Args {
        use clap::{Args as _, FromArgMatches as _};
        let command = Args::augment_args(clap::Command::new("classify"));
        let all = ["classify", "--score", "FILE"].iter().chain(more);
        Args::from_arg_matches(&command.try_get_matches_from(all).expect("arguments")).expect("arguments")
    }

    #[test]
    fn what_is_no_corpus_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let rules = Rules::built_in().expect("rules");
        let told = |path: &Path| {
            let scored = run(path, &rules, &RelayDomains::default(), &parsed(&[]), &mut Vec::new());
            scored.expect_err("no corpus").to_string()
        };
        assert!(
            told(folder.path()).contains("labels.jsonl: name a file of labelled replies"),
            "{}",
            told(folder.path())
        );
        let file = folder.path().join("labelled.jsonl");
        std::fs::write(&file, "\n{\"text\":\"550 x\"}\n").expect("written");
        assert!(told(&file).contains("labelled.jsonl, line 2: no labelled reply: write {\"text\""), "{}", told(&file));
        std::fs::write(&file, "{\"text\":\"550 x\",\"expected_reason\":\"gone\"}\n").expect("written");
        assert!(
            told(&file).contains("line 1: no reason is called \"gone\"; `relaywatch classify --help` lists them"),
            "{}",
            told(&file)
        );
        std::fs::write(&file, "{\"text\":\"550 x\",\"expected_reason\":\"userunknwn\"}\n").expect("written");
        assert!(told(&file).contains("did you mean \"userunknown\"?"), "{}", told(&file));
        std::fs::write(&file, "\n").expect("written");
        assert!(told(&file).contains("labelled.jsonl is empty"), "{}", told(&file));
        std::fs::write(&file, [0xff, 0xfe]).expect("written");
        assert!(told(&file).contains("is no UTF-8 text"), "{}", told(&file));
    }

    #[test]
    fn mails_are_counted_by_their_labels() {
        let folder = tempfile::tempdir().expect("a folder");
        let mail = "From: MAILER-DAEMON@mx.example.org\r\nTo: bounces@mail.example.com\r\nSubject: Undelivered\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nIt was not delivered.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.org\r\n\r\nFinal-Recipient: rfc822; jo@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.example.net\r\nDiagnostic-Code: smtp; 550 5.1.1\r\n <jo@example.net>... User unknown\r\n\r\nFinal-Recipient: rfc822; kim@example.net\r\nAction: failed\r\nStatus: 5.2.2\r\n\r\n--b--\r\n";
        std::fs::write(folder.path().join("a.eml"), mail).expect("written");
        std::fs::write(folder.path().join("b.eml"), "Subject: nothing\r\n\r\nnothing\r\n").expect("written");
        let labels = "{\"file\":\"a.eml\",\"expected\":[{\"status\":\"5.1.1\",\"reply\":\"550\",\"reason\":\"userunknown\",\"hard\":true},{\"status\":\"5.2.1\",\"reason\":\"mailboxfull\",\"hard\":false}]}\n{\"file\":\"b.eml\",\"expected\":[{\"reason\":\"feedback\",\"hard\":false}]}\n";
        std::fs::write(folder.path().join("labels.jsonl"), labels).expect("written");
        let corpus = Corpus::read(folder.path()).expect("read");
        assert_eq!(corpus.replies.len(), 2);
        let figures = corpus.mails.expect("figures of mails");
        assert_eq!((figures.mails, figures.decoded, figures.recipients_right), (2, 1, 1));
        assert_eq!((figures.statuses, figures.statuses_right), (2, 1), "the second label names another status");
        assert_eq!((figures.reply_codes, figures.reply_codes_right), (1, 1));
        let mut out = Vec::new();
        mails(figures, &mut out).expect("written");
        insta::assert_snapshot!(String::from_utf8(out).expect("UTF-8"));
        let rules = Rules::built_in().expect("rules");
        let relay = RelayDomains::default();
        let judged = judge(&corpus, &rules, &relay);
        assert!(judged.iter().all(Judged::exact), "{:?}", judged.iter().map(|one| &one.verdict).collect::<Vec<_>>());
        let (first, second) = (&judged[0], &judged[1]);
        assert_eq!((first.verdict.hard, first.template.as_str()), (true, "550 5.1.1 <{recipient}>... User unknown"));
        assert_eq!((second.verdict.hard, second.template.as_str()), (false, "5.2.2"));
    }
}

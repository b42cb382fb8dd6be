//! `relaywatch classify`: what replies mean, line by line.

mod input;

use std::io::{self, BufReader, Read, Write};

use serde::Serialize;
use serde_json::value::RawValue;

use self::input::{Input, line_code, read_line};
use super::{Exit, Format, told::VerdictFields};
use crate::{
    classify::{Considered, LintFinding, Outcome, Parties, Rules, RulesError, context, host_that_said, template_of},
    ingest::verdict_label,
    model::{Address, Cause, Evidence, Provider, RelayDomains, Reply, Verdict},
    rule_files::{RuleFileError, RuleFilesError},
};

/// Bytes of the input that are read at once.
const BUFFER: usize = 64 * 1024;
const EXAMPLES: &str = "\
Each line of the input is one reply, either its text

    550 5.1.1 <b-x7kq2m9abc=privaterelay.appleid.com@mail.example.com>: unauthorized sender

or a JSON object with the text and what is known beside it:

    {\"text\":\"550 5.1.1 <…>: user not found\",\"recipient\":\"…\",\"sender\":\"…\",
     \"provider\":\"ses\",\"mx\":\"smtp1.privaterelay.appleid.com\",\"id\":4711}

on one line, with no other keys. `recipient` is the address of RCPT TO, `sender` that of MAIL
FROM, `mx` the host that answered; `code` and `enhanced` may hold codes that the text lacks,
`label` the provider's own verdict (`Permanent/NoEmail`, `bounce_class 10`), which counts where
all else says nothing. What is no address, or no provider that relaywatch knows, counts as not
given, and so does null. Whose address a reply names decides what 5.1.1 means, so give both where
you have them. An `id` of yours, of any kind, comes out again.

A reply of several lines (`550-…`, then `550 …`) is one line here: join its lines with blanks, or
give it as JSON with \\r\\n between them. Lines are never joined by themselves, since logs hold
single lines of such replies; a note on stderr says where two look like one.

Each reply gives one line: cause, fault, action, confidence, rule and the reply with roles in the
place of addresses; `!` after the cause marks that the address itself is permanently dead by the
text. Blank lines give none. With --format json each has `line`, the number of its line in the
input, and `id` where one was given; the verdict's fields are those of `relaywatch events list
--format json`.

Examples:
    grep -h ' status=bounced ' /var/log/mail.log | sed 's/.*(host .* said: //' \\
        | relaywatch classify
    jq -c '{id: .event_id, text: .raw_reason, recipient: .rcpt_to, sender: .msg_from}' \\
        bounces.jsonl | relaywatch classify --format json | jq -r .cause | sort | uniq -c

With --lint, --explain and --rules: docs/causes.md, where rule files are described.

    relaywatch classify --lint --rules /etc/relaywatch/rules
    echo '550 5.1.1 bad mailbox name' | relaywatch classify --explain

--score prints a table. `hard/soft` is the share of replies that are rightly called hard or not;
`precision` how many of those that we call hard are labelled so, `recall` how many of those that
are labelled hard we call so; `missed` are the others. `exact` and `family` are the shares whose
cause, or its family, is one of those that the label stands for; `abstained` are undetermined. A
fifth is held back from whoever writes rules, `the other four` are all but it; a label is disputed
where the same template is labelled both hard and not, and `undisputed labels` leaves those out.
One mail can report several recipients, so that there may be more replies than mails. The reasons
of labels, with their causes in docs/causes.md:

    authfailure badreputation blocked contenterror delivered emailtoolarge exceedlimit expired
    failedstarttls feedback filtered hasmoved hostunknown mailboxfull mailererror mesgtoobig
    networkerror norelaying notaccept notcompliantrfc onhold policyviolation ratelimited rejected
    requireptr securityerror spamdetected speeding suppressed suspend syntaxerror systemerror
    systemfull toomanyconn undefined userunknown vacation virusdetected

Exit code: 0, or 1 when a line that is meant as JSON is no object of this form: it is named on
stderr, and the others are still judged. With --lint 1 where anything is found but notes.
";

const USAGE: &str = "\
relaywatch classify [--explain] [--rules <FOLDER>] [--format <FORMAT>] [FILE]
       relaywatch classify --lint [--rules <FOLDER>] [--format <FORMAT>]
       relaywatch classify --score [--show-held] [--rules <FOLDER>] [--format <FORMAT>] <FILE>";

/// Say what SMTP replies mean: cause, fault, and what to do about the address.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Args {
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// A folder of rule files (*.toml) that are asked before the built-in ones, instead of `[rules] folder`.
    #[arg(long, value_name = "FOLDER")]
    pub rules: Option<std::path::PathBuf>,
    /// Judge nothing: look for rules that rot, such as samples that their rule does not win, and rules that can't be
    /// reached. Ends with 1 where there are any; that an own rule overrides a built-in one is only noted.
    #[arg(long, conflicts_with_all = ["explain", "file"])]
    pub lint: bool,
    /// Show every rule that was considered, and why the winner won.
    #[arg(long)]
    pub explain: bool,
    /// Print how well the rules do on labelled replies: a file of JSON lines with `text`, `code`, `enhanced`,
    /// `expected_reason` and `expected_hard`, or a folder of mails with `labels.jsonl`.
    #[arg(long, conflicts_with_all = ["lint", "explain"], requires = "file")]
    pub score: bool,
    /// With --score: print also the texts of the fifth that is held back. Whoever writes rules must not see them.
    #[arg(long, requires = "score")]
    pub show_held: bool,
    /// The file to read; standard input when absent or `-`.
    pub file: Option<std::path::PathBuf>,
}

/// What the command needs to know beside its input.
#[derive(Debug)]
pub struct Options<'a> {
    /// The rules to judge by.
    pub rules: &'a Rules,
    /// The domains that hold relay addresses.
    pub relay: &'a RelayDomains,
}

/// How much was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Replies that were judged.
    pub replies: u64,
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub enum ClassifyError {
    /// The input can't be read or the output can't be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Lines were no JSON objects of the form that the command reads; all others were judged.
    #[error("{broken} of {lines} lines are meant as JSON and are no object of a reply; the first is line {first}")]
    BrokenLines {
        /// How many.
        broken: u64,
        /// Of how many.
        lines: u64,
        /// The number of the first, from 1.
        first: u64,
    },
}

/// One line of `--format json`.
#[derive(Serialize)]
struct Row<'a> {
    /// The number of the input's line, from 1.
    line: u64,
    /// What the input calls it, as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    #[serde(flatten)]
    verdict: VerdictFields<'a>,
    /// With `--explain`: the rules that were considered, in the order in which they are asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    considered: Vec<ConsideredRow<'a>>,
}

/// A rule that was considered.
#[derive(Serialize)]
struct ConsideredRow<'a> {
    rule: &'a str,
    cause: Cause,
    /// `won`, `later`, `failed`.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<&'a str>,
}

impl<'a> From<&'a Considered> for ConsideredRow<'a> {
    fn from(considered: &'a Considered) -> Self {
        let Considered { rule, cause, outcome } = considered;
        let (outcome, condition, found) = match outcome {
            Outcome::Won => ("won", None, None),
            Outcome::Later => ("later", None, None),
            Outcome::Failed { condition, found } => ("failed", Some(*condition), Some(found.as_str())),
        };
        Self { rule, cause: *cause, outcome, condition, found }
    }
}

/// Judges every reply of the input, in constant memory. A broken line is named on `diagnostics`, and the rest goes on.
/// Nothing that is judged waits for more input to come.
///
/// # Errors
/// If reading or writing fails, or, after the whole input, if any line was broken.
pub fn run(
    input: impl Read,
    mut out: impl Write,
    mut diagnostics: impl Write,
    args: &Args,
    options: &Options<'_>,
) -> Result<Summary, ClassifyError> {
    let mut input = BufReader::with_capacity(BUFFER, input);
    let mut line = Vec::new();
    let mut summary = Summary::default();
    let (mut number, mut broken, mut first) = (0_u64, 0_u64, 0_u64);
    // The number and the code of a line before that says that more of its reply comes; `None` also once that was told.
    let (mut continued, mut told) = (None, false);
    loop {
        if input.buffer().is_empty() {
            out.flush()?;
        }
        if !read_line(&mut input, &mut line)? {
            break;
        }
        number += 1;
        let text = String::from_utf8_lossy(&line);
        let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { &text }.trim();
        if text.is_empty() {
            continue;
        }
        let reply = match Input::read(text) {
            Ok(reply) => reply,
            Err(problem) => {
                if broken == 0 {
                    first = number;
                }
                broken += 1;
                writeln!(diagnostics, "line {number}: {problem}")?;
                continue;
            }
        };
        let (code, more) = line_code(text);
        if let Some((before, _)) = continued.filter(|(_, before)| !told && Some(*before) == code) {
            told = true;
            writeln!(
                diagnostics,
                "lines {before} and {number} may be one reply of several lines, and are judged as two: join them, or give \
                 JSON with \\r\\n (said once)"
            )?;
        }
        continued = code.filter(|_| more).map(|code| (number, code));
        summary.replies += 1;
        write_line(&mut out, args.format, number, &judge(&reply, args.explain, options))?;
    }
    out.flush()?;
    if broken > 0 {
        return Err(ClassifyError::BrokenLines { broken, lines: number, first });
    }
    if summary.replies == 0 {
        writeln!(diagnostics, "the input is empty: give one reply on each line")?;
    }
    Ok(summary)
}

/// A verdict with the template that it is about.
struct Judged<'a> {
    id: Option<&'a RawValue>,
    template: String,
    verdict: Verdict,
    /// The rules that were considered, where that was asked for.
    considered: Vec<Considered>,
}

fn judge<'a>(input: &Input<'a>, explain: bool, options: &Options<'_>) -> Judged<'a> {
    let address = |text: &Option<String>| text.as_deref().and_then(|text| Address::parse(text).ok());
    let (recipient, sender) = (address(&input.recipient), address(&input.sender));
    let provider = input.provider.as_deref().and_then(|name| Provider::from_name(&name.trim().to_lowercase()));
    // Mailgun was seen to report the From address as the envelope sender.
    let trusted = provider != Some(Provider::Mailgun);
    let parties = Parties {
        recipient: recipient.as_ref(),
        envelope_sender: sender.as_ref().filter(|_| trusted),
        header_from: sender.as_ref().filter(|_| !trusted),
        ..Parties::unknown(options.relay)
    };
    let reply = Reply::with_codes(&input.text, input.code, input.enhanced);
    let template = template_of(&reply, &parties);
    let host = input.mx.as_deref().or_else(|| host_that_said(&reply.text));
    let context = context(provider, recipient.as_ref(), host, options.relay);
    let label = verdict_label(input.label.as_deref(), recipient.as_ref());
    let label = label.as_deref();
    let (verdict, considered) = if explain {
        let explanation = options.rules.explain(&template, &context, label);
        (explanation.verdict, explanation.considered)
    } else {
        (options.rules.classify_labelled(&template, &context, label), Vec::new())
    };
    Judged { id: input.id, verdict, considered, template: template.into_string() }
}

/// Looks for rules that rot.
///
/// # Errors
/// If the output can't be written.
pub fn lint(rules: &Rules, format: Format, out: &mut impl Write) -> io::Result<Exit> {
    let findings = rules.lint();
    for finding in &findings {
        match format {
            Format::Text => writeln!(out, "{finding}")?,
            Format::Json => {
                let LintFinding { rule, built_in, line, problem, note } = finding;
                let told = serde_json::json!({
                    "file": finding.file(), "built_in": built_in, "line": line, "rule": rule, "finding": problem.to_string(),
                    "note": note,
                });
                writeln!(out, "{told}")?;
            }
        }
    }
    if findings.iter().any(|finding| !finding.note) {
        return Ok(Exit::Finding);
    }
    if format == Format::Text {
        writeln!(out, "{} rules, version {}: nothing is wrong", rules.len(), rules.version())?;
    }
    Ok(Exit::Success)
}

/// Prints why rules can't be looked through, for machines: each mistake as a finding, with null for what it has not.
///
/// # Errors
/// If the output can't be written.
pub fn lint_unread(errors: &RuleFilesError, out: &mut impl Write) -> io::Result<()> {
    for error in &errors.0 {
        let told = match error {
            RuleFileError::Rule(RulesError { file, rule, line, problem }) => {
                let rule = rule.as_ref().map(|rule| format!("{file}/{rule}"));
                serde_json::json!({
                    "file": file, "built_in": false, "line": line, "rule": rule, "finding": problem, "note": false,
                })
            }
            other => serde_json::json!({
                "file": null, "built_in": false, "line": null, "rule": null, "finding": other.to_string(), "note": false,
            }),
        };
        writeln!(out, "{told}")?;
    }
    Ok(())
}

fn write_line(out: &mut impl Write, format: Format, number: u64, judged: &Judged<'_>) -> io::Result<()> {
    let Verdict { cause, fault, action, hard, confidence, rule, version, evidence, delay } = &judged.verdict;
    match format {
        Format::Json => {
            let verdict = VerdictFields {
                cause: Some(*cause),
                fault: Some(*fault),
                action: Some(*action),
                hard: Some(*hard),
                confidence: Some((f64::from(*confidence) * 100.0).round() / 100.0),
                rule: Some(rule),
                rule_version: Some(*version),
                evidence: Some(evidence),
                template: Some(&judged.template),
                delay: *delay,
            };
            let considered = judged.considered.iter().map(ConsideredRow::from).collect();
            let row = Row { line: number, id: judged.id, verdict, considered };
            serde_json::to_writer(&mut *out, &row)?;
            out.write_all(b"\n")
        }
        Format::Text => {
            let mark = if *hard { "!" } else { "" };
            let cause = format!("{cause}{mark}");
            // Control characters of a reply must not reach a terminal.
            let template: String = judged.template.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
            writeln!(out, "{cause:<28}  {fault:<9}  {action:<10}  {confidence:.2}  {rule:<40}  {template}")?;
            for Considered { rule, cause, outcome } in &judged.considered {
                let outcome = match outcome {
                    Outcome::Won => "won: the first that holds".to_owned(),
                    Outcome::Later => "holds too, asked later".to_owned(),
                    Outcome::Failed { condition, found } => format!("does not hold: {condition}, {found}"),
                };
                writeln!(out, "    {rule:<40}  {cause:<28}  {outcome}")?;
            }
            for Evidence { kind, detail } in evidence.iter().filter(|_| !judged.considered.is_empty()) {
                writeln!(out, "    evidence: {kind}: {detail}")?;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{input::MAX_LINE_BYTES, *};

    fn output(input: &[u8], format: Format) -> (String, String, Result<Summary, ClassifyError>) {
        let rules = Rules::built_in().expect("rules");
        let relay = RelayDomains::default();
        let options = Options { rules: &rules, relay: &relay };
        let (mut out, mut diagnostics) = (Vec::new(), Vec::new());
        let args =
            Args { format, rules: None, lint: false, explain: false, score: false, show_held: false, file: None };
        let result = run(input, &mut out, &mut diagnostics, &args, &options);
        (String::from_utf8(out).expect("UTF-8"), String::from_utf8(diagnostics).expect("UTF-8"), result)
    }

    const INPUT: &str = r#"550 5.1.1 <b-x7kq2m9abc=privaterelay.appleid.com@mail.example.com>: unauthorized sender

{"text":"550-5.1.1 <x7kq2m9abc@privaterelay.appleid.com>: user\r\n550 5.1.1 not found","recipient":"x7kq2m9abc@privaterelay.appleid.com","sender":"bounces@mail.example.com","provider":"ses","mx":"smtp1.privaterelay.appleid.com"}
{"id":18446744073709551617,"text":"unauthorized sender","recipient":"x7kq2m9abc@privaterelay.appleid.com","code":"550","enhanced":"5.1.1"}
{"text":"550 5.1.1 <other@mail.example.org>: user not found","recipient":"x7kq2m9abc@privaterelay.appleid.com","sender":"news@example.com"}
450 4.2.0 what nobody knows
{recipient} is unknown
"#;

    #[test]
    fn people_read_columns() {
        let (out, diagnostics, result) = output(INPUT.as_bytes(), Format::Text);
        assert_eq!((diagnostics.as_str(), result.expect("all judged").replies), ("", 6));
        insta::assert_snapshot!(out);
    }

    #[test]
    fn machines_read_one_object_a_line() {
        let (out, _, result) = output(INPUT.as_bytes(), Format::Json);
        assert_eq!(result.expect("all judged").replies, 6);
        for line in out.lines() {
            let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let mut keys: Vec<&String> = value.as_object().expect("object").keys().collect();
            keys.sort();
            keys.retain(|key| key.as_str() != "id");
            let expected = [
                "action",
                "cause",
                "confidence",
                "delay",
                "evidence",
                "fault",
                "hard",
                "line",
                "rule",
                "rule_version",
                "template",
            ];
            assert_eq!(keys, expected);
        }
        assert!(out.contains("{\"line\":4,\"id\":18446744073709551617,"), "an id comes out as it came: {out}");
        insta::assert_snapshot!(out);
    }

    #[test]
    fn a_broken_line_is_named_and_the_rest_goes_on() {
        let input = "550 5.1.1 bad mailbox name\n{\"text\":\n{\"txt\":\"secret@example.com\"}\n{oops}x\n[1]\n{\"text\":\"550 x\",\"recipent\":\"secret@example.com\"}\n550 5.1.1 bad mailbox name\n";
        let (out, diagnostics, result) = output(input.as_bytes(), Format::Json);
        assert_eq!(out.lines().count(), 3);
        let error = result.expect_err("broken lines").to_string();
        assert_eq!(error, "4 of 7 lines are meant as JSON and are no object of a reply; the first is line 2");
        let starts: Vec<&str> = diagnostics.lines().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(starts, ["line 2", "line 3", "line 4", "line 6"]);
        let mistyped = diagnostics.lines().nth(3).expect("a line");
        assert!(mistyped.contains("\"recipent\": did you mean \"recipient\"?"), "{mistyped}");
        assert!(!diagnostics.contains("secret"), "{diagnostics}");
    }

    #[test]
    fn any_bytes_are_read_in_bounded_memory() {
        let mut input = vec![b'x'; 3 * MAX_LINE_BYTES];
        input.extend_from_slice(
            b"\n550 \xff\xfe 5.1.1 bad mailbox name\n\xef\xbb\xbf\r\n550 5.1.1 \x1b[31mbad mailbox name\x00",
        );
        let (out, _, result) = output(&input, Format::Text);
        assert_eq!(result.expect("all judged").replies, 4);
        assert!(
            !out.contains('\u{1b}')
                && out.lines().nth(1).is_some_and(|line| line.starts_with("relay_sender_unregistered"))
        );
        let (_, _, empty) = output(b"", Format::Json);
        assert_eq!(empty.expect("nothing"), Summary::default());
        let mut line = Vec::new();
        let mut reader = input.as_slice();
        assert!(read_line(&mut reader, &mut line).expect("reads"));
        assert_eq!(line.len(), MAX_LINE_BYTES);
        assert!(read_line(&mut reader, &mut line).expect("reads") && line.starts_with(b"550"));
    }

    #[test]
    fn machines_read_findings_too() {
        let text = "version = 1\n\n[[rule]]\nname = \"a\"\nwording = [\"frobnicated\"]\ncause = \"auto_reply\"\nconfidence = 1.0\ndoc = \"us\"\n";
        let rules = Rules::with_extra(&[("mine", text)]).expect("rules");
        let mut out = Vec::new();
        assert_eq!(lint(&rules, Format::Json, &mut out).expect("written"), Exit::Finding);
        let out = String::from_utf8(out).expect("UTF-8");
        let first: serde_json::Value = serde_json::from_str(out.lines().next().expect("a line")).expect("JSON");
        let expected = serde_json::json!({
            "file": "mine", "built_in": false, "line": 3, "rule": "mine/a", "finding": "has no sample: add one that it must match",
            "note": false,
        });
        assert_eq!(first, expected);
        let (rules, mut none) = (Rules::built_in().expect("rules"), Vec::new());
        assert_eq!(lint(&rules, Format::Json, &mut none).expect("written"), Exit::Success);
        assert!(none.is_empty());
    }

    #[test]
    fn that_an_own_rule_overrides_a_built_in_one_is_noted() {
        let text = "version = 1\n\n[[rule]]\nname = \"a\"\nwording = [\"over quota\"]\ncause = \"greylisted\"\nconfidence = 1.0\ndoc = \"us\"\nsamples = [\"552 5.2.2 over quota\"]\nnear_misses = [\"552 5.2.2 quota\"]\n";
        let rules = Rules::with_extra(&[("mine", text)]).expect("rules");
        let mut out = Vec::new();
        assert_eq!(lint(&rules, Format::Text, &mut out).expect("written"), Exit::Success);
        let out = String::from_utf8(out).expect("UTF-8");
        let (notes, last) = out.trim_end().rsplit_once('\n').expect("notes");
        assert!(notes.lines().all(|line| line.starts_with("note: an own rule overrides built-in ")), "{out}");
        assert!(notes.contains("mine/a") && last.ends_with("nothing is wrong"), "{out}");
    }

    #[test]
    fn machines_read_why_rules_do_not_load() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("a.toml"), "version = 1\n[[rules]]\nname = \"a\"\n").expect("written");
        std::fs::write(folder.path().join("b.toml"), [0xff, 0xfe]).expect("written");
        let errors = crate::rule_files::load(Some(folder.path())).expect_err("wrong");
        let mut out = Vec::new();
        lint_unread(&errors, &mut out).expect("written");
        let out = String::from_utf8(out).expect("UTF-8");
        let told: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(told[0]["file"].is_null() && told[0]["finding"].as_str().is_some_and(|said| said.contains("b.toml")));
        assert_eq!((&told[1]["file"], &told[1]["line"]), (&serde_json::json!("a"), &serde_json::json!(2)), "{out}");
        assert!(told[1]["finding"].as_str().is_some_and(|said| said.contains("write [[rule]]")), "{out}");
    }

    #[test]
    fn what_may_be_one_reply_of_several_lines_is_noted_once() {
        let (out, said, _) = output(b"550-5.1.1 no\n\n550 5.1.1 such user\n550-a\n550-b\n", Format::Text);
        assert_eq!((out.lines().count(), said.lines().count()), (4, 1), "{said}");
        assert!(said.starts_with("lines 1 and 3 may be one reply of several lines"), "{said}");
        assert_eq!(output(b"550-5.1.1 no\n552 5.2.2 full\n550 x\n550 y\n", Format::Text).1, "");
        assert!(output(b"\n", Format::Json).1.contains("the input is empty"));
    }

    #[test]
    fn the_label_of_the_help_decides() {
        assert!(EXAMPLES.contains("`Permanent/NoEmail`, `bounce_class 10`"));
        for label in ["Permanent/NoEmail", "bounce_class 10"] {
            let (out, ..) = output(format!("{{\"text\":\"\",\"label\":\"{label}\"}}").as_bytes(), Format::Text);
            assert!(out.contains(" labels/no-such-address "), "{out}");
        }
    }

    #[test]
    fn a_rule_whose_whole_text_is_a_number_is_not_considered_for_numbers_in_a_text() {
        let rules = Rules::built_in().expect("rules");
        let explained = rules.explain(
            "550 1 recipients were refused by frobnication",
            &crate::model::ReplyContext::default(),
            None,
        );
        assert!(!explained.considered.iter().any(|one| one.rule == "general/exit-status"), "{explained:?}");
    }

    #[test]
    fn the_help_has_its_examples() {
        use clap::Args as _;
        let help = Args::augment_args(clap::Command::new("classify")).render_long_help().to_string();
        assert!(help.contains("relaywatch classify --format json") && help.contains("--format <FORMAT>"), "{help}");
    }
}

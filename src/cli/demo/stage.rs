//! The files of one case: configuration, keys and secrets, as an operator would lay them out.

use std::{collections::HashMap, fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use anyhow::Context;

use super::providers::{Providers, TOPIC, USERNAME};
use crate::{
    config::Config,
    model::{DAY_MILLIS, Provider},
    simulate::{APP, Plan, TEAM, What},
};

/// The name of the configuration file.
pub(super) const CONFIG_FILE: &str = "relaywatch.toml";

/// Writes the files of a case into `folder` and reads the configuration as `serve` does.
pub(super) fn lay_out(plan: &Plan, folder: &Path, providers: &Providers, slack: &str) -> anyhow::Result<Config> {
    let write = |name: &str, content: &[u8]| {
        let file = folder.join(name);
        let made = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&file);
        made.and_then(|mut out| out.write_all(content)).with_context(|| format!("{} can't be written", file.display()))
    };
    fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
    let certificate = providers.certificate(plan.start.plus_millis(-DAY_MILLIS), plan.end.plus_millis(DAY_MILLIS))?;
    write("sns.pem", certificate.as_bytes())?;
    write("apple-keys.json", &providers.apple_keys())?;
    write("secret", providers.secret().as_bytes())?;
    write("slack-webhook-url", slack.as_bytes())?;
    let text = config(plan, folder);
    write(CONFIG_FILE, text.as_bytes())?;
    Ok(Config::from_text(Some(&folder.join(CONFIG_FILE)), text, HashMap::new())?)
}

/// What the case's mail comes through, Apple's notices, one team, and Slack. What the sender's provider tells of mail that did not bounce is declared.
fn config(plan: &Plan, folder: &Path) -> String {
    let sender = &plan.sender;
    let posts = |provider: Provider| {
        plan.posts.iter().any(|post| match &post.what {
            What::Ses { .. } => provider == Provider::Ses,
            What::Sparkpost(_) => provider == Provider::Sparkpost,
            What::Braze(_) => provider == Provider::Braze,
            What::Notice(_) | What::Accounts(_) => false,
        })
    };
    // A feed that nobody posts to would be told of as never heard.
    let feed = |provider: Provider, settings: &str| {
        let exposure =
            if sender.provider == provider { format!("exposure = \"{}\"\n", sender.exposure) } else { String::new() };
        if posts(provider) { format!("[feeds.{provider}]\n{settings}{exposure}\n") } else { String::new() }
    };
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let store = text(&format!("sqlite://{}", folder.join("relaywatch.db").display()));
    let registered = text(&sender.envelope_domain);
    let feeds = [
        feed(Provider::Ses, &format!("topics = [\"{TOPIC}\"]\nsigning_certificates = [\"sns.pem\"]\n")),
        feed(Provider::Sparkpost, &format!("username = \"{USERNAME}\"\npassword_file = \"secret\"\n")),
        feed(Provider::Braze, "token_file = \"secret\"\n"),
    ]
    .concat();
    format!(
        "# The case {case} of `relaywatch demo`.
[listen]
public = \"127.0.0.1:0\"
private = \"127.0.0.1:0\"

[store]
url = {store}
# Longer than the demo's weeks of ordinary mail.
retention_deliveries_days = 3650
retention_refusals_days = 3650

[privacy]
key_file = \"relaywatch.key\"

[[team]]
id = \"{TEAM}\"
kind = \"organization\"
[[team.app]]
client_id = \"{APP}\"
[[team.source]]
domain = {registered}

[feeds.apple]
jwks_file = \"apple-keys.json\"

{feeds}[notify.slack]
webhook_url_file = \"slack-webhook-url\"
",
        case = plan.case
    )
}

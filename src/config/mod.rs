//! The configuration: a TOML file, and over it the environment.
//!
//! The types of the sections are the one description of it. The JSON Schema comes from them; unknown keys, wrong kinds and
//! variables of the environment are checked against that schema, on a tree that knows the line of every value, so that all
//! mistakes are told at once. `docs/configuration.md` tells operators how it's used.

mod canaries;
mod clashes;
mod feeds;
mod files;
mod forms;
mod notify;
mod overlay;
mod reload;
mod report;
mod sections;
mod shape;
mod sources;
mod store_url;
#[cfg(test)]
mod tests;
mod tree;
mod validate;
mod values;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    canaries::{AfterReading, Canary, CanaryControl, CanaryImap, CanaryPath, CanarySmtp, MailTls},
    feeds::{
        AppleFeed, AppleMode, AzureFeed, BrazeFeed, BrevoFeed, CustomerioFeed, ElasticemailFeed, Feeds, GenericFeed,
        IterableFeed, KlaviyoFeed, KumomtaFeed, MailAddress, MailFeed, MailProtocol, MailersendFeed, MailgunFeed,
        MailjetFeed, MailtrapFeed, MandrillFeed, Named, Network, PostalFeed, PostfixFeed, PostmarkFeed,
        RecipientPattern, ResendFeed, Routes, ScalewayFeed, SendgridFeed, SesEventbridgeFeed, SesFeed, SesFirehoseFeed,
        SocketlabsFeed, SparkpostFeed, SqsFeed, UnisenderFeed,
    },
    notify::{Heartbeat, Notify, Slack, Webhook},
    report::{ConfigErrors, Mistake, Place, Severity},
    sections::{
        AddressKeeping, App, Detect, Dns, Lifecycle, Limits, Listen, Log, MxFailure, Privacy, Relay, RuleFiles,
        Sending, Source, Store, Team, TeamKind,
    },
    shape::json_schema,
    values::{FilePath, ListenAddress, MASK, PublicUrl, Secret, StoreUrl},
};
pub(crate) use self::{
    clashes::{Clash, clash, differences},
    feeds::path as feed_path,
    forms::is_region,
    shape::nearest_word,
    validate::is_team_id,
};
use self::{
    report::Report,
    shape::{SCHEMA, Shape},
    tree::{Node, Origin, Value},
};

/// The commented default: every key with its default, and examples commented out.
pub const DEFAULT_FILE: &str = include_str!("../../config.default.toml");
/// The file that is read where no other is named, if it's there.
pub const SYSTEM_FILE: &str = "/etc/relaywatch/relaywatch.toml";
/// The environment variable that names the file.
pub const FILE_VARIABLE: &str = "RELAYWATCH_CONFIG";
/// The state directory of a system service that has no other.
const SYSTEM_STATE: &str = "/var/lib/relaywatch";
/// A file that is longer than this is not ours.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The two listeners.
    pub listen: Listen,
    /// Where everything is kept, and for how long.
    pub store: Store,
    /// Which domains hold relay addresses.
    pub relay: Relay,
    /// The Apple developer teams.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub team: Vec<Team>,
    /// Canaries: marked messages to relay addresses of your own, and whether they arrive.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub canary: Vec<Canary>,
    /// How DNS is asked.
    pub dns: Dns,
    /// Where reports come from.
    pub feeds: Feeds,
    /// Who is told.
    pub notify: Notify,
    /// How addresses are kept.
    pub privacy: Privacy,
    /// What replies mean.
    pub rules: RuleFiles,
    /// What the detectors may do.
    pub detect: Detect,
    /// What clients may ask of the listeners.
    pub limits: Limits,
    /// The logs.
    pub log: Log,
    /// Starting and stopping.
    pub lifecycle: Lifecycle,

    /// Where the settings come from.
    #[serde(skip)]
    pub provenance: Provenance,
}

/// Where the settings come from, and what is odd about them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provenance {
    /// The file, where one was read.
    pub file: Option<PathBuf>,
    /// What the environment set.
    pub overrides: Vec<Override>,
    /// The directory for the key, the socket and, by default, the SQLite file.
    pub state_directory: PathBuf,
    /// What may not work as meant.
    pub warnings: Vec<Mistake>,
    places: BTreeMap<String, Written>,
}

/// Where a setting stands, and how the operator writes its path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    place: Place,
    path: String,
}

impl Provenance {
    /// A mistake in what the setting `path` (as `feeds.apple.0.jwks_file`) leads to, with the setting's line.
    #[must_use]
    pub fn mistake(&self, path: &str, message: String) -> Mistake {
        let mut above = path;
        let (place, path) = loop {
            match (self.places.get(above), above.rsplit_once('.')) {
                (Some(written), _) => {
                    let below = path.strip_prefix(above).unwrap_or_default();
                    break (written.place.clone(), format!("{}{below}", written.path));
                }
                (None, Some((rest, _))) => above = rest,
                (None, None) => break (Place::Nowhere, path.to_owned()),
            }
        };
        let file = self.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        Mistake { severity: Severity::Error, path, message, help: None, place, file }
    }
}

/// A setting that came from the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The setting, as `feeds.ses.0.topics`.
    pub path: String,
    /// The variable.
    pub variable: String,
}

impl Config {
    /// Reads the file and puts the environment over it.
    ///
    /// The file is `path`, else the one that `RELAYWATCH_CONFIG` names, else `/etc/relaywatch/relaywatch.toml` if it's
    /// there; without any, the defaults work.
    ///
    /// # Errors
    /// All mistakes, each with its line, and the warnings among them.
    pub fn load(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        Self::load_or_system(path, environment, Path::new(SYSTEM_FILE))
    }

    fn load_or_system(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        system_file: &Path,
    ) -> Result<Self, ConfigErrors> {
        let environment: HashMap<String, String> = environment.into_iter().collect();
        let named = path
            .map(Path::to_path_buf)
            .or_else(|| environment.get(FILE_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from));
        let file = named.clone().unwrap_or_else(|| system_file.to_path_buf());
        match read(&file) {
            Ok(text) => Self::from_text(Some(&file), text, environment),
            Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => {
                Self::from_text(None, String::new(), environment)
            }
            Err(error) => {
                let mut report = Report::new(Some(&file), String::new());
                let help = "name another file with --config, or `relaywatch config default > relaywatch.toml`";
                report.error(
                    &Origin::Default,
                    "",
                    format!("the configuration can't be read: {error}"),
                    Some(help.to_owned()),
                );
                Err(ConfigErrors { mistakes: report.finish(None), sound: None })
            }
        }
    }

    /// Reads the text of a file. `file` is its name, from which relative paths start.
    ///
    /// # Errors
    /// All mistakes, each with its line.
    pub fn from_text(
        file: Option<&Path>,
        text: String,
        environment: HashMap<String, String>,
    ) -> Result<Self, ConfigErrors> {
        let mut report = Report::new(file, text);
        let Some(mut tree) = parse(&mut report) else {
            return Err(ConfigErrors { mistakes: report.finish(None), sound: None });
        };
        let state_directory = state_directory(&environment);
        let overrides = overlay::apply(&mut tree, environment, &mut report);
        let shape = Shape::new(&SCHEMA);
        shape::check(&tree, &shape, "", &mut report);
        if report.has_errors() {
            let sound = check_sound_parts(tree.clone(), file, &state_directory, &mut report).map(Box::new);
            return Err(ConfigErrors { mistakes: report.finish(Some(&tree)), sound });
        }
        files::resolve(&mut tree, &shape, &base_of(file), "", &mut report);
        put_default_store(&mut tree, &state_directory);
        // What passed the schema fits the types. serde's own message would hold the value, which may be a secret.
        let Ok(mut config) = tree.to_toml().try_into::<Self>() else {
            let help = "please report it, with the keys that are set and without their values";
            report.error(&Origin::Default, "", "the settings pass the schema and do not fit", Some(help.to_owned()));
            return Err(ConfigErrors { mistakes: report.finish(Some(&tree)), sound: None });
        };
        validate::check(&config, &tree, &mut report);
        let (refused, places) = (report.has_errors(), places_of(&tree, &report));
        let mut found = report.finish(Some(&tree));
        let warnings = if refused { Vec::new() } else { std::mem::take(&mut found) };
        let file = file.map(Path::to_path_buf);
        config.provenance = Provenance { file, overrides, state_directory, warnings, places };
        if refused { Err(ConfigErrors { mistakes: found, sound: Some(Box::new(config)) }) } else { Ok(config) }
    }

    /// The variables of this process that can be settings.
    #[must_use]
    pub fn process_environment() -> Vec<(String, String)> {
        overlay::process_environment()
    }

    /// The directory for the key, the socket and, by default, the SQLite file.
    #[must_use]
    pub fn state_directory(&self) -> &Path {
        &self.provenance.state_directory
    }

    /// The file with the keys.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        let configured = self.privacy.key_file.as_ref().map(|file| file.0.clone());
        configured.unwrap_or_else(|| self.state_directory().join("relaywatch.key"))
    }
}

fn read(file: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(file)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, "it is longer than 16 MiB"));
    }
    Ok(text)
}

/// The tree of the text; `None` where it's no TOML, and then every syntax error is reported.
fn parse(report: &mut Report) -> Option<Node> {
    let text = report.text().to_owned();
    let (table, errors) = toml::de::DeTable::parse_recoverable(&text);
    for error in &errors {
        let origin = error.span().map_or(Origin::Default, Origin::Span);
        report.error(&origin, "", format!("this is no TOML: {}", error.message()), None);
    }
    errors.is_empty().then(|| Node::from_document(table.get_ref(), table.span()))
}

/// Where some values have the wrong shape, checks the others, so that one run tells everything; gives what can be read.
fn check_sound_parts(
    mut tree: Node,
    file: Option<&Path>,
    state_directory: &Path,
    report: &mut Report,
) -> Option<Config> {
    let shape = Shape::new(&SCHEMA);
    let mut broken: HashSet<String> = HashSet::new();
    for path in report.error_paths().map(|path| tree.canonical(path)).collect::<Vec<_>>() {
        broken.insert(take_out(&mut tree, &shape, &path));
        broken.insert(path);
    }
    let parts: HashSet<String> = broken.iter().filter(|path| !is_inert(path)).map(|path| part(path)).collect();
    let mut rest = report.fresh();
    files::resolve(&mut tree, &shape, &base_of(file), "", &mut rest);
    put_default_store(&mut tree, state_directory);
    let mut sound = tree.to_toml().try_into::<Config>().ok();
    if let Some(config) = &mut sound {
        validate::check(config, &tree, &mut rest);
        config.provenance.file = file.map(Path::to_path_buf);
        config.provenance.places = places_of(&tree, report);
    }
    // What is wrong beside a broken value may only be the echo of what was left out, and so may every warning.
    report.adopt_errors(rest, |path, by_itself| {
        let path = tree.canonical(path);
        let told = broken.iter().any(|broken| {
            path.strip_prefix(broken.as_str()).is_some_and(|below| below.is_empty() || below.starts_with('.'))
        });
        !told && (by_itself || !parts.contains(&part(&path)))
    });
    sound
}

/// Keys of feeds and notifiers by which nothing else is judged: a broken one makes no echo.
const INERT: [&str; 7] = [
    "archived_jwks_file",
    "campaign_tag",
    "exposure",
    "interval_seconds",
    "jwks_file",
    "refuse_signature_version_1",
    "signing_certificates",
];

/// Whether nothing else is judged by this key, or by the one that was most likely meant.
fn is_inert(path: &str) -> bool {
    let steps: Vec<&str> = path.split('.').filter(|step| step.parse::<usize>().is_err()).collect();
    let [section @ ("feeds" | "notify"), kind, key] = steps.as_slice() else { return false };
    let shape = Shape::new(&SCHEMA).key(section).and_then(|section| section.key(kind));
    let keys = shape.iter().filter_map(Shape::keys).flat_map(serde_json::Map::keys).map(String::as_str);
    nearest_word(key, keys).is_some_and(|meant| INERT.contains(&meant))
}

/// What is judged together: a section, a feed of one kind, a notifier, an entry of an array.
fn part(path: &str) -> String {
    let steps: Vec<&str> = path.split('.').collect();
    let depth = if matches!(steps.first(), Some(&("feeds" | "notify"))) { 2 } else { 1 };
    let entry = steps.get(depth).is_some_and(|step| step.parse::<usize>().is_ok());
    steps.into_iter().take(depth + usize::from(entry)).collect::<Vec<_>>().join(".")
}

/// Takes the value at `path` out of the tree, so that the others can be read, and says what went with it: of an array the
/// whole. In the place of a key that must be there comes an empty text.
fn take_out(tree: &mut Node, shape: &Shape<'_>, path: &str) -> String {
    let steps: Vec<&str> = path.split('.').collect();
    // How many steps lead to the last table on the way, and the key in it.
    let mut depth = 0;
    let mut node = &*tree;
    for (index, step) in steps.iter().enumerate() {
        if matches!(node.value, Value::Table(_)) {
            depth = index;
        }
        match node.child(step) {
            Some(child) => node = child,
            None => break,
        }
    }
    let (above, key) = (steps.get(..depth).unwrap_or_default(), steps.get(depth).copied().unwrap_or_default());
    let mut owner = &mut *tree;
    let mut owner_shape = Some(shape.clone());
    for step in above {
        owner_shape = owner_shape.and_then(|shape| shape.key(step).or_else(|| shape.items()));
        let Some(child) = owner.child_mut(step) else { return path.to_owned() };
        owner = child;
    }
    if let Value::Table(table) = &mut owner.value {
        table.remove(key);
        // A feed's table can be an array's entry as well as the one table of its kind.
        let required = |shape: &Shape<'_>| shape.required().any(|name| name == key);
        if owner_shape.as_ref().is_some_and(required) {
            let stand_in = Value::Leaf(toml::Value::String(String::new()));
            table.insert(key.to_owned(), Node::new(Origin::Default, stand_in));
        }
    }
    steps.into_iter().take(depth + 1).collect::<Vec<_>>().join(".")
}

/// Where the settings of feeds, notifiers and rules stand: those that name something that can be wrong in itself.
fn places_of(tree: &Node, report: &Report) -> BTreeMap<String, Written> {
    fn walk(node: &Node, path: &str, (tree, report): (&Node, &Report), places: &mut BTreeMap<String, Written>) {
        let written = Written { place: report.place_of(&node.origin, path), path: tree.written(path) };
        places.insert(path.to_owned(), written);
        let mut below = |step: &str, child: &Node| walk(child, &shape::join(path, step), (tree, report), places);
        match &node.value {
            Value::Table(table) => table.iter().for_each(|(key, child)| below(key, child)),
            Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| below(&index.to_string(), item)),
            Value::Leaf(_) => {}
        }
    }
    let mut places = BTreeMap::new();
    if let Some(canaries) = tree.child("canary") {
        walk(canaries, "canary", (tree, report), &mut places);
    }
    for section in ["feeds", "notify", "rules"] {
        for (name, child) in tree.child(section).into_iter().flat_map(Node::children) {
            let path = shape::join(section, name);
            match &child.value {
                // The one table of a kind is its first feed.
                Value::Table(_) if section == "feeds" => walk(child, &format!("{path}.0"), (tree, report), &mut places),
                _ => walk(child, &path, (tree, report), &mut places),
            }
        }
    }
    places
}

fn base_of(file: Option<&Path>) -> PathBuf {
    let folder = file.and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf())
}

/// Without a `store.url`, the store is a SQLite file in the state directory.
fn put_default_store(tree: &mut Node, state_directory: &Path) {
    let Value::Table(sections) = &mut tree.value else { return };
    let store = sections.entry("store".to_owned()).or_insert_with(|| Node::empty_table(Origin::Default));
    if let Value::Table(keys) = &mut store.value {
        let url = format!("sqlite://{}", state_directory.join("relaywatch.db").display());
        keys.entry("url".to_owned())
            .or_insert_with(|| Node::new(Origin::Default, Value::Leaf(toml::Value::String(url))));
    }
}

/// `STATE_DIRECTORY` (systemd sets it), else `/var/lib/relaywatch` for root and for its owner, else the user's own:
/// `$XDG_STATE_HOME/relaywatch` or `~/.local/state/relaywatch`.
fn state_directory(environment: &HashMap<String, String>) -> PathBuf {
    let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    if let Some(directories) = variable("STATE_DIRECTORY") {
        return PathBuf::from(directories.split(':').next().unwrap_or(directories));
    }
    let owner = |path: &str| std::fs::metadata(path).map(|metadata| metadata.uid()).ok();
    // The owner of /proc/self is the user of this process.
    let user = owner("/proc/self");
    if user == Some(0) || (user.is_some() && user == owner(SYSTEM_STATE)) {
        return PathBuf::from(SYSTEM_STATE);
    }
    let home = variable("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| variable("HOME").map(|home| Path::new(home).join(".local/state")));
    home.map_or_else(|| PathBuf::from(SYSTEM_STATE), |home| home.join("relaywatch"))
}

//! Checks the tree against the JSON Schema of [`Config`], which comes from the types themselves: unknown keys, missing keys,
//! kinds of values, ranges, closed lists. All mistakes are found at once, each with its line.

use std::{collections::HashMap, sync::LazyLock};

use schemars::generate::SchemaSettings;
use serde_json::Value as Json;

use super::{
    Config,
    report::Report,
    tree::{Node, Value},
    values::format,
};
pub(crate) use crate::model::nearest_word;

/// The JSON Schema of the configuration (draft 2020-12), with every part in its place.
#[must_use]
pub fn json_schema() -> Json {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Config>().to_value()
}

pub(super) static SCHEMA: LazyLock<Json> = LazyLock::new(json_schema);

/// What may stand at one place: the schema's alternatives without `null`, which stands for an absent key.
#[derive(Clone)]
pub(super) struct Shape<'s>(Vec<&'s Json>);

impl<'s> Shape<'s> {
    pub(super) fn new(schema: &'s Json) -> Self {
        let mut alternatives = Vec::new();
        let mut open = vec![schema];
        while let Some(schema) = open.pop() {
            match schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array) {
                Some(parts) => open.extend(parts.iter().rev()),
                None if schema.get("type").is_some_and(|kind| kind == "null") => {}
                None => alternatives.push(schema),
            }
        }
        Self(alternatives)
    }

    fn of_type(&self, name: &str) -> Option<&'s Json> {
        let has = |schema: &&&Json| match schema.get("type") {
            Some(Json::String(kind)) => kind == name,
            Some(Json::Array(kinds)) => kinds.iter().any(|kind| kind == name),
            _ => false,
        };
        self.0.iter().find(has).copied()
    }

    /// The keys of the table that may stand here.
    pub(super) fn keys(&self) -> Option<&'s serde_json::Map<String, Json>> {
        self.of_type("object")?.get("properties")?.as_object()
    }

    pub(super) fn key(&self, name: &str) -> Option<Self> {
        self.keys()?.get(name).map(Self::new)
    }

    /// What may stand in the array that may stand here.
    pub(super) fn items(&self) -> Option<Self> {
        self.of_type("array")?.get("items").map(Self::new)
    }

    /// Whether it is a table or an array of named tables.
    pub(super) fn is_routes(&self) -> bool {
        self.keys().is_some() && self.items().is_some_and(|item| item.key("name").is_some())
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.of_type(name).is_some()
    }

    pub(super) fn format(&self) -> Option<&'s str> {
        self.0.iter().find_map(|schema| schema.get("format")?.as_str())
    }

    /// Whether a file may hold it in its stead.
    pub(super) fn is_secret(&self) -> bool {
        matches!(self.format(), Some(format::SECRET | format::STORE_URL))
    }

    /// What the key with a closed list is for, in a line.
    fn description(&self) -> Option<String> {
        // What stands beside a single word is of that word alone.
        let list = self.0.iter().find(|schema| schema.get("enum").is_some())?;
        let text = list.get("description")?.as_str()?;
        Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// The words of a closed list.
    pub(super) fn words(&self) -> Vec<&'s str> {
        let mut words = Vec::new();
        for schema in &self.0 {
            words.extend(schema.get("const").and_then(Json::as_str));
            words.extend(schema.get("enum").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str));
        }
        words
    }

    pub(super) fn required(&self) -> impl Iterator<Item = &'s str> {
        let required = self.of_type("object").and_then(|schema| schema.get("required")).and_then(Json::as_array);
        required.into_iter().flatten().filter_map(Json::as_str)
    }

    /// What is expected here, for people.
    fn expected(&self) -> String {
        let words = self.words();
        if !words.is_empty() {
            return format!("one of {}", list(&words));
        }
        let mut kinds = Vec::new();
        for (kind, text) in [
            ("object", "a table"),
            ("array", "an array"),
            ("string", "a text in quotes"),
            ("integer", "a whole number"),
            ("number", "a number"),
            ("boolean", "true or false"),
        ] {
            if self.is(kind) {
                kinds.push(text);
            }
        }
        if self.is_routes() { "a table or an array of tables".to_owned() } else { kinds.join(" or ") }
    }
}

fn list(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

/// The section in which a key of this name stands, where it is one only.
fn home_of(key: &str) -> Option<String> {
    fn search(shape: &Shape<'_>, key: &str, path: &str, found: &mut Vec<String>) {
        for name in shape.keys().into_iter().flat_map(serde_json::Map::keys) {
            if name == key {
                found.push(path.to_owned());
            }
            if let Some(child) = shape.key(name) {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                search(&child, key, &below, found);
                if let (Some(item), false) = (child.items(), child.is_routes()) {
                    search(&item, key, &below, found);
                }
            }
        }
    }
    let mut found = Vec::new();
    search(&Shape::new(&SCHEMA), key, "", &mut found);
    match found.as_slice() {
        [only] if !only.is_empty() => Some(only.clone()),
        _ => None,
    }
}

/// The names of all keys that hold a value, and whether a secret stands under one anywhere.
static KEYS: LazyLock<HashMap<String, bool>> = LazyLock::new(|| {
    fn collect(shape: &Shape<'_>, keys: &mut HashMap<String, bool>) {
        for key in shape.keys().into_iter().flat_map(serde_json::Map::keys) {
            let Some(child) = shape.key(key) else { continue };
            let inner = child.items().filter(|item| item.is("object"));
            if !child.is("object") && inner.is_none() {
                *keys.entry(key.clone()).or_default() |= child.is_secret();
            }
            collect(&child, keys);
            if let Some(item) = inner {
                collect(&item, keys);
            }
        }
    }
    let mut keys = HashMap::new();
    collect(&Shape::new(&SCHEMA), &mut keys);
    keys
});

/// Whether it's a key that nowhere holds a secret, so that a line with it can be shown.
pub(super) fn never_secret(key: &str) -> bool {
    KEYS.get(key) == Some(&false)
}

/// Whether what stands at this path (`feeds.mandrill.0.url`) is known, and no secret.
pub(super) fn is_shown(path: &str) -> bool {
    let mut shape = Shape::new(&SCHEMA);
    for step in path.split('.') {
        let below = match step.parse::<usize>() {
            // An index into what is a single table as well.
            Ok(_) => shape.items(),
            Err(_) => shape.key(step),
        };
        let Some(below) = below else { return false };
        shape = below;
    }
    let is_text = |shape: &Shape<'_>| !shape.is("object") && !shape.is_secret();
    is_text(&shape) && shape.items().is_none_or(|item| is_text(&item))
}

/// Whether it's the name of any key that holds a value.
pub(super) fn is_key(key: &str) -> bool {
    KEYS.contains_key(key)
}

fn unknown_key_help(key: &str, shape: &Shape<'_>, path: &str) -> String {
    let keys: Vec<_> = shape.keys().into_iter().flat_map(serde_json::Map::keys).map(String::as_str).collect();
    if let Some(meant) = nearest_word(key, keys.iter().copied()) {
        return format!("did you mean `{meant}`?");
    }
    match home_of(key) {
        Some(home) => format!("`{key}` belongs in [{home}]"),
        None if path.is_empty() => format!("the sections are {}", list(&keys)),
        None => format!("the keys of [{}] are {}", readable(path), list(&keys)),
    }
}

pub(super) fn join(path: &str, step: &str) -> String {
    if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") }
}

/// A path as people read it: without the numbers in arrays, since the line shows which one is meant.
pub(super) fn readable(path: &str) -> String {
    let steps: Vec<_> = path.split('.').filter(|step| step.parse::<usize>().is_err()).collect();
    steps.join(".")
}

/// Finds every departure from the schema.
pub(super) fn check(node: &Node, shape: &Shape<'_>, path: &str, report: &mut Report) {
    match &node.value {
        Value::Table(table) if shape.is("object") => {
            for (key, child) in table {
                let below = join(path, key);
                match shape.key(key) {
                    Some(shape) => check(child, &shape, &below, report),
                    None => report.error(
                        &child.key,
                        &below,
                        format!("unknown key `{key}`"),
                        Some(unknown_key_help(key, shape, path)),
                    ),
                }
            }
            for key in shape.required().filter(|key| !table.contains_key(*key)) {
                report.error(
                    &node.origin,
                    &join(path, key),
                    format!("the key `{key}` is missing"),
                    Some(format!("add `{key} = …`")),
                );
            }
        }
        Value::Array(items) => match shape.items() {
            Some(shape) => {
                for (index, item) in items.iter().enumerate() {
                    check(item, &shape, &join(path, &index.to_string()), report);
                }
            }
            None => wrong_kind(node, shape, path, report),
        },
        Value::Leaf(leaf) => check_leaf(node, leaf, shape, path, report),
        Value::Table(_) => wrong_kind(node, shape, path, report),
    }
}

fn wrong_kind(node: &Node, shape: &Shape<'_>, path: &str, report: &mut Report) {
    let name = readable(path);
    let help = match (&node.value, shape.items()) {
        (Value::Table(_), Some(item)) if item.is("object") => Some(format!("write [[{name}]], with two brackets")),
        (Value::Leaf(toml::Value::String(_)), Some(item)) if item.is("string") => {
            Some(format!("write a list: {} = [\"…\"]", name.rsplit('.').next().unwrap_or_default()))
        }
        (Value::Leaf(toml::Value::String(text)), _) if shape.is("integer") => {
            let number = text.parse::<i64>().is_ok();
            Some(if number { "write it without quotes" } else { "write digits only; the key says the unit" }.to_owned())
        }
        (Value::Leaf(_), _) if shape.is("boolean") => Some("write true or false, without quotes".to_owned()),
        (Value::Leaf(_), _) if shape.is("string") => Some("put it in quotes".to_owned()),
        _ => None,
    };
    let message = format!("`{name}` must be {}, and is {}", shape.expected(), node.value.kind());
    report.error(&node.origin, path, message, help);
}

fn check_leaf(node: &Node, leaf: &toml::Value, shape: &Shape<'_>, path: &str, report: &mut Report) {
    match leaf {
        toml::Value::String(text) if shape.is("string") => check_text(node, text, shape, path, report),
        toml::Value::Boolean(_) if shape.is("boolean") => {}
        toml::Value::Integer(number) if shape.is("integer") || shape.is("number") => {
            let bound = |name: &str| shape.0.iter().find_map(|schema| schema.get(name)?.as_i64());
            let (min, max) = (bound("minimum"), bound("maximum"));
            if min.is_some_and(|min| *number < min) || max.is_some_and(|max| *number > max) {
                let range = match (min, max) {
                    (Some(min), Some(max)) => format!("between {min} and {max}"),
                    (Some(min), None) => format!("at least {min}"),
                    (_, max) => format!("at most {}", max.unwrap_or(i64::MAX)),
                };
                report.error(&node.origin, path, format!("`{}` must be {range}", readable(path)), None);
            }
        }
        toml::Value::Float(_) if shape.is("number") => {}
        _ => wrong_kind(node, shape, path, report),
    }
}

fn check_text(node: &Node, text: &str, shape: &Shape<'_>, path: &str, report: &mut Report) {
    let name = readable(path);
    let words = shape.words();
    if !words.is_empty() && !words.contains(&text) {
        let help = nearest_word(text, words.iter().copied()).map(|meant| format!("did you mean `{meant}`?"));
        let help = help.or_else(|| shape.description());
        return report.error(&node.origin, path, format!("`{name}` must be {}", shape.expected()), help);
    }
    match shape.format() {
        Some(format::SOCKET_ADDRESS) if text.parse::<std::net::SocketAddr>().is_err() => report.error(
            &node.origin,
            path,
            format!("`{name}` must be an IP address and a port"),
            Some(
                "write it as \"127.0.0.1:8025\" or \"[::1]:8025\"; \"0.0.0.0:8025\" listens on all interfaces"
                    .to_owned(),
            ),
        ),
        Some(format::URL) if url::Url::parse(text).is_err() => report.error(
            &node.origin,
            path,
            format!("`{name}` must be a URL"),
            Some("write it in full: \"https://host/path\"".to_owned()),
        ),
        Some(format::PATH | format::SECRET | format::STORE_URL) if text.trim().is_empty() => {
            report.error(
                &node.origin,
                path,
                format!("`{name}` is empty"),
                Some("leave the key out instead".to_owned()),
            );
        }
        _ => {}
    }
}

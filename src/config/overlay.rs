//! Settings from the environment: `RELAYWATCH__SECTION__KEY`.
//!
//! The variable's parts are the keys of the path in capital letters. A feed that has a name carries it before its key:
//! `RELAYWATCH__FEEDS__SES__EU__TOPICS`, with `_` for a `-` of the name. The schema says how a value is read: an array is
//! comma-separated, or an array in TOML or JSON; a table is an inline table in TOML or an object in JSON. An empty variable
//! counts as absent.

use std::collections::BTreeMap;

use super::{
    Override,
    report::Report,
    shape::{SCHEMA, Shape, join, nearest_word, readable},
    tree::{Node, Origin, Value},
};

pub(super) const PREFIX: &str = "RELAYWATCH__";

/// Puts the variables over the tree. Says which value each one set.
pub(super) fn apply(
    root: &mut Node,
    environment: impl IntoIterator<Item = (String, String)>,
    report: &mut Report,
) -> Vec<Override> {
    let given: Vec<_> = environment.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let mut misspelt: Vec<_> =
        given.iter().filter_map(|(name, _)| Some((name.clone(), with_two_underscores(name)?))).collect();
    misspelt.sort();
    let mut variables: Vec<_> = given.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    // What names a whole before what names a part of it, and a feed without a name before those with one.
    variables.sort_by_cached_key(|(name, _)| (name.matches("__").count(), name.clone()));
    let mut overrides = Vec::new();
    for (name, meant) in misspelt {
        let origin = Origin::Variable(name.as_str().into());
        let help = format!("did you mean {meant}? Two underscores part a setting's words");
        report.warning(&origin, "", "this variable sets nothing", Some(help));
    }
    for (name, value) in variables {
        let origin = Origin::Variable(name.as_str().into());
        let parts: Vec<&str> = name.strip_prefix(PREFIX).unwrap_or_default().split("__").collect();
        let setting = Setting { origin: &origin, value: &value };
        match setting.put(root, &Shape::new(&SCHEMA), &parts, "") {
            Ok(path) => overrides.push(Override { path, variable: name }),
            Err(Misfit { message, help, meant }) => {
                let help = match meant {
                    Some(meant) => {
                        Some(format!("did you mean {}?", with_part(&parts, meant.at_part(&parts), &meant.word)))
                    }
                    None => help,
                };
                report.error(&origin, &parts.join(".").to_lowercase(), message, help);
            }
        }
    }
    overrides
}

/// The variable that one with a single underscore somewhere is meant for: `RELAYWATCH_FEEDS_SES_TOPICS`.
fn with_two_underscores(name: &str) -> Option<String> {
    let text = name.strip_prefix("RELAYWATCH_").filter(|rest| !rest.starts_with('_'))?.to_lowercase();
    let mut rest = text.as_str();
    let mut shape = Some(Shape::new(&SCHEMA));
    let mut path = String::new();
    while let Some(here) = shape {
        let begins = |key: &&String| rest.strip_prefix(key.as_str()).is_some_and(|rest| rest.starts_with('_'));
        let keys = here.keys().into_iter().flat_map(serde_json::Map::keys);
        let Some(key) = keys.filter(begins).max_by_key(|key| key.len()) else { break };
        path = join(&path, key);
        rest = rest.strip_prefix(key.as_str())?.trim_start_matches('_');
        shape = here.key(key);
    }
    (!path.is_empty() && !rest.is_empty()).then(|| with_path(&join(&path, rest)))
}

/// The variable with one part put right.
fn with_part(parts: &[&str], index: usize, word: &str) -> String {
    let mut parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
    if let Some(part) = parts.get_mut(index) {
        *part = word.to_uppercase();
    }
    format!("{PREFIX}{}", parts.join("__"))
}

struct Setting<'a> {
    origin: &'a Origin,
    value: &'a str,
}

/// Why a variable sets nothing.
struct Misfit {
    message: String,
    help: Option<String>,
    meant: Option<Meant>,
}

/// What was meant in the part that has so many parts after it.
struct Meant {
    word: String,
    after: usize,
}

impl Meant {
    const fn at_part(&self, parts: &[&str]) -> usize {
        parts.len().saturating_sub(self.after + 1)
    }
}

impl Misfit {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: Some(help.into()), meant: None }
    }
}

impl Setting<'_> {
    /// Puts the value at `parts` below `node`, and gives the whole path.
    fn put(&self, node: &mut Node, shape: &Shape<'_>, parts: &[&str], path: &str) -> Result<String, Misfit> {
        let Some((first, rest)) = parts.split_first() else {
            return Err(Misfit::new(format!("`{path}` is a section"), "name a key of it"));
        };
        let key = first.to_lowercase();
        let Some(child_shape) = shape.key(&key) else {
            if shape.is_routes() && !rest.is_empty() {
                return self.put_in_named(node, shape, &key.replace('_', "-"), rest, path);
            }
            let candidates = shape.keys().into_iter().flat_map(serde_json::Map::keys).map(String::as_str);
            let meant = nearest_word(&key, candidates).map(|word| Meant { word: word.to_owned(), after: rest.len() });
            let place =
                if path.is_empty() { "no section".to_owned() } else { format!("no key of [{}]", readable(path)) };
            let help = Some("`relaywatch config default` shows every section and key".to_owned());
            return Err(Misfit { message: format!("unknown variable: `{key}` is {place}"), help, meant });
        };
        let node = single_entry(node, path)?;
        let Value::Table(table) = &mut node.value else {
            return Err(Misfit::new(
                format!("`{path}` is no table, so no key of it can be set"),
                "set it as a whole, as a TOML or JSON text",
            ));
        };
        let below = join(path, &key);
        if !rest.is_empty() {
            if child_shape.keys().is_none() && child_shape.items().is_some_and(|item| item.keys().is_some()) {
                return Err(Misfit::new(
                    format!("`{below}` is an array of tables"),
                    format!("set it as a whole: {} = '[{{ … }}]', in TOML or JSON", with_path(&below)),
                ));
            }
            let child = table.entry(key).or_insert_with(|| Node::empty_table(self.origin.clone()));
            return self.put(child, &child_shape, rest, &below);
        }
        // A secret from the environment replaces the file's `*_file`, and the other way round: the upper layer wins whole.
        let twin = key.strip_suffix("_file").map_or_else(|| format!("{key}_file"), str::to_owned);
        if shape.key(&twin).is_some() && !matches!(table.get(&twin).map(|node| &node.origin), Some(Origin::Variable(_)))
        {
            table.remove(&twin);
        }
        let mut child = self.read(&child_shape, &below)?;
        child.key = self.origin.clone();
        table.insert(key, child);
        Ok(below)
    }

    /// Puts the value in the feed of this name, which is made where it's not there yet.
    fn put_in_named(
        &self,
        node: &mut Node,
        shape: &Shape<'_>,
        name: &str,
        parts: &[&str],
        path: &str,
    ) -> Result<String, Misfit> {
        let before = std::mem::replace(&mut node.value, Value::Array(Vec::new()));
        let mut entries = match before {
            Value::Array(entries) => entries,
            Value::Table(keys) if !keys.is_empty() => vec![Node::new(node.origin.clone(), Value::Table(keys))],
            Value::Table(_) | Value::Leaf(_) => Vec::new(),
        };
        let found = entries.iter().position(|entry| entry.child("name").and_then(Node::text) == Some(name));
        let index = found.unwrap_or(entries.len());
        let mut entry = if found.is_some() {
            entries.remove(index)
        } else {
            let name = Node::new(self.origin.clone(), Value::Leaf(toml::Value::String(name.to_owned())));
            Node::new(self.origin.clone(), Value::Table(BTreeMap::from([("name".to_owned(), name)])))
        };
        let item = shape.items().unwrap_or_else(|| shape.clone());
        let result = self.put(&mut entry, &item, parts, &join(path, &index.to_string()));
        // A variable that sets nothing makes no feed either.
        if found.is_some() || result.is_ok() {
            entries.insert(index, entry);
        }
        node.value = Value::Array(entries);
        result
    }

    fn read(&self, shape: &Shape<'_>, path: &str) -> Result<Node, Misfit> {
        let text = self.value.trim();
        let structured = (text.starts_with('[') && shape.is("array")) || (text.starts_with('{') && shape.is("object"));
        if structured {
            let value = from_toml_text(text).or_else(|| from_json_text(text)).ok_or_else(|| {
                Misfit::new(format!("the value of `{path}` is neither TOML nor JSON"), "check brackets and quotes")
            })?;
            return Ok(Node::from_toml(value, self.origin));
        }
        let leaf = |value| Node::new(self.origin.clone(), Value::Leaf(value));
        if let Some(item) = shape.items()
            && item.is("string")
        {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            let items = items.map(|item| leaf(toml::Value::String(item.to_owned()))).collect();
            return Ok(Node::new(self.origin.clone(), Value::Array(items)));
        }
        // What can't be read as its kind stays a text; the check of shapes then says what was expected.
        Ok(leaf(match text {
            "true" | "false" if shape.is("boolean") => toml::Value::Boolean(text == "true"),
            _ if shape.is("integer") => {
                text.parse().map_or_else(|_| toml::Value::String(text.to_owned()), toml::Value::Integer)
            }
            _ => toml::Value::String(self.value.to_owned()),
        }))
    }
}

fn with_path(path: &str) -> String {
    format!("{PREFIX}{}", path.to_uppercase().replace('.', "__"))
}

fn from_toml_text(text: &str) -> Option<toml::Value> {
    let document: toml::Table = format!("value = {text}").parse().ok()?;
    // Exactly one value: a line break must not smuggle in more.
    if document.len() == 1 { document.into_iter().next().map(|(_, value)| value) } else { None }
}

fn from_json_text(text: &str) -> Option<toml::Value> {
    toml::Value::try_from(serde_json::from_str::<serde_json::Value>(text).ok()?).ok()
}

/// The table that a key without a feed's name means.
fn single_entry<'n>(node: &'n mut Node, path: &str) -> Result<&'n mut Node, Misfit> {
    let Value::Array(entries) = &node.value else { return Ok(node) };
    let unnamed: Vec<usize> =
        entries.iter().enumerate().filter(|(_, entry)| entry.child("name").is_none()).map(|(index, _)| index).collect();
    let misfit = || {
        Misfit::new(
            format!("the feeds of `{path}` have names, and the variable does not say which is meant"),
            format!("put the feed's name before the key: {}__NAME__KEY", with_path(path)),
        )
    };
    let [index] = unnamed.as_slice() else { return Err(misfit()) };
    let Value::Array(entries) = &mut node.value else { return Err(misfit()) };
    entries.get_mut(*index).ok_or_else(misfit)
}

/// The variables of this process that are Unicode; no setting needs another.
pub(super) fn process_environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

//! The settings as a tree in which every value knows where it was written, so that every mistake can show its line.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use toml::de::{DeTable, DeValue};

use super::forms::is_feed_name;

/// Where a key or a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// In the file, at these bytes.
    Span(Range<usize>),
    /// In the environment variable of this name.
    Variable(Arc<str>),
    /// Nowhere: a default.
    Default,
}

/// A value with its origin. It has no `Debug`, since it can hold secrets.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) key: Origin,
    pub(super) origin: Origin,
    pub(super) value: Value,
}

#[derive(Clone)]
pub(super) enum Value {
    Table(BTreeMap<String, Node>),
    Array(Vec<Node>),
    Leaf(toml::Value),
}

impl Value {
    /// What kind of value it is, for people.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Table(_) => "a table",
            Self::Array(_) => "an array",
            Self::Leaf(toml::Value::String(_)) => "a text",
            Self::Leaf(toml::Value::Integer(_)) => "a whole number",
            Self::Leaf(toml::Value::Float(_)) => "a number with a fraction",
            Self::Leaf(toml::Value::Boolean(_)) => "true or false",
            Self::Leaf(_) => "a date",
        }
    }
}

impl Node {
    pub(super) const fn new(origin: Origin, value: Value) -> Self {
        Self { key: Origin::Default, origin, value }
    }

    pub(super) const fn empty_table(origin: Origin) -> Self {
        Self::new(origin, Value::Table(BTreeMap::new()))
    }

    /// A parsed document.
    pub(super) fn from_document(table: &DeTable<'_>, span: Range<usize>) -> Self {
        Self::new(Origin::Span(span), table_value(table))
    }

    /// A value without spans, all of one origin.
    pub(super) fn from_toml(value: toml::Value, origin: &Origin) -> Self {
        let value = match value {
            toml::Value::Table(table) => Value::Table(
                table
                    .into_iter()
                    .map(|(key, value)| {
                        let mut node = Self::from_toml(value, origin);
                        node.key = origin.clone();
                        (key, node)
                    })
                    .collect(),
            ),
            toml::Value::Array(items) => {
                Value::Array(items.into_iter().map(|item| Self::from_toml(item, origin)).collect())
            }
            leaf => Value::Leaf(leaf),
        };
        Self::new(origin.clone(), value)
    }

    /// The tree as plain TOML.
    pub(super) fn to_toml(&self) -> toml::Value {
        match &self.value {
            Value::Table(table) => {
                toml::Value::Table(table.iter().map(|(key, node)| (key.clone(), node.to_toml())).collect())
            }
            Value::Array(items) => toml::Value::Array(items.iter().map(Self::to_toml).collect()),
            Value::Leaf(leaf) => leaf.clone(),
        }
    }

    pub(super) fn child(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Table(table) => table.get(key),
            Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            Value::Leaf(_) => None,
        }
    }

    /// The keys of a table with what stands there.
    pub(super) fn children(&self) -> impl Iterator<Item = (&str, &Self)> {
        let table = match &self.value {
            Value::Table(table) => Some(table),
            Value::Array(_) | Value::Leaf(_) => None,
        };
        table.into_iter().flatten().map(|(key, node)| (key.as_str(), node))
    }

    pub(super) fn child_mut(&mut self, key: &str) -> Option<&mut Self> {
        match &mut self.value {
            Value::Table(table) => table.get_mut(key),
            Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
            Value::Leaf(_) => None,
        }
    }

    /// The steps of a path without indices into what is a single table.
    pub(super) fn canonical(&self, path: &str) -> String {
        let mut node = Some(self);
        let mut steps = Vec::new();
        for step in path.split('.') {
            let index = step.parse::<usize>().is_ok();
            if index && node.is_some_and(|node| matches!(node.value, Value::Table(_))) {
                continue;
            }
            node = node.and_then(|node| node.child(step));
            steps.push(step);
        }
        steps.join(".")
    }

    /// A path as the operator writes it: a feed without an index where it's the one table of its kind, and by its name where
    /// it has one.
    pub(super) fn written(&self, path: &str) -> String {
        let mut node = Some(self);
        let mut steps = Vec::new();
        for (depth, step) in path.split('.').enumerate() {
            let index = step.parse::<usize>().is_ok();
            if index && node.is_some_and(|node| matches!(node.value, Value::Table(_))) {
                continue;
            }
            node = node.and_then(|node| node.child(step));
            let feed = index && depth == 2 && steps.first() == Some(&"feeds");
            let name = node.and_then(|node| node.child("name")).and_then(Self::text);
            // What can't be a feed's name is not shown as one.
            let name = name.filter(|name| feed && is_feed_name(name));
            steps.push(name.unwrap_or(step));
        }
        steps.join(".")
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Leaf(toml::Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The node at a dotted path, or the nearest one above it that was written. An index into what is a single table
    /// stays at the table: `feeds.ses.0` is `[feeds.ses]` too.
    pub(super) fn nearest(&self, path: &str) -> &Self {
        let mut node = self;
        for step in path.split('.') {
            match node.child(step) {
                Some(child) => node = child,
                None if step.parse::<usize>().is_ok() && matches!(node.value, Value::Table(_)) => {}
                None => break,
            }
        }
        node
    }
}

fn table_value(table: &DeTable<'_>) -> Value {
    Value::Table(
        table
            .iter()
            .map(|(key, value)| {
                let mut node = Node::new(Origin::Span(value.span()), value_of(value.get_ref()));
                node.key = Origin::Span(key.span());
                (key.get_ref().to_string(), node)
            })
            .collect(),
    )
}

fn value_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Leaf(toml::Value::String(text.to_string())),
        // A number beyond 64 bits stays a text, which the shape then refuses.
        DeValue::Integer(number) => Value::Leaf(
            i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| toml::Value::String(number.to_string()), toml::Value::Integer),
        ),
        DeValue::Float(number) => Value::Leaf(
            number
                .as_str()
                .parse()
                .map_or_else(|_| toml::Value::String(number.as_str().to_owned()), toml::Value::Float),
        ),
        DeValue::Boolean(value) => Value::Leaf(toml::Value::Boolean(*value)),
        DeValue::Datetime(value) => Value::Leaf(toml::Value::Datetime(*value)),
        DeValue::Array(items) => Value::Array(
            items.iter().map(|item| Node::new(Origin::Span(item.span()), value_of(item.get_ref()))).collect(),
        ),
        DeValue::Table(table) => table_value(table),
    }
}

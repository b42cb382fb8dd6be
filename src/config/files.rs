//! Files that the configuration names: relative paths become absolute, secrets are read.

use std::{
    io::{ErrorKind, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    report::Report,
    shape::{Shape, join},
    tree::{Node, Value},
    values::format,
};

/// No secret is longer than this.
const MAX_SECRET_BYTES: u64 = 65_536;
const STAND_IN: &str = "https://unreadable.invalid/";
const STORE_STAND_IN: &str = "sqlite:///unreadable";

/// Makes every path absolute from `base`, and puts the content of each `*_file` in the place of its secret.
pub(super) fn resolve(node: &mut Node, shape: &Shape<'_>, base: &Path, path: &str, report: &mut Report) {
    match &mut node.value {
        Value::Array(items) => {
            let Some(shape) = shape.items() else { return };
            for (index, item) in items.iter_mut().enumerate() {
                resolve(item, &shape, base, &join(path, &index.to_string()), report);
            }
        }
        Value::Table(table) => {
            for (key, child) in table.iter_mut() {
                if let Some(shape) = shape.key(key) {
                    resolve(child, &shape, base, &join(path, key), report);
                }
            }
            for key in shape.keys().into_iter().flat_map(serde_json::Map::keys) {
                let Some(file) = table.get(&format!("{key}_file")) else { continue };
                let Some(secret) = shape.key(key).filter(Shape::is_secret) else { continue };
                let below = join(path, &format!("{key}_file"));
                if table.contains_key(key) {
                    report.error(
                        &file.key,
                        &below,
                        format!("both `{key}` and `{key}_file` are given"),
                        Some("keep one of them".to_owned()),
                    );
                    continue;
                }
                let Some(name) = file.text() else { continue };
                match read_secret(Path::new(name)) {
                    Ok((secret, open_to_all)) => {
                        if open_to_all {
                            report.warning(
                                &file.origin,
                                &below,
                                format!("every user of this machine can read {name}"),
                                Some(format!("chmod o-r {name}")),
                            );
                        }
                        let node = Node::new(file.origin.clone(), Value::Leaf(toml::Value::String(secret)));
                        table.insert(key.clone(), node);
                    }
                    Err(error) => {
                        report.wrong_value(&file.origin, &below, format!("{name}: {error}"), error.help(key));
                        // Nothing starts with this error; a stand-in keeps the later checks from calling it missing too.
                        let text = if secret.format() == Some(format::SECRET) { STAND_IN } else { STORE_STAND_IN };
                        let node = Node::new(file.origin.clone(), Value::Leaf(toml::Value::String(text.to_owned())));
                        table.insert(key.clone(), node);
                    }
                }
            }
        }
        Value::Leaf(toml::Value::String(text)) if shape.format() == Some(format::PATH) => {
            let given = PathBuf::from(&*text);
            if given.is_relative()
                && let Some(absolute) = base.join(given).to_str()
            {
                absolute.clone_into(text);
            }
        }
        Value::Leaf(_) => {}
    }
}

#[derive(Debug, thiserror::Error)]
enum SecretFileError {
    #[error("cannot read the secret: {0}")]
    Io(#[from] std::io::Error),
    #[error("the secret's file is empty")]
    Empty,
    #[error("the secret's file is longer than {MAX_SECRET_BYTES} bytes; is it the right one?")]
    TooLong,
}

impl SecretFileError {
    /// What to do.
    fn help(&self, key: &str) -> Option<String> {
        let Self::Io(error) = self else { return None };
        match error.kind() {
            ErrorKind::NotFound => Some(format!(
                "put the file back, or point `{key}_file` at it; where the secret is lost, make a new one at both ends"
            )),
            ErrorKind::PermissionDenied => Some("let relaywatch's user read it, and nobody else".to_owned()),
            _ => None,
        }
    }
}

/// The secret, without one newline at its end, and whether every user may read the file.
fn read_secret(file: &Path) -> Result<(String, bool), SecretFileError> {
    let open = std::fs::File::open(file)?;
    let metadata = open.metadata()?;
    let mut text = String::new();
    open.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SECRET_BYTES {
        return Err(SecretFileError::TooLong);
    }
    let secret = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if secret.trim().is_empty() {
        return Err(SecretFileError::Empty);
    }
    Ok((secret.to_owned(), metadata.permissions().mode() & 0o004 != 0))
}

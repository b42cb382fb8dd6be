//! Kinds of values: secrets that do not print, paths, socket addresses, the store's URL.

use std::{borrow::Cow, fmt, net::SocketAddr, path::PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

/// What stands in a secret's place wherever it would be shown.
pub const MASK: &str = "********";

/// The JSON Schema formats by which the passes over the tree tell kinds of values apart.
pub(super) mod format {
    pub(in crate::config) const SECRET: &str = "password";
    pub(in crate::config) const STORE_URL: &str = "store-url";
    pub(in crate::config) const PATH: &str = "path";
    pub(in crate::config) const SOCKET_ADDRESS: &str = "socket-address";
    pub(in crate::config) const URL: &str = "uri";
}

macro_rules! text_schema {
    ($type:ty, $name:literal, $format:expr) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format })
            }
        }
    };
}

/// A secret: it prints, and is written, as [`MASK`]. Where the configuration names a file, it's the file's content.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(SecretString);
text_schema!(Secret, "Secret", format::SECRET);

impl Secret {
    /// A secret of this text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The secret in the clear, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.expose().as_bytes(), other.expose().as_bytes()).is_ok()
    }
}

impl Eq for Secret {}

/// A file. In the configuration it's relative to the configuration file's folder; once loaded it's not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FilePath(pub PathBuf);
text_schema!(FilePath, "FilePath", format::PATH);

impl AsRef<std::path::Path> for FilePath {
    fn as_ref(&self) -> &std::path::Path {
        &self.0
    }
}

/// An IP address and a port on which to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ListenAddress(pub SocketAddr);
text_schema!(ListenAddress, "ListenAddress", format::SOCKET_ADDRESS);

/// A URL that holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(pub url::Url);
text_schema!(PublicUrl, "PublicUrl", format::URL);

impl Serialize for PublicUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for PublicUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        url::Url::parse(&text).map(Self).map_err(|_| serde::de::Error::custom("no URL"))
    }
}

/// Where the store is. It prints and is written with its password masked.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct StoreUrl(SecretString);
text_schema!(StoreUrl, "StoreUrl", format::STORE_URL);

impl StoreUrl {
    /// A store's URL.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The URL with its password, for the driver.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether it names a SQLite file.
    #[must_use]
    pub fn is_sqlite(&self) -> bool {
        self.expose().starts_with("sqlite:")
    }

    /// The SQLite file, where it names one.
    #[must_use]
    pub fn sqlite_file(&self) -> Option<PathBuf> {
        let rest = self.expose().strip_prefix("sqlite:")?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let file = rest.split('?').next().unwrap_or_default();
        (!file.is_empty() && file != ":memory:").then(|| PathBuf::from(file))
    }
}

impl PartialEq for StoreUrl {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for StoreUrl {}

impl fmt::Display for StoreUrl {
    /// The URL without its password and without its parameters, which can hold one too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_sqlite() {
            return f.write_str(self.expose());
        }
        match url::Url::parse(self.expose()) {
            Ok(mut url) => {
                if url.password().is_some() && url.set_password(Some(MASK)).is_err() {
                    return f.write_str(MASK);
                }
                if url.query().is_some() {
                    url.set_query(Some(MASK));
                }
                f.write_str(url.as_str())
            }
            Err(_) => f.write_str(MASK),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for StoreUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_print() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), format!("{MASK} {MASK}"));
        assert_eq!(serde_json::to_value(&secret).expect("serialises"), MASK);
        assert_eq!(secret, Secret::new("hunter2"));
        assert_ne!(secret, Secret::new("hunter3"));
    }

    #[test]
    fn the_stores_password_does_not_print() {
        let url = StoreUrl::new("postgres://relaywatch:hunter2@db.example/relaywatch?password=hunter2");
        assert!(!url.to_string().contains("hunter2"), "{url}");
        assert!(url.to_string().starts_with("postgres://relaywatch:"), "{url}");
        assert!(!format!("{:?}", StoreUrl::new("post gres://a:hunter2@b")).contains("hunter2"));
    }

    #[test]
    fn a_sqlite_url_names_its_file() {
        let file = |url: &str| StoreUrl::new(url).sqlite_file();
        assert_eq!(file("sqlite:///var/lib/relaywatch/r.db?mode=rwc"), Some("/var/lib/relaywatch/r.db".into()));
        assert_eq!(file("sqlite:r.db"), Some("r.db".into()));
        assert_eq!(file("sqlite::memory:"), None);
        assert_eq!(file("postgres://db/relaywatch"), None);
    }
}

//! What is wrong with a store's URL. Nothing of it is shown but its scheme and the names of its options: what comes after the
//! scheme may be a password, also in a place where none belongs.

use url::{ParseError, Url, form_urlencoded};

use super::{forms::foreign_store, shape::nearest_word, values::StoreUrl};

const NO_URL: &str = "write it as \"postgres://user@host/database\"; percent-encode odd characters of a password";
const NO_HOST: &str = "write it as \"postgres://user@host/database\"; a Unix socket by its folder: \
                       \"postgres://user@%2Frun%2Fpostgresql/database\"";
const NO_FILE: &str = "write sqlite:// and the file's absolute path: \"sqlite:///var/lib/relaywatch/relaywatch.db\"";
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
/// The options that the PostgreSQL driver knows (sqlx 0.9, `PgConnectOptions`); it passes over any other.
const POSTGRES_OPTIONS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
/// The options that the SQLite driver knows (sqlx 0.9, `SqliteConnectOptions`).
const SQLITE_OPTIONS: [&str; 4] = ["mode", "cache", "immutable", "vfs"];

/// What is wrong, each with what to write.
pub(super) fn check(url: &StoreUrl) -> Vec<(String, String)> {
    let scheme = url.expose().split(':').next().unwrap_or_default();
    match scheme {
        "sqlite" => sqlite(url),
        "postgres" | "postgresql" => postgres(url.expose()),
        scheme => vec![foreign_store(scheme, url.expose())],
    }
}

fn told(message: impl Into<String>, help: impl Into<String>) -> (String, String) {
    (message.into(), help.into())
}

/// A value that an option can't have.
fn value(option: &str, help: &str) -> (String, String) {
    told(format!("`store.url`: the option `{option}` can't have this value"), help)
}

/// An option that the driver does not know. Where the query holds an @, it's rather the end of a password that isn't
/// percent-encoded, and is not shown.
fn unknown(option: &str, query: &str, known: &[&str], listed: &str) -> (String, String) {
    let is_word = (1..=40).contains(&option.len())
        && option.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        && !query.contains('@')
        && !query.to_ascii_lowercase().contains("%40");
    if !is_word {
        return told(
            "`store.url` has an option after its ? that is not known",
            format!("percent-encode odd characters of a password (a ? is %3F); the options are {listed}"),
        );
    }
    let help = match nearest_word(option, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("remove it; the options are {listed}"),
    };
    told(format!("`store.url` has the option `{option}`, which is not known"), help)
}

fn sqlite(url: &StoreUrl) -> Vec<(String, String)> {
    if url.sqlite_file().is_none() {
        return vec![told("`store.url` names no file", NO_FILE)];
    }
    let query = url.expose().split_once('?').map_or("", |(_, query)| query);
    let wrong = |(key, given): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| match (&*key, &*given) {
        ("mode", "rw" | "rwc") | ("cache", "private" | "shared") | ("immutable", "false" | "0") | ("vfs", _) => None,
        ("mode", _) => Some(value("mode", "leave it out: relaywatch writes the file and makes it where it's missing")),
        ("cache", _) => Some(value("cache", "write `private`, or leave it out")),
        ("immutable", _) => Some(value("immutable", "leave it out: relaywatch writes the file")),
        (key, _) => Some(unknown(key, query, &SQLITE_OPTIONS, "mode, cache and vfs")),
    };
    form_urlencoded::parse(query.as_bytes()).filter_map(wrong).collect()
}

fn postgres(text: &str) -> Vec<(String, String)> {
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(ParseError::EmptyHost) => return vec![told("`store.url` names no host", NO_HOST)],
        Err(_) => return vec![told("`store.url` is no URL", NO_URL)],
    };
    let query = url.query().unwrap_or_default();
    let mut wrong = Vec::new();
    let by_option = |name: &str| url.query_pairs().any(|(key, value)| key == name && !value.is_empty());
    if url.host_str().is_none_or(str::is_empty) && !by_option("host") && !by_option("hostaddr") {
        wrong.push(told("`store.url` names no host", NO_HOST));
    }
    for (key, given) in url.query_pairs() {
        match &*key {
            "sslmode" | "ssl-mode" if !SSL_MODES.contains(&given.to_ascii_lowercase().as_str()) => {
                wrong.push(value(&key, &format!("write one of {}", SSL_MODES.join(", "))));
            }
            "port" if given.parse::<u16>().is_err() => wrong.push(value("port", "write a number from 1 to 65535")),
            "hostaddr" if given.parse::<std::net::IpAddr>().is_err() => {
                wrong.push(value("hostaddr", "write an IP address, or use `host`"));
            }
            "statement-cache-capacity" if given.parse::<usize>().is_err() => {
                wrong.push(value(&key, "write a whole number, or leave it out"));
            }
            known if POSTGRES_OPTIONS.contains(&known) => {}
            known if known.starts_with("options[") && known.ends_with(']') => {}
            other => {
                wrong.push(unknown(other, query, &POSTGRES_OPTIONS, "those of libpq, such as sslmode and sslrootcert"));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(url: &str) -> String {
        let found = check(&StoreUrl::new(url));
        found.iter().map(|(message, help)| format!("{message}: {help}")).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_a_driver_takes_is_taken() {
        for url in [
            "sqlite:///var/lib/relaywatch/relaywatch.db",
            "sqlite:r.db?mode=rwc&cache=private",
            "postgres://db/relaywatch",
            "postgresql://me:hunter2@db:5432/relaywatch?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgres://me@%2Frun%2Fpostgresql/relaywatch",
            "postgres:///relaywatch?host=/run/postgresql&options[search_path]=relaywatch",
            "postgres://db/relaywatch?SSLMODE=require".replace("SSLMODE", "sslmode").as_str(),
        ] {
            assert_eq!(said(url), "", "{url}");
        }
    }

    #[test]
    fn what_a_driver_would_refuse_or_pass_over_is_refused_with_what_to_write() {
        for (url, words) in [
            ("postgres://", "names no host: write it as"),
            ("postgres:///relaywatch", "names no host"),
            ("postgres://me:hunter2@/relaywatch", "names no host"),
            ("postgres://db:port/relaywatch", "is no URL"),
            ("postgres://db/r?sslmode=bogus", "`sslmode` can't have this value: write one of disable, allow"),
            ("postgres://db/r?sslmod=require", "`sslmod`, which is not known: did you mean `sslmode`?"),
            ("postgres://db/r?zebra=1", "`zebra`, which is not known: remove it"),
            ("postgres://db/r?port=99999", "`port` can't"),
            ("postgres://db/r?hostaddr=db", "an IP address"),
            ("sqlite:///r.db?mode=memory", "`mode` can't have this value: leave it out"),
            ("sqlite:///r.db?mode=ro", "`mode` can't"),
            ("sqlite:///r.db?immutable=1", "writes the file"),
            ("sqlite:///r.db?cach=shared", "did you mean `cache`?"),
            (
                "sqlite:///r.db?journal=wal",
                "`journal`, which is not known: remove it; the options are mode, cache and vfs",
            ),
        ] {
            assert!(said(url).contains(words), "{url}: {}", said(url));
        }
        let both = said("postgres:///r?sslmode=bogus");
        assert!(both.contains("no host") && both.contains("sslmode"), "all at once: {both}");
    }

    #[test]
    fn no_password_is_shown_wherever_it_ends_up() {
        for url in [
            "postgres://me:hunter2@/r",
            "postgres://me:12?hunter2=x@db/r",
            "postgres://me:12?hunter2=x%40db/r",
            "postgres://me:12?hunter2@db/r",
            "postgres://db/r?password=hunter2&sslmode=hunter2",
            "postgres://db/r?port=hunter2",
            "postgres://me:hun/ter2@db/r",
        ] {
            let said = said(url);
            assert!(!said.contains("hunter2") && !said.contains("ter2"), "{url}: {said}");
        }
    }
}

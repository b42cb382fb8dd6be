//! Who does what a command changes: one name for the journal, with one default.

use std::os::unix::fs::MetadataExt;

use clap::Args;

/// Who answers for what the command does.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Who {
    /// Who does it, for the journal; by default the name of the user (behind sudo, of who called it).
    #[arg(long, alias = "by", value_name = "NAME")]
    operator: Option<String>,
}

impl Who {
    /// The name.
    pub(super) fn name(&self) -> String {
        self.operator.clone().unwrap_or_else(|| by_default(|name| std::env::var(name).ok(), || whoami::username().ok()))
    }
}

/// Who runs the command: as the environment says, else as the system's list of users has it, else the user's number.
fn by_default(variable: impl Fn(&str) -> Option<String>, listed: impl Fn() -> Option<String>) -> String {
    // The journal takes no address: of `jo@example.com` it gets the first part.
    let plain = |name: String| name.split('@').next().filter(|name| !name.is_empty()).map(ToOwned::to_owned);
    let told = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| plain(variable(name)?));
    told.or_else(|| plain(listed()?)).unwrap_or_else(|| {
        // The owner of /proc/self is the user of this process.
        let user = std::fs::metadata("/proc/self").map(|metadata| metadata.uid());
        user.map_or_else(|_| "unknown".to_owned(), |user| format!("uid {user}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_called_sudo_answers_for_it() {
        let both = |name: &str| match name {
            "SUDO_USER" => Some("jo@corp.example".to_owned()),
            "USER" => Some("root".to_owned()),
            _ => None,
        };
        assert_eq!(by_default(both, || None), "jo");
        assert_eq!(by_default(|name| (name == "LOGNAME").then(|| "kim".to_owned()), || None), "kim");
        let empty = |_: &str| Some(String::new());
        assert_eq!(by_default(empty, || Some("root".to_owned())), "root", "an empty $USER is none");
        assert!(by_default(empty, || None).starts_with("uid "));
        let given = Who { operator: Some("Jo Example".to_owned()) };
        assert_eq!(given.name(), "Jo Example");
    }
}

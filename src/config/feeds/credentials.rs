//! The credentials of feeds whose providers sign nothing.

use super::super::{validate::Checks, values::Secret};

/// Credentials as a feed's table names them.
pub(super) struct Credentials<'a> {
    /// The provider, as people write it.
    pub(super) provider: &'static str,
    pub(super) username: Option<&'a String>,
    pub(super) password: Option<&'a Secret>,
    pub(super) token: Option<&'a Secret>,
    pub(super) header: Option<&'a String>,
}

impl Credentials<'_> {
    /// Finds what makes no sense in them.
    pub(super) fn check(&self, path: &str, checks: &mut Checks<'_>) {
        if self.username.is_some() != self.password.is_some() {
            checks.error(path, "`username` and `password` go together", "set both, or `token` alone");
        } else if self.password.is_none() && self.token.is_none() {
            checks.error(
                path,
                format!("the {} feed has no credentials, so anybody could post to it", self.provider),
                "set `username` and `password_file`, or `token_file` (with `header`, where it's not `Authorization: Bearer`)",
            );
        }
        if self.header.is_some() && self.token.is_none() {
            checks.error(
                &format!("{path}.header"),
                "`header` names where `token` is, and there is none",
                "set `token_file`",
            );
        }
        checks.token(&format!("{path}.password"), self.password);
        checks.token(&format!("{path}.token"), self.token);
    }
}

//! Where a repository is and who asks for it.

use syncline_egress::RemoteUrl;
use syncline_seams::Secret;

use crate::ssh::SshAccess;

/// A user name and password (or token) for HTTP Basic authentication; without a user name, a bearer token (RFC 6750).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The user name; forges that only look at the token take anything. Empty for a bearer token.
    pub username: String,
    /// The password or token.
    pub password: Secret,
}

/// A repository as one connection sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Where it is.
    pub url: RemoteUrl,
    /// Who asks; `None` for public repositories.
    pub credential: Option<Credential>,
    /// Who asks, and what the host is known by, where the URL is one of SSH.
    pub ssh: Option<SshAccess>,
    /// Certificates in PEM trusted for this remote, beside the machine's own roots.
    pub extra_root_pem: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_printed() {
        let credential = Credential { username: "u".into(), password: Secret::new("hunter2") };
        assert_eq!(format!("{credential:?}"), "Credential { username: \"u\", password: *** }");
    }
}

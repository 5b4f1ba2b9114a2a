//! Is a token one, and whose?

use serde::Deserialize;

use super::access::Access;
use super::question::{Question, segment};
use super::refusal::Refusal;
use crate::Forge;

/// How each forge names whoever a token belongs to.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Account {
    login: Option<String>,
    username: Option<String>,
    #[serde(rename = "display_name")]
    shown_name: Option<String>,
    authenticated_user: Option<Box<Account>>,
    provider_display_name: Option<String>,
}

impl Account {
    fn name(self) -> Option<String> {
        let inner = self.authenticated_user.and_then(|account| account.name());
        self.login.or(self.username).or(self.shown_name).or(self.provider_display_name).or(inner)
    }
}

/// Asks whose the token is. Azure DevOps' tokens are good for one organization, which has to be named; the others take
/// none. `None` for type `Git`, which has nobody to ask, and where the organization is missing.
#[must_use]
pub fn whoami(access: &Access, organization: Option<&str>) -> Option<Question<String>> {
    let path = match access.forge() {
        Forge::GitHub | Forge::GitLab | Forge::Bitbucket | Forge::Gitea => "/user".to_owned(),
        Forge::AzureDevOps => {
            format!("/{}/_apis/connectionData?api-version=7.1-preview.1", segment(organization?))
        }
        Forge::Git => return None,
    };
    let nobody = || Refusal::Unavailable("its answer names no account".to_owned());
    let whose = access.get::<Account>("forges.whoami", &path);
    Some(whose.and_then(move |account| account.name().ok_or_else(nobody)))
}

/// Whether a refusal of [`whoami`] says that the forge knows the token, which may not ask whose it is: one that may only
/// read repositories, or that of an installation, a repository or a workspace, which is nobody's.
#[must_use]
pub fn is_only_narrow(forge: Forge, refusal: &Refusal) -> bool {
    let Refusal::Forbidden(said) = refusal else { return false };
    let words: &[&str] = match forge {
        Forge::GitHub => &["Resource not accessible by"],
        Forge::GitLab => &["insufficient_scope"],
        Forge::Gitea => &["required scope"],
        Forge::Bitbucket => &["privilege scopes", "only accessible with the following authentication types"],
        Forge::AzureDevOps | Forge::Git => &[],
    };
    words.iter().any(|word| said.contains(word))
}

//! The kinds of forges, and what each has to be told to send.

/// A kind of forge, as far as its webhooks go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forge {
    /// Azure DevOps.
    AzureDevOps,
    /// Bitbucket Cloud.
    Bitbucket,
    /// Whoever signs a body: any Git server's hook, a script, `curl`.
    Git,
    /// GitHub and GitHub Enterprise Server.
    GitHub,
    /// GitLab.com and self-managed GitLab.
    GitLab,
    /// Gitea and Forgejo.
    Gitea,
}

impl Forge {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::AzureDevOps, Self::Bitbucket, Self::Git, Self::GitHub, Self::GitLab, Self::Gitea];

    /// The forge of a provider type of the API.
    #[must_use]
    pub fn of_provider_type(provider_type: &str) -> Option<Self> {
        Some(match provider_type {
            "AzureDevOps" => Self::AzureDevOps,
            "Bitbucket" => Self::Bitbucket,
            "Git" => Self::Git,
            "GitHub" | "GitHubEnterpriseServer" => Self::GitHub,
            "GitLab" | "GitLabSelfManaged" => Self::GitLab,
            "Gitea" => Self::Gitea,
            _ => return None,
        })
    }

    /// The events that it is to send, in its own words.
    #[must_use]
    pub fn events(self) -> &'static [&'static str] {
        match self {
            // One subscription for each event: pull requests are asked for now and then.
            Self::AzureDevOps => &["git.push"],
            Self::Bitbucket => &[
                "repo:push",
                "pullrequest:created",
                "pullrequest:updated",
                "pullrequest:fulfilled",
                "pullrequest:rejected",
            ],
            Self::Git => &["push"],
            Self::GitHub => &["push", "pull_request"],
            Self::GitLab => &["Push Hook", "Merge Request Hook"],
            // It tells of a deleted branch by an event of its own, and of a push to a pull request, too.
            Self::Gitea => &["push", "create", "delete", "pull_request", "pull_request_sync"],
        }
    }
}

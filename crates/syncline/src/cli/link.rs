//! `syncline link`: webhooks of repository links.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};
use syncline_seams::Secret;

use super::client::{KEY_HELP, ServerArgs};
use super::terminal::{self, BAD, BOLD, GOOD, paint};
use crate::config::parse_duration;
use crate::running::Seams;

/// The subcommands of `syncline link`.
#[derive(Debug, Subcommand)]
pub(super) enum LinkCommand {
    /// Make a link's webhook, or give it another secret; has the forge told, or shows what to tell it, this once.
    Webhook(Webhook),
}

/// The flags of `syncline link webhook`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct Webhook {
    /// The repository link's ARN, or the id it ends with.
    #[arg(value_name = "ARN-OR-ID")]
    link: String,
    /// How long the secret before this one goes on counting, such as 1h; a day unless said otherwise, at most a week.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "no_overlap")]
    overlap: Option<Duration>,
    /// The secret before this one ends at once.
    #[arg(long)]
    no_overlap: bool,
    /// Have the forge told by its API, with the connection's token, now and whenever the secret changes. Where that does not
    /// work, shows what to do instead.
    #[arg(long)]
    register: bool,
    /// Print the server's answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// What the server answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    url: String,
    secret: Option<Secret>,
    events: Vec<String>,
    provider_type: String,
    repository: String,
    previous_secret_until: Option<String>,
    #[serde(default)]
    registered: bool,
    #[serde(default)]
    registration_error: Option<String>,
    #[serde(default)]
    note: Option<String>,
}

pub(super) async fn run(command: LinkCommand, seams: &Seams) -> anyhow::Result<ExitCode> {
    let LinkCommand::Webhook(args) = command;
    let id = link_id(&args.link)?;
    let overlap = if args.no_overlap { Some(0) } else { args.overlap.map(|overlap| overlap.as_secs()) };
    let mut asked = serde_json::Map::new();
    asked.extend(overlap.map(|seconds| ("overlapSeconds".to_owned(), json!(seconds))));
    asked.extend(args.register.then(|| ("register".to_owned(), json!(true))));
    let body = if asked.is_empty() { Vec::new() } else { serde_json::to_vec(&asked)? };
    let client = args.server.client(seams).await?;
    let path = format!("/repository-links/{id}/webhook");
    // The webhook is made, but the forge does not know of it, as was asked for now or once.
    let status = |is_unknown| if is_unknown { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    if args.json {
        let answer: Value = client.post(&path, body.into()).await?;
        terminal::print(&format!("{answer:#}\n"))?;
        return Ok(status(answer.get("registrationError").is_some()));
    }
    let made: Made = client.post(&path, body.into()).await?;
    let mut aside = String::new();
    if let Some(note) = &made.note {
        aside.push_str(&format!("{} {}\n\n", paint(BAD, "Mind:"), terminal::plain(note)));
    }
    if let Some(error) = &made.registration_error {
        let title = paint(BAD, "The forge does not know of it:");
        aside.push_str(&format!("{title} {}\nTry again, or do it by hand:\n\n", terminal::plain(error)));
    }
    terminal::print_aside(&aside)?;
    terminal::print(&format!("{}     {}\n", paint(BOLD, "URL"), terminal::plain(&made.url)))?;
    let mut aside = String::new();
    if let Some(secret) = &made.secret {
        terminal::print(&format!("{}  {}\n", paint(BOLD, "Secret"), terminal::plain(secret.expose())))?;
        let title = paint(BOLD, "Nobody is shown the secret again. What to do with it:");
        aside.push_str(&format!("\n{title}\n"));
        for line in recipe(&made) {
            aside.push_str(&format!("{}\n", terminal::plain(&line)));
        }
    }
    if made.registered {
        let (kind, repository) = (terminal::plain(&made.provider_type), terminal::plain(&made.repository));
        let events = terminal::plain(&made.events.join(", "));
        let done = paint(GOOD, "Registered");
        aside.push_str(&format!("{done} at {kind} for {repository}, events: {events}.\n"));
    }
    if let Some(until) = &made.previous_secret_until {
        aside.push_str(&format!("\nThe secret before this one counts until {}.\n", terminal::plain(until)));
    }
    terminal::print_aside(&aside)?;
    Ok(status(made.registration_error.is_some()))
}

/// The id in `arn:…:repository-link/<id>`, or the id itself. Paths of the REST API take ids only.
pub(super) fn link_id(arn_or_id: &str) -> anyhow::Result<&str> {
    let id = match arn_or_id.split_once(":repository-link/") {
        Some((arn, id)) if arn.starts_with("arn:") => id,
        _ => arn_or_id,
    };
    let is_id = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if !is_id {
        let given = terminal::cut(arn_or_id, 200);
        bail!("'{given}' is neither the ARN of a repository link nor the id it ends with");
    }
    Ok(id)
}

/// What to do at the forge, line by line.
fn recipe(made: &Made) -> Vec<String> {
    let Made { repository, events, .. } = made;
    let events = events.join(", ");
    let lines: &[&str] = match made.provider_type.as_str() {
        "GitHub" | "GitHubEnterpriseServer" => &[
            "1. In the repository: Settings, Webhooks, Add webhook.",
            "2. Payload URL: the URL. Content type: application/json. Secret: the secret.",
            "3. Which events: select pushes and, for comments on them, pull requests. Active: on.",
            "4. GitHub sends a ping at once: syncline delivery list shows it.",
        ],
        "GitLab" | "GitLabSelfManaged" => &[
            "1. In the project: Settings, Webhooks, Add new webhook.",
            "2. URL: the URL. The secret goes into Secret token or, from GitLab 19.0, better into Signing token; not into",
            "   both.",
            "3. Trigger: Push events of all branches and, for comments on them, Merge request events. GitLab does not send a",
            "   push that changes more than three branches; the poll finds those.",
            "4. Test, Push events: syncline delivery list shows it.",
        ],
        "Bitbucket" => &[
            "1. In the repository: Repository settings, Webhooks, Add webhook.",
            "2. URL: the URL. Secret: the secret. Status: active.",
            "3. Triggers: Repository push and, for comments on them, Pull request created, updated, merged and declined.",
        ],
        "AzureDevOps" => &[
            "1. In the project: Project settings, Service hooks, Create subscription, Web Hooks.",
            "2. Trigger: Code pushed, and the repository.",
            "3. URL: the URL. Basic authentication username: syncline; password: the secret.",
            "4. Resource details to send: All. Messages and detailed messages to send: None will do.",
            "5. For comments on pull requests, the same again for Pull request created and Pull request updated.",
            "Azure DevOps sends the password itself: let it reach the server by https only.",
        ],
        "Gitea" => &[
            "1. In the repository: Settings, Webhooks, Add webhook, Gitea (or Forgejo).",
            "2. Target URL: the URL. HTTP method: POST. Content type: application/json. Secret: the secret.",
            "3. Trigger on: custom events: Push, Create, Delete and, for comments on them, Pull Request and Pull Request",
            "   Synchronized. Branch filter: empty. Active: on.",
        ],
        _ => &[
            "After each push, POST anything to the URL, with the header X-Hub-Signature-256: sha256= and the HMAC-SHA256 of",
            "the body in hexadecimal, its key being the secret. All branches that syncs follow are looked at. For example, as",
            "the repository's hook post-receive, with the secret in the file webhook-secret beside its HEAD:",
            "",
            "  #!/bin/sh",
            "  signature=$(python3 -c 'import hmac; key = open(\"webhook-secret\", \"rb\").read().strip()",
            "  print(hmac.new(key, b\"{}\", \"sha256\").hexdigest())')",
            "  curl --silent --show-error --fail --data '{}' --header \"X-Hub-Signature-256: sha256=$signature\" URL",
            "",
            "A header X-Delivery-Id is optional: what comes again with the same one is counted once.",
        ],
    };
    let mut recipe = vec![format!("Repository {repository}, events: {events}.")];
    recipe.extend(lines.iter().map(|line| (*line).to_owned()));
    recipe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_named_by_its_arn_or_its_id() {
        let check = |text: &str, expect: Option<&str>| assert_eq!(link_id(text).ok(), expect, "{text}");
        let id = "6f2c7a10-0000-4000-8000-000000000001";
        check(id, Some(id));
        check(&format!("arn:aws:codeconnections:us-east-1:123456789012:repository-link/{id}"), Some(id));
        check("arn:aws:codeconnections:us-east-1:123456789012:connection/a", None);
        check("../account", None);
        check("", None);
    }

    #[test]
    fn every_forge_has_a_recipe_of_its_own() {
        let recipe_of = |provider_type: &str| {
            let made = json!({ "url": "https://x", "secret": "s", "events": ["push"], "providerType": provider_type,
                               "repository": "acme/infra", "previousSecretUntil": null });
            recipe(&serde_json::from_value(made).expect("an answer"))
        };
        let types = ["GitHub", "GitLab", "Bitbucket", "AzureDevOps", "Gitea", "Git"];
        let recipes: std::collections::BTreeSet<_> = types.map(recipe_of).into_iter().collect();
        assert_eq!(recipes.len(), types.len());
        assert_eq!(recipe_of("GitHub"), recipe_of("GitHubEnterpriseServer"));
        assert_eq!(recipe_of("GitLab"), recipe_of("GitLabSelfManaged"));
        for recipe in recipes {
            assert!(recipe.len() > 2 && recipe.iter().all(|line| line.len() <= 120), "{recipe:#?}");
        }
    }
}

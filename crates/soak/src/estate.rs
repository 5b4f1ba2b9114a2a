//! The stacks that a fleet looks after, the repositories that say how they are to be, and what is known of both without
//! asking Syncline.

use anyhow::Context as _;
use aws_sdk_codeconnections::Client;
use aws_sdk_codeconnections::types::{ProviderType, SyncConfigurationType, Tag, TriggerResourceUpdateOn};
use aws_smithy_types::error::display::DisplayErrorContext;
use syncline_cloudformation_sim::ResourceVerb;
use syncline_testkit::repository::Repository;
use syncline_testkit::world::ROLE;

use crate::fleet::{Fleet, Plan};

/// Stacks of one repository.
const STACKS_PER_REPOSITORY: usize = 30;
/// Every so manyeth stack is one whose updates fail.
const FAILING: usize = 29;
/// Every so manyeth stack is synced by every commit of its branch, whatever it touches.
const ANY_CHANGE: usize = 13;
/// Of this many new contents, about one is not valid.
const BROKEN: usize = 20;
/// Stacks that one commit changes at the most.
const AT_ONCE: usize = 4;

const TEMPLATE: &str = "Parameters:\n  Name:\n    Type: String\nResources:\n  Topic:\n    Type: AWS::SNS::Topic\n    Properties:\n      DisplayName: !Ref Name\n";

/// What a stack's deployment file says. Every value is used once: a commit that leaves a file as it is concerns nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The template's parameter.
    Name(String),
    /// Nothing that could be deployed.
    Broken(String),
}

impl Content {
    fn file(&self) -> String {
        match self {
            Self::Name(name) => format!("template-file-path: template.yaml\nparameters:\n  Name: {name}\n"),
            Self::Broken(value) => format!("template-file-path: template.yaml\nno-such-key: {value}\n"),
        }
    }
}

/// A stack, and all that its file ever said.
#[derive(Debug, Clone)]
pub struct Stack {
    /// Its name.
    pub name: String,
    /// Which of the repositories.
    pub repository: usize,
    /// Every commit of the branch syncs it, not only those that touch its file.
    pub any_change: bool,
    /// Its updates fail and are rolled back.
    pub fails: bool,
    /// The commits that touched its file, by their places, and what it said then.
    pub history: Vec<(usize, Content)>,
}

impl Stack {
    /// The path of its deployment file.
    #[must_use]
    pub fn file(&self) -> String {
        format!("stacks/{}.yaml", self.name)
    }

    /// What its file said at the commit of that place.
    #[must_use]
    pub fn at(&self, commit: usize) -> Option<&Content> {
        self.history.iter().rev().find(|(at, _)| *at <= commit).map(|(_, content)| content)
    }

    /// The place of the newest commit that touched its file, and what it says since.
    ///
    /// # Panics
    /// Never: the first commit touches all files.
    #[must_use]
    pub fn newest(&self) -> (usize, &Content) {
        let (at, content) = self.history.last().expect("the first commit has every file");
        (*at, content)
    }
}

/// A repository and its link.
#[derive(Debug)]
pub struct Linked {
    /// The repository.
    pub repository: Repository,
    /// The link's id.
    pub link: String,
    /// The link's ARN.
    pub link_arn: String,
    /// The commits of its branch, oldest first.
    pub commits: Vec<String>,
}

impl Linked {
    /// The place of a commit.
    #[must_use]
    pub fn place_of(&self, commit: &str) -> Option<usize> {
        self.commits.iter().position(|known| known == commit)
    }
}

/// Everything that a fleet looks after.
#[derive(Debug)]
pub struct Estate {
    /// The repositories.
    pub repositories: Vec<Linked>,
    /// The stacks.
    pub stacks: Vec<Stack>,
    values: usize,
}

impl Estate {
    /// Makes repositories, and links them through the API; sync configurations are made by [`configure`].
    ///
    /// # Errors
    /// What the fleet answers: nothing is killed yet.
    pub async fn link(fleet: &Fleet, plan: &Plan, stacks: usize) -> anyhow::Result<Self> {
        let client = fleet.client_of(&fleet.replicas[0].ready().await);
        let host = client
            .create_host()
            .name("git")
            .provider_type(ProviderType::from("Git"))
            .provider_endpoint(fleet.git.endpoint())
            .send()
            .await?;
        let connection = client
            .create_connection()
            .connection_name("git")
            .host_arn(host.host_arn().context("a host has an ARN")?)
            .send()
            .await?;
        fleet.authorize(&plan.program, connection.connection_arn()).await?;
        let all: Vec<_> = (0..stacks).map(planned).collect();
        let mut repositories = Vec::new();
        for number in 0..stacks.div_ceil(STACKS_PER_REPOSITORY) {
            let repository = fleet.git.repository(&format!("acme/infra-{number}")).await;
            let here = all.iter().filter(|stack| stack.repository == number);
            let mut files: Vec<_> = here.map(|stack| (stack.file(), stack.newest().1.file())).collect();
            files.push(("template.yaml".to_owned(), TEMPLATE.to_owned()));
            let files: Vec<_> = files.iter().map(|(path, content)| (&**path, &**content)).collect();
            let first = repository.commit_files(&files).await;
            let link = client
                .create_repository_link()
                .connection_arn(connection.connection_arn())
                .owner_id(repository.owner())
                .repository_name(repository.name())
                .send()
                .await?;
            let link = link.repository_link_info().context("a link has its info")?;
            repositories.push(Linked {
                repository,
                link: link.repository_link_id().to_owned(),
                link_arn: link.repository_link_arn().to_owned(),
                commits: vec![first],
            });
        }
        for stack in all.iter().filter(|stack| stack.fails) {
            let reason = "no such topic today";
            fleet.simulator.faults().fail_resource(&stack.name, "Topic", ResourceVerb::Update, reason);
        }
        Ok(Self { repositories, stacks: all, values: 0 })
    }

    /// Commits new contents of a few stacks of one repository and pushes them.
    pub async fn push(&mut self, choices: &mut fastrand::Rng) {
        let repository = choices.usize(..self.repositories.len());
        let here: Vec<_> =
            (0..self.stacks.len()).filter(|number| self.stacks[*number].repository == repository).collect();
        let count = choices.usize(1..=AT_ONCE.min(here.len()));
        let chosen = choices.choose_multiple(here, count);
        let mut files = Vec::new();
        let mut contents = Vec::new();
        for number in chosen {
            self.values += 1;
            let value = format!("value-{}", self.values);
            let content = match choices.usize(..BROKEN) {
                0 => Content::Broken(value),
                _ => Content::Name(value),
            };
            files.push((self.stacks[number].file(), content.file()));
            contents.push((number, content));
        }
        // A commit that changes nothing would have no effect to look for.
        let mark = ("mark".to_owned(), self.values.to_string());
        files.push(mark);
        let files: Vec<_> = files.iter().map(|(path, content)| (&**path, &**content)).collect();
        let linked = &mut self.repositories[repository];
        let commit = linked.repository.commit_files(&files).await;
        let place = linked.commits.len();
        linked.commits.push(commit);
        for (number, content) in contents {
            self.stacks[number].history.push((place, content));
        }
    }

    /// The place of the newest commit of a stack's branch.
    #[must_use]
    pub fn head_of(&self, stack: &Stack) -> usize {
        self.repositories[stack.repository].commits.len() - 1
    }
}

fn planned(number: usize) -> Stack {
    let fails = number % FAILING == FAILING - 1;
    Stack {
        name: format!("stack-{number:04}"),
        repository: number / STACKS_PER_REPOSITORY,
        any_change: !fails && number % ANY_CHANGE == ANY_CHANGE - 1,
        fails,
        history: vec![(0, Content::Name(format!("first-{number}")))],
    }
}

/// Makes a stack's sync configuration.
///
/// # Errors
/// What the server says, and `true` if that means that it is there already.
pub async fn configure(client: &Client, stack: &Stack, link: &str) -> Result<(), (String, bool)> {
    let trigger = match stack.any_change {
        true => TriggerResourceUpdateOn::AnyChange,
        false => TriggerResourceUpdateOn::FileChange,
    };
    let made = client
        .create_sync_configuration()
        .sync_type(SyncConfigurationType::CfnStackSync)
        .resource_name(&stack.name)
        .repository_link_id(link)
        .branch("main")
        .config_file(stack.file())
        .role_arn(ROLE)
        .trigger_resource_update_on(trigger)
        .send()
        .await;
    made.map(drop).map_err(|error| {
        let is_there = error.as_service_error().is_some_and(|e| e.is_resource_already_exists_exception());
        (format!("{}", DisplayErrorContext(&error)), is_there)
    })
}

/// Makes a stack's sync configuration anew as it is, which syncs it at once.
///
/// # Errors
/// What the server says.
pub async fn reconfigure(client: &Client, stack: &str, file: &str) -> Result<(), String> {
    let updated = client
        .update_sync_configuration()
        .sync_type(SyncConfigurationType::CfnStackSync)
        .resource_name(stack)
        .config_file(file)
        .send()
        .await;
    updated.map(drop).map_err(|error| format!("{}", DisplayErrorContext(&error)))
}

/// Tags a link with a key that nobody else uses.
///
/// # Errors
/// What the server says.
pub async fn tag(client: &Client, arn: &str, key: &str) -> Result<(), String> {
    let tag = Tag::builder().key(key).value("yes").build().map_err(|error| error.to_string())?;
    let tagged = client.tag_resource().resource_arn(arn).tags(tag).send().await;
    tagged.map(drop).map_err(|error| format!("{}", DisplayErrorContext(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_value_is_another_file_whether_it_is_valid_or_not() {
        let (one, other) = ("value-1".to_owned(), "value-2".to_owned());
        assert_ne!(Content::Broken(one.clone()).file(), Content::Broken(other.clone()).file());
        assert_ne!(Content::Name(one).file(), Content::Name(other).file());
    }
}

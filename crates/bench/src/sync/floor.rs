//! The floor: the calls that the worker made, made again back to back by a client that does nothing else.
//!
//! It is the worker's own client (the AWS SDK on the same HTTP and TLS crates, with neither retries nor timeouts), made
//! once, and lent to as many tasks as the worker does syncs of one repository at a time. It talks to the same simulator
//! about stacks of its own, which have the same template and are as old as the worker's. Before it, git fetches the
//! commit that the worker fetched.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use aws_sdk_cloudformation::config::retry::RetryConfig;
use aws_sdk_cloudformation::config::{
    BehaviorVersion, Credentials, IdentityCache, Region, StalledStreamProtectionConfig,
};
use aws_sdk_cloudformation::types::{Capability, ChangeSetType, Parameter, StackStatus, Tag};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use tokio::task::JoinSet;

use super::simulator::Called;
use super::world::{Around, template};
use crate::seeding::REGION;

/// Syncs of one repository that the worker has in progress at a time unless told otherwise, and so the calls under way.
pub(crate) const AT_ONCE: usize = 24;

/// The bare client and its stacks.
#[derive(Debug)]
pub(crate) struct Floor {
    client: aws_sdk_cloudformation::Client,
    stacks: Vec<String>,
    clone: PathBuf,
}

/// What the worker called for one stack, in its order.
pub(crate) type Calls = Vec<String>;

impl Floor {
    /// Makes `count` stacks, and a clone of the repository without its newest commits.
    pub(crate) fn prepare(around: &Around, url: &str, count: usize) -> anyhow::Result<Self> {
        let clone = around.folder.join("floor.git");
        if clone.exists() {
            std::fs::remove_dir_all(&clone)?;
        }
        let folder = clone.to_str().context("a folder's name in UTF-8")?;
        git(&["clone", "--quiet", "--bare", "--depth=1", "--", url, folder])?;
        let stacks = (0..count).map(|number| format!("floor-{number:05}")).collect();
        let floor = Self { client: client(&around.simulated.endpoint()), stacks, clone };
        let make = ["CreateChangeSet", "DescribeChangeSet", "ExecuteChangeSet"].map(str::to_owned).to_vec();
        floor.call(around, &vec![make; count], 0)?;
        Ok(floor)
    }

    /// Fetches what is new, makes the calls for as many stacks as there are lists of them, and says how long the one
    /// and the other took.
    pub(crate) fn run(
        &self,
        around: &Around,
        calls: &[Calls],
        version: u32,
    ) -> anyhow::Result<(Duration, Duration)> {
        let begun = Instant::now();
        let folder = self.clone.to_str().context("a folder's name in UTF-8")?;
        git(&["-C", folder, "fetch", "--quiet", "--depth=1", "origin", "main"])?;
        let fetched = begun.elapsed();
        Ok((fetched, self.call(around, calls, version)?))
    }

    fn call(&self, around: &Around, calls: &[Calls], version: u32) -> anyhow::Result<Duration> {
        ensure!(calls.len() <= self.stacks.len(), "{} stacks are not enough", self.stacks.len());
        let (calls, next) = (Arc::new(calls.to_vec()), Arc::new(AtomicUsize::new(0)));
        let template = template(version);
        around.runtime.block_on(async {
            let begun = Instant::now();
            let mut tasks = JoinSet::new();
            for _ in 0..AT_ONCE {
                let (client, stacks) = (self.client.clone(), self.stacks.clone());
                let (calls, next, template) = (Arc::clone(&calls), Arc::clone(&next), template.clone());
                tasks.spawn(async move {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(calls) = calls.get(number) else { return anyhow::Ok(()) };
                        drive(&client, &stacks[number], calls, &template, version).await?;
                    }
                });
            }
            while let Some(done) = tasks.join_next().await {
                done??;
            }
            Ok(begun.elapsed())
        })
    }
}

/// The actions of each stack, of the newest calls: what a bare client is to make again. Calls that are of no stack (a
/// role assumed, stacks listed) go with the first.
pub(crate) fn by_stack(calls: &[Called]) -> Vec<Calls> {
    let (mut found, mut order, mut others) = (HashMap::<&str, Calls>::new(), Vec::new(), Calls::new());
    for call in calls {
        let Some(stack) = &call.stack else {
            others.push(call.action.clone());
            continue;
        };
        // A stack's id is arn:…:stack/<name>/<uuid>.
        let name = stack
            .split_once(":stack/")
            .map_or(stack.as_str(), |(_, rest)| rest.split_once('/').map_or(rest, |(name, _)| name));
        let of_stack = found.entry(name).or_insert_with(|| {
            order.push(name);
            Calls::new()
        });
        of_stack.push(call.action.clone());
    }
    let mut calls: Vec<Calls> = order.iter().filter_map(|name| found.remove(name)).collect();
    if let Some(first) = calls.first_mut() {
        first.append(&mut others);
    }
    calls
}

#[expect(clippy::disallowed_methods, reason = "the bare client: nothing may stand between it and the wire")]
fn client(endpoint: &str) -> aws_sdk_cloudformation::Client {
    let http =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let key = Credentials::new("AKIASIMULATED", "simulated", None, None, "syncline-bench");
    let config = aws_sdk_cloudformation::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .identity_cache(IdentityCache::no_cache())
        .endpoint_url(endpoint)
        .region(Region::new(REGION))
        .credentials_provider(key)
        .build();
    aws_sdk_cloudformation::Client::from_conf(config)
}

/// Makes the calls for one stack.
async fn drive(
    client: &aws_sdk_cloudformation::Client,
    stack: &str,
    calls: &Calls,
    template: &str,
    version: u32,
) -> anyhow::Result<()> {
    let token = format!("{stack}-{version}");
    let (mut stack_id, mut change_set) = (stack.to_owned(), token.clone());
    for action in calls {
        match &**action {
            "DescribeStacks" => {
                let answer = client.describe_stacks().stack_name(&stack_id).send().await?;
                ensure!(answer.stacks().len() == 1, "{stack} is not described");
            }
            "CreateChangeSet" => {
                let parameter = |key: &str, value: &str| {
                    Parameter::builder().parameter_key(key).parameter_value(value).build()
                };
                let kind = if version == 0 { ChangeSetType::Create } else { ChangeSetType::Update };
                let made = client
                    .create_change_set()
                    .stack_name(stack)
                    .change_set_name(&token)
                    .client_token(&token)
                    .change_set_type(kind)
                    .include_nested_stacks(false)
                    .capabilities(Capability::CapabilityIam)
                    .capabilities(Capability::CapabilityNamedIam)
                    .capabilities(Capability::CapabilityAutoExpand)
                    .template_body(template)
                    .parameters(parameter("Stage", "production"))
                    .parameters(parameter("Service", stack))
                    .tags(Tag::builder().key("team").value("payments").build())
                    .send()
                    .await?;
                change_set = made.id.context("CreateChangeSet answered no Id")?;
                stack_id = made.stack_id.context("CreateChangeSet answered no StackId")?;
            }
            "DescribeChangeSet" => {
                client
                    .describe_change_set()
                    .stack_name(&stack_id)
                    .change_set_name(&change_set)
                    .send()
                    .await?;
            }
            "ExecuteChangeSet" => {
                client
                    .execute_change_set()
                    .change_set_name(&change_set)
                    .stack_name(&stack_id)
                    .client_request_token(&token)
                    .send()
                    .await?;
            }
            "DescribeStackEvents" => {
                client.describe_stack_events().stack_name(&stack_id).send().await?;
            }
            "ListStacks" => {
                client.list_stacks().stack_status_filter(StackStatus::UpdateInProgress).send().await?;
            }
            // Once for all: nothing beside what is done for each stack.
            "AssumeRole" | "GetCallerIdentity" => {}
            other => bail!("the worker called {other}, which the bare client does not know"),
        }
    }
    Ok(())
}

fn git(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("git")
        .args(arguments)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .status()
        .context("git could not be started")?;
    ensure!(status.success(), "git {arguments:?}: {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_apart_by_the_stacks_they_name() {
        let called = |action: &str, stack: Option<&str>| Called {
            action: action.to_owned(),
            stack: stack.map(str::to_owned),
        };
        let calls = [
            called("AssumeRole", None),
            called("DescribeStacks", Some("a")),
            called("DescribeStacks", Some("b")),
            called("ExecuteChangeSet", Some("arn:aws:cloudformation:eu-west-1:222222222222:stack/a/0-1")),
            called("DescribeStackEvents", Some("a")),
        ];
        let expect: Vec<Calls> = vec![
            ["DescribeStacks", "ExecuteChangeSet", "DescribeStackEvents", "AssumeRole"]
                .map(str::to_owned)
                .into(),
            vec!["DescribeStacks".to_owned()],
        ];
        assert_eq!(by_stack(&calls), expect);
        assert_eq!(by_stack(&[]), Vec::<Calls>::new());
    }
}

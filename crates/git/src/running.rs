//! Starting git with what one call needs, and no more.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use syncline_seams::Secret;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::error::{GitError, internal};
use crate::git::Git;
use crate::process::{Finished, Run};
use crate::remote::Remote;
use crate::{roots, verdict};
use syncline_egress::Route;

/// The oldest git that honours every setting the safety rests on: `http.curloptResolve` came with 2.37.
const OLDEST_GIT: (u32, u32) = (2, 37);

/// Leave to run one process or use one connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct Leave<'a> {
    _one: SemaphorePermit<'a>,
    _host: Option<OwnedSemaphorePermit>,
}

impl Git {
    /// Checks that git is there and new enough; every other operation does so by itself, once.
    ///
    /// # Errors
    /// [`GitError::Internal`] when it is not.
    pub async fn check_program(&self) -> Result<(), GitError> {
        let checked =
            || self.outside.call("git.version", self.settings.limits.heads_timeout, self.check_version());
        self.version.get_or_try_init(checked).await.map(|_| ())
    }

    async fn check_version(&self) -> Result<(u32, u32), GitError> {
        let finished = self.local(Path::new("/dev/null"), &["version"], String::new(), 1000).await?;
        let text = String::from_utf8_lossy(&finished.stdout).into_owned();
        let mut numbers =
            text.trim_start_matches("git version ").split(['.', ' ', '\n']).map_while(|n| n.parse().ok());
        match (numbers.next(), numbers.next()) {
            (Some(major), Some(minor)) if (major, minor) >= OLDEST_GIT => Ok((major, minor)),
            _ => {
                let (major, minor) = OLDEST_GIT;
                Err(internal("git is too old", format!("'{}', needed is {major}.{minor}", text.trim())))
            }
        }
    }

    /// Runs git without any network.
    pub(crate) async fn local(
        &self,
        git_dir: &Path,
        arguments: &[&str],
        stdin: String,
        max_stdout_bytes: usize,
    ) -> Result<Finished, GitError> {
        let _leave = self.leave(None).await?;
        let mut run = self.run(git_dir, arguments, &[]);
        run.stdin = stdin;
        run.max_stdout_bytes = max_stdout_bytes;
        run.finish().await
    }

    /// Runs git with the network that this remote needs, and no other.
    pub(crate) async fn remote(
        &self,
        git_dir: &Path,
        remote: &Remote,
        arguments: &[&str],
        stdin: String,
        max_stdout_bytes: usize,
        max_file_bytes: Option<u64>,
    ) -> Result<Finished, GitError> {
        let route = self.settings.egress.admit(&remote.url).await?;
        if route.protocol == "ssh" {
            return Err(internal("git is not given ssh remotes", &remote.url));
        }
        let config = self.configuration(remote, &route)?;
        let _leave = self.leave(Some(&route)).await?;
        let mut run = self.run(git_dir, arguments, &config);
        run.stdin = stdin;
        run.max_stdout_bytes = max_stdout_bytes;
        run.max_file_bytes = max_file_bytes;
        run.finish().await
    }

    /// A process that gets no input and may print nothing.
    pub(crate) fn run<'a>(
        &'a self,
        git_dir: &'a Path,
        arguments: &[&str],
        config: &'a [(String, Secret)],
    ) -> Run<'a> {
        Run {
            settings: &self.settings,
            git_dir,
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            config,
            stdin: String::new(),
            max_stdout_bytes: 0,
            max_file_bytes: None,
        }
    }

    /// Waits for leave to run one more process, first from the host it talks to.
    pub(crate) async fn leave(&self, route: Option<&Route>) -> Result<Leave<'_>, GitError> {
        self.leave_of(&self.processes, route).await
    }

    /// Waits for leave to use one more connection of our own.
    pub(crate) async fn leave_to_ask(&self, route: &Route) -> Result<Leave<'_>, GitError> {
        self.leave_of(&self.connections, Some(route)).await
    }

    async fn leave_of<'a>(&self, all: &'a Semaphore, route: Option<&Route>) -> Result<Leave<'a>, GitError> {
        let closed = |error| internal("no more processes", error);
        let host = match route.map(|route| &route.host) {
            None => None,
            Some(host) => {
                let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
                let limit = self.settings.limits.max_processes_per_host.max(1);
                Some(Arc::clone(hosts.entry(host.clone()).or_insert_with(|| Arc::new(Semaphore::new(limit)))))
            }
        };
        let host = match host {
            None => None,
            Some(host) => Some(host.acquire_owned().await.map_err(closed)?),
        };
        Ok(Leave { _one: all.acquire().await.map_err(closed)?, _host: host })
    }

    /// What git must know to reach this remote, and no other.
    pub(crate) fn configuration(
        &self,
        remote: &Remote,
        route: &Route,
    ) -> Result<Vec<(String, Secret)>, GitError> {
        let mut config = vec![
            (format!("protocol.{}.allow", route.protocol), Secret::new("always")),
            ("remote.origin.url".to_owned(), Secret::new(route.url.clone())),
        ];
        let mut set = |key: &str, value: String| config.push((key.to_owned(), Secret::new(value)));
        if let Some(proxy) = self.settings.egress.proxy() {
            set("http.proxy", proxy.url().expose().to_owned());
            set("http.proxyAuthMethod", "basic".to_owned());
        }
        if let Some(pin) = &route.pin {
            set("http.curloptResolve", pin.clone());
        }
        if let Some(credential) = &remote.credential {
            set("http.extraHeader", format!("Authorization: {}", verdict::authorization(credential)));
        }
        if let Some(pem) = &remote.extra_root_pem {
            let bundle = roots::bundle(&self.settings.cache_dir.join("roots"), pem)?;
            set("http.sslCAInfo", bundle.to_string_lossy().into_owned());
        }
        if route.protocol == "file" {
            // The operator vouches for the directories; their repositories may belong to somebody else.
            let path = self.settings.global_config();
            let content = "[safe]\n\tdirectory = *\n";
            if !std::fs::read_to_string(&path).is_ok_and(|found| found == content) {
                roots::write_whole(&path, content.as_bytes())
                    .map_err(|error| internal("git's configuration cannot be written", error))?;
            }
        }
        Ok(config)
    }
}

//! What `rust_api_walk.rs` checks of every answer: how it is told apart, and how lists come in pages.

use std::fmt::Debug;
use std::sync::PoisonError;

use sdk::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use sdk::operation::RequestId;
use sdk::types::ProviderType;

use super::super::SERVICE;
use super::{SYNC_TYPE, Walk, Walked, account_of, sdk};

const INVALID: &str = "ValidationException";
/// Elements in a page.
const PAGE: usize = 2;
const PAGE_SIZE: i32 = 2;

impl Walk<'_> {
    pub(super) async fn check_hosts(&self, expect: &[String]) -> Walked<()> {
        let pages = self.client.list_hosts().max_results(PAGE_SIZE).into_paginator().send();
        let pages = self.all("ListHosts", pages.collect::<Result<Vec<_>, _>>().await)?;
        check_pages("ListHosts", &pages, expect, |page| {
            page.hosts().iter().filter_map(|host| host.host_arn()).collect()
        })
    }

    pub(super) async fn check_connections(
        &self,
        kind: Option<ProviderType>,
        host: Option<&String>,
        expect: &[String],
    ) -> Walked<()> {
        let list = self.client.list_connections().max_results(PAGE_SIZE);
        let list = list.set_provider_type_filter(kind).set_host_arn_filter(host.cloned());
        let pages = list.into_paginator().send().collect::<Result<Vec<_>, _>>().await;
        let pages = self.all("ListConnections", pages)?;
        check_pages("ListConnections", &pages, expect, |page| {
            page.connections().iter().filter_map(|connection| connection.connection_arn()).collect()
        })
    }

    pub(super) async fn check_links(&self, expect: &[String]) -> Walked<()> {
        let pages = self.client.list_repository_links().max_results(PAGE_SIZE).into_paginator().send();
        let pages = self.all("ListRepositoryLinks", pages.collect::<Result<Vec<_>, _>>().await)?;
        check_pages("ListRepositoryLinks", &pages, expect, |page| {
            page.repository_links().iter().map(|link| link.repository_link_id()).collect()
        })
    }

    pub(super) async fn check_syncs(&self, link_id: &str, expect: &[String]) -> Walked<()> {
        let list = self.client.list_sync_configurations().repository_link_id(link_id).sync_type(SYNC_TYPE);
        let pages = list.max_results(PAGE_SIZE).into_paginator().send().collect::<Result<Vec<_>, _>>().await;
        let pages = self.all("ListSyncConfigurations", pages)?;
        check_pages("ListSyncConfigurations", &pages, expect, |page| {
            page.sync_configurations().iter().map(|sync| sync.resource_name()).collect()
        })
    }

    /// The beginning of an ARN in the account of another one.
    pub(super) fn arn(&self, of: &str, resource: &str) -> String {
        format!("arn:aws:{SERVICE}:{}:{}:{resource}", self.region, account_of(of))
    }

    /// Expects an answer, and in it what every answer must have.
    pub(super) fn told<T, E, R>(
        &self,
        operation: &'static str,
        answer: Result<T, SdkError<E, R>>,
    ) -> Walked<T>
    where
        T: RequestId,
        SdkError<E, R>: std::error::Error,
    {
        let answer = self.all(operation, answer)?;
        if answer.request_id().is_some() { Ok(answer) } else { Err(format!("{operation}: no request id")) }
    }

    fn all<T, E, R>(&self, operation: &'static str, answer: Result<T, SdkError<E, R>>) -> Walked<T>
    where
        SdkError<E, R>: std::error::Error,
    {
        self.called.lock().unwrap_or_else(PoisonError::into_inner).insert(operation);
        answer.map_err(|error| format!("{operation}: {}", DisplayErrorContext(error)))
    }

    /// Expects the error, and that the SDK knows it as one of the operation's own.
    pub(super) fn refused<T, E>(
        &self,
        operation: &'static str,
        code: &str,
        answer: Result<T, SdkError<E>>,
        is: impl FnOnce(&E) -> bool,
    ) -> Walked<()>
    where
        T: Debug,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.called.lock().unwrap_or_else(PoisonError::into_inner).insert(operation);
        let error = match answer {
            Ok(answer) => return Err(format!("{operation} answered {answer:?} where {code} is due")),
            Err(error) => error,
        };
        let status = error.raw_response().map(|response| response.status().as_u16());
        match (error.as_service_error(), status) {
            (Some(known), Some(status))
                if is(known) && known.code() == Some(code) && known.message().is_some() =>
            {
                self.refused
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(format!("{code} {status}"));
                Ok(())
            }
            _ => Err(format!("{operation} where {code} is due: {}", DisplayErrorContext(error))),
        }
    }

    /// Expects the ValidationException that no operation declares, with this in its text.
    pub(super) fn invalid<T, E>(
        &self,
        operation: &'static str,
        text: &str,
        answer: Result<T, SdkError<E>>,
    ) -> Walked<()>
    where
        T: Debug,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.refused(operation, INVALID, answer, |error| {
            error.message().is_some_and(|message| message.contains(text))
        })
    }
}

/// All elements in pages of [`PAGE`].
fn check_pages<P>(
    operation: &str,
    pages: &[P],
    expect: &[String],
    elements: impl Fn(&P) -> Vec<&str>,
) -> Walked<()> {
    let sizes: Vec<usize> = pages.iter().map(|page| elements(page).len()).collect();
    let mut listed: Vec<&str> = pages.iter().flat_map(elements).collect();
    listed.sort_unstable();
    let mut expect: Vec<&str> = expect.iter().map(String::as_str).collect();
    expect.sort_unstable();
    check(&format!("{operation}: what is listed"), &listed, &expect)?;
    let full = (0..expect.len().max(1)).step_by(PAGE).map(|first| PAGE.min(expect.len() - first)).collect();
    check(&format!("{operation}: the sizes of the pages"), sizes, full)
}

pub(super) fn check<T: PartialEq + Debug>(what: &str, actual: T, expect: T) -> Walked<()> {
    if actual == expect { Ok(()) } else { Err(format!("{what}: {actual:?}, not {expect:?}")) }
}

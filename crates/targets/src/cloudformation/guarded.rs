//! The SDK's clients, out of reach but for calls that go through [`Outside`].
//!
//! **Architecture Invariant:** clients are made here and nowhere else, and are only ever lent to a call that is
//! bounded and has its fault points. clippy.toml bans their constructors everywhere else.

use std::time::Duration;

use aws_config::SdkConfig;
use syncline_seams::Outside;

use crate::TargetError;
use crate::classify::Operation;

/// How calls are made.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    outside: Outside,
    timeout: Duration,
}

impl Guard {
    /// Calls that take `timeout` at most.
    pub(super) fn new(outside: Outside, timeout: Duration) -> Self {
        Self { outside, timeout }
    }

    /// Lets STS be called.
    #[expect(clippy::disallowed_methods, reason = "lent to guarded calls only")]
    pub(super) fn sts(&self, sdk: &SdkConfig) -> Guarded<aws_sdk_sts::Client> {
        Guarded { client: aws_sdk_sts::Client::new(sdk), guard: self.clone() }
    }

    /// Lets CloudFormation be called.
    #[expect(clippy::disallowed_methods, reason = "lent to guarded calls only")]
    pub(super) fn cloudformation(
        &self,
        config: aws_sdk_cloudformation::Config,
    ) -> Guarded<aws_sdk_cloudformation::Client> {
        Guarded { client: aws_sdk_cloudformation::Client::from_conf(config), guard: self.clone() }
    }

    /// Lets EventBridge be called.
    #[expect(clippy::disallowed_methods, reason = "lent to guarded calls only")]
    pub(super) fn event_bridge(
        &self,
        config: aws_sdk_eventbridge::Config,
    ) -> Guarded<aws_sdk_eventbridge::Client> {
        Guarded { client: aws_sdk_eventbridge::Client::from_conf(config), guard: self.clone() }
    }
}

/// A client that can only be called as [`Guard`] says.
#[derive(Clone)]
pub(super) struct Guarded<C> {
    client: C,
    guard: Guard,
}

impl<C: Clone> Guarded<C> {
    /// Makes one call.
    pub(super) async fn call<T, F>(
        &self,
        operation: Operation,
        call: impl FnOnce(C) -> F,
    ) -> Result<T, TargetError>
    where
        F: Future<Output = Result<T, TargetError>>,
    {
        let guarded = async { call(self.client.clone()).await };
        self.guard.outside.call(operation.point(), self.guard.timeout, guarded).await
    }
}

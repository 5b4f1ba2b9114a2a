//! An HTTP proxy between here and AWS.

use std::fmt;

use aws_smithy_http_client::proxy::ProxyConfig;
use syncline_seams::Secret;
use thiserror::Error;

/// What is called without it: this machine, and the endpoints that give instances (IMDS) and containers (ECS, EKS) their
/// credentials, which are this machine's own.
const NOT_PROXIED: &str =
    "localhost,127.0.0.0/8,::1,169.254.169.254,169.254.170.2,169.254.170.23,fd00:ec2::254,fd00:ec2::23";

/// A URL that the SDK does not take for a proxy's. It may hold a password and is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the AWS SDK does not take it for the url of a proxy")]
pub struct InvalidProxy;

/// An HTTP proxy that AWS is called through. What is on this machine, and what gives instances and containers their
/// credentials, is called without.
#[derive(Clone)]
pub struct Proxy(ProxyConfig);

impl Proxy {
    /// The proxy at this URL, which may hold a user and a password.
    ///
    /// # Errors
    /// [`InvalidProxy`].
    pub fn parse(url: &Secret) -> Result<Self, InvalidProxy> {
        let config = ProxyConfig::all(url.expose().as_str()).map_err(|_| InvalidProxy)?;
        Ok(Self(config.no_proxy(NOT_PROXIED)))
    }

    pub(super) fn config(&self) -> ProxyConfig {
        self.0.clone()
    }
}

// The SDK's own form shows the password.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxy")
    }
}

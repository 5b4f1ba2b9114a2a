//! How much an account may have: `[quotas]` in the file.

use serde::Deserialize;

/// The quotas of an account and region (contract §2); `[quotas]` in the file raises each by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Connections.
    pub connections: u32,
    /// Hosts.
    pub hosts: u32,
    /// Repository links.
    pub repository_links: u32,
    /// Sync configurations.
    pub sync_configurations: u32,
    /// Sync configurations of one repository link.
    pub sync_configurations_per_link: u32,
    /// Sync configurations of one branch of a link.
    pub sync_configurations_per_branch: u32,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            connections: 250,
            hosts: 50,
            repository_links: 100,
            sync_configurations: 100,
            sync_configurations_per_link: 100,
            sync_configurations_per_branch: 50,
        }
    }
}

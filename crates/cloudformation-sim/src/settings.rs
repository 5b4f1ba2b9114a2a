use std::time::Duration;

/// How a simulator behaves where real CloudFormation varies.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The account of every access key that AssumeRole did not hand out: twelve digits.
    pub default_account: String,
    /// How long the creation of a change set takes.
    pub change_set_latency: Duration,
    /// How long creating a resource takes.
    pub create_latency: Duration,
    /// How long updating a resource takes.
    pub update_latency: Duration,
    /// How long deleting a resource takes.
    pub delete_latency: Duration,
    /// The most items of one page of a list.
    pub page_size: usize,
}

impl Default for Settings {
    /// Quick, but slow enough to be watched.
    fn default() -> Self {
        Self {
            default_account: "000000000000".to_owned(),
            change_set_latency: Duration::from_millis(40),
            create_latency: Duration::from_millis(60),
            update_latency: Duration::from_millis(60),
            delete_latency: Duration::from_millis(40),
            page_size: 100,
        }
    }
}

impl Settings {
    /// Everything happens within the instant it was asked for.
    #[must_use]
    pub fn instant() -> Self {
        Self {
            change_set_latency: Duration::ZERO,
            create_latency: Duration::ZERO,
            update_latency: Duration::ZERO,
            delete_latency: Duration::ZERO,
            ..Self::default()
        }
    }
}

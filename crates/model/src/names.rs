//! Validated names: each type is valid by construction, and its error states the rule and the value.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A value that breaks the rule of its type.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{value}' is not {what}: {rule}")]
pub struct InvalidName {
    what: &'static str,
    rule: &'static str,
    value: String,
}

impl InvalidName {
    fn new(what: &'static str, rule: &'static str, value: &str) -> Self {
        Self { what, rule, value: value.chars().take(300).collect() }
    }
}

macro_rules! string_name {
    ($name:ident) => {
        impl $name {
            /// The text as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

/// An AWS account id: twelve digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(String);
string_name!(AccountId);

impl FromStr for AccountId {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Self, InvalidName> {
        if s.len() == 12 && s.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(s.to_owned()))
        } else {
            Err(InvalidName::new("an AWS account id", "it must be 12 digits", s))
        }
    }
}

/// A region name, such as `eu-central-1`: what a SigV4 scope names, not only the regions AWS has today.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region(String);
string_name!(Region);

impl Region {
    /// The partition of the region (`aws`, `aws-cn`, `aws-us-gov`, …), by AWS's region prefixes.
    #[must_use]
    pub fn partition(&self) -> &'static str {
        let starts = |prefix: &str| self.0.starts_with(prefix);
        match () {
            () if starts("cn-") => "aws-cn",
            () if starts("us-gov-") => "aws-us-gov",
            () if starts("us-isob-") => "aws-iso-b",
            () if starts("us-isof-") => "aws-iso-f",
            () if starts("eu-isoe-") => "aws-iso-e",
            () if starts("us-iso-") => "aws-iso",
            () if starts("eusc-") => "aws-eusc",
            () => "aws",
        }
    }
}

impl FromStr for Region {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Self, InvalidName> {
        let valid = (1..=32).contains(&s.len())
            && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !s.starts_with('-')
            && !s.ends_with('-');
        if valid {
            Ok(Self(s.to_owned()))
        } else {
            Err(InvalidName::new("a region", "it must be 1 to 32 of a-z, 0-9 and inner '-'", s))
        }
    }
}

/// The name of a CloudFormation stack.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackName(String);
string_name!(StackName);

impl FromStr for StackName {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Self, InvalidName> {
        let valid = s.len() <= 128
            && s.starts_with(|c: char| c.is_ascii_alphabetic())
            && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if valid {
            Ok(Self(s.to_owned()))
        } else {
            Err(InvalidName::new(
                "a CloudFormation stack name",
                "it must begin with a letter and hold only letters, digits and '-', at most 128",
                s,
            ))
        }
    }
}

/// The ARN of an EventBridge event bus: `arn:<partition>:events:<region>:<account>:event-bus/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventBusArn {
    text: String,
    region: Region,
}

impl EventBusArn {
    /// The text as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The partition of the bus: `aws`, `aws-cn`, ….
    #[must_use]
    pub fn partition(&self) -> &str {
        self.text.split(':').nth(1).unwrap_or_default()
    }

    /// The region that the bus is in.
    #[must_use]
    pub fn region(&self) -> &Region {
        &self.region
    }
}

impl FromStr for EventBusArn {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Self, InvalidName> {
        let invalid = || {
            let rule = "it must be arn:<partition>:events:<region>:<account>:event-bus/<name>";
            InvalidName::new("the ARN of an event bus", rule, s)
        };
        let parts: Vec<&str> = s.splitn(6, ':').collect();
        let ["arn", partition, "events", region, account, resource] = parts.as_slice() else {
            return Err(invalid());
        };
        let name = resource.strip_prefix("event-bus/").unwrap_or_default();
        let is_name = (1..=256).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
        let is_partition = partition.starts_with("aws")
            && partition.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !is_name || !is_partition {
            return Err(invalid());
        }
        let region = region.parse().map_err(|_| invalid())?;
        account.parse::<AccountId>().map_err(|_| invalid())?;
        Ok(Self { text: s.to_owned(), region })
    }
}

impl fmt::Display for EventBusArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The ARN of an IAM role.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoleArn {
    text: String,
    account: AccountId,
}

impl RoleArn {
    /// The text as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The partition of the role: `aws`, `aws-cn`, ….
    #[must_use]
    pub fn partition(&self) -> &str {
        self.text.split(':').nth(1).unwrap_or_default()
    }

    /// The account that owns the role.
    #[must_use]
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// The role's path and name, without `role/`.
    #[must_use]
    pub fn role_path(&self) -> &str {
        self.text.split_once(":role/").map_or("", |(_, name)| name)
    }
}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for RoleArn {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Self, InvalidName> {
        let invalid =
            || InvalidName::new("a role ARN", "it must be arn:<partition>:iam::<account>:role/<name>", s);
        let mut parts = s.splitn(6, ':');
        let mut part = || parts.next().ok_or_else(invalid);
        let (arn, partition, service, region) = (part()?, part()?, part()?, part()?);
        let account: AccountId = part()?.parse().map_err(|_| invalid())?;
        let resource = part()?;
        let valid = arn == "arn"
            && (partition == "aws" || partition.starts_with("aws-"))
            && service == "iam"
            && region.is_empty()
            && resource.strip_prefix("role/").is_some_and(|name| !name.is_empty());
        if valid { Ok(Self { text: s.to_owned(), account }) } else { Err(invalid()) }
    }
}

/// The short name of a Git branch, such as `main` or `release/2026-11`, valid as `refs/heads/<name>`
/// (git-check-ref-format(1)).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BranchName(String);
string_name!(BranchName);

impl BranchName {
    /// The full reference, `refs/heads/<name>`.
    #[must_use]
    pub fn full_ref(&self) -> String {
        format!("refs/heads/{}", self.0)
    }
}

impl FromStr for BranchName {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Self, InvalidName> {
        let invalid = |rule| Err(InvalidName::new("a branch name", rule, s));
        if s.is_empty() || s.len() > 255 {
            return invalid("it must have 1 to 255 bytes");
        }
        if s == "@" || s == "HEAD" || s.starts_with('-') {
            return invalid("it must not be '@' or 'HEAD' or begin with '-'");
        }
        if s.contains("..") || s.contains("@{") || s.contains("//") {
            return invalid("it must not hold '..', '@{' or '//'");
        }
        if s.starts_with('/') || s.ends_with('/') || s.ends_with('.') {
            return invalid("it must not begin or end with '/' or end with '.'");
        }
        if s.chars().any(|c| c.is_ascii_control() || " ~^:?*[\\".contains(c)) {
            return invalid("it must not hold blanks, control characters or any of ~^:?*[\\");
        }
        if s.split('/').any(|part| part.starts_with('.') || part.ends_with(".lock")) {
            return invalid("no part may begin with '.' or end with '.lock'");
        }
        Ok(Self(s.to_owned()))
    }
}

/// A full commit or blob id: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(String);
string_name!(ObjectId);

impl FromStr for ObjectId {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Self, InvalidName> {
        let hex = s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex && (s.len() == 40 || s.len() == 64) {
            Ok(Self(s.to_owned()))
        } else {
            Err(InvalidName::new("a Git object id", "it must be 40 or 64 lower-case hexadecimal digits", s))
        }
    }
}

/// The path of a file inside a repository, from its root, with `/` between its parts.
///
/// A leading `./` is dropped. Whatever could leave the repository or name Git's own files is refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoPath(String);
string_name!(RepoPath);

impl RepoPath {
    /// The longest path accepted, in bytes.
    pub const MAX_BYTES: usize = 4096;

    /// The directory of the file: `.` for one at the root.
    #[must_use]
    pub fn directory(&self) -> &str {
        self.0.rsplit_once('/').map_or(".", |(directory, _)| directory)
    }
}

impl FromStr for RepoPath {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Self, InvalidName> {
        let invalid = |rule| Err(InvalidName::new("a path inside the repository", rule, s));
        let path = s.strip_prefix("./").unwrap_or(s);
        if path.is_empty() || path.len() > Self::MAX_BYTES {
            return invalid("it must have 1 to 4096 bytes");
        }
        if path.starts_with('/') {
            return invalid("it must be relative to the repository's root");
        }
        if path.chars().any(|c| c.is_control() || c == '\\') {
            return invalid("it must not hold control characters or '\\'");
        }
        if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
            return invalid("no part may be empty, '.' or '..'");
        }
        if path.split('/').any(|part| part.eq_ignore_ascii_case(".git")) {
            return invalid("no part may be '.git'");
        }
        Ok(Self(path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr<Err = InvalidName> + fmt::Display>(good: &[&str], bad: &[&str]) {
        for s in good {
            assert!(s.parse::<T>().is_ok(), "{s:?} should be accepted");
        }
        for s in bad {
            assert!(s.parse::<T>().is_err(), "{s:?} should be refused");
        }
    }

    #[test]
    fn names_follow_their_rules() {
        check::<AccountId>(
            &["000000000000", "123456789012"],
            &["", "12345678901", "1234567890123", "12345678901x"],
        );
        check::<Region>(&["eu-central-1", "us-gov-west-1", "local"], &["", "EU", "a b", "-a", "a-", "ä"]);
        check::<StackName>(&["a", "web-prod", "A1"], &["", "1a", "-a", "a_b", "a.b", &"a".repeat(129)]);
        check::<BranchName>(
            &["main", "release/2026-11", "a@b", "ä", "a.b"],
            &[
                "",
                "-x",
                "a..b",
                "a b",
                "a~",
                "a^",
                "a:",
                "a?",
                "a*",
                "a[",
                "a\\",
                "/a",
                "a/",
                "a//b",
                ".a",
                "a/.b",
                "a.lock",
                "a.lock/b",
                "a.",
                "@",
                "a@{1}",
                "HEAD",
                "a\0",
                &"a".repeat(256),
            ],
        );
        check::<EventBusArn>(
            &[
                "arn:aws:events:eu-west-1:123456789012:event-bus/default",
                "arn:aws-us-gov:events:us-gov-west-1:123456789012:event-bus/aws.partner/a_b-c.d/1",
            ],
            &[
                "default",
                "arn:aws:events:eu-west-1:123456789012:rule/default",
                "arn:aws:events:eu-west-1:123456789012:event-bus/",
                "arn:aws:events:eu-west-1:123456789012:event-bus/a b",
                "arn:aws:events:eu-west-1::event-bus/default",
                "arn:aws:events::123456789012:event-bus/default",
                "arn:x:events:eu-west-1:123456789012:event-bus/default",
                &format!("arn:aws:events:eu-west-1:123456789012:event-bus/{}", "a".repeat(257)),
            ],
        );
        check::<ObjectId>(
            &[&"a1".repeat(20), &"0f".repeat(32)],
            &["", "abc", &"A1".repeat(20), &"g1".repeat(20)],
        );
        check::<RepoPath>(
            &["a", "./a", "a/b.yaml", "a b", "..a", "ä/ö"],
            &[
                "",
                ".",
                "./",
                "..",
                "../a",
                "a/../b",
                "/a",
                "a//b",
                "a/",
                "a\0b",
                "a\\b",
                ".git/config",
                "a/.GIT/b",
                "a/./b",
            ],
        );
    }

    #[test]
    fn role_arns_know_their_account() {
        let role: RoleArn = "arn:aws:iam::123456789012:role/team/deploy".parse().expect("valid");
        assert_eq!(role.account().as_str(), "123456789012");
        assert_eq!(role.role_path(), "team/deploy");
        assert_eq!(role.partition(), "aws");
        check_refused(&[
            "",
            "arn:aws:iam::1:role/x",
            "arn:aws:iam:eu:123456789012:role/x",
            "arn:aws:iam::123456789012:user/x",
            "arn:aws:iam::123456789012:role/",
            "arn:ibm:iam::123456789012:role/x",
        ]);
    }

    fn check_refused(bad: &[&str]) {
        for s in bad {
            assert!(s.parse::<RoleArn>().is_err(), "{s:?} should be refused");
        }
    }

    #[test]
    fn directories_and_partitions() {
        assert_eq!("a/b/c.yaml".parse::<RepoPath>().expect("valid").directory(), "a/b");
        assert_eq!("./c.yaml".parse::<RepoPath>().expect("valid").directory(), ".");
        assert_eq!("cn-north-1".parse::<Region>().expect("valid").partition(), "aws-cn");
        assert_eq!("eu-west-1".parse::<Region>().expect("valid").partition(), "aws");
    }
}

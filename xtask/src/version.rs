//! The versions of other people's interpreters.

use std::fmt;

/// A version's first two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.0, self.1)
    }
}

/// Reads `3.13.0`, or `3.13`; nothing else begins with a version.
pub(crate) fn parse(version: &str) -> Option<Version> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some(Version(numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_numbers() {
        assert!(parse("3.9.18") < parse("3.10.13"));
        assert_eq!(parse("3.13.0"), Some(Version(3, 13)));
        assert_eq!(parse("3.13"), Some(Version(3, 13)));
    }

    #[test]
    fn what_is_no_version_is_no_candidate() {
        for name in ["pypy3.10-7.3", "3", "", "system", "3.x"] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}

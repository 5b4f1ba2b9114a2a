//! The one type of the workspace for what must not be seen.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, Zeroizing};

/// A value that is never printed and is overwritten when dropped.
///
/// It has no `Display`, no `Serialize`, no `Deref` and no `AsRef`, its `Debug` says `***`, and two of them are
/// compared in a time that depends on their lengths only. [`Secret::expose`] is the one way to the value, so that
/// every use of a secret is found by that word.
#[derive(Clone, Default)]
pub struct Secret<T: Zeroize = String>(Zeroizing<T>);

impl Secret {
    /// Takes a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }
}

impl<T: Zeroize> Secret<T> {
    /// The value, for the one place that must send, derive from or compare it.
    #[must_use]
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(Zeroizing::new(value))
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        self.expose().as_ref().ct_eq(other.expose().as_ref()).into()
    }
}

impl<T: Zeroize + AsRef<[u8]>> Eq for Secret<T> {}

/// For arguments and variables of the environment that clap reads.
impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::new(text))
    }
}

impl<'de, T: Zeroize + Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Borrow;
    use std::fmt::Display;
    use std::marker::PhantomData;
    use std::ops::Deref;

    use super::*;

    trait Otherwise {
        const _HAS: bool = false;
    }
    impl<T> Otherwise for T {}

    /// Whether a type has a trait: an inherent constant whose bound holds goes before that of `Otherwise`.
    macro_rules! has {
        ($ty:ty: $($bound:tt)+) => {{
            struct Probe<T>(PhantomData<T>);
            impl<T: $($bound)+> Probe<T> {
                const _HAS: bool = true;
            }
            Probe::<$ty>::_HAS
        }};
    }

    #[test]
    fn a_secret_has_no_way_out_but_expose() {
        macro_rules! check {
            ($($bound:tt)+) => {
                assert!(has!(String: $($bound)+), "the probe would see it");
                assert!(!has!(Secret: $($bound)+), "a text");
                assert!(!has!(Secret<Vec<u8>>: $($bound)+), "bytes");
                assert!(!has!(Secret<[u8; 32]>: $($bound)+), "a key");
            };
        }
        check!(Display);
        check!(ToString);
        check!(serde::Serialize);
        check!(Deref);
        check!(AsRef<[u8]>);
        check!(Borrow<str>);
        check!(Into<Vec<u8>>);
        check!(std::hash::Hash);
        check!(PartialOrd);
    }

    #[test]
    fn debug_says_nothing() {
        #[derive(Debug)]
        struct Holder {
            _secret: Secret,
            _key: Option<Secret<[u8; 3]>>,
        }
        let holder = Holder { _secret: Secret::new("canary"), _key: Some(Secret::from([99, 97, 110])) };
        assert_eq!(format!("{holder:?}"), "Holder { _secret: ***, _key: Some(***) }");
        let printed = format!("{holder:#?}");
        assert!(!printed.contains("canary") && !printed.contains("99"), "{printed}");
    }

    #[test]
    fn secrets_are_equal_when_their_values_are() {
        let check = |a: &str, b: &str| assert_eq!(Secret::new(a) == Secret::new(b), a == b, "{a} {b}");
        check("", "");
        check("token", "token");
        check("token", "Token");
        check("token", "tokens");
        assert_eq!("token".parse::<Secret>().expect("any text").expose(), "token");
    }
}

//! Enumerations whose values are texts.

use thiserror::Error;

/// A text that is none of an enumeration's values.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{value}' is not a {name}")]
pub struct UnknownValue {
    pub(crate) name: &'static str,
    pub(crate) value: String,
}

/// Defines an enumeration with its texts, in serde, `Display` and `FromStr` alike.
macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $(
                #[doc = concat!("`", $text, "`.")]
                #[serde(rename = $text)]
                $variant,
            )+
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The text of every value.
            pub const TEXTS: &'static [&'static str] = &[$($text),+];

            /// The value's text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::UnknownValue;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                match s {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::UnknownValue { name: stringify!($name), value: s.to_owned() }),
                }
            }
        }
    };
}

pub(crate) use text_enum;

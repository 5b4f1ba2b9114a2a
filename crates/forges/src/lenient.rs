//! Reading JSON that may be anything: what is not of the expected type is as if it were missing, and what is not asked
//! for is passed over without being kept.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::received::MAX_TEXT_BYTES;

/// Members of a list that are looked at.
const MAX_ITEMS: usize = 1000;

/// A text that is not too long and has no control characters, as no name of anything has; else nothing.
#[derive(Debug, Default, Clone)]
pub(crate) struct Text(Option<String>);

impl Text {
    pub(crate) fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// Such a text, or a whole number as one; else nothing.
#[derive(Debug, Default, Clone)]
pub(crate) struct Label(Option<String>);

impl Label {
    pub(crate) fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// An object; else `T`'s default.
#[derive(Debug, Default, Clone)]
pub(crate) struct Object<T>(pub(crate) T);

/// A list; else nothing.
#[derive(Debug, Clone)]
pub(crate) struct List<T> {
    items: Option<Vec<T>>,
    is_cut: bool,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { items: None, is_cut: false }
    }
}

impl<T> List<T> {
    /// Its first members; none where there is no list.
    pub(crate) fn items(&self) -> &[T] {
        self.items.as_deref().unwrap_or_default()
    }

    /// Whether there is no list.
    pub(crate) fn is_missing(&self) -> bool {
        self.items.is_none()
    }

    /// Whether it has more members than are looked at.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }
}

/// What a place holds.
enum Found<O, I> {
    Text(String),
    Number(String),
    Object(O),
    List { items: Vec<I>, is_cut: bool },
    Other,
}

/// Takes whatever comes, an object as `O`, the members of a list as `I`.
struct Anything<O, I>(PhantomData<(O, I)>);

impl<'de, O: Deserialize<'de>, I: Deserialize<'de>> Anything<O, I> {
    fn in_place_of<D: Deserializer<'de>>(deserializer: D) -> Result<Found<O, I>, D::Error> {
        deserializer.deserialize_any(Self(PhantomData))
    }
}

impl<'de, O: Deserialize<'de>, I: Deserialize<'de>> Visitor<'de> for Anything<O, I> {
    type Value = Found<O, I>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Found::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Found::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Found::Other)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Found::Number(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Found::Number(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        let is_name = text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control);
        Ok(if is_name { Found::Text(text.to_owned()) } else { Found::Other })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        O::deserialize(MapAccessDeserializer::new(map)).map(Found::Object)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < MAX_ITEMS {
            match list.next_element()? {
                Some(item) => items.push(item),
                None => return Ok(Found::List { items, is_cut: false }),
            }
        }
        let mut is_cut = false;
        while list.next_element::<IgnoredAny>()?.is_some() {
            is_cut = true;
        }
        Ok(Found::List { items, is_cut })
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Anything::<IgnoredAny, IgnoredAny>::in_place_of(deserializer)? {
            Found::Text(text) => Self(Some(text)),
            _ => Self(None),
        })
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Anything::<IgnoredAny, IgnoredAny>::in_place_of(deserializer)? {
            Found::Text(text) | Found::Number(text) => Self(Some(text)),
            _ => Self(None),
        })
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Anything::<T, IgnoredAny>::in_place_of(deserializer)? {
            Found::Object(object) => Self(object),
            _ => Self(T::default()),
        })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Anything::<IgnoredAny, T>::in_place_of(deserializer)? {
            Found::List { items, is_cut } => Self { items: Some(items), is_cut },
            _ => Self::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Inner {
        name: Text,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Outer {
        text: Text,
        label: Label,
        inner: Object<Inner>,
        list: List<Object<Inner>>,
    }

    #[test]
    fn what_is_of_another_type_is_as_if_it_were_missing() {
        let others = ["null", "true", "-1", "1.5", "[]", "[[{}], 1]", "{}", "{\"a\": {\"b\": [1]}}", "\"\""];
        for other in others {
            for member in ["text", "label", "inner", "list", "more"] {
                let json = format!("{{\"{member}\": {other}, \"inner2\": {other}}}");
                let read: Outer = serde_json::from_str(&json).expect("readable");
                let is_text = other == "\"\"";
                assert_eq!(read.text.get(), (member == "text" && is_text).then_some(""), "{json}");
                assert_eq!(read.inner.0.name.get(), None, "{json}");
                assert_eq!(read.list.is_missing(), member != "list" || !other.starts_with('['), "{json}");
            }
        }
        let read: Outer =
            serde_json::from_str(r#"{"label": 7, "inner": {"name": "n"}, "list": [{"name": "m"}, null, 1]}"#)
                .expect("readable");
        assert_eq!((read.label.get(), read.inner.0.name.get()), (Some("7"), Some("n")));
        let names: Vec<_> = read.list.items().iter().map(|item| item.0.name.get()).collect();
        assert_eq!(names, [Some("m"), None, None]);
    }

    #[test]
    fn what_is_too_much_is_cut() {
        let json = format!("{{\"text\": \"{}\"}}", "x".repeat(MAX_TEXT_BYTES + 1));
        let read: Outer = serde_json::from_str(&json).expect("readable");
        assert_eq!(read.text.get(), None);
        let read: Outer = serde_json::from_str(r#"{"text": "a\u0000b"}"#).expect("readable");
        assert_eq!(read.text.get(), None);
        for (members, is_cut) in [(MAX_ITEMS, false), (MAX_ITEMS + 1, true)] {
            let json = format!("{{\"list\": [{}]}}", vec!["{}"; members].join(","));
            let read: Outer = serde_json::from_str(&json).expect("readable");
            assert_eq!((read.list.items().len(), read.list.is_cut()), (MAX_ITEMS, is_cut));
        }
    }
}

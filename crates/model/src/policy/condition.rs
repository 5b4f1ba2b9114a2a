//! Conditions: an operator, a key, the values that it may have.

use std::cmp::Ordering;
use std::net::IpAddr;

use super::moment::{Moment, moment};
use super::pattern::{Comparison, Language, Spellings, TextPattern};
use super::{Context, canonical_key};

/// One key under one operator. Several of them must all hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    operator: Operator,
    key: String,
    test: Test,
}

/// What an operator's name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operator {
    quantifier: Quantifier,
    kind: Kind,
    negated: bool,
    if_exists: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantifier {
    /// Made for keys with one value.
    None,
    /// `ForAllValues:`
    All,
    /// `ForAnyValue:`
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text(Comparison),
    Number(Order),
    Date(Order),
    Bool,
    Binary,
    Address,
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering == Ordering::Equal,
            Self::Less => ordering == Ordering::Less,
            Self::LessOrEqual => ordering != Ordering::Greater,
            Self::Greater => ordering == Ordering::Greater,
            Self::GreaterOrEqual => ordering != Ordering::Less,
        }
    }
}

impl Operator {
    /// Reads an operator's name, whatever its case. `Null` asks whether a key exists, so it has no
    /// `…IfExists`.
    pub(super) fn read(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        let (quantifier, name) = match name.split_once(':') {
            Some(("forallvalues", name)) => (Quantifier::All, name),
            Some(("foranyvalue", name)) => (Quantifier::Any, name),
            Some(_) => return None,
            None => (Quantifier::None, name.as_str()),
        };
        let (name, if_exists) = match name.strip_suffix("ifexists") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (kind, negated) = match name {
            "stringequals" => (Kind::Text(Comparison::Plain), false),
            "stringnotequals" => (Kind::Text(Comparison::Plain), true),
            "stringequalsignorecase" => (Kind::Text(Comparison::IgnoringCase), false),
            "stringnotequalsignorecase" => (Kind::Text(Comparison::IgnoringCase), true),
            "stringlike" => (Kind::Text(Comparison::Like), false),
            "stringnotlike" => (Kind::Text(Comparison::Like), true),
            // IAM's two names for one comparison.
            "arnequals" | "arnlike" => (Kind::Text(Comparison::Arn), false),
            "arnnotequals" | "arnnotlike" => (Kind::Text(Comparison::Arn), true),
            "bool" => (Kind::Bool, false),
            "binaryequals" => (Kind::Binary, false),
            "ipaddress" => (Kind::Address, false),
            "notipaddress" => (Kind::Address, true),
            "null" if !if_exists => (Kind::Null, false),
            _ => {
                let (kind, order): (fn(Order) -> Kind, _) = match name.strip_prefix("numeric") {
                    Some(order) => (Kind::Number, order),
                    None => (Kind::Date, name.strip_prefix("date")?),
                };
                let (order, negated) = match order {
                    "equals" => (Order::Equal, false),
                    "notequals" => (Order::Equal, true),
                    "lessthan" => (Order::Less, false),
                    "lessthanequals" => (Order::LessOrEqual, false),
                    "greaterthan" => (Order::Greater, false),
                    "greaterthanequals" => (Order::GreaterOrEqual, false),
                    _ => return None,
                };
                (kind(order), negated)
            }
        };
        Some(Self { quantifier, kind, negated, if_exists })
    }
}

/// The values of a condition, read as its operator reads them.
#[derive(Debug, Clone, PartialEq)]
enum Test {
    Text(Vec<TextPattern>),
    Number(Vec<f64>),
    Date(Vec<Moment>),
    Bool(Vec<bool>),
    Binary(Vec<String>),
    Address(Vec<Network>),
}

/// Addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn read(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= all)?
            }
            Some(_) => return None,
            None => all,
        };
        Some(Self { address, bits })
    }

    fn holds(self, address: IpAddr) -> bool {
        let same = |a: u128, b: u128, width: u32| self.bits == 0 || (a ^ b) >> (width - self.bits) == 0;
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

/// A decimal number with an optional sign, fraction and exponent.
fn decimal(text: &str) -> Option<f64> {
    let valid = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
        && text.bytes().any(|b| b.is_ascii_digit());
    valid.then(|| text.parse().ok()).flatten().filter(|number: &f64| number.is_finite())
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Base64 without its padding.
fn binary(text: &str) -> Option<String> {
    let text = text.trim_end_matches('=');
    let valid =
        text.len() % 4 != 1 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
    valid.then(|| text.to_owned())
}

/// Reads all values, or says which one is none.
fn read_all<T>(
    values: &[String],
    what: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, (usize, &'static str)> {
    values.iter().enumerate().map(|(index, value)| read(value).ok_or((index, what))).collect()
}

impl Condition {
    /// Reads a condition's values; the error is the index of the one that the operator cannot take, and
    /// what it would take.
    pub(super) fn read(
        operator: Operator,
        key: &str,
        values: &[String],
        language: Language,
    ) -> Result<Self, (usize, &'static str)> {
        let test = match operator.kind {
            Kind::Text(comparison) => Test::Text(
                values.iter().map(|value| TextPattern::read(value, language, comparison)).collect(),
            ),
            Kind::Number(_) => Test::Number(read_all(values, "a decimal number", decimal)?),
            Kind::Date(_) => Test::Date(read_all(
                values,
                "a date such as 2026-11-23T07:30:00Z, or seconds since 1970",
                moment,
            )?),
            Kind::Bool | Kind::Null => Test::Bool(read_all(values, "true or false", boolean)?),
            Kind::Binary => Test::Binary(read_all(values, "base64", binary)?),
            Kind::Address => Test::Address(read_all(
                values,
                "an IPv4 or IPv6 address, or a range of them such as 203.0.113.0/24",
                Network::read,
            )?),
        };
        Ok(Self { operator, key: canonical_key(key), test })
    }

    pub(super) fn asks_for(&self, wanted: &dyn Fn(&str) -> bool) -> bool {
        let by_variable = match &self.test {
            Test::Text(texts) => texts.iter().any(|text| text.asks_for(wanted)),
            _ => false,
        };
        by_variable || wanted(&self.key)
    }

    /// Whether the request meets the condition.
    ///
    /// What a key that is missing means, is in the operator: `…IfExists` and `ForAllValues` hold,
    /// `ForAnyValue` does not, and otherwise a negated operator does and the plain one does not.
    pub(super) fn holds(&self, context: &Context) -> bool {
        let values = context.values(&self.key);
        let Operator { quantifier, kind, negated, if_exists } = self.operator;
        if kind == Kind::Null {
            return matches!(&self.test, Test::Bool(wanted) if wanted.contains(&values.is_empty()));
        }
        if values.is_empty() {
            return if_exists
                || match quantifier {
                    Quantifier::None => negated,
                    Quantifier::All => true,
                    Quantifier::Any => false,
                };
        }
        let among = |value: &String| self.is_among(value, context);
        match (quantifier, negated) {
            (Quantifier::None | Quantifier::Any, false) => values.iter().any(among),
            (Quantifier::All, false) => values.iter().all(among),
            (Quantifier::None | Quantifier::All, true) => !values.iter().any(among),
            (Quantifier::Any, true) => !values.iter().all(among),
        }
    }

    /// Whether a value of the request is one of those in the policy. A value that cannot be read as the
    /// operator reads it is none of them.
    fn is_among(&self, value: &str, context: &Context) -> bool {
        match (&self.test, self.operator.kind) {
            (Test::Text(texts), _) => {
                let value = Spellings::of(value);
                texts.iter().any(|text| text.matches(&value, context))
            }
            (Test::Number(wanted), Kind::Number(order)) => decimal(value).is_some_and(|number| {
                wanted.iter().any(|wanted| number.partial_cmp(wanted).is_some_and(|by| order.holds(by)))
            }),
            (Test::Date(wanted), Kind::Date(order)) => moment(value)
                .is_some_and(|moment| wanted.iter().any(|wanted| order.holds(moment.cmp(wanted)))),
            (Test::Bool(wanted), _) => boolean(value).is_some_and(|value| wanted.contains(&value)),
            (Test::Binary(wanted), _) => binary(value).is_some_and(|value| wanted.contains(&value)),
            (Test::Address(networks), _) => value.parse::<IpAddr>().is_ok_and(|address| {
                let address = address.to_canonical();
                networks.iter().any(|network| network.holds(address))
            }),
            _ => false,
        }
    }
}

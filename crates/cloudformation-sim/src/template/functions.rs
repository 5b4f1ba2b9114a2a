//! The intrinsic functions that work on values alone.

use serde_json::Value;

use super::cidr;

/// Stands for a value that only the execution of a change set will know. CloudFormation's own spelling.
pub(crate) const UNKNOWN: &str = "{{changeSet:KNOWN_AFTER_APPLY}}";

/// The functions a template may use, as CloudFormation lists them when it meets another.
pub(super) const KNOWN: [&str; 20] = [
    "Fn::And",
    "Fn::Base64",
    "Fn::Cidr",
    "Fn::Equals",
    "Fn::FindInMap",
    "Fn::GetAZs",
    "Fn::GetAtt",
    "Fn::If",
    "Fn::ImportValue",
    "Fn::Join",
    "Fn::Length",
    "Fn::Not",
    "Fn::Or",
    "Fn::Select",
    "Fn::Split",
    "Fn::Sub",
    "Fn::ToJsonString",
    "Fn::Transform",
    "Ref",
    "Condition",
];

/// What a scalar is as text.
pub(super) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

pub(super) fn join(arguments: &Value) -> Result<Value, String> {
    const WRONG: &str = "Template error: every Fn::Join object requires two parameters, (1) a string delimiter and \
                         (2) a list of strings to be joined or a function that returns a list of strings (such as \
                         Fn::GetAZs) to be joined.";
    let [delimiter, items] = pair(arguments).ok_or(WRONG)?;
    let (Some(delimiter), Value::Array(items)) = (as_text(delimiter), items) else {
        return if items.as_str() == Some(UNKNOWN) { Ok(UNKNOWN.into()) } else { Err(WRONG.to_owned()) };
    };
    let items: Option<Vec<String>> = items.iter().map(as_text).collect();
    Ok(items.ok_or(WRONG)?.join(&delimiter).into())
}

pub(super) fn select(arguments: &Value) -> Result<Value, String> {
    let [index, items] = pair(arguments).ok_or(
        "Template error: Fn::Select requires a list argument with two elements: an integer index and a list",
    )?;
    if index.as_str() == Some(UNKNOWN) || items.as_str() == Some(UNKNOWN) {
        return Ok(UNKNOWN.into());
    }
    let Some(position) = as_text(index).and_then(|text| text.trim().parse::<usize>().ok()) else {
        return Err(format!(
            "Template error: Fn::Select requires a list argument with two elements: an integer index and a list, not {index}"
        ));
    };
    let Value::Array(items) = items else {
        return Err("Template error: Fn::Select requires a list argument with a valid index".to_owned());
    };
    match items.get(position) {
        Some(item) => Ok(item.clone()),
        None if items.iter().any(|item| item.as_str() == Some(UNKNOWN)) => Ok(UNKNOWN.into()),
        None => Err("Template error: Fn::Select cannot select nonexistent value at index ".to_owned()
            + &position.to_string()),
    }
}

pub(super) fn split(arguments: &Value) -> Result<Value, String> {
    const WRONG: &str = "Template error: every Fn::Split object requires two parameters, (1) a string delimiter and \
                         (2) a string to be split or a function that returns a string to be split.";
    let [delimiter, text] = pair(arguments).ok_or(WRONG)?;
    match (delimiter.as_str(), as_text(text)) {
        (_, Some(text)) if text.contains(UNKNOWN) => Ok(UNKNOWN.into()),
        (Some(delimiter), Some(text)) if !delimiter.is_empty() => {
            Ok(Value::Array(text.split(delimiter).map(Value::from).collect()))
        }
        _ => Err(WRONG.to_owned()),
    }
}

pub(super) fn base64(argument: &Value) -> Result<Value, String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text =
        as_text(argument).ok_or("Template error: every Fn::Base64 object must have a String-typed value.")?;
    if text.contains(UNKNOWN) {
        return Ok(UNKNOWN.into());
    }
    let mut out = String::with_capacity(text.len().div_ceil(3) * 4);
    for chunk in text.as_bytes().chunks(3) {
        let byte = |n: usize| u32::from(chunk.get(n).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..4 {
            let sextet = (bits >> (18 - 6 * n)) & 63;
            out.push(if n <= chunk.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    Ok(out.into())
}

pub(super) fn cidr(arguments: &Value) -> Result<Value, String> {
    const WRONG: &str = "Template error: every Fn::Cidr object requires two or three parameters: an IP block, a count \
                         and, optionally, a number of subnet bits.";
    let items = arguments.as_array().filter(|items| (2..=3).contains(&items.len())).ok_or(WRONG)?;
    let text = |n: usize| items.get(n).and_then(as_text);
    if (0..3).any(|n| text(n).is_some_and(|text| text.contains(UNKNOWN))) {
        return Ok(UNKNOWN.into());
    }
    let block = text(0).ok_or(WRONG)?;
    let count = text(1).and_then(|text| text.parse().ok()).ok_or(WRONG)?;
    let bits = match items.get(2) {
        None => None,
        Some(_) => Some(text(2).and_then(|text| text.parse().ok()).ok_or(WRONG)?),
    };
    Ok(Value::Array(cidr::blocks(&block, count, bits)?.into_iter().map(Value::from).collect()))
}

/// `Fn::Length` of `AWS::LanguageExtensions`.
pub(super) fn length(argument: &Value) -> Result<Value, String> {
    match argument {
        Value::Array(items) => Ok(items.len().to_string().into()),
        Value::String(text) if text == UNKNOWN => Ok(UNKNOWN.into()),
        _ => Err("Template error: Fn::Length requires a list".to_owned()),
    }
}

/// Both arguments of `Fn::Equals`, compared as text where they are scalars.
pub(super) fn equals(arguments: &Value) -> Result<bool, String> {
    let [left, right] = pair(arguments)
        .ok_or("Template error: every Fn::Equals object requires a list of 2 string parameters.")?;
    Ok(match (as_text(left), as_text(right)) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    })
}

/// A list of exactly two.
pub(super) fn pair(value: &Value) -> Option<[&Value; 2]> {
    match value.as_array().map(Vec::as_slice) {
        Some([first, second]) => Some([first, second]),
        _ => None,
    }
}

/// A part of an `Fn::Sub` text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SubPart<'a> {
    /// Text that stands for itself.
    Text(&'a str),
    /// The name in `${name}`.
    Variable(&'a str),
    /// `${!name}`, which stands for `${name}`.
    Literal(&'a str),
}

/// Splits an `Fn::Sub` text at its variables.
pub(super) fn sub_parts(text: &str) -> Result<Vec<SubPart<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start..].find('}') else { break };
        if start > 0 {
            parts.push(SubPart::Text(&rest[..start]));
        }
        let name = rest[start + 2..start + length].trim();
        match name.strip_prefix('!') {
            Some(literal) => parts.push(SubPart::Literal(literal)),
            None if name.is_empty()
                || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':')) =>
            {
                return Err(
                    "Template error: variable names in Fn::Sub syntax must contain only alphanumeric \
                            characters, underscores, periods, and colons"
                        .to_owned(),
                );
            }
            None => parts.push(SubPart::Variable(name)),
        }
        rest = &rest[start + length + 1..];
    }
    if !rest.is_empty() {
        parts.push(SubPart::Text(rest));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn functions_answer_as_cloudformation_does() {
        let check = |result: Result<Value, String>, expect: Result<Value, &str>| match (result, expect) {
            (Ok(value), Ok(expect)) => assert_eq!(value, expect),
            (Err(message), Err(part)) => assert!(message.contains(part), "{message}"),
            (result, expect) => panic!("{result:?} instead of {expect:?}"),
        };
        check(join(&json!(["-", ["a", "b"]])), Ok(json!("a-b")));
        check(join(&json!(["", []])), Ok(json!("")));
        check(join(&json!(["-"])), Err("Fn::Join"));
        check(select(&json!(["1", ["a", "b"]])), Ok(json!("b")));
        check(select(&json!(["2", ["a", "b"]])), Err("nonexistent value at index 2"));
        check(select(&json!(["x", ["a"]])), Err("integer index"));
        check(split(&json!([",", "a,b,,"])), Ok(json!(["a", "b", "", ""])));
        check(split(&json!(["", "a"])), Err("Fn::Split"));
        check(base64(&json!("")), Ok(json!("")));
        check(base64(&json!("a")), Ok(json!("YQ==")));
        check(base64(&json!("ab")), Ok(json!("YWI=")));
        check(base64(&json!("abc")), Ok(json!("YWJj")));
        check(base64(&json!("grün")), Ok(json!("Z3LDvG4=")));
        check(length(&json!(["a", "b"])), Ok(json!("2")));
    }

    #[test]
    fn what_only_execution_knows_stays_unknown() {
        let unknown = Ok(Value::from(UNKNOWN));
        assert_eq!(split(&json!([",", format!("a{UNKNOWN}b")])), unknown);
        assert_eq!(select(&json!(["3", UNKNOWN])), unknown);
        assert_eq!(base64(&json!(UNKNOWN)), unknown);
        assert_eq!(join(&json!(["-", ["a", UNKNOWN]])), Ok(format!("a-{UNKNOWN}").into()));
    }

    #[test]
    fn sub_knows_variables_and_literals() {
        use SubPart::{Literal, Text, Variable};
        let check = |text: &str, expect: &[SubPart<'_>]| {
            assert_eq!(sub_parts(text).as_deref(), Ok(expect), "{text}");
        };
        check("a", &[Text("a")]);
        check("a${B}c", &[Text("a"), Variable("B"), Text("c")]);
        check("${A.b}${AWS::Region}", &[Variable("A.b"), Variable("AWS::Region")]);
        check("${!A} $ {A} ${", &[Literal("A"), Text(" $ {A} ${")]);
        assert!(sub_parts("${a b}").is_err());
        assert!(sub_parts("${}").is_err());
    }
}

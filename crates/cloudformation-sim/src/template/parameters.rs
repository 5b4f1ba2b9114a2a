//! Parameters: their declarations, and the values a request gives them.

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde_json::{Map, Value};

use super::load::{format_error, is_alphanumeric, within_quota};
use crate::refusal::Refusal;

/// A member of `Parameters`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ParameterDecl {
    /// Its key.
    pub(crate) key: String,
    /// `Type`.
    pub(crate) kind: String,
    /// `Default`.
    pub(crate) default: Option<String>,
    /// `NoEcho`: values are answered as `****`.
    pub(crate) no_echo: bool,
    /// `Description`.
    pub(crate) description: Option<String>,
    allowed_values: Vec<String>,
    allowed_pattern: Option<String>,
    constraint_description: Option<String>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    min_value: Option<f64>,
    max_value: Option<f64>,
}

/// What a request says about a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GivenParameter {
    /// `ParameterKey`.
    pub(crate) key: String,
    /// `ParameterValue`.
    pub(crate) value: Option<String>,
    /// `UsePreviousValue`.
    pub(crate) use_previous: bool,
}

/// A parameter with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParameterValue {
    /// The value as text; lists are comma-joined.
    pub(crate) text: String,
    /// Whether the declared type is a list.
    pub(crate) list: bool,
    /// Whether answers hide it.
    pub(crate) no_echo: bool,
}

const MEMBERS: [&str; 11] = [
    "Type",
    "Default",
    "NoEcho",
    "Description",
    "AllowedValues",
    "AllowedPattern",
    "ConstraintDescription",
    "MinLength",
    "MaxLength",
    "MinValue",
    "MaxValue",
];

/// The most parameters a template may declare [CloudFormation quotas].
const MAX_PARAMETERS: usize = 200;

/// Reads the `Parameters` section.
pub(super) fn declarations(section: &Map<String, Value>) -> Result<Vec<ParameterDecl>, Refusal> {
    within_quota("parameters", section.len(), MAX_PARAMETERS)?;
    section.iter().map(|(key, member)| declaration(key, member)).collect()
}

fn declaration(key: &str, member: &Value) -> Result<ParameterDecl, Refusal> {
    if !is_alphanumeric(key) {
        return Err(format_error(&format!("Parameter name {key} is non alphanumeric.")));
    }
    let Value::Object(member) = member else {
        return Err(format_error("Any Parameters member must be an object."));
    };
    if let Some(unknown) = member.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
        return Err(format_error(&format!("Invalid template parameter property '{unknown}'")));
    }
    let text = |name: &str| member.get(name).and_then(Value::as_str).map(str::to_owned);
    let Some(kind) = text("Type") else {
        return Err(format_error("Every Parameters object must contain a Type member."));
    };
    if kind.starts_with("AWS::SSM::Parameter::") {
        return Err(Refusal::validation(format!(
            "Parameter {key} has type {kind}: this simulated CloudFormation has no SSM parameter store to read"
        )));
    }
    let aws = |kind: &str| {
        kind.starts_with("AWS::") && kind.split("::").count() >= 3 && !kind.split("::").any(str::is_empty)
    };
    let known =
        matches!(kind.as_str(), "String" | "Number" | "CommaDelimitedList" | "List<Number>" | "List<String>")
            || aws(&kind)
            || kind.strip_prefix("List<").and_then(|rest| rest.strip_suffix('>')).is_some_and(aws);
    if !known {
        return Err(format_error(&format!("Unrecognized parameter type: {kind}")));
    }
    let number = |name: &str| -> Result<Option<f64>, Refusal> {
        match text(name) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                format_error(&format!("{name} of parameter {key} must be a number, not '{text}'."))
            }),
        }
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "lengths are small and not negative"
    )]
    let length =
        |name: &str| -> Result<Option<u64>, Refusal> { Ok(number(name)?.map(|n| n.max(0.0) as u64)) };
    let default = match member.get("Default") {
        None => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => {
            return Err(format_error(&format!(
                "Every Default member must be a string, as in parameter {key}."
            )));
        }
    };
    let allowed_values = match member.get("AllowedValues") {
        None => Vec::new(),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(_) => return Err(format_error(&format!("AllowedValues of parameter {key} must be a list."))),
    };
    Ok(ParameterDecl {
        key: key.to_owned(),
        default,
        no_echo: text("NoEcho").is_some_and(|value| value.eq_ignore_ascii_case("true")),
        description: text("Description"),
        allowed_values,
        allowed_pattern: text("AllowedPattern"),
        constraint_description: text("ConstraintDescription"),
        min_length: length("MinLength")?,
        max_length: length("MaxLength")?,
        min_value: number("MinValue")?,
        max_value: number("MaxValue")?,
        kind,
    })
}

/// Gives every declared parameter a value: the given one, the previous one, or the default.
///
/// # Errors
/// A `ValidationError` naming parameters without a value, unknown parameters, or a value that breaks a constraint.
pub(crate) fn resolve(
    declared: &[ParameterDecl],
    given: &[GivenParameter],
    previous: &BTreeMap<String, ParameterValue>,
) -> Result<BTreeMap<String, ParameterValue>, Refusal> {
    let unknown: Vec<&str> =
        given.iter().map(|g| g.key.as_str()).filter(|key| !declared.iter().any(|d| d.key == *key)).collect();
    if !unknown.is_empty() {
        return Err(Refusal::validation(format!(
            "Parameters: [{}] do not exist in the template",
            unknown.join(", ")
        )));
    }
    if let Some(both) = given.iter().find(|g| g.use_previous && g.value.is_some()) {
        return Err(Refusal::validation(format!(
            "Invalid input for parameter key {}. Cannot specify usePreviousValue as true and non empty value for a parameter",
            both.key
        )));
    }
    if let Some(new) = given.iter().find(|g| g.use_previous && !previous.contains_key(&g.key)) {
        return Err(Refusal::validation(format!(
            "Invalid input for parameter key {}. Cannot specify usePreviousValue as true for a parameter key not in the previous template",
            new.key
        )));
    }
    for (n, parameter) in given.iter().enumerate() {
        if given[..n].iter().any(|earlier| earlier.key == parameter.key) {
            return Err(Refusal::validation(format!("Parameter {} is given more than once", parameter.key)));
        }
    }
    let mut values = BTreeMap::new();
    let mut missing = Vec::new();
    for declaration in declared {
        let said = given.iter().find(|g| g.key == declaration.key);
        let text = match said {
            Some(GivenParameter { use_previous: true, .. }) => {
                previous.get(&declaration.key).map(|value| value.text.clone())
            }
            Some(given) => given.value.clone(),
            None => declaration.default.clone(),
        };
        match text {
            None => missing.push(declaration.key.as_str()),
            Some(text) => {
                declaration.check(&text)?;
                let value =
                    ParameterValue { text, list: declaration.is_list(), no_echo: declaration.no_echo };
                values.insert(declaration.key.clone(), value);
            }
        }
    }
    if !missing.is_empty() {
        return Err(Refusal::validation(format!("Parameters: [{}] must have values", missing.join(", "))));
    }
    Ok(values)
}

impl ParameterDecl {
    /// Whether the value is a comma-separated list.
    pub(crate) fn is_list(&self) -> bool {
        self.kind == "CommaDelimitedList" || self.kind.starts_with("List<")
    }

    fn check(&self, text: &str) -> Result<(), Refusal> {
        let items: Vec<&str> =
            if self.is_list() { text.split(',').map(str::trim).collect() } else { vec![text] };
        let numeric = matches!(self.kind.as_str(), "Number" | "List<Number>");
        for item in items {
            self.check_item(item, numeric)?;
        }
        Ok(())
    }

    fn check_item(&self, text: &str, numeric: bool) -> Result<(), Refusal> {
        let key = &self.key;
        if numeric {
            let Ok(number) = text.parse::<f64>() else {
                return Err(Refusal::validation(format!("Parameter '{key}' must be a number.")));
            };
            if let Some(min) = self.min_value.filter(|min| number < *min) {
                return self.broken(format!("must be a number not less than {min}"));
            }
            if let Some(max) = self.max_value.filter(|max| number > *max) {
                return self.broken(format!("must be a number not greater than {max}"));
            }
        }
        if !self.allowed_values.is_empty() && !self.allowed_values.iter().any(|allowed| allowed == text) {
            return self.broken("must be one of AllowedValues".to_owned());
        }
        let length = text.chars().count() as u64;
        if let Some(min) = self.min_length.filter(|min| length < *min) {
            return self.broken(format!("must contain at least {min} characters"));
        }
        if let Some(max) = self.max_length.filter(|max| length > *max) {
            return self.broken(format!("must contain at most {max} characters"));
        }
        if let Some(pattern) = &self.allowed_pattern
            // CloudFormation's patterns are Java's: what this engine cannot read (look-around, for one) is let pass.
            && let Ok(regex) = Regex::new(&format!("^(?:{pattern})$"))
            && !regex.is_match(text)
        {
            return self.broken(format!("must match pattern {pattern}"));
        }
        Ok(())
    }

    fn broken(&self, rule: String) -> Result<(), Refusal> {
        Err(Refusal::validation(match &self.constraint_description {
            Some(description) => {
                format!("Parameter '{}' failed to satisfy constraint: {description}", self.key)
            }
            None => format!("Parameter '{}' {rule}", self.key),
        }))
    }
}

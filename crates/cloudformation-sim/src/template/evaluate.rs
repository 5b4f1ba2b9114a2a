//! Evaluates values: references, conditions and intrinsic functions.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::functions::{self, SubPart, UNKNOWN};
use super::{ParameterValue, Template};

/// Where a stack lives; what the pseudo parameters say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub(crate) partition: &'static str,
    /// The domain of service endpoints.
    pub(crate) url_suffix: &'static str,
    /// The region.
    pub(crate) region: String,
    /// The account id.
    pub(crate) account: String,
    /// The stack's name.
    pub(crate) stack_name: String,
    /// The stack's ARN.
    pub(crate) stack_id: String,
}

/// The resources of a stack, as far as they exist when a value is evaluated.
pub(crate) trait Resources {
    /// What `Ref` to a resource gives.
    fn reference(&self, logical_id: &str) -> Result<Value, String>;
    /// What `Fn::GetAtt` gives.
    fn attribute(&self, logical_id: &str, attribute: &str) -> Result<Value, String>;
}

/// All that values of a template depend on.
pub(crate) struct Context<'a> {
    /// The template.
    pub(crate) template: &'a Template,
    /// Its parameters' values.
    pub(crate) parameters: &'a BTreeMap<String, ParameterValue>,
    /// Where the stack lives.
    pub(crate) place: &'a Place,
    /// The conditions' values; see [`Context::conditions`].
    pub(crate) conditions: BTreeMap<String, bool>,
    /// The stack's notification topics.
    pub(crate) notification_arns: &'a [String],
    /// The stack's resources.
    pub(crate) resources: &'a dyn Resources,
    /// The exports of the region.
    pub(crate) exports: &'a BTreeMap<String, String>,
    /// The exports that were read.
    pub(crate) imported: RefCell<BTreeSet<String>>,
}

/// Whether a value holds anything that only execution will know.
pub(crate) fn is_unknown(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(UNKNOWN),
        Value::Array(items) => items.iter().any(is_unknown),
        Value::Object(map) => map.values().any(is_unknown),
        _ => false,
    }
}

impl Context<'_> {
    /// Evaluates all conditions; to be stored in [`Context::conditions`] before anything else is evaluated.
    pub(crate) fn evaluate_conditions(&mut self) -> Result<(), String> {
        let names: Vec<String> = self.template.conditions.keys().cloned().collect();
        for name in &names {
            self.condition(name, &mut Vec::new())?;
        }
        Ok(())
    }

    fn condition(&mut self, name: &str, open: &mut Vec<String>) -> Result<bool, String> {
        if let Some(value) = self.conditions.get(name) {
            return Ok(*value);
        }
        let Some(definition) = self.template.conditions.get(name).cloned() else {
            return Err(format!("Template format error: Unresolved condition dependency {name}"));
        };
        if open.iter().any(|other| other == name) {
            return Err(format!(
                "Template error: circular dependency between conditions [{}]",
                open.join(", ")
            ));
        }
        open.push(name.to_owned());
        let value = self.condition_expression(&definition, open)?;
        open.pop();
        self.conditions.insert(name.to_owned(), value);
        Ok(value)
    }

    fn condition_expression(&mut self, expression: &Value, open: &mut Vec<String>) -> Result<bool, String> {
        let Some((function, arguments)) = only_member(expression) else {
            return Err(
                "Template format error: Conditions can only be boolean operations on parameters and other \
                        conditions"
                    .to_owned(),
            );
        };
        let items = || {
            arguments.as_array().filter(|items| (1..=10).contains(&items.len())).cloned().ok_or_else(|| {
                format!("Template error: every {function} object requires a list of conditions.")
            })
        };
        match function {
            "Condition" => match arguments.as_str() {
                Some(name) => self.condition(name, open),
                None => Err("Template error: Condition must name a condition.".to_owned()),
            },
            "Fn::Equals" => {
                let arguments = self.value(arguments)?.unwrap_or(Value::Null);
                functions::equals(&arguments)
            }
            "Fn::Not" => match items()?.as_slice() {
                [only] => Ok(!self.condition_expression(only, open)?),
                _ => Err("Template error: every Fn::Not object requires a list of 1 condition.".to_owned()),
            },
            "Fn::And" | "Fn::Or" => {
                let items = items()?;
                if items.len() < 2 {
                    return Err(format!(
                        "Template error: every {function} node requires a list of at least 2 and at most 10 boolean parameters."
                    ));
                }
                let mut values = Vec::new();
                for item in &items {
                    values.push(self.condition_expression(item, open)?);
                }
                Ok(if function == "Fn::And" { values.iter().all(|v| *v) } else { values.iter().any(|v| *v) })
            }
            _ => Err(
                "Template format error: Conditions can only be boolean operations on parameters and other \
                      conditions"
                    .to_owned(),
            ),
        }
    }

    /// Whether something with this `Condition` exists.
    pub(crate) fn is_active(&self, condition: Option<&str>) -> bool {
        condition.is_none_or(|name| self.conditions.get(name).copied().unwrap_or(false))
    }

    /// A value with everything in it evaluated; `None` is `AWS::NoValue`.
    pub(crate) fn value(&self, value: &Value) -> Result<Option<Value>, String> {
        match value {
            Value::Array(items) => {
                let mut values = Vec::with_capacity(items.len());
                for item in items {
                    values.extend(self.value(item)?);
                }
                Ok(Some(Value::Array(values)))
            }
            Value::Object(map) => match only_member(value) {
                Some((function, arguments)) if function == "Ref" || function.starts_with("Fn::") => {
                    self.call(function, arguments)
                }
                _ => Ok(Some(Value::Object(self.members(map)?))),
            },
            scalar => Ok(Some(scalar.clone())),
        }
    }

    /// The members of a mapping, each evaluated.
    pub(crate) fn members(&self, map: &Map<String, Value>) -> Result<Map<String, Value>, String> {
        let mut members = Map::with_capacity(map.len());
        for (key, member) in map {
            if let Some(value) = self.value(member)? {
                members.insert(key.clone(), value);
            }
        }
        Ok(members)
    }

    /// A value that must be a scalar, as text.
    pub(crate) fn text(&self, value: &Value) -> Result<String, String> {
        let value = self.value(value)?.unwrap_or(Value::Null);
        functions::as_text(&value).ok_or_else(|| format!("Template error: {value} is not a string"))
    }

    fn call(&self, function: &str, arguments: &Value) -> Result<Option<Value>, String> {
        let evaluated = || Ok::<Value, String>(self.value(arguments)?.unwrap_or(Value::Null));
        let value = match function {
            "Ref" => return self.reference(arguments.as_str().unwrap_or_default()),
            "Fn::If" => return self.if_(arguments),
            "Fn::GetAtt" => {
                let (logical_id, attribute) = get_att_parts(arguments)?;
                self.resources.attribute(&logical_id, &self.text(&attribute)?)?
            }
            "Fn::Sub" => self.sub(arguments)?,
            "Fn::FindInMap" => self.find_in_map(arguments)?,
            "Fn::ImportValue" => self.import_value(arguments)?,
            "Fn::GetAZs" => self.availability_zones(&evaluated()?)?,
            "Fn::Join" => functions::join(&evaluated()?)?,
            "Fn::Select" => functions::select(&evaluated()?)?,
            "Fn::Split" => functions::split(&evaluated()?)?,
            "Fn::Base64" => functions::base64(&evaluated()?)?,
            "Fn::Cidr" => functions::cidr(&evaluated()?)?,
            "Fn::Length" if self.template.has_language_extensions() => functions::length(&evaluated()?)?,
            "Fn::ToJsonString" if self.template.has_language_extensions() => evaluated()?.to_string().into(),
            _ => return Err(unsupported_function(function)),
        };
        Ok(Some(value))
    }

    fn reference(&self, name: &str) -> Result<Option<Value>, String> {
        if let Some(parameter) = self.parameters.get(name) {
            return Ok(Some(if parameter.list {
                let items = parameter.text.split(',').map(|item| item.trim().into());
                Value::Array(items.filter(|item: &Value| item != "").collect())
            } else {
                parameter.text.as_str().into()
            }));
        }
        let place = self.place;
        Ok(Some(match name {
            "AWS::NoValue" => return Ok(None),
            "AWS::Region" => place.region.as_str().into(),
            "AWS::AccountId" => place.account.as_str().into(),
            "AWS::Partition" => place.partition.into(),
            "AWS::URLSuffix" => place.url_suffix.into(),
            "AWS::StackName" => place.stack_name.as_str().into(),
            "AWS::StackId" => place.stack_id.as_str().into(),
            "AWS::NotificationARNs" => self.notification_arns.to_vec().into(),
            _ => self.resources.reference(name)?,
        }))
    }

    fn if_(&self, arguments: &Value) -> Result<Option<Value>, String> {
        let Some([Value::String(condition), yes, no]) = arguments.as_array().map(Vec::as_slice) else {
            return Err(
                "Template error: Fn::If requires a list argument with three elements: a condition's name \
                        and two values"
                    .to_owned(),
            );
        };
        match self.conditions.get(condition) {
            Some(true) => self.value(yes),
            Some(false) => self.value(no),
            None => Err(format!("Template error: unresolved condition dependency {condition} in Fn::If")),
        }
    }

    fn sub(&self, arguments: &Value) -> Result<Value, String> {
        let (text, given) = sub_arguments(arguments)?;
        let mut out = String::new();
        for part in functions::sub_parts(text)? {
            match part {
                SubPart::Text(text) => out.push_str(text),
                SubPart::Literal(name) => {
                    out.push_str("${");
                    out.push_str(name);
                    out.push('}');
                }
                SubPart::Variable(name) => {
                    let value = match (given.and_then(|map| map.get(name)), name.split_once('.')) {
                        (Some(value), _) => self.value(value)?,
                        (None, Some((logical_id, attribute))) => {
                            Some(self.resources.attribute(logical_id, attribute)?)
                        }
                        (None, None) => self.reference(name)?,
                    };
                    match value {
                        Some(Value::Array(items)) => {
                            let items: Vec<String> = items.iter().filter_map(functions::as_text).collect();
                            out.push_str(&items.join(","));
                        }
                        Some(value) => out.push_str(&functions::as_text(&value).ok_or_else(|| {
                            format!("Template error: Fn::Sub variable {name} does not resolve to a string")
                        })?),
                        None => {}
                    }
                }
            }
        }
        Ok(out.into())
    }

    fn find_in_map(&self, arguments: &Value) -> Result<Value, String> {
        let items = arguments.as_array().map(Vec::as_slice);
        let (keys, default) = match items {
            Some(keys @ [_, _, _]) => (keys, None),
            Some([map, first, second, options]) if self.template.has_language_extensions() => {
                (&[map.clone(), first.clone(), second.clone()][..], options.get("DefaultValue"))
            }
            _ => {
                return Err(
                    "Template error: every Fn::FindInMap object requires three parameters, the map name, \
                            map key and the attribute for return value"
                        .to_owned(),
                );
            }
        };
        let (map, first, second) = (self.text(&keys[0])?, self.text(&keys[1])?, self.text(&keys[2])?);
        let found = self.template.mappings.get(&map).and_then(|m| m.get(&first)).and_then(|m| m.get(&second));
        match (found, default) {
            (Some(value), _) => Ok(value.clone()),
            (None, Some(default)) => Ok(self.value(default)?.unwrap_or(Value::Null)),
            (None, None) => {
                Err(format!("Template error: Unable to get mapping for {map}::{first}::{second}"))
            }
        }
    }

    fn import_value(&self, argument: &Value) -> Result<Value, String> {
        let name = self.text(argument)?;
        match self.exports.get(&name) {
            Some(value) => {
                self.imported.borrow_mut().insert(name);
                Ok(value.as_str().into())
            }
            None if name.contains(UNKNOWN) => Ok(UNKNOWN.into()),
            None => Err(format!("No export named {name} found.")),
        }
    }

    fn availability_zones(&self, region: &Value) -> Result<Value, String> {
        let region = match region.as_str() {
            Some("") | None => self.place.region.as_str(),
            Some(region) => region,
        };
        Ok(["a", "b", "c"].map(|zone| Value::from(format!("{region}{zone}"))).to_vec().into())
    }
}

/// The single member of a mapping, if it has exactly one.
pub(super) fn only_member(value: &Value) -> Option<(&str, &Value)> {
    let map = value.as_object()?;
    if map.len() != 1 {
        return None;
    }
    map.iter().next().map(|(key, member)| (key.as_str(), member))
}

/// The logical id and the attribute (which may be a `Ref`) of an `Fn::GetAtt`.
pub(super) fn get_att_parts(arguments: &Value) -> Result<(String, Value), String> {
    const WRONG: &str = "Template error: every Fn::GetAtt object requires two non-empty parameters, the resource name \
                         and the resource attribute";
    match arguments {
        Value::String(text) => match text.split_once('.') {
            Some((id, attribute)) if !id.is_empty() && !attribute.is_empty() => {
                Ok((id.to_owned(), attribute.into()))
            }
            _ => Err(WRONG.to_owned()),
        },
        Value::Array(items) => match items.as_slice() {
            [Value::String(id), attribute @ (Value::String(_) | Value::Object(_))]
                if !id.is_empty() && attribute != "" =>
            {
                Ok((id.clone(), attribute.clone()))
            }
            _ => Err(WRONG.to_owned()),
        },
        _ => Err(WRONG.to_owned()),
    }
}

/// The text of an `Fn::Sub` and the variables it brings.
type SubArguments<'a> = (&'a str, Option<&'a Map<String, Value>>);

/// The text and the variables of an `Fn::Sub`.
pub(super) fn sub_arguments(arguments: &Value) -> Result<SubArguments<'_>, String> {
    match arguments {
        Value::String(text) => Ok((text, None)),
        Value::Array(items) => match items.as_slice() {
            [Value::String(text), Value::Object(map)] => Ok((text, Some(map))),
            _ => Err("Template error: One or more Fn::Sub intrinsic functions don't specify expected arguments. \
                      Specify a string as first argument, and an optional second argument to specify a mapping of \
                      values to replace in the string"
                .to_owned()),
        },
        _ => Err("Template error: One or more Fn::Sub intrinsic functions don't specify expected arguments. Specify \
                  a string as first argument, and an optional second argument to specify a mapping of values to \
                  replace in the string"
            .to_owned()),
    }
}

pub(super) fn unsupported_function(function: &str) -> String {
    let known = functions::KNOWN.join(", ");
    format!("Template error: Encountered unsupported function: {function} Supported functions are: [{known}]")
}

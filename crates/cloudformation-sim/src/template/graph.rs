//! Who refers to whom: dependencies, their order, and circles.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::evaluate::{get_att_parts, only_member, sub_arguments, unsupported_function};
use super::functions::{self, SubPart};
use super::load::{ResourceDecl, Template};

/// Something a value refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reference {
    /// A parameter, a pseudo parameter or a resource.
    Name(String),
    /// A resource's attribute; `None` when the attribute's name is itself computed.
    Attribute(String, Option<String>),
    /// A condition, by `Fn::If`.
    Condition(String),
}

/// Collects what `value` refers to. With the conditions' values, the branches of `Fn::If` not taken are left out.
///
/// # Errors
/// When a function's arguments have the wrong form, or the function does not exist.
pub(super) fn references(
    value: &Value,
    conditions: Option<&BTreeMap<String, bool>>,
    language_extensions: bool,
    found: &mut Vec<Reference>,
) -> Result<(), String> {
    let mut walk = |value: &Value| references(value, conditions, language_extensions, found);
    match value {
        Value::Array(items) => items.iter().try_for_each(walk),
        Value::Object(map) => {
            let Some((function, arguments)) = only_member(value) else {
                return map.values().try_for_each(walk);
            };
            match function {
                "Ref" => match arguments.as_str() {
                    Some(name) if !name.is_empty() => {
                        found.push(Reference::Name(name.to_owned()));
                        Ok(())
                    }
                    _ => Err("Template error: every Ref object must have a single String value.".to_owned()),
                },
                "Fn::GetAtt" => {
                    let (logical_id, attribute) = get_att_parts(arguments)?;
                    walk(&attribute)?;
                    found.push(Reference::Attribute(logical_id, attribute.as_str().map(str::to_owned)));
                    Ok(())
                }
                "Fn::If" => {
                    let Some([condition, yes, no]) = arguments.as_array().map(Vec::as_slice) else {
                        return Err(
                            "Template error: Fn::If requires a list argument with three elements: a \
                                    condition's name and two values"
                                .to_owned(),
                        );
                    };
                    let Some(condition) = condition.as_str() else {
                        return Err("Template error: Fn::If requires a condition's name".to_owned());
                    };
                    match conditions.and_then(|values| values.get(condition)) {
                        Some(true) => walk(yes),
                        Some(false) => walk(no),
                        None => {
                            walk(yes)?;
                            walk(no)?;
                            found.push(Reference::Condition(condition.to_owned()));
                            Ok(())
                        }
                    }
                }
                "Fn::Sub" => {
                    let (text, given) = sub_arguments(arguments)?;
                    for value in given.into_iter().flat_map(|map| map.values()) {
                        walk(value)?;
                    }
                    for part in functions::sub_parts(text)? {
                        let SubPart::Variable(name) = part else { continue };
                        if given.is_some_and(|map| map.contains_key(name)) {
                            continue;
                        }
                        found.push(match name.split_once('.') {
                            Some((id, attribute)) => {
                                Reference::Attribute(id.to_owned(), Some(attribute.to_owned()))
                            }
                            None => Reference::Name(name.to_owned()),
                        });
                    }
                    Ok(())
                }
                "Fn::Transform" => Err("Template error: Fn::Transform calls a macro, and this simulated \
                                        CloudFormation runs none"
                    .to_owned()),
                "Fn::Length" | "Fn::ToJsonString" if !language_extensions => {
                    Err(format!("Template error: {function} needs the transform AWS::LanguageExtensions"))
                }
                _ if function.starts_with("Fn::") && !functions::KNOWN.contains(&function) => {
                    Err(unsupported_function(function))
                }
                _ => walk(arguments),
            }
        }
        _ => Ok(()),
    }
}

/// What a resource's properties and metadata refer to.
pub(super) fn of_resource(
    template: &Template,
    resource: &ResourceDecl,
    conditions: Option<&BTreeMap<String, bool>>,
) -> Result<Vec<Reference>, String> {
    let mut found = Vec::new();
    for value in resource.properties.values().chain(&resource.metadata) {
        references(value, conditions, template.has_language_extensions(), &mut found)?;
    }
    Ok(found)
}

/// The active resources with what each depends on, every resource after its dependencies; otherwise in the order of
/// the document.
///
/// # Errors
/// When resources depend on each other in a circle, in CloudFormation's words.
pub(crate) fn order(
    template: &Template,
    conditions: &BTreeMap<String, bool>,
) -> Result<Vec<(String, Vec<String>)>, String> {
    let active = |resource: &&ResourceDecl| {
        resource.condition.as_ref().is_none_or(|name| conditions.get(name).copied().unwrap_or(false))
    };
    let ids: BTreeSet<&str> =
        template.resources.iter().filter(active).map(|resource| resource.logical_id.as_str()).collect();
    let mut waiting: Vec<(String, Vec<String>)> = Vec::new();
    for resource in template.resources.iter().filter(active) {
        let mut needs: BTreeSet<String> =
            resource.depends_on.iter().filter(|id| ids.contains(id.as_str())).cloned().collect();
        for reference in of_resource(template, resource, Some(conditions))? {
            if let Reference::Name(id) | Reference::Attribute(id, _) = reference
                && ids.contains(id.as_str())
            {
                needs.insert(id);
            }
        }
        waiting.push((resource.logical_id.clone(), needs.into_iter().collect()));
    }
    let mut ordered: Vec<(String, Vec<String>)> = Vec::with_capacity(waiting.len());
    let mut placed: BTreeSet<String> = BTreeSet::new();
    while !waiting.is_empty() {
        let Some(next) = waiting.iter().position(|(_, needs)| needs.iter().all(|id| placed.contains(id)))
        else {
            let circle: Vec<&str> = in_circles(&waiting);
            return Err(format!("Circular dependency between resources: [{}]", circle.join(", ")));
        };
        let (id, needs) = waiting.remove(next);
        placed.insert(id.clone());
        ordered.push((id, needs));
    }
    Ok(ordered)
}

/// The members that are part of a circle, without those that merely depend on one.
fn in_circles(waiting: &[(String, Vec<String>)]) -> Vec<&str> {
    let needs_of = |id: &str| waiting.iter().find(|(other, _)| other == id).map(|(_, needs)| needs);
    waiting
        .iter()
        .map(|(id, _)| id.as_str())
        .filter(|start| {
            let mut seen = BTreeSet::new();
            let mut open: Vec<&str> = vec![start];
            while let Some(id) = open.pop() {
                for need in needs_of(id).into_iter().flatten() {
                    if need == start {
                        return true;
                    }
                    if seen.insert(need.as_str()) {
                        open.push(need);
                    }
                }
            }
            false
        })
        .collect()
}

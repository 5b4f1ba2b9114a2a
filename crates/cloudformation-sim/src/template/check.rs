//! What CloudFormation refuses in a template before it looks at any value.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::graph::{self, Reference};
use super::load::{Template, format_error};
use super::types;
use crate::refusal::Refusal;

const PSEUDO_PARAMETERS: [&str; 8] = [
    "AWS::AccountId",
    "AWS::NoValue",
    "AWS::NotificationARNs",
    "AWS::Partition",
    "AWS::Region",
    "AWS::StackId",
    "AWS::StackName",
    "AWS::URLSuffix",
];

/// Checks names, types and references.
pub(super) fn check(template: &Template) -> Result<(), Refusal> {
    resource_types(template)?;
    let parameters: BTreeSet<&str> = template.parameters.iter().map(|p| p.key.as_str()).collect();
    let resources: BTreeSet<&str> = template.resources.iter().map(|r| r.logical_id.as_str()).collect();
    if let Some(both) = parameters.intersection(&resources).next() {
        return Err(format_error(&format!("logical id {both} is used for both a parameter and a resource.")));
    }
    conditions(template, &parameters, &resources)?;

    let mut unresolved = BTreeSet::new();
    for resource in &template.resources {
        if let Some(name) = &resource.condition
            && !template.conditions.contains_key(name)
        {
            return Err(format_error(&format!(
                "Unresolved condition dependency {name} in the Resources block of the template"
            )));
        }
        unresolved.extend(resource.depends_on.iter().filter(|id| !resources.contains(id.as_str())).cloned());
        let found = graph::of_resource(template, resource, None).map_err(Refusal::validation)?;
        unresolved.extend(unresolved_names(template, &parameters, &resources, found)?);
    }
    if !unresolved.is_empty() {
        return Err(unresolved_error("Template format error: ", &unresolved, "Resources"));
    }
    for output in &template.outputs {
        if let Some(name) = &output.condition
            && !template.conditions.contains_key(name)
        {
            return Err(format_error(&format!(
                "Unresolved condition dependency {name} in the Outputs block of the template"
            )));
        }
        let mut found = Vec::new();
        for value in std::iter::once(&output.value).chain(&output.export_name) {
            graph::references(value, None, template.has_language_extensions(), &mut found)
                .map_err(Refusal::validation)?;
        }
        unresolved.extend(unresolved_names(template, &parameters, &resources, found)?);
    }
    if !unresolved.is_empty() {
        return Err(unresolved_error("", &unresolved, "Outputs"));
    }
    Ok(())
}

fn unresolved_error(prefix: &str, names: &BTreeSet<String>, block: &str) -> Refusal {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Refusal::validation(format!(
        "{prefix}Unresolved resource dependencies [{}] in the {block} block of the template",
        names.join(", ")
    ))
}

/// Malformed type names only: a type of the form `AWS::Service::Thing`, `Custom::Name`, `Org::Service::Thing` or
/// `Org::Service::Thing::MODULE` is believed to exist.
fn resource_types(template: &Template) -> Result<(), Refusal> {
    let plausible = |kind: &str| {
        let parts: Vec<&str> = kind.split("::").collect();
        let words = |parts: &[&str]| {
            parts.iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric()))
        };
        match parts.as_slice() {
            ["Custom", name] => {
                !name.is_empty()
                    && name.len() <= 60
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_@-".contains(&b))
            }
            [_, _, _] | [_, _, _, "MODULE"] => words(&parts),
            _ => false,
        }
    };
    let wrong: BTreeSet<&str> =
        template.resources.iter().map(|r| r.kind.as_str()).filter(|kind| !plausible(kind)).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let wrong: Vec<&str> = wrong.into_iter().collect();
    Err(format_error(&format!("Unrecognized resource types: [{}]", wrong.join(", "))))
}

/// Checks that every mapping has two levels of names and a scalar or a list below them.
pub(super) fn mappings(section: &Map<String, Value>) -> Result<(), Refusal> {
    for (name, mapping) in section {
        let Value::Object(mapping) = mapping else {
            return Err(format_error(&format!("Every Mappings member {name} must be a map")));
        };
        for (key, attributes) in mapping {
            let Value::Object(attributes) = attributes else {
                return Err(format_error(&format!("Every Mappings member {key} must be a map")));
            };
            if attributes.values().any(Value::is_object) {
                return Err(format_error("Every Mappings attribute must be a String or a List."));
            }
        }
    }
    Ok(())
}

fn conditions(
    template: &Template,
    parameters: &BTreeSet<&str>,
    resources: &BTreeSet<&str>,
) -> Result<(), Refusal> {
    let mut unresolved = BTreeSet::new();
    for expression in template.conditions.values() {
        let mut found = Vec::new();
        graph::references(expression, None, template.has_language_extensions(), &mut found)
            .map_err(Refusal::validation)?;
        for reference in found {
            match reference {
                Reference::Name(name)
                    if !parameters.contains(name.as_str()) && !PSEUDO_PARAMETERS.contains(&name.as_str()) =>
                {
                    unresolved.insert(name);
                }
                Reference::Attribute(name, _) if resources.contains(name.as_str()) => {
                    unresolved.insert(name);
                }
                _ => {}
            }
        }
    }
    if unresolved.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = unresolved.into_iter().collect();
    Err(format_error(&format!(
        "Unresolved dependencies [{}]. Cannot reference resources in the Conditions block of the template",
        names.join(", ")
    )))
}

fn unresolved_names(
    template: &Template,
    parameters: &BTreeSet<&str>,
    resources: &BTreeSet<&str>,
    found: Vec<Reference>,
) -> Result<Vec<String>, Refusal> {
    let mut unresolved = Vec::new();
    for reference in found {
        match reference {
            Reference::Name(name) => {
                let known = parameters.contains(name.as_str())
                    || resources.contains(name.as_str())
                    || PSEUDO_PARAMETERS.contains(&name.as_str());
                if !known {
                    unresolved.push(name);
                }
            }
            Reference::Attribute(id, attribute) => {
                let Some(resource) = template.resource(&id) else {
                    return Err(Refusal::validation(format!(
                        "Template error: instance of Fn::GetAtt references undefined resource {id}"
                    )));
                };
                if let Some(attribute) = attribute
                    && !types::has_attribute(&resource.kind, &attribute)
                {
                    return Err(Refusal::validation(format!(
                        "Template error: resource {id} does not support attribute type {attribute} in Fn::GetAtt"
                    )));
                }
            }
            Reference::Condition(name) => {
                if !template.conditions.contains_key(&name) {
                    return Err(Refusal::validation(format!(
                        "Template error: unresolved condition dependency {name} in Fn::If"
                    )));
                }
            }
        }
    }
    Ok(unresolved)
}

/// Checks that nothing active refers to a resource whose condition is false.
pub(crate) fn unresolved_when_active(
    template: &Template,
    conditions: &BTreeMap<String, bool>,
) -> Result<(), Refusal> {
    let active = |condition: Option<&String>| {
        condition.is_none_or(|name| conditions.get(name).copied().unwrap_or(false))
    };
    let absent = |id: &str| template.resource(id).is_some_and(|r| !active(r.condition.as_ref()));
    let collect = |found: Vec<Reference>, missing: &mut BTreeSet<String>| {
        for reference in found {
            if let Reference::Name(id) | Reference::Attribute(id, _) = reference
                && absent(&id)
            {
                missing.insert(id);
            }
        }
    };
    let mut missing = BTreeSet::new();
    for resource in template.resources.iter().filter(|r| active(r.condition.as_ref())) {
        let found = graph::of_resource(template, resource, Some(conditions)).map_err(Refusal::validation)?;
        collect(found, &mut missing);
    }
    if !missing.is_empty() {
        return Err(unresolved_error("Template format error: ", &missing, "Resources"));
    }
    for output in template.outputs.iter().filter(|o| active(o.condition.as_ref())) {
        let mut found = Vec::new();
        for value in std::iter::once(&output.value).chain(&output.export_name) {
            graph::references(value, Some(conditions), template.has_language_extensions(), &mut found)
                .map_err(Refusal::validation)?;
        }
        collect(found, &mut missing);
    }
    if !missing.is_empty() {
        return Err(unresolved_error("", &missing, "Outputs"));
    }
    Ok(())
}

/// The capabilities a template needs and `given` lacks, as CloudFormation names them.
pub(crate) fn missing_capabilities(template: &Template, given: &[String]) -> Vec<&'static str> {
    let has = |name: &str| given.iter().any(|given| given == name);
    let mut missing = Vec::new();
    let iam = template.resources.iter().filter(|r| types::IAM_TYPES.iter().any(|(kind, _)| *kind == r.kind));
    let mut named = false;
    let mut any = false;
    for resource in iam {
        any = true;
        named |= types::IAM_TYPES
            .iter()
            .any(|(kind, name)| *kind == resource.kind && resource.properties.contains_key(*name));
    }
    if named && !has("CAPABILITY_NAMED_IAM") {
        missing.push("CAPABILITY_NAMED_IAM");
    } else if any && !has("CAPABILITY_NAMED_IAM") && !has("CAPABILITY_IAM") {
        missing.push("CAPABILITY_IAM");
    }
    if !template.transforms.is_empty() && !has("CAPABILITY_AUTO_EXPAND") {
        missing.push("CAPABILITY_AUTO_EXPAND");
    }
    missing
}

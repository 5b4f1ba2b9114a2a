//! What a change set would change.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::refusal::Refusal;
use crate::stack::{Deployment, ResourceRecord, Stack};
use crate::template::{
    Context, OutputDecl, Place, Recreation, ResourceDecl, Resources, Template, UNKNOWN, is_unknown, order,
    unresolved_when_active,
};

/// A change to one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) action: &'static str,
    pub(crate) logical_id: String,
    pub(crate) physical_id: Option<String>,
    pub(crate) kind: String,
    /// `Replacement` of a `Modify`.
    pub(crate) replacement: Option<&'static str>,
    pub(crate) policy_action: Option<&'static str>,
    pub(crate) scope: Vec<&'static str>,
    pub(crate) details: Vec<Detail>,
}

/// Why a resource changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Detail {
    /// `Properties`, `Metadata` or `Tags`.
    pub(crate) attribute: &'static str,
    /// The property.
    pub(crate) name: Option<String>,
    pub(crate) requires_recreation: &'static str,
    pub(crate) evaluation: &'static str,
    pub(crate) change_source: &'static str,
    pub(crate) causing_entity: Option<String>,
    /// What the property is before, as CloudFormation writes it: text, or JSON of anything else.
    pub(crate) before: Option<String>,
    /// What it is after.
    pub(crate) after: Option<String>,
}

/// The resources of a stack as they will be, as far as that is known.
struct Planned<'a> {
    place: &'a Place,
    template: &'a Template,
    known: &'a BTreeMap<String, ResourceRecord>,
}

impl Resources for Planned<'_> {
    fn reference(&self, logical_id: &str) -> Result<Value, String> {
        Ok(match self.known.get(logical_id).and_then(|record| record.physical_id.as_ref()) {
            Some(id) => id.as_str().into(),
            None => UNKNOWN.into(),
        })
    }

    fn attribute(&self, logical_id: &str, attribute: &str) -> Result<Value, String> {
        match self.known.get(logical_id) {
            Some(record) => record_attribute(record, attribute, self.place),
            None if self.template.resource(logical_id).is_some() => Ok(UNKNOWN.into()),
            None => Err(undefined(logical_id)),
        }
    }
}

/// The attribute of an existing resource.
pub(crate) fn record_attribute(
    record: &ResourceRecord,
    attribute: &str,
    place: &Place,
) -> Result<Value, String> {
    record.naming.attribute(attribute, &record.properties, place).map(Value::from).ok_or_else(|| {
        format!(
            "Template error: resource {} does not support attribute type {attribute} in Fn::GetAtt",
            record.logical_id
        )
    })
}

/// What is said about a resource that is not there.
pub(crate) fn undefined(logical_id: &str) -> String {
    format!("Template error: instance of Fn::GetAtt references undefined resource {logical_id}")
}

/// What would have to change for `stack` to become `target`; `None` when nothing would.
///
/// # Errors
/// When the template cannot be evaluated: circles, mappings that have no such key, unknown exports.
pub(crate) fn plan(
    stack: &Stack,
    target: &Deployment,
    exports: &BTreeMap<String, String>,
) -> Result<Option<Vec<Change>>, Refusal> {
    let mut known: BTreeMap<String, ResourceRecord> = BTreeMap::new();
    let nothing = known.clone();
    let nothing = Planned { place: &stack.place, template: &target.template, known: &nothing };
    let mut context = Context {
        template: &target.template,
        parameters: &target.parameters,
        place: &stack.place,
        conditions: BTreeMap::new(),
        notification_arns: &target.notification_arns,
        resources: &nothing,
        exports,
        imported: RefCell::default(),
    };
    context.evaluate_conditions().map_err(Refusal::validation)?;
    let conditions = context.conditions.clone();
    unresolved_when_active(&target.template, &conditions)?;
    let ordered = order(&target.template, &conditions).map_err(Refusal::validation)?;
    refuse_changed_types(stack, &target.template)?;

    let mut changes = Vec::new();
    for record in &stack.resources {
        if !ordered.iter().any(|(id, _)| *id == record.logical_id) {
            changes.push(Change {
                action: "Remove",
                logical_id: record.logical_id.clone(),
                physical_id: record.physical_id.clone(),
                kind: record.kind.clone(),
                replacement: None,
                policy_action: Some(if keeps(record.deletion_policy.as_deref()) {
                    "Retain"
                } else {
                    "Delete"
                }),
                scope: Vec::new(),
                details: Vec::new(),
            });
        }
    }
    let tags_changed = stack.deployment.as_ref().is_some_and(|before| before.tags != target.tags);
    for (id, _) in &ordered {
        let Some(resource) = target.template.resource(id) else { continue };
        let planned = Planned { place: &stack.place, template: &target.template, known: &known };
        let context = Context {
            resources: &planned,
            conditions: conditions.clone(),
            imported: RefCell::default(),
            ..context
        };
        let properties = context.members(&resource.properties).map_err(Refusal::validation)?;
        let metadata = match &resource.metadata {
            Some(metadata) => context.value(metadata).map_err(Refusal::validation)?,
            None => None,
        };
        let Some(record) = stack.resource(id) else {
            changes.push(Change {
                action: "Add",
                logical_id: id.clone(),
                physical_id: None,
                kind: resource.kind.clone(),
                replacement: None,
                policy_action: None,
                scope: Vec::new(),
                details: Vec::new(),
            });
            continue;
        };
        let details = details(stack, target, resource, record, &properties, metadata.as_ref(), tags_changed);
        if details.iter().all(|detail| detail.requires_recreation == "Never") {
            known.insert(id.clone(), ResourceRecord { properties, ..record.clone() });
        }
        if details.is_empty() {
            continue;
        }
        changes.push(modify(resource, record, details));
    }
    let outputs_changed = stack.deployment.as_ref().is_none_or(|before| {
        output_texts(&before.template.outputs) != output_texts(&target.template.outputs)
    });
    // Parameters, mappings and conditions that only outputs read change the stack too.
    let outputs_changed = outputs_differ(stack, &context, &conditions, &known)? || outputs_changed;
    let unchanged = changes.is_empty() && !tags_changed && !outputs_changed;
    Ok((!unchanged).then_some(changes))
}

fn outputs_differ(
    stack: &Stack,
    context: &Context<'_>,
    conditions: &BTreeMap<String, bool>,
    known: &BTreeMap<String, ResourceRecord>,
) -> Result<bool, Refusal> {
    let planned = Planned { place: &stack.place, template: context.template, known };
    let context = Context {
        resources: &planned,
        conditions: conditions.clone(),
        imported: RefCell::default(),
        ..*context
    };
    let mut after = Vec::new();
    for output in context.template.outputs.iter().filter(|o| context.is_active(o.condition.as_deref())) {
        after.push((output.key.clone(), context.text(&output.value).map_err(Refusal::validation)?));
    }
    let before: Vec<(String, String)> =
        stack.outputs.iter().map(|output| (output.key.clone(), output.value.clone())).collect();
    Ok(after != before)
}

fn output_texts(outputs: &[OutputDecl]) -> BTreeMap<&str, &OutputDecl> {
    outputs.iter().map(|output| (output.key.as_str(), output)).collect()
}

/// Whether a deletion policy keeps the physical resource.
pub(crate) fn keeps(policy: Option<&str>) -> bool {
    matches!(policy, Some("Retain" | "RetainExceptOnCreate"))
}

fn refuse_changed_types(stack: &Stack, template: &Template) -> Result<(), Refusal> {
    let changed: Vec<&str> = stack
        .resources
        .iter()
        .filter(|record| template.resource(&record.logical_id).is_some_and(|r| r.kind != record.kind))
        .map(|record| record.logical_id.as_str())
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(Refusal::validation(format!(
        "Update of resource type is not permitted. The new template modifies resource type of the following resources: [{}]",
        changed.join(", ")
    )))
}

/// The properties that differ.
pub(crate) fn changed_properties(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
) -> BTreeSet<String> {
    before.keys().chain(after.keys()).filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}

fn details(
    stack: &Stack,
    target: &Deployment,
    resource: &ResourceDecl,
    record: &ResourceRecord,
    properties: &Map<String, Value>,
    metadata: Option<&Value>,
    tags_changed: bool,
) -> Vec<Detail> {
    let before = stack.deployment.as_ref();
    let declared_before = before.and_then(|d| d.template.resource(&record.logical_id));
    let mut details = Vec::new();
    for name in changed_properties(&record.properties, properties) {
        let recreation = Recreation::of(&record.kind, &name);
        let dynamic = properties.get(&name).is_some_and(is_unknown);
        let declared = resource.properties.get(&name);
        let same_text = declared_before.and_then(|d| d.properties.get(&name)) == declared;
        let parameter = declared.and_then(|value| value.get("Ref")).and_then(Value::as_str).filter(|name| {
            target.parameters.contains_key(*name)
                && before.is_some_and(|b| b.parameters.get(*name) != target.parameters.get(*name))
        });
        let (change_source, causing_entity) = match (same_text, parameter) {
            (true, Some(parameter)) => ("ParameterReference", Some(parameter.to_owned())),
            (true, None) if dynamic => ("ResourceReference", None),
            _ => ("DirectModification", None),
        };
        details.push(Detail {
            attribute: "Properties",
            requires_recreation: if recreation == Recreation::Always { "Always" } else { "Never" },
            evaluation: if dynamic { "Dynamic" } else { "Static" },
            change_source,
            causing_entity,
            before: record.properties.get(&name).map(written),
            after: properties.get(&name).map(written),
            name: Some(name),
        });
    }
    let plain = |attribute| Detail {
        attribute,
        name: None,
        requires_recreation: "Never",
        evaluation: "Static",
        change_source: "DirectModification",
        causing_entity: None,
        before: None,
        after: None,
    };
    if record.metadata.as_ref() != metadata {
        details.push(plain("Metadata"));
    }
    if tags_changed
        && !record.kind.starts_with("Custom::")
        && !record.kind.starts_with("AWS::CloudFormation::")
    {
        details.push(plain("Tags"));
    }
    details
}

/// A value as a change set shows it. Nothing is masked here, whatever it was made of.
fn written(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn modify(resource: &ResourceDecl, record: &ResourceRecord, details: Vec<Detail>) -> Change {
    let always = |evaluation: &str| {
        details.iter().any(|d| d.requires_recreation == "Always" && d.evaluation == evaluation)
    };
    let replacement = if always("Static") {
        "True"
    } else if always("Dynamic") {
        "Conditional"
    } else {
        "False"
    };
    let policy_action = match (replacement, keeps(resource.update_replace_policy.as_deref())) {
        ("True", true) => Some("ReplaceAndRetain"),
        ("True", false) => Some("ReplaceAndDelete"),
        _ => None,
    };
    let mut scope: Vec<&'static str> = Vec::new();
    for detail in &details {
        if !scope.contains(&detail.attribute) {
            scope.push(detail.attribute);
        }
    }
    Change {
        action: "Modify",
        logical_id: record.logical_id.clone(),
        physical_id: record.physical_id.clone(),
        kind: record.kind.clone(),
        replacement: Some(replacement),
        policy_action,
        scope,
        details,
    }
}

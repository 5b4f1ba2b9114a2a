//! From a document's tree to the parts of a template.

use serde_json::{Map, Value};
use syncline_template::{Kind, Limits, Node};

use super::check;
use super::parameters::{self, ParameterDecl};
use crate::refusal::Refusal;

/// A template whose form has been checked; whether its values evaluate is found out later.
#[derive(Debug, Clone, Default)]
pub(crate) struct Template {
    /// The text as it was sent.
    pub(crate) body: String,
    /// `Description`.
    pub(crate) description: Option<String>,
    /// `Parameters`, in the order of the document.
    pub(crate) parameters: Vec<ParameterDecl>,
    /// `Mappings`.
    pub(crate) mappings: Map<String, Value>,
    /// `Conditions`, unevaluated.
    pub(crate) conditions: Map<String, Value>,
    /// `Resources`, in the order of the document.
    pub(crate) resources: Vec<ResourceDecl>,
    /// `Outputs`, in the order of the document.
    pub(crate) outputs: Vec<OutputDecl>,
    /// The macros named by `Transform`.
    pub(crate) transforms: Vec<String>,
}

/// A member of `Resources`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResourceDecl {
    /// Its key.
    pub(crate) logical_id: String,
    /// `Type`.
    pub(crate) kind: String,
    /// `Properties`, unevaluated.
    pub(crate) properties: Map<String, Value>,
    /// `DependsOn`.
    pub(crate) depends_on: Vec<String>,
    /// `Condition`.
    pub(crate) condition: Option<String>,
    /// `Metadata`, unevaluated.
    pub(crate) metadata: Option<Value>,
    /// `DeletionPolicy`.
    pub(crate) deletion_policy: Option<String>,
    /// `UpdateReplacePolicy`.
    pub(crate) update_replace_policy: Option<String>,
}

/// A member of `Outputs`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OutputDecl {
    /// Its key.
    pub(crate) key: String,
    /// `Value`, unevaluated.
    pub(crate) value: Value,
    /// `Description`.
    pub(crate) description: Option<String>,
    /// `Export.Name`, unevaluated.
    pub(crate) export_name: Option<Value>,
    /// `Condition`.
    pub(crate) condition: Option<String>,
}

const SECTIONS: [&str; 11] = [
    "AWSTemplateFormatVersion",
    "Description",
    "Metadata",
    "Parameters",
    "Rules",
    "Mappings",
    "Conditions",
    "Transform",
    "Resources",
    "Outputs",
    "Hooks",
];

const RESOURCE_MEMBERS: [&str; 9] = [
    "Type",
    "Properties",
    "DependsOn",
    "Condition",
    "Metadata",
    "DeletionPolicy",
    "UpdateReplacePolicy",
    "CreationPolicy",
    "UpdatePolicy",
];

/// The longest template sent in the request itself, in bytes [CloudFormation quotas].
const MAX_BODY: usize = 51_200;

/// The most members of `Resources` [CloudFormation quotas].
const MAX_RESOURCES: usize = 500;

/// The most members of `Outputs` [CloudFormation quotas].
const MAX_OUTPUTS: usize = 200;

impl Template {
    /// Reads and checks a template.
    ///
    /// # Errors
    /// A `ValidationError` in CloudFormation's words where they are known.
    pub(crate) fn parse(body: &str) -> Result<Self, Refusal> {
        if body.len() > MAX_BODY {
            return Err(Refusal::validation(format!(
                "1 validation error detected: Value '{body}' at 'templateBody' failed to satisfy constraint: \
                 Member must have length less than or equal to {MAX_BODY}"
            )));
        }
        let root = tree(body)?;
        let template = Self::from_sections(body, root)?;
        check::check(&template)?;
        Ok(template)
    }

    fn from_sections(body: &str, root: Map<String, Value>) -> Result<Self, Refusal> {
        let unknown: Vec<&str> =
            root.keys().map(String::as_str).filter(|key| !SECTIONS.contains(key)).collect();
        if !unknown.is_empty() {
            return Err(format_error(&format!(
                "Invalid template property or properties [{}]",
                unknown.join(", ")
            )));
        }
        if let Some(version) = root.get("AWSTemplateFormatVersion")
            && version.as_str() != Some("2010-09-09")
        {
            return Err(format_error(&format!(
                "Template format error: template format version {} is not supported.",
                version.as_str().unwrap_or_default()
            )));
        }
        let mut template = Self { body: body.to_owned(), ..Self::default() };
        template.description = match root.get("Description") {
            None => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => return Err(format_error("Description must be a string.")),
        };
        template.parameters = parameters::declarations(&section(&root, "Parameters")?)?;
        template.mappings = section(&root, "Mappings")?;
        check::mappings(&template.mappings)?;
        template.conditions = section(&root, "Conditions")?;
        template.transforms = transforms(root.get("Transform"))?;
        let resources = section(&root, "Resources")?;
        if resources.is_empty() {
            return Err(format_error("At least one Resources member must be defined."));
        }
        within_quota("resources", resources.len(), MAX_RESOURCES)?;
        for (logical_id, member) in resources {
            template.resources.push(resource(logical_id, member)?);
        }
        let outputs = section(&root, "Outputs")?;
        within_quota("outputs", outputs.len(), MAX_OUTPUTS)?;
        for (key, member) in outputs {
            template.outputs.push(output(key, member)?);
        }
        Ok(template)
    }

    /// A resource by its logical id.
    pub(crate) fn resource(&self, logical_id: &str) -> Option<&ResourceDecl> {
        self.resources.iter().find(|resource| resource.logical_id == logical_id)
    }

    /// Whether the template may use what `AWS::LanguageExtensions` adds.
    pub(crate) fn has_language_extensions(&self) -> bool {
        self.transforms.iter().any(|name| name == "AWS::LanguageExtensions")
    }
}

/// A `ValidationError` that begins with `Template format error: `.
pub(super) fn format_error(message: &str) -> Refusal {
    match message.starts_with("Template ") {
        true => Refusal::validation(message),
        false => Refusal::validation(format!("Template format error: {message}")),
    }
}

pub(super) fn within_quota(what: &str, count: usize, most: usize) -> Result<(), Refusal> {
    if count <= most {
        return Ok(());
    }
    Err(format_error(&format!("Number of {what}, {count}, is greater than maximum allowed, {most}")))
}

fn tree(body: &str) -> Result<Map<String, Value>, Refusal> {
    let json = body.trim_start().starts_with('{');
    let node =
        syncline_template::parse("TemplateBody", body.as_bytes(), &Limits::default()).map_err(|finding| {
            let at = finding
                .span
                .map_or_else(String::new, |span| format!(" (line {}, column {})", span.line, span.column));
            format_error(&match (finding.rule, json) {
                ("syntax", true) => format!("JSON not well-formed.{at}"),
                ("syntax", false) => format!("YAML not well-formed.{at}"),
                (_, _) => format!("{}{at}", finding.message),
            })
        })?;
    match value_of(&node, &mut String::new())? {
        Value::Object(map) => Ok(map),
        _ => Err(format_error("unsupported structure.")),
    }
}

fn value_of(node: &Node, path: &mut String) -> Result<Value, Refusal> {
    Ok(match &node.kind {
        Kind::Null => {
            return Err(Refusal::validation(format!(
                "[{}] 'null' values are not allowed in templates",
                if path.is_empty() { "/" } else { path.as_str() }
            )));
        }
        Kind::Bool { value, .. } => Value::String(value.to_string()),
        Kind::Number { text } => Value::String(text.clone()),
        Kind::String(text) => Value::String(text.clone()),
        Kind::Sequence(items) => {
            let mut values = Vec::with_capacity(items.len());
            for (n, item) in items.iter().enumerate() {
                values.push(within(path, &n.to_string(), |path| value_of(item, path))?);
            }
            Value::Array(values)
        }
        Kind::Mapping(members) => {
            let mut map = Map::with_capacity(members.len());
            for (key, _, member) in members {
                map.insert(key.clone(), within(path, key, |path| value_of(member, path))?);
            }
            Value::Object(map)
        }
    })
}

fn within<T>(path: &mut String, step: &str, inside: impl FnOnce(&mut String) -> T) -> T {
    let before = path.len();
    path.push('/');
    path.push_str(step);
    let result = inside(path);
    path.truncate(before);
    result
}

fn section(root: &Map<String, Value>, name: &str) -> Result<Map<String, Value>, Refusal> {
    match root.get(name) {
        None => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map.clone()),
        Some(_) => Err(format_error(&format!("{name} section must be an object."))),
    }
}

fn transforms(value: Option<&Value>) -> Result<Vec<String>, Refusal> {
    let name_of = |item: &Value| match item {
        Value::String(name) => Ok(name.clone()),
        Value::Object(macro_call) => match macro_call.get("Name").and_then(Value::as_str) {
            Some(name) => Ok(name.to_owned()),
            None => Err(Refusal::validation("Key Name of transform definition must be a string.")),
        },
        _ => Err(format_error("Transform must be a macro's name or a list of them.")),
    };
    match value {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(name_of).collect(),
        Some(single) => Ok(vec![name_of(single)?]),
    }
}

fn resource(logical_id: String, member: Value) -> Result<ResourceDecl, Refusal> {
    let Value::Object(member) = member else {
        return Err(format_error("Any Resources member must be an object."));
    };
    if !is_alphanumeric(&logical_id) {
        return Err(format_error(&format!("Resource name {logical_id} is non alphanumeric.")));
    }
    if let Some(key) = member.keys().find(|key| !RESOURCE_MEMBERS.contains(&key.as_str())) {
        return Err(Refusal::validation(format!("Invalid template resource property '{key}'")));
    }
    let Some(kind) = member.get("Type").and_then(Value::as_str) else {
        return Err(format_error(&format!(
            "[/Resources/{logical_id}] Every Resources object must contain a Type member."
        )));
    };
    let text = |key: &str| -> Result<Option<String>, Refusal> {
        match member.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(format_error(&format!(
                "Every {key} member must be a string, as in resource {logical_id}."
            ))),
        }
    };
    let properties = match member.get("Properties") {
        None => Map::new(),
        Some(Value::Object(map)) => map.clone(),
        Some(_) => {
            return Err(format_error(&format!(
                "[/Resources/{logical_id}/Properties] Properties must be an object."
            )));
        }
    };
    let depends_on = match member.get("DependsOn") {
        None => Vec::new(),
        Some(Value::String(id)) => vec![id.clone()],
        Some(Value::Array(ids)) if ids.iter().all(Value::is_string) => {
            ids.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(_) => return Err(format_error("DependsOn must be a string or list of strings.")),
    };
    let policy = |key: &str| -> Result<Option<String>, Refusal> {
        let policy = text(key)?;
        match policy.as_deref() {
            None | Some("Delete" | "Retain" | "Snapshot") => Ok(policy),
            Some("RetainExceptOnCreate") if key == "DeletionPolicy" => Ok(policy),
            Some(other) => {
                Err(format_error(&format!("Unrecognized {key} {other} for resource {logical_id}")))
            }
        }
    };
    Ok(ResourceDecl {
        kind: kind.to_owned(),
        properties,
        depends_on,
        condition: text("Condition")?,
        metadata: member.get("Metadata").cloned(),
        deletion_policy: policy("DeletionPolicy")?,
        update_replace_policy: policy("UpdateReplacePolicy")?,
        logical_id,
    })
}

fn output(key: String, member: Value) -> Result<OutputDecl, Refusal> {
    if !is_alphanumeric(&key) {
        return Err(format_error(&format!("Output name {key} is non alphanumeric.")));
    }
    let Value::Object(member) = member else {
        return Err(format_error("Every Outputs member must be an object."));
    };
    let Some(value) = member.get("Value") else {
        return Err(format_error("Every Outputs member must contain a Value object"));
    };
    let text = |name: &str| member.get(name).and_then(Value::as_str).map(str::to_owned);
    let export_name = match member.get("Export") {
        None => None,
        Some(Value::Object(export)) if export.contains_key("Name") => export.get("Name").cloned(),
        Some(_) => {
            return Err(format_error(&format!("Output {key} is malformed. Export must contain a Name.")));
        }
    };
    Ok(OutputDecl {
        value: value.clone(),
        description: text("Description"),
        export_name,
        condition: text("Condition"),
        key,
    })
}

pub(super) fn is_alphanumeric(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric())
}

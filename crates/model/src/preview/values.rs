//! Which values may be shown: those that cannot be a secret, as far as the templates tell.
//!
//! CloudFormation says what a property is before and after. What it says was evaluated, so that a dynamic reference may
//! have become what it refers to, and a NoEcho parameter its value. Hence a value is shown only if its declaration, in
//! the live template and in the new one, is made of nothing that could bring one in. Whoever writes a pull request
//! chooses the new declaration: what is not known to be harmless is hidden.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Texts of NoEcho parameters that are shorter than this are too short to be found in other texts.
const SHORTEST_SECRET: usize = 3;

/// What CloudFormation writes for what it cannot know before.
const KNOWN_AFTER_APPLY: &str = "{{changeSet:KNOWN_AFTER_APPLY}}";

/// Functions that put together what they are given, and nothing else.
const HARMLESS: [&str; 10] = [
    "Fn::Base64",
    "Fn::Cidr",
    "Fn::FindInMap",
    "Fn::GetAZs",
    "Fn::If",
    "Fn::Join",
    "Fn::Length",
    "Fn::Select",
    "Fn::Split",
    "Fn::ToJsonString",
];

/// Resources whose ids may be secrets: a custom one chooses its own, and that of a handle is a URL that lets in whoever has it.
const UNSAFE_IDS: [&str; 2] =
    ["AWS::CloudFormation::CustomResource", "AWS::CloudFormation::WaitConditionHandle"];

/// A value as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// There is none.
    Nothing,
    /// There is one, and it may be a secret.
    Hidden,
    /// It is this.
    Text(String),
}

/// A template with the parameters that its stack has, or would have.
#[derive(Debug, Clone)]
struct Side<'t> {
    template: &'t Value,
    hidden: BTreeSet<String>,
    is_transformed: bool,
    has_braces_in_mappings: bool,
}

/// What may be seen of the values of a change set.
#[derive(Debug, Clone)]
pub struct Sight<'t> {
    before: Option<Side<'t>>,
    after: Side<'t>,
    secrets: Vec<String>,
}

/// The macros that a template calls and that are not AWS's own, each once; `(computed)` for a name that is no text.
#[must_use]
pub fn custom_macros(template: &Value) -> Vec<String> {
    let mut names = BTreeSet::new();
    visit_macros(template, &mut |name| {
        if !name.starts_with("AWS::") {
            names.insert(name.to_owned());
        }
    });
    names.into_iter().collect()
}

/// Calls `found` with the name of each macro that the template calls.
fn visit_macros(template: &Value, found: &mut impl FnMut(&str)) {
    let name_of = |call: &Value| match call {
        Value::String(name) => name.clone(),
        Value::Object(call) => call.get("Name").and_then(Value::as_str).unwrap_or("(computed)").to_owned(),
        _ => "(computed)".to_owned(),
    };
    let mut calls: Vec<&Value> = template.get("Transform").into_iter().collect();
    let mut waiting = vec![template];
    while let Some(value) = waiting.pop() {
        match value {
            Value::Object(members) => {
                calls.extend(members.get("Fn::Transform"));
                waiting.extend(members.values());
            }
            Value::Array(items) => waiting.extend(items),
            _ => {}
        }
    }
    for call in calls {
        match call {
            Value::Array(list) => list.iter().for_each(|call| found(&name_of(call))),
            one => found(&name_of(one)),
        }
    }
}

/// The declared parameters.
fn declared(template: &Value) -> impl Iterator<Item = (&String, &Value)> {
    template.get("Parameters").and_then(Value::as_object).into_iter().flatten()
}

fn is_no_echo(declaration: &Value) -> bool {
    match declaration.get("NoEcho") {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        // Whatever else it is, somebody meant something by it.
        Some(_) => true,
        None => false,
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether a text may be a dynamic reference, or a part of one.
fn may_refer(text: &str) -> bool {
    text.contains("{{") || text.contains("resolve:")
}

impl<'t> Side<'t> {
    fn of(template: &'t Value, given: &[(String, String)]) -> Self {
        let hidden = declared(template).filter(|(name, declaration)| {
            let kind = declaration.get("Type").and_then(Value::as_str).unwrap_or_default();
            let default = declaration.get("Default").and_then(text_of);
            let given = given.iter().filter(|(of, _)| of == *name).map(|(_, value)| value);
            let has_brace = given.chain(&default).any(|value| value.contains('{') || may_refer(value));
            is_no_echo(declaration) || kind.contains("AWS::SSM::Parameter") || has_brace
        });
        let hidden = hidden.map(|(name, _)| name.clone()).collect();
        let mut is_transformed = false;
        visit_macros(template, &mut |_| is_transformed = true);
        let mappings = template.get("Mappings").map(Value::to_string).unwrap_or_default();
        // Braces of the JSON text itself aside.
        let has_braces_in_mappings =
            template.get("Mappings").is_some_and(has_brace_in_text) || mappings.contains("resolve:");
        Self { template, hidden, is_transformed, has_braces_in_mappings }
    }

    /// Whether the template declares the resource.
    fn declares(&self, logical_id: &str) -> bool {
        self.template.get("Resources").is_some_and(|resources| resources.get(logical_id).is_some())
    }

    /// Whether what a property was evaluated to may be seen. One that is not declared has no value.
    fn shows(&self, logical_id: &str, property: &str) -> bool {
        if self.is_transformed {
            return false;
        }
        let resource = self.template.get("Resources").and_then(|resources| resources.get(logical_id));
        let properties = resource.and_then(|resource| resource.get("Properties"));
        match properties {
            None => true,
            Some(Value::Object(properties)) if !properties.keys().any(|key| key.starts_with("Fn::")) => {
                properties.get(property).is_none_or(|declared| self.is_plain(declared, false))
            }
            Some(_) => false,
        }
    }

    /// Whether a declaration is made of nothing that could bring a secret in. Texts that a function puts together might
    /// be a dynamic reference in pieces.
    fn is_plain(&self, declared: &Value, in_function: bool) -> bool {
        match declared {
            Value::Null | Value::Bool(_) | Value::Number(_) => true,
            Value::String(text) if in_function => !text.contains('{') && !may_refer(text),
            Value::String(text) => !may_refer(text),
            Value::Array(items) => items.iter().all(|item| self.is_plain(item, in_function)),
            Value::Object(members) => self.is_plain_object(members, in_function),
        }
    }

    fn is_plain_object(&self, members: &Map<String, Value>, in_function: bool) -> bool {
        let is_function = |key: &str| key == "Ref" || key.starts_with("Fn::");
        if !members.keys().any(|key| is_function(key)) {
            return members.values().all(|value| self.is_plain(value, in_function));
        }
        let mut members = members.iter();
        let (Some((function, argument)), None) = (members.next(), members.next()) else { return false };
        match (function.as_str(), argument) {
            ("Ref", Value::String(name)) => self.is_plain_reference(name),
            ("Fn::Sub", argument) => self.is_plain_sub(argument),
            ("Fn::FindInMap", _) if self.has_braces_in_mappings => false,
            (function, argument) => HARMLESS.contains(&function) && self.is_plain(argument, true),
        }
    }

    fn is_plain_reference(&self, name: &str) -> bool {
        if name.starts_with("AWS::") {
            return true;
        }
        if declared(self.template).any(|(parameter, _)| parameter == name) {
            return !self.hidden.contains(name);
        }
        let resource = self.template.get("Resources").and_then(|resources| resources.get(name));
        let kind = resource.and_then(|resource| resource.get("Type")).and_then(Value::as_str);
        kind.is_some_and(|kind| kind.starts_with("AWS::") && !UNSAFE_IDS.contains(&kind))
    }

    fn is_plain_sub(&self, argument: &Value) -> bool {
        let nothing = Map::new();
        let (text, locals) = match argument {
            Value::String(text) => (text, &nothing),
            Value::Array(items) => match &**items {
                [Value::String(text)] => (text, &nothing),
                [Value::String(text), Value::Object(locals)] => (text, locals),
                _ => return false,
            },
            _ => return false,
        };
        let mut rest = text.as_str();
        let mut literal = String::new();
        while let Some((before, after)) = rest.split_once("${") {
            literal.push_str(before);
            let Some((name, after)) = after.split_once('}') else { return false };
            rest = after;
            let name = name.trim();
            let is_plain = match locals.get(name) {
                // `${!Name}` stands for `${Name}`.
                _ if name.starts_with('!') => true,
                Some(local) => self.is_plain(local, true),
                None => !name.contains('.') && self.is_plain_reference(name),
            };
            if !is_plain {
                return false;
            }
        }
        literal.push_str(rest);
        !literal.contains('{') && !may_refer(&literal)
    }
}

fn has_brace_in_text(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('{'),
        Value::Array(items) => items.iter().any(has_brace_in_text),
        Value::Object(members) => members.values().any(has_brace_in_text),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

impl<'t> Sight<'t> {
    /// What may be seen where the stack has the template `before` and these parameters (`None`: that could not be told)
    /// and would have the template `after` and those.
    #[must_use]
    pub fn new(
        before: Option<(&'t Value, &[(String, String)])>,
        after: (&'t Value, &[(String, String)]),
    ) -> Self {
        let mut secrets = BTreeSet::new();
        for (template, given) in before.into_iter().chain([after]) {
            for (name, declaration) in declared(template).filter(|(_, declaration)| is_no_echo(declaration)) {
                let values = given.iter().filter(|(of, _)| of == name).map(|(_, value)| value.clone());
                secrets.extend(values.chain(declaration.get("Default").and_then(text_of)));
            }
            // A parameter that nobody declares any more was hidden perhaps.
            let undeclared =
                given.iter().filter(|(name, _)| !declared(template).any(|(declared, _)| declared == name));
            secrets.extend(undeclared.map(|(_, value)| value.clone()));
        }
        // CloudFormation's own mask is no secret.
        secrets.retain(|secret| secret.len() >= SHORTEST_SECRET && !secret.chars().all(|c| c == '*'));
        // A secret within a secret must not leave the rest of the longer one.
        let mut secrets: Vec<String> = secrets.into_iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let side = |(template, given): (&'t Value, &[(String, String)])| Side::of(template, given);
        Self { before: before.map(side), after: side(after), secrets }
    }

    /// A property's value, of either side.
    #[must_use]
    pub fn value(&self, logical_id: &str, property: &str, value: Option<&str>) -> Shown {
        let Some(value) = value else { return Shown::Nothing };
        // What neither declares comes out of a module, of which nothing is known.
        let is_plain = self.before.as_ref().is_some_and(|before| {
            (before.declares(logical_id) || self.after.declares(logical_id))
                && before.shows(logical_id, property)
                && self.after.shows(logical_id, property)
        });
        self.shown(is_plain, value)
    }

    /// A parameter's value, of either side.
    #[must_use]
    pub fn parameter(&self, name: &str, value: Option<&str>) -> Shown {
        let Some(value) = value else { return Shown::Nothing };
        let sides = || self.before.iter().chain([&self.after]);
        let is_hidden = sides().any(|side| side.hidden.contains(name));
        let is_declared = sides().any(|side| declared(side.template).any(|(declared, _)| declared == name));
        self.shown(!is_hidden && is_declared && self.before.is_some(), value)
    }

    fn shown(&self, is_plain: bool, value: &str) -> Shown {
        let value = &*value.replace(KNOWN_AFTER_APPLY, "(known after the change)");
        let holds_secret = self.secrets.iter().any(|secret| value.contains(secret.as_str()));
        // As JSON writes it, too.
        let escaped = |secret: &String| {
            let quoted = Value::from(secret.as_str()).to_string();
            value.contains(quoted.trim_matches('"'))
        };
        if !is_plain || may_refer(value) || holds_secret || self.secrets.iter().any(escaped) {
            return Shown::Hidden;
        }
        Shown::Text(value.to_owned())
    }

    /// A text of CloudFormation's, such as a reason, without secrets.
    #[must_use]
    pub fn scrubbed(&self, text: &str) -> String {
        let mut scrubbed = text.to_owned();
        for secret in &self.secrets {
            scrubbed = scrubbed.replace(secret.as_str(), "***");
        }
        without_references(&scrubbed)
    }
}

/// A text with each dynamic reference in it, and what follows an open one, left out.
#[must_use]
pub fn without_references(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{resolve:") {
        clean.push_str(before);
        clean.push_str("(a dynamic reference)");
        rest = after.split_once("}}").map_or("", |(_, rest)| rest);
    }
    clean.push_str(rest);
    clean
}

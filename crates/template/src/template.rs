//! What CloudFormation would certainly refuse, found before anything is sent.
//!
//! **Architecture Invariant:** never refuse a template that CloudFormation accepts. Where a macro or an include may still
//! change the template (a `Transform`, an `Fn::Transform`), only what holds before it runs is checked.

use crate::parse::{Dialect, Document, read};
use crate::{Finding, Kind, Limits, Node, Span};

/// The sections CloudFormation knows; `Globals` belongs to the serverless transform, which has its own answer to it.
const SECTIONS: [&str; 12] = [
    "AWSTemplateFormatVersion",
    "Conditions",
    "Description",
    "Globals",
    "Hooks",
    "Mappings",
    "Metadata",
    "Outputs",
    "Parameters",
    "Resources",
    "Rules",
    "Transform",
];

/// The sections that are mappings when they are there.
const MAPPINGS: [&str; 5] = ["Conditions", "Mappings", "Outputs", "Parameters", "Resources"];

/// The function that includes or transforms a part of a template before the rest is looked at.
const INCLUDE: &str = "Fn::Transform";

/// Reads a template and checks its outline.
///
/// # Errors
/// One finding when it cannot be read (see [`crate::parse()`]); otherwise every finding about its outline, each with its
/// position: `alias`, `not-a-mapping`, `unknown-section`, `wrong-type`, `unsupported-version`, `no-resources`,
/// `missing-type`.
pub fn check_template(file: &str, bytes: &[u8]) -> Result<Node, Vec<Finding>> {
    let document =
        read(file, bytes, &Limits::default(), Dialect::Template).map_err(|finding| vec![finding])?;
    let mut check = Check { file, findings: Vec::new() };
    check.outline(&document);
    if check.findings.is_empty() { Ok(document.root) } else { Err(check.findings) }
}

struct Check<'a> {
    file: &'a str,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn report(&mut self, span: Span, rule: &'static str, message: impl Into<String>) {
        let message = message.into();
        self.findings.push(Finding { file: self.file.to_owned(), span: Some(span), rule, message });
    }

    fn outline(&mut self, document: &Document) {
        let root = &document.root;
        if let Some(span) = document.first_alias {
            let message = "CloudFormation does not allow YAML aliases in templates; write the value out";
            self.report(span, "alias", message);
        }
        let Some(sections) = root.entries() else {
            let message = format!("the template must be a mapping, not {}", root.kind_name());
            return self.report(root.span, "not-a-mapping", message);
        };
        let transformed = root.get("Transform").is_some() || root.get(INCLUDE).is_some();
        for (name, span, value) in sections {
            if !transformed && !SECTIONS.contains(&name.as_str()) {
                let message = format!("{name} is no section of a template");
                self.report(*span, "unknown-section", message);
            } else if !transformed && MAPPINGS.contains(&name.as_str()) && value.entries().is_none() {
                let message = format!("{name} must be a mapping, not {}", value.kind_name());
                self.report(value.span, "wrong-type", message);
            }
        }
        self.version(root);
        if !transformed {
            self.resources(root);
        }
    }

    fn version(&mut self, root: &Node) {
        if let Some(version) = root.get("AWSTemplateFormatVersion")
            && version.as_str() != Some("2010-09-09")
        {
            let message = "the only AWSTemplateFormatVersion there is is 2010-09-09";
            self.report(version.span, "unsupported-version", message);
        }
    }

    fn resources(&mut self, root: &Node) {
        let Some(section) = root.get("Resources") else {
            return self.report(root.span, "no-resources", "the template must have a Resources section");
        };
        let Some(resources) = section.entries() else { return };
        if resources.is_empty() {
            let message = "Resources must have at least one resource";
            return self.report(section.span, "no-resources", message);
        }
        // `Fn::ForEach::…` and `Fn::Transform` are no resources; they make some.
        for (name, span, resource) in resources.iter().filter(|(name, ..)| !name.starts_with("Fn::")) {
            let Some(members) = resource.entries() else {
                let message = format!("resource {name} must be a mapping, not {}", resource.kind_name());
                self.report(resource.span, "wrong-type", message);
                continue;
            };
            if members.iter().any(|(member, ..)| member == INCLUDE) {
                continue;
            }
            match resource.get("Type") {
                None => self.report(*span, "missing-type", format!("resource {name} must have a Type")),
                Some(Node { kind: Kind::String(_), .. }) => {}
                Some(kind) => {
                    let message =
                        format!("the Type of resource {name} must be a string, not {}", kind.kind_name());
                    self.report(kind.span, "wrong-type", message);
                }
            }
        }
    }
}

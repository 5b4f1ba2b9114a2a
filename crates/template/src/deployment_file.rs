//! The deployment file: which template, with which parameters and tags.
//!
//! The rules are those of the schema that cfn-lint ships for Git sync, applied to the file as cfn-lint reads it (YAML 1.1,
//! aliases and merge keys included): what it passes, passes here, and what it fails, fails here. Where they must differ:
//!
//! | cfn-lint passes | here it fails, because |
//! |---|---|
//! | a list or mapping inside a parameter's list | it cannot be joined with commas |
//! | a null under a key that is empty, no string (`1`, `yes`) or of several lines | null values are errors |
//! | a key repeated beside a merge key, or equal as text (`1` and `"1"`) | one of the two would be lost |
//! | an unknown tag on `parameters` or `tags` themselves | it would make a parameter named after the tag |
//!
//! And the other way round: a JSON file with surrogate pairs in its escapes fails in cfn-lint, whose YAML reader does not know
//! them; the file is sound JSON and passes here. A parameter `0x_`, which YAML 1.1 calls a number without digits, passes
//! as text. So does a merge key whose value is a tagged scalar, which cfn-lint cannot merge.
//!
//! What decides is the type YAML 1.1 gives a plain scalar; what is sent is its text as written: `012345678901` keeps its
//! zero, `yes` stays `yes`.

use crate::parse::{Dialect, Document, read};
use crate::{Finding, Kind, Limits, Node, Span};

const TEMPLATE_FILE_PATH: &str = "template-file-path";
const PARAMETERS: &str = "parameters";
const TAGS: &str = "tags";

/// The most parameters of a stack [CloudFormation's quota].
pub const MAX_PARAMETERS: usize = 200;
/// The most tags of a stack [CloudFormation's quota].
pub const MAX_TAGS: usize = 50;

/// A deployment file that keeps the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentFile {
    /// The template's path as written, `./` and all; it may be anything, even empty: the caller checks it.
    pub template_file_path: String,
    /// Where the path stands.
    pub template_file_path_span: Span,
    /// The parameters in the order of the file, each with the text to send.
    pub parameters: Vec<(String, String)>,
    /// Where `parameters` stands, when the file has it.
    pub parameters_span: Option<Span>,
    /// The tags in the order of the file; `None` when the file has no `tags` key, which is not the same as an empty set.
    pub tags: Option<Vec<(String, String)>>,
    /// Where `tags` stands, when the file has it.
    pub tags_span: Option<Span>,
}

/// Reads a deployment file.
///
/// # Errors
/// One finding when the file cannot be read as YAML or JSON; otherwise every finding: `not-a-mapping`, `missing-key`,
/// `unknown-key`, `null-value`, `wrong-type`.
pub fn parse_deployment_file(file: &str, bytes: &[u8]) -> Result<DeploymentFile, Vec<Finding>> {
    let document =
        read(file, bytes, &Limits::default(), Dialect::DeploymentFile).map_err(|finding| vec![finding])?;
    let mut check = Check { file, document: &document, findings: Vec::new() };
    let read = check.deployment_file();
    match read {
        Some(read) if check.findings.is_empty() => Ok(read),
        _ => Err(check.findings),
    }
}

/// Checks CloudFormation's quotas, which the schema does not know.
pub fn check_limits(file: &str, deployment: &DeploymentFile) -> Vec<Finding> {
    let finding = |span, rule, what: &str, count: usize, most: usize| Finding {
        file: file.to_owned(),
        span,
        rule,
        message: format!("the file has {count} {what}; CloudFormation takes at most {most}"),
    };
    let mut findings = Vec::new();
    let parameters = deployment.parameters.len();
    if parameters > MAX_PARAMETERS {
        let span = deployment.parameters_span;
        findings.push(finding(span, "too-many-parameters", "parameters", parameters, MAX_PARAMETERS));
    }
    let tags = deployment.tags.as_ref().map_or(0, Vec::len);
    if tags > MAX_TAGS {
        findings.push(finding(deployment.tags_span, "too-many-tags", "tags", tags, MAX_TAGS));
    }
    findings
}

struct Check<'a> {
    file: &'a str,
    document: &'a Document,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn report(&mut self, span: Span, rule: &'static str, message: String) {
        self.findings.push(Finding { file: self.file.to_owned(), span: Some(span), rule, message });
    }

    fn deployment_file(&mut self) -> Option<DeploymentFile> {
        let root = &self.document.root;
        let Some(entries) = root.entries() else {
            let message = format!("the deployment file must be a mapping, not {}", root.kind_name());
            self.report(root.span, "not-a-mapping", message);
            return None;
        };
        let mut path = None;
        let mut parameters = Vec::new();
        let mut parameters_span = None;
        let mut tags = None;
        let mut tags_span = None;
        for (key, span, value) in entries {
            match key.as_str() {
                TEMPLATE_FILE_PATH => path = self.string(key, value).map(|text| (text, value.span)),
                PARAMETERS => {
                    parameters_span = Some(*span);
                    parameters = self.mapping(key, value, Self::parameter);
                }
                TAGS => {
                    tags_span = Some(*span);
                    tags = Some(self.mapping(key, value, Self::string));
                }
                _ => {
                    let message = format!(
                        "unknown key {key:?}; the keys are {TEMPLATE_FILE_PATH}, {PARAMETERS} and {TAGS}"
                    );
                    self.report(*span, "unknown-key", message);
                }
            }
        }
        if root.get(TEMPLATE_FILE_PATH).is_none() {
            self.report(root.span, "missing-key", format!("the key {TEMPLATE_FILE_PATH} is missing"));
        }
        let (template_file_path, template_file_path_span) = path?;
        Some(DeploymentFile {
            template_file_path,
            template_file_path_span,
            parameters,
            parameters_span,
            tags,
            tags_span,
        })
    }

    /// The entries of a section, each read by `value_of`; those with findings are left out.
    fn mapping(
        &mut self,
        name: &str,
        section: &Node,
        value_of: fn(&mut Self, &str, &Node) -> Option<String>,
    ) -> Vec<(String, String)> {
        let Some(entries) = section.entries() else {
            self.wrong_type(name, section, "a mapping");
            return Vec::new();
        };
        let mut read = Vec::with_capacity(entries.len());
        for (key, _, value) in entries {
            if let Some(text) = value_of(self, &format!("{name}.{key}"), value) {
                read.push((key.clone(), text));
            }
        }
        read
    }

    fn string(&mut self, name: &str, value: &Node) -> Option<String> {
        match &value.kind {
            Kind::String(text) if self.is_string(value) => Some(text.clone()),
            _ => self.wrong_type(name, value, "a string"),
        }
    }

    fn parameter(&mut self, name: &str, value: &Node) -> Option<String> {
        match &value.kind {
            Kind::Sequence(items) => {
                let texts: Vec<Option<String>> = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        self.scalar(&format!("{name}[{index}]"), item, "a string, number or boolean")
                    })
                    .collect();
                texts.into_iter().collect::<Option<Vec<String>>>().map(|texts| texts.join(","))
            }
            _ => self.scalar(name, value, "a string, number, boolean or list"),
        }
    }

    fn scalar(&mut self, name: &str, value: &Node, wanted: &str) -> Option<String> {
        match value.scalar_text() {
            Some(text) if self.is_string(value) => Some(text.to_owned()),
            _ => self.wrong_type(name, value, wanted),
        }
    }

    /// Whether a scalar is what it seems, and not a date that only looks like a string in the tree.
    fn is_string(&self, value: &Node) -> bool {
        !self.document.not_strings.contains(&value.span)
    }

    fn wrong_type(&mut self, name: &str, value: &Node, wanted: &str) -> Option<String> {
        if value.is_null() {
            self.report(value.span, "null-value", format!("{name} must be {wanted}, not null"));
            return None;
        }
        let message = match value.scalar_text() {
            Some(text) if self.is_string(value) => {
                format!(
                    "{name} must be {wanted}, not {} ({text}); quote it to make it a string",
                    value.kind_name()
                )
            }
            Some(text @ ("=" | "<<")) => format!("{name} must be {wanted}; quote {text} to make it a string"),
            Some(text) => {
                format!("{name} must be {wanted}, not a date ({text}); quote it to make it a string")
            }
            None => format!("{name} must be {wanted}, not {}", value.kind_name()),
        };
        self.report(value.span, "wrong-type", message);
        None
    }
}

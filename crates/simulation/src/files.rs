//! The files of the stacks: small, and told apart by one value.

use crate::hosts::Files;

/// A resource that cannot be created.
pub(crate) const BROKEN: &str = "Broken";
/// A resource that takes long.
pub(crate) const SLOW: &str = "Slow";

/// What a stack's files are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// One resource.
    Plain,
    /// Another one beside it.
    Extra,
    /// One that cannot be created, so that the stack is rolled back.
    Broken,
    /// One that takes long.
    Slow,
    /// A parameter that nobody gives.
    Refused,
    /// A deployment file that is none.
    Invalid,
    /// No deployment file.
    Missing,
}

/// The template of a flavour.
pub(crate) fn template(flavour: Flavour, value: u64) -> String {
    let topic = r#"{"Type":"AWS::SNS::Topic","Properties":{"DisplayName":{"Ref":"V"}}}"#;
    let (parameter, resource) = match flavour {
        Flavour::Extra => ("", format!(r#","Extra{}":{topic}"#, value % 3)),
        Flavour::Broken => ("", format!(r#","{BROKEN}":{topic}"#)),
        Flavour::Slow => ("", format!(r#","{SLOW}":{topic}"#)),
        Flavour::Refused => (r#","W":{"Type":"String"}"#, String::new()),
        Flavour::Plain | Flavour::Invalid | Flavour::Missing => ("", String::new()),
    };
    format!(
        r#"{{"Parameters":{{"V":{{"Type":"String"}}{parameter}}},"Resources":{{"A":{topic}{resource}}}}}"#
    )
}

/// Writes the files of a stack.
pub(crate) fn put(files: &mut Files, name: &str, value: u64, flavour: Flavour) {
    let config = format!("{name}.yaml");
    files.insert(format!("{name}.json"), template(flavour, value).into());
    match flavour {
        Flavour::Missing => {
            files.remove(&config);
        }
        Flavour::Invalid => {
            files.insert(config, format!("templatefile: {name}.json\nparameters: {{V: v{value}}}\n").into());
        }
        _ => {
            let text = format!("template-file-path: {name}.json\nparameters:\n  V: v{value}\n");
            files.insert(config, text.into());
        }
    }
}

/// The value in a deployment file.
pub(crate) fn value_of(config: &str) -> Option<&str> {
    config.lines().find_map(|line| line.trim().strip_prefix("V: "))
}

/// The template that a deployment file names.
pub(crate) fn template_path(config: &str) -> Option<&str> {
    config.lines().find_map(|line| line.strip_prefix("template-file-path: "))
}

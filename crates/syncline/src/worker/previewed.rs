//! From what CloudFormation and files say to what a preview's comment is made of.

use syncline_model::preview::comment;
use syncline_model::preview::values::without_references;

use super::files::Files;

/// What is wrong with files, without what stands in them: the findings quote values in brackets, and nobody knows which
/// parameters of a file that cannot be read are secret.
pub(super) fn without_values(reason: &str) -> String {
    let (mut lines, mut within) = (Vec::new(), false);
    for line in reason.lines() {
        // A value may have several lines.
        if within {
            within = !line.contains(')');
            continue;
        }
        match line.split_once('(') {
            None => lines.push(line.to_owned()),
            Some((before, after)) => {
                lines.push(format!("{before}(…)"));
                within = !after.contains(')');
            }
        }
    }
    without_references(&lines.join("\n"))
}

pub(super) fn change(change: syncline_targets::Change) -> comment::Change {
    comment::Change {
        action: change.action.as_str().to_owned(),
        logical_id: change.logical_id,
        resource_type: change.resource_type,
        replacement: change.replacement.map(|replacement| replacement.as_str().to_owned()),
        policy_action: change.policy_action,
        scope: change.scope,
        details: change
            .details
            .into_iter()
            .map(|detail| comment::Detail {
                property: detail.property,
                path: detail.path,
                before: detail.before,
                after: detail.after,
                cause: detail.cause,
            })
            .collect(),
    }
}

/// The names and types of a template's resources.
pub(super) fn resources(files: Option<&Files>) -> Vec<(String, String)> {
    let section = files.and_then(|files| files.parsed.get("Resources"));
    let entries = section.and_then(|section| section.entries()).unwrap_or_default();
    let row = |name: &String, kind: Option<&str>| (name.clone(), kind.unwrap_or_default().to_owned());
    let kind = |resource: &syncline_template::Node| {
        resource.get("Type").and_then(|kind| kind.as_str().map(str::to_owned))
    };
    entries.iter().map(|(name, _, resource)| row(name, kind(resource).as_deref())).collect()
}

/// The parameters that are given, and the defaults of those that are not.
pub(super) fn with_defaults(
    template: &serde_json::Value,
    given: &[(String, String)],
) -> Vec<(String, String)> {
    let declared = template.get("Parameters").and_then(|section| section.as_object());
    let default = |(name, declaration): (&String, &serde_json::Value)| {
        let default = declaration.get("Default")?;
        let text = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        given.iter().all(|(given, _)| given != name).then(|| (name.clone(), text))
    };
    given.iter().cloned().chain(declared.into_iter().flatten().filter_map(default)).collect()
}

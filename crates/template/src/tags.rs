//! CloudFormation's short tags and their long form.

use crate::{Kind, Node, Span};

/// The functions that have a short tag of their own name and `Fn::` before it in the long form.
const FUNCTIONS: [&str; 25] = [
    "And",
    "Base64",
    "Cidr",
    "Contains",
    "EachMemberEquals",
    "EachMemberIn",
    "Equals",
    "FindInMap",
    "GetAZs",
    "GetAtt",
    "GetStackOutput",
    "If",
    "ImportValue",
    "Join",
    "Length",
    "Not",
    "Or",
    "RefAll",
    "Select",
    "Split",
    "Sub",
    "ToJsonString",
    "Transform",
    "ValueOf",
    "ValueOfAll",
];

/// The long form's key of a tag such as `GetAtt`, when CloudFormation has such a function.
pub(crate) fn long_name(suffix: &str) -> Option<String> {
    match suffix {
        "Ref" | "Condition" => Some(suffix.to_owned()),
        name if FUNCTIONS.contains(&name) => Some(format!("Fn::{name}")),
        _ => None,
    }
}

/// Wraps a value in its function: `!Ref x` becomes `{"Ref": "x"}`, `!GetAtt a.b.c` becomes `{"Fn::GetAtt": ["a", "b.c"]}`.
pub(crate) fn long_form(name: String, span: Span, value: Node) -> Node {
    let value = match value.kind {
        Kind::String(text) if name == "Fn::GetAtt" => match text.split_once('.') {
            Some((resource, attribute)) => {
                let part = |text: &str| Node { span: value.span, kind: Kind::String(text.to_owned()) };
                Node { span: value.span, kind: Kind::Sequence(vec![part(resource), part(attribute)]) }
            }
            None => Node { span: value.span, kind: Kind::String(text) },
        },
        kind => Node { span: value.span, kind },
    };
    Node { span, kind: Kind::Mapping(vec![(name, span, value)]) }
}

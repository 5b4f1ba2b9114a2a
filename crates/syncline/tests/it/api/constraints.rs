//! Every constraint of every member that an offered operation takes, broken once in each protocol.

use serde_json::{Map, Value, json};
use syncline_wire::Operation;
use syncline_wire::shape::{Member, Shape, TextRule};

use super::client::{Client, PROTOCOLS, Server};
use super::offered::offered;

/// Texts for the patterns of the model that a run of letters does not match.
const EXAMPLES: &[&str] = &[
    "name",
    "00000000-1111-2222-3333-444444444444",
    "arn:aws:codeconnections:eu-west-1:111111111111:host/name-01234567",
    "arn:aws:iam::111111111111:role/deploy",
    "arn:aws:kms:eu-west-1:111111111111:key/01234567",
    "subnet-01234567",
    "sg-01234567",
    "vpc-01234567",
];

fn fits(rule: &TextRule, text: &str) -> bool {
    let length = text.chars().count();
    length >= rule.min
        && rule.max.is_none_or(|max| length <= max)
        && rule.pattern.is_none_or(|pattern| pattern.matches(text))
}

/// A value that keeps the shape's constraints.
fn sample(shape: &Shape) -> Value {
    match shape {
        Shape::Text(rule) => {
            let found = EXAMPLES.iter().find(|text| fits(rule, text));
            (*found.unwrap_or_else(|| panic!("no example keeps {rule:?}"))).into()
        }
        Shape::Enum(texts) => texts[0].into(),
        Shape::Integer(rule) => rule.max.into(),
        Shape::List(rule) => Value::Array(vec![sample(rule.member); rule.min.max(1)]),
        Shape::Structure(members) => {
            let members = members.iter().map(|member| (member.name.to_owned(), sample(member.shape)));
            Value::Object(members.collect())
        }
        other => panic!("no input holds a {other:?}"),
    }
}

/// One broken constraint: the input, and the whole text of the refusal.
#[derive(Debug)]
struct Broken {
    input: Value,
    path: String,
    value: String,
    rules: Vec<String>,
}

impl Broken {
    fn message(&self) -> String {
        let count = self.rules.len();
        let plural = if count == 1 { "" } else { "s" };
        let rules = self
            .rules
            .iter()
            .map(|rule| format!("{} at '{}' failed to satisfy constraint: {rule}", self.value, self.path));
        let rules: Vec<_> = rules.collect();
        format!("{count} validation error{plural} detected: {}", rules.join("; "))
    }
}

fn lower_camel(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    format!("{}{rest}", first.to_ascii_lowercase())
}

/// The texts that break a rule, with what each breaks.
fn bad_texts(rule: &TextRule) -> Vec<(String, Vec<String>)> {
    let mut bad: Vec<String> = Vec::new();
    if rule.min > 0 {
        bad.push("a".repeat(rule.min - 1));
    }
    if let Some(max) = rule.max {
        let example = EXAMPLES.iter().find(|text| fits(rule, text)).expect("an example");
        let fill = "0".repeat(max + 1 - example.chars().count());
        bad.push(format!("{example}{fill}"));
    }
    if rule.pattern.is_some() {
        let candidates = ["not a match", "line\nbreak", "line\nbreak in a longer text"];
        let long_enough =
            |text: &&str| text.len() >= rule.min && rule.max.is_none_or(|max| text.len() <= max);
        let unmatched = |text: &&str| !rule.pattern.is_some_and(|pattern| pattern.matches(text));
        bad.extend(candidates.iter().copied().filter(long_enough).find(unmatched).map(str::to_owned));
    }
    let told = |text: String| {
        let length = text.chars().count();
        let mut rules = Vec::new();
        if length < rule.min {
            rules.push(format!("Member must have length greater than or equal to {}", rule.min));
        }
        if let Some(max) = rule.max.filter(|&max| length > max) {
            rules.push(format!("Member must have length less than or equal to {max}"));
        }
        if let Some(pattern) = rule.pattern.filter(|pattern| !pattern.matches(&text)) {
            rules.push(format!("Member must satisfy regular expression pattern: {}", pattern.text()));
        }
        (text, rules)
    };
    bad.into_iter().map(told).collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{name}={}", shown(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Every way to break one constraint below `shape`; `whole` puts a value into the whole input.
fn broken(shape: &Shape, path: &str, whole: &dyn Fn(Value) -> Value) -> Vec<Broken> {
    let one = |value: Value, rules: Vec<String>| Broken {
        value: format!("Value '{}'", shown(&value)),
        input: whole(value),
        path: path.to_owned(),
        rules,
    };
    let mut found = Vec::new();
    match shape {
        Shape::Text(rule) => {
            found.extend(bad_texts(rule).into_iter().map(|(text, rules)| one(text.into(), rules)));
        }
        Shape::Enum(texts) => {
            let rule = format!("Member must satisfy enum value set: [{}]", texts.join(", "));
            found.push(one("Nonesuch".into(), vec![rule]));
        }
        Shape::Integer(rule) => {
            let low = format!("Member must have value greater than or equal to {}", rule.min);
            let high = format!("Member must have value less than or equal to {}", rule.max);
            found.push(one((rule.min - 1).into(), vec![low]));
            found.push(one((rule.max + 1).into(), vec![high]));
        }
        Shape::List(rule) => {
            if rule.min > 0 {
                let short = Value::Array(vec![sample(rule.member); rule.min - 1]);
                let text = format!("Member must have length greater than or equal to {}", rule.min);
                found.push(one(short, vec![text]));
            }
            if let Some(max) = rule.max {
                let long = Value::Array(vec![sample(rule.member); max + 1]);
                let text = format!("Member must have length less than or equal to {max}");
                found.push(one(long, vec![text]));
            }
            let at_second = |value: Value| whole(json!([sample(rule.member), value]));
            let path = format!("{path}.2.member");
            found.push(missing(&path, at_second(Value::Null)));
            found.extend(broken(rule.member, &path, &at_second));
        }
        Shape::Structure(members) => {
            for member in *members {
                found.extend(broken_member(members, member, path, whole));
            }
        }
        other => panic!("no input holds a {other:?}"),
    }
    found
}

fn missing(path: &str, input: Value) -> Broken {
    let rules = vec!["Member must not be null".to_owned()];
    Broken { input, path: path.to_owned(), value: "Value null".to_owned(), rules }
}

fn broken_member(
    members: &'static [Member],
    member: &'static Member,
    path: &str,
    whole: &dyn Fn(Value) -> Value,
) -> Vec<Broken> {
    let dot = if path.is_empty() { "" } else { "." };
    let path = format!("{path}{dot}{}", lower_camel(member.name));
    let others = |value: Option<Value>| {
        let others = members.iter().filter(|other| other.name != member.name);
        let mut all: Map<String, Value> =
            others.map(|other| (other.name.to_owned(), sample(other.shape))).collect();
        all.extend(value.map(|value| (member.name.to_owned(), value)));
        whole(Value::Object(all))
    };
    let mut found = Vec::new();
    if member.required {
        found.push(missing(&path, others(None)));
        found.push(missing(&path, others(Some(Value::Null))));
    }
    found.extend(broken(member.shape, &path, &|value| others(Some(value))));
    found
}

/// Refuses with exactly the text, or, where the text is beyond 600 characters, with the value cut.
async fn check(client: Client<'_>, operation: Operation, broken: &Broken) {
    let expected = broken.message();
    let (code, message) = client.refused(operation.name(), broken.input.clone()).await;
    assert_eq!(code, operation.validation_code().name(), "{} {}", operation.name(), broken.path);
    if expected.chars().count() <= 600 {
        assert_eq!(message, expected, "{}", operation.name());
        return;
    }
    // Long values are cut first: where it was and what it broke is still told in full.
    let (head, tail) = expected.split_once(&broken.value).expect("the value is there");
    let begin: String = broken.value.chars().take("Value '".len() + 15).collect();
    let rules: Vec<_> = tail.split(&broken.value).collect();
    assert!(message.starts_with(&format!("{head}{begin}")), "{message}");
    for rule in rules {
        assert!(message.contains(&format!("…'{rule}")), "{message} lacks {rule}");
    }
}

#[tokio::test]
async fn every_broken_constraint_is_told_in_the_words_of_aws() {
    let server = Server::start().await;
    let mut checked = 0;
    for operation in offered() {
        let Shape::Structure(members) = operation.input_shape() else { panic!("inputs are structures") };
        let cases = broken(operation.input_shape(), "", &|input| input);
        for member in *members {
            let path = lower_camel(member.name);
            let bounded = !matches!(member.shape, Shape::Text(TextRule { min: 0, max: None, pattern: None }));
            let met =
                cases.iter().any(|case| case.path == path || case.path.starts_with(&format!("{path}.")));
            assert!(met || !(member.required || bounded), "{} {path} has no case", operation.name());
        }
        for case in &cases {
            for protocol in PROTOCOLS {
                check(Client { protocol, ..server.client() }, operation, case).await;
                checked += 1;
            }
        }
    }
    assert!(checked > 300, "{checked} cases");
}

#[tokio::test]
async fn several_broken_constraints_are_told_in_the_model_s_order() {
    let server = Server::start().await;
    for protocol in PROTOCOLS {
        let client = Client { protocol, ..server.client() };
        let input = json!({
            "Tags": [{"Key": "", "Value": "x"}, {"Value": "x"}],
            "ConnectionName": "a-name-of-thirty-three-characters",
            "ProviderType": "Sub\u{e4}version",
        });
        let message = "4 validation errors detected: Value 'Sub\u{e4}version' at 'providerType' failed to satisfy constraint: \
             Member must satisfy enum value set: [Bitbucket, GitHub, GitHubEnterpriseServer, GitLab, \
             GitLabSelfManaged, AzureDevOps, Gitea, Git]; Value 'a-name-of-thirty-three-characters' at \
             'connectionName' failed to satisfy constraint: Member must have length less than or equal to 32; \
             Value '' at 'tags.1.member.key' failed to satisfy constraint: Member must have length greater than or \
             equal to 1; Value null at 'tags.2.member.key' failed to satisfy constraint: Member must not be null";
        client.refuses("CreateConnection", input, "ValidationException", message).await;
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_a_serialization_error() {
    let server = Server::start().await;
    let client = server.client();
    for (input, message) in [
        (json!({"ConnectionName": 1}), "expected a text at 'connectionName', found an integer"),
        (json!({"ConnectionName": "a", "Tags": {}}), "expected a list at 'tags', found an object"),
        (json!([]), "expected an object, found a list"),
    ] {
        for protocol in PROTOCOLS {
            let client = Client { protocol, ..client };
            client.refuses("CreateConnection", input.clone(), "SerializationException", message).await;
        }
    }
    for protocol in PROTOCOLS {
        let client = Client { protocol, ..client };
        let mut draft = client.draft("CreateConnection", &json!({}));
        draft.body = b"{\"ConnectionName\": \xff".to_vec();
        let (code, _) = server.send(client.sign(draft)).await.refusal();
        assert_eq!(code, "SerializationException");
    }
}

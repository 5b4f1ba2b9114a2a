//! Every constraint of the model holds at its bound and is told in AWS's words beyond it.

use ciborium::Value;
use syncline_wire::codec::{Refusal, accept};
use syncline_wire::shape::{Shape, TextRule};
use syncline_wire::{
    CreateConnectionInput, CreateSyncConfigurationInput, ErrorCode, ListHostsInput, Operation, Protocol,
    TagResourceInput, UpdateSyncBlockerInput, decode,
};

use crate::sample;

/// The refusal of a JSON body, as code and text.
fn refusal<I: syncline_wire::Input>(body: &str) -> (ErrorCode, String) {
    match decode::<I>(Protocol::Json, body.as_bytes()) {
        Ok(_) => panic!("{body} is accepted"),
        Err(error) => (error.code, error.message),
    }
}

#[test]
fn violations_are_told_as_aws_tells_them() {
    assert_eq!(
        refusal::<CreateConnectionInput>(&format!(r#"{{"ConnectionName":"{}"}}"#, "x".repeat(33))),
        (
            ErrorCode::Validation,
            format!(
                "1 validation error detected: Value '{}' at 'connectionName' failed to satisfy constraint: \
                 Member must have length less than or equal to 32",
                "x".repeat(33)
            )
        )
    );
    assert_eq!(
        refusal::<CreateConnectionInput>("{}"),
        (
            ErrorCode::Validation,
            "1 validation error detected: Value null at 'connectionName' failed to satisfy constraint: Member \
             must not be null"
                .to_owned()
        )
    );
    assert_eq!(
        refusal::<ListHostsInput>(r#"{"MaxResults":101,"NextToken":""}"#).1,
        "2 validation errors detected: Value '101' at 'maxResults' failed to satisfy constraint: Member must have \
         value less than or equal to 100; Value '' at 'nextToken' failed to satisfy constraint: Member must have \
         length greater than or equal to 1"
    );
    assert_eq!(
        refusal::<TagResourceInput>(
            r#"{"ResourceArn":"x","Tags":[{"Key":"a","Value":"b"},{"Key":"","Value":"c\nd"},{"Key":"k"}]}"#
        )
        .1,
        "4 validation errors detected: Value 'x' at 'resourceArn' failed to satisfy constraint: Member must \
         satisfy regular expression pattern: arn:aws(-[\\w]+)*:.+:.+:[0-9]{12}:.+; Value '' at \
         'tags.2.member.key' failed to satisfy constraint: Member must have length greater than or equal to 1; \
         Value 'c\nd' at 'tags.2.member.value' failed to satisfy constraint: Member must satisfy regular \
         expression pattern: .*; Value null at 'tags.3.member.value' failed to satisfy constraint: Member must \
         not be null"
    );
    let (code, text) = refusal::<CreateSyncConfigurationInput>(
        r#"{"Branch":"main","ConfigFile":"f","RepositoryLinkId":"00000000-1111-2222-3333-444444444444",
            "ResourceName":"a","RoleArn":"arn:aws:iam::123456789012:role/r","SyncType":"OTHER"}"#,
    );
    assert_eq!(code, ErrorCode::InvalidInput);
    assert_eq!(
        text,
        "1 validation error detected: Value 'OTHER' at 'syncType' failed to satisfy constraint: Member must \
         satisfy enum value set: [CFN_STACK_SYNC]"
    );
    assert_eq!(
        refusal::<CreateConnectionInput>(r#"{"ConnectionName":"c","ProviderType":"Svn"}"#).1,
        "1 validation error detected: Value 'Svn' at 'providerType' failed to satisfy constraint: Member must \
         satisfy enum value set: [Bitbucket, GitHub, GitHubEnterpriseServer, GitLab, GitLabSelfManaged, \
         AzureDevOps, Gitea, Git]"
    );
}

#[test]
fn long_values_are_cut_first_so_that_the_rules_stay_readable() {
    let (_, text) = refusal::<UpdateSyncBlockerInput>(&format!(
        r#"{{"Id":"{}","SyncType":"CFN_STACK_SYNC","ResourceName":"{}","ResolvedReason":"{}"}}"#,
        "i".repeat(5000),
        "-".repeat(5000),
        "ä".repeat(5000),
    ));
    assert!(text.chars().count() <= 600, "{text}");
    assert!(text.starts_with("4 validation errors detected: Value 'iiii"), "{text}");
    for rule in [
        "at 'id' failed to satisfy constraint: Member must have length less than or equal to 50",
        "at 'resourceName' failed to satisfy constraint: Member must have length less than or equal to 100",
        "Member must satisfy regular expression pattern: ^[0-9A-Za-z]+[0-9A-Za-z_\\\\-]*$",
        "at 'resolvedReason' failed to satisfy constraint: Member must have length less than or equal to 250",
    ] {
        assert!(text.contains(rule), "{text}");
    }
}

#[test]
fn thousands_of_violations_are_counted_and_the_first_ones_told() {
    let (_, text) =
        refusal::<TagResourceInput>(&format!(r#"{{"ResourceArn":"x","Tags":[{}{{}}]}}"#, "{},".repeat(9999)));
    assert!(text.starts_with("20002 validation errors detected: Value 'x' at 'resourceArn'"), "{text}");
    assert!(
        text.contains("at 'tags' failed to satisfy constraint: Member must have length less than"),
        "{text}"
    );
    assert!(text.len() < 4000, "{}", text.len());
}

#[test]
fn lengths_count_code_points() {
    let body = |name: &str| format!(r#"{{"ConnectionName":"{name}"}}"#);
    for character in ["a", "ä", "\u{1f600}"] {
        assert!(
            decode::<CreateConnectionInput>(Protocol::Json, body(&character.repeat(32)).as_bytes()).is_ok()
        );
        assert!(
            decode::<CreateConnectionInput>(Protocol::Json, body(&character.repeat(33)).as_bytes()).is_err()
        );
    }
}

/// The way from a document to one of its values.
#[derive(Clone, Copy)]
enum Step {
    Member(&'static str),
    FirstItem,
}

/// Puts `new` where `steps` lead; `None` takes away what is there.
fn replaced(document: &Value, steps: &[Step], new: Option<&Value>) -> Option<Value> {
    let Some((step, rest)) = steps.split_first() else { return new.cloned() };
    Some(match (step, document) {
        (Step::Member(name), Value::Map(entries)) => {
            let entries = entries.iter().filter_map(|(key, value)| {
                let value =
                    if key.as_text() == Some(name) { replaced(value, rest, new)? } else { value.clone() };
                Some((key.clone(), value))
            });
            Value::Map(entries.collect())
        }
        (Step::FirstItem, Value::Array(items)) => {
            let mut items = items.clone();
            items[0] = replaced(&items[0], rest, new)?;
            Value::Array(items)
        }
        _ => panic!("the sample and the shape differ"),
    })
}

/// The way as error texts spell it.
fn spelt(steps: &[Step]) -> String {
    let parts: Vec<String> = steps
        .iter()
        .map(|step| match step {
            Step::Member(name) => name[..1].to_ascii_lowercase() + &name[1..],
            Step::FirstItem => "1.member".to_owned(),
        })
        .collect();
    parts.join(".")
}

/// Checks one input shape: counts the bounds tried.
struct Bounds {
    operation: Operation,
    full: Value,
    tried: usize,
}

impl Bounds {
    fn visit(&mut self, shape: &'static Shape, steps: &mut Vec<Step>) {
        match shape {
            Shape::Structure(members) => {
                for member in *members {
                    steps.push(Step::Member(member.name));
                    if member.required {
                        self.refused(steps, None, "Member must not be null");
                    } else {
                        self.accepted(steps, None);
                    }
                    self.visit(member.shape, steps);
                    steps.pop();
                }
            }
            Shape::List(rule) => {
                let list = |length: usize| Value::Array(vec![sample::full(rule.member); length]);
                self.accepted(steps, Some(&list(rule.min)));
                if rule.min > 0 {
                    let text = format!("Member must have length greater than or equal to {}", rule.min);
                    self.refused(steps, Some(&list(rule.min - 1)), &text);
                }
                if let Some(max) = rule.max {
                    self.accepted(steps, Some(&list(max)));
                    let text = format!("Member must have length less than or equal to {max}");
                    self.refused(steps, Some(&list(max + 1)), &text);
                }
                steps.push(Step::FirstItem);
                self.visit(rule.member, steps);
                steps.pop();
            }
            Shape::Integer(rule) => {
                for good in [rule.min, rule.max] {
                    self.accepted(steps, Some(&Value::from(good)));
                }
                let text = format!("Member must have value greater than or equal to {}", rule.min);
                self.refused(steps, Some(&Value::from(rule.min - 1)), &text);
                let text = format!("Member must have value less than or equal to {}", rule.max);
                self.refused(steps, Some(&Value::from(rule.max + 1)), &text);
            }
            Shape::Enum(texts) => {
                for good in *texts {
                    self.accepted(steps, Some(&Value::from(*good)));
                }
                let text = format!("Member must satisfy enum value set: [{}]", texts.join(", "));
                self.refused(steps, Some(&Value::from("other")), &text);
            }
            Shape::Text(rule) => self.visit_text(shape, rule, steps),
            other => panic!("no input of the API has a {other:?}"),
        }
    }

    fn visit_text(&mut self, shape: &'static Shape, rule: &'static TextRule, steps: &[Step]) {
        let matches = |text: &str| rule.pattern.is_none_or(|pattern| pattern.matches(text));
        let good = sample::full(shape).into_text().expect("a text");
        if rule.min > 0 {
            let text = format!("Member must have length greater than or equal to {}", rule.min);
            let short: String = good.chars().take(rule.min - 1).collect();
            self.refused(steps, Some(&Value::from(short)), &text);
        }
        if let Some(max) = rule.max {
            let padded = |length: usize| good.clone() + &"a".repeat(length - good.chars().count());
            if matches(&padded(max)) {
                self.accepted(steps, Some(&Value::from(padded(max))));
            }
            let text = format!("Member must have length less than or equal to {max}");
            self.refused(steps, Some(&Value::from(padded(max + 1))), &text);
        }
        let bad = ["\n", "ä b", ""].into_iter().find(|bad| !matches(bad));
        if let Some((pattern, bad)) = rule.pattern.zip(bad) {
            let text = format!("Member must satisfy regular expression pattern: {}", pattern.text());
            self.refused(steps, Some(&Value::from(bad)), &text);
        }
    }

    fn check(&mut self, steps: &[Step], value: Option<&Value>) -> Result<Value, Refusal> {
        self.tried += 1;
        let document = replaced(&self.full, steps, value).expect("the whole document stays");
        accept(Protocol::Cbor, self.operation.input_shape(), document)
    }

    fn accepted(&mut self, steps: &[Step], value: Option<&Value>) {
        let found = self.check(steps, value);
        assert!(found.is_ok(), "{} {}: {value:?}: {found:?}", self.operation.name(), spelt(steps));
    }

    fn refused(&mut self, steps: &[Step], value: Option<&Value>, rule: &str) {
        let place = format!("at '{}' failed to satisfy constraint: {rule}", spelt(steps));
        match self.check(steps, value) {
            Err(Refusal::Invalid(text)) => assert!(text.contains(&place), "{text}\nlacks\n{place}"),
            other => panic!("{} {place}: {value:?}: {other:?}", self.operation.name()),
        }
    }
}

#[test]
fn every_bound_of_every_input_holds_on_both_sides() {
    let mut tried = 0;
    for operation in Operation::ALL {
        let full = sample::full(operation.input_shape());
        let mut bounds = Bounds { operation, full, tried: 0 };
        bounds.visit(operation.input_shape(), &mut Vec::new());
        assert!(bounds.tried > 0, "{} has no constraint", operation.name());
        tried += bounds.tried;
    }
    // What the model of 1.44.5 has; fewer would mean that the walk stopped looking.
    assert!(tried >= 300, "{tried}");
}

#[test]
fn every_pattern_of_the_model_compiles() {
    fn visit(shape: &Shape, found: &mut usize) {
        match shape {
            Shape::Text(rule) => {
                if let Some(pattern) = rule.pattern {
                    *found += 1;
                    let _ = pattern.matches("x");
                }
            }
            Shape::List(rule) => visit(rule.member, found),
            Shape::Structure(members) => members.iter().for_each(|member| visit(member.shape, found)),
            _ => {}
        }
    }
    let mut found = 0;
    for operation in Operation::ALL {
        visit(operation.input_shape(), &mut found);
        visit(operation.output_shape(), &mut found);
    }
    assert!(found > 50, "{found}");
}

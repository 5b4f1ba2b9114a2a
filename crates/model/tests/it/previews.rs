//! Previews: whatever is written into a pull request, its comment is a comment and nothing else; whatever happens on the
//! way, no change set is left behind.

use proptest::prelude::*;
use serde_json::{Value, json};
use syncline_model::plan::{ChangeSetSeen, StackSeen};
use syncline_model::preview::comment::{
    Change, Changes, Comment, Detail, MAX_BYTES, MAX_WHOLE_BYTES, Markdown, Merged, Tells, marker, render,
    render_whole, without_marker,
};
use syncline_model::preview::values::{Shown, Sight, custom_macros};
use syncline_model::preview::{Look, Phase, Recorded, Seen, Step, Want, look, next_step};

fn sight<'t>(template: &'t Value, parameters: &'t [(String, String)]) -> Sight<'t> {
    Sight::new(Some((template, parameters)), (template, parameters))
}

fn topic_with(property: Value) -> Value {
    json!({
        "Parameters": {
            "Plain": { "Type": "String" },
            "Secret": { "Type": "String", "NoEcho": true, "Default": "default-canary" },
            "Stored": { "Type": "AWS::SSM::Parameter::Value<String>" },
            "Reference": { "Type": "String" },
        },
        "Mappings": { "Map": { "a": { "b": "{" } } },
        "Resources": {
            "Topic": { "Type": "AWS::SNS::Topic", "Properties": { "Name": property, "Other": "x" } },
            "Custom": { "Type": "Custom::Thing" },
            "Handle": { "Type": "AWS::CloudFormation::WaitConditionHandle" },
            "Module": { "Type": "My::Bucket::Simple::MODULE", "Properties": { "Name": { "Ref": "Secret" } } },
        },
    })
}

#[test]
fn a_value_is_shown_only_if_nothing_in_its_declaration_can_be_a_secret() {
    let given: Vec<(String, String)> =
        [("Plain", "one"), ("Secret", "canary"), ("Reference", "{{resolve:ssm:x}}")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
    let check = |property: Value, value: &str, is_shown: bool| {
        let template = topic_with(property.clone());
        let shown = sight(&template, &given).value("Topic", "Name", Some(value));
        let expect = if is_shown { Shown::Text(value.to_owned()) } else { Shown::Hidden };
        assert_eq!(shown, expect, "{property}");
    };
    check(json!("text"), "text", true);
    check(json!(5), "5", true);
    check(json!({ "a": ["b", true, null] }), "x", true);
    check(json!({ "Ref": "Plain" }), "one", true);
    check(json!({ "Ref": "AWS::Region" }), "eu", true);
    check(json!({ "Ref": "Topic" }), "arn", true);
    check(json!({ "Fn::Sub": "a-${Plain}-${!Secret}-${AWS::Region}" }), "x", true);
    check(json!({ "Fn::Sub": ["${Local}", { "Local": { "Ref": "Plain" } }] }), "x", true);
    check(json!({ "Fn::Join": ["-", ["a", { "Ref": "Plain" }]] }), "x", true);
    check(json!({ "Fn::If": ["Prod", "a", { "Ref": "AWS::NoValue" }] }), "x", true);
    check(json!("{\"json\": {\"in\": {}}}"), "x", true);

    check(json!({ "Ref": "Secret" }), "x", false);
    check(json!({ "Ref": "Stored" }), "x", false);
    check(json!({ "Ref": "Reference" }), "x", false);
    check(json!({ "Ref": "Custom" }), "x", false);
    check(json!({ "Ref": "Nobody" }), "x", false);
    check(json!({ "Ref": "Handle" }), "https://signed.example/?key", false);
    check(json!({ "Fn::Sub": "curl ${Handle}" }), "x", false);
    check(json!({ "Ref": "Module" }), "x", false);
    check(json!({ "a": { "b": [{ "Ref": "Secret" }] } }), "x", false);
    check(json!("{{resolve:ssm:/db/password}}"), "x", false);
    check(json!({ "Fn::Sub": "{{resolve:ssm:${Plain}}}" }), "x", false);
    check(json!({ "Fn::Sub": "a-${Secret}" }), "x", false);
    check(json!({ "Fn::Sub": "a-${ Secret }" }), "x", false);
    check(json!({ "Fn::Sub": "a-${Custom.Password}" }), "x", false);
    check(json!({ "Fn::Sub": ["${Local}", { "Local": { "Ref": "Secret" } }] }), "x", false);
    check(json!({ "Fn::Sub": ["{${Local}", { "Local": "{resolv" }] }), "x", false);
    check(json!({ "Fn::Sub": "${" }), "x", false);
    // In pieces.
    check(json!({ "Fn::Join": ["", ["{", "{re", "solve:ssm:/x}}"]] }), "x", false);
    check(json!({ "Fn::FindInMap": ["Map", "a", "b"] }), "x", false);
    check(json!({ "Fn::GetAtt": ["Custom", "Password"] }), "x", false);
    check(json!({ "Fn::ImportValue": "x" }), "x", false);
    check(json!({ "Fn::Transform": { "Name": "AWS::Include" } }), "x", false);
    check(json!({ "Fn::New": "x" }), "x", false);
    check(json!({ "Ref": "Plain", "Fn::GetAtt": "x" }), "x", false);
    // What it became is looked at, too.
    check(json!("text"), "is canary now", false);
    check(json!("text"), "default-canary", false);
    check(json!("text"), "{{resolve:ssm:x}}", false);
}

#[test]
fn a_value_that_was_a_secret_is_hidden_although_it_is_declared_plainly_now() {
    let (before, after) = (topic_with(json!({ "Ref": "Secret" })), topic_with(json!("plain")));
    let sight = Sight::new(Some((&before, &[])), (&after, &[]));
    assert_eq!(sight.value("Topic", "Name", Some("resolved")), Shown::Hidden);
    assert_eq!(sight.value("Topic", "Other", Some("x")), Shown::Text("x".to_owned()));
    assert_eq!(sight.value("Topic", "Name", None), Shown::Nothing);
    // Where the live template could not be read, nothing is known of what was.
    let blind = Sight::new(None, (&after, &[]));
    assert_eq!(blind.value("Topic", "Name", Some("resolved")), Shown::Hidden);
    let transformed = json!({ "Transform": "AWS::LanguageExtensions", "Resources": {} });
    let sight = Sight::new(Some((&after, &[])), (&transformed, &[]));
    assert_eq!(sight.value("Topic", "Name", Some("resolved")), Shown::Hidden);
}

#[test]
fn what_comes_out_of_a_module_is_hidden() {
    let template = topic_with(json!("x"));
    // As CloudFormation names the resources of the module `Module`.
    assert_eq!(sight(&template, &[]).value("ModuleBucket", "Name", Some("resolved")), Shown::Hidden);
    // A resource that one side declares is added or removed.
    let without = json!({ "Resources": {} });
    let check = |before: &Value, after: &Value| {
        let sight = Sight::new(Some((before, &[])), (after, &[]));
        assert_eq!(sight.value("Topic", "Name", Some("x")), Shown::Text("x".to_owned()));
    };
    check(&without, &template);
    check(&template, &without);
}

#[test]
fn macros_are_custom_unless_they_are_aws_s_own() {
    let check = |template: Value, expect: &[&str]| assert_eq!(custom_macros(&template), expect, "{template}");
    check(json!({ "Resources": {} }), &[]);
    check(json!({ "Transform": "AWS::Serverless-2016-10-31" }), &[]);
    check(json!({ "Transform": ["AWS::LanguageExtensions", "Mine"] }), &["Mine"]);
    check(json!({ "Transform": { "Name": "Theirs", "Parameters": {} } }), &["Theirs"]);
    check(json!({ "Resources": { "A": { "Fn::Transform": { "Name": "Deep" } } } }), &["Deep"]);
    check(json!({ "Resources": { "A": { "Fn::Transform": [{ "Name": "AWS::Include" }, "B"] } } }), &["B"]);
    check(json!({ "Transform": { "Name": { "Ref": "Which" } } }), &["(computed)"]);
    check(json!({ "Transform": 5 }), &["(computed)"]);
}

/// Text that means something to somebody: Markdown, HTML, mentions, ends of fences and of comments.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "@everyone",
        "@octocat",
        "@{uuid}",
        "@",
        "```",
        "````",
        "~~~",
        "`",
        "``",
        "<img src=x onerror=y>",
        "</details>",
        "<!--",
        "-->",
        "<",
        ">",
        "|",
        "\\|",
        "\\",
        "\n",
        "\r\n",
        "\r",
        "\u{2028}",
        "\n```\n",
        "\n/close\n",
        "[a](javascript:b)",
        "![x](https://evil.example/p)",
        "#1",
        "!2",
        "org/repo#3",
        "\u{202e}",
        "\u{200b}",
        "\u{0}",
        "\t",
        "**",
        "# Title",
        "https://evil.example/",
        "{{resolve:secretsmanager:x:SecretString:y}}",
        "résumé",
        "名前",
        " ",
        "a",
        "\u{e0061}",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn long() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => hostile(),
        1 => (hostile(), 1_usize..4_000).prop_map(|(text, times)| text.repeat(times.div_ceil(text.len().max(1)))),
    ]
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let detail = (
        prop::option::of(hostile()),
        prop::option::of(hostile()),
        prop::option::of(long()),
        prop::option::of(long()),
    )
        .prop_map(|(property, path, before, after)| Detail {
            property,
            path: path.map(|path| format!("/Properties/{path}")),
            before,
            after,
            cause: None,
        });
    let change = (
        prop::sample::select(vec!["Add", "Modify", "Remove", "Import", "Dynamic"]),
        (hostile(), hostile()),
        prop::option::of(prop::sample::select(vec!["True", "False", "Conditional"])),
        prop::collection::vec(hostile(), 0..3),
        prop::collection::vec(detail, 0..4),
    )
        .prop_map(|(action, (logical_id, resource_type), replacement, scope, details)| Change {
            action: action.to_owned(),
            logical_id,
            resource_type,
            replacement: replacement.map(str::to_owned),
            policy_action: None,
            scope,
            details,
        })
        .boxed();
    prop_oneof![3 => prop::collection::vec(change.clone(), 0..6), 1 => prop::collection::vec(change, 100..140)]
}

#[derive(Debug, Clone)]
enum Telling {
    Changes(Vec<Change>),
    Creates(Vec<(String, String)>),
    Text(u8, String),
}

fn telling() -> impl Strategy<Value = Telling> {
    prop_oneof![
        4 => changes().prop_map(Telling::Changes),
        1 => prop::collection::vec((hostile(), hostile()), 0..300).prop_map(Telling::Creates),
        2 => (0_u8..6, long()).prop_map(|(kind, text)| Telling::Text(kind, text)),
    ]
}

fn tells(telling: Telling, template: &Value, parameters: &[(String, String)]) -> Tells {
    match telling {
        Telling::Changes(changes) => {
            Tells::Changes(Changes::seen(&sight(template, parameters), &changes, &[], parameters))
        }
        Telling::Creates(resources) => Tells::Creates(resources),
        Telling::Text(0, text) => Tells::Unusable(text),
        Telling::Text(1, text) => Tells::Fails(text),
        Telling::Text(2, text) => Tells::Stuck(text),
        Telling::Text(3, text) => Tells::Macros(vec![text; 40]),
        Telling::Text(4, text) => Tells::Merged(Merged::Synced(text)),
        Telling::Text(_, text) => Tells::Merged(Merged::Failed(text.clone(), text)),
    }
}

/// What is left of a comment outside of code, and whether every fence that opens ends.
fn outside_code(comment: &str) -> (String, bool) {
    let (mut outside, mut fenced) = (String::new(), false);
    for line in comment.lines() {
        if fenced {
            // A line closes a fence with up to three spaces before it.
            let indent = line.len() - line.trim_start_matches(' ').len();
            fenced = !(indent <= 3 && line.trim().len() >= 3 && line.trim().chars().all(|c| c == '`'));
        } else if line.trim_start_matches(' ').starts_with("```") {
            fenced = true;
        } else {
            // Code within a line: our own has one backtick on each side.
            for (index, part) in line.split('`').enumerate() {
                if index % 2 == 0 {
                    outside.push_str(part);
                }
            }
            assert_eq!(line.matches('`').count() % 2, 0, "code ends within its line: {line}");
            outside.push('\n');
        }
    }
    (outside, !fenced)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_content_is_content_and_nothing_else(
        telling in telling(),
        stack in hostile(),
        path in hostile(),
        link in prop_oneof![Just("https://syncline.example/previews/1".to_owned()), hostile()],
        has_html in any::<bool>(),
    ) {
        let template = topic_with(json!("x"));
        let parameters = [("Plain".to_owned(), stack.clone())];
        let markdown = if has_html { Markdown::WithHtml } else { Markdown::Plain };
        let both_changed = [path.clone(), path];
        let comment = render(&Comment {
            preview: "p-1",
            markdown,
            stack: &stack,
            region: &stack,
            head: &stack,
            both_changed: &both_changed,
            tells: tells(telling, &template, &parameters),
            link: Some(&link),
        });
        prop_assert!(comment.len() <= MAX_BYTES, "{} bytes", comment.len());
        // Nobody is mentioned, in code or out of it.
        prop_assert!(comment.split('@').skip(1).all(|after| after.starts_with('\u{200b}')), "{comment}");
        // No tag but ours, in code or out of it.
        for after in comment.split('<').skip(1) {
            let ours = ["!-- syncline-preview ", "details>", "summary>All ", "/summary>\n", "/details>\n"];
            let is_ours = after.starts_with('\u{200b}') || (has_html && ours.iter().any(|tag| after.starts_with(tag)));
            prop_assert!(is_ours, "{after}");
        }
        let (outside, ends) = outside_code(&comment);
        prop_assert!(ends, "a fence does not end: {comment}");
        for foreign in ["evil.example", "javascript:", "octocat", "org/repo", "Title", "close\n", "résumé", "名前"] {
            prop_assert!(!outside.contains(foreign), "{foreign} is not in code: {comment}");
        }
        let is_ours = |c: char| !c.is_control() || c == '\n';
        prop_assert!(comment.chars().all(is_ours));
        let is_seen = |c: char| !['\u{202e}', '\u{2028}', '\u{e0061}'].contains(&c);
        prop_assert!(comment.chars().all(is_seen));
        let marker = marker("p-1");
        prop_assert_eq!(comment.matches(marker.as_str()).count(), 1);
        // No line begins what GitLab takes for an order.
        prop_assert!(comment.lines().all(|line| !line.trim_start().starts_with("/close") || line.starts_with("  ")));
    }

    #[test]
    fn a_secret_value_is_nowhere(
        secret in "[A-Za-z0-9@<`\\\\ \"é]{4,24}",
        around in hostile(),
        telling in telling(),
    ) {
        let template = topic_with(json!({ "Ref": "Plain" }));
        let parameters = [("Secret".to_owned(), secret.clone()), ("Plain".to_owned(), format!("{around}{secret}"))];
        let sight = sight(&template, &parameters);
        let with = |text: &str| format!("{text}{secret}{around}");
        let tells = match telling {
            Telling::Changes(mut changes) => {
                for detail in changes.iter_mut().flat_map(|change| &mut change.details) {
                    detail.before = detail.before.as_deref().map(with);
                    detail.after = Some(json!({ "in": [with("json")] }).to_string());
                    detail.property = Some("Name".to_owned());
                }
                changes.iter_mut().for_each(|change| change.logical_id = "Topic".to_owned());
                let old = [("Secret".to_owned(), with("old")), ("Plain".to_owned(), "before".to_owned())];
                Tells::Changes(Changes::seen(&sight, &changes, &old, &parameters))
            }
            Telling::Text(_, text) => Tells::Fails(sight.scrubbed(&with(&text))),
            Telling::Creates(_) => Tells::Merged(Merged::Failed("x".to_owned(), sight.scrubbed(&with("reason")))),
        };
        let markdown = Markdown::WithHtml;
        let comment = render(&Comment {
            preview: "p",
            markdown, stack: "web", region: "eu", head: "x", both_changed: &[], tells, link: None,
        });
        let plain = comment.replace('\u{200b}', "");
        // What the comment itself says may hold a few of its letters.
        let is_ours = ["Syncline", "merging", "would", "leave", "CloudFormation", "modified", "resource"]
            .iter().any(|word| word.contains(secret.as_str()));
        prop_assume!(!is_ours && !around.contains(secret.as_str()));
        let shown = hostile_free(&plain);
        prop_assert!(!shown.contains(secret.as_str()), "{plain}");
    }

    #[test]
    fn whatever_happens_the_change_set_is_gone_and_the_newest_is_told(
        happenings in prop::collection::vec(0_u8..8, 0..60),
    ) {
        let mut preview = Preview::new();
        for happening in happenings {
            match happening {
                0 => preview.recorded.wanted += 1,
                1 => { preview.recorded.want = Want::Closed; preview.recorded.wanted += 1; }
                2 => { preview.recorded.want = Want::Changes; preview.recorded.wanted += 1; }
                // The sync executes something: other change sets vanish.
                3 => { preview.change_sets.clear(); preview.recorded.wanted += 1; }
                4 => { preview.change_sets.iter_mut().for_each(|(_, seen)| *seen = ChangeSetSeen::Obsolete); }
                // The worker dies before it records, or before it calls.
                5 => preview.step(false, true),
                6 => preview.step(true, false),
                _ => preview.step(true, true),
            }
            prop_assert!(preview.change_sets.len() <= 1, "one at a time: {preview:?}");
        }
        for _ in 0..40 {
            preview.step(true, true);
        }
        prop_assert!(preview.recorded.rests(), "{preview:?}");
        prop_assert!(preview.change_sets.is_empty(), "{preview:?}");
        prop_assert_eq!(preview.told, preview.recorded.wanted);
    }
}

/// What a comment says, without the words of its own.
fn hostile_free(comment: &str) -> String {
    comment.lines().filter(|line| !line.starts_with("<!--")).collect::<Vec<_>>().join("\n")
}

/// A preview, and a target that does what it is told.
#[derive(Debug, Clone)]
struct Preview {
    recorded: Recorded,
    number: u32,
    told: i64,
    change_sets: Vec<(u32, ChangeSetSeen)>,
}

impl Preview {
    fn new() -> Self {
        let recorded = Recorded {
            want: Want::Changes,
            wanted: 1,
            done: 0,
            planned: 0,
            phase: Phase::Idle,
            change_set_seen: false,
            merge_considered: false,
            suspended: false,
        };
        Self { recorded, number: 0, told: 0, change_sets: Vec::new() }
    }

    fn make(&mut self) {
        if self.change_sets.iter().all(|(number, _)| *number != self.number) {
            self.change_sets.push((self.number, ChangeSetSeen::Pending));
        }
    }

    /// What announces a call is always recorded before it; what comes of it, only if it `records`.
    fn step(&mut self, records: bool, calls: bool) {
        let number = self.number;
        let seen = match look(&self.recorded) {
            Look::Nothing => Seen::Nothing,
            Look::FilesAndStack => Seen::Stack(StackSeen::Settled { rolled_back: false }),
            Look::ChangeSet => {
                let found = self.change_sets.iter().find(|(of, _)| *of == number);
                Seen::ChangeSet(found.map_or(ChangeSetSeen::Missing, |(_, seen)| seen.clone()))
            }
        };
        // What was being made is ready the next time.
        for (_, seen) in &mut self.change_sets {
            if *seen == ChangeSetSeen::Pending {
                *seen = ChangeSetSeen::Ready;
            }
        }
        match next_step(&self.recorded, &seen) {
            Step::Rest | Step::Watch | Step::AwaitMerge => {}
            Step::Plan => {
                self.number += 1;
                self.recorded.planned = self.recorded.wanted;
                self.recorded.phase = Phase::Planning;
                self.recorded.change_set_seen = false;
                if calls {
                    self.make();
                    self.recorded.change_set_seen = records;
                }
            }
            Step::AskAgain => {
                if calls {
                    self.make();
                    self.recorded.change_set_seen = records;
                }
            }
            Step::Tell(_) | Step::TellEnd | Step::Gone if !records => {}
            Step::Tell(_) => {
                let is_planned = self.recorded.phase == Phase::Planning;
                self.recorded.done = if is_planned { self.recorded.planned } else { self.recorded.wanted };
                self.told = self.recorded.done;
                if is_planned {
                    self.recorded.phase = Phase::Deleting;
                }
            }
            Step::TellEnd => {
                self.recorded.done = self.recorded.wanted;
                self.told = self.recorded.done;
            }
            Step::Delete => {
                self.recorded.phase = Phase::Deleting;
                if calls {
                    self.change_sets.retain(|(of, _)| *of != number);
                }
            }
            Step::Gone => self.recorded.phase = Phase::Idle,
        }
    }
}

#[test]
fn a_comment_says_the_gravest_first() {
    let template = topic_with(json!({ "Ref": "Plain" }));
    let change = |action: &str, id: &str, replacement: Option<&str>, details: Vec<Detail>| Change {
        action: action.to_owned(),
        logical_id: id.to_owned(),
        resource_type: "AWS::SNS::Topic".to_owned(),
        replacement: replacement.map(str::to_owned),
        policy_action: (action == "Remove").then(|| "Delete".to_owned()),
        scope: if action == "Modify" { vec!["Properties".to_owned()] } else { Vec::new() },
        details,
    };
    let name = Detail {
        property: Some("Name".to_owned()),
        path: Some("/Properties/Name".to_owned()),
        before: Some("one".to_owned()),
        after: Some("two".to_owned()),
        cause: Some("Plain".to_owned()),
    };
    let changes = [
        change("Add", "New", None, Vec::new()),
        change("Modify", "Topic", Some("True"), vec![name]),
        change("Remove", "Old", None, Vec::new()),
    ];
    let old = [("Plain".to_owned(), "one".to_owned()), ("Secret".to_owned(), "****".to_owned())];
    let new = [("Plain".to_owned(), "two".to_owned()), ("Secret".to_owned(), "canary".to_owned())];
    let sight = Sight::new(Some((&template, &old)), (&template, &new));
    let comment = render(&Comment {
        preview: "p-1",
        markdown: Markdown::WithHtml,
        stack: "web-prod",
        region: "eu-central-1",
        head: "0123456789abcdef0123456789abcdef01234567",
        both_changed: &[],
        tells: Tells::Changes(Changes::seen(&sight, &changes, &old, &new)),
        link: None,
    });
    let expected = "<!-- syncline-preview p-1 -->
**Syncline** · stack `web-prod` in `eu-central-1` · merging `0123456` would leave **1 replaced, 1 removed, 1 added**.

- ⚠️ replace `Topic` (`AWS::SNS::Topic`)
- ❌ remove `Old` (`AWS::SNS::Topic`)

<details><summary>All 3 changes</summary>

| | Resource | Type | Because of |
|---|---|---|---|
| ⚠️ replace | `Topic` | `AWS::SNS::Topic` | `Properties, Plain` |
| ❌ remove | `Old` | `AWS::SNS::Topic` | `Delete` |
| add | `New` | `AWS::SNS::Topic` |  |

</details>

```diff
  Parameters
-   Plain: one
+   Plain: two
  Topic (AWS::SNS::Topic)
-   Name: one
+   Name: two
```
";
    assert_eq!(comment, expected);
}

#[test]
fn the_whole_has_what_the_comment_leaves_out_and_its_own_bound() {
    let template = json!({ "Resources": { "Topic": { "Type": "T", "Properties": { "Name": "x" } } } });
    let long: Vec<String> = (0..100).map(|number| format!("line {number}")).collect();
    let written = |after: String, count: usize| {
        let name = Detail {
            property: Some("Name".to_owned()),
            path: Some("/Properties/Name".to_owned()),
            before: Some("one".to_owned()),
            after: Some(after),
            cause: None,
        };
        let one = Change {
            action: "Modify".to_owned(),
            logical_id: "Topic".to_owned(),
            resource_type: "AWS::SNS::Topic".to_owned(),
            details: vec![name],
            ..Change::default()
        };
        let changes = vec![one; count];
        let sight = Sight::new(Some((&template, &[])), (&template, &[]));
        let comment = Comment {
            preview: "p-1",
            markdown: Markdown::Plain,
            stack: "web",
            region: "eu-central-1",
            head: "0123456789abcdef0123456789abcdef01234567",
            both_changed: &[],
            tells: Tells::Changes(Changes::seen(&sight, &changes, &[], &[])),
            link: Some("https://syncline.example/#eu-central-1/web/p-1"),
        };
        (render(&comment), render_whole(&comment))
    };
    let (comment, whole) = written("two".to_owned(), 1);
    assert_eq!(without_marker(&comment), whole);
    assert_eq!(without_marker(&whole), whole);
    let (comment, whole) = written(long.join("\n"), 1);
    assert!(comment.contains("line 38") && !comment.contains("line 99"), "{comment}");
    assert!(long.iter().all(|line| whole.contains(line)), "{whole}");
    let (comment, whole) = written(long.join("\n"), 1_000);
    assert!(
        comment.contains("[the whole preview](https://syncline.example/#eu-central-1/web/p-1), which"),
        "{comment}"
    );
    assert!(whole.len() <= MAX_WHOLE_BYTES && whole.len() > MAX_WHOLE_BYTES - 8_000, "{}", whole.len());
    assert!(whole.trim_end().ends_with("more lines are left out."), "it says so itself, and leads nowhere");
}

//! Every member taken out, nulled and replaced in turn: nothing panics, and no other branch is named.

use proptest::prelude::*;
use serde_json::{Value, json};
use syncline_forges::{Branches, Forge, Meaning};

use crate::samples::{pushes, read};

/// The JSON pointers of every place in a value.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                places(value, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (number, value) in items.iter().enumerate() {
                places(value, &format!("{at}/{number}"), found);
            }
        }
        _ => {}
    }
}

/// The value without what is at a place.
fn without(value: &Value, place: &str) -> Value {
    let mut value = value.clone();
    let Some((parent, name)) = place.rsplit_once('/') else { return Value::Null };
    match value.pointer_mut(parent) {
        Some(Value::Object(members)) => drop(members.remove(&name.replace("~1", "/").replace("~0", "~"))),
        Some(Value::Array(items)) => drop(items.remove(name.parse().expect("a number"))),
        _ => {}
    }
    value
}

#[test]
fn an_event_without_a_member_names_no_other_branch() {
    let others = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1.5),
        json!(""),
        json!("x"),
        json!([]),
        json!({}),
        json!([[]]),
    ];
    let mut shaken = 0;
    for sample in pushes() {
        let mut found = Vec::new();
        places(&sample.body, "", &mut found);
        for place in &found {
            let replaced = others.iter().map(|other| {
                let mut body = sample.body.clone();
                *body.pointer_mut(place).expect("a place") = other.clone();
                (body, other == &json!("x"))
            });
            for (body, is_named) in replaced.chain([(without(&sample.body, place), false)]) {
                let meaning = read(sample.forge, &sample.headers, body.to_string().as_bytes()).meaning;
                shaken += 1;
                match meaning {
                    Meaning::Pushed(Branches::Named(names)) => {
                        let is_right =
                            |name: &String| sample.branches.contains(&&**name) || (is_named && name == "x");
                        assert!(names.iter().all(is_right), "{names:?} of {body} ({place})");
                    }
                    // Where the list is left out on purpose, as Azure DevOps can be told to.
                    Meaning::Pushed(Branches::All) => assert_eq!(sample.forge, Forge::AzureDevOps, "{body}"),
                    Meaning::PullRequest | Meaning::Ping | Meaning::Nothing(_) => {}
                }
            }
        }
    }
    assert!(shaken > 2000, "{shaken}");
}

proptest! {
    #[test]
    fn whatever_comes_is_read(body in proptest::collection::vec(any::<u8>(), 0..300), event in "[ -~]{0,40}") {
        for forge in Forge::ALL {
            for name in ["x-github-event", "x-gitlab-event", "x-event-key", "x-gitea-event"] {
                read(forge, &[(name, event.trim())], &body);
            }
        }
    }

    #[test]
    fn a_branch_of_any_name_is_named_as_it_is(name in "[^\\p{C}]{1,200}") {
        let body = json!({"ref": format!("refs/heads/{name}")}).to_string();
        let meaning = read(Forge::GitHub, &[("x-github-event", "push")], body.as_bytes()).meaning;
        prop_assert_eq!(meaning, crate::samples::branches(&[&name]));
    }
}

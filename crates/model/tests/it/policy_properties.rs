//! What holds for all policies and requests.

use proptest::prelude::*;
use syncline_model::policy::{Context, Decision, Policy, Request, evaluate};

const ACTIONS: [&str; 6] = [
    "codeconnections:GetConnection",
    "codestar-connections:GetConnection",
    "codeconnections:CreateSyncConfiguration",
    "codeconnections:DeleteHost",
    "iam:PassRole",
    "syncline:GetSync",
];

const RESOURCES: [&str; 5] = [
    "arn:aws:codeconnections:eu-west-1:111111111111:connection/aaaa",
    "arn:aws:codestar-connections:eu-west-1:111111111111:connection/aaaa",
    "arn:aws:codeconnections:us-east-1:222222222222:host/h-1",
    "arn:aws:iam::111111111111:role/deploy",
    "arn:aws:codeconnections:eu-west-1:111111111111:*",
];

fn action_pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        Just("codeconnections:*".to_owned()),
        Just("codestar-connections:Get*".to_owned()),
        Just("*:*sy*".to_owned()),
        prop::sample::select(&ACTIONS[..]).prop_map(str::to_owned),
    ]
}

fn resource_pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        Just("arn:aws:codeconnections:*:*:connection/*".to_owned()),
        Just("arn:aws:codestar-connections:*".to_owned()),
        Just("arn:aws:*:*:111111111111:*/${aws:username}".to_owned()),
        prop::sample::select(&RESOURCES[..]).prop_map(str::to_owned),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "{}",
        r#"{"StringEquals":{"aws:username":"deploy"}}"#,
        r#"{"StringNotEquals":{"aws:username":"deploy"}}"#,
        r#"{"StringLikeIfExists":{"aws:username":"a*"}}"#,
        r#"{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#,
        r#"{"ForAllValues:StringEquals":{"aws:TagKeys":["a","b"]}}"#,
        r#"{"ForAnyValue:StringNotEquals":{"aws:TagKeys":["a","b"]}}"#,
        r#"{"Null":{"aws:TagKeys":"true"}}"#,
    ])
    .prop_map(str::to_owned)
}

fn list(items: &[String]) -> String {
    let quoted: Vec<_> = items.iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", quoted.join(","))
}

/// A statement without its effect.
fn statement() -> impl Strategy<Value = String> {
    (
        prop::collection::vec(action_pattern(), 1..3),
        prop::collection::vec(resource_pattern(), 1..3),
        condition(),
        any::<(bool, bool)>(),
    )
        .prop_map(|(actions, resources, condition, (not_action, not_resource))| {
            let not = |not: bool| if not { "Not" } else { "" };
            format!(
                r#""{}Action":{},"{}Resource":{},"Condition":{condition}"#,
                not(not_action),
                list(&actions),
                not(not_resource),
                list(&resources)
            )
        })
}

fn policy(effect: &str, statement: &str) -> Policy {
    let text = format!(r#"{{"Version":"2012-10-17","Statement":{{"Effect":"{effect}",{statement}}}}}"#);
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn policies() -> impl Strategy<Value = Vec<Policy>> {
    let one = (prop::bool::weighted(0.7), statement())
        .prop_map(|(allow, statement)| policy(if allow { "Allow" } else { "Deny" }, &statement));
    prop::collection::vec(one, 0..6)
}

#[derive(Debug, Clone)]
struct Asking {
    action: &'static str,
    resource: &'static str,
    context: Context,
}

fn asking() -> impl Strategy<Value = Asking> {
    (
        prop::sample::select(&ACTIONS[..]),
        prop::sample::select(&RESOURCES[..]),
        prop::option::of(prop::sample::select(vec!["deploy", "aaaa", "*"])),
        prop::option::of(prop::sample::select(vec!["10.1.2.3", "192.0.2.1"])),
        prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 0..3),
    )
        .prop_map(|(action, resource, name, address, tags)| {
            let mut context = Context::default();
            name.into_iter().for_each(|name| context.add("aws:username", name));
            address.into_iter().for_each(|address| context.add("aws:SourceIp", address));
            tags.into_iter().for_each(|tag| context.add("aws:TagKeys", tag));
            Asking { action, resource, context }
        })
}

fn ask(policies: &[Policy], asking: &Asking) -> Decision {
    let Asking { action, resource, context } = asking;
    evaluate(policies, &Request { action, resource, context })
}

fn other_name(text: &str) -> String {
    if text.contains("codestar-connections:") {
        text.replace("codestar-connections:", "codeconnections:")
    } else {
        text.replace("codeconnections:", "codestar-connections:")
    }
}

/// `*` and `?` by trying everything: the definition, not the algorithm.
fn slow(pattern: &[char], text: &[char]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some('*'), _) => (0..=text.len()).any(|taken| slow(&pattern[1..], &text[taken..])),
        (Some(p), Some(t)) if *p == '?' || p == t => slow(&pattern[1..], &text[1..]),
        _ => false,
    }
}

/// A resource pattern by trying everything: inside the first five parts, a wildcard takes no colon unless it
/// is a `*` at the part's end; missing parts are `*`.
fn slow_resource(pattern: &str, text: &str) -> bool {
    fn go(pattern: &[char], colons: usize, text: &[char]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some('*'), _) => {
                let far = colons >= 5 || pattern.get(1).is_none_or(|next| *next == ':');
                (0..=text.len()).any(|taken| {
                    (far || !text[..taken].contains(&':')) && go(&pattern[1..], colons, &text[taken..])
                })
            }
            (Some('?'), Some(t)) => (colons >= 5 || *t != ':') && go(&pattern[1..], colons, &text[1..]),
            (Some(p), Some(t)) if p == t => go(&pattern[1..], colons + usize::from(*p == ':'), &text[1..]),
            _ => false,
        }
    }
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    let filled = format!("{pattern}{}", ":*".repeat(5_usize.saturating_sub(pattern.matches(':').count())));
    go(&chars(pattern), 0, &chars(text)) || go(&chars(&filled), 0, &chars(text))
}

proptest! {
    #[test]
    fn the_order_of_policies_does_not_matter(
        (policies, shuffled) in policies().prop_flat_map(|p| (Just(p.clone()), Just(p).prop_shuffle())),
        asking in asking(),
    ) {
        let kind = |decision: &Decision| std::mem::discriminant(decision);
        prop_assert_eq!(kind(&ask(&policies, &asking)), kind(&ask(&shuffled, &asking)));
    }

    #[test]
    fn one_more_denial_never_allows_more(
        policies in policies(), deny in statement(), at in any::<prop::sample::Index>(), asking in asking(),
    ) {
        let mut more = policies.clone();
        more.insert(at.index(policies.len() + 1), policy("Deny", &deny));
        if ask(&more, &asking) == Decision::Allowed {
            prop_assert_eq!(ask(&policies, &asking), Decision::Allowed);
        }
        let denied = ask(&[policy("Allow", &deny)], &asking) == Decision::Allowed;
        let is_denied = matches!(ask(&more, &asking), Decision::ExplicitlyDenied { .. });
        prop_assert!(!denied || is_denied);
    }

    #[test]
    fn one_more_permission_never_allows_less(policies in policies(), allow in statement(), asking in asking()) {
        let mut more = policies.clone();
        more.push(policy("Allow", &allow));
        match ask(&policies, &asking) {
            Decision::NotAllowed => {
                let is_denied = matches!(ask(&more, &asking), Decision::ExplicitlyDenied { .. });
                prop_assert!(!is_denied);
            }
            before => prop_assert_eq!(ask(&more, &asking), before),
        }
    }

    #[test]
    fn not_action_and_not_resource_are_the_complement(
        patterns in prop::collection::vec(action_pattern(), 1..4),
        resources in prop::collection::vec(resource_pattern(), 1..4),
        asking in asking(),
    ) {
        let allowed = |elements: String| ask(&[policy("Allow", &elements)], &asking) == Decision::Allowed;
        let of = |not: &str| allowed(format!(r#""{not}Action":{},"Resource":"*""#, list(&patterns)));
        prop_assert_ne!(of(""), of("Not"));
        let of = |not: &str| allowed(format!(r#""Action":"*","{not}Resource":{}"#, list(&resources)));
        prop_assert_ne!(of(""), of("Not"));
    }

    #[test]
    fn a_request_and_its_twin_under_the_other_name_are_decided_alike(
        policies in policies(), asking in asking(),
    ) {
        let (action, resource) = (other_name(asking.action), other_name(asking.resource));
        let twin = evaluate(
            &policies,
            &Request { action: &action, resource: &resource, context: &asking.context },
        );
        prop_assert_eq!(ask(&policies, &asking), twin);
    }

    #[test]
    fn wildcards_match_what_trying_everything_matches(pattern in "[ab?*é]{0,9}", text in "[abé]{0,9}") {
        let policy = policy(
            "Allow",
            &format!(r#""Action":"*","Resource":"*","Condition":{{"StringLike":{{"aws:x":"{pattern}"}}}}"#),
        );
        let context: Context = [("aws:x", text.as_str())].into_iter().collect();
        let fast = evaluate([&policy], &Request { action: "a:b", resource: "*", context: &context });
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(fast == Decision::Allowed, slow(&chars(&pattern), &chars(&text)));
    }

    #[test]
    fn resources_match_what_trying_everything_matches(
        pattern in "[ab?*:]{0,14}", text in "[ab:]{0,10}", like in any::<bool>(),
    ) {
        // Half of the texts are made from the pattern, or hardly any would match.
        let text = if like { pattern.replace('*', &text).replace('?', "a") } else { text };
        let (pattern, text) = (format!("arn:{pattern}"), format!("arn:{text}"));
        prop_assume!(text.len() < 30);
        let policy = policy("Allow", &format!(r#""Action":"*","Resource":"{pattern}""#));
        let context = Context::default();
        let fast = evaluate([&policy], &Request { action: "a:b", resource: &text, context: &context });
        prop_assert_eq!(fast == Decision::Allowed, slow_resource(&pattern, &text));
    }

    #[test]
    fn reading_never_panics(text in any::<String>()) {
        let _ = text.parse::<Policy>();
    }

    #[test]
    fn reading_and_asking_never_panic_on_what_is_almost_a_policy(
        text in almost_a_policy(), asking in asking(),
    ) {
        if let Ok(policy) = text.parse::<Policy>() {
            let _ = ask(&[policy], &asking);
        }
    }
}

/// JSON of the words that policies are made of, in places where they may not belong.
fn almost_a_policy() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "Version",
        "2012-10-17",
        "Id",
        "Sid",
        "Effect",
        "Allow",
        "Deny",
        "Action",
        "NotAction",
        "Resource",
        "*",
        "codeconnections:Get*",
        "arn:aws:codeconnections:*",
        "arn:",
        "${aws:username",
        "${aws:username, 'é'}",
        "Condition",
        "StringLike",
        "ForAllValues:NumericLessThan",
        "DateEqualsIfExists",
        "IpAddress",
        "Null",
        "aws:TagKeys",
        "aws:username",
        "10.0.0.0/0",
        "2026-11-23T07:30:05+é",
        "-T:-",
        "true",
        "1e9",
        "==",
    ])
    .prop_map(|word| format!("{word:?}"));
    let leaf = prop_oneof![
        4 => word.clone(),
        1 => prop::sample::select(vec!["null", "true", "-1", "1e300", "18446744073709551616", "\"\\u0000\""])
            .prop_map(str::to_owned),
    ];
    let json = leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((word.clone(), inner), 0..5).prop_map(|entries| {
                let entries: Vec<_> = entries.iter().map(|(key, value)| format!("{key}:{value}")).collect();
                format!("{{{}}}", entries.join(","))
            }),
        ]
    });
    let statement = (json.clone(), json.clone(), json.clone()).prop_map(|(actions, resources, conditions)| {
        format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":{actions},"Resource":{resources},"Condition":{conditions}}}}}"#
        )
    });
    prop_oneof![json, statement]
}

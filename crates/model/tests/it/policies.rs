//! What policies say to requests: IAM's documented rules, one line each.

use syncline_model::policy::{Context, Decision, Policy, Request, evaluate};

const CONNECTION: &str = "arn:aws:codeconnections:eu-west-1:111111111111:connection/aaaa";

fn policy(text: &str) -> Policy {
    text.parse().unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn decide(policies: &[Policy], action: &str, resource: &str, context: &[(&str, &str)]) -> Decision {
    let context: Context = context.iter().copied().collect();
    evaluate(policies, &Request { action, resource, context: &context })
}

/// Whether a policy of one statement with these elements allows GetConnection on the connection.
fn allows(elements: &str, context: &[(&str, &str)]) -> bool {
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow",{elements}}}]}}"#);
    decide(&[policy(&text)], "codeconnections:GetConnection", CONNECTION, context) == Decision::Allowed
}

fn condition(condition: &str, context: &[(&str, &str)]) -> bool {
    allows(&format!(r#""Action":"*","Resource":"*","Condition":{condition}"#), context)
}

#[test]
fn what_nothing_allows_is_refused() {
    let nothing: [Policy; 0] = [];
    assert_eq!(decide(&nothing, "codeconnections:GetConnection", CONNECTION, &[]), Decision::NotAllowed);
    let other =
        policy(r#"{"Statement":{"Effect":"Allow","Action":"codeconnections:GetHost","Resource":"*"}}"#);
    assert_eq!(decide(&[other], "codeconnections:GetConnection", CONNECTION, &[]), Decision::NotAllowed);
}

#[test]
fn a_denial_in_any_policy_wins_and_is_named() {
    let allow = policy(r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#);
    let deny = policy(
        r#"{"Statement":[
            {"Effect":"Allow","Action":"*","Resource":"*"},
            {"Sid":"NoDeletes","Effect":"Deny","Action":"codeconnections:Delete*","Resource":"*"}]}"#,
    );
    let delete = "codeconnections:DeleteConnection";
    assert_eq!(
        decide(&[allow.clone(), deny.clone()], delete, CONNECTION, &[]),
        Decision::ExplicitlyDenied { policy: 1, statement: 1, sid: Some("NoDeletes".to_owned()) }
    );
    assert_eq!(
        decide(&[deny.clone(), allow.clone()], delete, CONNECTION, &[]),
        Decision::ExplicitlyDenied { policy: 0, statement: 1, sid: Some("NoDeletes".to_owned()) }
    );
    assert_eq!(decide(&[allow, deny], "codeconnections:GetConnection", CONNECTION, &[]), Decision::Allowed);
}

#[test]
fn actions_match_whatever_their_case() {
    let check = |action: &str, expect: bool| {
        let elements = format!(r#""Action":{action},"Resource":"*""#);
        assert_eq!(allows(&elements, &[]), expect, "{action}");
    };
    check(r#""*""#, true);
    check(r#""*:*""#, true);
    check(r#""*:Get*""#, true);
    check(r#""codeconnections:*""#, true);
    check(r#""codeconnections:GetConnection""#, true);
    check(r#""CodeConnections:getconnection""#, true);
    check(r#""codeconnections:Get*""#, true);
    check(r#""codeconnections:*Connection""#, true);
    check(r#""codeconnections:*et*onn*""#, true);
    check(r#""codeconnections:Get?onnection""#, true);
    check(r#""codeconnections:GetConnection?""#, false);
    check(r#""codeconnections:Get""#, false);
    check(r#""codeconnections:GetHost""#, false);
    check(r#"["codeconnections:GetHost","codeconnections:GetConnection"]"#, true);
    check(r#""codecommit:*""#, false);
    check(r#""codeconnections:${user}""#, false);
}

#[test]
fn not_action_and_not_resource_are_complements() {
    let check = |elements: &str, expect: bool| assert_eq!(allows(elements, &[]), expect, "{elements}");
    check(r#""NotAction":"codeconnections:GetConnection","Resource":"*""#, false);
    check(r#""NotAction":"codeconnections:Get*","Resource":"*""#, false);
    check(r#""NotAction":["codeconnections:GetHost","iam:*"],"Resource":"*""#, true);
    check(r#""NotAction":"codestar-connections:GetConnection","Resource":"*""#, false);
    check(r#""Action":"*","NotResource":"arn:aws:codeconnections:*:*:connection/aaaa""#, false);
    check(r#""Action":"*","NotResource":"arn:aws:codestar-connections:*:*:connection/aaaa""#, false);
    check(r#""Action":"*","NotResource":"arn:aws:codeconnections:*:*:connection/b*""#, true);
    check(r#""Action":"*","NotResource":"*""#, false);
    // A variable without a value equals nothing.
    check(r#""Action":"*","NotResource":"arn:aws:codeconnections:*:*:connection/${aws:username}""#, true);
}

#[test]
fn resources_match_part_by_part() {
    let check = |pattern: &str, expect: bool| {
        let elements = format!(r#""Action":"*","Resource":"{pattern}""#);
        assert_eq!(allows(&elements, &[]), expect, "{pattern}");
    };
    check("*", true);
    check(CONNECTION, true);
    check("arn:aws:codeconnections:eu-west-1:111111111111:connection/*", true);
    check("arn:aws:codeconnections:*:*:connection/aaaa", true);
    check("arn:*:codeconnections:eu-west-?:1*1:connection/a*a", true);
    check("arn:aws:codeconnections:eu-*-1:111111111111:connection/????", true);
    check("arn:aws:codeconnections:eu-west-1:111111111111:connection/???", false);
    check("arn:aws:codeconnections:eu-west-1:111111111111:connection/AAAA", false);
    check("arn:aws:codeconnections:eu-west-1:222222222222:connection/*", false);
    check("arn:aws:codeconnections:eu-west-1:111111111111:host/*", false);
    check("arn:aws:codeconnections:eu-west-1::connection/*", false);
    // A wildcard inside a part keeps to it, one at its end reaches over the colon.
    check("arn:aws:codeconnections:e*1:connection/aaaa", false);
    check("arn:aws:codeconnections:*:connection/aaaa", true);
    check("arn:aws:codeconnections:e*:connection/aaaa", true);
    check("arn:aws:codeconnections:eu-west-1?111111111111:connection/aaaa", false);
    // Missing parts are wildcards.
    check("arn:aws:codeconnections", true);
    check("arn:aws:codeconnections:*", true);
    check("arn:aws:codeconnections:eu-west-1", true);
    check("arn:aws:codeconnections:eu-west-2", false);
    check("arn:aws:codecommit", false);
    check("arn:aws:", false);
}

#[test]
fn the_resource_part_of_an_arn_holds_colons_and_slashes() {
    let check = |pattern: &str, resource: &str, expect: bool| {
        let text = format!(r#"{{"Statement":{{"Effect":"Allow","Action":"*","Resource":"{pattern}"}}}}"#);
        let decided = decide(&[policy(&text)], "s3:GetObject", resource, &[]) == Decision::Allowed;
        assert_eq!(decided, expect, "{pattern} {resource}");
    };
    check("arn:aws:s3:::bucket/*/test/*", "arn:aws:s3:::bucket/1/2/test/3/object", true);
    check("arn:aws:s3:::bucket/*/test/*", "arn:aws:s3:::bucket//test/object", true);
    check("arn:aws:s3:::bucket/*/test/*", "arn:aws:s3:::bucket/test/object", false);
    check("arn:aws:s3:::bucket/a*z", "arn:aws:s3:::bucket/a:b:z", true);
    check("arn:aws:s3:::bucket/a?z", "arn:aws:s3:::bucket/a:z", true);
    check("arn:aws:s3:::bucket/a?z", "arn:aws:s3:::bucket/aéz", true);
    check("arn:aws:s3:::*", "arn:aws:s3:::bucket", true);
}

#[test]
fn both_names_of_the_service_are_one() {
    let check = |action: &str, resource: &str, asked: &str, of: &str, expect: bool| {
        let text =
            format!(r#"{{"Statement":{{"Effect":"Allow","Action":"{action}","Resource":"{resource}"}}}}"#);
        assert_eq!(
            decide(&[policy(&text)], asked, of, &[]) == Decision::Allowed,
            expect,
            "{action} on {resource} asked for {asked} on {of}"
        );
    };
    let (new, old) = ("codeconnections:GetConnection", "codestar-connections:GetConnection");
    let star = CONNECTION.replace("codeconnections", "codestar-connections");
    for asked in [new, old, "CODESTAR-CONNECTIONS:GetConnection"] {
        for of in [CONNECTION, &star] {
            for action in [new, old, "codestar-connections:Get*"] {
                check(action, "*", asked, of, true);
                check(action, CONNECTION, asked, of, true);
                check(action, &star, asked, of, true);
                check(action, "arn:aws:codestar-*:*:*:connection/a*", asked, of, true);
                check(action, "arn:aws:codecommit:*:*:*", asked, of, false);
            }
            check("codecommit:*", "*", asked, of, false);
        }
    }
    check("codecommit:Get", "arn:aws:codestar:*", "codecommit:Get", CONNECTION, false);

    let host = "arn:aws:codestar-connections:eu-west-1:111111111111:host/h-1";
    let canonical = host.replace("codestar-connections", "codeconnections");
    let check = |operator: &str, key: &str, value: &str, context: &[(&str, &str)], expect: bool| {
        let text = format!(r#"{{"{operator}":{{"{key}":"{value}"}}}}"#);
        assert_eq!(condition(&text, context), expect, "{text}");
    };
    for key in ["codestar-connections:HostArn", "CodeConnections:hostarn"] {
        for value in [host, &canonical] {
            for given in [host, &canonical] {
                for asked in ["codeconnections:HostArn", "codestar-connections:HostArn"] {
                    check("ArnEquals", key, value, &[(asked, given)], true);
                    check("StringEquals", key, value, &[(asked, given)], true);
                    check("StringNotEquals", key, value, &[(asked, given)], false);
                    check("ArnNotLike", key, value, &[(asked, given)], false);
                }
            }
        }
    }
}

#[test]
fn strings_compare_as_their_operators_say() {
    let check = |operator: &str, value: &str, given: Option<&str>, expect: bool| {
        let text = format!(r#"{{"{operator}":{{"codeconnections:Branch":{value}}}}}"#);
        let context: Vec<_> = given.iter().map(|given| ("codeconnections:Branch", *given)).collect();
        assert_eq!(condition(&text, &context), expect, "{text} {given:?}");
    };
    check("StringEquals", r#""main""#, Some("main"), true);
    check("StringEquals", r#""main""#, Some("Main"), false);
    check("StringEquals", r#""m*""#, Some("main"), false);
    check("StringEquals", r#""m*""#, Some("m*"), true);
    check("StringEquals", r#"["dev","main"]"#, Some("main"), true);
    check("StringEquals", r#"["dev","test"]"#, Some("main"), false);
    check("StringEquals", r"[]", Some("main"), false);
    check("StringEquals", r#""main""#, None, false);
    check("StringNotEquals", r#""main""#, Some("dev"), true);
    check("StringNotEquals", r#"["dev","main"]"#, Some("dev"), false);
    check("StringNotEquals", r#""main""#, None, true);
    check("StringEqualsIgnoreCase", r#""MAIN""#, Some("main"), true);
    check("StringNotEqualsIgnoreCase", r#""MAIN""#, Some("main"), false);
    check("StringLike", r#""release/*""#, Some("release/1/2"), true);
    check("StringLike", r#""release/?""#, Some("release/12"), false);
    check("StringLike", r#""RELEASE/*""#, Some("release/1"), false);
    check("StringLike", r#""*""#, None, false);
    check("StringNotLike", r#""release/*""#, Some("release/1"), false);
    check("StringNotLike", r#""release/*""#, None, true);
    check("stringequals", r#""main""#, Some("main"), true);
    check("StringEqualsIfExists", r#""main""#, None, true);
    check("StringEqualsIfExists", r#""main""#, Some("dev"), false);
    check("StringNotEqualsIfExists", r#""main""#, None, true);
    check("Null", r#""true""#, None, true);
    check("Null", "true", Some("main"), false);
    check("Null", r#""false""#, Some("main"), true);
    check("Null", "false", None, false);
}

#[test]
fn numbers_dates_and_booleans_compare_by_value() {
    let check = |operator: &str, value: &str, given: &str, expect: bool| {
        let text = format!(r#"{{"{operator}":{{"aws:X":{value}}}}}"#);
        assert_eq!(condition(&text, &[("aws:X", given)]), expect, "{text} {given}");
    };
    check("NumericEquals", r#""10""#, "10.0", true);
    check("NumericEquals", "10", "1e1", true);
    check("NumericNotEquals", "10", "11", true);
    check("NumericNotEquals", "[10, 11]", "11", false);
    check("NumericLessThan", "10", "9.5", true);
    check("NumericLessThan", "10", "10", false);
    check("NumericLessThanEquals", "10", "10", true);
    check("NumericGreaterThan", "-1.5", "0", true);
    check("NumericGreaterThanEquals", "0", "-1", false);
    check("NumericLessThan", "10", "nine", false);
    check("DateLessThan", r#""2026-11-24T00:00:00Z""#, "2026-11-23T23:59:59Z", true);
    check("DateLessThan", r#""2026-11-24T00:00:00Z""#, "2026-11-24T00:30:00+01:00", true);
    check("DateGreaterThan", r#""1795419005""#, "2026-11-23T07:30:06Z", true);
    check("DateGreaterThan", "1795419005", "2026-11-23T07:30:05Z", false);
    check("DateGreaterThanEquals", r#""2026-11""#, "2026-11-01T00:00:00Z", true);
    check("DateLessThanEquals", r#""2026-11-23T07:30:05Z""#, "2026-11-23T07:30:05Z", true);
    check("DateEquals", r#""2026-11-23""#, "1795392000", true);
    check("DateNotEquals", r#""2026-11-23""#, "2026-11-24", true);
    check("DateLessThan", r#""2026-11-24""#, "yesterday", false);
    check("Bool", r#""true""#, "true", true);
    check("Bool", "true", "TRUE", true);
    check("Bool", "false", "true", false);
    check("Bool", r#"["true","false"]"#, "true", true);
    check("Bool", "true", "1", false);
    check("BinaryEquals", r#""QmluYXJ5""#, "QmluYXJ5", true);
    check("BinaryEquals", r#""QmluYQ==""#, "QmluYQ", true);
    check("BinaryEquals", r#""QmluYXJ5""#, "qmluyxj5", false);
}

#[test]
fn addresses_are_in_ranges_of_both_kinds() {
    let check = |operator: &str, value: &str, given: &str, expect: bool| {
        let text = format!(r#"{{"{operator}":{{"aws:SourceIp":{value}}}}}"#);
        assert_eq!(condition(&text, &[("aws:SourceIp", given)]), expect, "{text} {given}");
    };
    check("IpAddress", r#""203.0.113.0/24""#, "203.0.113.7", true);
    check("IpAddress", r#""203.0.113.9/24""#, "203.0.113.7", true);
    check("IpAddress", r#""203.0.113.0/24""#, "203.0.114.7", false);
    check("IpAddress", r#""203.0.113.7""#, "203.0.113.7", true);
    check("IpAddress", r#""203.0.113.7/32""#, "203.0.113.8", false);
    check("IpAddress", r#""0.0.0.0/0""#, "203.0.113.7", true);
    check("IpAddress", r#""0.0.0.0/0""#, "2001:db8::1", false);
    check("IpAddress", r#"["203.0.113.0/24","2001:DB8:1234:5678::/64"]"#, "2001:db8:1234:5678::9", true);
    check("IpAddress", r#""2001:db8::/32""#, "2001:db9::", false);
    check("IpAddress", r#""::/0""#, "2001:db8::1", true);
    check("IpAddress", r#""127.0.0.0/8""#, "::ffff:127.0.0.1", true);
    check("NotIpAddress", r#""203.0.113.0/24""#, "203.0.113.7", false);
    check("NotIpAddress", r#""203.0.113.0/24""#, "198.51.100.1", true);
    check("IpAddress", r#""203.0.113.0/24""#, "nowhere", false);
    check("NotIpAddress", r#""203.0.113.0/24""#, "nowhere", true);
}

#[test]
fn arns_compare_part_by_part() {
    let check = |operator: &str, value: &str, given: &str, expect: bool| {
        let text = format!(r#"{{"{operator}":{{"aws:PrincipalArn":"{value}"}}}}"#);
        assert_eq!(condition(&text, &[("aws:PrincipalArn", given)]), expect, "{text} {given}");
    };
    let user = "arn:aws:iam::111111111111:user/team/ann";
    check("ArnEquals", user, user, true);
    check("ArnLike", "arn:aws:iam::*:user/*", user, true);
    check("ArnEquals", "arn:aws:iam::*:user/*", user, true);
    check("ArnLike", "arn:aws:iam::111111111111:role/*", user, false);
    check("ArnLike", "arn:aws:iam:*:user/team/ann", user, false);
    check("ArnLike", "arn:aws:*", user, false);
    check("ArnNotLike", "arn:aws:iam::*:user/*", user, false);
    check("ArnNotEquals", "arn:aws:iam::*:role/*", user, true);
    check("ArnLike", "*", user, false);
    check("ArnLike", "arn:aws:iam::*:user/*", "ann", false);
}

#[test]
fn sets_are_held_against_sets() {
    let check = |operator: &str, values: &str, given: &[&str], expect: bool| {
        let text = format!(r#"{{"{operator}":{{"aws:TagKeys":{values}}}}}"#);
        let context: Vec<_> = given.iter().map(|given| ("aws:TagKeys", *given)).collect();
        assert_eq!(condition(&text, &context), expect, "{text} {given:?}");
    };
    let two = r#"["env","team"]"#;
    check("ForAllValues:StringEquals", two, &["env"], true);
    check("ForAllValues:StringEquals", two, &["env", "team"], true);
    check("ForAllValues:StringEquals", two, &["env", "cost"], false);
    check("ForAllValues:StringEquals", two, &[], true);
    check("ForAnyValue:StringEquals", two, &["env", "cost"], true);
    check("ForAnyValue:StringEquals", two, &["cost"], false);
    check("ForAnyValue:StringEquals", two, &[], false);
    check("ForAllValues:StringNotEquals", two, &["cost", "owner"], true);
    check("ForAllValues:StringNotEquals", two, &["cost", "env"], false);
    check("ForAllValues:StringNotEquals", two, &[], true);
    check("ForAnyValue:StringNotEquals", two, &["cost", "env"], true);
    check("ForAnyValue:StringNotEquals", two, &["team", "env"], false);
    check("ForAnyValue:StringNotEquals", two, &[], false);
    check("ForAllValues:StringLike", r#""e*""#, &["env", "e"], true);
    check("ForAnyValue:StringEqualsIfExists", two, &[], true);
    check("forallvalues:stringequals", two, &["env"], true);
    check("StringEquals", two, &["env", "cost"], true);
    check("StringNotEquals", two, &["env", "cost"], false);
}

#[test]
fn keys_of_one_block_and_several_blocks_must_all_hold() {
    let both = r#"{"StringEquals":{"aws:a":"1","aws:b":"2"},"Bool":{"aws:c":"true"}}"#;
    assert!(condition(both, &[("aws:a", "1"), ("aws:b", "2"), ("aws:c", "true")]));
    assert!(!condition(both, &[("aws:a", "1"), ("aws:b", "3"), ("aws:c", "true")]));
    assert!(!condition(both, &[("aws:a", "1"), ("aws:b", "2"), ("aws:c", "false")]));
    assert!(condition(both, &[("AWS:A", "1"), ("aws:B", "2"), ("Aws:C", "true")]));
}

#[test]
fn variables_take_the_values_of_the_request() {
    let check = |value: &str, context: &[(&str, &str)], expect: bool| {
        let elements = format!(r#""Action":"*","Resource":"arn:aws:codeconnections:*:*:connection/{value}""#);
        assert_eq!(allows(&elements, context), expect, "{value} {context:?}");
    };
    check("${aws:username}", &[("aws:username", "aaaa")], true);
    check("${AWS:UserName}", &[("aws:username", "aaaa")], true);
    check("a${aws:username}a", &[("aws:username", "aa")], true);
    check("${aws:username}", &[("aws:username", "bbbb")], false);
    check("${aws:username}", &[], false);
    check("${aws:username, 'aaaa'}", &[], true);
    check("${aws:username,'aaaa'}", &[("aws:username", "bbbb")], false);
    check("${aws:PrincipalTag/cost center}*", &[("aws:principaltag/Cost Center", "a")], true);
    // What the request says is no pattern.
    check("${aws:username}", &[("aws:username", "*")], false);
    check("${aws:username}", &[("aws:username", "a??a")], false);
    check("${aws:username, '*'}", &[], false);
    // A key with several values has none to put in.
    check("${aws:username}", &[("aws:username", "aaaa"), ("aws:username", "bbbb")], false);
    check("${*}", &[], false);
    check("${", &[], false);
    check("${aws:username", &[("aws:username", "aaaa")], false);

    let check = |operator: &str, value: &str, context: &[(&str, &str)], expect: bool| {
        let text = format!(r#"{{"{operator}":{{"aws:ResourceTag/Owner":"{value}"}}}}"#);
        assert_eq!(condition(&text, context), expect, "{text} {context:?}");
    };
    let owned = [("aws:ResourceTag/owner", "ann"), ("aws:username", "ann")];
    check("StringEquals", "${aws:username}", &owned, true);
    check("StringNotEquals", "${aws:username}", &owned, false);
    check("StringLike", "a${*}", &[("aws:ResourceTag/owner", "ann")], false);
    check("StringLike", "a${*}", &[("aws:ResourceTag/owner", "a*")], true);
    check("StringLike", "a${?}${$}*", &[("aws:ResourceTag/owner", "a?$x")], true);
    check("StringEquals", "${aws:username}", &owned[..1], false);
    check("StringNotEquals", "${aws:username}", &owned[..1], true);
    check("StringLike", "*${aws:username}*", &[("aws:ResourceTag/owner", "x*y"), owned[1]], false);
}

#[test]
fn the_old_language_has_no_variables() {
    let text = r#"{"Version":"2008-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*",
        "Condition":{"StringEquals":{"aws:x":"${aws:username}"}}}}"#;
    for text in [text, &text.replace(r#""Version":"2008-10-17","#, "")] {
        let decided =
            |x| decide(&[policy(text)], "a:b", "arn:aws:a:::b", &[("aws:x", x), ("aws:username", "ann")]);
        assert_eq!(decided("ann"), Decision::NotAllowed, "{text}");
        assert_eq!(decided("${aws:username}"), Decision::Allowed, "{text}");
    }
}

#[test]
fn a_policy_says_which_keys_it_asks_for() {
    let check = |elements: &str, expect: bool| {
        let text = format!(r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow",{elements}}}]}}"#);
        assert_eq!(policy(&text).asks_for("aws:ResourceTag/"), expect, "{elements}");
    };
    check(r#""Action":"*","Resource":"*""#, false);
    check(r#""Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":true}}"#, false);
    check(r#""Action":"*","Resource":"*","Condition":{"Null":{"AWS:resourcetag/a":true}}"#, true);
    check(
        r#""Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:username":"${aws:ResourceTag/a}"}}"#,
        true,
    );
    check(r#""Action":"*","Resource":"arn:aws:s3:::${aws:ResourceTag/a}""#, true);
    check(r#""Action":"*","NotResource":"arn:aws:s3:::${aws:username}""#, false);

    let text = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*",
                   "Condition":{"StringEquals":{"aws:ResourceTag/Team":"${aws:username}"}}}]}"#;
    for (key, expect) in [
        ("aws:resourcetag/team", true),
        ("AWS:UserName", true),
        ("aws:ResourceTag/tea", false),
        ("aws:ResourceTag/teams", false),
    ] {
        assert_eq!(policy(text).asks_for_key(key), expect, "{key}");
    }
}

#[test]
fn a_pattern_made_to_be_slow_is_answered_all_the_same() {
    // Matching by trying every way would outlive everybody.
    let (stars, long) = ("*a".repeat(60), "a".repeat(2000));
    let like = |pattern: &str| {
        condition(&format!(r#"{{"StringLike":{{"aws:x":"{pattern}"}}}}"#), &[("aws:x", &long)])
    };
    assert!(like(&stars));
    assert!(!like(&format!("{stars}b")));
    let of = |pattern: &str, resource: &str| {
        let text = format!(r#"{{"Statement":{{"Effect":"Allow","Action":"*","Resource":"{pattern}"}}}}"#);
        decide(&[policy(&text)], "a:b", resource, &[]) == Decision::Allowed
    };
    let parts = "*a*a*a*:*a*a*a*";
    assert!(!of(
        &format!("arn:{parts}:{parts}:{stars}b"),
        &format!("arn:{long}:{long}:{long}:{long}:{long}")
    ));
    assert!(of(&format!("arn:{parts}:{parts}:{stars}"), &format!("arn:{long}:{long}:{long}:{long}:{long}")));
}

//! Which documents are policies, and where the others go wrong.

use syncline_model::policy::Policy;

fn refused(text: &str) -> String {
    match text.parse::<Policy>() {
        Ok(policy) => panic!("{text} was read as {policy:?}"),
        Err(error) => error.to_string(),
    }
}

/// A policy of one good statement and one with these elements.
fn with(elements: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[
            {{"Sid":"A","Effect":"Allow","Action":"*","Resource":"*"}},{{{elements}}}]}}"#
    )
}

#[test]
fn what_iam_accepts_is_accepted() {
    let good = r#""Effect":"Allow","Action":"*","Resource":"*""#;
    for text in [
        r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#.to_owned(),
        r#"{"Statement":[{"Effect":"Deny","NotAction":["a:*","b:c"],"NotResource":["*"]}],"Id":"x"}"#
            .to_owned(),
        with(good),
        with(&format!(r#"{good},"Sid":"""#)),
        with(&format!(r#"{good},"Sid":"B""#)),
        with(&format!(r#"{good},"Condition":{{}}"#)),
        with(&format!(r#"{good},"Condition":{{"StringEquals":{{}}}}"#)),
        with(&format!(
            r#"{good},"Condition":{{"ForAnyValue:StringLikeIfExists":{{"aws:TagKeys":["a",1,true]}}}}"#
        )),
        with(&format!(r#"{good},"Condition":{{"ForAllValues:Null":{{"aws:TagKeys":"false"}}}}"#)),
        with(r#""Effect":"Allow","Action":"kms:x","Resource":"arn:aws-us-gov:kms""#),
        with(r#""Effect":"Allow","Action":"ses.v2:x","Resource":["arn:*:kms:*:*:*","*"]"#),
    ] {
        assert!(text.parse::<Policy>().is_ok(), "{text}: {:?}", text.parse::<Policy>());
    }
}

#[test]
fn a_document_that_is_no_policy_says_where() {
    let check = |text: &str, expect: &str| assert_eq!(refused(text), expect, "{text}");
    check("", "policy: no JSON: EOF while parsing a value at line 1 column 0");
    check("[]", "policy: it must be an object with a Statement");
    check("{} {}", "policy: no JSON: trailing characters at line 1 column 4");
    check("{}", "Statement: it is missing");
    check(r#"{"Statement":[]}"#, "Statement: it must be a statement or a list of statements");
    check(r#"{"Statement":null}"#, "Statement: it must be a statement or a list of statements");
    check(r#"{"Statement":{}}"#, "Statement.Effect: it is missing");
    check(r#"{"Version":"2012-10-18"}"#, "Version: '2012-10-18' is not 2012-10-17 or 2008-10-17");
    check(r#"{"Version":2012}"#, "Version: it must be a string");
    check(r#"{"statement":{}}"#, "statement: a policy has only Version, Id and Statement");
    check(r#"{"Id":"a","Id":"b"}"#, "Id: it is given twice");
    check(
        r#"{"Statement":{"Effect":"Allow","Action":"x","Resource":"*"}}"#,
        "Statement.Action: 'x' must be '*' or <service>:<action>, such as codeconnections:Get*",
    );
}

#[test]
fn a_statement_that_is_none_says_where() {
    let check = |elements: &str, expect: &str| {
        assert_eq!(refused(&with(elements)), format!("Statement[1]{expect}"), "{elements}");
    };
    let only = ": a statement has only Sid, Effect, Action or NotAction, Resource or NotResource, Condition";
    check(r#""Effect":"Allow","Action":"*""#, ": it must have a Resource or a NotResource");
    check(r#""Effect":"Allow","Resource":"*""#, ": it must have an Action or a NotAction");
    check(r#""Action":"*","Resource":"*""#, ".Effect: it is missing");
    check(r#""Effect":"allow""#, ".Effect: it must be Allow or Deny");
    check(r#""Effect":["Allow"]"#, ".Effect: it must be Allow or Deny");
    check(r#""Effect":"Allow","Effect":"Deny""#, ".Effect: it is given twice");
    check(r#""action":"*""#, &format!(".action{only}"));
    check(
        r#""Principal":"*""#,
        ".Principal: an identity policy applies to whom it is attached to and names nobody",
    );
    check(
        r#""Action":"*","NotAction":"*""#,
        ".NotAction: a statement must not have both an element and its Not… twin",
    );
    check(
        r#""NotResource":"*","Resource":"*""#,
        ".Resource: a statement must not have both an element and its Not… twin",
    );
    check(r#""Action":[]"#, ".Action: it is empty");
    check(r#""Action":{}"#, ".Action: it must be a string or a list of strings");
    check(r#""Action":["*",7]"#, ".Action[1]: it must be a string");
    check(r#""Action":["*",["*"]]"#, ".Action[1]: it must be a string");
    check(r#""Action":"a:b:c""#, ".Action: 'a:b:c' has more than one colon");
    check(
        r#""NotAction":"code*:Get""#,
        ".NotAction: 'code*:Get' has the service 'code*': write its name without wildcards",
    );
    check(r#""Resource":["*","bucket"]"#, ".Resource[1]: 'bucket' must be '*' or an ARN");
    check(r#""Sid":"a b""#, ".Sid: it must be a string of A-Z, a-z and 0-9");
    check(
        r#""Sid":"A","Effect":"Allow","Action":"*","Resource":"*""#,
        ".Sid: 'A' is the Sid of two statements",
    );
}

#[test]
fn a_condition_that_is_none_says_where() {
    let check = |condition: &str, expect: &str| {
        let elements = format!(r#""Condition":{condition}"#);
        assert_eq!(refused(&with(&elements)), format!("Statement[1].Condition{expect}"), "{condition}");
    };
    check("[]", ": it must be an object");
    check(r#"{"StringEqualz":{"aws:a":"b"}}"#, ".StringEqualz: there is no such operator");
    check(r#"{"NullIfExists":{"aws:a":"true"}}"#, ".NullIfExists: there is no such operator");
    check(r#"{"ForSomeValue:Bool":{}}"#, ".ForSomeValue:Bool: there is no such operator");
    check(r#"{"NumericLike":{}}"#, ".NumericLike: there is no such operator");
    check(r#"{"StringEquals":"x"}"#, ".StringEquals: it must be an object of condition keys");
    check(
        r#"{"StringEquals":{"username":"x"}}"#,
        ".StringEquals.username: a condition key is <service>:<name>, such as aws:SourceIp",
    );
    check(r#"{"Bool":{"aws:a":true,"aws:a":false}}"#, ".Bool.aws:a: it is given twice");
    check(
        r#"{"StringEquals":{"aws:a":null}}"#,
        ".StringEquals.aws:a: it must be a string, a number, a boolean, or a list of them",
    );
    check(
        r#"{"StringEquals":{"aws:a":["b",{}]}}"#,
        ".StringEquals.aws:a[1]: it must be a string, a number, a boolean, or a list of them",
    );
    check(r#"{"NumericEquals":{"aws:a":"ten"}}"#, ".NumericEquals.aws:a: 'ten' is not a decimal number");
    check(
        r#"{"NumericEquals":{"aws:a":[1,"NaN"]}}"#,
        ".NumericEquals.aws:a[1]: 'NaN' is not a decimal number",
    );
    check(r#"{"Bool":{"aws:a":["maybe"]}}"#, ".Bool.aws:a[0]: 'maybe' is not true or false");
    check(
        r#"{"DateLessThan":{"aws:a":"soon"}}"#,
        ".DateLessThan.aws:a: 'soon' is not a date such as 2026-11-23T07:30:00Z, or seconds since 1970",
    );
    check(r#"{"BinaryEquals":{"aws:a":"!"}}"#, ".BinaryEquals.aws:a: '!' is not base64");
    for bad in ["10.0.0/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "${aws:username}"] {
        check(
            &format!(r#"{{"IpAddress":{{"aws:SourceIp":"{bad}"}}}}"#),
            &format!(
                ".IpAddress.aws:SourceIp: '{bad}' is not an IPv4 or IPv6 address, or a range of them such as 203.0.113.0/24"
            ),
        );
    }
}

#[test]
fn white_space_has_a_limit_of_its_own() {
    let document = |bytes: usize| {
        let text = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
        format!("{text}{}", " ".repeat(bytes - text.len()))
    };
    assert!(document(Policy::MAX_BYTES).parse::<Policy>().is_ok());
    assert_eq!(
        refused(&document(Policy::MAX_BYTES + 1)),
        "policy: it has 24577 bytes with its white space, more than 24576"
    );
}

#[test]
fn the_limit_counts_no_white_space() {
    let document = |actions: usize, space: &str| {
        let actions = vec![r#""a:b""#; actions].join(&format!(",{space}"));
        format!(r#"{{"Statement":{{"Effect":"Allow","Action":[{actions}],"Resource":"*"}}}}"#)
    };
    // 61 characters around the actions, 6 for each and a comma between.
    let fits = (Policy::MAX_CHARACTERS - document(0, "").len() + 1) / 6;
    assert!(document(fits, "\n    ").parse::<Policy>().is_ok());
    let long = refused(&document(fits + 1, ""));
    assert!(
        long.starts_with("policy: it has 61") && long.ends_with("without white space, more than 6144"),
        "{long}"
    );
}

#[test]
fn depth_is_refused_and_not_followed() {
    let deep = format!("{}{}", "[".repeat(3000), "]".repeat(3000));
    assert!(refused(&deep).starts_with("policy: no JSON: recursion limit exceeded"), "{}", refused(&deep));
}

use syncline_template::{Span, check_template};

/// The rules that refuse a template, with their positions; `ok` when none does.
fn check(text: &str, expected: &str) {
    let found = match check_template("t.yaml", text.as_bytes()) {
        Ok(_) => "ok".to_owned(),
        Err(findings) => {
            let each = findings.iter().map(|f| match f.span {
                Some(at) => format!("{}:{} {}", at.line, at.column, f.rule),
                None => f.rule.to_owned(),
            });
            each.collect::<Vec<_>>().join(", ")
        }
    };
    assert_eq!(found, expected, "{text:?}");
}

#[test]
fn templates_cloudformation_accepts_pass() {
    for text in [
        "Resources:\n  A:\n    Type: AWS::SNS::Topic\n",
        "AWSTemplateFormatVersion: 2010-09-09\nDescription: d\nResources: {A: {Type: 'AWS::SNS::Topic'}}\n",
        "AWSTemplateFormatVersion: '2010-09-09'\nMetadata: {x: [1]}\nParameters: {P: {Type: String}}\nRules: {}\n\
         Mappings: {}\nConditions: {C: !Equals [!Ref P, yes]}\nHooks: {}\nOutputs: {}\nResources: {A: {Type: T}}\n",
        "{\"Resources\": {\"A\": {\"Type\": \"T\", \"Properties\": {\"x\": null}}}}",
        "{\n\t\"Resources\": {\n\t\t\"A\": {\"Type\": \"T\"}\n\t}\n}",
        "Transform: AWS::LanguageExtensions\nResources:\n  'Fn::ForEach::Topics':\n    - N\n    - [a, b]\n    - 'Topic${N}': {Type: T}\n",
        "Transform: AWS::Serverless-2016-10-31\nGlobals: {Function: {Timeout: 3}}\nResources: {F: {Type: AWS::Serverless::Function}}\n",
        "Transform: [MyMacro]\nServices: {web: {}}\n",
        "Fn::Transform: {Name: AWS::Include, Parameters: {Location: s3://b/k}}\n",
        "Resources:\n  Fn::Transform: {Name: AWS::Include, Parameters: {Location: s3://b/k}}\n",
        "Resources:\n  A:\n    Fn::Transform: {Name: AWS::Include, Parameters: {Location: s3://b/k}}\n",
        "Resources:\n  A:\n    Type: T\n    Properties:\n      Tags: [\n        {Key: a}\n      ]\n      Policy: {\n        a: b\n    }\n",
        "Description: \"one\ntwo\"\nResources: {A: {Type: T}}\n",
        "Resources:\n  A: &unused\n    Type: T\n",
        "\u{feff}Resources: {A: {Type: T}}\n",
        "---\nResources: {A: {Type: T}}\n...\n",
        "Resources:\r\n  A:\r\n    Type: T\r\n",
        "Resources:\n  A:\n    Type: T\n    Properties:\n      Body: |\n        {\n        \ttabs\n        }\n",
        "Resources:\n  A:\n    Type: T\n    Properties:\n      B:\n        Fn::Base64: !Sub |\n          #!/bin/sh\n          echo ${X}\n",
        "Resources:\n  A:\n    Type: T\n    Properties:\n      Q: !Select [0, !GetAZs '']\n      R: !Cidr [!GetAtt V.CidrBlock, 2, 8]\n      S: !Split [',', !ImportValue x]\n",
    ] {
        check(text, "ok");
    }
}

#[test]
fn templates_cloudformation_refuses_are_refused_with_their_position() {
    for (text, expected) in [
        ("", "1:1 empty-document"),
        ("~", "1:1 empty-document"),
        ("[]", "1:1 not-a-mapping"),
        ("Hello", "1:1 not-a-mapping"),
        ("Description: d\n", "1:1 no-resources"),
        ("Resources: {}\n", "1:12 no-resources"),
        ("Resources:\n", "1:11 wrong-type"),
        ("Resources: []\n", "1:12 wrong-type"),
        ("Resources: {A: b}\n", "1:16 wrong-type"),
        ("Resources: {A: {}}\n", "1:13 missing-type"),
        ("Resources: {A: {Type: [x]}}\n", "1:23 wrong-type"),
        ("Resources: {A: {Type: T}}\nResource: {}\n", "2:1 unknown-section"),
        ("Resources: {A: {Type: T}}\nOutputs: []\n", "2:10 wrong-type"),
        ("AWSTemplateFormatVersion: 2010-09-10\nResources: {A: {Type: T}}\n", "1:27 unsupported-version"),
        ("Resources: {A: &a {Type: T}, B: *a}\n", "1:33 alias"),
        ("Resources:\n  A: &a {Type: T}\n  B: {<<: *a}\n", "3:7 merge-key"),
        ("Resources:\n  A: {Type: T}\n  A: {Type: T}\n", "3:3 duplicate-key"),
        ("Resources: {A: {Type: T, Properties: {x: !Rf y}}}\n", "1:42 unknown-tag"),
        ("Resources: {A: {Type: T, Properties: {x: !!binary aGk=}}}\n", "1:42 unknown-tag"),
        ("Resources: {A: {Type: T, Properties: [!,]}}\n", "1:38 syntax"),
        ("Resources: {A: {Type: T}}\n---\nx: y\n", "2:1 several-documents"),
        ("Resources:\n  A:\n  Type: T\n   B: c\n", "4:5 syntax"),
        ("{\"Resources\": {\"A\": {\"Type\": \"T\"}}", "1:35 syntax"),
        ("Resources: {A: {Type: \"T\u{1}\"}}\n", "1:25 control-character"),
        (
            "Resource: {}\nResources: {A: {}, B: {Type: T}, C: 1}\n",
            "1:1 unknown-section, 2:13 missing-type, 2:37 wrong-type",
        ),
    ] {
        check(text, expected);
    }
}

#[test]
fn a_template_that_is_not_utf8_is_refused_at_the_bad_byte() {
    let findings = check_template("t.yaml", b"Resources:\n  A: \xff\n").expect_err("not UTF-8");
    assert_eq!(
        findings[0].to_string(),
        "t.yaml:2:6: the document is not UTF-8: it has the byte 0xff [not-utf8]"
    );
}

#[test]
fn a_template_of_more_than_a_mebibyte_is_refused_unread() {
    let findings = check_template("t.yaml", &vec![b' '; (1 << 20) + 1]).expect_err("too large");
    assert_eq!(findings[0].rule, "too-large");
}

#[test]
fn a_tree_is_walked_by_key_and_index_and_becomes_json_in_the_order_of_the_document() {
    let text = "Resources:\n  B:\n    Type: T\n    Properties: {z: 1.50, y: [0x1f, 007, 18446744073709551616, -1], x: on}\n  A: {Type: U}\n";
    let tree = check_template("t.yaml", text.as_bytes()).expect("the template is good");
    let item = tree.at(&["Resources", "B", "Properties", "y", "1"]).expect("the path is there");
    assert_eq!((item.scalar_text(), item.span), (Some("007"), Span { line: 4, column: 37 }));
    assert_eq!(tree.at(&["Resources", "B", "Properties", "y", "9"]), None);
    assert_eq!(tree.at(&["Resources", "C"]), None);
    assert_eq!(
        tree.to_json().to_string(),
        r#"{"Resources":{"B":{"Type":"T","Properties":{"z":1.5,"y":["0x1f","007","18446744073709551616",-1],"x":true}},"A":{"Type":"U"}}}"#
    );
    let mut kinds = Vec::new();
    tree.at(&["Resources", "A"])
        .expect("the resource is there")
        .walk(&mut |node| kinds.push(node.kind_name()));
    assert_eq!(kinds, ["a mapping", "a string"]);
}

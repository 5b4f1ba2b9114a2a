use syncline_template::{check_limits, parse_deployment_file};

/// Whether a deployment file passes.
pub(crate) fn passes(document: &[u8]) -> bool {
    parse_deployment_file("d.yaml", document).is_ok()
}

/// What a deployment file says, or which findings it has: `ok t.yaml A=1 | tag=x`, `2:3 null-value`.
pub(crate) fn outcome(document: &[u8]) -> String {
    match parse_deployment_file("d.yaml", document) {
        Ok(file) => {
            let mut text = format!("ok {}", file.template_file_path);
            for (key, value) in &file.parameters {
                text.push_str(&format!(" {key}={value}"));
            }
            if let Some(tags) = &file.tags {
                text.push_str(" |");
                for (key, value) in tags {
                    text.push_str(&format!(" {key}={value}"));
                }
            }
            text
        }
        Err(findings) => {
            let each = findings.iter().map(|f| match f.span {
                Some(at) => format!("{}:{} {}", at.line, at.column, f.rule),
                None => f.rule.to_owned(),
            });
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// The deployment files on which this crate and cfn-lint agree, with the outcome here; `oracle` asks cfn-lint.
pub(crate) const AGREED: &[(&[u8], &str)] = &[
    // The file as a whole.
    (b"", "1:1 empty-document"),
    (b"# nothing\n", "1:1 empty-document"),
    (b"~", "1:1 empty-document"),
    (b"{}", "1:1 missing-key"),
    (b"[]", "1:1 not-a-mapping"),
    (b"t.yaml", "1:1 not-a-mapping"),
    (b"- template-file-path: t\n", "1:1 not-a-mapping"),
    (b"template-file-path: t.yaml\n", "ok t.yaml"),
    (b"\xef\xbb\xbftemplate-file-path: t\n", "ok t"),
    (b"---\ntemplate-file-path: t\n...\n", "ok t"),
    (b"%YAML 1.1\n---\ntemplate-file-path: t\n", "ok t"),
    (b"template-file-path: t\n---\ntemplate-file-path: u\n", "2:1 several-documents"),
    (b"template-file-path: t\r\ntags:\r\n  a: b\r\n", "ok t | a=b"),
    (b"template-file-path: t\rtags: {a: b}\r", "ok t | a=b"),
    (b"template-file-path: \xff\n", "1:21 not-utf8"),
    (b"template-file-path: a\xc3\xa9\n", "ok a\u{e9}"),
    (b"template-file-path: t\x00x\n", "1:22 control-character"),
    (b"template-file-path: t\x01x\n", "1:22 control-character"),
    (b"template-file-path: \"t\x7f\"\n", "1:23 control-character"),
    (b"!!map {template-file-path: a}", "ok a"),
    (b"!Sub {template-file-path: a}", "1:1 unknown-key, 1:1 missing-key"),
    (b"? template-file-path\n: a\n", "ok a"),
    // The keys.
    (b"template-file-path: t\nother: 1\n", "2:1 unknown-key"),
    (b"template-file-path: t\n1: 1\n", "2:1 unknown-key"),
    (b"template-file-path: t\nParameters: {}\n", "2:1 unknown-key"),
    (b"template_file_path: t\n", "1:1 unknown-key, 1:1 missing-key"),
    (b"parameters: {}\n", "1:1 missing-key"),
    (b"template-file-path: t\ntemplate-file-path: u\n", "2:1 duplicate-key"),
    (b"template-file-path: t\nparameters: {A: 1, A: 2}\n", "2:20 duplicate-key"),
    (
        b"template-file-path: t\nx: 1\ntags: {a: 1, b: ~}\n",
        "2:1 unknown-key, 3:11 wrong-type, 3:17 null-value",
    ),
    // The template's path.
    (b"template-file-path: ./stacks/web.yaml\n", "ok ./stacks/web.yaml"),
    (b"template-file-path: ../up.yaml\n", "ok ../up.yaml"),
    (b"template-file-path: /etc/passwd\n", "ok /etc/passwd"),
    (b"template-file-path: ''\n", "ok "),
    (b"template-file-path: a #b\n", "ok a"),
    (b"template-file-path: 'it''s'\n", "ok it's"),
    (b"template-file-path:\n", "1:20 null-value"),
    (b"template-file-path: 1\n", "1:21 wrong-type"),
    (b"template-file-path: yes\n", "1:21 wrong-type"),
    (b"template-file-path: [a]\n", "1:21 wrong-type"),
    (b"template-file-path: {a: b}\n", "1:21 wrong-type"),
    (b"template-file-path: !Sub x\n", "1:21 wrong-type"),
    (b"template-file-path: 2024-01-01\n", "1:21 wrong-type"),
    // The sections' own types.
    (b"template-file-path: t\nparameters:\n", "2:12 null-value"),
    (b"template-file-path: t\nparameters: {}\n", "ok t"),
    (b"template-file-path: t\nparameters: []\n", "2:13 wrong-type"),
    (b"template-file-path: t\nparameters: x\n", "2:13 wrong-type"),
    (b"template-file-path: t\ntags:\n", "2:6 null-value"),
    (b"template-file-path: t\ntags: {}\n", "ok t |"),
    (b"template-file-path: t\ntags: []\n", "2:7 wrong-type"),
    // Parameters: as written.
    (b"template-file-path: t\nparameters: {A: x, B: 1, C: true, D: [a, b]}\n", "ok t A=x B=1 C=true D=a,b"),
    (b"template-file-path: t\nparameters: {A: 012345678901}\n", "ok t A=012345678901"),
    (
        b"template-file-path: t\nparameters: {A: yes, B: No, C: on, D: OFF, E: y}\n",
        "ok t A=yes B=No C=on D=OFF E=y",
    ),
    (b"template-file-path: t\nparameters: {A: True, B: TRUE, C: tRUE}\n", "ok t A=True B=TRUE C=tRUE"),
    (
        b"template-file-path: t\nparameters: {A: 0x1F, B: 0o17, C: 017, D: 0b101}\n",
        "ok t A=0x1F B=0o17 C=017 D=0b101",
    ),
    (
        b"template-file-path: t\nparameters: {A: 1e3, B: 1.0e+3, C: 1.50, D: .5, E: 5.}\n",
        "ok t A=1e3 B=1.0e+3 C=1.50 D=.5 E=5.",
    ),
    (b"template-file-path: t\nparameters: {A: .inf, B: -.INF, C: .nan}\n", "ok t A=.inf B=-.INF C=.nan"),
    (
        b"template-file-path: t\nparameters: {A: +1, B: -0, C: 1_000, D: 22:30}\n",
        "ok t A=+1 B=-0 C=1_000 D=22:30",
    ),
    (b"template-file-path: t\nparameters: {A: 10.0.0.0/16, B: 1.2.3}\n", "ok t A=10.0.0.0/16 B=1.2.3"),
    (b"template-file-path: t\nparameters: {A: \"\\x41\", B: ''}\n", "ok t A=A B="),
    (
        b"template-file-path: t\nparameters:\n  A: |\n    one\n    two\n  B: >-\n    one\n    two\n",
        "ok t A=one\ntwo\n B=one two",
    ),
    (b"template-file-path: t\nparameters: {A: [], B: [1, 0x2, yes, 'x y']}\n", "ok t A= B=1,0x2,yes,x y"),
    (b"template-file-path: t\nparameters:\n  A:\n  - 012\n  - 1.10\n", "ok t A=012,1.10"),
    (b"template-file-path: t\nparameters: {1: a}\n", "ok t 1=a"),
    (b"template-file-path: t\nparameters: {1.50: a}\n", "ok t 1.50=a"),
    (b"template-file-path: t\nparameters: {yes: a}\n", "ok t yes=a"),
    (b"template-file-path: t\nparameters: {2024-01-01: a}\n", "ok t 2024-01-01=a"),
    (b"template-file-path: t\nparameters: {\"\": a}\n", "ok t =a"),
    // Parameters that are no values.
    (b"template-file-path: t\nparameters: {A: ~}\n", "2:17 null-value"),
    (b"template-file-path: t\nparameters: {A}\n", "2:15 null-value"),
    (b"template-file-path: t\nparameters:\n  A:\n  B: 1\n", "3:5 null-value"),
    (b"template-file-path: t\nparameters: {A: {b: c}}\n", "2:17 wrong-type"),
    (b"template-file-path: t\nparameters: {A: [1, null]}\n", "2:21 null-value"),
    (b"template-file-path: t\nparameters: {A: [[null]]}\n", "2:18 wrong-type"),
    (b"template-file-path: t\nparameters: {~: a}\n", "2:14 null-key"),
    (b"template-file-path: t\nparameters: {[]: a}\n", "2:14 complex-key"),
    (b"template-file-path: t\nparameters: {? [a] : b}\n", "2:16 complex-key"),
    (b"template-file-path: t\nparameters: {A: !Ref x}\n", "2:17 wrong-type"),
    (b"template-file-path: t\nparameters: {A: !Nope x}\n", "2:17 unknown-tag"),
    (b"template-file-path: t\nparameters: !Ref x\n", "ok t Ref=x"),
    // Dates are dates to YAML 1.1, and no parameter's type.
    (b"template-file-path: t\nparameters: {A: 2024-01-01}\n", "2:17 wrong-type"),
    (
        b"template-file-path: t\nparameters: {A: '2024-01-01', B: 2024-1-1, C: 2024-01}\n",
        "ok t A=2024-01-01 B=2024-1-1 C=2024-01",
    ),
    (b"template-file-path: t\nparameters: {A: 2024-1-1 1:00:00}\n", "2:17 wrong-type"),
    (b"template-file-path: t\nparameters: {A: 2024-01-01T10:00:00.5+02:00}\n", "2:17 wrong-type"),
    (b"template-file-path: t\nparameters: {A: 2024-13-45}\n", "2:17 wrong-type"),
    (b"template-file-path: t\nparameters: {A: [2024-01-01]}\n", "2:18 wrong-type"),
    (b"template-file-path: t\nparameters: {A: !!timestamp 2024-01-01}\n", "2:17 unknown-tag"),
    (b"template-file-path: t\nparameters: {A: !!str 2024-01-01}\n", "ok t A=2024-01-01"),
    (b"template-file-path: t\nparameters: {A: =}\n", "2:17 wrong-type"),
    (b"template-file-path: t\nparameters: {A: <<}\n", "2:17 wrong-type"),
    // Tags: strings and nothing else.
    (b"template-file-path: t\ntags: {a: b, c: '1', d: \"\"}\n", "ok t | a=b c=1 d="),
    (b"template-file-path: t\ntags: {a: 1}\n", "2:11 wrong-type"),
    (b"template-file-path: t\ntags: {a: 1.5}\n", "2:11 wrong-type"),
    (b"template-file-path: t\ntags: {a: yes}\n", "2:11 wrong-type"),
    (b"template-file-path: t\ntags: {a: y, b: tRUE, c: nUll, d: '~'}\n", "ok t | a=y b=tRUE c=nUll d=~"),
    (b"template-file-path: t\ntags: {a: ~}\n", "2:11 null-value"),
    (b"template-file-path: t\ntags: {a: Null}\n", "2:11 null-value"),
    (b"template-file-path: t\ntags:\n  a:\n", "3:5 null-value"),
    (b"template-file-path: t\ntags: {a: [b]}\n", "2:11 wrong-type"),
    (b"template-file-path: t\ntags: {a: {b: c}}\n", "2:11 wrong-type"),
    (
        b"template-file-path: t\ntags: {a: 012345678901, b: 08, c: 0o17, d: 1e3, e: 1.0e3}\n",
        "ok t | a=012345678901 b=08 c=0o17 d=1e3 e=1.0e3",
    ),
    (b"template-file-path: t\ntags: {a: 0777}\n", "2:11 wrong-type"),
    (
        b"template-file-path: t\ntags: {a: 00, b: 0x1F, c: 0b1}\n",
        "2:11 wrong-type, 2:18 wrong-type, 2:27 wrong-type",
    ),
    (
        b"template-file-path: t\ntags: {a: 12:30, b: 12:30:45, c: 1:2.5}\n",
        "2:11 wrong-type, 2:21 wrong-type, 2:34 wrong-type",
    ),
    (
        b"template-file-path: t\ntags: {a: 12:60, b: -.5, c: 1.e5, d: 0b}\n",
        "ok t | a=12:60 b=-.5 c=1.e5 d=0b",
    ),
    (b"template-file-path: t\ntags: {a: !!str 1, b: !!str }\n", "ok t | a=1 b="),
    (b"template-file-path: t\ntags: {a: !<tag:yaml.org,2002:str> 1}\n", "ok t | a=1"),
    (b"template-file-path: t\ntags: {a: ! x}\n", "ok t | a=x"),
    (b"template-file-path: t\ntags: {a: ! \"1\"}\n", "2:11 wrong-type"),
    (b"template-file-path: t\ntags: {a: !!int \"1\"}\n", "2:11 wrong-type"),
    (b"template-file-path: t\ntags: {a: !!bool yes}\n", "2:11 wrong-type"),
    (b"template-file-path: t\ntags: {a: !!binary aGk=}\n", "2:11 unknown-tag"),
    // Aliases and merge keys, which a deployment file may have and a template may not.
    (b"template-file-path: &a t\nparameters:\n  A: *a\n", "ok t A=t"),
    (b"template-file-path: t\nparameters: &p\n  A: 1\ntags: *p\n", "3:6 wrong-type"),
    (b"template-file-path: t\nparameters: &p {A: x}\ntags: *p\n", "ok t A=x | A=x"),
    (b"template-file-path: t\nparameters: {A: &a [*a]}\n", "2:21 recursive-alias"),
    (b"template-file-path: t\nparameters: {A: *nope}\n", "2:17 unknown-alias"),
    (b"template-file-path: t\nparameters: {<<: {A: 1, B: 1}, B: 2}\n", "ok t A=1 B=2"),
    (b"template-file-path: t\nparameters: {<<: [{A: 1}, {A: 2, C: 3}]}\n", "ok t A=1 C=3"),
    (b"template-file-path: t\n<<: {tags: {a: b}}\n", "ok t | a=b"),
    (b"template-file-path: t\nparameters: {<<: 1}\n", "2:18 merge-key"),
    (b"template-file-path: t\nparameters: {<<: ~}\n", "2:18 merge-key"),
    (b"template-file-path: t\nparameters: {'<<': 1}\n", "ok t <<=1"),
    // JSON, and YAML that looks like it.
    (
        b"{\"template-file-path\": \"t\", \"parameters\": {\"A\": [1, \"b\", false]}, \"tags\": {}}",
        "ok t A=1,b,false |",
    ),
    (b"{\n\t\"template-file-path\": \"t\"\n}", "ok t"),
    (b"{\"template-file-path\": \"a\\/b\"}", "ok a/b"),
    (b"{\"template-file-path\": \"t\",}", "ok t"),
    (b"{template-file-path: t}", "ok t"),
    (b"{\"template-file-path\": \"t\", \"tags\": {\"a\": 1e5}}", "ok t | a=1e5"),
    (b"{\"template-file-path\": null}", "1:24 null-value"),
    (b"{\"template-file-path\": \"t\"", "2:1 syntax"),
    // What YAML 1.1 allows and 1.2 does not: a closing bracket and text left of its key, among others.
    (b"template-file-path: t\nparameters: {\n  A: 1\n}\n", "ok t A=1"),
    (b"template-file-path: t\nparameters:\n  A: [\n  1,\n2\n]\n", "ok t A=1,2"),
    (b"template-file-path: t\nparameters: {# why\n}\n", "ok t"),
    (b"template-file-path: t\nparameters:\n  A: \"one\ntwo\"\n", "ok t A=one two"),
    (b"template-file-path: t\ntags: {a: ! }\n", "ok t | a="),
    // Files that end without a line end.
    (b"template-file-path: |\n  t", "ok t"),
    (b"template-file-path: |\n  t\n", "ok t\n"),
    (b"template-file-path: >-\n  t\n  \xc3\xa9", "ok t \u{e9}"),
    (b"template-file-path: |\n  t\n\n  u\n  ", "ok t\n\nu\n"),
    (b"template-file-path: \"\\", "2:1 syntax"),
    (b"template-file-path: t\ntags: {\xc3\xa9: !Nope x}", "2:11 unknown-tag"),
    (b"template-file-path: t\ntags: {a: x, \xf0\x9f\x98\x80: 1}", "2:17 wrong-type"),
    // Malformed.
    (b"template-file-path: a: b\n", "1:22 syntax"),
    (b"template-file-path: \"a\n", "2:1 syntax"),
    (b"template-file-path: @x\n", "1:21 syntax"),
    (b"template-file-path: %x\n", "1:21 syntax"),
    (b"template-file-path: t\ntags:\n\ta: b\n", "3:1 syntax"),
    (b"template-file-path: t\ntags: {a: \"\\q\"}\n", "2:12 syntax"),
    (b"template-file-path: t\n...\nx", "3:1 syntax"),
];

/// The deployment files that cfn-lint takes the other way, with the outcome here and why in the module's documentation.
pub(crate) const DIFFERENT: &[(&[u8], &str)] = &[
    (b"template-file-path: t\nparameters: {A: [[1], {a: b}]}\n", "2:18 wrong-type, 2:23 wrong-type"),
    (b"template-file-path: t\nparameters: {\"\": ~}\n", "2:18 null-value"),
    (b"template-file-path: t\nparameters: {yes: ~}\n", "2:19 null-value"),
    (b"template-file-path: t\nparameters: {<<: !GetAtt a.b}\n", "ok t Fn::GetAtt=a,b"),
    (b"template-file-path: t\nparameters: {1: a, \"1\": b}\n", "2:20 duplicate-key"),
    (b"template-file-path: t\nparameters: {<<: {A: 1}, A: 2, A: 3}\n", "2:32 duplicate-key"),
    (b"template-file-path: t\nparameters: !Nope x\n", "2:13 unknown-tag"),
    (b"{\"template-file-path\": \"\\ud83d\\ude00\"}", "ok \u{1f600}"),
    (b"template-file-path: t\nparameters: {A: 0x_}\n", "ok t A=0x_"),
];

#[test]
fn every_deployment_file_has_its_outcome() {
    let mut wrong = Vec::new();
    for (document, expected) in AGREED.iter().chain(DIFFERENT) {
        let found = outcome(document);
        if found != *expected {
            wrong.push(format!(
                "{:?}\n  expected {expected:?}\n  found    {found:?}",
                String::from_utf8_lossy(document)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_finding_says_where_what_and_by_which_rule() {
    let file = b"template-file-path: t\nparameters:\n  A: 2024-01-01\ntags:\n  a: 1\n  b:\nmore: {}\n";
    let findings = parse_deployment_file("deploy/prod.yaml", file).expect_err("four flaws");
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "deploy/prod.yaml:3:6: parameters.A must be a string, number, boolean or list, not a date (2024-01-01); \
             quote it to make it a string [wrong-type]",
            "deploy/prod.yaml:5:6: tags.a must be a string, not a number (1); quote it to make it a string [wrong-type]",
            "deploy/prod.yaml:6:5: tags.b must be a string, not null [null-value]",
            "deploy/prod.yaml:7:1: unknown key \"more\"; the keys are template-file-path, parameters and tags [unknown-key]",
        ]
    );
}

#[test]
fn an_absent_tags_key_is_not_an_empty_set_of_tags() {
    let tags = |text: &str| parse_deployment_file("d", text.as_bytes()).expect("the file is good").tags;
    assert_eq!(tags("template-file-path: t\n"), None);
    assert_eq!(tags("template-file-path: t\ntags: {}\n"), Some(Vec::new()));
}

#[test]
fn cloudformations_limits_are_a_check_of_their_own() {
    let file = |parameters: usize, tags: usize| {
        let mut text = String::from("template-file-path: t\nparameters:\n  {");
        text.push_str(&(0..parameters).map(|n| format!("P{n}: x, ")).collect::<String>());
        text.push_str("}\ntags:\n  {");
        text.push_str(&(0..tags).map(|n| format!("t{n}: x, ")).collect::<String>());
        text.push_str("}\n");
        parse_deployment_file("d", text.as_bytes()).expect("the schema has no limits")
    };
    assert_eq!(check_limits("d", &file(200, 50)), []);
    let findings: Vec<String> = check_limits("d", &file(201, 51)).iter().map(ToString::to_string).collect();
    assert_eq!(
        findings,
        [
            "d:2:1: the file has 201 parameters; CloudFormation takes at most 200 [too-many-parameters]",
            "d:4:1: the file has 51 tags; CloudFormation takes at most 50 [too-many-tags]",
        ]
    );
}

use proptest::prelude::*;
use serde_json::Value;
use syncline_template::{Limits, check_template, parse, parse_deployment_file};

/// A tree as JSON: what is generated, and what the parsed tree must say again.
fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        (-1.0e9..1.0e9_f64).prop_map(Value::from),
        ".{0,12}".prop_map(Value::String),
        "[a-z:#&*!|>{}\\[\\],\"'\\\\\n\t -]{0,12}".prop_map(Value::String),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((".{0,6}", inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Pieces of YAML in any order: likelier to get far into the reader than bytes are.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b: ",
        "- ",
        "\n",
        "\n  ",
        "? ",
        ": ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "&x ",
        "*x ",
        "!Ref ",
        "!GetAtt ",
        "!!str ",
        "! ",
        "'",
        "\"",
        "|\n",
        ">-\n",
        "# c\n",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "<<: ",
        "~",
        "1",
        "2024-01-01",
        "\t",
        "\\",
        "\r",
        "\u{feff}",
        "template-file-path: ",
        "parameters:",
        "tags:",
        "\u{1f600}",
        "yes",
        "%TAG ! x\n",
        "0x1F",
        ".5",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn read_everything(bytes: &[u8]) {
    let _ = parse("t", bytes, &Limits::default());
    let _ = check_template("t", bytes);
    let _ = parse_deployment_file("d", bytes);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        read_everything(&bytes);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,64}") {
        read_everything(text.as_bytes());
    }

    #[test]
    fn pieces_of_yaml_never_panic(text in pieces()) {
        read_everything(text.as_bytes());
    }

    #[test]
    fn a_tree_written_as_json_reads_back_the_same(value in tree()) {
        let root = serde_json::json!({ "root": value });
        for text in [root.to_string(), serde_json::to_string_pretty(&root).expect("JSON is written")] {
            let node = parse("t", text.as_bytes(), &Limits::default()).map_err(|f| TestCaseError::fail(f.to_string()))?;
            prop_assert_eq!(node.to_json(), root.clone());
        }
    }

    #[test]
    fn a_finding_points_into_the_document(text in pieces()) {
        if let Err(finding) = parse("t", text.as_bytes(), &Limits::default()) {
            let span = finding.span.expect("only a document that is too large has no position");
            let lines = text.split(['\n', '\r']).count() + 1;
            prop_assert!(span.line >= 1 && span.line <= lines && span.column >= 1, "{}", finding);
        }
    }
}

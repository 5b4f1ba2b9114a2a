//! Documents made to exhaust time, memory or the stack end in one finding. They run on a thread with a small stack, so
//! that recursion as deep as the input is a crash here and not only on somebody's server.

use syncline_template::{Limits, parse, parse_deployment_file};

fn laughs(levels: usize, wide: usize) -> String {
    let mut text = String::from("template-file-path: t\na0: &a0 [lol]\n");
    for level in 1..=levels {
        let items = vec![format!("*a{}", level - 1); wide].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    text
}

fn laughing_merges(levels: usize) -> String {
    let mut text = String::from("m0: &m0 {k: v}\n");
    for level in 1..=levels {
        let before = level - 1;
        text.push_str(&format!(
            "m{level}: &m{level} {{<<: [*m{before}, *m{before}], x: *m{before}, y: *m{before}}}\n"
        ));
    }
    text
}

/// A chain of aliases, each value one level deeper than the one it names: deep without one deep line.
fn staircase(steps: usize) -> String {
    let mut text = String::from("a0: &a0 [x]\n");
    for step in 1..=steps {
        text.push_str(&format!("a{step}: &a{step} [*a{}]\n", step - 1));
    }
    text
}

fn nested_block(levels: usize) -> String {
    (0..levels).map(|level| format!("{}a:\n", " ".repeat(level))).collect()
}

fn on_a_small_stack(check: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(512 * 1024).spawn(check).expect("a thread starts");
    thread.join().expect("the check holds");
}

#[test]
fn bombs_end_in_one_finding() {
    let deep = 100_000;
    let table: Vec<(&str, String, &str, &str)> = vec![
        ("billion laughs", laughs(9, 9), "too-many-values", "too-many-values"),
        ("more laughs, fewer levels", laughs(4, 500), "too-many-values", "too-many-values"),
        ("laughing merges", laughing_merges(60), "merge-key", "too-many-values"),
        ("staircase", staircase(5_000), "too-deep", "too-deep"),
        ("flow sequences", "[".repeat(deep), "too-deep", "too-deep"),
        ("flow sequences in a line each", "[\n".repeat(deep), "too-deep", "too-deep"),
        ("flow mappings", "{a: ".repeat(deep), "syntax", "too-deep"),
        ("json mappings", "{\"a\":".repeat(deep), "too-deep", "too-deep"),
        ("json lists", format!("{{\"a\":{}", "[".repeat(deep)), "too-deep", "too-deep"),
        ("block sequences", "- ".repeat(deep), "too-deep", "too-deep"),
        ("block mappings", nested_block(1_000), "too-deep", "too-deep"),
        ("complex keys", "? ".repeat(deep), "complex-key", "complex-key"),
        ("flow complex keys", "{? ".repeat(deep), "syntax", "complex-key"),
        ("tags", "!Sub ".repeat(deep), "syntax", "syntax"),
        ("tagged lists", "!If [".repeat(deep), "too-deep", "too-deep"),
        ("anchors", "&a ".repeat(deep), "syntax", "syntax"),
        (
            "a big scalar copied",
            format!("a: &a {}\nb: [{}]\n", "x".repeat(200_000), "*a, ".repeat(100_000)),
            "too-many-values",
            "too-many-values",
        ),
        (
            "many anchors around a lot",
            format!(
                "{}{}{}",
                (0..90).map(|n| format!("&a{n} [")).collect::<String>(),
                "x, ".repeat(20_000),
                "]".repeat(90)
            ),
            "too-many-values",
            "too-many-values",
        ),
        ("an unended string", format!("a: \"{}", "x".repeat(900_000)), "syntax", "syntax"),
        ("escapes without end", format!("{{\"a\": \"{}", "\\".repeat(900_000)), "syntax", "syntax"),
        ("percent signs", "%".repeat(500_000), "syntax", "syntax"),
        ("nothing but keys", "a\n".repeat(200_000) + ":", "syntax", "syntax"),
    ];
    for (name, text, template, deployment_file) in table {
        on_a_small_stack(move || {
            let found = parse("t", text.as_bytes(), &Limits::default()).expect_err(name);
            assert_eq!(found.rule, template, "{name}: {found}");
            let found = parse_deployment_file("d", text.as_bytes()).expect_err(name);
            assert_eq!(found[0].rule, deployment_file, "{name}: {}", found[0]);
        });
    }
}

#[test]
fn honest_documents_near_the_limits_are_read_and_dropped() {
    let limits = Limits::default();
    for (name, text) in [
        ("as deep as allowed", format!("{}{}", "[".repeat(limits.depth), "]".repeat(limits.depth))),
        ("as deep as allowed, in blocks", nested_block(limits.depth)),
        ("wide", "- 1\n".repeat(limits.bytes / 4)),
        ("dense json", format!("{{\"a\":[{}1]}}", "1,".repeat(500_000))),
        ("many keys", (0..80_000).map(|n| format!("k{n}: v\n")).collect()),
        ("one long string", format!("a: {}\n", "x".repeat(1_000_000))),
        ("a few aliases", format!("a: &a [{}]\nb: [*a, *a, *a]\n", "1, ".repeat(1_000))),
    ] {
        on_a_small_stack(move || {
            let node = parse("t", text.as_bytes(), &Limits::default());
            let node = node.unwrap_or_else(|finding| panic!("{name}: {finding}"));
            let mut count = 0;
            node.walk(&mut |_| count += 1);
            assert!(count > 0, "{name}");
        });
    }
}

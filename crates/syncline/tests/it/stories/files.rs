//! Bad files: each fails its sync with an event that names file and rule, and leaves the stack untouched.

use syncline_testkit::repository::Change;

use super::{deployment, synced, template};

#[tokio::test]
async fn a_bad_file_is_told_by_name_and_leaves_the_stack_alone() {
    let large = format!("# {}\n{}", "x".repeat(60_000), template(""));
    let deep =
        format!("template-file-path: template.yaml\nparameters: {}1{}\n", "[".repeat(500), "]".repeat(500));
    let cases: &[(&str, &[Change<'_>], &str)] = &[
        ("deployment file missing", &[Change::Remove("prod.yaml")], "the commit has no file 'prod.yaml'"),
        ("template missing", &[Change::Remove("template.yaml")], "the commit has no file 'template.yaml'"),
        ("invalid YAML", &[Change::File("prod.yaml", b"a: [")], "prod.yaml:"),
        (
            "a null value",
            &[Change::File("prod.yaml", b"template-file-path: template.yaml\ntags: null\n")],
            "[null-value]",
        ),
        (
            "an unknown key",
            &[Change::File("prod.yaml", b"template-file-path: template.yaml\ntag: {}\n")],
            "prod.yaml:2:1",
        ),
        ("no template path", &[Change::File("prod.yaml", b"parameters: {}\n")], "[missing-key]"),
        (
            "outside the repository",
            &[Change::File("prod.yaml", b"template-file-path: ../x.yaml\n")],
            "prod.yaml:1:21",
        ),
        (
            "an absolute path",
            &[Change::File("prod.yaml", b"template-file-path: /etc/passwd\n")],
            "relative to the repository",
        ),
        (
            "a symbolic link as template",
            &[Change::Symlink("template.yaml", "/etc/passwd")],
            "a symbolic link",
        ),
        (
            "a symbolic link as deployment file",
            &[Change::Symlink("prod.yaml", "template.yaml")],
            "a symbolic link",
        ),
        (
            "a directory as template",
            &[Change::Remove("template.yaml"), Change::File("template.yaml/x", b"")],
            "a directory",
        ),
        (
            "a template that is too large",
            &[Change::File("template.yaml", large.as_bytes())],
            "larger than 51200 bytes",
        ),
        ("a template that is no mapping", &[Change::File("template.yaml", b"- a\n")], "template.yaml:1:1"),
        (
            "a template without resources",
            &[Change::File("template.yaml", b"Description: x\n")],
            "template.yaml",
        ),
        (
            "an unknown tag",
            &[Change::File("template.yaml", b"Resources: {A: {Type: !Nope x}}\n")],
            "template.yaml:1:23",
        ),
        ("not UTF-8", &[Change::File("template.yaml", b"Resources: {A: {Type: \xff}}\n")], "[not-utf8]"),
        ("deeply nested", &[Change::File("prod.yaml", deep.as_bytes())], "prod.yaml:"),
    ];
    let (world, repo) = synced().await;
    let before = world.stack_template("web");
    for (case, changes, part) in cases {
        let mut whole = vec![
            Change::Remove("template.yaml/x"),
            Change::Remove("template.yaml"),
            Change::Remove("prod.yaml"),
        ];
        let good = (deployment("one"), template(""));
        whole.push(Change::File("prod.yaml", good.0.as_bytes()));
        if !changes.iter().any(|change| matches!(change, Change::File("template.yaml/x", _))) {
            whole.push(Change::File("template.yaml", good.1.as_bytes()));
        }
        whole.extend(changes.iter().copied());
        repo.change(&whole).await;
        world.settle().await;
        let newest = world.attempt_rows("web").await.pop().expect("an attempt");
        assert_eq!(newest.status.as_str(), "FAILED", "{case}");
        let event = world.event("web", "INVALID_FILE").await;
        assert!(event.contains(part), "{case}: {event}");
        let blocker = world.blocker_rows("web").await.remove(0);
        assert_eq!((blocker.status.as_str(), blocker.kind.as_str()), ("ACTIVE", "INVALID_FILE"), "{case}");
        assert_eq!(world.stack_template("web"), before, "{case}");
        let active = world.blocker_rows("web").await.iter().filter(|b| b.status.as_str() == "ACTIVE").count();
        assert_eq!(active, 1, "{case}: the newest failure replaces the older ones");
    }
    assert_eq!(world.executions("web"), 1);

    // Nothing is lost: the fix of the last one syncs.
    let good = (deployment("two"), template(""));
    repo.commit_files(&[("prod.yaml", &good.0), ("template.yaml", &good.1)]).await;
    world.settle().await;
    let newest = world.attempt_rows("web").await.pop().expect("an attempt");
    assert_eq!(newest.status.as_str(), "SUCCEEDED");
    assert!(world.blocker_rows("web").await.iter().all(|blocker| blocker.status.as_str() == "RESOLVED"));
}

#[tokio::test]
async fn parameters_are_sent_as_written() {
    let (world, repo) = synced().await;
    let template = "Parameters: {A: {Type: String}, B: {Type: CommaDelimitedList}, C: {Type: String}}\n\
                    Resources: {Topic: {Type: AWS::SNS::Topic, Properties: {DisplayName: !Ref A}}}\n";
    let file = "template-file-path: ./template.yaml\nparameters:\n  A: 012345678901\n  B: [a, b]\n  C: true\ntags:\n  team: web\n";
    repo.commit_files(&[("prod.yaml", file), ("template.yaml", template)]).await;
    world.settle().await;
    let stack = world.simulator.stack("000000000000", "eu-central-1", "web").expect("the stack");
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    assert_eq!(stack.parameters, pairs(&[("A", "012345678901"), ("B", "a,b"), ("C", "true")]));
    assert_eq!(stack.tags, pairs(&[("team", "web")]));
}

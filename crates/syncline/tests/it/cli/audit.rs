//! The audit log on the command line: exported, and checked against whoever changes it.

use std::path::Path;

use serde_json::Value;
use syncline_store::chain::ChainedRecord;

use super::{Here, assert_says, ended};
use tokio::process::Command;

/// Runs `audit verify` until every record has its place.
async fn verified(here: &Here) -> String {
    loop {
        let verified = here.run(&["audit", "verify"]).await;
        if !verified.stderr.contains("still wait") {
            assert_eq!(verified.stderr, "");
            return verified.good();
        }
    }
}

/// Changes the database behind the server's back.
#[expect(clippy::disallowed_methods, reason = "the test plays somebody else who opens the file")]
fn tamper(here: &Here, sql: &str) {
    let database = here.directory.path().join("data/syncline.db");
    let database = rusqlite::Connection::open(database).expect("opens");
    assert!(database.execute(sql, []).expect(sql) > 0, "{sql} changed nothing");
    // So long a reader of the server's may keep what it saw before.
    std::thread::sleep(std::time::Duration::from_millis(200));
}

#[tokio::test]
async fn an_audit_log_is_exported_and_checked_wherever_it_is() {
    let here = Here::start().await;
    assert_eq!(here.run(&["audit", "verify"]).await.good(), "There are no records.\n");
    let connection = here.connection(&here.git.endpoint()).await;
    here.run(&["connection", "authorize", &connection, "--no-token"]).await.good();

    let verified = verified(&here).await;
    assert_says(&verified, &["Records 1 to 3 of account 000000000000, 3 in all: unchanged\n"]);
    let (_, head) = verified.split_once("Head    3:").expect("the head");
    let head = format!("3:{}", head.trim());

    let file = here.directory.path().join("audit.ndjson");
    let file = file.to_str().expect("UTF-8");
    let exported = here.run(&["audit", "export", "-o", file]).await;
    assert_eq!(exported.stderr, format!("3 records written; the last is {head}\n"));
    assert_eq!(exported.good(), "");
    let lines = std::fs::read_to_string(file).expect("written");
    assert_eq!(here.run(&["audit", "export"]).await.good(), lines);
    for arguments in [&["audit", "verify", file][..], &["audit", "verify", file, "--expect", &head]] {
        assert_eq!(here.run(arguments).await.good(), verified);
    }
    let records: Vec<ChainedRecord> =
        lines.lines().map(|line| serde_json::from_str(line).expect("a record")).collect();
    let names: Vec<Value> = records
        .iter()
        .map(|r| serde_json::from_str::<Value>(&r.record).expect("JSON")["eventName"].clone())
        .collect();
    assert_eq!(names, ["CreateHost", "CreateConnection", "AuthorizeConnection"]);

    // As CloudTrail's own files are.
    let trail = here.run(&["audit", "export", "--format", "cloudtrail"]).await.good();
    let trail: Value = serde_json::from_str(&trail).expect("JSON");
    let told: Vec<_> =
        trail["Records"].as_array().expect("a list").iter().map(|r| r["eventName"].clone()).collect();
    assert_eq!(told, names);
    let none = ["audit", "export", "--format", "cloudtrail", "--from", "2100-01-01"];
    assert_eq!(here.run(&none).await.good(), "{\"Records\":[]}\n");

    // Parts of it: each is sound by itself, and follows on the one before.
    let rest = here.run(&["audit", "export", "--after", "1"]).await.good();
    assert_eq!(rest, lines.split_once('\n').expect("lines").1);
    let first = records[0].head().to_string();
    let check = ended(here.command(&["audit", "verify", "-", "--expect", &first]), rest.as_bytes()).await;
    assert_says(&check.good(), &["Records 2 to 3 of account 000000000000, 2 in all"]);
    assert_eq!(here.run(&["audit", "export", "--to", "2020-01-01"]).await.good(), "");
    assert_eq!(
        here.run(&["audit", "export", "--from", "2020-01-01", "--to", "2100-01-01"]).await.good(),
        lines
    );

    let find = async |text: String, expect: &str| {
        let check = ended(here.command(&["audit", "verify", "-", "--expect", &head]), text.as_bytes()).await;
        assert_says(&check.failed(), &[expect]);
    };
    let all: Vec<&str> = lines.lines().collect();
    let [one, two, three] = all[..] else { panic!("{lines}") };
    let sound = "(records 1 to 1 are unchanged)";
    let changed = format!("record 2 was changed: its hash is not that of its content {sound}");
    find(lines.replace("CreateConnection", "DeleteConnection"), &changed).await;
    find(format!("{one}\n{three}\n"), &format!("record 2 is missing: record 3 stands in its place {sound}"))
        .await;
    find(
        format!("{one}\n{three}\n{two}\n"),
        &format!("record 2 is missing: record 3 stands in its place {sound}"),
    )
    .await;
    find(format!("{one}\n{two}\n"), "record 3 is missing: the log ends after record 2").await;
    find(String::new(), "record 3 is missing: the log ends after record 0").await;
    let mut rewritten = String::new();
    let mut previous = records[0].previous_hash.clone();
    for record in &records {
        let record = record.record.replace("AuthorizeConnection", "LookAtConnection");
        let mut record =
            ChainedRecord { record, previous_hash: previous, ..records[rewritten.lines().count()].clone() };
        record.hash = record.computed_hash();
        previous = record.hash.clone();
        rewritten.push_str(&format!("{}\n", serde_json::to_string(&record).expect("JSON")));
    }
    find(rewritten.clone(), "the log was rewritten (records 1 to 2 are unchanged)").await;
    let alone = ended(here.command(&["audit", "verify", "-"]), rewritten.as_bytes()).await;
    assert_says(&alone.good(), &["Records 1 to 3"]);
    find(format!("{one}\nnonsense\n"), "line 2 of - is no record as `syncline audit export` writes it").await;

    // What somebody does to the database is found through the server.
    let server_says = async |flags: &[&str]| here.run(&[&["audit", "verify"], flags].concat()).await;
    tamper(
        &here,
        "UPDATE audit_record SET record = replace(record, 'CreateConnection', 'GetConnection') WHERE sequence = 2",
    );
    assert_says(&server_says(&[]).await.failed(), &[&changed]);
    tamper(
        &here,
        "UPDATE audit_record SET record = replace(record, 'GetConnection', 'CreateConnection') WHERE sequence = 2",
    );
    assert_eq!(server_says(&["--expect", &head]).await.good(), verified);
    tamper(&here, "DELETE FROM audit_record WHERE sequence = 3");
    assert_says(&server_says(&[]).await.good(), &["Records 1 to 2"]);
    let cut = server_says(&["--expect", &head]).await.failed();
    assert_says(&cut, &["record 3 is missing: the log ends after record 2"]);
    tamper(&here, "DELETE FROM audit_record WHERE sequence = 1");
    assert_says(&server_says(&[]).await.failed(), &["record 1 is missing: record 2 stands in its place"]);
    here.running.stop().await;
}

/// The guide's own words on how a hash is made, run by somebody else's SHA-256.
#[tokio::test]
async fn what_the_guide_says_about_hashes_is_true() {
    let guide = include_str!("../../../../../docs/guide.md");
    let (_, rest) = guide.split_once("```python\n").expect("a program");
    let (program, _) = rest.split_once("```").expect("its end");
    let python = Path::new("/usr/bin/python3");
    if !python.exists() {
        println!("skipped: there is no {}", python.display());
        return;
    }
    let here = Here::start().await;
    here.connection(&here.git.endpoint()).await;
    verified(&here).await;
    let lines = here.run(&["audit", "export"]).await.good();
    assert_eq!(lines.lines().count(), 2);
    let check = async |lines: &str| {
        let mut command = Command::new(python);
        command.args(["-c", program]).env_clear();
        ended(command, lines.as_bytes()).await
    };
    assert_eq!(check(&lines).await.good(), "");
    let refused = check(&lines.replace("CreateConnection", "DeleteConnection")).await.failed();
    assert_says(&refused, &["AssertionError: 2"]);
    here.running.stop().await;
}

#[tokio::test]
async fn times_and_heads_that_make_no_sense_are_refused() {
    let here = Here::start().await;
    for (flags, expect) in [
        (&["export", "--from", "yesterday"][..], "it must be like 2026-11-23T14:00:00Z"),
        (&["export", "--after=-1"], "--after"),
        (&["verify", "--expect", "17"], "<sequence>:<hash>"),
    ] {
        let refused = here.run(&[&["audit"], flags].concat()).await;
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert_says(&refused.stderr, &[expect]);
    }
    let missing = here.run(&["audit", "verify", "/nowhere/audit.ndjson"]).await.failed();
    assert_says(&missing, &["cannot read /nowhere/audit.ndjson"]);
    here.running.stop().await;
}

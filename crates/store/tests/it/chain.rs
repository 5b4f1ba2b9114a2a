//! The chain by itself: how hashes are made, and what a checker finds.

use syncline_store::chain::{Broken, ChainedRecord, Checker, GENESIS, Head};

/// A chain of records with these texts.
fn chain(texts: &[&str]) -> Vec<ChainedRecord> {
    let mut records: Vec<ChainedRecord> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let number = i64::try_from(index).expect("small");
        let record = ChainedRecord {
            sequence: number + 1,
            account_id: "111111111111".to_owned(),
            event_id: format!("event-{}", number + 1),
            time_ms: 1_763_865_600_000 + number,
            previous_hash: records.last().map_or(GENESIS.to_owned(), |last| last.hash.clone()),
            hash: String::new(),
            record: (*text).to_owned(),
        };
        records.push(ChainedRecord { hash: record.computed_hash(), ..record });
    }
    records
}

fn checked(records: &[ChainedRecord], expected: Option<Head>) -> Result<(), Broken> {
    let mut checker = Checker::new(expected);
    records.iter().try_for_each(|record| checker.check(record))?;
    checker.end()
}

#[test]
fn a_hash_is_what_anybody_can_compute() {
    // Computed by Python's hashlib from the description at the top of chain.rs.
    let records = chain(&[r#"{"eventName":"CreateHost"}"#, r#"{"eventName":"Größe"}"#]);
    assert_eq!(records[0].hash, "8bd3f61005e1ecd6e954599470037f75f3845b26aae544f31bea4408ed533fa2");
    assert_eq!(records[1].hash, "b319fc205980c57109eca37b9c5edb413259a512067f8f80b52f5a232b46aa37");
}

#[test]
fn texts_are_told_apart_where_they_meet() {
    let record = |event_id: &str, record: &str| ChainedRecord {
        sequence: 1,
        account_id: "111111111111".to_owned(),
        event_id: event_id.to_owned(),
        time_ms: 0,
        previous_hash: GENESIS.to_owned(),
        hash: String::new(),
        record: record.to_owned(),
    };
    assert_ne!(record("ab", "c").computed_hash(), record("a", "bc").computed_hash());
}

#[test]
fn every_way_to_change_a_chain_is_found_where_it_was_changed() {
    let check = |what: &str, change: fn(&mut Vec<ChainedRecord>), expect: Result<(), &str>| {
        let mut records = chain(&["a", "b", "c", "d", "e"]);
        change(&mut records);
        let found = checked(&records, None).map_err(|broken| broken.to_string());
        assert_eq!(found, expect.map_err(str::to_owned), "{what}");
    };
    let changed = Err("record 3 was changed: its hash is not that of its content");
    check("untouched", |_| {}, Ok(()));
    check("another text", |r| r[2].record = "x".to_owned(), changed);
    check("another time", |r| r[2].time_ms += 1, changed);
    check("another id", |r| r[2].event_id = "event-9".to_owned(), changed);
    check("another hash", |r| r[2].hash = r[1].hash.clone(), changed);
    check("another previous hash", |r| r[2].previous_hash = r[0].hash.clone(), changed);
    check(
        "another account",
        |r| r[2].account_id = "222222222222".to_owned(),
        Err("record 3 is one of account 222222222222, not 111111111111"),
    );
    check("one removed", |r| drop(r.remove(2)), Err("record 3 is missing: record 4 stands in its place"));
    check("two swapped", |r| r.swap(2, 3), Err("record 3 is missing: record 4 stands in its place"));
    check(
        "one twice",
        |r| r.insert(2, r[1].clone()),
        Err("record 2 is out of its place: it comes after record 2"),
    );
    check(
        "renumbered",
        |r| {
            r.remove(2);
            r[2].sequence = 3;
        },
        changed,
    );
    check(
        "changed and hashed again",
        |r| {
            r[2].record = "x".to_owned();
            r[2].hash = r[2].computed_hash();
        },
        Err("record 4 does not follow from the record before it"),
    );
    check(
        "slipped in at the front",
        |r| {
            r[0].previous_hash = r[4].hash.clone();
            r[0].hash = r[0].computed_hash();
        },
        Err("record 1 does not follow from the record before it"),
    );
    check(
        "a place before the first",
        |r| r[0].sequence = 0,
        Err("record 0 is out of its place: it comes after record 0"),
    );
    check("begun later", |r| drop(r.drain(..2)), Ok(()));
    check("nothing left", Vec::clear, Ok(()));
}

#[test]
fn a_whole_chain_begins_with_its_first_record() {
    let records = chain(&["a", "b"]);
    let first = |record: &ChainedRecord| Checker::default().of_whole_chain().check(record);
    assert_eq!(first(&records[0]), Ok(()));
    assert_eq!(first(&records[1]), Err(Broken::Missing { sequence: 1, found: 2 }));
}

#[test]
fn a_noted_head_finds_what_is_sound_in_itself() {
    let ours = chain(&["a", "b", "c", "d", "e"]);
    let rewritten = chain(&["a", "b", "x", "d", "e"]);
    let check = |records: &[ChainedRecord], expected: &ChainedRecord, expect: Result<(), String>| {
        let found = checked(records, Some(expected.head())).map_err(|broken| broken.to_string());
        assert_eq!(found, expect, "{records:?}");
    };
    check(&ours, &ours[4], Ok(()));
    check(&ours, &ours[2], Ok(()));
    check(&ours[3..], &ours[3], Ok(()));
    check(&ours[3..], &ours[2], Ok(()));
    let other = |sequence: i64, found: &str, expected: &str| {
        Err(format!("record {sequence} has hash {found}, not the expected {expected}: the log was rewritten"))
    };
    check(&rewritten, &ours[4], other(5, &rewritten[4].hash, &ours[4].hash));
    check(&rewritten[3..], &ours[2], other(3, &rewritten[2].hash, &ours[2].hash));
    check(&ours[..4], &ours[4], Err("record 5 is missing: the log ends after record 4".to_owned()));
    check(&[], &ours[0], Err("record 1 is missing: the log ends after record 0".to_owned()));
    check(&ours[3..], &ours[1], Err("record 2 is not in here: the log begins with record 4".to_owned()));
}

#[test]
fn a_head_is_written_as_it_is_read() {
    let head = chain(&["a"])[0].head();
    assert_eq!(head.to_string().parse::<Head>(), Ok(head.clone()));
    assert_eq!(format!("1:{}", head.hash.to_uppercase()).parse::<Head>(), Ok(head.clone()));
    for bad in ["", "1", "1:", "0:", ":1", &format!("0:{}", head.hash), &format!("1:{}0", head.hash), "x:y"] {
        assert!(bad.parse::<Head>().is_err(), "{bad}");
    }
}

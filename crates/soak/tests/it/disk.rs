//! The disk of a server on SQLite is full for a while.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use aws_smithy_types::error::display::DisplayErrorContext;
use syncline_soak::estate::tag;
use syncline_soak::fleet::{Fleet, Kept, Plan};
use syncline_soak::soak::end;
use syncline_soak::storm::{Acknowledged, Happened, newest, settle};
use syncline_soak::until;

use crate::{SETTLE_LIMIT, inhabited, program};

/// How large the server's disk is.
const DISK: &str = "48m";

/// Whether this user may make a file system of his own, as unprivileged users mostly may on Linux.
fn may_mount(folder: &Path) -> bool {
    let line = "mount -t tmpfs -o size=1m tmpfs \"$0\"";
    let tried = Command::new("unshare").args(["-rm", "sh", "-c", line]).arg(folder).output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// The data directory of the server, on a disk of its own that only the server's processes see.
struct Disk {
    folder: PathBuf,
    // Keeps the disk when the server has ended.
    _open: File,
}

impl Disk {
    fn of(fleet: &Fleet) -> Self {
        let pid = fleet.replicas[0].pid().expect("it runs");
        let inside = format!("/proc/{pid}/root{}", fleet.data_dir(1).display());
        let open = File::open(inside).expect("the server's view of its data directory");
        let folder = format!("/proc/self/fd/{}", open.as_raw_fd()).into();
        Self { folder, _open: open }
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Leaves not a byte.
    fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.filler()).expect("a file");
        let mut size = 1 << 20;
        while size > 0 {
            if filler.write(&vec![0; size]).is_err() {
                size /= 2;
            }
        }
    }

    fn free(&self) {
        fs::remove_file(self.filler()).expect("what fills it");
    }

    /// Copies what is left on the disk to where everybody sees it.
    fn rescue(&self, to: &Path) {
        for name in ["syncline.db", "syncline.db-wal"] {
            let from = self.folder.join(name);
            if from.exists() {
                fs::copy(from, to.join(name)).expect("copied");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_writes_and_nothing_else_until_there_is_space_again() {
    let probe = tempfile::tempdir().expect("a temporary directory");
    if !may_mount(probe.path()) {
        eprintln!("skipped: this user may not mount a tmpfs, so there is no disk that could be filled");
        return;
    }
    let line = format!("mount -t tmpfs -o size={DISK} tmpfs data-1 && exec \"$0\" \"$@\"");
    let wrapper = ["unshare", "-rm", "sh", "-c", &line].map(OsString::from).to_vec();
    let plan = Plan { kept: Kept::Sqlite, wrapper, ..Plan::of(program(), 1) };
    let (fleet, mut estate) = inhabited(&plan, 6).await.expect("SQLite is always there");
    assert_eq!(settle(&fleet, &estate, SETTLE_LIMIT).await, Ok(()), "{}", fleet.logs());
    let (disk, server) = (Disk::of(&fleet), &fleet.replicas[0]);
    let client = fleet.client_of(&server.ready().await);
    let link_arn = estate.repositories[0].link_arn.clone();
    let mut happened = Happened::default();

    disk.fill();
    let mut tags = 0;
    let refusal = loop {
        // What is in the log already can be written over; a few are still good.
        assert!(tags < 190, "a full disk takes everything");
        tags += 1;
        let key = format!("soak-{tags}");
        match tag(&client, &link_arn, &key).await {
            Ok(()) => happened.acknowledged.push(Acknowledged::Tagged { link_arn: link_arn.clone(), key }),
            Err(refusal) => break refusal,
        }
    };
    assert!(refusal.contains("safe to try again"), "{refusal}");
    assert!(server.log().contains("full"), "{}", server.log());
    let is_unready = async || match server.admin("/readyz").await {
        Some((503, why)) => why.contains("full"),
        _ => false,
    };
    until("not ready, because the disk is full", || fleet.logs(), is_unready).await;
    for stack in &estate.stacks {
        assert!(newest(&client, &stack.name).await.is_some(), "{} is read all the same", stack.name);
    }
    let listed = client.list_tags_for_resource().resource_arn(&link_arn).send().await;
    let listed = listed.map_err(|error| format!("{}", DisplayErrorContext(&error))).expect("read");
    assert_eq!(listed.tags().len(), happened.acknowledged.len());
    let mut choices = fastrand::Rng::with_seed(1);
    for _ in 0..3 {
        estate.push(&mut choices).await;
        happened.pushes += 1;
    }
    let alive = server.admin("/livez").await.is_some_and(|(status, _)| status == 200);
    assert!(alive, "{}", server.log());

    disk.free();
    let is_ready = async || server.admin("/readyz").await.is_some_and(|(status, _)| status == 200);
    until("ready with space on the disk", || fleet.logs(), is_ready).await;
    tag(&client, &link_arn, "soak-after").await.expect("there is space again");
    let key = "soak-after".to_owned();
    happened.acknowledged.push(Acknowledged::Tagged { link_arn, key });
    assert_eq!(settle(&fleet, &estate, SETTLE_LIMIT).await, Ok(()), "{}", fleet.logs());
    assert_eq!(server.starts(), 1, "it went on by itself");
    let status = server.terminate().await;
    assert!(status.success(), "{status}: {}", server.log());
    disk.rescue(&fleet.data_dir(1));
    let found = end(&fleet, &estate, &happened).await.expect("a readable database");
    assert!(found.is_empty(), "{}\n{}", found.join("\n"), fleet.logs());
}

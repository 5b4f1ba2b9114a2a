//! The disk of a server on SQLite is full for a while.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use aws_smithy_types::error::display::DisplayErrorContext;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
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

/// What keeps the server from writing.
enum Disk {
    /// Its data directory is on a disk of its own that only the server's processes see.
    Own {
        folder: PathBuf,
        // Keeps the disk when the server has ended.
        _open: File,
    },
    /// It may not make files longer than they are.
    Limited { pid: i32, log: PathBuf },
}

impl Disk {
    fn own(fleet: &Fleet) -> Self {
        let pid = fleet.replicas[0].pid().expect("it runs");
        let inside = format!("/proc/{pid}/root{}", fleet.data_dir(1).display());
        let open = File::open(inside).expect("the server's view of its data directory");
        let folder = format!("/proc/self/fd/{}", open.as_raw_fd()).into();
        Self::Own { folder, _open: open }
    }

    fn limited(fleet: &Fleet) -> Self {
        let pid = fleet.replicas[0].pid().expect("it runs");
        Self::Limited { pid, log: fleet.data_dir(1).join("syncline.db-wal") }
    }

    /// Leaves not a byte.
    fn fill(&self) {
        match self {
            Self::Own { folder, .. } => {
                let filler = File::options().create(true).append(true).open(folder.join("filler"));
                let mut filler = filler.expect("a file");
                let mut size = 1 << 20;
                while size > 0 {
                    if filler.write(&vec![0; size]).is_err() {
                        size /= 2;
                    }
                }
            }
            Self::Limited { pid, log } => limit(*pid, Some(fs::metadata(log).expect("a log").len())),
        }
    }

    fn free(&self) {
        match self {
            Self::Own { folder, .. } => fs::remove_file(folder.join("filler")).expect("what fills it"),
            Self::Limited { pid, .. } => limit(*pid, None),
        }
    }

    /// Copies what is left on a disk that nobody else sees.
    fn rescue(&self, to: &Path) {
        let Self::Own { folder, .. } = self else { return };
        for name in ["syncline.db", "syncline.db-wal"] {
            let from = folder.join(name);
            if from.exists() {
                fs::copy(from, to.join(name)).expect("copied");
            }
        }
    }
}

/// Limits how long a process may make files, in bytes.
fn limit(pid: i32, bytes: Option<u64>) {
    let limits = Rlimit { current: bytes, maximum: None };
    prlimit(Pid::from_raw(pid), Resource::Fsize, limits).expect("a process of this user");
}

/// Fills the disk of a server that is started by these words, with a database that then says `why`.
async fn is_full_for_a_while(wrapper: &[&str], disk: impl FnOnce(&Fleet) -> Disk, why: &str) {
    let wrapper = wrapper.iter().map(OsString::from).collect();
    let plan = Plan { kept: Kept::Sqlite, wrapper, ..Plan::of(program(), 1) };
    let (fleet, mut estate) = inhabited(&plan, 6).await.expect("SQLite is always there");
    assert_eq!(settle(&fleet, &estate, SETTLE_LIMIT).await, Ok(()), "{}", fleet.logs());
    let (disk, server) = (disk(&fleet), &fleet.replicas[0]);
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
    assert!(server.log().contains(why), "{}", server.log());
    let is_unready = async || match server.admin("/readyz").await {
        Some((503, told)) => told.contains(why),
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_writes_and_nothing_else_until_there_is_space_again() {
    let probe = tempfile::tempdir().expect("a temporary directory");
    if !may_mount(probe.path()) {
        eprintln!("skipped: this user may not mount a tmpfs; the limit of file sizes is tested all the same");
        return;
    }
    let line = format!("mount -t tmpfs -o size={DISK} tmpfs data-1 && exec \"$0\" \"$@\"");
    is_full_for_a_while(&["unshare", "-rm", "sh", "-c", &line], Disk::own, "disk is full").await;
}

/// What a quota or a failing disk does: the driver says something else than of a full one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_no_more_stops_writes_and_nothing_else_until_it_does() {
    // A process is told of its limit by a signal that would end it.
    let line = "trap '' XFSZ && exec \"$0\" \"$@\"";
    is_full_for_a_while(&["sh", "-c", line], Disk::limited, "disk I/O error").await;
}

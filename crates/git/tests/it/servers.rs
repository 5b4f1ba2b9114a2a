//! Servers of every age and size.

use std::fmt::Write as _;

use syncline_git::{Git, GitError, Limits, Settings};
use syncline_seams::Outside;
use syncline_testkit::git_host::Fault;
use syncline_testkit::repository::Change;

use crate::egress::Scripted;
use crate::hostile::commit_raw;
use crate::world::{KEY, Way, World, both_ways, branch, http, id, path, remote};

both_ways! {
    servers_without_protocol_v2_or_filters_work,
    an_old_server_keeps_commits_that_are_not_heads_to_itself,
    five_thousand_branches_and_tags_cost_nothing,
    a_listing_beyond_its_limit_is_cut_off,
    a_file_beyond_its_limit_is_refused_before_it_is_read,
    a_commit_beyond_the_limit_is_refused,
    repositories_of_sha_256_work_and_may_follow_one_of_sha_1,
    a_host_that_hangs_holds_up_nobody_but_itself,
}

async fn servers_without_protocol_v2_or_filters_work(way: Way) {
    for (protocol_v0, filter) in [(false, "false"), (true, "false"), (true, "true")] {
        let world = World::start_by(way).await;
        let repo = world.host.repository("acme/infra").await;
        repo.configure("uploadpack.allowFilter", filter).await;
        if protocol_v0 {
            repo.speak_only_v0();
        }
        for version in ["v1", "v2"] {
            let what = format!("v0: {protocol_v0}, filter: {filter}, {version}");
            repo.commit_files(&[("prod.yaml", version), ("other.yaml", version)]).await;
            let head = world.head(&http(&repo), "main").await.expect(&what).expect(&what);
            assert_eq!(world.head(&http(&repo), "gone").await, Ok(None), "{what}");
            world.git.fetch(&http(&repo), KEY, &head).await.expect(&what);
            for name in ["prod.yaml", "other.yaml"] {
                let read = world.read(&http(&repo), head.as_str(), name).await;
                assert_eq!(read.expect(&what), version.as_bytes(), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn an_old_server_that_gives_out_no_single_file_is_asked_for_all_of_a_commit_once() {
    let world = World::start_by(Way::Direct).await;
    let repo = world.host.repository("acme/infra").await;
    repo.speak_only_v0();
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        // Xorshift: does not compress.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    })
    .take(200_000)
    .collect();
    repo.change(&[Change::File("noise", &noise), Change::File("prod.yaml", b"v0")]).await;
    let mut answered = Vec::new();
    for version in ["v1", "v2"] {
        let commit = repo.commit_files(&[("prod.yaml", version), ("other.yaml", version)]).await;
        world.host.clear_log();
        assert_eq!(world.head(&http(&repo), "main").await, Ok(Some(id(&commit))));
        for name in ["prod.yaml", "other.yaml"] {
            let read = world.read(&http(&repo), &commit, name).await;
            assert_eq!(read.expect(version), version.as_bytes());
        }
        answered.push(world.host.requests().iter().map(|request| request.answered_bytes).sum::<usize>());
    }
    let whole = noise.len()..noise.len() + 10_000;
    assert!(whole.contains(&answered[0]) && answered[1] < 5_000, "{answered:?}");
}

async fn an_old_server_keeps_commits_that_are_not_heads_to_itself(way: Way) {
    let world = World::start_by(way).await;
    let repo = world.host.repository("acme/infra").await;
    repo.speak_only_v0();
    let old = repo.commit("prod.yaml", "v1").await;
    repo.commit("prod.yaml", "v2").await;
    let refused = world.git.fetch(&http(&repo), KEY, &id(&old)).await;
    assert_eq!(refused, Err(GitError::CommitGone { commit: old }));
}

async fn five_thousand_branches_and_tags_cost_nothing(way: Way) {
    let world = World::start_by(way).await;
    let repo = world.host.repository("acme/infra").await;
    let commit = repo.commit("prod.yaml", "v1").await;
    let mut refs = String::new();
    for number in 0..5_000 {
        let _ = writeln!(refs, "create refs/heads/topic-{number} {commit}");
        let _ = writeln!(refs, "create refs/tags/v{number} {commit}");
    }
    repo.served_git(&["update-ref", "--stdin"], refs.as_bytes()).await;
    world.host.clear_log();
    let asked = ["main", "topic-77", "nothing"].map(branch);
    let heads = world.git.heads(&http(&repo), &asked).await.expect("heads");
    assert_eq!(heads.into_keys().collect::<Vec<_>>(), ["main", "topic-77"].map(branch));
    let answered: usize = world.host.requests().iter().map(|request| request.answered_bytes).sum();
    assert!(answered < 4_000, "{answered} bytes for two branches");

    let all: Vec<_> = (0..600).map(|number| branch(&format!("topic-{number}"))).collect();
    assert_eq!(world.git.heads(&http(&repo), &all).await.expect("heads").len(), 600);
    assert_eq!(world.git.heads(&remote(&repo.file_url()), &all).await.expect("heads").len(), 600);
}

async fn a_listing_beyond_its_limit_is_cut_off(way: Way) {
    let limits = Limits { max_heads_bytes: 10_000, ..Limits::default() };
    let world = World::by(way, |settings| settings.limits = limits).await;
    let repo = world.host.repository("acme/infra").await;
    let commit = repo.commit("prod.yaml", "v1").await;
    let mut refs = String::new();
    for number in 0..2_000 {
        let _ = writeln!(refs, "create refs/heads/topic-{number} {commit}");
    }
    repo.served_git(&["update-ref", "--stdin"], refs.as_bytes()).await;
    let all: Vec<_> = (0..600).map(|number| branch(&format!("topic-{number}"))).collect();
    for remote in [http(&repo), remote(&repo.file_url())] {
        let cut = world.git.heads(&remote, &all).await;
        assert!(
            matches!(&cut, Err(GitError::Unavailable { message }) if message.contains("exceeds 10000 bytes")),
            "{cut:?}"
        );
    }
}

async fn a_file_beyond_its_limit_is_refused_before_it_is_read(way: Way) {
    let world = World::start_by(way).await;
    let repo = world.host.repository("acme/infra").await;
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        // Xorshift: does not compress.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    })
    .take(1_000_000)
    .collect();
    let zeros = vec![0; 5_000_000];
    let commit = repo.change(&[Change::File("noise", &noise), Change::File("zeros", &zeros)]).await;
    let read = async |name, limit| world.git.read(&http(&repo), KEY, &id(&commit), &path(name), limit).await;
    let too_large = |name, size, limit| Err(GitError::TooLarge { path: path(name), size, limit });
    assert_eq!(read("noise", 1_000).await, too_large("noise", None, 1_000));
    assert_eq!(read("zeros", 1_000).await, too_large("zeros", Some(5_000_000), 1_000));
    assert_eq!(read("zeros", 4_999_999).await, too_large("zeros", Some(5_000_000), 4_999_999));
    assert_eq!(read("zeros", 5_000_000).await.expect("at the limit"), zeros);
    assert_eq!(read("noise", 1_000_000).await.expect("at the limit"), noise);
    assert_eq!(read("noise", 999_999).await, too_large("noise", Some(1_000_000), 999_999));
    let left = std::fs::read_dir(world.cache().join("objects/pack")).expect("packs").filter_map(Result::ok);
    let left: Vec<_> = left.filter(|entry| entry.file_name().to_string_lossy().starts_with("tmp_")).collect();
    assert!(left.is_empty(), "{left:?}");
}

async fn a_commit_beyond_the_limit_is_refused(way: Way) {
    let limits = Limits { max_pack_bytes: 4_096, ..Limits::default() };
    let world = World::by(way, |settings| settings.limits = limits).await;
    let repo = world.host.repository("acme/infra").await;
    let names: Vec<_> = (0..500).map(|number| format!("stack-{number:03}/template-{number}.yaml")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    let commit = repo.commit_files(&files).await;
    let refused = world.git.fetch(&http(&repo), KEY, &id(&commit)).await;
    assert_eq!(refused, Err(GitError::CommitTooLarge { limit: 4_096 }));
}

async fn repositories_of_sha_256_work_and_may_follow_one_of_sha_1(way: Way) {
    let world = World::start_by(way).await;
    let repo = world.host.repository("acme/infra").await;
    let old = repo.commit("prod.yaml", "v1").await;
    assert_eq!(world.head(&http(&repo), "main").await, Ok(Some(id(&old))));
    assert_eq!(world.read(&http(&repo), &old, "prod.yaml").await.expect("sha-1"), b"v1");
    std::fs::remove_dir_all(repo.path()).expect("deleted");
    std::fs::create_dir(repo.path()).expect("made");
    let init = ["init", "--quiet", "--bare", "--object-format=sha256", "--initial-branch=main"];
    repo.served_git(&init, b"").await;
    repo.configure("uploadpack.allowFilter", "true").await;
    let new = commit_raw(&repo, "100644 blob BLOB\tprod.yaml\n").await;
    assert_eq!(new.len(), 64);
    for remote in [http(&repo), remote(&repo.file_url())] {
        assert_eq!(world.head(&remote, "main").await, Ok(Some(id(&new))));
        assert_eq!(world.read(&remote, &new, "prod.yaml").await.expect("sha-256"), b"../../etc/passwd");
    }
}

async fn a_host_that_hangs_holds_up_nobody_but_itself(way: Way) {
    let world = World::start_by(way).await;
    let slow = world.host.repository("slow/infra").await;
    let quick = world.host.repository("quick/infra").await;
    let commit = id(&quick.commit("prod.yaml", "v1").await);
    slow.fail(Fault::Hang);
    let mut settings = Settings::new(world.directory.path().join("other-cache"));
    settings.in_process = way.is_direct();
    settings.egress = world.egress().with_resolver(Scripted::new([Ok(vec!["127.0.0.1"])]));
    settings.limits = Limits { max_processes: 2, max_processes_per_host: 1, ..Limits::default() };
    let git = Git::new(settings, Outside::default());
    let port = world.host.address().port();
    let slow = remote(&format!("http://slow.example.test:{port}/slow/infra.git"));
    let quick = remote(&format!("http://quick.example.test:{port}/quick/infra.git"));
    let main = [branch("main")];
    let stuck =
        async { tokio::join!(git.heads(&slow, &main), git.heads(&slow, &main), git.heads(&slow, &main)) };
    let served = async {
        // The host has taken the first of them.
        while world.host.received() == 0 {
            tokio::task::yield_now().await;
        }
        git.heads(&quick, &main).await
    };
    tokio::select! {
        answers = stuck => panic!("the slow host hangs: {answers:?}"),
        heads = served => assert_eq!(heads.expect("heads").into_values().collect::<Vec<_>>(), [commit]),
    }
}

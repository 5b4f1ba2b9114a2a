//! Where remotes may be.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use syncline_git::{Egress, Git, GitError, Proxy, RemoteUrl, Resolve, Settings};
use syncline_seams::{Outside, Secret};
use syncline_testkit::proxy as testkit;

use crate::world::{KEY, Way, World, both_ways, branch, id, path, remote};

both_ways! {
    inner_addresses_are_refused_and_nothing_is_sent,
    plain_http_is_for_allowed_networks_only,
    a_name_is_resolved_once_and_the_address_checked_is_the_one_dialled,
    one_inner_address_among_public_ones_is_enough_to_refuse,
    a_proxy_is_used_when_the_operator_names_one,
    without_an_address_nothing_is_sent,
    file_remotes_stay_below_their_directories,
}

/// Answers what it was given, one answer a question, the last one for ever.
#[derive(Debug)]
pub(crate) struct Scripted {
    answers: Mutex<VecDeque<Result<Vec<IpAddr>, io::ErrorKind>>>,
    asked: Mutex<Vec<String>>,
}

impl Scripted {
    pub(crate) fn new(
        answers: impl IntoIterator<Item = Result<Vec<&'static str>, io::ErrorKind>>,
    ) -> Arc<Self> {
        let parse =
            |list: Vec<&str>| list.into_iter().map(|text| text.parse().expect("an address")).collect();
        let answers = answers.into_iter().map(|answer| answer.map(parse)).collect();
        Arc::new(Self { answers: Mutex::new(answers), asked: Mutex::default() })
    }
}

impl Resolve for Scripted {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        self.asked.lock().expect("not poisoned").push(host.to_owned());
        let mut answers = self.answers.lock().expect("not poisoned");
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Box::pin(async move { Ok(answer.expect("an answer")?) })
    }
}

fn git(world: &World, egress: Egress) -> Git {
    let mut settings = Settings::new(world.directory.path().join("other-cache"));
    settings.in_process = world.way.is_direct();
    settings.egress = egress;
    Git::new(settings, Outside::default())
}

async fn heads(git: &Git, url: &str) -> Result<usize, GitError> {
    git.heads(&remote(url), &[branch("main")]).await.map(|heads| heads.len())
}

async fn inner_addresses_are_refused_and_nothing_is_sent(way: Way) {
    let world = World::start_by(way).await;
    let repo = world.host.repository("acme/infra").await;
    repo.commit("a", "1").await;
    let git = git(&world, Egress::default());
    let port = world.host.address().port();
    let hosts = [
        "127.0.0.1",
        "127.1.2.3",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "localhost",
        "LOCALHOST",
        "0.0.0.0",
        "[::]",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:1::]",
        "[::ffff:169.254.169.254]",
        "255.255.255.255",
    ];
    for host in hosts {
        for scheme in ["http", "https"] {
            let refused = heads(&git, &format!("{scheme}://{host}:{port}/acme/infra.git")).await;
            assert!(
                matches!(refused, Err(GitError::RefusedByPolicy { .. })),
                "{scheme}://{host}: {refused:?}"
            );
        }
    }
    assert_eq!(world.host.requests(), []);
}

#[tokio::test]
async fn addresses_in_disguise_are_no_urls() {
    let hosts = [
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "017700000001",
        "127.1",
        "127.0.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "127.0.0.0x1",
        "1.2.3.4.5",
        "[::1",
        "::1",
        "[::1%25lo]",
        "[127.0.0.1]",
        "",
        ".",
        "a..b",
        "-a",
        "a b",
    ];
    for host in hosts {
        let refused = format!("http://{host}/acme/infra.git").parse::<RemoteUrl>();
        assert!(refused.is_err(), "{host}: {refused:?}");
    }
}

async fn plain_http_is_for_allowed_networks_only(way: Way) {
    let world = World::start_by(way).await;
    let git = git(&world, Egress::default());
    let refused = heads(&git, "http://1.1.1.1/acme/infra.git").await;
    assert!(
        matches!(&refused, Err(GitError::RefusedByPolicy { message }) if message.contains("plain http")),
        "{refused:?}"
    );
}

async fn a_name_is_resolved_once_and_the_address_checked_is_the_one_dialled(way: Way) {
    let world = World::start_by(way).await;
    let repo = world.host.repository("acme/infra").await;
    let commit = repo.commit("prod.yaml", "v1").await;
    let port = world.host.address().port();
    let url = format!("http://git.example.test:{port}/acme/infra.git");
    // The second answer would lead elsewhere; only the next call may see it, and refuses it.
    let resolver = Scripted::new([Ok(vec!["127.0.0.1"]), Ok(vec!["169.254.169.254"])]);
    let git = git(&world, world.egress().with_resolver(resolver.clone()));
    let read = git.read(&remote(&url), KEY, &id(&commit), &path("a"), 100).await;
    // One fetch, then nothing more to ask.
    assert!(matches!(read, Err(GitError::Missing { .. })), "{read:?}");
    assert_eq!(*resolver.asked.lock().expect("not poisoned"), ["git.example.test"]);
    let rebound = heads(&git, &url).await;
    assert!(matches!(rebound, Err(GitError::RefusedByPolicy { .. })), "{rebound:?}");
}

async fn one_inner_address_among_public_ones_is_enough_to_refuse(way: Way) {
    let world = World::start_by(way).await;
    for answer in [vec!["1.1.1.1", "127.0.0.1"], vec!["2606:4700::1111", "::ffff:10.0.0.1"]] {
        let git = git(&world, Egress::default().with_resolver(Scripted::new([Ok(answer)])));
        let refused = heads(&git, "https://git.example.test/acme/infra.git").await;
        assert!(matches!(refused, Err(GitError::RefusedByPolicy { .. })), "{refused:?}");
    }
}

async fn a_proxy_is_used_when_the_operator_names_one(way: Way) {
    let world = World::start_by(way).await;
    let repo = world.host.repository("acme/infra").await;
    let commit = id(&repo.commit("prod.yaml", "v1").await);
    let proxy = testkit::Proxy::start().await;
    proxy.require_login("syncline", "p@ss");
    let through = |egress: Egress, login: &str| {
        let proxy = Proxy::parse(&Secret::new(proxy.url(login))).expect("a proxy");
        git(&world, egress.through_proxy(proxy))
    };
    let logged_in = through(world.egress(), "syncline:p%40ss@");
    assert_eq!(heads(&logged_in, &repo.url()).await, Ok(1));
    let read = logged_in.read(&remote(&repo.url()), KEY, &commit, &path("prod.yaml"), 100).await;
    assert_eq!(read.expect("read"), b"v1");
    let asked = proxy.asked();
    // git asks again where it is told to log in.
    let (through_it, came) = (asked.len(), world.host.connections());
    let is_the_way = if way.is_direct() { through_it == came } else { through_it >= came };
    assert!(came > 0 && is_the_way, "nobody came by another way: {came} {asked:?}");
    let authority = world.host.address().to_string();
    assert!(asked.iter().all(|one| one.ends_with(&authority)), "{asked:?}");

    let before = world.host.connections();
    let told = heads(&through(world.egress(), "syncline:canary@"), &repo.url()).await;
    let Err(GitError::Unavailable { message }) = told else { panic!("{told:?}") };
    assert!(message.contains("407") && !message.contains("canary"), "{message}");
    let asked = proxy.asked().len();
    let refused = heads(&through(Egress::default(), ""), &repo.url()).await;
    assert!(matches!(refused, Err(GitError::RefusedByPolicy { .. })), "{refused:?}");
    let refused = heads(&through(world.egress(), ""), "http://git.example.test/a/b.git").await;
    assert!(matches!(refused, Err(GitError::RefusedByPolicy { .. })), "{refused:?}");
    assert_eq!((proxy.asked().len(), world.host.connections()), (asked, before));
}

async fn without_an_address_nothing_is_sent(way: Way) {
    let world = World::start_by(way).await;
    let port = world.host.address().port();
    for answer in [Ok(vec![]), Err(io::ErrorKind::TimedOut), Err(io::ErrorKind::NotFound)] {
        let git = git(&world, world.egress().with_resolver(Scripted::new([answer])));
        // git would find this name by itself.
        let refused = heads(&git, &format!("http://localhost:{port}/acme/infra.git")).await;
        assert!(matches!(refused, Err(GitError::Unavailable { .. })), "{refused:?}");
    }
    assert_eq!(world.host.requests(), []);
}

async fn file_remotes_stay_below_their_directories(way: Way) {
    let world = World::start_by(way).await;
    let repo = world.host.repository("acme/infra").await;
    repo.commit("a", "1").await;
    let served = world.host.directory();
    let inside = world.directory.path().join("allowed");
    std::fs::create_dir(&inside).expect("made");
    let real = world.directory.path().join("real");
    std::os::unix::fs::symlink(repo.path(), inside.join("escape.git")).expect("linked");
    std::os::unix::fs::symlink(&served, inside.join("owner")).expect("linked");
    for (name, target) in [("gitfile", None), ("gitlink", Some(repo.path()))] {
        std::fs::create_dir(inside.join(name)).expect("made");
        match target {
            None => {
                std::fs::write(inside.join(name).join(".git"), format!("gitdir: {}\n", repo.path().display()))
            }
            Some(target) => std::os::unix::fs::symlink(target, inside.join(name).join(".git")),
        }
        .expect("written");
    }
    std::os::unix::fs::symlink(&inside, &real).expect("linked");
    let file = |path: &std::path::Path| format!("file://{}", path.display());

    let git_inside = git(&world, Egress::new(Vec::new(), vec![inside.clone()]));
    let refused = [
        repo.path(),
        inside.join("escape.git"),
        inside.join("owner/acme/infra.git"),
        inside.join("gitfile"),
        inside.join("gitlink"),
        "/etc/passwd".into(),
        "/nowhere".into(),
        inside.join("../served"),
    ];
    for path in refused {
        // `..` is no url at all.
        let Ok(url) = file(&path).parse::<RemoteUrl>() else { continue };
        let outcome = heads(&git_inside, url.as_str()).await;
        assert!(matches!(outcome, Err(GitError::RefusedByPolicy { .. })), "{}: {outcome:?}", path.display());
    }
    let missing = heads(&git_inside, &file(&inside.join("missing.git"))).await;
    assert!(matches!(missing, Err(GitError::RepositoryNotFound { .. })), "{missing:?}");

    let git_served = git(&world, Egress::new(Vec::new(), vec![served]));
    assert_eq!(heads(&git_served, &repo.file_url()).await, Ok(1));
    let git_nothing = git(&world, Egress::default());
    let refused = heads(&git_nothing, &repo.file_url()).await;
    assert!(matches!(refused, Err(GitError::RefusedByPolicy { .. })), "{refused:?}");
    // An allowed directory may itself be a link.
    let linked = git(&world, Egress::new(Vec::new(), vec![real.clone(), world.host.directory()]));
    assert_eq!(heads(&linked, &repo.file_url()).await, Ok(1));
}

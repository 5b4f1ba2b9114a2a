//! Private certificate authorities: trusted for the remote that names them, beside the machine's roots.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use syncline_git::{Credential, Git, GitError, Remote, Settings};
use syncline_seams::{Outside, Secret};
use syncline_testkit::git_host::GitHost;
use syncline_testkit::proxy::Proxy;

use crate::egress::Scripted;
use crate::world::{KEY, Way, both_ways, branch, id, path, remote};

both_ways! {
    a_private_authority_is_trusted_for_its_remote_alone,
    a_private_authority_is_trusted_through_a_proxy,
    wrong_certificates_are_refused,
    what_is_no_certificate_is_refused_before_anything_is_sent,
}

const NAME: &str = "git.example.test";

/// A certificate authority of our own.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Starts a host with a certificate for `name` that ends with the year `until`.
    async fn host(&self, name: &str, until: i32) -> GitHost {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 12, 31);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        GitHost::start_tls(&certificate.pem(), &key.serialize_pem()).await
    }
}

fn git(way: Way, directory: &tempfile::TempDir, host: &GitHost) -> Git {
    let mut settings = Settings::new(directory.path());
    settings.in_process = way.is_direct();
    let egress =
        syncline_git::Egress::new(vec!["127.0.0.1".parse().expect("a network")], vec![host.directory()]);
    settings.egress = egress.with_resolver(Scripted::new([Ok(vec!["127.0.0.1"])]));
    Git::new(settings, Outside::default())
}

fn named(host: &GitHost, extra_root: Option<&str>) -> Remote {
    let url = format!("https://{NAME}:{}/acme/infra.git", host.address().port());
    Remote { extra_root_pem: extra_root.map(str::to_owned), ..remote(&url) }
}

async fn a_private_authority_is_trusted_for_its_remote_alone(way: Way) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let authority = Authority::new();
    let host = authority.host(NAME, 2100).await;
    let repo = host.repository("acme/infra").await;
    let commit = id(&repo.commit("prod.yaml", "v1").await);
    let git = git(way, &directory, &host);
    let trusting = named(&host, Some(&authority.pem));
    let heads = git.heads(&trusting, &[branch("main")]).await.expect("heads");
    assert_eq!(heads.get(&branch("main")), Some(&commit));
    let read = git.read(&trusting, KEY, &commit, &path("prod.yaml"), 100).await;
    assert_eq!(read.expect("read"), b"v1");

    let doubting = git.heads(&named(&host, None), &[branch("main")]).await;
    assert!(matches!(doubting, Err(GitError::Unavailable { .. })), "{doubting:?}");
}

/// The proxy alone knows where the host is, and sees neither the credential nor what is said.
async fn a_private_authority_is_trusted_through_a_proxy(way: Way) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let authority = Authority::new();
    let host = authority.host(NAME, 2100).await;
    let repo = host.repository("acme/infra").await;
    let commit = id(&repo.commit("prod.yaml", "v1").await);
    repo.require_login("git", "t0ken");
    let proxy = Proxy::start().await;
    proxy.lead(&format!("{NAME}:{}", host.address().port()), host.address());
    let mut settings = Settings::new(directory.path());
    settings.in_process = way.is_direct();
    let by = syncline_git::Proxy::parse(&Secret::new(proxy.url(""))).expect("a proxy");
    // Nobody resolves anything here.
    settings.egress = syncline_git::Egress::default()
        .with_resolver(Scripted::new([Err(std::io::ErrorKind::NotFound)]))
        .through_proxy(by);
    let git = Git::new(settings, Outside::default());
    let credential = Credential { username: "git".to_owned(), password: Secret::new("t0ken") };
    let trusting = Remote { credential: Some(credential), ..named(&host, Some(&authority.pem)) };
    let heads = git.heads(&trusting, &[branch("main")]).await.expect("heads");
    assert_eq!(heads.get(&branch("main")), Some(&commit));
    let read = git.read(&trusting, KEY, &commit, &path("prod.yaml"), 100).await;
    assert_eq!(read.expect("read"), b"v1");
    let asked = proxy.asked();
    assert!(!asked.is_empty() && asked.iter().all(|one| one.starts_with("CONNECT ")), "{asked:?}");
    let doubting = Remote { extra_root_pem: None, ..trusting };
    let doubting = git.heads(&doubting, &[branch("main")]).await;
    assert!(matches!(doubting, Err(GitError::Unavailable { .. })), "{doubting:?}");
}

async fn wrong_certificates_are_refused(way: Way) {
    let authority = Authority::new();
    let another = Authority::new();
    let cases = [
        ("another host's name", authority.host("other.example.test", 2100).await, &authority),
        ("expired", authority.host(NAME, 2001).await, &authority),
        ("another authority", authority.host(NAME, 2100).await, &another),
    ];
    for (what, host, trusted) in cases {
        let directory = tempfile::tempdir().expect("a temporary directory");
        host.repository("acme/infra").await.commit("a", "1").await;
        let remote = named(&host, Some(&trusted.pem));
        let refused = git(way, &directory, &host).heads(&remote, &[branch("main")]).await;
        assert!(
            matches!(&refused, Err(GitError::Unavailable { message }) if message.contains("certificate")),
            "{what}: {refused:?}"
        );
        assert_eq!(host.requests(), [], "{what}");
    }
}

async fn what_is_no_certificate_is_refused_before_anything_is_sent(way: Way) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let host = Authority::new().host(NAME, 2100).await;
    let refused =
        git(way, &directory, &host).heads(&named(&host, Some("not a pem")), &[branch("main")]).await;
    assert!(matches!(refused, Err(GitError::Internal { .. })), "{refused:?}");
    assert_eq!(host.requests(), []);
}

#[tokio::test]
async fn our_own_connection_is_kept_for_those_who_trust_the_same() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let authority = Authority::new();
    let host = authority.host(NAME, 2100).await;
    host.repository("acme/infra").await.commit("prod.yaml", "v1").await;
    let mut settings = Settings::new(directory.path());
    settings.program = "/nowhere/git".into();
    settings.egress = syncline_git::Egress::new(vec!["127.0.0.1".parse().expect("a network")], Vec::new())
        .with_resolver(Scripted::new([Ok(vec!["127.0.0.1"])]));
    let git = Git::new(settings, Outside::default());
    let heads = async |extra_root| git.heads(&named(&host, extra_root), &[branch("main")]).await;
    for _ in 0..2 {
        assert_eq!(heads(Some(&authority.pem)).await.expect("heads").len(), 1);
    }
    assert_eq!((host.connections(), host.requests().len()), (1, 3));
    let others = [Authority::new().pem, format!("{}{}", Authority::new().pem, authority.pem)];
    let doubting = [heads(None).await, heads(Some(&others[0])).await];
    // Who is not trusted by us is left to git, which is not there.
    for refused in doubting {
        assert!(matches!(refused, Err(GitError::Internal { .. })), "{refused:?}");
    }
    assert_eq!((host.connections(), host.requests().len()), (3, 3));
    assert_eq!(heads(Some(&others[1])).await.expect("heads").len(), 1);
    assert_eq!(host.connections(), 4);
}

/// rustls takes no authority for a server, git does.
#[tokio::test]
async fn a_server_that_is_its_own_authority_is_left_to_git() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let pem = params.self_signed(&key).expect("a certificate").pem();
    let host = GitHost::start_tls(&pem, &key.serialize_pem()).await;
    host.repository("acme/infra").await.commit("prod.yaml", "v1").await;
    let git = git(Way::Direct, &directory, &host);
    assert_eq!(git.heads(&named(&host, Some(&pem)), &[branch("main")]).await.expect("heads").len(), 1);
}

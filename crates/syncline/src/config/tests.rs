//! What is settled of which settings.

use super::*;

fn settle(args: ServeArgs) -> Result<Config, String> {
    args.settle().map_err(|error| format!("{error:#}"))
}

#[test]
fn the_defaults_are_those_of_the_interfaces_table() {
    let config = settle(ServeArgs::default()).expect("valid");
    assert_eq!(config.listen.to_string(), "127.0.0.1:7962");
    assert_eq!(config.admin_listen.to_string(), "127.0.0.1:7963");
    assert!(config.data_dir.ends_with("syncline-data"));
    assert_eq!(config.poll_interval, Duration::from_secs(60));
    assert!(!config.simulate_cloudformation);
}

#[test]
fn flags_beat_the_file_and_unknown_keys_are_errors() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("syncline.toml");
    std::fs::write(&path, "listen = '127.0.0.1:1'\npoll_interval = '5m'\n[quotas]\nhosts = 7\n")
        .expect("write");
    let args = || ServeArgs { config: Some(path.clone()), ..ServeArgs::default() };
    let config = settle(args()).expect("valid");
    assert_eq!((config.listen.port(), config.quotas.hosts), (1, 7));
    assert_eq!(config.poll_interval, Duration::from_secs(300));
    let config = settle(ServeArgs { listen: "127.0.0.1:2".parse().ok(), ..args() }).expect("valid");
    assert_eq!(config.listen.port(), 2);
    std::fs::write(&path, "simulate_cloudformation = true\n").expect("write");
    assert!(settle(args()).expect("valid").simulate_cloudformation);
    let off = ServeArgs { simulate_cloudformation: Some(false), ..args() };
    assert!(!settle(off).expect("valid").simulate_cloudformation);

    for bad in [
        "lisen = '127.0.0.1:1'",
        "[quotas]\nhost = 1",
        "allow_network = ['x']",
        "trusted_proxy = ['10.0.0.0/33']",
        "poll_interval = '5 parsecs'",
        "[limits]\nrequests = 1",
        "[limits]\nsource_burst = -1",
        "[limits]\nconnections = 0",
        "[limits]\nheader_bytes = 8191",
        "[limits]\nidle_time = 60",
        "[limits]\nidle_time = '1 ms'",
        "[concurrency]\nsyncs = 0",
        "[concurrency]\nstacks = 1",
    ] {
        std::fs::write(&path, bad).expect("write");
        assert!(settle(args()).is_err(), "{bad}");
    }
}

#[test]
fn the_file_changes_each_limit_by_name() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("syncline.toml");
    std::fs::write(&path, "[limits]\naccount_writes_per_second = 0\nheader_time = '500ms'\n").expect("write");
    let config = settle(ServeArgs { config: Some(path), ..ServeArgs::default() }).expect("valid");
    let header_time = Duration::from_millis(500);
    assert_eq!(config.limits, Limits { account_writes_per_second: 0, header_time, ..Limits::default() });
    let untouched = settle(ServeArgs::default()).expect("valid").limits;
    assert_eq!(untouched, Limits::default());
}

#[test]
fn refused_combinations_say_why() {
    let check = |args: ServeArgs, part: &str| {
        let error = settle(args).expect_err(part);
        assert!(error.contains(part), "{error}");
    };
    let base = ServeArgs::default;
    check(ServeArgs { listen: "0.0.0.0:80".parse().ok(), ..base() }, "--insecure-http");
    check(ServeArgs { admin_listen: "[::]:80".parse().ok(), ..base() }, "--admin-listen [::]:80");
    let certificate = || Some(PathBuf::from("cert.pem"));
    check(ServeArgs { tls_cert: certificate(), ..base() }, "--tls-cert and --tls-key");
    check(ServeArgs { tls_key: certificate(), ..base() }, "--tls-cert and --tls-key");
    let url = |url: &str| Some(Secret::new(url));
    check(ServeArgs { database_url: url("mysql:x"), ..base() }, "--database-url");
    check(ServeArgs { database_url: url("mysql:x"), ..base() }, "sqlite: or postgres:");
    check(ServeArgs { allow_role_account: vec!["1=2".into()], ..base() }, "--allow-role-account 1=2");
    let id = Some("AK".to_owned());
    check(ServeArgs { first_key: FirstKey { id, ..FirstKey::default() }, ..base() }, "together");
    let error = settle(ServeArgs { database_url: url("postgres://u:canary@h/d?canary=1"), ..base() });
    assert!(!error.expect_err("refused").contains("canary"));
}

#[test]
fn other_than_loopback_needs_tls_or_a_word_that_it_does_not() {
    let args = || ServeArgs {
        listen: "0.0.0.0:443".parse().ok(),
        admin_listen: "0.0.0.0:444".parse().ok(),
        ..ServeArgs::default()
    };
    let file = |name: &str| Some(PathBuf::from(name));
    let config = settle(ServeArgs { tls_cert: file("cert"), tls_key: file("key"), ..args() });
    let files = TlsFiles { certificate: "cert".into(), key: "key".into() };
    assert_eq!(config.expect("valid").tls, Some(files));
    assert_eq!(settle(ServeArgs { insecure_http: Some(true), ..args() }).expect("valid").tls, None);
}

#[test]
fn a_database_is_a_file_or_a_server_whose_password_is_never_printed() {
    let args = || ServeArgs {
        database_url: Some(Secret::new("postgres://u:canary@localhost/d")),
        ..ServeArgs::default()
    };
    assert!(!format!("{:?}", args()).contains("canary"));
    let config = settle(args()).expect("valid");
    assert!(config.database.is_postgres());
    let printed = format!("{config:?} {}", config.database);
    assert!(printed.contains("postgres://localhost/d") && !printed.contains("canary"), "{printed}");
    assert!(!settle(ServeArgs::default()).expect("valid").database.is_postgres());

    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("syncline.toml");
    let with = |text: &str| {
        std::fs::write(&path, text).expect("write");
        settle(ServeArgs { config: Some(path.clone()), ..ServeArgs::default() })
    };
    let config = with("database_url = 'postgres://localhost/d'\ndatabase_connections = 4").expect("valid");
    assert!(config.database.is_postgres());
    let refused = with("database_connections = 1").expect_err("too few");
    assert!(refused.contains("from 2 to 1000"), "{refused}");
}

#[test]
fn a_proxy_s_password_is_never_printed() {
    let args = |url: &str| ServeArgs { egress_proxy: Some(Secret::new(url)), ..ServeArgs::default() };
    let given = args("http://me:canary@proxy.example.com:3128");
    assert!(!format!("{given:?}").contains("canary"));
    let config = settle(given).expect("valid");
    let printed = format!("{config:?}");
    assert!(printed.contains("proxy.example.com:3128") && !printed.contains("canary"), "{printed}");
    let refused = settle(args("ftp://me:canary@proxy.example.com")).expect_err("refused");
    assert!(refused.starts_with("--egress-proxy: ") && !refused.contains("canary"), "{refused}");
}

#[test]
fn the_first_keys_secret_is_never_printed() {
    let first_key = FirstKey {
        id: Some("AK".to_owned()),
        secret: Some(Secret::new("canary")),
        account: "123456789012".parse().ok(),
    };
    let args = ServeArgs { first_key, ..ServeArgs::default() };
    assert!(!format!("{args:?}").contains("canary"));
    let config = settle(args).expect("valid");
    assert!(!format!("{config:?}").contains("canary"), "{config:?}");
    assert_eq!(config.root_account.expect("given").as_str(), "123456789012");
}

#[test]
fn the_file_keyring_is_in_the_data_directory_unless_said_otherwise() {
    let data_dir = Some(PathBuf::from("/var/lib/syncline"));
    let config = settle(ServeArgs { data_dir, ..ServeArgs::default() }).expect("valid");
    let KeyringSource::File(path) = config.keyring else { panic!("{:?}", config.keyring) };
    assert_eq!(path, Path::new("/var/lib/syncline/keyring"));
}

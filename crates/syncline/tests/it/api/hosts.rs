//! What a host may be, and what a connection is made of.

use serde_json::{Value, json};
use syncline_git::Proxy;
use syncline_seams::Secret;

use super::client::Server;
use super::scene::{Scene, text};

fn host(provider_type: &str, endpoint: &str) -> Value {
    json!({"Name": "forge", "ProviderType": provider_type, "ProviderEndpoint": endpoint})
}

#[tokio::test]
async fn an_endpoint_is_a_public_url_without_secrets() {
    let server = Server::start().await;
    let client = server.client();
    for good in [
        "https://git.example.com",
        "https://git.example.com/",
        "https://git.example.com:8443/scm",
        "https://93.184.216.34",
        "https://[2606:2800:220:1::1]:8443/git",
        "http://git.example.com",
    ] {
        let made = client.ok("CreateHost", host("Git", good)).await;
        let got = client.ok("GetHost", json!({"HostArn": made["HostArn"]})).await;
        assert_eq!(got["ProviderEndpoint"], good, "as it was given");
        client.ok("UpdateHost", json!({"HostArn": made["HostArn"], "ProviderEndpoint": good})).await;
    }
    let made = client.ok("CreateHost", host("Git", "https://git.example.com")).await;
    for (bad, why) in [
        ("https://127.0.0.1", "127.0.0.1 is not a public address"),
        ("https://127.0.0.1:3000/git", "127.0.0.1 is not a public address"),
        ("https://169.254.169.254", "169.254.169.254 is not a public address"),
        ("https://10.0.0.1", "10.0.0.1 is not a public address"),
        ("https://192.168.1.1", "192.168.1.1 is not a public address"),
        ("https://0.0.0.0", "0.0.0.0 is not a public address"),
        ("https://[::1]", "::1 is not a public address"),
        ("https://[::ffff:127.0.0.1]", "::ffff:127.0.0.1 is not a public address"),
        ("https://[fe80::1]:443", "fe80::1 is not a public address"),
        ("https://[fd00:ec2::254]", "fd00:ec2::254 is not a public address"),
        ("https://2130706433", "its host must be a name or an address in full"),
        ("https://0x7f.1", "its host must be a name or an address in full"),
        ("https://127.1", "its host must be a name or an address in full"),
        ("https://0177.0.0.1", "its host must be a name or an address in full"),
        ("https://user@git.example.com", "it must not name a user"),
        ("https://user:secret@git.example.com", "it must not name a user"),
        ("https://git.example.com?x=y", "it must have no query"),
        ("https://git.example.com#x", "it must have no query"),
        ("https://git.example.com/../x", "no part of its path may be"),
        ("https://git.example.com/%2e%2e/x", "no part of its path may be"),
        ("https://git.example.com:0", "its port must be a number"),
        ("https://git.example.com:99999", "its port must be a number"),
        ("ssh://git:secret@git.example.com", "its user must be"),
        ("ssh://git@127.0.0.1", "127.0.0.1 is not a public address"),
        ("git@169.254.169.254:", "169.254.169.254 is not a public address"),
        ("git:secret@git.example.com:", "it must begin with https://"),
        ("git://git.example.com", "it must begin with https://"),
        ("ext::sh -c id", "it must hold only visible ASCII"),
        ("--upload-pack=touch", "it must begin with https://"),
        ("git.example.com", "it must begin with https://"),
        ("https://", "it must begin with https://"),
        ("file:///etc", "is in no directory for file remotes (--allow-file-remotes)"),
        ("file:///", "it must begin with https://"),
        ("file://host/etc", "a file url must have no host"),
    ] {
        let (code, message) = client.refused("CreateHost", host("Git", bad)).await;
        assert_eq!(code, "ValidationException", "{bad}");
        assert!(message.starts_with("ProviderEndpoint: ") && message.contains(why), "{bad}: {message}");
        assert!(!message.contains("secret"), "{message}");
        let update = json!({"HostArn": made["HostArn"], "ProviderEndpoint": bad});
        client.refuses("UpdateHost", update, &code, &message).await;
    }
}

#[tokio::test]
async fn the_operator_admits_networks_and_directories() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let inside = directory.path().join("inside");
    std::fs::create_dir(&inside).expect("made");
    let server = Server::with(|config| {
        config.allow_network = vec!["10.0.0.0/8".parse().expect("a network")];
        config.allow_file_remotes = vec![inside.clone()];
    })
    .await;
    let client = server.client();
    client.ok("CreateHost", host("Git", "https://10.1.2.3")).await;
    client.ok("CreateHost", host("Git", &format!("file://{}", inside.display()))).await;
    client.ok("CreateHost", host("Git", &format!("file://{}/below", inside.display()))).await;
    for outside in [
        format!("file://{}", directory.path().display()),
        format!("file://{}-beside", inside.display()),
        "file:///etc".to_owned(),
    ] {
        let (code, message) = client.refused("CreateHost", host("Git", &outside)).await;
        assert_eq!(code, "ValidationException", "{message}");
        assert!(message.contains("is in no directory for file remotes"), "{message}");
    }
    let file = format!("file://{}", inside.display());
    let (code, message) = client.refused("CreateHost", host("Gitea", &file)).await;
    assert_eq!(code, "ValidationException");
    assert_eq!(message, "ProviderEndpoint: file:// remotes are for hosts of ProviderType Git only");
    let (_, message) = client.refused("CreateHost", host("Git", "https://11.0.0.1:99999")).await;
    assert!(message.contains("its port must be a number"), "{message}");
    let (_, message) = client.refused("CreateHost", host("Git", "https://192.168.0.1")).await;
    assert!(message.contains("192.168.0.1 is not a public address"), "{message}");
}

#[tokio::test]
async fn behind_an_egress_proxy_no_host_is_reached_by_ssh() {
    let proxy = Proxy::parse(&Secret::new("http://127.0.0.1:9")).expect("a proxy");
    let server = Server::with(|config| config.egress_proxy = Some(proxy)).await;
    let client = server.client();
    for endpoint in ["ssh://git@git.example.com", "git@git.example.com:", "ssh://git@93.184.216.34:2222/srv"]
    {
        let (code, message) = client.refused("CreateHost", host("Git", endpoint)).await;
        assert_eq!(code, "ValidationException", "{message}");
        assert!(message.contains("(--egress-proxy): give the repository's https:// URL"), "{message}");
    }
    client.ok("CreateHost", host("Git", "https://git.example.com")).await;
}

#[tokio::test]
async fn self_managed_types_have_hosts_and_the_others_have_none() {
    let server = Server::start().await;
    let client = server.client();
    let invalid = async |operation: &str, input: Value, message: &str| {
        client.refuses(operation, input, "ValidationException", message).await;
    };
    for provider_type in ["GitHubEnterpriseServer", "GitLabSelfManaged", "Gitea", "Git"] {
        let made = client.ok("CreateHost", host(provider_type, "https://git.example.com")).await;
        let name = format!("on {provider_type}");
        let on_it = json!({"ConnectionName": name, "HostArn": made["HostArn"]});
        client.ok("CreateConnection", on_it).await;
        let message = format!(
            "ProviderType {provider_type} is self-managed: create a host of it and give its HostArn instead"
        );
        invalid("CreateConnection", json!({"ConnectionName": "x", "ProviderType": provider_type}), &message)
            .await;
        let message = "Exactly one of ProviderType and HostArn must be given; both are";
        let both = json!({"ConnectionName": "x", "ProviderType": provider_type, "HostArn": made["HostArn"]});
        invalid("CreateConnection", both, message).await;
    }
    for provider_type in ["GitHub", "GitLab", "Bitbucket", "AzureDevOps"] {
        let message = format!(
            "ProviderType {provider_type} is not self-managed: create a connection of it without a host"
        );
        invalid("CreateHost", host(provider_type, "https://git.example.com"), &message).await;
        let on_none = json!({"ConnectionName": provider_type, "ProviderType": provider_type});
        client.ok("CreateConnection", on_none).await;
        let message =
            format!("A connection named '{provider_type}' already exists in this account and region");
        let again = json!({"ConnectionName": provider_type, "ProviderType": "GitHub"});
        invalid("CreateConnection", again, &message).await;
    }
    let message = "Exactly one of ProviderType and HostArn must be given; neither is";
    invalid("CreateConnection", json!({"ConnectionName": "x"}), message).await;
}

#[tokio::test]
async fn a_host_s_name_may_be_anything_and_need_not_be_its_own() {
    let server = Server::start().await;
    let client = server.client();
    let mut arns = std::collections::BTreeSet::new();
    for name in ["forge", "forge", "My forge: a/b", "Sch\u{f6}n", &"x".repeat(64)] {
        let mut input = host("Git", "https://git.example.com");
        input["Name"] = name.into();
        let arn = text(&client.ok("CreateHost", input).await, "/HostArn");
        assert_eq!(client.ok("GetHost", json!({"HostArn": arn})).await["Name"], name);
        arns.insert(arn);
    }
    assert_eq!(arns.len(), 5);
    for arn in arns {
        client.ok("DeleteHost", json!({"HostArn": arn})).await;
    }
}

#[tokio::test]
async fn tags_of_a_creation_are_checked_whatever_is_created() {
    let scene = Scene::new().await;
    let client = scene.client();
    let inputs = [
        ("CreateHost", host("Git", "https://git.example.com"), "ValidationException"),
        ("CreateConnection", json!({"ConnectionName": "x", "ProviderType": "GitHub"}), "ValidationException"),
        (
            "CreateRepositoryLink",
            json!({"ConnectionArn": scene.connection, "OwnerId": "acme", "RepositoryName": "x"}),
            "InvalidInputException",
        ),
    ];
    let tag = |key: &str| json!({"Key": key, "Value": "v"});
    for (operation, mut input, code) in inputs {
        for key in ["aws:cloudformation:stack-name", "AWS:x", "aws:"] {
            input["Tags"] = json!([tag("fine"), tag(key)]);
            let message = format!(
                "1 validation error detected: Value '{key}' at 'tags.2.member.key' failed to satisfy constraint: \
                 Member must not begin with aws:"
            );
            client.refuses(operation, input.clone(), code, &message).await;
        }
        input["Tags"] = json!([tag("a"), tag("b"), tag("a")]);
        let message = "1 validation error detected: Value 'a' at 'tags.3.member.key' failed to satisfy constraint: \
                       Member must not be given twice";
        client.refuses(operation, input.clone(), code, message).await;
        // Keys differ by their case, and 200 of them are the most.
        input["Tags"] = (0..198).map(|n| tag(&n.to_string())).chain([tag("a"), tag("A")]).collect();
        client.ok(operation, input).await;
    }
}

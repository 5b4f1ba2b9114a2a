//! The standard AWS chain reads the process's environment, so each case is a process of its own: this test
//! binary again, with nothing in its environment but what the case puts there.

use std::process::Stdio;
use std::sync::Arc;

use syncline_seams::{Outside, VirtualClock};
use syncline_targets::{AwsSource, CloudFormation, Settings, Target};

use crate::stub::{Reply, START_MS, Stub, access};

const CHILD: &str = "SYNCLINE_TEST_CHILD";

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "tells the child from the parent")]
async fn the_standard_chain_is_read_and_proxies_are_not() {
    if std::env::var_os(CHILD).is_some() {
        return describe_by_the_chain().await;
    }
    const KEY: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIACHAIN"), ("AWS_SECRET_ACCESS_KEY", "canary")];

    let cloudformation = Stub::start().await;
    let sts = Stub::start().await;
    for stub in [&cloudformation, &sts] {
        stub.assumable().reply("DescribeStacks", Reply::ok("DescribeStacks", "<Stacks/>"));
    }

    // One endpoint for all, the sync's own region, and a proxy that would break everything.
    let vars = [("AWS_ENDPOINT_URL", cloudformation.url.as_str()), ("HTTP_PROXY", "http://127.0.0.1:1")];
    assert_eq!(child(&[&KEY[..], &vars[..]].concat()).await, "Ok(None)");
    assert_eq!(cloudformation.actions(), ["AssumeRole", "DescribeStacks"]);
    let signed = &cloudformation.requests()[0].headers["authorization"];
    assert!(signed.contains("Credential=AKIACHAIN/20261123/eu-west-1/sts/"), "{signed}");

    // An endpoint for each, and a region of our own, which is STS's.
    cloudformation.reply("DescribeStacks", Reply::ok("DescribeStacks", "<Stacks/>"));
    let vars = [
        ("AWS_ENDPOINT_URL_CLOUDFORMATION", cloudformation.url.as_str()),
        ("AWS_ENDPOINT_URL_STS", sts.url.as_str()),
        ("AWS_REGION", "us-east-2"),
    ];
    assert_eq!(child(&[&KEY[..], &vars[..]].concat()).await, "Ok(None)");
    assert_eq!((sts.actions(), cloudformation.actions().len()), (vec!["AssumeRole".to_owned()], 3));
    assert!(sts.last().headers["authorization"].contains("/us-east-2/sts/"));
    assert!(cloudformation.last().headers["authorization"].contains("/eu-west-1/cloudformation/"));

    // No credentials anywhere.
    let vars = [("AWS_ENDPOINT_URL", cloudformation.url.as_str()), ("AWS_EC2_METADATA_DISABLED", "true")];
    let told = child(&vars).await;
    assert!(told.contains("Unavailable") && told.contains("NoCredentials"), "{told}");
    assert_eq!(cloudformation.actions().len(), 3);

    // A credential process that says too much on its way down.
    let home = std::env::temp_dir().join(format!("syncline-targets-chain-{}", std::process::id()));
    std::fs::create_dir_all(&home).expect("a directory");
    let config = home.join("config");
    std::fs::write(
        &config,
        "[default]\ncredential_process = /bin/sh -c 'echo wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY >&2; exit 1'\n",
    )
    .expect("written");
    let vars = [("AWS_CONFIG_FILE", config.to_str().expect("UTF-8")), ("AWS_EC2_METADATA_DISABLED", "true")];
    let told = child(&vars).await;
    std::fs::remove_dir_all(&home).expect("removed");
    assert!(told.contains("NoCredentials") && !told.contains("wJalr"), "{told}");
}

/// What the child answered, which is the end of its output.
async fn child(vars: &[(&str, &str)]) -> String {
    let program = std::env::current_exe().expect("this program");
    let output = tokio::process::Command::new(program)
        .args(["--exact", "chain::the_standard_chain_is_read_and_proxies_are_not", "--nocapture"])
        .env_clear()
        .env("HOME", "/nonexistent")
        .env(CHILD, "1")
        .envs(vars.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("the child ran");
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer =
        output.lines().find_map(|line| line.split_once("ANSWER ")).map(|(_, answer)| answer.to_owned());
    answer.unwrap_or_else(|| panic!("no answer in: {output}"))
}

async fn describe_by_the_chain() {
    let clock = Arc::new(VirtualClock::starting_at(START_MS));
    let target = CloudFormation::new(AwsSource::Chain, Outside::default(), clock, Settings::default()).await;
    println!("ANSWER {:?}", target.describe_stack(&access(), "web").await);
}

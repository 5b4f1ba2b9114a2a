//! AWS behind an HTTP proxy that the operator names.

use std::sync::Arc;

use syncline_seams::{Outside, Secret, VirtualClock};
use syncline_targets::{AwsSource, CloudFormation, Proxy, Settings, Target, TargetError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::stub::{Reply, START_MS, Stub, access};

async fn behind(proxy: &str, endpoint_url: &str) -> CloudFormation {
    let source = AwsSource::Fixed {
        endpoint_url: endpoint_url.to_owned(),
        access_key_id: "AKIAPROXY".to_owned(),
        secret_access_key: Secret::new("secret"),
    };
    let proxy = Proxy::parse(&Secret::new(proxy)).expect("a proxy");
    assert!(!format!("{proxy:?}").contains("canary"));
    let settings = Settings { proxy: Some(proxy), ..Settings::default() };
    CloudFormation::new(source, Outside::default(), Arc::new(VirtualClock::starting_at(START_MS)), settings)
        .await
}

#[tokio::test]
async fn aws_is_called_through_the_proxy_and_this_machine_without() {
    let stub = Stub::start().await;
    for _ in 0..2 {
        stub.assumable().reply("DescribeStacks", Reply::ok("DescribeStacks", "<Stacks/>"));
    }
    // The stub answers for whatever it is asked; only the proxy knows that name.
    let proxy = stub.url.replace("http://", "http://me:canary%40@");
    let target = behind(&proxy, "http://aws.example.test").await;
    assert!(matches!(target.describe_stack(&access(), "web").await, Ok(None)));
    let headers = stub.last().headers;
    assert_eq!(headers["host"], "aws.example.test");
    assert_eq!(headers["proxy-authorization"], "Basic bWU6Y2FuYXJ5QA==");

    let target = behind("http://127.0.0.1:1", &stub.url).await;
    assert!(matches!(target.describe_stack(&access(), "web").await, Ok(None)));
}

#[tokio::test]
async fn tls_goes_through_a_tunnel_and_a_refused_one_is_told_of() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let proxy = format!("http://me:canary@{}", listener.local_addr().expect("an address"));
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert!(stream.read_buf(&mut head).await.expect("more") > 0);
        }
        let answer = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.expect("answered");
        String::from_utf8(head).expect("text")
    });
    let target = behind(&proxy, "https://aws.example.test").await;
    let refused = target.describe_stack(&access(), "web").await.expect_err("no way");
    assert!(matches!(refused, TargetError::Unavailable { .. }), "{refused:?}");
    assert!(!format!("{refused:?}").contains("canary"), "{refused:?}");
    let asked = asked.await.expect("asked");
    assert!(asked.starts_with("CONNECT aws.example.test:443 HTTP/1.1\r\n"), "{asked}");
}

//! Tags of connections, hosts and repository links.

use serde_json::{Value, json};
use syncline_wire::Service;

use super::client::Client;
use super::scene::{Scene, but, connection, link_arn, respelled, text};

fn tag(key: &str, value: &str) -> Value {
    json!({"Key": key, "Value": value})
}

async fn listed(client: Client<'_>, arn: &str) -> Value {
    client.ok("ListTagsForResource", json!({"ResourceArn": arn})).await["Tags"].clone()
}

async fn tagged(client: Client<'_>, arn: &str, tags: Value) {
    client.ok("TagResource", json!({"ResourceArn": arn, "Tags": tags})).await;
}

async fn untagged(client: Client<'_>, arn: &str, keys: Value) {
    client.ok("UntagResource", json!({"ResourceArn": arn, "TagKeys": keys})).await;
}

#[tokio::test]
async fn tags_are_merged_by_key_under_either_spelling_and_every_kind_has_its_own() {
    let scene = Scene::new().await;
    let client = scene.client();
    let other = Client { service: Service::CodeStarConnections, ..client };
    let arns = [scene.connection.clone(), scene.host.clone(), link_arn(&scene.link)];
    for arn in &arns {
        assert_eq!(listed(client, arn).await, json!([]), "{arn}");
        tagged(client, arn, json!([tag("b", "1"), tag("B", "2"), tag("a", "")])).await;
        tagged(other, &respelled(arn), json!([tag("b", "of another value"), tag("\u{1f600} c", "3")])).await;
        let merged =
            json!([tag("B", "2"), tag("a", ""), tag("b", "of another value"), tag("\u{1f600} c", "3")]);
        assert_eq!(listed(client, arn).await, merged, "{arn}");
        assert_eq!(listed(other, &respelled(arn)).await, merged, "{arn}");
    }
    let shouted = link_arn(&scene.link.to_ascii_uppercase());
    assert_eq!(listed(client, &shouted).await, listed(client, &link_arn(&scene.link)).await);
    for arn in &arns {
        untagged(client, &respelled(arn), json!(["B", "absent", "a"])).await;
        untagged(client, arn, json!(["B"])).await;
        untagged(client, arn, json!([])).await;
        assert_eq!(listed(client, arn).await, json!([tag("b", "of another value"), tag("\u{1f600} c", "3")]));
        tagged(client, arn, json!([])).await;
        untagged(client, arn, json!(["b", "\u{1f600} c"])).await;
        assert_eq!(listed(client, arn).await, json!([]));
    }
}

#[tokio::test]
async fn tags_of_a_creation_are_listed_and_go_with_their_resource() {
    let scene = Scene::new().await;
    let client = scene.client();
    let input = json!({"ConnectionName": "x", "ProviderType": "GitHub", "Tags": [tag("team", "web")]});
    let arn = text(&client.ok("CreateConnection", input.clone()).await, "/ConnectionArn");
    assert_eq!(listed(client, &arn).await, json!([tag("team", "web")]));
    client.ok("DeleteConnection", json!({"ConnectionArn": arn})).await;
    let message = format!("Could not find resource:{arn}");
    let named = json!({"ResourceArn": arn});
    client.refuses("ListTagsForResource", named, "ResourceNotFoundException", &message).await;
    let again = but(input, json!({"Tags": null}));
    let arn = text(&client.ok("CreateConnection", again).await, "/ConnectionArn");
    assert_eq!(listed(client, &arn).await, json!([]));
}

#[tokio::test]
async fn keys_of_aws_itself_and_keys_given_twice_are_refused_by_their_path() {
    let scene = Scene::new().await;
    let client = scene.client();
    let check = async |operation: &str, input: Value, value: &str, path: &str, rule: &str| {
        let message = format!(
            "1 validation error detected: Value '{value}' at '{path}' failed to satisfy constraint: {rule}"
        );
        let input = but(input, json!({"ResourceArn": scene.connection}));
        client.refuses(operation, input, "ValidationException", &message).await;
    };
    let reserved = "Member must not begin with aws:";
    let tags = |second: &str| json!({"Tags": [tag("ok", "1"), tag(second, "2")]});
    for key in ["aws:", "aws:cloudformation:stack-name", "AWS:x"] {
        check("TagResource", tags(key), key, "tags.2.member.key", reserved).await;
        check("UntagResource", json!({"TagKeys": ["ok", key]}), key, "tagKeys.2.member", reserved).await;
    }
    check("TagResource", tags("ok"), "ok", "tags.2.member.key", "Member must not be given twice").await;
    let both =
        json!({"ResourceArn": scene.connection, "Tags": [tag("aws:x", ""), tag("a", ""), tag("a", "")]});
    let message = "2 validation errors detected: Value 'aws:x' at 'tags.1.member.key' failed to satisfy \
                   constraint: Member must not begin with aws:; Value 'a' at 'tags.3.member.key' failed to \
                   satisfy constraint: Member must not be given twice";
    client.refuses("TagResource", both, "ValidationException", message).await;
    assert_eq!(listed(client, &scene.connection).await, json!([]), "a refusal tags nothing");
    for fine in ["aws", "aws-x", "x:aws:", "\u{e9}\u{e9}\u{e9}"] {
        tagged(client, &scene.connection, json!([tag(fine, "")])).await;
    }
}

#[tokio::test]
async fn two_hundred_tags_are_the_most_after_the_merge() {
    let scene = Scene::new().await;
    let client = scene.client();
    let arn = connection(client, "tagged").await;
    let tags = |from: usize, to: usize| {
        let tags = (from..to).map(|i| tag(&format!("k{i:03}"), "x"));
        Value::Array(tags.collect())
    };
    tagged(client, &arn, tags(0, 150)).await;
    tagged(client, &arn, tags(100, 200)).await;
    let over = json!({"ResourceArn": arn, "Tags": tags(199, 203)});
    let message = format!("The resource {arn} would have 203 tags, more than its quota of 200");
    client.refuses("TagResource", over, "LimitExceededException", &message).await;
    assert_eq!(listed(client, &arn).await, tags(0, 200));
    // Another value of a key takes no room; what is taken away makes some.
    tagged(client, &arn, json!([tag("k000", "y")])).await;
    untagged(client, &arn, json!(["k001"])).await;
    tagged(client, &arn, json!([tag("last", "")])).await;
    assert_eq!(listed(client, &arn).await.as_array().map(Vec::len), Some(200));
}

#[tokio::test]
async fn what_has_no_tags_is_no_resource_to_tag() {
    let scene = Scene::new().await;
    let client = scene.client();
    let id = "00000000-1111-2222-3333-444444444444";
    let ours = "arn:aws:codeconnections:eu-west-1:111111111111";
    for arn in [
        format!("{ours}:sync-configuration/{id}"),
        format!("{ours}:repository-link/{id}"),
        format!("{ours}:{id}"),
        // The right id under the wrong kind.
        scene.connection.replace(":connection/", ":repository-link/"),
        scene.connection.replace(":connection/", ":host/"),
        scene.host.replace(":host/", ":connection/"),
        "arn:aws:s3:eu-west-1:111111111111:connection".to_owned(),
    ] {
        let message = format!("Could not find resource:{arn}");
        for (operation, input) in [
            ("ListTagsForResource", json!({})),
            ("TagResource", json!({"Tags": [tag("a", "b")]})),
            ("UntagResource", json!({"TagKeys": ["a"]})),
        ] {
            let input = but(input, json!({"ResourceArn": arn}));
            client.refuses(operation, input, "ResourceNotFoundException", &message).await;
        }
    }
}

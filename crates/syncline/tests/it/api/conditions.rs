//! What the conditions of policies decide: keys of a request, of its resource, of what it passes on.

use serde_json::{Value, json};

use super::access::{ALL, DENIED, allow, ann, denied, everything, may, not_allowed, scene_with_ann};
use super::client::{Client, OURS};
use super::scene::{ROLE, but, by_name, connection, of_link, scope_of, sync_input, text};

#[tokio::test]
async fn a_role_is_passed_only_to_the_service_that_syncs() {
    let scene = scene_with_ann().await;
    let client = ann(&scene);
    let pass = |service: &str, roles: &str| {
        json!([
            allow("codeconnections:*", "*"),
            {"Effect": "Allow", "Action": "iam:PassRole", "Resource": roles,
             "Condition": {"StringEquals": {"iam:PassedToService": service}}},
        ])
    };
    let sync = "cloudformation.sync.codeconnections.amazonaws.com";
    let refused = not_allowed("iam:PassRole", ROLE);
    for statements in [
        pass("codepipeline.amazonaws.com", "*"),
        pass(sync, "arn:aws:iam::111111111111:role/other"),
        json!([allow("codeconnections:*", "*")]),
    ] {
        may(&scene, statements).await;
        client.refuses("CreateSyncConfiguration", sync_input(&scene.link, "new"), DENIED, &refused).await;
        let input = but(by_name("web"), json!({"RoleArn": ROLE}));
        client.refuses("UpdateSyncConfiguration", input, DENIED, &refused).await;
    }
    // An update that leaves the role alone passes none.
    client.ok("UpdateSyncConfiguration", but(by_name("web"), json!({"ConfigFile": "other.yaml"}))).await;
    may(&scene, pass(sync, "arn:aws:iam::111111111111:role/dep*")).await;
    client.ok("CreateSyncConfiguration", sync_input(&scene.link, "new")).await;
}

#[tokio::test]
async fn a_bus_is_told_as_a_role_that_may_be_passed_on() {
    let scene = scene_with_ann().await;
    let client = ann(&scene);
    let bus = "arn:aws:events:eu-west-1:111111111111:event-bus/ops";
    let target = json!({"name": "bus", "kind": "EVENTBRIDGE", "eventBus": bus, "roleArn": ROLE});
    let create = allow("syncline:CreateNotificationTarget", "*");
    may(&scene, json!([create.clone()])).await;
    let refused = client.rest("POST", "/notification-targets", &target).await;
    assert_eq!(
        (refused.status, refused.value["message"].as_str()),
        (403, Some(not_allowed("iam:PassRole", ROLE).as_str()))
    );
    let targets = scene.store().notification_targets(&scope_of(OURS)).await.expect("read");
    assert_eq!(targets, []);
    may(&scene, json!([create, allow("iam:PassRole", ROLE)])).await;
    assert_eq!(client.rest("POST", "/notification-targets", &target).await.status, 200);
}

#[tokio::test]
async fn a_role_has_one_name() {
    let scene = scene_with_ann().await;
    let client = ann(&scene);
    let respelled = ROLE.replace("arn:aws:", "arn:aws-cn:");
    may(&scene, json!([everything(), {"Effect": "Deny", "Action": "iam:PassRole", "Resource": ROLE}])).await;
    let message = "RoleArn: the partition aws-cn is not that of the region eu-west-1, aws";
    let new = but(sync_input(&scene.link, "new"), json!({"RoleArn": respelled}));
    client.refuses("CreateSyncConfiguration", new, "InvalidInputException", message).await;
    let update = but(by_name("web"), json!({"RoleArn": respelled}));
    client.refuses("UpdateSyncConfiguration", update, "InvalidInputException", message).await;
}

#[tokio::test]
async fn a_connection_can_be_for_one_repository_alone() {
    let scene = scene_with_ann().await;
    let client = ann(&scene);
    let link = |owner: &str, name: &str| json!({"ConnectionArn": scene.connection, "OwnerId": owner, "RepositoryName": name});
    for key in ["codeconnections", "codestar-connections"] {
        // As people write it for AWS.
        may(
            &scene,
            json!([
                {"Sid": "Links", "Effect": "Allow", "Resource": scene.connection,
                 "Action": ["codeconnections:CreateRepositoryLink", "codestar-connections:CreateRepositoryLink"]},
                {"Sid": "Pass", "Effect": "Allow", "Action": format!("{key}:PassConnection"), "Resource": "*",
                 "Condition": {"StringEquals": {
                    format!("{key}:PassedToService"): "cloudformation.sync.codeconnections.amazonaws.com"}}},
                {"Sid": "Use", "Effect": "Allow", "Action": [format!("{key}:UseConnection")],
                 "Resource": "arn:aws:codestar-connections:*:111111111111:connection/*",
                 "Condition": {"ForAllValues:StringEquals": {
                    format!("{key}:FullRepositoryId"): ["acme/shop", format!("acme/{key}")]}}},
            ]),
        )
        .await;
        client.ok("CreateRepositoryLink", link("acme", key)).await;
        let refused = not_allowed("codeconnections:UseConnection", &scene.connection);
        client.refuses("CreateRepositoryLink", link("acme", "infra2"), DENIED, &refused).await;
        client.refuses("CreateRepositoryLink", link("evil", "shop"), DENIED, &refused).await;
    }
    may(
        &scene,
        json!([everything(), {"Effect": "Deny", "Action": "codeconnections:UseConnection", "Resource": "*",
               "Condition": {"StringNotLike": {"codeconnections:OwnerId": "acme*"}}}]),
    )
    .await;
    client.ok("CreateRepositoryLink", link("acme/team", "web")).await;
    let refused = denied("codeconnections:UseConnection", &scene.connection);
    client.refuses("CreateRepositoryLink", link("evil", "shop"), DENIED, &refused).await;

    // The repository of an existing link is known without being named.
    let other = connection(scene.client(), "other").await;
    let update = json!({"RepositoryLinkId": scene.link, "ConnectionArn": other});
    let only = |repository: &str| {
        json!([allow("codeconnections:UpdateRepositoryLink", "*"), allow("codeconnections:PassConnection", "*"),
               {"Effect": "Allow", "Action": "codeconnections:UseConnection", "Resource": "*",
                "Condition": {"StringEquals": {"codestar-connections:FullRepositoryId": repository}}}])
    };
    may(&scene, only("acme/other")).await;
    let refused = not_allowed("codeconnections:UseConnection", &other);
    client.refuses("UpdateRepositoryLink", update.clone(), DENIED, &refused).await;
    may(&scene, only("acme/infra")).await;
    client.ok("UpdateRepositoryLink", update).await;
}

#[tokio::test]
async fn tags_of_a_resource_decide() {
    let scene = scene_with_ann().await;
    let made = |tag: &str| json!({"ConnectionName": format!("of-{tag}"), "ProviderType": "GitHub", "Tags": [{"Key": "Team", "Value": tag}]});
    let (web, ops) = (scene.client().ok("CreateConnection", made("web")).await, made("ops"));
    let ops = scene.client().ok("CreateConnection", ops).await;
    let (web, ops) = (text(&web, "/ConnectionArn"), text(&ops, "/ConnectionArn"));
    let client = ann(&scene);
    let get = |arn: &str| json!({"ConnectionArn": arn});
    may(
        &scene,
        json!([{"Effect": "Allow", "Action": "codeconnections:GetConnection", "Resource": "*",
                "Condition": {"StringEquals": {"aws:ResourceTag/team": "web"}}}]),
    )
    .await;
    client.ok("GetConnection", get(&web)).await;
    client.ok("GetConnection", get(&web.replace(":codeconnections:", ":codestar-connections:"))).await;
    for arn in [&ops, &scene.connection] {
        let refused = not_allowed("codeconnections:GetConnection", arn);
        client.refuses("GetConnection", get(arn), DENIED, &refused).await;
    }
    may(
        &scene,
        json!([everything(), {"Effect": "Deny", "Action": "*", "Resource": "*",
               "Condition": {"StringLike": {"aws:ResourceTag/Team": "op?"}}}]),
    )
    .await;
    let refused = denied("codeconnections:DeleteConnection", &ops);
    client.refuses("DeleteConnection", get(&ops), DENIED, &refused).await;
    client.ok("DeleteConnection", get(&web)).await;

    // The same tags in another account or region are nobody's here.
    may(
        &scene,
        json!([{"Effect": "Allow", "Action": "*", "Resource": "*",
                "Condition": {"Null": {"aws:ResourceTag/Team": "true"}}}]),
    )
    .await;
    let missing = format!("Could not find connection:{ops}");
    let elsewhere = Client { region: "us-east-1", ..client };
    elsewhere.refuses("GetConnection", get(&ops), "ResourceNotFoundException", &missing).await;
    let refused = not_allowed("codeconnections:GetConnection", &ops);
    client.refuses("GetConnection", get(&ops), DENIED, &refused).await;
}

#[tokio::test]
async fn tags_of_a_request_decide() {
    let scene = scene_with_ann().await;
    let client = ann(&scene);
    let make =
        |name: &str, tags: Value| json!({"ConnectionName": name, "ProviderType": "GitHub", "Tags": tags});
    may(
        &scene,
        json!([{"Effect": "Allow", "Action": ["codeconnections:CreateConnection", "codeconnections:TagResource"],
                "Resource": "*",
                "Condition": {
                    "StringEquals": {"aws:RequestTag/team": "${aws:username}"},
                    "ForAllValues:StringEquals": {"aws:TagKeys": ["team", "cost"]}}}]),
    )
    .await;
    let (team, cost) = (json!({"Key": "team", "Value": "ann"}), json!({"Key": "cost", "Value": "1"}));
    client.ok("CreateConnection", make("one", json!([team]))).await;
    client.ok("CreateConnection", make("two", json!([cost, team]))).await;
    let refused = not_allowed("codeconnections:CreateConnection", ALL);
    for tags in [
        json!([]),
        json!([cost]),
        json!([{"Key": "team", "Value": "bob"}]),
        json!([team, {"Key": "other", "Value": ""}]),
    ] {
        client.refuses("CreateConnection", make("three", tags), DENIED, &refused).await;
    }
    // Whoever may make and not tag makes without tags.
    may(&scene, json!([allow("codeconnections:CreateConnection", "*")])).await;
    client.ok("CreateConnection", make("four", json!([]))).await;
    let connections = "arn:aws:codeconnections:eu-west-1:111111111111:connection/*";
    let refused = not_allowed("codeconnections:TagResource", connections);
    client.refuses("CreateConnection", make("five", json!([team])), DENIED, &refused).await;
}

#[tokio::test]
async fn tags_whose_keys_differ_only_in_case_speak_for_nobody() {
    let scene = scene_with_ann().await;
    let client = ann(&scene);
    let (upper, lower) = (json!({"Key": "Team", "Value": "ops"}), json!({"Key": "team", "Value": "ann"}));
    let both = json!({"ResourceArn": scene.connection, "Tags": [upper, lower]});
    scene.client().ok("TagResource", both).await;
    let refused = |action: &str, resource: &str, key: &str| {
        format!(
            "User: arn:aws:iam::111111111111:user/ann is not authorized to perform: {action} on resource: {resource} \
             because several tags are {key}, which a policy asks for: their keys differ only in case"
        )
    };
    let get = json!({"ConnectionArn": scene.connection});
    let make = json!({"ConnectionName": "x", "ProviderType": "GitHub", "Tags": [upper, lower]});
    for effect in ["Allow", "Deny"] {
        let only = |key: &str| {
            json!([everything(), {"Effect": effect, "Action": "*", "Resource": "*",
                   "Condition": {"StringNotEquals": {key: "ann"}}}])
        };
        may(&scene, only("aws:ResourceTag/TEAM")).await;
        let message = refused("codeconnections:GetConnection", &scene.connection, "aws:ResourceTag/team");
        client.refuses("GetConnection", get.clone(), DENIED, &message).await;
        may(&scene, only("aws:RequestTag/TEAM")).await;
        let message = refused("codeconnections:CreateConnection", ALL, "aws:RequestTag/team");
        client.refuses("CreateConnection", make.clone(), DENIED, &message).await;
    }
    // Whose policies ask for another tag is not concerned.
    let other = json!([{"Effect": "Allow", "Action": "*", "Resource": "*",
                        "Condition": {"Null": {"aws:ResourceTag/Tea": "true", "aws:RequestTag/Teams": "true"}}}]);
    may(&scene, other).await;
    client.ok("GetConnection", get).await;
    client.ok("CreateConnection", make).await;
}

#[tokio::test]
async fn keys_of_an_operation_decide() {
    let scene = scene_with_ann().await;
    let client = ann(&scene);
    let check = async |operation: &str, condition: Value, input: Value, expect: bool| {
        let deny = json!({"Effect": "Deny", "Action": format!("codeconnections:{operation}"), "Resource": "*",
                          "Condition": {"StringEquals": condition}});
        may(&scene, json!([everything(), deny])).await;
        let reply = client.call(operation, &scene.fill(&input)).await;
        let is_denied = reply.status != 200 && reply.refusal().0 == DENIED;
        assert_eq!(is_denied, expect, "{operation} {condition} {input}: {}", reply.value);
    };
    let kind = |name: &str| json!({"codeconnections:ProviderType": name});
    let make = json!({"ConnectionName": "x", "ProviderType": "GitHub"});
    check("CreateConnection", kind("GitHub"), make.clone(), true).await;
    check("CreateConnection", kind("Bitbucket"), make, false).await;
    let on_host = json!({"ConnectionName": "y", "HostArn": "{host}"});
    check("CreateConnection", kind("Git"), on_host.clone(), true).await;
    check("CreateConnection", kind("GitHub"), on_host.clone(), false).await;
    check("CreateConnection", json!({"codestar-connections:HostArn": scene.host}), on_host, true).await;
    let vpc = json!({"VpcId": "vpc-01234567", "SubnetIds": ["subnet-01234567"], "SecurityGroupIds": ["sg-01234567"]});
    let host = json!({
        "Name": "h", "ProviderType": "GitLabSelfManaged", "ProviderEndpoint": "https://g.example.com",
        "VpcConfiguration": vpc,
    });
    check("CreateHost", json!({"codeconnections:VpcId": "vpc-01234567"}), host.clone(), true).await;
    check("CreateHost", kind("GitLabSelfManaged"), host.clone(), true).await;
    check("CreateHost", json!({"codeconnections:VpcId": "vpc-76543210"}), host, false).await;
    let filter = json!({"codeconnections:ProviderTypeFilter": "GitHub"});
    check("ListConnections", filter.clone(), json!({"ProviderTypeFilter": "GitHub"}), true).await;
    check("ListConnections", filter, json!({}), false).await;
    let untag = |key: &str| json!({"ResourceArn": "{host}", "TagKeys": [key]});
    check("UntagResource", json!({"aws:TagKeys": "cost"}), untag("cost"), true).await;
    check("UntagResource", json!({"aws:TagKeys": "cost"}), untag("team"), false).await;
    let tag = |value: &str| json!({"ResourceArn": "{host}", "Tags": [{"Key": "cost", "Value": value}]});
    check("TagResource", json!({"aws:RequestTag/cost": "1"}), tag("1"), true).await;
    check("TagResource", json!({"aws:RequestTag/cost": "1"}), tag("2"), false).await;
    let branch = |name: &str| json!({"codestar-connections:Branch": name});
    let status = but(of_link("{link}"), json!({"Branch": "main"}));
    check("GetRepositorySyncStatus", branch("main"), status.clone(), true).await;
    check("GetRepositorySyncStatus", branch("dev"), status, false).await;
    check("CreateSyncConfiguration", branch("main"), sync_input("{link}", "x"), true).await;
    let update = but(by_name("web"), json!({"Branch": "main"}));
    check("UpdateSyncConfiguration", branch("main"), update, true).await;
    check("UpdateSyncConfiguration", branch("main"), by_name("web"), false).await;
}

#[tokio::test]
async fn keys_of_every_request_decide() {
    let scene = scene_with_ann().await;
    let client = ann(&scene);
    let check = async |condition: Value, expect: bool| {
        may(&scene, json!([{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition}]))
            .await;
        let reply = client.call("ListHosts", &json!({})).await;
        assert_eq!(reply.status == 200, expect, "{condition}: {}", reply.value);
    };
    check(json!({"StringEquals": {"aws:username": "ann"}}), true).await;
    check(json!({"StringEquals": {"aws:username": "bob"}}), false).await;
    check(json!({"StringLike": {"aws:userid": "AIDA*"}}), true).await;
    check(json!({"StringEquals": {"aws:PrincipalAccount": OURS.account}}), true).await;
    check(json!({"StringEquals": {"aws:PrincipalType": "User"}}), true).await;
    check(json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/a??"}}), true).await;
    check(json!({"StringEquals": {"aws:RequestedRegion": ["us-east-1", "eu-west-1"]}}), true).await;
    check(json!({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}), false).await;
    check(json!({"StringEquals": {"aws:ResourceAccount": "${aws:PrincipalAccount}"}}), true).await;
    check(json!({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}), true).await;
    check(json!({"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}}), false).await;
    check(json!({"Null": {"aws:SecureTransport": "true"}}), true).await;
    check(json!({"Null": {"aws:UserAgent": "true"}}), true).await;
    check(json!({"Null": {"aws:MultiFactorAuthAge": "false"}}), false).await;
    // The server's clock says 2025-11-23T02:40:00Z.
    check(json!({"DateLessThan": {"aws:CurrentTime": "2025-11-23T02:40:01Z"}}), true).await;
    check(json!({"DateGreaterThan": {"aws:CurrentTime": "2025-11-23T02:40:00Z"}}), false).await;
    check(json!({"NumericEquals": {"aws:EpochTime": 1_763_865_600}}), true).await;
    scene.server.clock.advance_ms(2_000);
    check(json!({"DateLessThan": {"aws:CurrentTime": "2025-11-23T02:40:01Z"}}), false).await;

    may(
        &scene,
        json!([{"Effect": "Allow", "Action": "*", "Resource": "*",
                "Condition": {"StringLike": {"aws:UserAgent": "*deployer/*"}}}]),
    )
    .await;
    let mut draft = client.draft("ListHosts", &json!({}));
    draft.headers.push(("user-agent".to_owned(), "our deployer/2".to_owned()));
    assert_eq!(scene.server.send(client.sign(draft)).await.status, 200);
}

#[tokio::test]
async fn where_a_request_comes_from_decides() {
    let scene = scene_with_ann().await;
    let client = ann(&scene);
    may(
        &scene,
        json!([
            everything(),
            {"Sid": "OnlyTheOffice", "Effect": "Deny", "Action": "*", "Resource": "*",
             "Condition": {"NotIpAddress": {"aws:SourceIp": ["203.0.113.0/24", "2001:db8::/32", "127.0.0.0/8"]}}},
            {"Sid": "OnlyOverTls", "Effect": "Deny", "Action": "codeconnections:ListConnections", "Resource": "*",
             "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        ]),
    )
    .await;
    for (source, operation, expect) in [
        ("203.0.113.9", "ListHosts", true),
        ("::ffff:203.0.113.9", "ListHosts", true),
        ("2001:db8::9", "ListHosts", true),
        ("198.51.100.1", "ListHosts", false),
        ("2001:db9::9", "ListHosts", false),
        ("203.0.113.9", "ListConnections", false),
        // How whoever came by this machine's proxy spoke to it is unknown.
        ("127.0.0.1", "ListConnections", true),
    ] {
        let draft = client.sign(client.draft(operation, &json!({})));
        let reply = scene.server.send_from(source.parse().expect("an address"), draft).await;
        assert_eq!(reply.status == 200, expect, "{operation} from {source}: {}", reply.value);
    }
}

#[tokio::test]
async fn tags_decide_about_the_handshake_too() {
    let scene = scene_with_ann().await;
    let client = ann(&scene);
    let tagged = json!({
        "ConnectionName": "tagged", "HostArn": scene.host, "Tags": [{"Key": "owner", "Value": "ann"}],
    });
    let tagged = text(&scene.client().ok("CreateConnection", tagged).await, "/ConnectionArn");
    may(
        &scene,
        json!([{"Effect": "Allow", "Action": "syncline:AuthorizeConnection", "Resource": "*",
                "Condition": {"StringEquals": {"aws:ResourceTag/owner": "${aws:username}"}}}]),
    )
    .await;
    for (arn, status) in [(&tagged, 200), (&scene.pending, 403)] {
        let path = format!("/connections/{}/authorize", arn.rsplit('/').next().expect("an id"));
        let reply = client.rest("POST", &path, &json!({"token": "t"})).await;
        assert_eq!(reply.status, status, "{}", reply.value);
    }
}

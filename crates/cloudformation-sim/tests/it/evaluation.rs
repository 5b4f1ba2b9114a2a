//! What values evaluate to, seen in a stack's outputs.

use crate::harness::{ACCOUNT, REGION, World};

const HEAD: &str = "
Parameters:
  Env: {Type: String, Default: prod}
  Count: {Type: Number, Default: 3}
  Names: {Type: CommaDelimitedList, Default: 'a, b,c'}
Mappings:
  Sizes:
    prod: {Size: large, Zones: [x, y]}
    test: {Size: small, Zones: [z]}
Conditions:
  IsProd: !Equals [!Ref Env, prod]
  IsTest: !Not [!Condition IsProd]
  Both: !And [!Condition IsProd, !Equals [!Ref Count, '3']]
  Either: !Or [!Condition IsTest, !Equals [a, b]]
Resources:
  Topic: {Type: AWS::SNS::Topic, Properties: {TopicName: !Sub '${Env}-topic'}}
  Queue: {Type: AWS::SQS::Queue, Properties: {QueueName: q}}
  Bucket: {Type: AWS::S3::Bucket, Properties: {BucketName: assets}}
  Table: {Type: AWS::DynamoDB::Table, Properties: {TableName: t}}
  Param: {Type: AWS::SSM::Parameter, Properties: {Name: /a/b, Type: String, Value: v1}}
  Made: {Type: Custom::Thing, Properties: {ServiceToken: x}}
  Only: {Type: AWS::SNS::Topic, Condition: IsTest}
";

#[tokio::test]
async fn expressions_evaluate_as_in_cloudformation() {
    let world = World::instant().await;
    let id = "arn:aws:sns:eu-west-1:000000000000:prod-topic";
    let cases = [
        ("!Ref Env", "prod"),
        ("!Ref Count", "3"),
        ("!Ref Topic", id),
        ("!Ref Queue", "https://sqs.eu-west-1.amazonaws.com/000000000000/q"),
        ("!Ref AWS::Region", REGION),
        ("!Ref AWS::AccountId", ACCOUNT),
        ("!Ref AWS::Partition", "aws"),
        ("!Ref AWS::URLSuffix", "amazonaws.com"),
        ("!Ref AWS::StackName", "eval"),
        ("!GetAtt Topic.TopicName", "prod-topic"),
        ("!GetAtt [Queue, Arn]", "arn:aws:sqs:eu-west-1:000000000000:q"),
        ("!GetAtt Bucket.RegionalDomainName", "assets.s3.eu-west-1.amazonaws.com"),
        ("!GetAtt Table.Arn", "arn:aws:dynamodb:eu-west-1:000000000000:table/t"),
        ("!GetAtt Param.Value", "v1"),
        ("!Sub '${Env}/${Topic.TopicName}/${AWS::Region}/${!Env}'", "prod/prod-topic/eu-west-1/${Env}"),
        ("!Sub ['${A}-${Env}', {A: !Ref Count}]", "3-prod"),
        ("!Join ['-', [a, !Ref Env, !GetAtt Topic.TopicName]]", "a-prod-prod-topic"),
        ("!Join ['|', !Ref Names]", "a|b|c"),
        ("!Select [1, !Ref Names]", "b"),
        ("!Select [2, !Split [':', 'a:b:c']]", "c"),
        ("!Select [5, !Split [':', !Ref Topic]]", "prod-topic"),
        ("!FindInMap [Sizes, !Ref Env, Size]", "large"),
        ("!Join [',', !FindInMap [Sizes, prod, Zones]]", "x,y"),
        ("!If [IsProd, yes it is, no]", "yes it is"),
        ("!If [IsTest, !Ref Only, none]", "none"),
        ("!If [Both, both, no]", "both"),
        ("!If [Either, either, neither]", "neither"),
        ("!Join ['', [a, !If [IsTest, b, !Ref AWS::NoValue], c]]", "ac"),
        ("!Base64 abc", "YWJj"),
        ("!Base64 {'Fn::Sub': '${Env}'}", "cHJvZA=="),
        ("!Select [0, !GetAZs '']", "eu-west-1a"),
        ("!Select [1, !GetAZs us-east-1]", "us-east-1b"),
        ("!Select [1, !Cidr [10.0.0.0/16, 4, 8]]", "10.0.1.0/24"),
        ("012345678901", "012345678901"),
        ("true", "true"),
    ];
    let mut template = format!("{HEAD}Outputs:\n");
    for (n, (expression, _)) in cases.iter().enumerate() {
        template.push_str(&format!("  O{n}:\n    Value: {expression}\n"));
    }
    world.deploy("eval", "one", &template, &[]).await;
    let stack = world.stack("eval");
    assert_eq!(stack.status, "CREATE_COMPLETE", "{:?}", world.events("eval", 0));
    assert!(!stack.resources.iter().any(|resource| resource.logical_id == "Only"));
    for (n, (expression, expect)) in cases.iter().enumerate() {
        let (_, value) =
            stack.outputs.iter().find(|(key, _)| *key == format!("O{n}")).expect("each output is there");
        assert_eq!(value, expect, "{expression}");
    }
}

#[tokio::test]
async fn another_parameter_takes_the_other_branch() {
    let world = World::instant().await;
    let template = format!("{HEAD}Outputs: {{Size: {{Value: !FindInMap [Sizes, !Ref Env, Size]}}}}");
    world.deploy("eval", "one", &template, &[("Env", "test")]).await;
    let stack = world.stack("eval");
    assert_eq!(stack.outputs, [("Size".to_owned(), "small".to_owned())]);
    assert!(stack.resources.iter().any(|resource| resource.logical_id == "Only"));
    // Back: the resource goes, everything that follows the name is replaced.
    world.change_set("eval", "two", &template).send().await.expect("accepted");
    assert_eq!(world.changes("eval", "two").await, ["Remove Only", "Modify Topic replace:True"]);
}

#[tokio::test]
async fn replacement_follows_the_type() {
    let world = World::instant().await;
    let check = async |kind: &str, before: &str, after: &str, expect: &str| {
        let template =
            |properties: &str| format!("Resources: {{It: {{Type: '{kind}', Properties: {properties}}}}}");
        let name = format!("r{}", world.simulator.stacks(ACCOUNT, REGION).len());
        world.deploy(&name, "one", &template(before), &[]).await;
        world.change_set(&name, "two", &template(after)).send().await.expect("accepted");
        assert_eq!(world.changes(&name, "two").await, [format!("Modify It replace:{expect}")], "{kind}");
    };
    check("AWS::S3::Bucket", "{BucketName: a}", "{BucketName: b}", "True").await;
    check("AWS::S3::Bucket", "{BucketName: a}", "{BucketName: a, Tags: []}", "False").await;
    check("AWS::SQS::Queue", "{QueueName: a}", "{QueueName: b}", "True").await;
    check("AWS::SQS::Queue", "{DelaySeconds: 1}", "{DelaySeconds: 2}", "False").await;
    check("AWS::SSM::Parameter", "{Name: a, Value: v}", "{Name: b, Value: v}", "True").await;
    check("AWS::SSM::Parameter", "{Name: a, Value: v}", "{Name: a, Value: w}", "False").await;
    check("AWS::DynamoDB::Table", "{KeySchema: [{A: b}]}", "{KeySchema: [{A: c}]}", "True").await;
    check("AWS::Lambda::Function", "{FunctionName: a}", "{FunctionName: b}", "True").await;
    check("AWS::Logs::LogGroup", "{LogGroupName: a}", "{LogGroupName: b}", "True").await;
    check("AWS::EC2::VPC", "{CidrBlock: 10.0.0.0/16}", "{CidrBlock: 10.1.0.0/16}", "True").await;
    check("AWS::Unheard::Cluster", "{ClusterName: a}", "{ClusterName: b}", "True").await;
    check("AWS::Unheard::Cluster", "{Size: 1}", "{Size: 2}", "False").await;
    check("Custom::Thing", "{ServiceToken: a, Size: 1}", "{ServiceToken: a, Size: 2}", "False").await;
}

#[tokio::test]
async fn a_change_that_only_execution_knows_is_conditional() {
    let world = World::instant().await;
    let template = |name: &str| {
        format!(
            "Resources:
  First: {{Type: AWS::SNS::Topic, Properties: {{TopicName: {name}}}}}
  Second: {{Type: AWS::SNS::Topic, Properties: {{TopicName: !Sub 'x-${{First.TopicName}}'}}}}
  Third: {{Type: AWS::SQS::Queue, Properties: {{Tags: [{{Key: k, Value: !Ref Second}}]}}}}
"
        )
    };
    world.deploy("web", "one", &template("a"), &[]).await;
    world.change_set("web", "two", &template("b")).send().await.expect("accepted");
    assert_eq!(
        world.changes("web", "two").await,
        ["Modify First replace:True", "Modify Second replace:Conditional", "Modify Third replace:False"]
    );
}

#[tokio::test]
async fn a_change_in_place_reaches_those_who_read_it() {
    let world = World::instant().await;
    let template = |value: &str| {
        format!(
            "Resources:
  Param: {{Type: AWS::SSM::Parameter, Properties: {{Type: String, Value: {value}}}}}
  Queue: {{Type: AWS::SQS::Queue, Properties: {{Tags: [{{Key: k, Value: !GetAtt Param.Value}}]}}}}
Outputs: {{Seen: {{Value: !GetAtt Param.Value}}}}
"
        )
    };
    world.deploy("web", "one", &template("a"), &[]).await;
    world.change_set("web", "two", &template("b")).send().await.expect("accepted");
    assert_eq!(
        world.changes("web", "two").await,
        ["Modify Param replace:False", "Modify Queue replace:False"]
    );
    world.execute("web", "two").await.expect("accepted");
    assert_eq!(world.stack("web").outputs, [("Seen".to_owned(), "b".to_owned())]);
}

#[tokio::test]
async fn parameters_keep_their_previous_values_when_asked_to() {
    let world = World::instant().await;
    let template = "
Parameters: {A: {Type: String, Default: d}, S: {Type: String, NoEcho: true, Default: hidden}}
Resources: {P: {Type: AWS::SSM::Parameter, Properties: {Type: String, Value: !Ref A}}}
";
    let parameter = || aws_sdk_cloudformation::types::Parameter::builder().parameter_key("A");
    world.deploy("web", "one", template, &[("A", "given")]).await;
    let request = world.change_set("web", "same", template);
    request.parameters(parameter().use_previous_value(true).build()).send().await.expect("accepted");
    assert!(world.changes("web", "same").await.is_empty());
    let seen = world.describe("web", "same").await.expect("described");
    let shown: Vec<_> = seen.parameters().iter().map(|p| p.parameter_value().unwrap_or_default()).collect();
    assert_eq!(shown, ["given", "****"]);
    // Left out, a parameter takes its default, not its previous value.
    world.change_set("web", "default", template).send().await.expect("accepted");
    assert_eq!(world.changes("web", "default").await, ["Modify P replace:False"]);
}

//! What is refused, and in which words.

use aws_sdk_cloudformation::types::{ChangeSetType, OnStackFailure, Parameter, Tag};

use crate::harness::{TOPIC, World, refused};

const VALIDATION: &str = "ValidationError";

#[tokio::test]
async fn wrong_templates_are_refused_before_anything_exists() {
    let world = World::instant().await;
    let check = async |template: &str, message: &str| {
        let answer = world.change_set("bad", "one", template).send().await;
        let (code, text) = refused(answer.expect_err(template));
        assert_eq!((code.as_str(), text.as_str()), (VALIDATION, message), "{template}");
        assert!(world.simulator.stack(crate::harness::ACCOUNT, crate::harness::REGION, "bad").is_none());
    };
    let resources = |rest: &str| format!("Resources: {{A: {{Type: 'AWS::SNS::Topic'}}, {rest}}}");
    let output = |value: &str| format!("{TOPIC}\nOutputs: {{O: {{Value: {value}}}}}");
    let property =
        |value: &str| resources(&format!("B: {{Type: 'AWS::SNS::Topic', Properties: {{P: {value}}}}}"));

    check("a: b", "Template format error: Invalid template property or properties [a]").await;
    check("Description: x", "Template format error: At least one Resources member must be defined.").await;
    check("Resources: {A: 1}", "Template format error: Any Resources member must be an object.").await;
    check(
        "Resources: {A: {}}",
        "Template format error: [/Resources/A] Every Resources object must contain a Type member.",
    )
    .await;
    check(&resources("B: {Type: 'AWS::X::Y', Kind: x}"), "Invalid template resource property 'Kind'").await;
    check(
        "Resources: {a-b: {Type: 'AWS::X::Y'}}",
        "Template format error: Resource name a-b is non alphanumeric.",
    )
    .await;
    check(
        &resources("B: {Type: Nonsense}"),
        "Template format error: Unrecognized resource types: [Nonsense]",
    )
    .await;
    check(&output("~"), "[/Outputs/O/Value] 'null' values are not allowed in templates").await;
    check(
        &format!("{TOPIC}\nOutputs: {{O: {{}}}}"),
        "Template format error: Every Outputs member must contain a Value object",
    )
    .await;
    check(
        &property("!Ref Missing"),
        "Template format error: Unresolved resource dependencies [Missing] in the Resources block of the template",
    )
    .await;
    check(
        &property("!Sub '${Missing} ${Gone}'"),
        "Template format error: Unresolved resource dependencies [Gone, Missing] in the Resources block of the template",
    )
    .await;
    check(
        &resources("B: {Type: 'AWS::SNS::Topic', DependsOn: Missing}"),
        "Template format error: Unresolved resource dependencies [Missing] in the Resources block of the template",
    )
    .await;
    check(
        &output("!Ref Missing"),
        "Unresolved resource dependencies [Missing] in the Outputs block of the template",
    )
    .await;
    check(
        &output("!GetAtt Missing.Arn"),
        "Template error: instance of Fn::GetAtt references undefined resource Missing",
    )
    .await;
    check(
        &output("!GetAtt Topic.Nothing"),
        "Template error: resource Topic does not support attribute type Nothing in Fn::GetAtt",
    )
    .await;
    check(
        &property("!If [Missing, a, b]"),
        "Template error: unresolved condition dependency Missing in Fn::If",
    )
    .await;
    check(
        &resources("B: {Type: 'AWS::SNS::Topic', Properties: {P: !Ref C}}, C: {Type: 'AWS::SNS::Topic', DependsOn: B}"),
        "Circular dependency between resources: [B, C]",
    )
    .await;
    check(
        &format!("Mappings: {{M: {{K: {{V: x}}}}}}\n{}", property("!FindInMap [M, K, W]")),
        "Template error: Unable to get mapping for M::K::W",
    )
    .await;
    check(
        &format!("Mappings: {{M: {{K: {{V: {{x: y}}}}}}}}\n{TOPIC}"),
        "Template format error: Every Mappings attribute must be a String or a List.",
    )
    .await;
    check(
        &format!("Conditions: {{C: !Equals [!Ref A, b]}}\n{}", resources("B: {Type: 'AWS::SNS::Topic'}")),
        "Template format error: Unresolved dependencies [A]. Cannot reference resources in the Conditions block of the template",
    )
    .await;
    check(
        "Conditions: {Never: !Equals [a, b]}\nResources: {A: {Type: 'AWS::SNS::Topic', Condition: Never}, \
         B: {Type: 'AWS::SNS::Topic', Properties: {P: !Ref A}}}",
        "Template format error: Unresolved resource dependencies [A] in the Resources block of the template",
    )
    .await;
    check(&property("!ImportValue nowhere"), "No export named nowhere found.").await;
    check(
        &format!("Parameters: {{P: {{Type: 'AWS::SSM::Parameter::Value<String>'}}}}\n{TOPIC}"),
        "Parameter P has type AWS::SSM::Parameter::Value<String>: this simulated CloudFormation has no SSM parameter store to read",
    )
    .await;
    check(
        &format!("Parameters: {{P: {{Type: Text}}}}\n{TOPIC}"),
        "Template format error: Unrecognized parameter type: Text",
    )
    .await;
}

#[tokio::test]
async fn malformed_text_and_unknown_functions_are_refused() {
    let world = World::instant().await;
    let check = async |template: &str, begin: &str| {
        let (code, text) =
            refused(world.change_set("bad", "one", template).send().await.expect_err(template));
        assert_eq!(code, VALIDATION);
        assert!(text.starts_with(begin), "{text}");
    };
    check("Resources: [", "Template format error: YAML not well-formed.").await;
    check("{\"Resources\": ", "Template format error: JSON not well-formed.").await;
    check("- a", "Template format error: unsupported structure.").await;
    check(
        &format!("{TOPIC}\nOutputs: {{O: {{Value: {{'Fn::Nothing': x}}}}}}"),
        "Template error: Encountered unsupported function: Fn::Nothing Supported functions are: [",
    )
    .await;
    let many: String = (0..501).map(|n| format!("R{n}: {{Type: 'AWS::SNS::Topic'}}, ")).collect();
    check(
        &format!("Resources: {{{many}}}"),
        "Template format error: Number of resources, 501, is greater than maximum allowed, 500",
    )
    .await;
    let long = format!("{TOPIC}\n#{}", "x".repeat(51_200));
    check(&long, "1 validation error detected: Value '").await;
}

#[tokio::test]
async fn wrong_parameters_are_refused() {
    let world = World::instant().await;
    let check = async |declared: &str, given: &[(&str, &str)], expect: Result<(), &str>| {
        let template = format!("Parameters: {{{declared}}}\n{TOPIC}");
        let mut request = world.change_set("p", "one", &template);
        for (key, value) in given {
            request =
                request.parameters(Parameter::builder().parameter_key(*key).parameter_value(*value).build());
        }
        let answer = request.send().await.map(|_| ()).map_err(|e| refused(e).1);
        assert_eq!(answer.as_ref().map_err(String::as_str).copied(), expect, "{declared} {given:?}");
        if answer.is_ok() {
            world.cloudformation.delete_stack().stack_name("p").send().await.expect("the review ends");
        }
    };
    check("A: {Type: String}", &[], Err("Parameters: [A] must have values")).await;
    check("A: {Type: String}, B: {Type: String}", &[], Err("Parameters: [A, B] must have values")).await;
    check(
        "A: {Type: String}",
        &[("A", "x"), ("B", "y")],
        Err("Parameters: [B] do not exist in the template"),
    )
    .await;
    check("A: {Type: String}", &[("A", "")], Ok(())).await;
    check("A: {Type: Number}", &[("A", "x")], Err("Parameter 'A' must be a number.")).await;
    check("A: {Type: Number}", &[("A", "1.5")], Ok(())).await;
    let range = "A: {Type: Number, MinValue: 1, MaxValue: 3}";
    check(range, &[("A", "0")], Err("Parameter 'A' must be a number not less than 1")).await;
    check(range, &[("A", "4")], Err("Parameter 'A' must be a number not greater than 3")).await;
    check(range, &[("A", "3")], Ok(())).await;
    check("A: {Type: 'List<Number>'}", &[("A", "1,x")], Err("Parameter 'A' must be a number.")).await;
    let choice = "A: {Type: String, AllowedValues: [x, y]}";
    check(choice, &[("A", "z")], Err("Parameter 'A' must be one of AllowedValues")).await;
    check(choice, &[("A", "y")], Ok(())).await;
    let pattern = "A: {Type: String, AllowedPattern: '[a-z]+'}";
    check(pattern, &[("A", "a1")], Err("Parameter 'A' must match pattern [a-z]+")).await;
    check(pattern, &[("A", "ab")], Ok(())).await;
    let said = "A: {Type: String, MinLength: 2, ConstraintDescription: two or more}";
    check(said, &[("A", "a")], Err("Parameter 'A' failed to satisfy constraint: two or more")).await;
    check(
        "A: {Type: String, MaxLength: 2}",
        &[("A", "abc")],
        Err("Parameter 'A' must contain at most 2 characters"),
    )
    .await;
}

#[tokio::test]
async fn wrong_requests_are_refused() {
    let world = World::instant().await;
    let web = world.change_set("web", "one", TOPIC);
    let check = async |builder: aws_sdk_cloudformation::operation::create_change_set::builders::CreateChangeSetFluentBuilder,
                       code: &str,
                       message: &str| {
        let answer = refused(builder.send().await.expect_err(message));
        assert_eq!((answer.0.as_str(), answer.1.as_str()), (code, message));
    };
    check(web.clone().change_set_type(ChangeSetType::Update), VALIDATION, "Stack [web] does not exist").await;
    check(
        web.clone().stack_name("1web"),
        VALIDATION,
        "1 validation error detected: Value '1web' at 'stackName' failed to satisfy constraint: Member must satisfy \
         regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*|arn:[-a-zA-Z0-9:/._+]*",
    )
    .await;
    check(
        web.clone().change_set_name("a_b"),
        VALIDATION,
        "1 validation error detected: Value 'a_b' at 'changeSetName' failed to satisfy constraint: Member must \
         satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*",
    )
    .await;
    check(
        web.clone().set_template_body(None),
        VALIDATION,
        "Either Template URL or Template Body must be specified.",
    )
    .await;
    let role = "Resources: {R: {Type: 'AWS::IAM::Role'}}";
    check(
        web.clone().template_body(role),
        "InsufficientCapabilitiesException",
        "Requires capabilities : [CAPABILITY_IAM]",
    )
    .await;
    let named = "Resources: {R: {Type: 'AWS::IAM::Role', Properties: {RoleName: x}}}";
    check(
        web.clone().template_body(named).capabilities("CAPABILITY_IAM".into()),
        "InsufficientCapabilitiesException",
        "Requires capabilities : [CAPABILITY_NAMED_IAM]",
    )
    .await;
    check(
        web.clone().tags(Tag::builder().key("aws:x").value("y").build()),
        VALIDATION,
        "Tag keys that begin with 'aws:' are reserved: 'aws:x'",
    )
    .await;

    world.deploy("web", "one", TOPIC, &[]).await;
    check(
        web.clone().change_set_name("two"),
        VALIDATION,
        "Stack [web] already exists and cannot be created again with the changeSet [two].",
    )
    .await;
    check(
        web.change_set_name("two")
            .change_set_type(ChangeSetType::Update)
            .on_stack_failure(OnStackFailure::Delete),
        VALIDATION,
        "OnStackFailure DELETE is only valid when ChangeSetType is CREATE.",
    )
    .await;
    let queue = "Resources: {Topic: {Type: 'AWS::SQS::Queue'}}";
    check(
        world.change_set("web", "two", queue),
        VALIDATION,
        "Update of resource type is not permitted. The new template modifies resource type of the following \
         resources: [Topic]",
    )
    .await;
    assert_eq!(
        world.describe("nothing", "one").await.expect_err("no stack").1,
        "Stack [nothing] does not exist"
    );
    let without_stack = world.cloudformation.describe_change_set().change_set_name("one").send().await;
    assert_eq!(
        refused(without_stack.expect_err("which stack?")).1,
        "StackName must be specified if ChangeSetName is not specified as an ARN."
    );
}

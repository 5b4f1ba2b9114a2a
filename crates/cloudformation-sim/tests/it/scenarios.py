"""Asks a CloudFormation what it does, and prints the answers as JSON: {"scenario.fact": value}.

    python scenarios.py http://127.0.0.1:5000

Every scenario uses stack names of its own, so that the script can run against any endpoint that is not AWS itself:
the simulator, moto, LocalStack. Errors become [code, message]; a scenario that breaks says so under ".broken".
"""

import json
import sys
import time
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

ENDPOINT = sys.argv[1]
RUN = uuid.uuid4().hex[:8]
REGION = "eu-west-1"
TOPIC = "Resources:\n  Topic:\n    Type: AWS::SNS::Topic\n"


def client(service):
    return boto3.client(
        service,
        endpoint_url=ENDPOINT,
        region_name=REGION,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=Config(retries={"max_attempts": 0}, connect_timeout=10, read_timeout=30),
    )


cfn = client("cloudformation")


def stack_name(name):
    return f"s{RUN}-{name}"


def scrub(text):
    return text.replace(f"s{RUN}-", "")


def attempt(call, **arguments):
    """What a call answers, or its error as [code, message]."""
    try:
        return call(**arguments)
    except ClientError as error:
        return [error.response["Error"]["Code"], scrub(error.response["Error"]["Message"])]
    except ResponseParserError:
        return ["-", "the answer is not XML"]


def until(look, wanted, seconds=20):
    """Asks until the answer is one of those wanted; the last answer."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen in wanted or time.monotonic() > deadline:
            return seen
        time.sleep(0.02)


SETTLED = (
    "CREATE_COMPLETE", "CREATE_FAILED", "ROLLBACK_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE",
    "DELETE_COMPLETE", "DELETE_FAILED",
)


def status(stack):
    return cfn.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]


def plan(stack, name, template, kind, **more):
    made = cfn.create_change_set(
        StackName=stack, ChangeSetName=name, ChangeSetType=kind, TemplateBody=template, **more
    )
    until(
        lambda: cfn.describe_change_set(ChangeSetName=made["Id"])["Status"], ("CREATE_COMPLETE", "FAILED")
    )
    return cfn.describe_change_set(ChangeSetName=made["Id"])


def deploy(stack, name, template, kind="CREATE", **more):
    planned = plan(stack, name, template, kind, **more)
    cfn.execute_change_set(ChangeSetName=planned["ChangeSetId"])
    until(lambda: status(planned["StackId"]), SETTLED)
    return planned["StackId"]


def changes(planned):
    return sorted(
        " ".join(
            filter(
                None,
                [
                    change["ResourceChange"]["Action"],
                    change["ResourceChange"]["LogicalResourceId"],
                    change["ResourceChange"].get("Replacement"),
                ],
            )
        )
        for change in planned["Changes"]
    )


def outputs(stack):
    described = cfn.describe_stacks(StackName=stack)["Stacks"][0]
    return {o["OutputKey"]: scrub(o["OutputValue"]) for o in described.get("Outputs", [])}


def create():
    stack = stack_name("create")
    planned = plan(stack, "one", TOPIC, "CREATE")
    yield "change_set", [planned["Status"], planned["ExecutionStatus"]]
    yield "changes", changes(planned)
    yield "under_review", status(stack)
    cfn.execute_change_set(ChangeSetName=planned["ChangeSetId"])
    yield "status", until(lambda: status(stack), SETTLED)
    after = cfn.describe_change_set(ChangeSetName=planned["ChangeSetId"])
    yield "executed", [after["Status"], after["ExecutionStatus"]]
    resources = cfn.describe_stack_resources(StackName=stack)["StackResources"]
    yield "resources", [[r["LogicalResourceId"], r["ResourceType"], r["ResourceStatus"]] for r in resources]
    events = cfn.describe_stack_events(StackName=stack)["StackEvents"]
    yield "events", [
        scrub(f"{e['LogicalResourceId']} {e['ResourceStatus']}") for e in reversed(events)
    ]
    yield "template", cfn.get_template(StackName=stack)["TemplateBody"] == TOPIC
    twice = attempt(cfn.execute_change_set, ChangeSetName=planned["ChangeSetId"])
    yield "execute_twice", twice[0] if isinstance(twice, list) else "accepted"


def evaluated(stack, head, expressions, **more):
    """What expressions evaluate to: outputs, and where a peer has none, the ids of parameters named after them."""
    template = {**head, "Resources": dict(head["Resources"])}
    template["Outputs"] = {key: {"Value": expression} for key, expression in expressions.items()}
    for key, expression in expressions.items():
        name = {"Fn::Join": ["", [expression, "-" + RUN]]}
        properties = {"Type": "String", "Value": "v", "Name": name}
        template["Resources"][key] = {"Type": "AWS::SSM::Parameter", "Properties": properties}
    deploy(stack, "one", json.dumps(template), **more)
    found = outputs(stack)
    if not found:
        resources = cfn.describe_stack_resources(StackName=stack)["StackResources"]
        # A peer may list what a condition leaves out, without a name.
        found = {
            r.get("LogicalResourceId"): (r.get("PhysicalResourceId") or "nothing").removesuffix("-" + RUN)
            for r in resources
        }
    # The account is each server's own.
    return {
        key: ":".join(
            "ACCOUNT" if len(part) == 12 and part.isdigit() else part
            for part in scrub(value).replace(RUN, "RUN").split(":")
        )
        for key, value in found.items()
        if key in expressions
    }


def ref(name):
    return {"Ref": name}


def att(resource, attribute):
    return {"Fn::GetAtt": [resource, attribute]}


def references():
    head = {
        "Parameters": {
            "Env": {"Type": "String", "Default": "prod"},
            "Names": {"Type": "CommaDelimitedList", "Default": "a,b,c"},
        },
        "Resources": {
            "Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": {"Fn::Sub": "${Env}-" + RUN}}},
            "Queue": {
                "Type": "AWS::SQS::Queue",
                "Properties": {"QueueName": {"Fn::Join": ["-", ["q", att("Topic", "TopicName")]]}},
            },
            "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "b-" + RUN}},
            "Role": {
                "Type": "AWS::IAM::Role",
                "Properties": {"RoleName": "r-" + RUN, "AssumeRolePolicyDocument": {}},
            },
        },
    }
    expressions = {
        "Ref": ref("Topic"),
        "QueueUrlPath": {"Fn::Select": [4, {"Fn::Split": ["/", ref("Queue")]}]},
        "QueueArn": att("Queue", "Arn"),
        "QueueName": att("Queue", "QueueName"),
        "BucketArn": att("Bucket", "Arn"),
        "BucketRef": ref("Bucket"),
        "RoleArn": att("Role", "Arn"),
        "Sub": {"Fn::Sub": "/${Env}/${Topic.TopicName}/${AWS::Region}"},
        "SubLiteral": {"Fn::Sub": "x-${!Env}"},
        "SubMap": {"Fn::Sub": ["${A}-${Env}", {"A": "b"}]},
        "Join": {"Fn::Join": ["-", ["a", ref("Env"), "c"]]},
        "JoinList": {"Fn::Join": ["+", ref("Names")]},
        "Select": {"Fn::Select": ["1", {"Fn::Split": [":", "a:b:c"]}]},
        "SelectName": {"Fn::Select": [1, ref("Names")]},
        "Base64": {"Fn::Base64": "abc"},
        "Zone": {"Fn::Select": [0, {"Fn::GetAZs": "eu-west-1"}]},
        "Cidr": {"Fn::Select": [1, {"Fn::Cidr": ["10.0.0.0/16", 4, 8]}]},
        "Partition": {"Fn::Join": ["-", ["p", ref("AWS::Partition")]]},
        "Suffix": ref("AWS::URLSuffix"),
        "Name": ref("AWS::StackName"),
        "NoValue": {"Fn::Join": ["", ["a", ref("AWS::NoValue"), "b"]]},
    }
    # One stack each, so that one a peer cannot evaluate does not hide the others.
    for key, expression in expressions.items():
        stack = stack_name("ref-" + key.lower())
        head["Parameters"]["Env"]["Default"] = key.lower()
        head["Resources"]["Bucket"]["Properties"]["BucketName"] = f"b-{RUN}-{key.lower()}"
        head["Resources"]["Role"]["Properties"]["RoleName"] = f"r-{RUN}-{key}"
        found = attempt(
            evaluated, stack=stack, head=head, expressions={"It": expression}, Capabilities=["CAPABILITY_NAMED_IAM"]
        )
        yield key, found.get("It", "nothing") if isinstance(found, dict) else found


def conditions():
    head = {
        "Parameters": {"Env": {"Type": "String", "Default": "test"}},
        "Mappings": {"Sizes": {"prod": {"Size": "large"}, "test": {"Size": "small"}}},
        "Conditions": {
            "IsProd": {"Fn::Equals": [ref("Env"), "prod"]},
            "IsTest": {"Fn::Not": [{"Condition": "IsProd"}]},
            "Both": {"Fn::And": [{"Condition": "IsTest"}, {"Fn::Equals": ["a", "a"]}]},
            "Either": {"Fn::Or": [{"Condition": "IsProd"}, {"Fn::Equals": ["a", "b"]}]},
        },
        "Resources": {
            "Always": {"Type": "AWS::SNS::Topic"},
            "Only": {"Type": "AWS::SNS::Topic", "Condition": "IsProd"},
        },
    }
    expressions = {
        "Size": {"Fn::FindInMap": ["Sizes", ref("Env"), "Size"]},
        "If": {"Fn::If": ["IsProd", "prod", "none"]},
        "Both": {"Fn::If": ["Both", "yes-both", "no"]},
        "Either": {"Fn::If": ["Either", "yes-either", "neither"]},
    }
    stack = stack_name("conditions")
    yield from evaluated(stack, head, expressions).items()
    resources = cfn.describe_stack_resources(StackName=stack)["StackResources"]
    kept = [r["LogicalResourceId"] for r in resources if r.get("LogicalResourceId") in ("Always", "Only")]
    yield "resources", sorted(kept)
    given = [{"ParameterKey": "Env", "ParameterValue": "prod"}]
    planned = plan(stack, "two", json.dumps(head), "UPDATE", Parameters=given)
    yield "added", [change for change in changes(planned) if change.startswith("Add")]


def parameters():
    template = "Parameters:\n  A: {Type: String, Default: d}\n  S: {Type: String, NoEcho: true, Default: hidden}\n" + TOPIC
    stack = stack_name("parameters")
    deploy(stack, "one", template, Parameters=[{"ParameterKey": "A", "ParameterValue": "given"}])
    described = cfn.describe_stacks(StackName=stack)["Stacks"][0]["Parameters"]
    yield "values", sorted([p["ParameterKey"], p["ParameterValue"]] for p in described)
    needs = "Parameters: {A: {Type: String}}\n" + TOPIC
    answer = attempt(
        cfn.create_change_set, StackName=stack_name("needs"), ChangeSetName="one", ChangeSetType="CREATE",
        TemplateBody=needs,
    )
    yield "missing", answer if isinstance(answer, list) else "accepted"
    answer = attempt(
        cfn.create_change_set, StackName=stack_name("unknown"), ChangeSetName="one", ChangeSetType="CREATE",
        TemplateBody=TOPIC, Parameters=[{"ParameterKey": "Z", "ParameterValue": "z"}],
    )
    yield "unknown", answer if isinstance(answer, list) else "accepted"


def updates():
    stack = stack_name("updates")
    both = TOPIC + "  Queue:\n    Type: AWS::SQS::Queue\n"
    deploy(stack, "one", both)
    other = TOPIC + "  Other:\n    Type: AWS::SQS::Queue\n"
    planned = plan(stack, "two", other, "UPDATE")
    yield "changes", changes(planned)
    cfn.execute_change_set(ChangeSetName=planned["ChangeSetId"])
    yield "status", until(lambda: status(stack), ("UPDATE_COMPLETE",))
    resources = cfn.describe_stack_resources(StackName=stack)["StackResources"]
    yield "resources", sorted(r["LogicalResourceId"] for r in resources)
    yield "template", cfn.get_template(StackName=stack)["TemplateBody"] == other


def replacement():
    stack = stack_name("replacement")

    def named(name, delay):
        return f"""
Resources:
  Topic: {{Type: AWS::SNS::Topic, Properties: {{TopicName: {name}-{RUN}}}}}
  Queue: {{Type: AWS::SQS::Queue, Properties: {{DelaySeconds: {delay}}}}}
"""

    deploy(stack, "one", named("a", 1))
    planned = plan(stack, "two", named("b", 2), "UPDATE")
    yield "changes", changes(planned)
    cfn.execute_change_set(ChangeSetName=planned["ChangeSetId"])
    yield "status", until(lambda: status(stack), ("UPDATE_COMPLETE",))
    resources = cfn.describe_stack_resources(StackName=stack)["StackResources"]
    topic = [r["PhysicalResourceId"] for r in resources if r["LogicalResourceId"] == "Topic"]
    yield "topic", [name.split(":")[-1].replace(RUN, "RUN") for name in topic]


def no_changes():
    stack = stack_name("no-changes")
    deploy(stack, "one", TOPIC)
    planned = plan(stack, "two", TOPIC, "UPDATE")
    yield "change_set", [planned["Status"], planned["ExecutionStatus"]]
    yield "reason", planned.get("StatusReason")


def names():
    stack = stack_name("names")
    missing = attempt(
        cfn.create_change_set, StackName=stack, ChangeSetName="one", ChangeSetType="UPDATE", TemplateBody=TOPIC
    )
    yield "update_of_nothing", missing if isinstance(missing, list) else "accepted"
    yield "describe_nothing", attempt(cfn.describe_stacks, StackName=stack)
    yield "events_of_nothing", attempt(cfn.describe_stack_events, StackName=stack)
    deploy(stack, "one", TOPIC)
    again = attempt(
        cfn.create_change_set, StackName=stack, ChangeSetName="two", ChangeSetType="CREATE", TemplateBody=TOPIC
    )
    yield "create_again", again if isinstance(again, list) else "accepted"
    unknown = attempt(cfn.describe_change_set, StackName=stack, ChangeSetName="nothing")
    yield "no_change_set", unknown if isinstance(unknown, list) else "accepted"
    plan(stack, "three", TOPIC + "  Queue:\n    Type: AWS::SQS::Queue\n", "UPDATE")
    listed = cfn.list_change_sets(StackName=stack)["Summaries"]
    yield "listed", "three" in [c["ChangeSetName"] for c in listed]
    cfn.delete_change_set(StackName=stack, ChangeSetName="three")
    deleted = attempt(cfn.describe_change_set, StackName=stack, ChangeSetName="three")
    yield "deleted_change_set", deleted if isinstance(deleted, list) else "still there"


def deletion():
    stack = stack_name("deletion")
    stack_id = deploy(stack, "one", TOPIC)
    cfn.delete_stack(StackName=stack)
    yield "status", until(lambda: status(stack_id), ("DELETE_COMPLETE",))
    yield "by_name", attempt(cfn.describe_stacks, StackName=stack)
    summaries = cfn.list_stacks(StackStatusFilter=["DELETE_COMPLETE"])["StackSummaries"]
    yield "listed", stack_id in [s["StackId"] for s in summaries]
    again = deploy(stack, "one", TOPIC)
    yield "again", [again != stack_id, status(stack)]
    nothing = attempt(cfn.delete_stack, StackName=stack_name("nothing"))
    yield "delete_nothing", nothing if isinstance(nothing, list) else "accepted"


def templates():
    cases = {
        "unresolved": TOPIC + "    Properties: {TopicName: !Ref Missing}\n",
        "empty": "Description: nothing\n",
        "yaml": "Resources: [",
        "unknown_condition": TOPIC + "    Condition: Missing\n",
        "circle": (
            "Resources:\n  A: {Type: AWS::SNS::Topic, DependsOn: B}\n"
            "  B: {Type: AWS::SNS::Topic, DependsOn: A}\n"
        ),
        "iam": "Resources: {R: {Type: AWS::IAM::Role, Properties: {AssumeRolePolicyDocument: {}}}}",
    }
    for name, template in cases.items():
        answer = attempt(
            cfn.create_change_set, StackName=stack_name("bad-" + name.replace("_", "-")), ChangeSetName="one",
            ChangeSetType="CREATE", TemplateBody=template,
        )
        yield name, answer if isinstance(answer, list) else "accepted"


def tags():
    stack = stack_name("tags")
    deploy(stack, "one", TOPIC, Tags=[{"Key": "team", "Value": "a & b <c>"}])
    yield "tags", cfn.describe_stacks(StackName=stack)["Stacks"][0]["Tags"]


def exports():
    template = TOPIC + "Outputs: {Out: {Value: shared-value, Export: {Name: exp-%s}}}\n" % RUN
    deploy(stack_name("exporter"), "one", template)
    yield "outputs", outputs(stack_name("exporter"))
    yield "imported", attempt(
        evaluated, stack=stack_name("importer"), head={"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}},
        expressions={"In": {"Fn::ImportValue": f"exp-{RUN}"}},
    )
    answer = attempt(
        cfn.create_change_set, StackName=stack_name("nothing-exported"), ChangeSetName="one",
        ChangeSetType="CREATE", TemplateBody=TOPIC + "Outputs: {In: {Value: !ImportValue nothing}}\n",
    )
    yield "missing", answer if isinstance(answer, list) else "accepted"


def validation():
    template = (
        "Description: d\nParameters: {A: {Type: String, Default: x, Description: who}}\n"
        + TOPIC + "    Properties: {TopicName: !Ref A}\n"
    )
    answer = cfn.validate_template(TemplateBody=template)
    yield "description", answer.get("Description")
    yield "parameters", answer["Parameters"]


def identity():
    sts = client("sts")
    role = "arn:aws:iam::111122223333:role/path/deploy"
    answer = sts.assume_role(RoleArn=role, RoleSessionName="syncline", ExternalId="right")
    yield "arn", answer["AssumedRoleUser"]["Arn"]
    keys = answer["Credentials"]
    yield "key", keys["AccessKeyId"][:4]
    assumed = boto3.client(
        "sts", endpoint_url=ENDPOINT, region_name=REGION, aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"], aws_session_token=keys["SessionToken"],
    ).get_caller_identity()
    yield "caller", [assumed["Account"], assumed["Arn"]]


def main():
    facts = {}
    scenarios = (
        create, references, conditions, parameters, updates, replacement, no_changes, names, deletion, templates,
        tags, exports, validation, identity,
    )
    for scenario in scenarios:
        try:
            for fact, value in scenario():
                facts[f"{scenario.__name__}.{fact}"] = value
        except Exception as error:  # noqa: BLE001 - a peer may break in any way, and that is a fact about it
            facts[f"{scenario.__name__}.broken"] = scrub(f"{type(error).__name__}: {error}")
    json.dump(facts, sys.stdout, indent=1, sort_keys=True)


main()

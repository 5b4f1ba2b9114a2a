//! What the simulator knows about resource types: names, attributes, and which changes need a new physical resource.
//!
//! Listed types answer exactly the attributes of the table, and refuse others. For every other type any attribute has
//! a plausible value, and only a property called `Name`, or named after the type (`ClusterName` of a `…::Cluster`),
//! needs a replacement; all other properties are updated in place.

use serde_json::{Map, Value};

use super::evaluate::Place;
use super::functions::as_text;

/// Whether a changed property is applied in place or needs a new physical resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recreation {
    /// Applied in place.
    Never,
    /// Needs a new physical resource.
    Always,
}

/// What is known about one type. Texts may hold `{name}`, `{hex}`, `{rand}`, `{uuid}`, `{id}` (the physical id),
/// `{p}`artition, `{r}`egion, `{a}`ccount, `{u}`rl suffix, `{stack}`, and `{=Property}` for a property's value.
#[derive(Debug)]
pub(crate) struct Facts {
    kind: &'static str,
    /// The property that names the resource, if it has one.
    name: &'static str,
    /// The physical id, which is also what `Ref` gives.
    physical: &'static str,
    /// The properties whose change needs a new resource, besides the name.
    replace: &'static [&'static str],
    attributes: &'static [(&'static str, &'static str)],
}

/// The IAM types, which need a capability, each with the property that makes it a named one.
pub(super) const IAM_TYPES: [(&str, &str); 10] = [
    ("AWS::IAM::AccessKey", "-"),
    ("AWS::IAM::Group", "GroupName"),
    ("AWS::IAM::InstanceProfile", "InstanceProfileName"),
    ("AWS::IAM::ManagedPolicy", "ManagedPolicyName"),
    ("AWS::IAM::Policy", "-"),
    ("AWS::IAM::Role", "RoleName"),
    ("AWS::IAM::RolePolicy", "-"),
    ("AWS::IAM::User", "UserName"),
    ("AWS::IAM::UserPolicy", "-"),
    ("AWS::IAM::UserToGroupAddition", "-"),
];

macro_rules! facts {
    ($($kind:literal, $name:literal, $physical:literal, [$($replace:literal),*],
       { $($attribute:literal : $value:literal),* $(,)? };)*) => {
        &[$(Facts {
            kind: $kind, name: $name, physical: $physical, replace: &[$($replace),*],
            attributes: &[$(($attribute, $value)),*],
        }),*]
    };
}

const TABLE: &[Facts] = facts! {
    "AWS::CloudFormation::WaitConditionHandle", "",
        "https://cloudformation-waitcondition-{r}.s3.{u}/{stack}/{uuid}/{name}", [], {};
    "AWS::CloudWatch::Alarm", "AlarmName", "{name}", [], { "Arn": "arn:{p}:cloudwatch:{r}:{a}:alarm:{name}" };
    "AWS::DynamoDB::Table", "TableName", "{name}", ["ImportSourceSpecification", "KeySchema"],
        { "Arn": "arn:{p}:dynamodb:{r}:{a}:table/{name}",
          "StreamArn": "arn:{p}:dynamodb:{r}:{a}:table/{name}/stream/2026-01-01T00:00:00.000" };
    "AWS::EC2::InternetGateway", "", "igw-{hex}", [], { "InternetGatewayId": "{id}" };
    "AWS::EC2::RouteTable", "", "rtb-{hex}", ["VpcId"], { "RouteTableId": "{id}" };
    "AWS::EC2::SecurityGroup", "", "sg-{hex}", ["GroupDescription", "GroupName", "VpcId"],
        { "GroupId": "{id}", "Id": "{id}", "VpcId": "{=VpcId}" };
    "AWS::EC2::VPC", "", "vpc-{hex}", ["CidrBlock", "Ipv4IpamPoolId", "Ipv4NetmaskLength"],
        { "CidrBlock": "{=CidrBlock}", "CidrBlockAssociations": "vpc-cidr-assoc-{hex}",
          "DefaultNetworkAcl": "acl-{hex}", "DefaultSecurityGroup": "sg-{hex}", "Ipv6CidrBlocks": "",
          "VpcId": "{id}" };
    "AWS::IAM::Group", "GroupName", "{name}", [], { "Arn": "arn:{p}:iam::{a}:group/{name}" };
    "AWS::IAM::InstanceProfile", "InstanceProfileName", "{name}", ["Path"],
        { "Arn": "arn:{p}:iam::{a}:instance-profile/{name}" };
    "AWS::IAM::Role", "RoleName", "{name}", ["Path"],
        { "Arn": "arn:{p}:iam::{a}:role/{name}", "RoleId": "AROA{rand}" };
    "AWS::IAM::User", "UserName", "{name}", [], { "Arn": "arn:{p}:iam::{a}:user/{name}" };
    "AWS::Logs::LogGroup", "LogGroupName", "{name}", ["LogGroupClass"],
        { "Arn": "arn:{p}:logs:{r}:{a}:log-group:{name}:*" };
    "AWS::S3::Bucket", "BucketName", "{name}", [],
        { "Arn": "arn:{p}:s3:::{name}", "DomainName": "{name}.s3.{u}",
          "DualStackDomainName": "{name}.s3.dualstack.{r}.{u}",
          "RegionalDomainName": "{name}.s3.{r}.{u}", "WebsiteURL": "http://{name}.s3-website-{r}.{u}",
          "MetadataTableConfiguration.S3TablesDestination.TableArn": "arn:{p}:s3tables:{r}:{a}:bucket/{name}" };
    "AWS::SNS::Topic", "TopicName", "arn:{p}:sns:{r}:{a}:{name}", ["FifoTopic"],
        { "TopicArn": "{id}", "TopicName": "{name}" };
    "AWS::SQS::Queue", "QueueName", "https://sqs.{r}.{u}/{a}/{name}", ["FifoQueue"],
        { "Arn": "arn:{p}:sqs:{r}:{a}:{name}", "QueueName": "{name}", "QueueUrl": "{id}" };
    "AWS::SSM::Parameter", "Name", "{name}", [], { "Type": "{=Type}", "Value": "{=Value}" };
};

/// Types of which the physical id or the replacing properties are known, but which answer any attribute.
const OPEN_TABLE: &[Facts] = facts! {
    "AWS::CloudFormation::Stack", "", "arn:{p}:cloudformation:{r}:{a}:stack/{name}/{uuid}", [], {};
    "AWS::EC2::Instance", "", "i-{hex}",
        ["AvailabilityZone", "ImageId", "KeyName", "NetworkInterfaces", "SubnetId"],
        { "InstanceId": "{id}", "PrivateIp": "10.0.0.4" };
    "AWS::EC2::Subnet", "", "subnet-{hex}", ["AvailabilityZone", "CidrBlock", "VpcId"],
        { "SubnetId": "{id}", "VpcId": "{=VpcId}", "AvailabilityZone": "{=AvailabilityZone}" };
    "AWS::Events::Rule", "Name", "{name}", ["EventBusName"], { "Arn": "arn:{p}:events:{r}:{a}:rule/{name}" };
    "AWS::IAM::ManagedPolicy", "ManagedPolicyName", "arn:{p}:iam::{a}:policy/{name}",
        ["Description", "Path"], { "PolicyArn": "{id}" };
    "AWS::KMS::Key", "", "{uuid}", [], { "Arn": "arn:{p}:kms:{r}:{a}:key/{id}", "KeyId": "{id}" };
    "AWS::Lambda::Function", "FunctionName", "{name}", ["PackageType"],
        { "Arn": "arn:{p}:lambda:{r}:{a}:function:{name}" };
    "AWS::Lambda::Permission", "", "{name}",
        ["Action", "EventSourceToken", "FunctionName", "FunctionUrlAuthType", "Principal", "SourceAccount", "SourceArn"],
        {};
    "AWS::SNS::Subscription", "", "{=TopicArn}:{uuid}", ["Endpoint", "Protocol", "TopicArn"], { "Arn": "{id}" };
    "AWS::SecretsManager::Secret", "Name", "arn:{p}:secretsmanager:{r}:{a}:secret:{name}-{rand}", [], { "Id": "{id}" };
    "AWS::StepFunctions::StateMachine", "StateMachineName", "arn:{p}:states:{r}:{a}:stateMachine:{name}",
        ["StateMachineType"], { "Arn": "{id}", "Name": "{name}" };
};

/// What is known about a type, if it is listed.
pub(crate) fn facts_of(kind: &str) -> Option<&'static Facts> {
    TABLE.iter().chain(OPEN_TABLE).find(|facts| facts.kind == kind)
}

/// Whether `Fn::GetAtt` accepts this attribute of this type.
pub(super) fn has_attribute(kind: &str, attribute: &str) -> bool {
    match TABLE.iter().find(|facts| facts.kind == kind) {
        Some(facts) => facts.attributes.iter().any(|(name, _)| *name == attribute),
        None => true,
    }
}

impl Recreation {
    /// Whether a change of this property of this type needs a new physical resource.
    pub(crate) fn of(kind: &str, property: &str) -> Self {
        let always = match facts_of(kind) {
            Some(facts) => facts.name == property || facts.replace.contains(&property),
            None if kind.starts_with("Custom::") || kind == "AWS::CloudFormation::CustomResource" => {
                property == "ServiceToken"
            }
            None => {
                let own = kind.rsplit("::").next().unwrap_or_default();
                property == "Name" || property.strip_suffix("Name") == Some(own)
            }
        };
        if always { Self::Always } else { Self::Never }
    }
}

/// All that the names of one physical resource are made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Naming {
    /// The type.
    pub(crate) kind: String,
    /// The resource's own name.
    pub(crate) name: String,
    /// 32 hexadecimal digits that make this physical resource different from all others.
    pub(crate) seed: String,
}

impl Naming {
    /// Names a new physical resource.
    pub(crate) fn of(
        kind: &str,
        logical_id: &str,
        properties: &Map<String, Value>,
        place: &Place,
        seed: String,
    ) -> Self {
        let given = facts_of(kind)
            .filter(|facts| !facts.name.is_empty())
            .and_then(|facts| properties.get(facts.name))
            .and_then(as_text);
        let random = seed[..12].to_uppercase();
        let name = given.unwrap_or_else(|| match kind {
            "AWS::SSM::Parameter" => format!("CFN-{logical_id}-{random}"),
            "AWS::S3::Bucket" => format!("{}-{logical_id}-{random}", place.stack_name).to_lowercase(),
            _ => format!("{}-{logical_id}-{random}", place.stack_name),
        });
        Self { kind: kind.to_owned(), name, seed }
    }

    /// The physical id, which is also what `Ref` gives.
    pub(crate) fn physical_id(&self, properties: &Map<String, Value>, place: &Place) -> String {
        match facts_of(&self.kind) {
            Some(facts) => self.fill(facts.physical, properties, place),
            None => self.name.clone(),
        }
    }

    /// The value of an attribute, if the type has it.
    pub(crate) fn attribute(
        &self,
        attribute: &str,
        properties: &Map<String, Value>,
        place: &Place,
    ) -> Option<String> {
        let known = facts_of(&self.kind)
            .and_then(|facts| facts.attributes.iter().find(|(name, _)| *name == attribute))
            .map(|(_, text)| self.fill(text, properties, place));
        match known {
            Some(value) => Some(value),
            None if has_attribute(&self.kind, attribute) => {
                Some(format!("{}.{attribute}", self.physical_id(properties, place)))
            }
            None => None,
        }
    }

    fn fill(&self, text: &str, properties: &Map<String, Value>, place: &Place) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let (key, tail) = after.split_once('}').unwrap_or((after, ""));
            rest = tail;
            match key {
                "name" => out.push_str(&self.name),
                "hex" => out.push_str(&self.seed[..17]),
                "rand" => out.push_str(&self.seed[..16].to_uppercase()),
                "uuid" => out.push_str(&hyphenated(&self.seed)),
                "id" => out.push_str(&self.physical_id(properties, place)),
                "p" => out.push_str(place.partition),
                "r" => out.push_str(&place.region),
                "a" => out.push_str(&place.account),
                "u" => out.push_str(place.url_suffix),
                "stack" => out.push_str(&place.stack_name),
                property => {
                    let value = property.strip_prefix('=').and_then(|name| properties.get(name));
                    out.push_str(&value.and_then(as_text).unwrap_or_default());
                }
            }
        }
        out.push_str(rest);
        out
    }
}

fn hyphenated(seed: &str) -> String {
    format!("{}-{}-{}-{}-{}", &seed[..8], &seed[8..12], &seed[12..16], &seed[16..20], &seed[20..32])
}

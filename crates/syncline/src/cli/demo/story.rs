//! What the demo pushes: a deployment file and three versions of a template.

/// The deployment file.
pub(super) const CONFIG_FILE: &str = "deployment.yaml";
/// The template it names.
pub(super) const TEMPLATE_FILE: &str = "infra/orders.yaml";

/// The deployment file's content.
pub(super) const DEPLOYMENT: &str = "\
template-file-path: infra/orders.yaml
parameters:
  Environment: demo
  SecondsToHandleAnOrder: 30
tags:
  team: shop
";

/// The first version, complete.
pub(super) const FIRST: &str = "\
AWSTemplateFormatVersion: '2010-09-09'
Description: Where the shop's orders go
Parameters:
  Environment:
    Type: String
  SecondsToHandleAnOrder:
    Type: Number
Resources:
  OrdersTopic:
    Type: AWS::SNS::Topic
    Properties:
      DisplayName: !Sub orders of ${Environment}
  OrdersQueue:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: !Ref SecondsToHandleAnOrder
  OrdersQueueUrl:
    Type: AWS::SSM::Parameter
    Properties:
      Name: !Sub /${Environment}/orders/queue-url
      Type: String
      Value: !Ref OrdersQueue
Outputs:
  TopicArn:
    Value: !Ref OrdersTopic
";

const LINE_BEFORE: &str = "      VisibilityTimeout: !Ref SecondsToHandleAnOrder\n";

/// The second version: its new resource is referred to by a misspelt name.
pub(super) fn broken() -> String {
    with_dead_letters("DeadLetter")
}

/// The third version: the name is right.
pub(super) fn fixed() -> String {
    with_dead_letters("DeadLetters")
}

fn with_dead_letters(name: &str) -> String {
    let added = format!(
        "      RedrivePolicy:
        deadLetterTargetArn: !GetAtt {name}.Arn
        maxReceiveCount: 3
  DeadLetters:
    Type: AWS::SQS::Queue
"
    );
    FIRST.replacen(LINE_BEFORE, &format!("{LINE_BEFORE}{added}"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_differ_as_the_story_tells() {
        assert!(!FIRST.contains("DeadLetters"));
        assert_eq!(broken().lines().count(), FIRST.lines().count() + 5);
        let (broken, fixed) = (broken(), fixed());
        let changed: Vec<_> = broken.lines().zip(fixed.lines()).filter(|(old, new)| old != new).collect();
        let (old, new) = changed[0];
        assert_eq!(changed.len(), 1);
        assert_eq!(
            (old.trim(), new.trim()),
            ("deadLetterTargetArn: !GetAtt DeadLetter.Arn", "deadLetterTargetArn: !GetAtt DeadLetters.Arn",)
        );
    }
}

//! ARNs of this API's resources, in either spelling of the service.

use syncline_store::Scope;
use syncline_wire::Service;

/// The id in an ARN of the given kind, if the ARN is one of this scope; the service may be spelled either
/// way (contract §2).
pub(in crate::server) fn id_in_scope<'a>(scope: &Scope, kind: &str, arn: &'a str) -> Option<&'a str> {
    let mut parts = arn.splitn(6, ':');
    let [head, partition, service, region, account] = [0; 5].map(|_| parts.next());
    let resource = parts.next()?;
    let ours = head == Some("arn")
        && partition == Some(scope.region.partition())
        && Service::ALL.iter().any(|known| service == Some(known.signing_name()))
        && region == Some(scope.region.as_str())
        && account == Some(scope.account.as_str());
    if !ours {
        return None;
    }
    resource.strip_prefix(kind)?.strip_prefix('/').filter(|id| !id.is_empty())
}

/// The ARN of a resource of this scope.
pub(in crate::server) fn arn(scope: &Scope, service: &str, kind: &str, id: &str) -> String {
    syncline_store::arn(service, scope.region.as_str(), scope.account.as_str(), kind, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_is_found_in_its_own_scope_under_either_spelling() {
        let scope = Scope {
            account: "111111111111".parse().expect("valid"),
            region: "eu-west-1".parse().expect("valid"),
        };
        let check =
            |arn: &str, id: Option<&str>| assert_eq!(id_in_scope(&scope, "connection", arn), id, "{arn}");
        check("arn:aws:codeconnections:eu-west-1:111111111111:connection/a", Some("a"));
        check("arn:aws:codestar-connections:eu-west-1:111111111111:connection/a", Some("a"));
        check("arn:aws:codeconnections:eu-west-2:111111111111:connection/a", None);
        check("arn:aws:codeconnections:eu-west-1:222222222222:connection/a", None);
        check("arn:aws-cn:codeconnections:eu-west-1:111111111111:connection/a", None);
        check("arn:aws:codecommit:eu-west-1:111111111111:connection/a", None);
        check("arn:aws:codeconnections:eu-west-1:111111111111:host/a", None);
        check("arn:aws:codeconnections:eu-west-1:111111111111:connection/", None);
        check("connection/a", None);
        check("", None);
        assert_eq!(
            arn(&scope, "codeconnections", "host", "x-1"),
            "arn:aws:codeconnections:eu-west-1:111111111111:host/x-1"
        );
    }
}

//! How broken constraints are told, in full; every single one is in [`crate::conformance`].

use serde_json::json;

use super::client::{Client, PROTOCOLS, Server};

#[tokio::test]
async fn several_broken_constraints_are_told_in_the_model_s_order() {
    let server = Server::start().await;
    for protocol in PROTOCOLS {
        let client = Client { protocol, ..server.client() };
        let input = json!({
            "Tags": [{"Key": "", "Value": "x"}, {"Value": "x"}],
            "ConnectionName": "a-name-of-thirty-three-characters",
            "ProviderType": "Sub\u{e4}version",
        });
        let message = "4 validation errors detected: Value 'Sub\u{e4}version' at 'providerType' failed to satisfy constraint: \
             Member must satisfy enum value set: [Bitbucket, GitHub, GitHubEnterpriseServer, GitLab, \
             GitLabSelfManaged, AzureDevOps, Gitea, Git]; Value 'a-name-of-thirty-three-characters' at \
             'connectionName' failed to satisfy constraint: Member must have length less than or equal to 32; \
             Value '' at 'tags.1.member.key' failed to satisfy constraint: Member must have length greater than or \
             equal to 1; Value null at 'tags.2.member.key' failed to satisfy constraint: Member must not be null";
        client.refuses("CreateConnection", input, "ValidationException", message).await;
    }
}

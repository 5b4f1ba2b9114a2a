//! Listings page by page, and the tokens that lead from one to the next.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::client::{Client, Server, THEIRS};
use super::scene::{Scene, authorize, but, connection, link, of_link, sync_input, text};

const ROWS: usize = 120;

/// One kind of listing.
struct Listing {
    operation: &'static str,
    input: Value,
    list: &'static str,
    name: &'static str,
    /// How a bad token is refused.
    code: &'static str,
}

impl Listing {
    fn names(&self, page: &Value) -> Vec<String> {
        let rows = page[self.list].as_array().expect("a list").iter();
        rows.map(|row| text(row, self.name)).collect()
    }

    async fn pages(&self, client: Client<'_>, max_results: Option<usize>) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        let mut token = Value::Null;
        loop {
            let input = but(self.input.clone(), json!({"MaxResults": max_results, "NextToken": token}));
            let page = client.ok(self.operation, input).await;
            pages.push(self.names(&page));
            assert!(pages.len() <= ROWS, "it does not end");
            match page.get("NextToken") {
                Some(next) => token = next.clone(),
                None => return pages,
            }
        }
    }

    async fn first_token(&self, client: Client<'_>) -> String {
        let page = client.ok(self.operation, but(self.input.clone(), json!({"MaxResults": 7}))).await;
        text(&page, "/NextToken")
    }

    async fn refuses(&self, client: Client<'_>, token: &str) {
        let input = but(self.input.clone(), json!({"NextToken": token}));
        let message = "NextToken is not one that this listing gave out, or it has expired";
        client.refuses(self.operation, input, self.code, message).await;
    }
}

/// A server with 120 of everything, and how each is listed.
async fn crowded() -> (Server, Vec<Listing>) {
    let server = Server::with(|config| {
        config.quotas.hosts = 200;
        config.quotas.repository_links = 200;
        config.quotas.sync_configurations = 200;
        config.quotas.sync_configurations_per_link = 200;
        config.quotas.sync_configurations_per_branch = 200;
    })
    .await;
    let client = server.client();
    let mut on = String::new();
    for row in 0..ROWS {
        // Some rows of one moment, some of the next: both must be told apart.
        server.clock.advance_ms(i64::from(row % 3 == 0));
        let name = format!("n{row:03}");
        let host = json!({
            "Name": name, "ProviderType": "Git", "ProviderEndpoint": "https://git.example.com",
        });
        client.ok("CreateHost", host).await;
        let made = client.ok("CreateConnection", json!({"ConnectionName": name, "ProviderType": "GitHub"}));
        let arn = text(&made.await, "/ConnectionArn");
        authorize(&server, client.key, &arn).await;
        let id = link(client, &arn, &name).await;
        if row == 0 {
            on = id;
        }
        client.ok("CreateSyncConfiguration", sync_input(&on, &name)).await;
    }
    let of_link = of_link(&on);
    let listing = |operation, input, list, name, code| Listing { operation, input, list, name, code };
    let (validation, invalid) = ("ValidationException", "InvalidInputException");
    let listings = vec![
        listing("ListHosts", json!({}), "Hosts", "/Name", validation),
        listing("ListConnections", json!({}), "Connections", "/ConnectionName", validation),
        listing("ListRepositoryLinks", json!({}), "RepositoryLinks", "/RepositoryName", invalid),
        listing("ListSyncConfigurations", of_link.clone(), "SyncConfigurations", "/ResourceName", invalid),
        listing("ListRepositorySyncDefinitions", of_link, "RepositorySyncDefinitions", "/Target", invalid),
    ];
    (server, listings)
}

#[tokio::test]
async fn a_hundred_and_twenty_are_listed_once_each_whatever_the_page() {
    let (server, listings) = crowded().await;
    let all: BTreeSet<String> = (0..ROWS).map(|row| format!("n{row:03}")).collect();
    for listing in &listings {
        for (max_results, expected) in [
            (None, vec![50, 50, 20]),
            (Some(0), vec![50, 50, 20]),
            (Some(1), vec![1; ROWS]),
            (Some(50), vec![50, 50, 20]),
            (Some(60), vec![60, 60]),
            (Some(100), vec![100, 20]),
        ] {
            let pages = listing.pages(server.client(), max_results).await;
            let sizes: Vec<_> = pages.iter().map(Vec::len).collect();
            assert_eq!(sizes, expected, "{} {max_results:?}", listing.operation);
            let names: BTreeSet<String> = pages.into_iter().flatten().collect();
            assert_eq!(names, all, "{} {max_results:?}", listing.operation);
        }
    }
}

#[tokio::test]
async fn a_token_leads_on_only_from_where_it_came() {
    let (server, listings) = crowded().await;
    let client = server.client();
    let mut tokens = Vec::new();
    for listing in &listings {
        tokens.push(listing.first_token(client).await);
    }
    for (at, listing) in listings.iter().enumerate() {
        for (from, token) in tokens.iter().enumerate() {
            if from != at {
                listing.refuses(client, token).await;
            }
        }
        let token = &tokens[at];
        for position in [0, 10, token.len() / 2, token.len() - 1] {
            let mut tampered = token.clone().into_bytes();
            tampered[position] = if tampered[position] == b'A' { b'B' } else { b'A' };
            listing.refuses(client, &String::from_utf8(tampered).expect("ASCII")).await;
        }
        listing.refuses(client, &token[1..]).await;
        listing.refuses(client, &format!("{token}A")).await;
        listing.refuses(client, "n050").await;
        if listing.input == json!({}) {
            listing.refuses(Client { key: THEIRS, ..client }, token).await;
            listing.refuses(Client { region: "eu-west-2", ..client }, token).await;
        }
        // The other spelling of the service and the other protocol are the same listing.
        for &service in syncline_wire::Service::ALL {
            for protocol in super::client::PROTOCOLS {
                let client = Client { service, protocol, ..client };
                let input = but(listing.input.clone(), json!({"NextToken": token, "MaxResults": 3}));
                let page = client.ok(listing.operation, input).await;
                assert_eq!(listing.names(&page).len(), 3);
            }
        }
    }
    server.clock.advance_ms(24 * 60 * 60 * 1000 - 1);
    for (listing, token) in listings.iter().zip(&tokens) {
        let input = but(listing.input.clone(), json!({"NextToken": token}));
        client.ok(listing.operation, input).await;
    }
    server.clock.advance_ms(1);
    for (listing, token) in listings.iter().zip(&tokens) {
        listing.refuses(client, token).await;
    }
}

#[tokio::test]
async fn a_token_is_bound_to_its_filters() {
    let scene = Scene::new().await;
    let client = scene.client();
    for name in ["a", "b"] {
        connection(client, name).await;
    }
    let filtered = json!({"ProviderTypeFilter": "GitHub", "MaxResults": 1});
    let first = client.ok("ListConnections", filtered.clone()).await;
    let token = text(&first, "/NextToken");
    client.ok("ListConnections", but(filtered.clone(), json!({"NextToken": token}))).await;
    let message = "NextToken is not one that this listing gave out, or it has expired";
    for other in [
        json!({"ProviderTypeFilter": null}),
        json!({"ProviderTypeFilter": "GitLab"}),
        json!({"HostArnFilter": scene.host}),
    ] {
        let input = but(but(filtered.clone(), json!({"NextToken": token})), other);
        client.refuses("ListConnections", input, "ValidationException", message).await;
    }

    let second = link(client, &scene.connection, "second").await;
    for (on, name) in [(&scene.link, "a"), (&second, "b"), (&second, "c")] {
        client.ok("CreateSyncConfiguration", sync_input(on, name)).await;
    }
    let page = client.ok("ListSyncConfigurations", but(of_link(&scene.link), json!({"MaxResults": 1}))).await;
    let token = text(&page, "/NextToken");
    let input = but(of_link(&second), json!({"NextToken": token}));
    client.refuses("ListSyncConfigurations", input, "InvalidInputException", message).await;
}

//! Listings in pages: every row once, in the order of their making, whatever the size of a page.

use syncline_store::{Change, Cursor, NewHost, Page, PageOf, Store};

use crate::world::{CFN, World, ours, scope_of};

const ROWS: usize = 7;

async fn walk<T>(
    limit: usize,
    list: impl AsyncFn(&Page) -> PageOf<T>,
    name: impl Fn(&T) -> String,
) -> Vec<String> {
    let mut names = Vec::new();
    let mut after: Option<Cursor> = None;
    loop {
        let page = list(&Page { after: after.clone(), limit }).await;
        assert!(page.items.len() <= limit);
        names.extend(page.items.iter().map(&name));
        match page.next {
            None => return names,
            Some(next) => {
                assert_eq!(page.items.len(), limit, "only the last page is short");
                assert_ne!(after.as_ref(), Some(&next));
                after = Some(next);
            }
        }
    }
}

async fn check<T>(list: impl AsyncFn(&Page) -> PageOf<T>, name: impl Fn(&T) -> String) {
    let whole = walk(100, &list, &name).await;
    assert_eq!(whole.len(), ROWS);
    for limit in 1..=ROWS + 1 {
        assert_eq!(walk(limit, &list, &name).await, whole, "pages of {limit}");
    }
    let made_at = |name: &str| name.split('-').next().expect("a time").parse::<usize>().expect("a number");
    assert!(whole.iter().map(|name| made_at(name)).is_sorted(), "{whole:?}");
}

/// Rows of three moments; those of one moment have only their ids to be told apart by.
async fn filled() -> (World, String) {
    let world = World::new();
    let links = world.link(&scope_of("333333333333", "eu-west-1"), "elsewhere").await;
    drop(links);
    let mut link = String::new();
    for row in 0..ROWS {
        if row % 3 == 0 {
            world.clock.advance_ms(1);
        }
        let name = format!("{}-{row}", row / 3);
        let host = NewHost {
            id: format!("{name}-{}", uuid::Uuid::new_v4()),
            service: "codeconnections".to_owned(),
            name: name.clone(),
            provider_type: "Git".to_owned(),
            provider_endpoint: "https://git.example.com".to_owned(),
            vpc_configuration: None,
            tags: Vec::new(),
        };
        world.store.create_host(&ours(), host, 100, Change::unrecorded()).await.expect("written");
        let of_row = world.link(&ours(), &name).await;
        if row == 0 {
            link = of_row;
        }
    }
    for row in 0..ROWS {
        if row % 3 == 0 {
            world.clock.advance_ms(1);
        }
        world.sync(&link, &format!("{}-{row}", row / 3), "main").await;
    }
    (world, link)
}

#[tokio::test]
async fn every_row_is_listed_once_in_the_order_of_its_making() {
    let (world, link) = filled().await;
    let store: &Store = &world.store;
    check(async |page| store.hosts(&ours(), page).await.expect("read"), |host| host.name.clone()).await;
    check(async |page| store.connections(&ours(), None, None, page).await.expect("read"), |c| c.name.clone())
        .await;
    check(async |page| store.links(&ours(), page).await.expect("read"), |link| link.repository_name.clone())
        .await;
    for of_link in [Some(link.as_str()), None] {
        check(
            async |page| {
                store.configurations(&ours(), of_link, CFN, page).await.expect("read").expect("a link")
            },
            |configuration| configuration.resource_name.clone(),
        )
        .await;
    }
}

#[tokio::test]
async fn filters_hold_on_every_page() {
    let (world, link) = filled().await;
    let store = &world.store;
    let page = Page { after: None, limit: 3 };
    assert!(store.connections(&ours(), Some("GitLab"), None, &page).await.expect("read").items.is_empty());
    assert!(store.connections(&ours(), None, Some("nobody"), &page).await.expect("read").items.is_empty());
    check(
        async |page| store.connections(&ours(), Some("GitHub"), None, page).await.expect("read"),
        |c| c.name.clone(),
    )
    .await;
    assert!(store.configurations(&ours(), Some("nobody"), CFN, &page).await.expect("read").is_none());
    let foreign = scope_of("222222222222", "eu-west-1");
    assert!(store.configurations(&foreign, Some(&link), CFN, &page).await.expect("read").is_none());
    let other =
        store.configurations(&ours(), Some(&link), "OTHER", &page).await.expect("read").expect("a link");
    assert!(other.items.is_empty());
}

#[tokio::test]
async fn a_row_that_goes_between_two_pages_skips_no_other() {
    let (world, _) = filled().await;
    let store = &world.store;
    let first = store.connections(&ours(), None, None, &Page { after: None, limit: 3 }).await.expect("read");
    let last = first.items.last().expect("three").id.clone();
    assert!(
        store.delete_connection(&ours(), &last, Change::unrecorded()).await.expect("deleted"),
        "the cursor's own row"
    );
    let rest =
        store.connections(&ours(), None, None, &Page { after: first.next, limit: 100 }).await.expect("read");
    assert_eq!(rest.items.len(), ROWS - 3);
}

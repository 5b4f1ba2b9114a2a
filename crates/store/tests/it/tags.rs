//! Tags: merged by key, one set for each resource, gone with it.

use syncline_store::{Change, ChangeTags, CreateHost, CreateLink, TAGS_PER_RESOURCE, Tag, Tagged};

use crate::world::{World, new_host, new_link, ours, scope_of};

fn tag(key: &str, value: &str) -> Tag {
    Tag { key: key.to_owned(), value: value.to_owned() }
}

/// A world with one of everything that has tags, each made with the tag `made=here`.
async fn tagged() -> (World, [Tagged; 3]) {
    let world = World::new();
    let store = &world.store;
    let tags = vec![tag("made", "here")];
    let mut host = new_host("forge-1");
    host.tags = tags.clone();
    let made = store.create_host(&ours(), host, 5, Change::unrecorded()).await.expect("written");
    assert_eq!(made, CreateHost::Created);
    let connection = world.available_connection(&ours(), "web").await;
    let mut link = new_link(&connection, "infra");
    link.tags = tags.clone();
    let made = store.create_link(&ours(), link, 5, Change::unrecorded()).await.expect("written");
    let CreateLink::Created(link) = made else { panic!("{made:?}") };
    let connection = Tagged::Connection(connection);
    assert_eq!(world.tag(&connection, tags).await, ChangeTags::Changed);
    (world, [Tagged::Host("forge-1".to_owned()), connection, Tagged::Link(link.id)])
}

impl World {
    async fn tag(&self, resource: &Tagged, tags: Vec<Tag>) -> ChangeTags {
        self.store.tag(&ours(), resource.clone(), tags, Change::unrecorded()).await.expect("written")
    }

    async fn untag(&self, resource: &Tagged, keys: &[&str]) -> ChangeTags {
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        self.store.untag(&ours(), resource.clone(), keys, Change::unrecorded()).await.expect("written")
    }

    async fn tags(&self, resource: &Tagged) -> Vec<Tag> {
        self.store.tags(&ours(), resource).await.expect("read").expect("a resource")
    }
}

#[tokio::test]
async fn tags_are_merged_by_key_and_taken_away_by_key() {
    let (world, resources) = tagged().await;
    for resource in &resources {
        assert_eq!(world.tags(resource).await, [tag("made", "here")]);
        assert_eq!(world.tag(resource, vec![tag("z", ""), tag("made", "there")]).await, ChangeTags::Changed);
        assert_eq!(world.tags(resource).await, [tag("made", "there"), tag("z", "")]);
    }
    for resource in &resources {
        assert_eq!(world.untag(resource, &["z", "never"]).await, ChangeTags::Changed);
        assert_eq!(world.tags(resource).await, [tag("made", "there")]);
    }
}

#[tokio::test]
async fn a_resource_has_two_hundred_tags_at_the_most_and_a_refusal_changes_none() {
    let (world, resources) = tagged().await;
    let many = |count: usize| (0..count).map(|i| tag(&format!("{i}"), "x")).collect::<Vec<_>>();
    for resource in &resources {
        let over = world.tag(resource, many(TAGS_PER_RESOURCE)).await;
        assert_eq!(over, ChangeTags::LimitExceeded(TAGS_PER_RESOURCE + 1));
        assert_eq!(world.tags(resource).await, [tag("made", "here")]);
        assert_eq!(world.tag(resource, many(TAGS_PER_RESOURCE - 1)).await, ChangeTags::Changed);
        assert_eq!(world.tag(resource, vec![tag("made", "again")]).await, ChangeTags::Changed);
        assert_eq!(world.tags(resource).await.len(), TAGS_PER_RESOURCE);
    }
}

#[tokio::test]
async fn tags_are_their_scope_s_and_their_kind_s() {
    let (world, resources) = tagged().await;
    let store = &world.store;
    let [host, connection, link] = &resources;
    let (Tagged::Host(host_id), Tagged::Link(link_id)) = (host, link) else { panic!("as made") };
    let strangers =
        [Tagged::Connection(host_id.clone()), Tagged::Host(link_id.clone()), Tagged::Link("x".into())];
    for stranger in &strangers {
        assert_eq!(store.tags(&ours(), stranger).await.expect("read"), None, "{stranger:?}");
        assert_eq!(world.tag(stranger, vec![tag("a", "b")]).await, ChangeTags::NotFound);
        assert_eq!(world.untag(stranger, &["made"]).await, ChangeTags::NotFound);
    }
    for elsewhere in [scope_of("222222222222", "eu-west-1"), scope_of("111111111111", "eu-west-2")] {
        for resource in &resources {
            assert_eq!(store.tags(&elsewhere, resource).await.expect("read"), None);
            let change = || Change::unrecorded();
            let tags = vec![tag("theirs", "now")];
            let tagged = store.tag(&elsewhere, resource.clone(), tags, change()).await.expect("written");
            assert_eq!(tagged, ChangeTags::NotFound);
            let keys = vec!["made".to_owned()];
            let untagged = store.untag(&elsewhere, resource.clone(), keys, change()).await.expect("written");
            assert_eq!(untagged, ChangeTags::NotFound);
        }
    }
    for resource in [host, connection, link] {
        assert_eq!(world.tags(resource).await, [tag("made", "here")]);
    }
}

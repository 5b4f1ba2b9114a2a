//! Tags of connections, hosts and repository links.

use std::collections::HashSet;

use syncline_store::{ChangeTags, TAGS_PER_RESOURCE, Tag as StoredTag, Tagged};
use syncline_wire::{
    ErrorCode, ListTagsForResourceInput, ListTagsForResourceOutput, Tag, TagResourceInput, TagResourceOutput,
    UntagResourceInput, UntagResourceOutput,
};

use super::arns::id_in_scope;
use super::{Answer, ApiError, Call};

/// Tags as they are stored: no key twice, and none of AWS's own. Both are told as the model's constraints are.
pub(super) fn to_store(tags: Option<&Vec<Tag>>, refuse: fn(String) -> ApiError) -> Answer<Vec<StoredTag>> {
    let tags = tags.map(Vec::as_slice).unwrap_or_default();
    let mut broken = Broken::default();
    let mut keys = HashSet::new();
    for (i, tag) in tags.iter().enumerate() {
        let path = format!("tags.{}.member.key", i + 1);
        broken.check_key(&tag.key, &path);
        if !keys.insert(&tag.key) {
            broken.add(&tag.key, &path, "Member must not be given twice");
        }
    }
    broken.none_or(refuse)?;
    Ok(tags.iter().map(|tag| StoredTag { key: tag.key.clone(), value: tag.value.clone() }).collect())
}

/// Constraints that were broken and that the model does not know.
#[derive(Debug, Default)]
struct Broken(Vec<String>);

impl Broken {
    fn check_key(&mut self, key: &str, path: &str) {
        if key.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:")) {
            self.add(key, path, "Member must not begin with aws:");
        }
    }

    fn add(&mut self, value: &str, path: &str, rule: &str) {
        self.0.push(format!("Value '{value}' at '{path}' failed to satisfy constraint: {rule}"));
    }

    fn none_or(self, refuse: fn(String) -> ApiError) -> Answer<()> {
        let plural = match self.0.len() {
            0 => return Ok(()),
            1 => "",
            _ => "s",
        };
        Err(refuse(format!("{} validation error{plural} detected: {}", self.0.len(), self.0.join("; "))))
    }
}

fn not_found(arn: &str) -> ApiError {
    ApiError::not_found("resource", arn)
}

fn resource(call: &Call, arn: &str) -> Answer<Tagged> {
    let id = |kind| id_in_scope(&call.scope, kind, arn).map(str::to_owned);
    let host = || id("host").map(Tagged::Host);
    // Everywhere else a link's id is found however it is written.
    let link = || id("repository-link").map(|id| Tagged::Link(id.to_ascii_lowercase()));
    id("connection").map(Tagged::Connection).or_else(host).or_else(link).ok_or_else(|| not_found(arn))
}

pub(in crate::server) async fn list_tags_for_resource(
    call: &Call,
    input: ListTagsForResourceInput,
) -> Answer<ListTagsForResourceOutput> {
    let resource = resource(call, &input.resource_arn)?;
    let tags =
        call.front.store.tags(&call.scope, &resource).await?.ok_or_else(|| not_found(&input.resource_arn))?;
    let tags = tags.into_iter().map(|tag| Tag { key: tag.key, value: tag.value });
    Ok(ListTagsForResourceOutput { tags: Some(tags.collect()) })
}

pub(in crate::server) async fn tag_resource(
    call: &Call,
    input: TagResourceInput,
) -> Answer<TagResourceOutput> {
    let tags = to_store(Some(&input.tags), ApiError::validation)?;
    let resource = resource(call, &input.resource_arn)?;
    let change = call.asked.change(move |outcome| {
        changed(outcome, &input.resource_arn)?;
        Ok(TagResourceOutput {})
    });
    call.front.store.tag(&call.scope, resource, tags, change).await?
}

pub(in crate::server) async fn untag_resource(
    call: &Call,
    input: UntagResourceInput,
) -> Answer<UntagResourceOutput> {
    let mut broken = Broken::default();
    for (i, key) in input.tag_keys.iter().enumerate() {
        broken.check_key(key, &format!("tagKeys.{}.member", i + 1));
    }
    broken.none_or(ApiError::validation)?;
    let resource = resource(call, &input.resource_arn)?;
    let change = call.asked.change(move |outcome| {
        changed(outcome, &input.resource_arn)?;
        Ok(UntagResourceOutput {})
    });
    call.front.store.untag(&call.scope, resource, input.tag_keys, change).await?
}

fn changed(outcome: ChangeTags, arn: &str) -> Answer<()> {
    match outcome {
        ChangeTags::Changed => Ok(()),
        ChangeTags::NotFound => Err(not_found(arn)),
        ChangeTags::LimitExceeded(count) => Err(ApiError::new(
            ErrorCode::LimitExceeded,
            format!("The resource {arn} would have {count} tags, more than its quota of {TAGS_PER_RESOURCE}"),
        )),
    }
}

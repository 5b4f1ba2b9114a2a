//! Paging tokens: opaque, authenticated, and of use only for the call they came from.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use syncline_seams::Secret;
use syncline_store::{Cursor, Page};

use super::{Answer, ApiError, Call};

/// Rows in a page unless the caller says otherwise (contract §2).
const DEFAULT_PAGE: usize = 50;
/// How long a token is good for, in milliseconds.
const LIFETIME_MS: i64 = 24 * 60 * 60 * 1000;
const TAG_BYTES: usize = 32;

/// Makes and checks paging tokens.
pub struct PageTokens {
    key: Secret<[u8; 32]>,
}

impl std::fmt::Debug for PageTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PageTokens(***)")
    }
}

#[derive(Serialize, Deserialize)]
struct Content {
    created_at_ms: i64,
    id: String,
    expires_at_ms: i64,
}

impl PageTokens {
    /// Tokens authenticated with `key`.
    #[must_use]
    pub fn new(key: Secret<[u8; 32]>) -> Self {
        Self { key }
    }

    fn mac(&self, bound_to: &str, content: &[u8]) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose()).expect("any length");
        mac.update(&u64::try_from(bound_to.len()).unwrap_or(u64::MAX).to_be_bytes());
        mac.update(bound_to.as_bytes());
        mac.update(content);
        mac
    }

    fn make(&self, bound_to: &str, cursor: &Cursor, now_ms: i64) -> String {
        let content = Content {
            created_at_ms: cursor.created_at_ms,
            id: cursor.id.clone(),
            expires_at_ms: now_ms + LIFETIME_MS,
        };
        let content = serde_json::to_vec(&content).unwrap_or_default();
        let mut token = self.mac(bound_to, &content).finalize().into_bytes().to_vec();
        token.extend_from_slice(&content);
        URL_SAFE_NO_PAD.encode(token)
    }

    fn check(&self, bound_to: &str, token: &str, now_ms: i64) -> Option<Cursor> {
        let token = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (tag, content) = token.split_at_checked(TAG_BYTES)?;
        self.mac(bound_to, content).verify_slice(tag).ok()?;
        let content: Content = serde_json::from_slice(content).ok()?;
        (content.expires_at_ms > now_ms)
            .then_some(Cursor { created_at_ms: content.created_at_ms, id: content.id })
    }
}

/// One listing: its token is good for the same account, region, operation and filters only.
pub(in crate::server) struct Listing<'c> {
    call: &'c Call,
    bound_to: String,
    pub(in crate::server) page: Page,
}

impl<'c> Listing<'c> {
    /// Reads `MaxResults` and `NextToken`; a bad token is refused with `refuse`.
    pub(in crate::server) fn of(
        call: &'c Call,
        operation: &str,
        filters: &[&str],
        max_results: Option<i32>,
        next_token: Option<&str>,
        refuse: fn(String) -> ApiError,
    ) -> Answer<Self> {
        let mut bound_to = format!("{}\n{}\n{operation}", call.scope.account, call.scope.region);
        for filter in filters {
            bound_to.push('\n');
            bound_to.push_str(filter);
        }
        let limit = match max_results {
            None | Some(0) => DEFAULT_PAGE,
            Some(max) => usize::try_from(max).unwrap_or(DEFAULT_PAGE),
        };
        let after = next_token
            .map(|token| {
                call.front.tokens.check(&bound_to, token, call.front.clock.now_ms()).ok_or_else(|| {
                    refuse("NextToken is not one that this listing gave out, or it has expired".to_owned())
                })
            })
            .transpose()?;
        Ok(Self { call, bound_to, page: Page { after, limit } })
    }

    /// The token of the next page.
    pub(in crate::server) fn next(&self, cursor: Option<&Cursor>) -> Option<String> {
        cursor
            .map(|cursor| self.call.front.tokens.make(&self.bound_to, cursor, self.call.front.clock.now_ms()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_only_where_it_came_from() {
        let tokens = PageTokens::new(Secret::from([1; 32]));
        let cursor = Cursor { created_at_ms: 5, id: "a".to_owned() };
        let token = tokens.make("111\neu\nListHosts", &cursor, 1000);
        assert_eq!(tokens.check("111\neu\nListHosts", &token, 1000), Some(cursor));
        assert_eq!(tokens.check("222\neu\nListHosts", &token, 1000), None);
        assert_eq!(tokens.check("111\neu\nListConnections", &token, 1000), None);
        assert_eq!(tokens.check("111\neu\nListHosts", &token, 1000 + LIFETIME_MS), None);
        assert_eq!(PageTokens::new(Secret::from([2; 32])).check("111\neu\nListHosts", &token, 1000), None);
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(tokens.check("111\neu\nListHosts", &changed, 1000), None, "byte {at}");
        }
        assert_eq!(tokens.check("", "", 0), None);
    }
}

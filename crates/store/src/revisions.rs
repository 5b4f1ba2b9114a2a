//! Revisions as they are stored and answered.

use syncline_model::sync::Revision;

use crate::{StoreError, StoreResult};

/// A revision as it is stored: what [`Revision`] is written as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionDocument(pub(crate) String);

/// The members of a stored revision in the order in which they are written, and their names in the API's words.
const MEMBERS: [(&str, &str); 6] = [
    (r#"{"branch":"#, r#"{"Branch":"#),
    (r#","directory":"#, r#","Directory":"#),
    (r#","owner_id":"#, r#","OwnerId":"#),
    (r#","repository_name":"#, r#","RepositoryName":"#),
    (r#","provider_type":"#, r#","ProviderType":"#),
    (r#","sha":"#, r#","Sha":"#),
];

impl RevisionDocument {
    /// The revision.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is not what this version writes.
    pub fn read(&self) -> StoreResult<Revision> {
        serde_json::from_str(&self.0)
            .map_err(|error| StoreError::Corrupt(format!("stored revision: {error}")))
    }

    /// The JSON of the API's `Revision`: the same texts under other names, so they are copied, not read (ADR 0013).
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is not what this version writes.
    pub fn to_api_json(&self) -> StoreResult<String> {
        renamed(&self.0).ok_or_else(|| StoreError::Corrupt(format!("stored revision: {}", self.0)))
    }
}

fn renamed(stored: &str) -> Option<String> {
    let mut json = String::with_capacity(stored.len());
    let mut rest = stored;
    for (name, api_name) in MEMBERS {
        rest = rest.strip_prefix(name)?;
        let (text, after) = rest.split_at(end_of_text(rest)?);
        json.push_str(api_name);
        json.push_str(text);
        rest = after;
    }
    json.push('}');
    (rest == "}").then_some(json)
}

/// Where the JSON text ends with which `json` begins.
fn end_of_text(json: &str) -> Option<usize> {
    let mut bytes = json.bytes().enumerate();
    bytes.next().filter(|(_, first)| *first == b'"')?;
    while let Some((place, byte)) = bytes.next() {
        match byte {
            b'"' => return Some(place + 1),
            b'\\' => drop(bytes.next()?),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::to_json;

    fn revision(branch: &str, directory: &str) -> Revision {
        let [owner_id, repository_name, provider_type, sha] =
            ["acme/eu", "infra", "Git", "0123456789abcdef"].map(str::to_owned);
        let (branch, directory) = (branch.to_owned(), directory.to_owned());
        Revision { branch, directory, owner_id, repository_name, provider_type, sha }
    }

    #[test]
    fn a_stored_revision_is_answered_under_the_names_of_the_api() {
        let check = |branch: &str, directory: &str| {
            let revision = revision(branch, directory);
            let document = RevisionDocument(to_json(&revision).expect("JSON"));
            assert_eq!(document.read().expect("read"), revision);
            let answered: serde_json::Value =
                serde_json::from_str(&document.to_api_json().expect("renamed")).expect("JSON");
            let expect = serde_json::json!({
                "Branch": branch, "Directory": directory, "OwnerId": "acme/eu", "RepositoryName": "infra",
                "ProviderType": "Git", "Sha": "0123456789abcdef",
            });
            assert_eq!(answered, expect);
        };
        check("main", ".");
        check("", "");
        check("ümlaut/\u{1f980}", "stacks/eu");
        check(r#"a "quoted" one\"#, r#"\","owner_id":"x"#);
        check("line\nbreak\u{1}", "\\\\\"");
    }

    #[test]
    fn what_is_no_stored_revision_is_refused() {
        let whole = to_json(&revision("main", ".")).expect("JSON");
        for end in 0..whole.len() {
            let cut = RevisionDocument(whole[..end].to_owned());
            assert!(cut.to_api_json().is_err() && cut.read().is_err(), "{}", cut.0);
        }
        for other in [format!("{whole} "), whole.replace("main\"", "main\\\""), whole.replace("sha", "Sha")] {
            assert!(RevisionDocument(other.clone()).to_api_json().is_err(), "{other}");
        }
    }
}

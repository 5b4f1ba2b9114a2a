//! The `Authorization` header.

use http::HeaderName;

use super::{ALGORITHM, incomplete, not_received};
use crate::WireError;

/// What the header says, well-formed.
#[derive(Debug)]
pub(super) struct Authorization {
    pub(super) access_key_id: String,
    pub(super) scope: Scope,
    /// Sorted, without duplicates.
    pub(super) signed_headers: Vec<HeaderName>,
    pub(super) signature: [u8; 32],
}

/// What a signature is good for.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    pub(super) date: String,
    pub(super) region: String,
    pub(super) service: String,
    pub(super) terminator: String,
}

impl Scope {
    pub(super) fn text(&self) -> String {
        format!("{}/{}/{}/{}", self.date, self.region, self.service, self.terminator)
    }
}

impl Authorization {
    /// Reads `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`, the three in any order.
    pub(super) fn parse(header: &str, has_date: bool) -> Result<Self, WireError> {
        let (algorithm, parameters) = header.split_once(' ').unwrap_or((header, ""));
        if algorithm != ALGORITHM {
            return Err(incomplete(format!(
                "Unsupported AWS 'algorithm': '{algorithm}', only {ALGORITHM} is."
            )));
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for parameter in parameters.split(',').map(|parameter| parameter.trim_matches(' ')) {
            let slot = match parameter.split_once('=') {
                Some(("Credential", value)) => credential.replace(value),
                Some(("SignedHeaders", value)) => signed_headers.replace(value),
                Some(("Signature", value)) => signature.replace(value),
                _ if parameters.is_empty() => None,
                _ => {
                    let message = format!("'{parameter}' is not a parameter of the Authorization header.");
                    return Err(incomplete(message));
                }
            };
            if slot.is_some() {
                return Err(incomplete("A parameter of the Authorization header is there twice."));
            }
        }
        let (Some(credential), Some(signed_headers), Some(signature), true) =
            (credential, signed_headers, signature, has_date)
        else {
            return Err(missing(credential, signature, signed_headers, has_date));
        };
        let (access_key_id, scope) = parse_credential(credential)?;
        Ok(Self {
            access_key_id,
            scope,
            signed_headers: parse_signed_headers(signed_headers)?,
            signature: parse_signature(signature)?,
        })
    }
}

fn missing(
    credential: Option<&str>,
    signature: Option<&str>,
    signed_headers: Option<&str>,
    has_date: bool,
) -> WireError {
    let parameters =
        [("Credential", credential), ("Signature", signature), ("SignedHeaders", signed_headers)];
    let absent = parameters.iter().filter(|(_, value)| value.is_none());
    let mut sentences: Vec<String> =
        absent.map(|(name, _)| format!("Authorization header requires '{name}' parameter.")).collect();
    if !has_date {
        let sentence = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.";
        sentences.push(sentence.to_owned());
    }
    incomplete(sentences.join(" "))
}

fn parse_credential(credential: &str) -> Result<(String, Scope), WireError> {
    let elements: Vec<&str> = credential.split('/').collect();
    let &[access_key_id, date, region, service, terminator] = elements.as_slice() else {
        return Err(incomplete(format!(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got: \
             '{credential}'."
        )));
    };
    if access_key_id.is_empty() || access_key_id.len() > 128 {
        return Err(incomplete("the access key id must have 1 to 128 characters"));
    }
    let [date, region, service, terminator] = [date, region, service, terminator].map(str::to_owned);
    Ok((access_key_id.to_owned(), Scope { date, region, service, terminator }))
}

fn parse_signed_headers(list: &str) -> Result<Vec<HeaderName>, WireError> {
    let is_lower_case = !list.bytes().any(|b| b.is_ascii_uppercase());
    let is_sorted = list.split(';').is_sorted_by(|a, b| a < b);
    if !is_lower_case || !is_sorted || list.split(';').any(str::is_empty) {
        return Err(incomplete("SignedHeaders must be lower-case, sorted and without duplicates."));
    }
    let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).map_err(|_| not_received(name));
    list.split(';').map(name).collect()
}

fn parse_signature(hex: &str) -> Result<[u8; 32], WireError> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| match *pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        })
        .collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| incomplete("Signature must be 64 lower-case hexadecimal digits."))
}

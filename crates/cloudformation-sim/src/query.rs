//! Reads Query requests: the form in the body and the credential in the `Authorization` header.

use std::collections::BTreeMap;

use crate::refusal::Refusal;

/// The parameters of a request, decoded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Form {
    values: BTreeMap<String, String>,
}

impl Form {
    /// Decodes an `application/x-www-form-urlencoded` body.
    pub(crate) fn parse(body: &[u8]) -> Self {
        let mut values = BTreeMap::new();
        for pair in body.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
            let mut sides = pair.splitn(2, |b| *b == b'=');
            let key = decode(sides.next().unwrap_or_default());
            let value = decode(sides.next().unwrap_or_default());
            values.insert(key, value);
        }
        Self { values }
    }

    /// The form with these fields.
    pub(crate) fn of(fields: &[(&str, &str)]) -> Self {
        Self { values: fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect() }
    }

    /// The same with another value of a parameter.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut values = self.values.clone();
        values.insert(name.to_owned(), value.to_owned());
        Self { values }
    }

    /// A parameter, if it was given (it may be empty).
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A parameter that was given and is not empty.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// A parameter that must be given.
    pub(crate) fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.filled(name).ok_or_else(|| {
            let mut member = name.to_owned();
            if let Some(first) = member.get_mut(..1) {
                first.make_ascii_lowercase();
            }
            Refusal::validation(format!(
                "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
            ))
        })
    }

    /// A boolean parameter; anything but `true` is false, as absence is.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// A list of strings, `None` when the parameter was not given at all (an empty list is given as `Name=`).
    pub(crate) fn strings(&self, name: &str) -> Option<Vec<String>> {
        if self.values.contains_key(name) {
            return Some(Vec::new());
        }
        let items: Vec<String> =
            (1..).map_while(|n| self.get(&format!("{name}.member.{n}")).map(str::to_owned)).collect();
        (!items.is_empty()).then_some(items)
    }

    /// A list of structures, each a form of its own; `None` as in [`Form::strings`].
    pub(crate) fn structures(&self, name: &str) -> Option<Vec<Self>> {
        if self.values.contains_key(name) {
            return Some(Vec::new());
        }
        let items: Vec<Self> = (1..)
            .map_while(|n| {
                let prefix = format!("{name}.member.{n}.");
                let values: BTreeMap<String, String> = self
                    .values
                    .range(prefix.clone()..)
                    .take_while(|(key, _)| key.starts_with(&prefix))
                    .map(|(key, value)| (key[prefix.len()..].to_owned(), value.clone()))
                    .collect();
                (!values.is_empty()).then_some(Self { values })
            })
            .collect();
        (!items.is_empty()).then_some(items)
    }
}

fn decode(encoded: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => match tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()).and_then(hex_byte) {
                Some(byte) => {
                    bytes.push(byte);
                    rest = &tail[2..];
                }
                None => bytes.push(b'%'),
            },
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn hex_byte(hex: &str) -> Option<u8> {
    hex.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u8::from_str_radix(hex, 16).ok()).flatten()
}

/// The credential scope of a SigV4 request. The signature itself is not checked: the simulator guards nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    /// The access key id.
    pub(crate) access_key: String,
    /// The region the request was signed for.
    pub(crate) region: String,
    /// The service the request was signed for.
    pub(crate) service: String,
}

impl Scope {
    /// Reads the scope from an `Authorization` header.
    pub(crate) fn parse(authorization: Option<&str>) -> Result<Self, Refusal> {
        let Some(header) = authorization else {
            return Err(Refusal::new(
                403,
                "MissingAuthenticationToken",
                "Request is missing Authentication Token",
            ));
        };
        let credential = header
            .strip_prefix("AWS4-HMAC-SHA256")
            .and_then(|rest| rest.split([',', ' ']).find_map(|part| part.trim().strip_prefix("Credential=")));
        let parts: Vec<&str> = credential.unwrap_or_default().split('/').collect();
        match parts.as_slice() {
            [access_key, date, region, service, "aws4_request"]
                if !access_key.is_empty() && date.len() == 8 && is_region(region) && !service.is_empty() =>
            {
                Ok(Self {
                    access_key: (*access_key).to_owned(),
                    region: (*region).to_owned(),
                    service: (*service).to_owned(),
                })
            }
            _ => Err(Refusal::new(
                403,
                "IncompleteSignature",
                format!("the Authorization header holds no AWS4-HMAC-SHA256 credential scope: '{header}'"),
            )),
        }
    }
}

fn is_region(region: &str) -> bool {
    !region.is_empty() && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::{Form, Scope};

    #[test]
    fn a_form_is_decoded() {
        let form = Form::parse(
            b"Action=X&A=a+b%2Bc%0A%e2%82%ac&Bad=%zz%4&Capabilities.member.1=one&Capabilities.member.2=two\
              &Tags.member.1.Key=k&Tags.member.1.Value=&Tags.member.2.Key=l&Tags.member.10.Key=lost&Empty=",
        );
        assert_eq!(form.get("A"), Some("a b+c\n€"));
        assert_eq!(form.get("Bad"), Some("%zz%4"));
        assert_eq!(form.strings("Capabilities"), Some(vec!["one".to_owned(), "two".to_owned()]));
        assert_eq!(form.strings("Empty"), Some(Vec::new()));
        assert_eq!(form.strings("Absent"), None);
        let tags = form.structures("Tags").expect("tags were given");
        assert_eq!(tags.len(), 2);
        assert_eq!(tags[0].get("Value"), Some(""));
        assert_eq!(tags[1].get("Value"), None);
    }

    #[test]
    fn only_a_whole_credential_scope_is_read() {
        let check = |header: Option<&str>, expect: Result<(&str, &str, &str), &str>| {
            let scope = Scope::parse(header);
            let scope = scope.as_ref();
            assert_eq!(
                scope
                    .map(|s| (s.access_key.as_str(), s.region.as_str(), s.service.as_str()))
                    .map_err(|e| e.code.as_str()),
                expect,
                "{header:?}"
            );
        };
        let whole = "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/cloudformation/aws4_request, \
                     SignedHeaders=host, Signature=00";
        check(Some(whole), Ok(("AKID", "eu-west-1", "cloudformation")));
        check(Some(&whole.replace(", ", ",")), Ok(("AKID", "eu-west-1", "cloudformation")));
        check(None, Err("MissingAuthenticationToken"));
        check(Some("Bearer x"), Err("IncompleteSignature"));
        check(Some(&whole.replace("aws4_request", "aws4")), Err("IncompleteSignature"));
        check(Some(&whole.replace("eu-west-1", "../x")), Err("IncompleteSignature"));
    }
}

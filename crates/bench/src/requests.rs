//! Requests, signed and written out ahead of the run, so that sending one costs the generator nothing but the send.

use std::fmt::Write as _;

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

/// What a request does, for statistics of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It reads.
    Read,
    /// It changes something.
    Write,
}

/// An access key, and where it is used.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    /// The key's id.
    pub(crate) access_key_id: String,
    /// Its secret.
    pub(crate) secret: String,
    /// The region of the signatures' scope.
    pub(crate) region: String,
    /// The service of the signatures' scope.
    pub(crate) service: &'static str,
    /// What stands before the operation in `X-Amz-Target`.
    pub(crate) target_prefix: &'static str,
    /// The content type: awsJson1_0's or awsJson1_1's.
    pub(crate) content_type: &'static str,
    /// `host:port` of the server.
    pub(crate) host: String,
}

/// Many requests, one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    bytes: Vec<u8>,
    ends: Vec<(usize, Kind)>,
}

impl Requests {
    /// Adds a request, signed for the time `now_ms`.
    pub(crate) fn push(&mut self, kind: Kind, signer: &Signer, now_ms: i64, operation: &str, body: &str) {
        self.bytes.extend_from_slice(signer.request(now_ms, operation, body).as_bytes());
        self.ends.push((self.bytes.len(), kind));
    }

    /// The bytes of a request, and what it does; they repeat behind the last.
    pub(crate) fn get(&self, index: usize) -> (&[u8], Kind) {
        let index = index % self.ends.len();
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before].0);
        let (end, kind) = self.ends[index];
        (&self.bytes[start..end], kind)
    }
}

impl Signer {
    /// The request of an operation as an AWS SDK sends it: the same headers, of about the same length.
    pub(crate) fn request(&self, now_ms: i64, operation: &str, body: &str) -> String {
        let target = format!("{}.{operation}", self.target_prefix);
        self.signed(now_ms, "POST", "/", &target, body)
    }

    /// A signed request. `path` is as it is signed, without a query.
    pub(crate) fn signed(&self, now_ms: i64, method: &str, path: &str, target: &str, body: &str) -> String {
        let time = time(now_ms);
        let date = &time[..8];
        let (content_type, host) = (self.content_type, &self.host);
        let signed = "content-type;host;x-amz-date;x-amz-target";
        let canonical = format!(
            "{method}\n{path}\n\ncontent-type:{content_type}\nhost:{host}\nx-amz-date:{time}\nx-amz-target:{target}\n\n\
             {signed}\n{}",
            hex(&Sha256::digest(body))
        );
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let to_sign =
            format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
        let mut key = hmac(format!("AWS4{}", self.secret).as_bytes(), date);
        for part in [&self.region, self.service, "aws4_request"] {
            key = hmac(&key, part);
        }
        let signature = hex(&hmac(&key, &to_sign));
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: identity\r\nX-Amz-Target: {target}\r\n\
             Content-Type: {content_type}\r\n\
             User-Agent: Boto3/1.44.6 md/Botocore#1.44.6 ua/2.1 os/linux lang/python#3.13 cfg/retry-mode#standard\r\n\
             X-Amz-Date: {time}\r\nAuthorization: AWS4-HMAC-SHA256 Credential={}/{scope}, \
             SignedHeaders={signed}, Signature={signature}\r\n\
             amz-sdk-invocation-id: {}-{}\r\namz-sdk-request: attempt=1\r\nContent-Length: {}\r\n\r\n{body}",
            self.access_key_id,
            &signature[..8],
            &signature[8..24],
            body.len()
        )
    }
}

fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for b in bytes {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{b:02x}");
    }
    hex
}

/// A time in ISO 8601's basic format.
fn time(now_ms: i64) -> String {
    let seconds = now_ms.div_euclid(1000);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // After Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms"; for days since 1970 only.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signing_time_is_written_in_the_basic_format() {
        let check = |now_ms, expect: &str| assert_eq!(time(now_ms), expect);
        check(0, "19700101T000000Z");
        check(1_440_938_160_000, "20150830T123600Z");
        check(1_709_251_199_999, "20240229T235959Z");
        check(1_767_225_600_000, "20260101T000000Z");
    }

    #[test]
    fn requests_are_found_by_their_number_and_repeat() {
        let signer = Signer {
            access_key_id: "AKIA".into(),
            secret: "secret".into(),
            region: "us-east-1".into(),
            service: "codeconnections",
            target_prefix: "P",
            content_type: "application/x-amz-json-1.0",
            host: "127.0.0.1:1".into(),
        };
        let mut requests = Requests::default();
        requests.push(Kind::Read, &signer, 0, "Get", "{}");
        requests.push(Kind::Write, &signer, 0, "Put", "{\"a\":1}");
        let check = |index, kind, start: &str, end: &str| {
            let (bytes, found) = requests.get(index);
            let text = std::str::from_utf8(bytes).expect("text");
            assert!(found == kind && text.starts_with("POST / ") && text.ends_with(end), "{text}");
            assert!(text.contains(start), "{text}");
        };
        check(0, Kind::Read, "X-Amz-Target: P.Get\r\n", "Content-Length: 2\r\n\r\n{}");
        check(1, Kind::Write, "X-Amz-Target: P.Put\r\n", "Content-Length: 7\r\n\r\n{\"a\":1}");
        check(2, Kind::Read, "X-Amz-Target: P.Get\r\n", "{}");
    }
}

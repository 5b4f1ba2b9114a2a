//! AWS's own signing test suite, as the sources of the crate `aws-sigv4` carry it, read where cargo unpacked them; and
//! its older form, as those of `scratchstack-aws-signature` do, where the test environment has them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use syncline_wire::sigv4::{Expected, Presented, SignedParts, SigningKeys, Verified};
use syncline_wire::{ErrorCode, WireError};

/// A request of the suite.
struct Request {
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body: String,
}

impl Request {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
        let mut lines = head.lines();
        let (method, target) = lines.next().and_then(|line| line.split_once(' ')).expect("a request line");
        let target = target.strip_suffix(" HTTP/1.1").unwrap_or(target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in lines {
            if let Some(folded) = line.strip_prefix(' ') {
                // RFC 9112, 5.2: a folded line is a space.
                let (_, value) = fields.last_mut().expect("a header before a folded line");
                value.push(' ');
                value.push_str(folded);
            } else {
                let (name, value) = line.split_once(':').expect("a header");
                fields.push((name.to_owned(), value.trim().to_owned()));
            }
        }
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).expect("a header name"),
                HeaderValue::from_bytes(value.as_bytes()).expect("a header value"),
            );
        }
        let [method, path, query] = [method, path, query].map(str::to_owned);
        Self { method, path, query, headers, body: body.trim_end_matches('\n').to_owned() }
    }

    fn verify(&self, context: &Context, secret: Option<&str>) -> Result<Verified, WireError> {
        let parts = SignedParts {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            body: self.body.as_bytes(),
        };
        let expected =
            Expected { service: &context.service, now_ms: context.now_ms, normalize_path: context.normalize };
        let presented = Presented::parse(parts, expected)?;
        let keys = SigningKeys::default();
        match secret {
            Some(secret) => presented.verify(secret.as_bytes(), &keys),
            None => Err(presented.unknown(&keys)),
        }
    }
}

/// What a case is signed with.
struct Context {
    access_key_id: String,
    secret: String,
    region: String,
    service: String,
    normalize: bool,
    now_ms: i64,
}

impl Context {
    fn read(directory: &Path) -> Option<Self> {
        let json: Value =
            serde_json::from_slice(&fs::read(directory.join("context.json")).ok()?).expect("JSON");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        assert_eq!(json["timestamp"], "2015-08-30T12:36:00Z");
        Some(Self {
            access_key_id: text(&json["credentials"]["access_key_id"]),
            secret: text(&json["credentials"]["secret_access_key"]),
            region: text(&json["region"]),
            service: text(&json["service"]),
            normalize: json["normalize"].as_bool().expect("true or false"),
            now_ms: 1_440_938_160_000,
        })
    }
}

/// The suite's directory, in the sources that this very build uses.
fn suite() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "host-tuple"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let mut packages = metadata["packages"].as_array().expect("packages").iter();
    let package = packages.find(|package| package["name"] == "aws-sigv4").expect("a dev-dependency");
    let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
    manifest.with_file_name("aws-signing-test-suite")
}

fn cases(version: &str) -> Vec<PathBuf> {
    let directory = suite().join(version);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    cases.sort();
    assert!(cases.len() >= 38, "{} holds {} cases", directory.display(), cases.len());
    cases
}

fn request(case: &Path, file: &str) -> Request {
    let path = case.join(file);
    Request::parse(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

fn code(found: Result<Verified, WireError>) -> Result<(), ErrorCode> {
    found.map(|_| ()).map_err(|error| error.code)
}

#[test]
fn every_header_case_of_v4_is_verified_but_the_one_that_leaves_its_token_unsigned() {
    for case in cases("v4") {
        let name = case.file_name().expect("a name").to_string_lossy().into_owned();
        // The two cases of the crate's own have no context; they are below.
        let Some(context) = Context::read(&case) else {
            assert!(name.starts_with("double-"), "{name} has no context");
            continue;
        };
        let request = request(&case, "header-signed-request.txt");
        let found = request.verify(&context, Some(&context.secret));
        if name == "post-sts-header-after" {
            let error = found.expect_err("the token is not signed");
            assert_eq!(error.code, ErrorCode::InvalidSignature);
            assert!(error.message.contains("'x-amz-security-token' must be a 'SignedHeader'"), "{error}");
            continue;
        }
        let verified = found.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            (verified.access_key_id, verified.region, verified.service, verified.signed_at_ms),
            (context.access_key_id.clone(), context.region.clone(), context.service.clone(), context.now_ms),
            "{name}"
        );
        assert_eq!(
            verified.session_token.is_some(),
            name.contains("-sts-") || name.contains("-token"),
            "{name}"
        );
        assert_eq!(code(request.verify(&context, Some("other"))), Err(ErrorCode::InvalidSignature), "{name}");
        assert_eq!(code(request.verify(&context, None)), Err(ErrorCode::UnrecognizedClient), "{name}");
        let elsewhere = Context { service: "elsewhere".to_owned(), ..context };
        assert_eq!(
            code(request.verify(&elsewhere, Some(&elsewhere.secret))),
            Err(ErrorCode::InvalidSignature),
            "{name}"
        );
    }
}

#[test]
fn paths_that_were_encoded_already_are_encoded_twice() {
    let directory = suite().join("v4");
    let check = |case: &str, access_key: (&str, &str), service: &str, now_ms: i64| {
        let [access_key_id, secret, region, service] =
            [access_key.0, access_key.1, "", service].map(str::to_owned);
        let context = Context { access_key_id, secret, region, service, normalize: true, now_ms };
        let request = request(&directory.join(case), "header-signed-request.txt");
        let verified = request.verify(&context, Some(&context.secret));
        let verified = verified.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(verified.access_key_id, context.access_key_id, "{case}");
    };
    let example = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
    // The key of the crate's `Credentials::for_tests`.
    let for_tests = ("ANOTREAL", "notrealrnrELgWzOk3IfjzDKtFBhDby");
    check("double-encode-path", for_tests, "service", 1_440_938_160_000);
    check("double-url-encode", example, "lambda", 1_620_747_645_000);
}

#[test]
fn presigned_queries_and_sigv4a_are_refused() {
    for version in ["v4", "v4a"] {
        for case in cases(version) {
            let Some(context) = Context::read(&case) else { continue };
            let mut files = vec!["query-signed-request.txt"];
            if version == "v4a" {
                files.push("header-signed-request.txt");
            }
            for file in files {
                let found = code(request(&case, file).verify(&context, Some(&context.secret)));
                assert_eq!(found, Err(ErrorCode::IncompleteSignature), "{}/{file}", case.display());
            }
        }
    }
}

/// What the older suite signs otherwise: a token outside the signature; folded lines joined by commas, where the newer
/// one and RFC 9112 have spaces; form bodies moved to the query, which would leave a body unsigned.
const REFUSED: &[&str] = &[
    "post-sts-header-after",
    "get-header-value-multiline",
    "post-x-www-form-urlencoded",
    "post-x-www-form-urlencoded-parameters",
];

/// The older suite has cases of its own: parameters in the order of their values, and the token's two places.
#[test]
#[expect(clippy::disallowed_methods, reason = "the test environment is named by a variable")]
fn every_case_of_the_older_suite_is_verified_but_those_that_sign_otherwise() {
    let Some(environment) = std::env::var_os("SYNCLINE_TEST_ENV") else {
        eprintln!("skipped: SYNCLINE_TEST_ENV names no test environment (`cargo xtask test` makes one)");
        return;
    };
    let root = Path::new(&environment).join("scratchstack-aws-signature/src/aws-sig-v4-test-suite");
    if !root.is_dir() {
        eprintln!("skipped: {} is missing from the test environment", root.display());
        return;
    }
    let context = Context {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
        region: "us-east-1".to_owned(),
        service: "service".to_owned(),
        normalize: true,
        now_ms: 1_440_938_160_000,
    };
    let mut open = vec![root];
    let mut verified = 0;
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "sreq") {
                let text = fs::read_to_string(&path).expect("readable");
                let found = code(Request::parse(&text).verify(&context, Some(&context.secret)));
                let name = path.file_stem().expect("a name").to_string_lossy();
                if REFUSED.contains(&name.as_ref()) {
                    assert_eq!(found, Err(ErrorCode::InvalidSignature), "{name}");
                } else {
                    assert_eq!(found, Ok(()), "{name}");
                    verified += 1;
                }
            }
        }
    }
    assert!(verified >= 27, "only {verified} cases were found");
}

//! Every dependency's licence is one that an Apache-2.0 program may be distributed with, and every crate of
//! ours is Apache-2.0. Dependencies of all platforms count, and those of the build and the tests too.

use anyhow::{Context, bail};
use serde_json::Value;

use crate::command::{self, cargo};

const OURS: &str = "Apache-2.0";

/// Licences that ask for no more than notices. A copyleft licence needs a decision of its own before it comes
/// here.
const ALLOWED: [&str; 16] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "BlueOak-1.0.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Reads the whole dependency graph and fails with every offender named.
pub(crate) fn check() -> anyhow::Result<()> {
    let metadata = command::output(&mut cargo(&["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value = serde_json::from_slice(&metadata).context("cargo metadata printed no JSON")?;
    let offenders = offenders(&metadata)?;
    if !offenders.is_empty() {
        bail!("{} licence(s) not allowed:\n  {}", offenders.len(), offenders.join("\n  "));
    }
    let packages = metadata["packages"].as_array().map_or(0, Vec::len);
    println!("the licences of {packages} crates are allowed");
    Ok(())
}

/// Crates that ship their licence as a file and name none: name and version whose file was read and is one of
/// the allowed ones.
const READ_BY_HAND: [(&str, &str); 1] = [
    // LICENSE-MIT
    ("libyaml-safer", "0.3.0"),
];

fn offenders(metadata: &Value) -> anyhow::Result<Vec<String>> {
    let list =
        |name: &str| metadata[name].as_array().with_context(|| format!("cargo metadata has no {name}"));
    let (packages, members) = (list("packages")?, list("workspace_members")?);
    let mut offenders = Vec::new();
    for package in packages {
        let licence = package["license"].as_str();
        let allowed = match licence {
            Some(licence) if members.contains(&package["id"]) => licence == OURS,
            Some(licence) => is_allowed(licence).unwrap_or(false),
            None => READ_BY_HAND.contains(&(
                package["name"].as_str().unwrap_or_default(),
                package["version"].as_str().unwrap_or_default(),
            )),
        };
        if !allowed {
            let text = |name: &str| package[name].as_str().unwrap_or("?");
            offenders.push(format!(
                "{} {}: {}",
                text("name"),
                text("version"),
                licence.unwrap_or("none stated")
            ));
        }
    }
    Ok(offenders)
}

/// Whether an SPDX expression can be met with allowed licences alone: one side of an OR, both of an AND.
///
/// # Errors
/// When the text is no SPDX expression. `/`, which Cargo once took for OR, still is.
fn is_allowed(expression: &str) -> anyhow::Result<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let allowed = any(&mut rest)?;
    match rest.first() {
        None => Ok(allowed),
        Some(word) => bail!("{expression}: {word} is unexpected"),
    }
}

/// `a OR b`, which binds weaker than AND.
fn any(rest: &mut &[&str]) -> anyhow::Result<bool> {
    let mut allowed = all(rest)?;
    while skip(rest, "OR") {
        allowed |= all(rest)?;
    }
    Ok(allowed)
}

/// `a AND b`.
fn all(rest: &mut &[&str]) -> anyhow::Result<bool> {
    let mut allowed = one(rest)?;
    while skip(rest, "AND") {
        allowed &= one(rest)?;
    }
    Ok(allowed)
}

/// A licence, perhaps WITH an exception, or an expression in parentheses.
fn one(rest: &mut &[&str]) -> anyhow::Result<bool> {
    if skip(rest, "(") {
        let allowed = any(rest)?;
        if !skip(rest, ")") {
            bail!("a parenthesis is not closed");
        }
        return Ok(allowed);
    }
    let licence = name(rest)?;
    if skip(rest, "WITH") {
        return Ok(ALLOWED.contains(&format!("{licence} WITH {}", name(rest)?).as_str()));
    }
    Ok(ALLOWED.contains(&licence))
}

fn name<'a>(rest: &mut &[&'a str]) -> anyhow::Result<&'a str> {
    let (first, others) = rest.split_first().context("a licence is missing at the end")?;
    if ["OR", "AND", "WITH", "(", ")"].contains(first) {
        bail!("{first} stands where a licence is expected");
    }
    *rest = others;
    Ok(first)
}

fn skip(rest: &mut &[&str], word: &str) -> bool {
    match rest.split_first() {
        Some((first, others)) if *first == word => {
            *rest = others;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn expressions_are_met_with_allowed_licences_alone() {
        for (expression, expect) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT OR Apache-2.0", true),
            ("MIT/Apache-2.0", true),
            ("GPL-2.0 OR MIT", true),
            ("GPL-2.0 AND MIT", false),
            ("ISC AND Apache-2.0", true),
            // AND binds tighter than OR.
            ("MIT OR GPL-2.0 AND GPL-3.0", true),
            ("GPL-2.0 AND MIT OR GPL-3.0", false),
            ("(MIT OR GPL-2.0) AND GPL-3.0", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
            ("GPL-2.0 WITH Classpath-exception-2.0", false),
            // An exception is no licence to take the rest as given.
            ("MIT WITH Classpath-exception-2.0", false),
            ("((MIT))", true),
        ] {
            assert_eq!(is_allowed(expression).expect("an SPDX expression"), expect, "{expression}");
        }
    }

    #[test]
    fn what_is_no_expression_is_an_error() {
        for expression in ["", "MIT OR", "AND MIT", "(MIT", "MIT)", "MIT Apache-2.0", "MIT WITH", "()"] {
            assert!(is_allowed(expression).is_err(), "{expression:?}");
        }
    }

    #[test]
    fn offenders_are_named_with_what_they_say() {
        let package = |name: &str, licence: Value| json!({"id": name, "name": name, "version": "1.0.0", "license": licence});
        let metadata = json!({
            "workspace_members": ["ours", "ours-wrong"],
            "packages": [
                package("ours", json!("Apache-2.0")),
                package("ours-wrong", json!("MIT")),
                package("good", json!("MIT OR Apache-2.0")),
                package("copyleft", json!("AGPL-3.0-only")),
                package("garbled", json!("see LICENSE")),
                package("silent", Value::Null),
            ],
        });
        assert_eq!(
            offenders(&metadata).expect("metadata"),
            [
                "ours-wrong 1.0.0: MIT",
                "copyleft 1.0.0: AGPL-3.0-only",
                "garbled 1.0.0: see LICENSE",
                "silent 1.0.0: none stated",
            ]
        );
    }
}

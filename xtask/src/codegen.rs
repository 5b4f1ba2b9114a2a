//! `cargo xtask codegen`: from the API model to `crates/wire/src/generated.rs`.
//!
//! The model is a stripped copy of botocore's description of the service: operations, shapes, constraints and
//! error statuses, and none of its prose. What the generator adds to the model is listed here, in
//! [`PROVIDER_TYPES_ADDED`], [`MEMBERS_ADDED`] and [`FRONT_DOOR_ERRORS`], and nowhere else.

mod emit;
mod import;
mod model;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use model::Model;

/// Provider types that Syncline has and AWS does not: Gitea (and Forgejo), and any Git server over HTTP.
const PROVIDER_TYPES_ADDED: &[&str] = &["Gitea", "Git"];

/// Input members that clients send although the model lacks them: (shape, member, type).
///
/// ListRepositorySyncDefinitions models a NextToken in its output only.
const MEMBERS_ADDED: &[(&str, &str, &str)] = &[
    ("ListRepositorySyncDefinitionsInput", "MaxResults", "MaxResults"),
    ("ListRepositorySyncDefinitionsInput", "NextToken", "SharpNextToken"),
];

/// Errors that every AWS front door answers and no model declares, with their HTTP statuses.
const FRONT_DOOR_ERRORS: &[(&str, u16)] = &[
    ("UnknownOperationException", 404),
    ("SerializationException", 400),
    ("ValidationException", 400),
    ("MissingAuthenticationTokenException", 403),
    ("IncompleteSignatureException", 400),
    ("InvalidSignatureException", 403),
    ("UnrecognizedClientException", 403),
    ("ExpiredTokenException", 403),
    ("RequestExpired", 400),
    ("RequestEntityTooLarge", 413),
    ("UnsupportedMediaType", 415),
    ("InternalFailure", 500),
];

/// The model whose shapes are generated; the others only name further services over the same shapes.
const PRIMARY_MODEL: &str = "codeconnections-2023-12-01.json";
const OTHER_MODELS: &[&str] = &["codestar-connections-2019-12-01.json"];

/// Runs the task with the arguments behind `codegen`.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    match arguments {
        [] => {
            let path = generated_path();
            fs::write(&path, generate()?).with_context(|| format!("writing {}", path.display()))
        }
        ["--check"] => check(),
        ["--import", path] => import::import(Path::new(path), &models_directory()),
        _ => bail!("usage: cargo xtask codegen [--check | --import <service-2.json[.gz]>]"),
    }
}

fn check() -> anyhow::Result<()> {
    let path = generated_path();
    let committed = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    ensure!(
        committed == generate()?,
        "{} is not what api-models/ generates: run `cargo xtask codegen`",
        path.display()
    );
    Ok(())
}

fn generate() -> anyhow::Result<String> {
    let mut primary = read_model(PRIMARY_MODEL)?;
    primary.add_enum_values("ProviderType", PROVIDER_TYPES_ADDED)?;
    for (shape, member, target) in MEMBERS_ADDED {
        primary.add_member(shape, member, target)?;
    }
    let mut services = vec![primary.service.clone()];
    for file in OTHER_MODELS {
        let other = read_model(file)?;
        ensure!(
            other.operation_names().eq(primary.operation_names()),
            "{file} has other operations than {PRIMARY_MODEL}"
        );
        services.push(other.service);
    }
    emit::emit(&primary, &services, FRONT_DOOR_ERRORS)
}

fn read_model(file: &str) -> anyhow::Result<Model> {
    let path = models_directory().join(file);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Model::parse(&text).with_context(|| format!("in {}", path.display()))
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn models_directory() -> PathBuf {
    root().join("api-models")
}

fn generated_path() -> PathBuf {
    root().join("crates/wire/src/generated.rs")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_file_is_what_the_models_generate() {
        super::check().expect("generated.rs is fresh");
    }
}

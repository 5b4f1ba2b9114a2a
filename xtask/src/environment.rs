//! The test environment: other people's clients and servers that the tests meet, in one folder of ours.
//!
//! Each [`Part`] is made whole or not at all. Its recipe (everything it is made from, as text) is written
//! last; a part whose recorded recipe differs from today's, or is missing because making it was interrupted,
//! is made anew. One lock keeps two makers apart, and keeps a part from being remade under tests that use it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::command::{self, cargo};
use crate::node::{self, Node};
use crate::openssh;
use crate::python::{self, Python};
use crate::version::Version;

/// Says where the environment is, for xtask and for the tests alike.
pub(crate) const VARIABLE: &str = "SYNCLINE_TEST_ENV";

const REQUIREMENTS: &str = include_str!("../../clients/requirements.txt");
const REQUIREMENTS_BOTO3_1_36: &str = include_str!("../../clients/requirements-boto3-1.36.txt");
const REQUIREMENTS_BOTO3_1_43: &str = include_str!("../../clients/requirements-boto3-1.43.txt");
const REQUIREMENTS_LOCALSTACK: &str = include_str!("../../clients/requirements-localstack.txt");
const REQUIREMENTS_SCEPTRE: &str = include_str!("../../clients/requirements-sceptre.txt");

/// The oldest Python that the pinned clients install on.
const PYTHON: Version = Version(3, 10);
/// LocalStack imports `warnings.deprecated`.
const PYTHON_FOR_LOCALSTACK: Version = Version(3, 13);

/// The oldest Node that the pinned SDK for JavaScript runs on.
const NODE: Version = Version(20, 0);

/// Ends the one line that says which Python is missing.
const NOT_FOUND: &str = "as python3, python3.x or in pyenv: none was found";

/// The fakecloud that the bench runs beside us; AGPL, so it is run as a program and never linked.
const FAKECLOUD: &str = "0.51.0";

/// The folder of Sceptre's Python.
const SCEPTRE: &str = "venv-sceptre";

/// Written in a part's folder when it is whole.
const RECIPE: &str = ".recipe";

/// Unpacks the vectors; run with the archive and the folder to unpack into.
const UNPACK_VECTORS: &str = "clients/unpack_protocol_vectors.py";

/// The walks with the AWS SDKs for Rust that the workspace does not hold, and everything they are built from.
const RUST_JSON: &str = "rust-json";
const RUST_JSON_PROGRAMS: [&str; 2] = [RUST_JSON, "rust-codestar"];
const RUST_JSON_SOURCES: [&str; 7] = [
    include_str!("../../clients/rust-json/Cargo.toml"),
    include_str!("../../clients/rust-json/Cargo.lock"),
    include_str!("../../clients/rust-json/main.rs"),
    include_str!("../../clients/rust-json/codestar.rs"),
    include_str!("../../clients/rust_walk.rs"),
    include_str!("../../clients/rust_api_walk.rs"),
    include_str!("../../clients/rust_api_answers.rs"),
];

/// The AWS SDK for JavaScript.
const JS: &str = "js";
const JS_PACKAGE: &str = include_str!("../../clients/js/package.json");
const JS_LOCK: &str = include_str!("../../clients/js/package-lock.json");

/// GitHub's own examples of webhooks.
const WEBHOOKS: &str = "webhooks";
const WEBHOOKS_PACKAGE: &str = include_str!("../../clients/webhooks/package.json");
const WEBHOOKS_LOCK: &str = include_str!("../../clients/webhooks/package-lock.json");

/// Samples of the webhooks of other forges, in the wheel of a program that receives them.
const WEBHOOK_SAMPLES: &str = "webhook-samples";
const WEBHOOK_SAMPLES_PACKAGE: &str = include_str!("../../clients/requirements-webhook-samples.txt");
/// Unpacks them; run with the wheel and the folder to unpack into.
const UNPACK_WEBHOOK_SAMPLES: &str = "clients/unpack_webhook_samples.py";

/// The environment, whole, and kept so until this is dropped.
#[derive(Debug)]
pub(crate) struct Environment {
    /// Absolute.
    pub(crate) root: PathBuf,
    _in_use: File,
}

impl Environment {
    /// The fakecloud program, where [`prepare_peers`] made the environment.
    pub(crate) fn fakecloud(&self) -> PathBuf {
        self.root.join("fakecloud").join("bin").join("fakecloud")
    }

    /// The sceptre program, where [`prepare_deployers`] made the environment.
    pub(crate) fn sceptre(&self) -> PathBuf {
        self.root.join(SCEPTRE).join("bin").join("sceptre")
    }
}

/// Makes what is missing or stale and returns the environment; `extended` adds LocalStack.
pub(crate) fn prepare(extended: bool) -> anyhow::Result<Environment> {
    prepare_parts(|root| parts(root, extended))
}

/// Makes only what the bench runs beside us: moto's Python, and fakecloud.
pub(crate) fn prepare_peers() -> anyhow::Result<Environment> {
    prepare_parts(|root| {
        let mut parts = parts(root, false)?;
        parts.truncate(1);
        let how = How::Fakecloud;
        parts.push(Part { folder: root.join("fakecloud"), recipe: format!("fakecloud {FAKECLOUD}"), how });
        Ok(parts)
    })
}

/// Makes only what the bench has deploy stacks beside us: the AWS CLI and Sceptre.
pub(crate) fn prepare_deployers() -> anyhow::Result<Environment> {
    prepare_parts(|root| {
        let mut parts = parts(root, false)?;
        parts.truncate(1);
        let Some(python) = python::find(PYTHON) else {
            bail!("the test environment needs Python {PYTHON} or newer, {NOT_FOUND}");
        };
        parts.push(venv(root, SCEPTRE, &python, REQUIREMENTS_SCEPTRE));
        Ok(parts)
    })
}

fn prepare_parts(parts: impl Fn(&Path) -> anyhow::Result<Vec<Part>>) -> anyhow::Result<Environment> {
    let root = match command::variable(VARIABLE) {
        Some(root) => std::path::absolute(root)?,
        None => command::workspace_root().join(".test-env"),
    };
    fs::create_dir_all(&root).with_context(|| format!("{}: cannot be created", root.display()))?;
    let parts = parts(&root)?;
    let lock = File::create(root.join("lock"))?;
    // More than one round only when a checkout with other pins shares the folder and is just as busy.
    for _ in 0..3 {
        if lock.try_lock_shared().is_err() {
            println!("test environment: {} is being made by another process; waiting", root.display());
            lock.lock_shared()?;
        }
        if parts.iter().all(Part::is_whole) {
            return Ok(Environment { root, _in_use: lock });
        }
        lock.unlock()?;
        if lock.try_lock().is_err() {
            println!("test environment: {} is used by another process; waiting", root.display());
            lock.lock()?;
        }
        for part in parts.iter().filter(|part| !part.is_whole()) {
            part.make(&lock)?;
        }
        lock.unlock()?;
    }
    bail!(
        "{}: remade by a checkout with other pins again and again; set {VARIABLE} to a folder of its own",
        root.display()
    )
}

fn parts(root: &Path, extended: bool) -> anyhow::Result<Vec<Part>> {
    let Some(python) = python::find(PYTHON) else {
        bail!("the test environment needs Python {PYTHON} or newer, {NOT_FOUND}");
    };
    let venv = |name: &str, python: &Python, requirements| venv(root, name, python, requirements);
    let clients = venv("venv", &python, REQUIREMENTS);
    let botocore =
        pinned(REQUIREMENTS, "botocore").context("clients/requirements.txt does not pin botocore")?;
    let vectors = Part {
        folder: root.join("botocore-sdist"),
        recipe: format!("botocore=={botocore}\n{}", include_str!("../../clients/unpack_protocol_vectors.py")),
        how: How::Vectors { python: clients.python(), botocore: botocore.to_owned() },
    };
    let rust_json =
        Part { folder: root.join(RUST_JSON), recipe: RUST_JSON_SOURCES.concat(), how: How::RustJson };
    let boto3_1_36 = venv("venv-boto3-1.36", &python, REQUIREMENTS_BOTO3_1_36);
    let boto3_1_43 = venv("venv-boto3-1.43", &python, REQUIREMENTS_BOTO3_1_43);
    let node = node::find(NODE).with_context(|| {
        format!(
            "the test environment needs Node.js {NODE} or newer with npm, as `node` and `npm` on the PATH"
        )
    })?;
    let js = npm(root, JS, &node, JS_PACKAGE, JS_LOCK);
    let webhooks = npm(root, WEBHOOKS, &node, WEBHOOKS_PACKAGE, WEBHOOKS_LOCK);
    let webhook_samples = Part {
        folder: root.join(WEBHOOK_SAMPLES),
        recipe: format!(
            "{WEBHOOK_SAMPLES_PACKAGE}{}",
            include_str!("../../clients/unpack_webhook_samples.py")
        ),
        how: How::WebhookSamples { python: clients.python() },
    };
    let mut parts = vec![clients, vectors, boto3_1_36, boto3_1_43, rust_json, js, webhooks, webhook_samples];
    if !openssh::is_installed() {
        let recipe = openssh::PACKAGES.join(" ");
        parts.push(Part { folder: root.join("openssh"), recipe, how: How::OpenSsh });
    }
    if extended {
        let Some(python) = python::find(PYTHON_FOR_LOCALSTACK) else {
            bail!("--extended needs Python {PYTHON_FOR_LOCALSTACK} or newer for LocalStack, {NOT_FOUND}");
        };
        parts.push(venv("venv-localstack", &python, REQUIREMENTS_LOCALSTACK));
    }
    Ok(parts)
}

/// A Python of its own with these packages.
fn venv(root: &Path, name: &str, python: &Python, requirements: &'static str) -> Part {
    Part {
        folder: root.join(name),
        recipe: format!("{}\n{} {}\n{requirements}", root.display(), python.path.display(), python.version),
        how: How::Venv { python: python.path.clone(), requirements },
    }
}

/// What npm installs, beside a link to the Node.js that it is for.
fn npm(root: &Path, name: &str, node: &Node, package: &'static str, lock: &'static str) -> Part {
    Part {
        folder: root.join(name),
        recipe: format!("{} {}\n{package}{lock}", node.path.display(), node.version),
        how: How::Npm { node: node.clone(), package, lock },
    }
}

/// The exact version that a requirements file asks for, whatever extras it asks for with it.
fn pinned<'a>(requirements: &'a str, package: &str) -> Option<&'a str> {
    requirements.lines().find_map(|line| {
        let (name, version) = line.split_once("==")?;
        let name = name.split('[').next()?;
        (name == package).then(|| version.trim())
    })
}

/// One folder of the environment.
#[derive(Debug)]
struct Part {
    folder: PathBuf,
    /// Everything the part is made from. A venv holds its own path, so its folder belongs to it.
    recipe: String,
    how: How,
}

#[derive(Debug)]
enum How {
    Venv { python: PathBuf, requirements: &'static str },
    Vectors { python: PathBuf, botocore: String },
    RustJson,
    WebhookSamples { python: PathBuf },
    Npm { node: Node, package: &'static str, lock: &'static str },
    OpenSsh,
    Fakecloud,
}

impl Part {
    fn python(&self) -> PathBuf {
        self.folder.join("bin").join("python")
    }

    fn is_whole(&self) -> bool {
        fs::read_to_string(self.folder.join(RECIPE)).is_ok_and(|recipe| recipe == self.recipe)
    }

    fn make(&self, lock: &File) -> anyhow::Result<()> {
        println!("test environment: making {}", self.folder.display());
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)
                .with_context(|| format!("{}: cannot be removed", self.folder.display()))?;
        }
        fs::create_dir_all(&self.folder)?;
        match &self.how {
            How::Venv { python, requirements } => self.make_venv(lock, python, requirements)?,
            How::Vectors { python, botocore } => self.unpack_vectors(lock, python, botocore)?,
            How::WebhookSamples { python } => self.unpack_webhook_samples(lock, python)?,
            How::RustJson => self.build_rust_json(lock)?,
            How::Npm { node, package, lock: pins } => self.install_npm(lock, node, package, pins)?,
            How::OpenSsh => openssh::unpack(&self.folder, |command| run(lock, command))?,
            How::Fakecloud => self.install_fakecloud(lock)?,
        }
        let unfinished = self.folder.join(".recipe.unfinished");
        fs::write(&unfinished, &self.recipe)?;
        fs::rename(&unfinished, self.folder.join(RECIPE))?;
        Ok(())
    }

    fn make_venv(&self, lock: &File, python: &Path, requirements: &str) -> anyhow::Result<()> {
        run(lock, Command::new(python).args(["-m", "venv"]).arg(&self.folder)).with_context(|| {
            format!("{} cannot make virtual environments (Debian: install python3-venv)", python.display())
        })?;
        let file = self.folder.join("requirements.txt");
        fs::write(&file, requirements)?;
        run(lock, pip(&self.python()).args(["install", "--requirement"]).arg(&file))
            .context("pip could not install the test environment; it must reach a Python package index")
    }

    fn unpack_vectors(&self, lock: &File, python: &Path, botocore: &str) -> anyhow::Result<()> {
        // The source distribution, because the vectors are in no wheel.
        run(
            lock,
            pip(python)
                .args(["download", "--no-deps", "--no-binary", ":all:", "--dest"])
                .arg(&self.folder)
                .arg(format!("botocore=={botocore}")),
        )
        .context("pip could not download botocore's source distribution")?;
        let archive = self.folder.join(format!("botocore-{botocore}.tar.gz"));
        let script = command::workspace_root().join(UNPACK_VECTORS);
        run(lock, Command::new(python).arg("-I").arg(script).arg(&archive).arg(&self.folder))?;
        fs::remove_file(&archive).with_context(|| format!("{}: cannot be removed", archive.display()))
    }

    fn unpack_webhook_samples(&self, lock: &File, python: &Path) -> anyhow::Result<()> {
        let requirements = self.folder.join("requirements.txt");
        fs::write(&requirements, WEBHOOK_SAMPLES_PACKAGE)?;
        // Whatever Python it is for: it is not run.
        let options = ["download", "--no-deps", "--only-binary", ":all:", "--python-version", "3.13"];
        run(
            lock,
            pip(python)
                .args(options)
                .arg("--require-hashes")
                .arg("--dest")
                .arg(&self.folder)
                .arg("--requirement")
                .arg(&requirements),
        )
        .context("pip could not download the wheel that holds samples of webhooks")?;
        let version = pinned(WEBHOOK_SAMPLES_PACKAGE, "weblate").and_then(|pin| pin.split(' ').next());
        let version = version.context("clients/requirements-webhook-samples.txt does not pin weblate")?;
        let wheel = self.folder.join(format!("weblate-{version}-py3-none-any.whl"));
        let script = command::workspace_root().join(UNPACK_WEBHOOK_SAMPLES);
        run(lock, Command::new(python).arg("-I").arg(script).arg(&wheel).arg(&self.folder))?;
        fs::remove_file(&wheel).with_context(|| format!("{}: cannot be removed", wheel.display()))
    }

    fn build_rust_json(&self, lock: &File) -> anyhow::Result<()> {
        let package = command::workspace_root().join("clients").join(RUST_JSON);
        // Kept, so that a change of the walk does not build the SDK again.
        let target = command::workspace_root().join("target").join("clients");
        run(
            lock,
            cargo(&["build", "--quiet", "--locked", "--manifest-path"])
                .arg(package.join("Cargo.toml"))
                .arg("--target-dir")
                .arg(&target),
        )?;
        let bin = self.folder.join("bin");
        fs::create_dir(&bin)?;
        for program in RUST_JSON_PROGRAMS {
            fs::copy(target.join("debug").join(program), bin.join(program))
                .with_context(|| format!("{}: cannot be copied", target.display()))?;
        }
        Ok(())
    }

    fn install_npm(&self, lock: &File, node: &Node, package: &str, pins: &str) -> anyhow::Result<()> {
        fs::write(self.folder.join("package.json"), package)?;
        fs::write(self.folder.join("package-lock.json"), pins)?;
        run(
            lock,
            Command::new("npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"])
                .arg("--loglevel=error")
                .current_dir(&self.folder),
        )
        .with_context(|| {
            format!("npm could not install {}; it must reach an npm registry", self.folder.display())
        })?;
        let bin = self.folder.join("bin");
        fs::create_dir(&bin)?;
        std::os::unix::fs::symlink(&node.path, bin.join("node"))
            .with_context(|| format!("{}: cannot be linked to", node.path.display()))
    }
}

impl Part {
    fn install_fakecloud(&self, lock: &File) -> anyhow::Result<()> {
        let version = format!("={FAKECLOUD}");
        let target = command::workspace_root().join("target").join("fakecloud");
        run(
            lock,
            cargo(&["install", "fakecloud", "--quiet", "--locked", "--version", &version, "--root"])
                .arg(&self.folder)
                .arg("--target-dir")
                .arg(&target),
        )
        .context("cargo could not install fakecloud; it must reach a crates registry")?;
        // Hundreds of megabytes that nothing needs again.
        fs::remove_dir_all(&target).with_context(|| format!("{}: cannot be removed", target.display()))
    }
}

fn pip(python: &Path) -> Command {
    let mut pip = Command::new(python);
    pip.args(["-I", "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]);
    pip
}

/// Runs a step of the making without what an activated venv or a PYTHONPATH would lead astray.
///
/// Its standard input is the lock, so that the folder stays locked while a step runs on although xtask was
/// killed.
fn run(lock: &File, command: &mut Command) -> anyhow::Result<()> {
    for variable in ["PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER"] {
        command.env_remove(variable);
    }
    command::run_with_input(command, lock.try_clone()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_pinned(package: &str, expect: Option<&str>) {
        let requirements = "# a comment: boto3==0\nboto3==1.44.5\nmoto[server]==5.2.5\nbotocore==1.44.6\n";
        assert_eq!(pinned(requirements, package), expect, "{package}");
    }

    #[test]
    fn a_pin_is_found_by_its_whole_name() {
        check_pinned("boto3", Some("1.44.5"));
        check_pinned("botocore", Some("1.44.6"));
        check_pinned("moto", Some("5.2.5"));
        check_pinned("boto", None);
    }

    #[test]
    fn every_requirement_is_pinned_exactly() {
        let files = [
            REQUIREMENTS,
            REQUIREMENTS_BOTO3_1_36,
            REQUIREMENTS_BOTO3_1_43,
            REQUIREMENTS_LOCALSTACK,
            REQUIREMENTS_SCEPTRE,
        ];
        for requirements in files {
            for line in requirements.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let (name, version) = line.split_once("==").expect("a requirement without ==");
                assert!(!name.is_empty() && version.starts_with(|c: char| c.is_ascii_digit()), "{line}");
                assert!(!version.contains(['*', ',', '<', '>', ' ']), "{line}");
            }
        }
    }

    #[test]
    fn what_is_only_read_is_pinned_by_its_hash() {
        let pinned: Vec<_> = WEBHOOK_SAMPLES_PACKAGE.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(pinned.len() == 1 && pinned[0].contains(" --hash=sha256:"), "{pinned:?}");
    }

    #[test]
    fn what_npm_installs_is_pinned_exactly_and_names_no_registry() {
        for (package, lock) in [(JS_PACKAGE, JS_LOCK), (WEBHOOKS_PACKAGE, WEBHOOKS_LOCK)] {
            for line in package.lines().filter(|line| line.contains("\"@")) {
                let (_, version) = line.split_once("\": \"").expect("a version");
                assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{line}");
            }
            assert!(lock.contains("\"integrity\": \"sha512-"), "packages are told by their hash");
            assert!(
                !lock.contains("resolved") && !lock.contains("://"),
                "a registry's host is in the lock file"
            );
        }
    }

    #[test]
    fn a_part_is_whole_only_with_its_own_recipe() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let part = |recipe: &str| Part {
            folder: root.path().join("venv"),
            recipe: recipe.to_owned(),
            how: How::Venv { python: "python3".into(), requirements: "" },
        };
        assert!(!part("one").is_whole(), "nothing is there yet");
        fs::create_dir(root.path().join("venv")).expect("a folder");
        assert!(!part("one").is_whole(), "interrupted before the recipe was written");
        fs::write(root.path().join("venv").join(RECIPE), "one").expect("a recipe");
        assert!(part("one").is_whole());
        assert!(!part("two").is_whole(), "the pins have changed");
    }

    #[test]
    fn a_part_that_cannot_be_made_is_not_whole_afterwards() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let part = Part {
            folder: root.path().join("venv"),
            recipe: "recipe".to_owned(),
            how: How::Venv { python: "false".into(), requirements: "" },
        };
        fs::create_dir(&part.folder).expect("a folder");
        fs::write(part.folder.join(RECIPE), "an older recipe").expect("a recipe");
        let lock = File::create(root.path().join("lock")).expect("a lock");
        part.make(&lock).expect_err("false makes no venv");
        assert!(!part.is_whole() && !part.folder.join(RECIPE).exists());
    }
}

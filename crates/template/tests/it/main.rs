//! What this crate promises, from outside.

mod bombs;
mod deployment_files;
mod oracle;
mod properties;
mod templates;

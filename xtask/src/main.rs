//! The project's own tasks: `cargo xtask <task>`.

mod codegen;

use anyhow::bail;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.split_first() {
        Some((&"codegen", rest)) => codegen::run(rest),
        _ => bail!("usage: cargo xtask codegen [--check | --import <service-2.json[.gz]>]"),
    }
}

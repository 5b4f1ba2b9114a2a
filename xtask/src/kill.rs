//! `cargo xtask kill`: every test of crashes, with many more kills at random moments than a run of all tests has.

use anyhow::{Context, bail};

use crate::command::{self, cargo};

/// Kills at random moments unless told otherwise.
const KILLS: u32 = 200;

/// Runs `kill [<number of random kills>]`.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    let kills = kills(arguments)?;
    println!("{kills} kills at random moments; the seed is printed, SYNCLINE_SEED repeats it");
    let arguments = ["test", "--package", "syncline-testkit", "--test", "it", "--", "--nocapture"];
    command::run(cargo(&arguments).env("SYNCLINE_KILLS", kills.to_string()))
}

fn kills(arguments: &[&str]) -> anyhow::Result<u32> {
    match arguments {
        [] => Ok(KILLS),
        [number] => number.parse().with_context(|| format!("{number}: not a number of kills")),
        [_, more, ..] => bail!("{more}: unknown; usage: cargo xtask kill [<number of random kills>]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_kills_can_be_chosen() {
        assert_eq!(kills(&[]).expect("the default"), KILLS);
        assert_eq!(kills(&["1000"]).expect("a number"), 1000);
        assert!(kills(&["many"]).is_err());
        assert!(kills(&["1", "2"]).is_err());
    }
}

//! What was measured, as a table for people and as JSON for programs.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::Serialize;

use crate::generator::Outcome;

/// One load on one server, in one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    /// Replies in a second.
    pub(crate) per_second: f64,
    /// Half of the reads took no longer, in milliseconds.
    pub(crate) p50_ms: f64,
    /// 99 of 100 reads took no longer, in milliseconds.
    pub(crate) p99_ms: f64,
    /// 99 of 100 writes took no longer, in milliseconds; `None` where nothing was written.
    pub(crate) writes_p99_ms: Option<f64>,
    /// The server's processor time for a reply, in microseconds; `None` where it is not known.
    pub(crate) server_cpu_us: Option<f64>,
}

impl Sample {
    /// The sample of an outcome, of which the server was on a processor for `cpu_seconds`.
    pub(crate) fn of(outcome: &Outcome, cpu_seconds: Option<f64>) -> Self {
        let ms = |us: u64| us as f64 / 1000.0;
        Self {
            per_second: outcome.rate(),
            p50_ms: ms(outcome.reads.value_at_quantile(0.5)),
            p99_ms: ms(outcome.reads.value_at_quantile(0.99)),
            writes_p99_ms: (!outcome.writes.is_empty()).then(|| ms(outcome.writes.value_at_quantile(0.99))),
            server_cpu_us: cpu_seconds.map(|seconds| seconds * 1e6 / outcome.replies() as f64),
        }
    }
}

/// A load, in every round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    /// What it is.
    pub(crate) name: String,
    /// A sample for each round.
    pub(crate) samples: Vec<Sample>,
}

impl Measured {
    /// The median of something over the rounds.
    fn median(&self, what: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(what).collect())
    }
}

/// Which side of its target a ratio must be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    /// The target or more.
    AtLeast,
    /// The target or less.
    AtMost,
}

/// A ratio, and what it should be.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Ratio {
    name: String,
    /// The median of the rounds' ratios.
    value: f64,
    /// The smallest of the rounds.
    lowest: f64,
    /// The greatest of the rounds.
    highest: f64,
    bound: Bound,
    target: f64,
    met: bool,
}

impl Ratio {
    /// The ratio of what was measured in the same rounds.
    pub(crate) fn new(name: &str, rounds: Vec<f64>, bound: Bound, target: f64) -> Self {
        let lowest = rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = rounds.iter().copied().fold(0.0, f64::max);
        let value = median(rounds);
        let met = match bound {
            Bound::AtLeast => value >= target,
            Bound::AtMost => value <= target,
        };
        Self { name: name.to_owned(), value, lowest, highest, bound, target, met }
    }
}

/// The whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The machine's processors.
    pub(crate) processors: usize,
    /// Requests under way at any time.
    pub(crate) connections: usize,
    /// How many syncs, attempts of each, and events of each of these are stored.
    pub(crate) stored: [u32; 3],
    /// The bytes of an answer, on average.
    pub(crate) answer_bytes: usize,
    /// How long each load lasted in each round, in seconds.
    pub(crate) seconds: f64,
    /// The loads.
    pub(crate) loads: Vec<Measured>,
    /// What is wanted of them.
    pub(crate) ratios: Vec<Ratio>,
}

impl Report {
    /// The report as a table.
    pub(crate) fn table(&self) -> String {
        let [syncs, attempts, events] = self.stored;
        let mut text = format!(
            "{} processors, {} connections, {syncs} syncs with {attempts} attempts of {events} events, answers of {} \
             bytes;\nmedians of {} rounds of {} s\n\n",
            self.processors,
            self.connections,
            self.answer_bytes,
            self.loads.first().map_or(0, |load| load.samples.len()),
            self.seconds
        );
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:58} {:>10} {:>8} {:>8} {:>10}",
            "", "requests/s", "p50 ms", "p99 ms", "server µs"
        );
        for load in &self.loads {
            let cpu = load.median(|sample| sample.server_cpu_us.unwrap_or(f64::NAN));
            let _ = writeln!(
                text,
                "{:58} {:>10.0} {:>8.2} {:>8.2} {:>10}",
                load.name,
                load.median(|sample| sample.per_second),
                load.median(|sample| sample.p50_ms),
                load.median(|sample| sample.p99_ms),
                if cpu.is_nan() { "-".to_owned() } else { format!("{cpu:.1}") },
            );
        }
        text + "\n" + &table(&self.ratios)
    }
}

/// Ratios as a table.
pub(crate) fn table(ratios: &[Ratio]) -> String {
    let mut text = format!("{:58} {:>10} {:>17} {:>10}\n", "ratio", "median", "of all rounds", "wanted");
    for ratio in ratios {
        let sign = if ratio.bound == Bound::AtLeast { "≥" } else { "≤" };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:58} {:>10.2} {:>17} {:>10} {}",
            ratio.name,
            ratio.value,
            format!("{:.2}–{:.2}", ratio.lowest, ratio.highest),
            format!("{sign} {}", ratio.target),
            if ratio.met { "met" } else { "MISSED" },
        );
    }
    text
}

/// The end of a bench: prints its table and leaves the report as JSON in a file.
///
/// # Errors
/// A file that cannot be written; with `check`, ratios that are on the wrong side.
pub(crate) fn tell(
    report: &impl Serialize,
    table: &str,
    ratios: &[Ratio],
    json: &Path,
    check: bool,
) -> anyhow::Result<ExitCode> {
    fs::write(json, serde_json::to_string_pretty(report)? + "\n")
        .with_context(|| format!("writing {}", json.display()))?;
    println!("{table}\n{}", json.display());
    let missed: Vec<_> = ratios.iter().filter(|ratio| !ratio.met).map(|ratio| ratio.name.as_str()).collect();
    if check && !missed.is_empty() {
        bail!("not what is wanted: {}", missed.join("; "));
    }
    Ok(ExitCode::SUCCESS)
}

/// The middle of values; not a number if there are none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        None => f64::NAN,
        Some(&upper) if values.len().is_multiple_of(2) => f64::midpoint(values[middle - 1], upper),
        Some(&upper) => upper,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        let check = |values: &[f64], expect: f64| assert_eq!(median(values.to_vec()), expect, "{values:?}");
        check(&[3.0], 3.0);
        check(&[3.0, 1.0], 2.0);
        check(&[9.0, 1.0, 2.0], 2.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn a_ratio_is_met_on_the_right_side_of_its_target() {
        let check = |value, bound, expect| {
            assert_eq!(Ratio::new("r", vec![value], bound, 0.5).met, expect, "{value} {bound:?}");
        };
        check(0.5, Bound::AtLeast, true);
        check(0.49, Bound::AtLeast, false);
        check(0.5, Bound::AtMost, true);
        check(0.51, Bound::AtMost, false);
        check(f64::NAN, Bound::AtLeast, false);
    }
}

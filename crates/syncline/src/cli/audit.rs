//! `syncline audit`: the audit log, exported and checked.
//!
//! What is checked is what was given, by a file or by a server: neither's word is taken for anything that the
//! records themselves do not show.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use aws_smithy_types::date_time::{DateTime, Format as DateFormat};
use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use syncline_store::chain::{Broken, ChainedRecord, Checker, Head};

use super::client::{Client, KEY_HELP, ServerArgs};
use super::terminal::{self, BOLD, paint, plain};
use super::user::AccountArgs;
use crate::running::Seams;

/// The longest line of an exported file, in bytes: a record's JSON, escaped once more, is well below.
const MAX_LINE_BYTES: u64 = 8 << 20;

/// The subcommands of `syncline audit`.
#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Write the account's audit records out, in the order of their chain.
    Export(Export),
    /// Check that no audit record was changed, removed, moved or slipped in.
    ///
    /// The hash of every record is computed anew and must follow from the one before. A chain that was cut off
    /// at its end, or rewritten as a whole, is sound in itself: to find that too, note the head that is printed,
    /// keep it where nobody who may write to the database may write, and give it with --expect the next time.
    Verify(Verify),
}

/// The flags of `syncline audit export`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct Export {
    /// Begin with the first record at or after this time: 2026-11-23T14:00:00Z, or a day: 2026-11-23.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<i64>,
    /// End before the first record at or after this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<i64>,
    /// Begin after this record: the last of an earlier export, whose place its head tells.
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    after: i64,
    /// What to write.
    #[arg(long, value_enum, default_value_t = Format::Ndjson)]
    format: Format,
    /// Write to this file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// What an export looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each record, with its place and its hashes: what `verify` reads.
    Ndjson,
    /// The records alone, as CloudTrail's log files hold them: {"Records": […]}.
    Cloudtrail,
}

/// The flags of `syncline audit verify`.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(super) struct Verify {
    /// A file that `export` wrote as ndjson, or - for standard input; without it, the server's whole log.
    file: Option<PathBuf>,
    /// The log must still hold the record that was its head then.
    #[arg(long, value_name = "SEQUENCE:HASH")]
    expect: Option<Head>,
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// A time in milliseconds since the Unix epoch.
fn parse_time(text: &str) -> Result<i64, String> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    DateTime::from_str(&whole, DateFormat::DateTimeWithOffset)
        .ok()
        .and_then(|time| time.to_millis().ok())
        .ok_or_else(|| "it must be like 2026-11-23T14:00:00Z or 2026-11-23".to_owned())
}

pub(super) async fn run(command: AuditCommand, seams: &Seams) -> anyhow::Result<ExitCode> {
    match command {
        AuditCommand::Export(args) => export(args, seams).await,
        AuditCommand::Verify(args) => verify(args, seams).await,
    }
}

/// What `GET /api/v1/audit` answers.
#[derive(Deserialize)]
struct Records {
    records: Vec<ChainedRecord>,
    head: Option<Head>,
    waiting: u64,
}

/// Reads the server's log after a place, a page at a time, until it ends or `take` has had enough. Says what
/// waits, and the head that the server claims.
async fn read_log(
    client: &Client,
    account: &AccountArgs,
    mut after: i64,
    mut take: impl FnMut(ChainedRecord) -> anyhow::Result<bool>,
) -> anyhow::Result<(u64, Option<Head>)> {
    let path = account.named().map_or("/audit".to_owned(), |account| format!("/accounts/{account}/audit"));
    loop {
        let page: Records = client.get(&format!("{path}?after={after}&limit=1000")).await?;
        let is_end = page.head.as_ref().is_none_or(|head| after >= head.sequence);
        if page.records.is_empty() || is_end {
            return Ok((page.waiting, page.head));
        }
        for record in page.records {
            let sequence = record.sequence;
            if !take(record)? {
                return Ok((page.waiting, page.head));
            }
            if sequence <= after {
                bail!("the server gives record {sequence} after record {after}");
            }
            after = sequence;
        }
    }
}

async fn export(args: Export, seams: &Seams) -> anyhow::Result<ExitCode> {
    let client = args.server.client(seams).await?;
    let mut out: Box<dyn Write> = match &args.output {
        None => Box::new(anstream::stdout()),
        Some(path) => {
            let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            Box::new(BufWriter::new(file))
        }
    };
    let mut written = Written { format: args.format, count: 0, last: None };
    let (waiting, _) = read_log(&client, &args.account, args.after, |record| {
        if args.from.is_some_and(|from_ms| written.count == 0 && record.time_ms < from_ms) {
            return Ok(true);
        }
        if args.to.is_some_and(|to_ms| record.time_ms >= to_ms) {
            return Ok(false);
        }
        written.record(&mut out, record)
    })
    .await?;
    written.end(&mut out)?;
    let last = written.last.map(|head| format!("; the last is {head}")).unwrap_or_default();
    terminal::print_aside(&format!("{} written{last}\n", records(written.count)))?;
    say_waiting(waiting)?;
    Ok(ExitCode::SUCCESS)
}

/// What an export has written so far.
struct Written {
    format: Format,
    count: u64,
    last: Option<Head>,
}

impl Written {
    /// Writes a record; false once nobody reads any more.
    fn record(&mut self, out: &mut impl Write, record: ChainedRecord) -> anyhow::Result<bool> {
        let line = match self.format {
            Format::Ndjson => format!("{}\n", serde_json::to_string(&record)?),
            Format::Cloudtrail if self.count == 0 => format!("{{\"Records\":[\n{}", record.record),
            Format::Cloudtrail => format!(",\n{}", record.record),
        };
        self.count += 1;
        self.last = Some(record.head());
        unless_gone(out.write_all(line.as_bytes()))
    }

    fn end(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let end = match self.format {
            Format::Ndjson => "",
            Format::Cloudtrail if self.count == 0 => "{\"Records\":[]}\n",
            Format::Cloudtrail => "\n]}\n",
        };
        unless_gone(out.write_all(end.as_bytes()).and_then(|()| out.flush())).map(drop)
    }
}

/// Whether it was written; a reader that has gone away (`| head`) is no failure.
fn unless_gone(written: io::Result<()>) -> anyhow::Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write the export"),
    }
}

fn records(count: u64) -> String {
    if count == 1 { "1 record".to_owned() } else { format!("{count} records") }
}

fn say_waiting(waiting: u64) -> io::Result<()> {
    if waiting == 0 {
        return Ok(());
    }
    let s = if waiting == 1 { "s for its place" } else { " for their places" };
    terminal::print_aside(&format!(
        "{} still wait{s} in the chain and are not among them\n",
        records(waiting)
    ))
}

async fn verify(args: Verify, seams: &Seams) -> anyhow::Result<ExitCode> {
    let mut checker = Checker::new(args.expect);
    let mut waiting = 0;
    match &args.file {
        Some(file) if file.as_os_str() == "-" => check_lines(&mut checker, io::stdin().lock(), file)?,
        Some(file) => {
            let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
            check_lines(&mut checker, BufReader::new(opened), file)?;
        }
        None => {
            checker = checker.of_whole_chain();
            let client = args.server.client(seams).await?;
            let (waits, head) =
                read_log(&client, &args.account, 0, |record| check(&mut checker, &record)).await?;
            let last = checker.head().map_or(0, |head| head.sequence);
            if let Some(head) = head.filter(|head| head.sequence > last) {
                bail!(Broken::CutOff { sequence: head.sequence, last });
            }
            waiting = waits;
        }
    }
    checker.end()?;
    match (checker.first(), checker.head()) {
        (Some(first), Some(head)) => terminal::print(&format!(
            "{} {first} to {} of account {}, {} in all: unchanged\n{}    {head}\n",
            paint(BOLD, "Records"),
            head.sequence,
            plain(checker.account()),
            head.sequence - first + 1,
            paint(BOLD, "Head"),
        ))?,
        _ => terminal::print("There are no records.\n")?,
    }
    say_waiting(waiting)?;
    Ok(ExitCode::SUCCESS)
}

fn check(checker: &mut Checker, record: &ChainedRecord) -> anyhow::Result<bool> {
    match checker.check(record) {
        Ok(()) => Ok(true),
        Err(broken) => match (checker.first(), checker.head()) {
            (Some(first), Some(head)) => {
                bail!("{broken} (records {first} to {} are unchanged)", head.sequence)
            }
            _ => bail!(broken),
        },
    }
}

fn check_lines(checker: &mut Checker, mut lines: impl BufRead, file: &Path) -> anyhow::Result<()> {
    for number in 1_u64.. {
        let mut line = Vec::new();
        let read = lines.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        if read.with_context(|| format!("cannot read {}", file.display()))? == 0 {
            break;
        }
        let record: ChainedRecord = serde_json::from_slice(&line).with_context(|| {
            format!("line {number} of {} is no record as `syncline audit export` writes it", file.display())
        })?;
        check(checker, &record)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_moment_or_a_day() {
        let check = |text: &str, expect: Option<i64>| assert_eq!(parse_time(text).ok(), expect, "{text}");
        check("2023-11-14T22:13:20Z", Some(1_700_000_000_000));
        check("2023-11-14T23:13:20.5+01:00", Some(1_700_000_000_500));
        check("2023-11-14", Some(1_699_920_000_000));
        check("yesterday", None);
        check("2023-13-14", None);
        check("", None);
    }
}

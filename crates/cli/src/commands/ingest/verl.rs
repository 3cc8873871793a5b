//! `rlhf-audit ingest verl`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use client::spool::{Durability, SpooledStream, WhenFull};
use import::follow::{FollowError, Follower};
use import::trainers::verl::LogLine;
use record::{Clock as _, RunId, Timestamp};
use serde_json::json;

use super::lines;
use super::progress::{Progress, Totals};
use super::recorder::{Recorder, follow_failure};
use super::rollouts::Rollouts;
use crate::duration::duration;
use crate::environment::SystemClock;
use crate::outcome::{Failure, Outcome};
use crate::place::client_failure;
use crate::spooled::{RunArgs, Spooled, beside, spool_failure};
use crate::stop::Stop;

/// From one look at the files to the next.
const INTERVAL: Duration = Duration::from_millis(500);
/// A look may take so much of the time at most: one part in so many.
const IDLE_SHARE: u32 = 20;
/// From one question whether the run is sealed to the next.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How the log is called in the progress.
const LOG: &str = "log";

/// Record verl's file logger, and the rollouts that it dumps
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Set trainer.logger=[…,file] and VERL_FILE_LOGGER_PATH=FILE, trainer.rollout_data_dir=DIR and \
                  trainer.validation_data_dir=DIR for verl. Interrupted, killed or out of power, the same command goes on \
                  where it was."
)]
pub(crate) struct Args {
    /// The file logger's file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The folder of rollouts (`trainer.rollout_data_dir`)
    #[arg(long, value_name = "DIR")]
    rollouts: Option<PathBuf>,
    /// The folder of validation's rollouts (`trainer.validation_data_dir`)
    #[arg(long, value_name = "DIR")]
    validation: Option<PathBuf>,
    /// Go on as the files grow, until Ctrl-C or SIGTERM
    #[arg(long)]
    follow: bool,
    /// End when nothing was written for so long
    #[arg(long, value_name = "TIME", requires = "follow", value_parser = duration)]
    idle: Option<Duration>,
    /// End when somebody else has sealed the run
    #[arg(long, requires = "follow", conflicts_with = "seal")]
    until_sealed: bool,
    /// Count bad lines and report each as an incident, instead of ending at the first
    #[arg(long)]
    skip_bad: bool,
    /// What to do when a file was truncated or written anew: stop, or read it again from its beginning
    #[arg(long, value_name = "stop|again", default_value = "stop")]
    on_rewrite: OnRewrite,
    /// The stream to write to
    #[arg(long, default_value = "verl")]
    stream: String,
    /// Where it is kept how far the files were read, and what the server does not have yet [default: FILE.audit]
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    #[command(flatten)]
    run: RunArgs,
}

/// What to do about a file that is no longer what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnRewrite {
    Stop,
    Again,
}

impl OnRewrite {
    /// Ends, or has the file read from its beginning, reported as an incident.
    pub(crate) fn decide(
        self,
        recorder: &mut Recorder<'_>,
        key: &str,
        error: FollowError,
    ) -> Result<(), Failure> {
        if self == Self::Stop || !error.is_change() {
            return Err(follow_failure(error));
        }
        eprintln!("rlhf-audit: {error}; it is read again from its beginning");
        recorder.start_over(key, "source-rewritten", &error.to_string())
    }
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let stop = Stop::listen()?;
    if !args.follow && !args.file.exists() {
        return Err(
            Failure::input(format!("there is no {}", args.file.display()))
                .with_hint("with --follow it is waited for"),
        );
    }
    let dir = args.spool.clone().unwrap_or_else(|| beside(&args.file));
    let mut progress = Progress::open(&dir)?;
    let when_full = WhenFull::Block {
        timeout: Duration::from_secs(1),
    };
    let spooled = args
        .run
        .open(&dir.join("spool"), Durability::Machine, when_full)?;
    let stream = open_stream(args, &spooled, &mut progress)?;
    progress.settle(stream.position().map_err(spool_failure)?)?;
    let log = progress.settled.files.get(LOG);
    let mut ingest = Ingest {
        log: Follower::new(&args.file, log.map(|log| log.position.clone())),
        folders: [
            ("rollouts", &args.rollouts),
            ("validation", &args.validation),
        ]
        .into_iter()
        .filter_map(|(name, dir)| Some(Rollouts::new(name, dir.as_deref()?, args.on_rewrite)))
        .collect(),
        recorder: Recorder {
            progress,
            stream: stream.clone(),
            stop: &stop,
            skip_bad: args.skip_bad,
        },
        args,
    };
    if args.follow && !json {
        let run = stream.run().map(|run| run.to_string()).unwrap_or_default();
        eprintln!(
            "rlhf-audit: following {} into run {run}  (Ctrl-C ends)",
            args.file.display()
        );
    }
    let read = ingest.read(&spooled, &stop);
    let kept = ingest.recorder.progress.save();
    let totals = ingest.recorder.progress.settled.totals;
    // What was read is sent, whatever came after it.
    let seal = args.run.seal.filter(|_| read.is_ok() && kept.is_ok());
    let closed = spooled.close(&stream, seal);
    read?;
    kept?;
    closed?;
    report(args, stream.run(), totals, json);
    Ok(Outcome::True)
}

/// The stream that an earlier start of the same command wrote, or a new one.
fn open_stream(
    args: &Args,
    spooled: &Spooled,
    progress: &mut Progress,
) -> Result<SpooledStream, Failure> {
    let called = args.run.called();
    let settled = &progress.settled;
    if !settled.called.is_empty() && settled.called != called {
        return Err(Failure::input(format!(
            "{} was ingested into the run `{}` before, not `{called}`",
            args.file.display(),
            settled.called
        ))
        .with_hint("keep the progress of another run elsewhere, with --spool"));
    }
    let earlier = progress.stream().map(|stream| stream.to_string());
    let stream = earlier.as_ref().unwrap_or(&args.stream);
    if let Some(run) = settled.run {
        return spooled.join(run, stream);
    }
    called.clone_into(&mut progress.settled.called);
    let run = match (args.run.find(spooled)?, progress.settled.starting) {
        (None, Some(since)) => started(args, spooled, since)?,
        (found, _) => found,
    };
    let joined = if let Some(run) = run {
        spooled.join(run, stream)?
    } else {
        progress.settled.starting = Some(SystemClock.now());
        progress.save()?;
        args.run.start(spooled, stream)?
    };
    progress.settled.run = joined.run();
    progress.save()?;
    Ok(joined)
}

/// The run that an earlier start began, and could not write down any more.
fn started(args: &Args, spooled: &Spooled, since: Timestamp) -> Result<Option<RunId>, Failure> {
    const PATIENCE: Duration = Duration::from_secs(30);
    spooled.spool.flush(PATIENCE).map_err(spool_failure)?;
    let owner = spooled.spool.public_key();
    let mut after = None;
    loop {
        let page = spooled
            .client()
            .runs(after.as_deref(), 100)
            .map_err(client_failure)?;
        let own = page.runs.iter().find(|run| {
            run.name == args.run.called() && run.owner == owner && run.started >= since
        });
        if let Some(run) = own {
            return Ok(Some(run.run));
        }
        after = page.next;
        if after.is_none() {
            return Ok(None);
        }
    }
}

struct Ingest<'a> {
    args: &'a Args,
    log: Follower,
    folders: Vec<Rollouts>,
    recorder: Recorder<'a>,
}

impl Ingest<'_> {
    /// Reads to the end: of the files, or of following them.
    fn read(&mut self, spooled: &Spooled, stop: &Stop) -> Result<(), Failure> {
        if !self.args.follow {
            self.pass(true)?;
            return Ok(());
        }
        let (mut quiet_since, mut asked) = (Instant::now(), Instant::now());
        loop {
            let began = Instant::now();
            // What is there when the end is wished is read.
            let last = stop.is_wished();
            let took = if self.pass(false)? {
                quiet_since = Instant::now();
                began.elapsed()
            } else {
                began.elapsed() * IDLE_SHARE
            };
            let idle = self.args.idle;
            if last || idle.is_some_and(|idle| quiet_since.elapsed() >= idle) {
                break;
            }
            if self.args.until_sealed && asked.elapsed() >= ASK_EVERY {
                asked = Instant::now();
                if self.is_sealed(spooled) {
                    break;
                }
            }
            stop.wait(took.max(INTERVAL));
        }
        // A line that is half there is the next start's, unless there cannot be one.
        if self.args.run.seal.is_some() {
            self.pass(true)?;
        }
        Ok(())
    }

    fn is_sealed(&self, spooled: &Spooled) -> bool {
        let run = self.recorder.stream.run().map(|run| run.to_string());
        let found = run.map(|run| spooled.client().run(&run));
        // A server that is away is asked again.
        matches!(found, Some(Ok(found)) if found.status != "open")
    }

    /// Reads what is new; whether something was. The log's lines come after the rollouts of their steps.
    fn pass(&mut self, all: bool) -> Result<bool, Failure> {
        let there = match self.log.look() {
            Ok(there) => there,
            Err(error) => {
                let again = self.args.on_rewrite;
                again.decide(&mut self.recorder, LOG, error)?;
                self.log = Follower::new(&self.args.file, None);
                self.log.look().map_err(follow_failure)?
            }
        };
        let to = self.log.bytes();
        let mut any = false;
        for folder in &mut self.folders {
            any |= folder.pass(&mut self.recorder, all)?;
        }
        if !there {
            return Ok(any);
        }
        loop {
            let items = self.lines(to, all).map_err(follow_failure)?;
            if items.is_empty() {
                return Ok(any);
            }
            any = true;
            self.recorder
                .record(LOG, &self.args.file, &mut self.log, items)?;
        }
    }

    fn lines(&mut self, to: u64, all: bool) -> Result<Vec<lines::Item>, FollowError> {
        let file = self.args.file.as_path();
        let files = &self.recorder.progress.settled.files;
        lines::read(&mut self.log, to, all, |line, bytes| {
            let read = LogLine::read(bytes)?;
            let rollouts = files.get(&Rollouts::key("rollouts", read.step));
            Ok(read.entry(rollouts.map(|file| file.recorded), &place(file, line)))
        })
    }
}

fn place(file: &Path, line: u64) -> String {
    format!("{}, line {line}", file.display())
}

fn report(args: &Args, run: Option<RunId>, totals: Totals, json: bool) {
    let Totals {
        lines,
        skipped,
        counts,
    } = totals;
    if json {
        println!(
            "{}",
            json!({
                "run": run, "lines": lines, "skipped": skipped, "metrics": counts.metrics, "updates": counts.updates,
                "evaluations": counts.evaluations, "rollouts": counts.rewards, "incidents": counts.incidents,
                "sealed": args.run.seal,
            })
        );
        return;
    }
    let run = run.map(|run| run.to_string()).unwrap_or_default();
    println!(
        "{lines} lines are in run {run}: {} metrics, {} updates, {} evaluations, {} rollouts, {} incidents.",
        counts.metrics, counts.updates, counts.evaluations, counts.rewards, counts.incidents
    );
    if skipped > 0 {
        println!("{skipped} lines could not be read; each is one of the incidents.");
    }
}

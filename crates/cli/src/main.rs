//! The `rlhf-audit` command: the only binary, and the only place that reads the environment, the clock and the
//! operating system's randomness.
//!
//! Exit codes: 0 done and true, 1 checked and found false, 2 bad usage or input, 3 something needed is unavailable.
//! Built with `--no-default-features --features verify` it is the auditor's binary: `verify` alone.

mod commands;
#[cfg(feature = "full")]
mod demo;
#[cfg(feature = "full")]
mod duration;
#[cfg(feature = "full")]
mod environment;
#[cfg(feature = "full")]
mod hangup;
#[cfg(feature = "full")]
mod location;
#[cfg(feature = "full")]
mod logging;
#[cfg(feature = "full")]
mod operation;
mod outcome;
#[cfg(feature = "full")]
mod passphrase;
#[cfg(feature = "full")]
mod place;
mod policy;
#[cfg(feature = "full")]
mod producer;
#[cfg(feature = "full")]
mod progress;
#[cfg(feature = "full")]
mod settings;
#[cfg(feature = "full")]
mod spooled;
#[cfg(feature = "full")]
mod stop;
#[cfg(feature = "full")]
mod traces;
#[cfg(feature = "full")]
mod vanishing;
#[cfg(feature = "full")]
mod work;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::outcome::{Failure, Outcome};

/// Keep a record of how a model was trained from human feedback that anyone can check.
#[derive(Debug, Parser)]
#[command(
    name = "rlhf-audit",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(
    after_help = "Exit codes: 0 done and true, 1 checked and found false (tampering), 2 bad usage or \
                        input, 3 something needed is unavailable."
)]
struct Cli {
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    json: bool,
    /// A file with the passphrase of encrypted keys; `RLHF_AUDIT_KEY_PASSPHRASE` may hold it instead
    #[cfg(feature = "full")]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "RLHF_AUDIT_KEY_PASSPHRASE_FILE"
    )]
    passphrase_file: Option<std::path::PathBuf>,
    /// The configuration file [default: ./rlhf-audit.toml or /etc/rlhf-audit/config.toml, where one is]
    #[cfg(feature = "full")]
    #[arg(long, global = true, value_name = "FILE", env = "RLHF_AUDIT_CONFIG")]
    config: Option<std::path::PathBuf>,
    #[cfg(feature = "full")]
    #[command(flatten)]
    log: logging::LogArgs,
    /// The tables of the configuration file.
    #[cfg(feature = "full")]
    #[arg(skip)]
    parts: settings::Parts,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a log, a bundle, a document or a model, trusting nothing but the key
    Verify(commands::verify::Args),
    /// Create a ledger: its keys, policy and first checkpoint
    #[cfg(feature = "full")]
    Init(commands::init::Args),
    /// Serve a ledger over HTTP
    #[cfg(feature = "full")]
    Serve(commands::serve::Args),
    /// Do jobs beside servers that share a database: checks of the log, model cards, timestamps, notifications
    #[cfg(feature = "full")]
    Worker(commands::worker::Args),
    /// Add jobs when their time has come, beside servers that share a database
    #[cfg(feature = "full")]
    Scheduler(commands::scheduler::Args),
    /// See, requeue and ask for jobs
    #[cfg(feature = "full")]
    Jobs(commands::jobs::Args),
    /// Start, list, show and seal training runs
    #[cfg(feature = "full")]
    Run(commands::run::Args),
    /// Record events read from standard input
    #[cfg(feature = "full")]
    Append(commands::append::Args),
    /// Record a published human-feedback file
    #[cfg(feature = "full")]
    Import(commands::import::Args),
    /// Add, list and remove hooks: addresses to which Label Studio or Argilla delivers annotations
    #[cfg(feature = "full")]
    Hook(commands::hook::Args),
    /// Record what a trainer writes into files of its own, also while it writes them
    #[cfg(feature = "full")]
    Ingest(commands::ingest::Args),
    /// Stand before a service that training calls, and record what it says
    #[cfg(feature = "full")]
    Proxy(commands::proxy::Args),
    /// Follow somebody else's log: alert when it is false, stale or gone, and keep the evidence
    #[cfg(feature = "full")]
    Monitor(commands::monitor::Args),
    /// Show a record and prove that it is in the log
    #[cfg(feature = "full")]
    Prove(commands::prove::Args),
    /// Write a run into one file with which it is verified offline
    #[cfg(feature = "full")]
    Bundle(commands::bundle::Args),
    /// Issue a run's model card
    #[cfg(feature = "full")]
    Card(commands::card::Args),
    /// Write published records into tables: Parquet, CSV or JSON Lines
    #[cfg(feature = "full")]
    Export(commands::export::Args),
    /// Copy a ledger to other stores: a directory, PostgreSQL, S3
    #[cfg(feature = "full")]
    Migrate(commands::migrate::Args),
    /// Copy what is new of a ledger to another place, encrypted, whether a server runs on it or not
    #[cfg(feature = "full")]
    Backup(commands::backup::Args),
    /// Put a ledger back from a backup, verify it, and say exactly which records are in it
    #[cfg(feature = "full")]
    Restore(commands::restore::Args),
    /// Have the checkpoint stamped by a time-stamping authority (RFC 3161)
    #[cfg(feature = "full")]
    Timestamp(commands::timestamp::Args),
    /// Look through a stopped ledger for damage, and repair what follows from the rest
    #[cfg(feature = "full")]
    Fsck(commands::fsck::Args),
    /// Build the index of a stopped ledger again from its log
    #[cfg(feature = "full")]
    Reindex(commands::reindex::Args),
    /// Make, show, encrypt and rotate keys
    #[cfg(feature = "full")]
    Key(commands::key::Args),
    /// Close a ledger for good; it can be read, and succeeded by another
    #[cfg(feature = "full")]
    Close(commands::close::Args),
    /// Create, list, show and revoke access tokens
    #[cfg(feature = "full")]
    Token(commands::token::Args),
    /// Ask a second admin for approval, and decide what others ask for
    #[cfg(feature = "full")]
    Approval(commands::approval::Args),
    /// Cosign the checkpoints of other people's logs, as long as they only grow
    #[cfg(feature = "full")]
    Witness(commands::witness::Args),
    /// Check and show the configuration: file, environment and command line
    #[cfg(feature = "full")]
    Config(commands::config::Args),
    /// Look at configuration, keys, clock, disk and stores, and say what to do where something is wrong
    #[cfg(feature = "full")]
    Doctor(commands::doctor::Args),
    /// Ask a server whether it can do its work
    #[cfg(feature = "full")]
    Health(commands::health::Args),
    /// Measure a server or this machine under load, and check what was recorded
    #[cfg(feature = "full")]
    Bench(commands::bench::Args),
    /// Perform a small real RLHF run and show what the ledger makes of it
    #[cfg(feature = "full")]
    Demo(demo::Args),
}

fn main() -> ExitCode {
    end_quietly_on_closed_pipe();
    #[cfg(not(feature = "full"))]
    let cli = Cli::parse();
    #[cfg(feature = "full")]
    let cli = match settings::parse() {
        Ok(cli) => cli,
        Err(settings::Refused::Usage(error)) => error.exit(),
        Err(settings::Refused::Settings(failure)) => {
            return failure.report(std::env::args().any(|argument| argument == "--json"));
        }
    };
    let json = cli.json;
    #[cfg(feature = "full")]
    passphrase::in_file(cli.passphrase_file);
    #[cfg(feature = "full")]
    logging::configure(cli.log);
    let result = match cli.command {
        Command::Verify(args) => commands::verify::run(&args, json),
        #[cfg(feature = "full")]
        Command::Init(args) => commands::init::run(&args, json),
        #[cfg(feature = "full")]
        Command::Serve(args) => commands::serve::run(&args, &cli.parts, json),
        #[cfg(feature = "full")]
        Command::Worker(args) => commands::worker::run(&args, &cli.parts, json),
        #[cfg(feature = "full")]
        Command::Scheduler(args) => commands::scheduler::run(&args, &cli.parts, json),
        #[cfg(feature = "full")]
        Command::Jobs(args) => commands::jobs::run(&args, &cli.parts, json),
        #[cfg(feature = "full")]
        Command::Run(args) => commands::run::run(&args, json),
        #[cfg(feature = "full")]
        Command::Append(args) => commands::append::run(&args, json),
        #[cfg(feature = "full")]
        Command::Import(args) => commands::import::run(&args, json),
        #[cfg(feature = "full")]
        Command::Hook(args) => commands::hook::run(&args, json),
        #[cfg(feature = "full")]
        Command::Ingest(args) => commands::ingest::run(&args, json),
        #[cfg(feature = "full")]
        Command::Proxy(args) => commands::proxy::run(&args, json),
        #[cfg(feature = "full")]
        Command::Monitor(args) => commands::monitor::run(&args, json),
        #[cfg(feature = "full")]
        Command::Prove(args) => commands::prove::run(&args, json),
        #[cfg(feature = "full")]
        Command::Bundle(args) => commands::bundle::run(&args, json),
        #[cfg(feature = "full")]
        Command::Card(args) => commands::card::run(&args, json),
        #[cfg(feature = "full")]
        Command::Export(args) => commands::export::run(&args, json),
        #[cfg(feature = "full")]
        Command::Migrate(args) => commands::migrate::run(&args, json),
        #[cfg(feature = "full")]
        Command::Backup(args) => commands::backup::run(&args, cli.parts.file(), json),
        #[cfg(feature = "full")]
        Command::Restore(args) => commands::restore::run(&args, json),
        #[cfg(feature = "full")]
        Command::Timestamp(args) => commands::timestamp::run(&args, json),
        #[cfg(feature = "full")]
        Command::Fsck(args) => commands::fsck::run(&args, json),
        #[cfg(feature = "full")]
        Command::Reindex(args) => commands::reindex::run(&args, json),
        #[cfg(feature = "full")]
        Command::Key(args) => commands::key::run(&args, json),
        #[cfg(feature = "full")]
        Command::Close(args) => commands::close::run(&args, json),
        #[cfg(feature = "full")]
        Command::Approval(args) => commands::approval::run(&args, json),
        #[cfg(feature = "full")]
        Command::Token(args) => commands::token::run(&args, json),
        #[cfg(feature = "full")]
        Command::Witness(args) => commands::witness::run(&args, json),
        #[cfg(feature = "full")]
        Command::Config(args) => commands::config::run(&args, cli.config, json),
        #[cfg(feature = "full")]
        Command::Doctor(args) => commands::doctor::run(&args, cli.config, json),
        #[cfg(feature = "full")]
        Command::Health(args) => commands::health::run(&args, json),
        #[cfg(feature = "full")]
        Command::Bench(args) => commands::bench::run(&args, json),
        #[cfg(feature = "full")]
        Command::Demo(args) => demo::run(&args, json),
    };
    match result {
        Ok(Outcome::True) => ExitCode::SUCCESS,
        Ok(Outcome::False) => ExitCode::from(1),
        Err(failure) => failure.report(json),
    }
}

/// `rlhf-audit … | head` ends without a backtrace, with the exit code of a program that the closed pipe ended.
///
/// Resetting SIGPIPE would do that too, but would also let a client that hangs up end the server.
fn end_quietly_on_closed_pipe() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let message = info.payload_as_str().unwrap_or_default();
        if message.starts_with("failed printing to std") && message.contains("Broken pipe") {
            std::process::exit(128 + 13);
        }
        report(info);
    }));
}

impl Failure {
    fn report(&self, json: bool) -> ExitCode {
        if json {
            let object = serde_json::json!({ "error": self.to_string(), "hint": self.hint() });
            eprintln!("{object}");
        } else {
            eprintln!("error: {self}");
            if let Some(hint) = self.hint() {
                eprintln!(" hint: {hint}");
            }
        }
        ExitCode::from(self.exit_code())
    }
}

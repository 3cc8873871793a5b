//! `rlhf-audit backup`: a ledger kept elsewhere.

use std::path::{Path, PathBuf};

use backup::{BackupError, Key, Open, Source};
use serde_json::json;

use crate::environment::{SystemClock, SystemEntropy};
use crate::location::{LocationArgs, object_options};
use crate::outcome::{Failure, Outcome};
use crate::passphrase;
use crate::place::ledger_failure;
use crate::progress;

/// Copy what is new of a ledger to another place, encrypted, whether a server runs on it or not
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    location: LocationArgs,
    /// Where backups of this ledger go: a directory, or an object store whose credentials the variables AWS_…, GOOGLE_… or
    /// AZURE_… give
    #[arg(
        long,
        value_name = "DIR|s3|gs|az://BUCKET/PREFIX",
        env = "RLHF_AUDIT_BACKUP_TO"
    )]
    to: String,
    /// A file that belongs to the installation, or a directory of such: into the backup with it. The configuration file in
    /// use always is [may be given again]
    #[arg(long = "with", value_name = "PATH")]
    with: Vec<PathBuf>,
    #[command(flatten)]
    key: KeyArgs,
}

/// What backups are encrypted under.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyArgs {
    /// The key that encrypts backups; `rlhf-audit key generate --out FILE` makes one. Keep a copy where the ledger is not
    #[arg(
        long,
        value_name = "FILE",
        env = "RLHF_AUDIT_BACKUP_KEY_FILE",
        conflicts_with = "plain"
    )]
    key_file: Option<PathBuf>,
    /// Encrypt nothing: private keys, and with them every sealed value, can be read by whoever reads the backup
    #[arg(long)]
    plain: bool,
}

impl KeyArgs {
    pub(crate) fn key(&self) -> Result<Key, Failure> {
        match &self.key_file {
            Some(path) => read_key(path),
            None if self.plain => Ok(Key::plain()),
            None => Err(Failure::input(
                "a backup holds the ledger's private keys, and nothing says how to encrypt it",
            )
            .with_hint(
                "make a key with `rlhf-audit key generate --out FILE`, keep a copy of it elsewhere, and give it with \
                 --key-file; or say --plain",
            )),
        }
    }
}

/// The key in this file, which a passphrase may encrypt.
pub(crate) fn read_key(path: &Path) -> Result<Key, Failure> {
    let seed = ledger::keys::read_with(path, &passphrase::given()).map_err(ledger_failure)?;
    Ok(Key::new(&seed))
}

pub(crate) fn run(
    args: &Args,
    configuration: Option<&Path>,
    json: bool,
) -> Result<Outcome, Failure> {
    let options = object_options();
    let open = Open {
        place: &args.to,
        options: &options,
        key: args.key.key()?,
    };
    let bar = progress::objects();
    let mut with = args.with.clone();
    with.extend(configuration.map(Path::to_owned));
    let source = Source {
        location: &args.location.location(),
        with: &with,
    };
    let made = backup::make(source, &open, &SystemClock, &SystemEntropy, &|done, all| {
        bar.set_length(all);
        bar.set_position(done);
        true
    });
    bar.finish_and_clear();
    let made = made.map_err(failure)?;
    if json {
        println!("{}", json!(made));
    } else {
        let info = &made.info;
        println!(
            "Backed up {} records of {} as {}.",
            info.size + info.unpublished,
            info.origin,
            info.point
        );
        println!(
            "  checkpoint   {} records, root {}; {} more from the journal",
            info.size, info.root, info.unpublished
        );
        println!(
            "  objects      {} ({} bytes), {} of them copied by an earlier backup",
            info.objects, info.bytes, made.reused
        );
        println!("  files        {} beside the ledger", info.files);
        println!(
            "  written      {} blobs, {} bytes",
            made.written, made.written_bytes
        );
        if args.key.plain {
            println!("  NOT ENCRYPTED: the ledger's private keys are in it, in the clear.");
        }
    }
    Ok(Outcome::True)
}

/// Why there is no backup, or nothing came back.
pub(crate) fn failure(error: BackupError) -> Failure {
    match error {
        BackupError::Ledger(error) if error.is_occupied() => Failure::input(error),
        BackupError::Ledger(error) if error.is_damage() => Failure::untrue(error),
        BackupError::Ledger(error) => ledger_failure(error),
        error if error.is_input() => Failure::input(error),
        error if error.is_damage() => Failure::untrue(error),
        error => Failure::unavailable(error),
    }
}

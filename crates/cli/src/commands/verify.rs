//! `rlhf-audit verify`: a log, a bundle, a document or a model.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use tlog::Policy;
use verify::timestamp::TsaRoots;
use verify::{Document, Model, Options, ProducerKey, Report, Source, VerifyError};
use weights::{Examined, Fault, Tensors, WeightsError};

use crate::outcome::{Failure, Outcome};

/// Check a log, a bundle, a document or a model, trusting nothing but the key
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A data directory, a log directory, a log's URL, or a bundle
    #[arg(value_name = "DIR|URL|BUNDLE", default_value = "./audit-data")]
    target: String,
    /// Whom to trust: a policy file (c2sp.org/tlog-policy) or a file with one verifier key
    #[arg(long, visible_alias = "key", value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A checkpoint that was kept from an earlier time: the log must have grown from it
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// Keep the verified checkpoint in this file, for a later --since
    #[arg(long, value_name = "FILE")]
    remember: Option<PathBuf>,
    /// A document, such as a model card, that the log must say was issued
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// A saved model, a folder or a file: which record of the log it is, or which of its files and tensors differ from
    /// the nearest
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Roots (PEM) of the time-stamping authorities to believe: timestamps are then checked, and there must be one
    #[arg(long, value_name = "FILE")]
    tsa_ca: Option<PathBuf>,
    /// A producer's key that is known from elsewhere, as NAME=BASE64; may be repeated
    #[arg(long = "producer-key", value_name = "NAME=KEY", value_parser = producer_key)]
    producer_keys: Vec<ProducerKey>,
    /// For a bundle that newer keys of the log have signed than the policy knows: the log's directory or URL, where its
    /// changes of keys are. A log has them itself
    #[arg(long, value_name = "DIR|URL")]
    rotations: Option<String>,
    /// Only leaves, tiles, root and the checkpoint's signatures
    #[arg(long)]
    hashes: bool,
    /// Also open the sealed values of a data directory and check their commitments; takes the directory's keys, and
    /// that no server runs on it
    #[cfg(feature = "full")]
    #[arg(long, conflicts_with = "hashes")]
    openings: bool,
    /// How many threads to use [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// The token for a URL whose entries need one
    #[arg(
        long,
        value_name = "TOKEN",
        env = "RLHF_AUDIT_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let (policy, beside) = read_policy(args)?;
    let model = args
        .model
        .as_deref()
        .map(|path| SavedModel::examine(path, args.threads))
        .transpose()?;
    let mut options = Options {
        hashes_only: args.hashes,
        threads: args.threads,
        since: args.since.as_deref().map(read).transpose()?,
        document: args
            .document
            .as_ref()
            .map(Document::read)
            .transpose()
            .map_err(unavailable)?,
        model: model.as_ref().map(SavedModel::asked),
        tsa_roots: args.tsa_ca.as_deref().map(tsa_roots).transpose()?,
        producer_keys: args.producer_keys.clone(),
        rotations: args
            .rotations
            .as_deref()
            .map(|place| source(place, args.token.as_deref()))
            .transpose()?,
        ..Options::default()
    };
    let mut report = check(args, &policy, &mut options)?;
    report
        .notes
        .extend(model.iter().flat_map(SavedModel::faults));
    if json {
        println!(
            "{}",
            serde_json::to_string(&report).map_err(Failure::input)?
        );
    } else {
        print!("{report}");
        if let Some(path) = beside {
            println!(
                "The key was taken from {}, beside the log itself: this shows that the log agrees with itself. \
                 For more, get the policy from somebody else and give it with --policy.",
                path.display()
            );
        }
    }
    if report.verdict().exit_code() != 0 {
        return Ok(Outcome::False);
    }
    if let (Some(path), Some(signed)) = (&args.remember, &report.checkpoint) {
        std::fs::write(path, &signed.note)
            .map_err(|e| Failure::unavailable(format!("cannot write {}: {e}", path.display())))?;
    }
    Ok(Outcome::True)
}

#[cfg(feature = "full")]
fn check(args: &Args, policy: &Policy, options: &mut Options<'_>) -> Result<Report, Failure> {
    if !args.openings {
        return check_target(args, policy, options);
    }
    // Opening a ledger finishes what a crash interrupted. What is there is therefore checked first, untouched.
    let untouched = check_target(args, policy, options)?;
    if untouched.verdict().exit_code() != 0 {
        return Ok(untouched);
    }
    let ledger = crate::place::open_ledger(Path::new(&args.target))?;
    let opener = ledger.opener();
    let report = check_target(
        args,
        policy,
        &mut Options {
            openings: Some(&opener),
            ..options.clone()
        },
    );
    ledger.close().map_err(crate::place::ledger_failure)?;
    report
}

#[cfg(not(feature = "full"))]
fn check(args: &Args, policy: &Policy, options: &mut Options<'_>) -> Result<Report, Failure> {
    check_target(args, policy, options)
}

fn check_target(
    args: &Args,
    policy: &Policy,
    options: &mut Options<'_>,
) -> Result<Report, Failure> {
    let target = Path::new(&args.target);
    if is_url(&args.target) {
        let source = Source::url(&args.target, args.token.as_deref()).map_err(unavailable)?;
        verify::log(&source, policy, options).map_err(unavailable)
    } else if target.is_dir() {
        let source = Source::directory(target).map_err(unavailable)?;
        verify::log(&source, policy, options).map_err(unavailable)
    } else if target.is_file() {
        verify::bundle(target, policy, options).map_err(unavailable)
    } else {
        Err(
            Failure::unavailable(format!("there is no {}", target.display()))
                .with_hint("give a data directory, a log's URL or a bundle"),
        )
    }
}

/// The policy, and its path where it was only found beside the log.
fn read_policy(args: &Args) -> Result<(Policy, Option<PathBuf>), Failure> {
    let (path, beside) = match &args.policy {
        Some(path) => (path.clone(), false),
        None => (Path::new(&args.target).join("policy"), true),
    };
    if beside && !path.is_file() {
        return Err(Failure::input(
            "nothing to trust was given, and verification trusts nothing but the key",
        )
        .with_hint(
            "give the log's policy file with --policy; `rlhf-audit init` wrote it beside the log",
        ));
    }
    let policy = crate::policy::read(&path)?;
    Ok((policy, beside.then_some(path)))
}

/// The model that is asked about.
struct SavedModel {
    name: String,
    examined: Examined,
}

impl SavedModel {
    fn examine(path: &Path, threads: Option<NonZeroUsize>) -> Result<Self, Failure> {
        let options = weights::Options {
            threads,
            tensors: Tensors::Always,
            ..weights::Options::default()
        };
        let source = weights::Source::open(path).map_err(unhashed)?;
        Ok(Self {
            name: path.display().to_string(),
            examined: weights::examine(&source, &options).map_err(unhashed)?,
        })
    }

    fn asked(&self) -> Model<'_> {
        Model {
            name: &self.name,
            manifest: &self.examined.manifest,
        }
    }

    /// What is wrong with its files by themselves.
    fn faults(&self) -> impl Iterator<Item = String> {
        let fault = |fault: &Fault| format!("{}/{}: {}", self.name, fault.name, fault.why);
        self.examined.faults.iter().map(fault)
    }
}

fn unhashed(error: WeightsError) -> Failure {
    match error {
        WeightsError::Io { .. } => Failure::unavailable(error),
        _ => Failure::input(error),
    }
}

fn tsa_roots(path: &Path) -> Result<TsaRoots, Failure> {
    TsaRoots::from_pem(&read(path)?).map_err(|e| Failure::input(format!("{}: {e}", path.display())))
}

fn source(place: &str, token: Option<&str>) -> Result<Source, Failure> {
    if is_url(place) {
        Source::url(place, token)
    } else {
        Source::directory(place)
    }
    .map_err(unavailable)
}

fn is_url(target: &str) -> bool {
    target.starts_with("http://") || target.starts_with("https://")
}

fn read(path: impl AsRef<Path>) -> Result<Vec<u8>, Failure> {
    let path = path.as_ref();
    std::fs::read(path)
        .map_err(|e| Failure::unavailable(format!("cannot read {}: {e}", path.display())))
}

fn unavailable(error: VerifyError) -> Failure {
    Failure::unavailable(error)
}

fn producer_key(text: &str) -> Result<ProducerKey, String> {
    let (producer, key) = text
        .split_once('=')
        .ok_or("expected NAME=KEY, the key in base64")?;
    let key = record::PublicKey::parse(key).ok_or("the key is not 32 bytes in base64")?;
    Ok(ProducerKey {
        producer: producer.to_owned(),
        key: key.0,
    })
}

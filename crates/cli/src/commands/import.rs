//! `rlhf-audit import`: a published feedback file becomes records.
//!
//! The file is read twice: once to find every mistake and its digest, once to record. Interrupted and started again, the
//! import goes on in the same stream, whose name is the file's digest, and skips what that stream holds already.

mod seed;

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use import::{FileFacts, Format, Inspection, Settings, Source};
use indicatif::{ProgressBar, ProgressStyle};
use record::kinds::DatasetRegistered;
use record::{Draft, RunId, Sha256};
use serde_json::json;

use self::seed::Seed;
use crate::commands::run::start;
use crate::outcome::{Failure, Outcome};
use crate::place::{Place, PlaceArgs, client_failure};
use crate::producer::Producer;

/// How many mistakes are shown; all are counted.
const SHOWN_ERRORS: usize = 20;

/// Record a published human-feedback file
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// fine-grained-rlhf, hh-rlhf, trl, label-studio or argilla
    #[arg(long)]
    format: Format,
    /// What the platform knows and its export does not say: Label Studio's labeling interface (XML), Argilla's
    /// settings.json
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// JSON or JSON Lines, plain or gzip; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The run's name or id; a run of that name is started where there is none
    #[arg(long)]
    run: String,
    /// What to call the data set [default: the file's name]
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Record the good rows all the same, and write the bad ones here, with reasons
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let input = Spooled::take(&args.file)?;
    let mut source = Source {
        format: args.format,
        dataset: args.dataset.clone().unwrap_or_else(|| input.name.clone()),
        file: args.file.display().to_string(),
        settings: settings(args)?,
        // For the inspection, of which nothing is kept.
        pseudonyms: Seed::fresh().pseudonyms(),
    };
    let bar = progress(json, "checking");
    let inspection = import::inspect(input.open()?, source.clone(), |rows| bar.set_position(rows))
        .map_err(|e| unreadable(&args.file, &e))?;
    bar.finish_and_clear();
    refuse_mistakes(args, &inspection)?;

    let place = args.place.open()?;
    let run = find_or_start(&place, &args.place, &args.run)?;
    let stream = format!("import-{}", &inspection.file.sha256_hex()[..16]);
    let key = args.place.producer_key()?;
    let (mut producer, done) = Producer::resume(&place.client, run, &stream, key)?;
    // `dataset.registered` comes before the rows.
    if done < inspection.drafts + 1 {
        let seed = if args.format.names_annotators() {
            Seed::kept(&args.place, run, &stream, done > 1)
        } else {
            Seed::fresh()
        };
        source.pseudonyms = seed.pseudonyms();
        if done == 0 {
            producer.record(Draft::new(registered(&source, &inspection)))?;
        }
        record_rows(
            args,
            &input,
            &source,
            &inspection,
            &mut producer,
            done.saturating_sub(1),
            json,
        )?;
        seed.destroy();
    } else {
        // A signature may be missing still.
        producer.flush()?;
        if let Some(path) = &args.rejects {
            write_rejects(path, &input, &source)?;
        }
    }
    place.close()?;
    report(&source, run, &inspection, done, json);
    Ok(Outcome::True)
}

/// What the platform knows of its questions.
fn settings(args: &Args) -> Result<Settings, Failure> {
    let Some(path) = &args.settings else {
        return Ok(Settings::None);
    };
    let bytes = std::fs::read(path).map_err(|e| unreadable(path, &e))?;
    args.format
        .settings(&bytes)
        .map_err(|misfit| Failure::input(format!("{}: {misfit}", path.display())))
}

/// A malformed row is an error, and by default nothing of the file is recorded.
fn refuse_mistakes(args: &Args, inspection: &Inspection) -> Result<(), Failure> {
    if inspection.is_clean() || (args.rejects.is_some() && !inspection.fatal) {
        return Ok(());
    }
    let mut message: Vec<String> = inspection
        .errors
        .iter()
        .take(SHOWN_ERRORS)
        .map(ToString::to_string)
        .collect();
    if inspection.error_count > message.len() as u64 {
        message.push(format!(
            "and {} more",
            inspection.error_count - message.len() as u64
        ));
    }
    let hint = if inspection.fatal {
        "nothing was recorded; the file cannot be read to its end"
    } else {
        "nothing was recorded; mend the rows, or record the good ones with --rejects FILE"
    };
    Err(Failure::input(message.join("\n       ")).with_hint(hint))
}

fn record_rows(
    args: &Args,
    input: &Spooled,
    source: &Source,
    inspection: &Inspection,
    producer: &mut Producer<'_>,
    mut skip: u64,
    json: bool,
) -> Result<(), Failure> {
    let mut rejects = args.rejects.as_deref().map(create).transpose()?;
    let bar = progress(json, "recording");
    bar.set_length(inspection.rows + inspection.error_count);
    let mut rows =
        import::rows(input.open()?, source.clone()).map_err(|e| unreadable(&args.file, &e))?;
    for row in &mut rows {
        bar.inc(1);
        match row {
            Ok(row) => {
                for draft in row.drafts {
                    if skip > 0 {
                        skip -= 1;
                    } else {
                        producer.record(draft)?;
                    }
                }
            }
            Err(error) => {
                if let Some(file) = &mut rejects {
                    writeln!(file, "{}", error.to_json())
                        .map_err(|e| cannot_write(args.rejects.as_deref(), &e))?;
                }
            }
        }
    }
    producer.flush()?;
    if let Some(mut file) = rejects {
        file.flush()
            .map_err(|e| cannot_write(args.rejects.as_deref(), &e))?;
    }
    bar.finish_and_clear();
    let facts: FileFacts = rows.finish().map_err(|e| unreadable(&args.file, &e))?;
    if facts != inspection.file {
        return Err(Failure::input(format!("{} changed while it was being imported", args.file.display()))
            .with_hint("the run now holds rows of both versions in one stream; start a new run for the whole file"));
    }
    Ok(())
}

fn write_rejects(path: &Path, input: &Spooled, source: &Source) -> Result<(), Failure> {
    let mut file = create(path)?;
    for row in import::rows(input.open()?, source.clone()).map_err(|e| unreadable(path, &e))? {
        if let Err(error) = row {
            writeln!(file, "{}", error.to_json()).map_err(|e| cannot_write(Some(path), &e))?;
        }
    }
    file.flush().map_err(|e| cannot_write(Some(path), &e))
}

fn registered(source: &Source, inspection: &Inspection) -> DatasetRegistered {
    let mut body = DatasetRegistered::new(
        inspection.file.bytes,
        source.format.name().to_owned(),
        source.dataset.clone(),
        Sha256(inspection.file.sha256),
    );
    body.rows = Some(inspection.rows + inspection.error_count);
    body
}

fn find_or_start(place: &Place, args: &PlaceArgs, name: &str) -> Result<RunId, Failure> {
    match place.client.run(name) {
        Ok(run) => Ok(run.run),
        Err(error)
            if error.problem().is_some_and(|p| p.status == 404) && RunId::parse(name).is_none() =>
        {
            start(place, args, name, None, None, None)
        }
        Err(error) => Err(client_failure(error)),
    }
}

fn report(source: &Source, run: RunId, inspection: &Inspection, done: u64, json: bool) {
    if json {
        println!(
            "{}",
            json!({
                "run": run, "dataset": source.dataset, "rows": inspection.rows, "rejected": inspection.error_count,
                "annotations": inspection.drafts, "recorded_before": done.saturating_sub(1),
                "sha256": inspection.file.sha256_hex(),
            })
        );
        return;
    }
    println!(
        "{} rows of {} are {} annotations of run {run}.",
        inspection.rows, source.dataset, inspection.drafts
    );
    if done > 1 {
        println!(
            "{} of them were recorded before; the import went on where it had stopped.",
            done - 1
        );
    }
    if inspection.error_count > 0 {
        println!("{} rows were rejected.", inspection.error_count);
    }
}

/// The input as something that can be read twice: a file, or a copy of standard input.
struct Spooled {
    name: String,
    path: PathBuf,
    _copy: Option<tempfile::NamedTempFile>,
}

impl Spooled {
    fn take(file: &Path) -> Result<Self, Failure> {
        if file != Path::new("-") {
            let name = file
                .file_name()
                .unwrap_or(file.as_os_str())
                .to_string_lossy()
                .into_owned();
            return Ok(Self {
                name,
                path: file.to_owned(),
                _copy: None,
            });
        }
        let cannot = |e: std::io::Error| {
            Failure::unavailable(format!(
                "cannot keep standard input in a temporary file: {e}"
            ))
        };
        let mut copy = tempfile::NamedTempFile::new().map_err(cannot)?;
        std::io::copy(&mut std::io::stdin().lock(), copy.as_file_mut()).map_err(cannot)?;
        Ok(Self {
            name: "standard input".to_owned(),
            path: copy.path().to_owned(),
            _copy: Some(copy),
        })
    }

    fn open(&self) -> Result<File, Failure> {
        File::open(&self.path).map_err(|e| unreadable(&self.path, &e))
    }
}

fn create(path: &Path) -> Result<BufWriter<File>, Failure> {
    File::create(path)
        .map(BufWriter::new)
        .map_err(|e| cannot_write(Some(path), &e))
}

fn cannot_write(path: Option<&Path>, error: &std::io::Error) -> Failure {
    Failure::unavailable(format!(
        "cannot write {}: {error}",
        path.unwrap_or(Path::new("?")).display()
    ))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::unavailable(format!("cannot read {}: {error}", path.display()))
}

fn progress(json: bool, what: &'static str) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:10} {wide_bar} {human_pos} rows")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style).with_message(what)
}

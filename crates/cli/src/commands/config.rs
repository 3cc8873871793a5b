//! `rlhf-audit config check|show|schema`.

use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory as _};
use serde_json::{Value, json};

use crate::Cli;
use crate::outcome::{Failure, Outcome};
use crate::settings::{
    FROM_ENVIRONMENT, Faults, Key, Keys, Settings, Told, of_environment, schema,
};

/// Check and show the configuration: file, environment and command line
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Say everything that is wrong with the file and the environment: 0 nothing, 2 something
    Check,
    /// Show what a command's options are, and where each is from; secrets stay hidden
    Show {
        /// The command, with its own options
        #[arg(
            value_name = "COMMAND",
            default_value = "serve",
            trailing_var_arg = true,
            allow_hyphen_values = true
        )]
        command: Vec<String>,
    },
    /// Print the JSON Schema of the file
    Schema,
}

pub(crate) fn run(args: &Args, file: Option<PathBuf>, json: bool) -> Result<Outcome, Failure> {
    match &args.action {
        Action::Check => check(file, json),
        Action::Show { command } => show(command, file, json),
        Action::Schema => {
            println!("{:#}", schema(&Keys::of(&Cli::command())));
            Ok(Outcome::True)
        }
    }
}

fn check(file: Option<PathBuf>, json: bool) -> Result<Outcome, Failure> {
    let command = Cli::command();
    let keys = Keys::of(&command);
    let strangers = strangers(&keys);
    let (path, mut faults, given) = match Settings::load(&command, file) {
        Ok(settings) => {
            let secrets = settings.parts.work().err();
            let faults = secrets.map(|failure| failure.to_string());
            let given = settings.len();
            (settings.path, faults.into_iter().collect(), given)
        }
        Err(Faults { path, all, .. }) => (path, all, 0),
    };
    faults.extend(of_environment(&keys));
    if json {
        let report = json!({
            "file": path, "valid": faults.is_empty(), "faults": faults, "notes": strangers,
        });
        println!("{report}");
    } else {
        match &path {
            Some(path) => println!("file: {}", path.display()),
            None => println!("file: none"),
        }
        for fault in &faults {
            println!("wrong: {fault}");
        }
        for stranger in &strangers {
            println!("note: {stranger}");
        }
        if faults.is_empty() {
            println!(
                "The configuration is good: {given} options are given beside the command line."
            );
        }
    }
    if faults.is_empty() {
        return Ok(Outcome::True);
    }
    let place = path
        .as_deref()
        .map_or("the environment".into(), Path::to_string_lossy);
    Err(Failure::input(format!(
        "the configuration is wrong: {} of {place}",
        counted(faults.len())
    ))
    .with_hint(
        "docs/operations/configuration.md lists the keys; so does `rlhf-audit config schema`",
    ))
}

fn counted(faults: usize) -> String {
    match faults {
        1 => "one fault".to_owned(),
        more => format!("{more} faults"),
    }
}

/// Variables that look like ours and are nobody's.
pub(crate) fn strangers(keys: &Keys) -> Vec<String> {
    let ours = |name: &String| {
        name.starts_with("RLHF_AUDIT_")
            && !FROM_ENVIRONMENT.contains(&name.as_str())
            && !keys.iter().any(|key| key.variable == *name)
    };
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut strangers: Vec<String> = names
        .filter(ours)
        .filter_map(|name| {
            // What an orchestrator says of a service called rlhf-audit is like none of ours.
            let nearest = keys.nearest_variable(&name)?;
            Some(format!(
                "no option has the variable {name}; did you mean {nearest}?"
            ))
        })
        .collect();
    strangers.sort();
    strangers
}

fn show(line: &[String], file: Option<PathBuf>, json: bool) -> Result<Outcome, Failure> {
    let settings = Settings::load(&Cli::command(), file)?;
    let mut command = settings.apply(Cli::command());
    let words = std::iter::once("rlhf-audit").chain(line.iter().map(String::as_str));
    let matches = command.try_get_matches_from_mut(words).map_err(|error| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        Failure::input(line.trim_start_matches("error: ")).with_hint(
            "give the command as you would run it: rlhf-audit config show serve --port 9000",
        )
    })?;
    let (path, command, matches) = deepest(&command, &matches);
    let mut rows: Vec<Row> = command
        .get_arguments()
        .filter_map(|arg| Some((Key::of(arg)?, arg.get_id().as_str())))
        .map(|(key, id)| Row::of(&key, id, matches, &settings))
        .collect();
    let place = settings.path.as_deref();
    let parts = settings.parts.told(&path).into_iter();
    rows.extend(parts.map(|told| Row::told(told, place)));
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    if json {
        let values: Vec<Value> = rows.iter().map(Row::json).collect();
        let report = json!({ "file": settings.path, "command": path, "values": values });
        println!("{report}");
        return Ok(Outcome::True);
    }
    match &settings.path {
        Some(path) => println!("file: {}", path.display()),
        None => println!("file: none"),
    }
    let wide = |of: fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or_default().min(40);
    let (keys, values) = (wide(|row| row.key.len()), wide(|row| row.shown().len()));
    for row in &rows {
        println!("{:keys$}  {:values$}  {}", row.key, row.shown(), row.from);
    }
    Ok(Outcome::True)
}

/// The command that a line ends in, its path and what it was given.
fn deepest<'a>(
    command: &'a Command,
    matches: &'a ArgMatches,
) -> (String, &'a Command, &'a ArgMatches) {
    let (mut path, mut command, mut matches) = (Vec::new(), command, matches);
    while let Some((name, below)) = matches.subcommand() {
        let Some(found) = command.find_subcommand(name) else {
            break;
        };
        path.push(name);
        (command, matches) = (found, below);
    }
    (path.join(" "), command, matches)
}

/// One option.
struct Row {
    key: String,
    /// Tables have none.
    variable: Option<String>,
    secret: bool,
    values: Vec<String>,
    from: String,
}

impl Row {
    fn of(key: &Key, id: &str, matches: &ArgMatches, settings: &Settings) -> Self {
        let raw = matches.get_raw(id).into_iter().flatten();
        let values: Vec<String> = raw
            .map(|value| value.to_string_lossy().into_owned())
            .collect();
        let from = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => format!("flag --{}", key.long),
            Some(ValueSource::EnvVariable) => format!("environment {}", key.variable),
            _ => match settings.origin(&key.name) {
                Some(origin) => origin.to_owned(),
                None => "default".to_owned(),
            },
        };
        Self {
            key: key.name.clone(),
            variable: Some(key.variable.clone()),
            secret: key.secret,
            values,
            from,
        }
    }

    fn told(told: Told, file: Option<&Path>) -> Self {
        let from = file.filter(|_| told.given);
        Self {
            key: told.key,
            variable: None,
            secret: told.secret,
            values: vec![told.value],
            from: from.map_or("default".to_owned(), |path| {
                format!("file {}", path.display())
            }),
        }
    }

    fn shown(&self) -> String {
        match (self.values.is_empty(), self.secret) {
            (true, _) => "-".to_owned(),
            (false, true) => "(hidden)".to_owned(),
            (false, false) => self.values.join(","),
        }
    }

    fn json(&self) -> Value {
        let value = match (self.values.as_slice(), self.secret) {
            ([], _) | (_, true) => Value::Null,
            ([one], false) => one.as_str().into(),
            (more, false) => more.into(),
        };
        json!({
            "key": self.key, "variable": self.variable, "value": value, "secret": self.secret,
            "set": !self.values.is_empty(), "from": self.from,
        })
    }
}

//! The configuration file and the files that hold secrets, as defaults of the arguments.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::{Arg, Command};
use toml::{Table, Value};

use super::keys::{Key, Keys, Shape};
use super::parts::Parts;
use crate::outcome::Failure;

/// Where the file is looked for that nobody names, in this order.
const PLACES: [&str; 2] = ["rlhf-audit.toml", "/etc/rlhf-audit/config.toml"];
/// Variables of this program that are no option's.
pub(crate) const FROM_ENVIRONMENT: [&str; 3] = [
    "RLHF_AUDIT_CONFIG",
    "RLHF_AUDIT_KEY_PASSPHRASE",
    "RLHF_AUDIT_LOG",
];

/// Keys that were files of their own once, and where what they held is now.
const MOVED: [(&str, &str); 2] = [("jobs-config", MOVED_JOBS), ("watch-settings", MOVED_WATCH)];
/// For `--jobs-config`.
pub(crate) const MOVED_JOBS: &str = "schedules, webhooks and mail are tables of the configuration file: [[schedule]], [[webhook]], [[mail]], [patience]";
/// For `--watch-settings`.
pub(crate) const MOVED_WATCH: &str =
    "thresholds of the watch are the table [watch] of the configuration file";

/// Values by the key they are for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// The file they come from.
    pub(crate) path: Option<PathBuf>,
    /// Its tables.
    pub(crate) parts: Parts,
    given: BTreeMap<String, Given>,
}

#[derive(Clone)]
struct Given {
    values: Vec<String>,
    /// In words.
    from: String,
    /// The configuration file says it, rather than a file that it names.
    is_told: bool,
}

impl fmt::Debug for Given {
    /// Without the values: they may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.from)
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug)]
pub(crate) struct Faults {
    /// The file that was read, or was to be read.
    pub(crate) path: Option<PathBuf>,
    pub(crate) all: Vec<String>,
    /// Something cannot be read at all.
    pub(crate) unavailable: bool,
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        let place = faults.path.map(|path| format!("{}: ", path.display()));
        let message = format!("{}{}", place.unwrap_or_default(), faults.all.join("; "));
        let failure = if faults.unavailable {
            Self::unavailable(message)
        } else {
            Self::input(message)
        };
        failure.with_hint("`rlhf-audit config check` says everything that is wrong with it")
    }
}

impl Settings {
    /// What the file says, if there is one, and the files that the environment names hold.
    pub(crate) fn load(command: &Command, named: Option<PathBuf>) -> Result<Self, Faults> {
        let keys = Keys::of(command);
        let path = named.or_else(|| PLACES.iter().map(PathBuf::from).find(|path| path.is_file()));
        let mut faults = Faults {
            path: path.clone(),
            all: Vec::new(),
            unavailable: false,
        };
        let mut settings = Self {
            path,
            parts: Parts::default(),
            given: BTreeMap::new(),
        };
        if let Some(path) = settings.path.clone() {
            match std::fs::read_to_string(&path) {
                Ok(text) => settings.take_file(&path, &text, &keys, &mut faults),
                Err(e) => {
                    faults.all.push(format!("cannot be read: {e}"));
                    faults.unavailable = true;
                }
            }
        }
        settings.take_environment(&keys, &mut faults);
        settings.parts.file.clone_from(&settings.path);
        if faults.all.is_empty() {
            Ok(settings)
        } else {
            Err(faults)
        }
    }

    /// The command with what is given here as its arguments' defaults.
    pub(crate) fn apply(&self, command: Command) -> Command {
        let command = command.mut_args(|arg| self.over(arg));
        command.mut_subcommands(|below| self.apply(below))
    }

    /// Where the default of a key is from, if it is not the program's own.
    pub(crate) fn origin(&self, key: &str) -> Option<&str> {
        self.given.get(key).map(|given| given.from.as_str())
    }

    /// How many options the file or a named file gives.
    pub(crate) fn len(&self) -> usize {
        self.given.len()
    }

    /// Whether the file itself, which its readers see, holds a secret.
    pub(crate) fn tells_a_secret(&self, keys: &Keys) -> bool {
        let is_secret = |name: &String| keys.get(name).is_some_and(|key| key.secret);
        let mut told = self.given.iter().filter(|(_, given)| given.is_told);
        told.any(|(name, _)| is_secret(name))
    }

    fn over(&self, arg: Arg) -> Arg {
        let given = Key::of(&arg).and_then(|key| self.given.get(&key.name));
        match given {
            Some(given) => arg.default_values(given.values.clone()).required(false),
            None => arg,
        }
    }

    fn take_file(&mut self, path: &Path, text: &str, keys: &Keys, faults: &mut Faults) {
        let table: Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                faults.all.push(no_toml(text, &error));
                return;
            }
        };
        let from = format!("file {}", path.display());
        let (parts, table): (Table, Table) = table
            .into_iter()
            .partition(|(name, _)| Parts::NAMES.contains(&name.as_str()));
        match Parts::read(&parts) {
            Ok(parts) => self.parts = parts,
            Err(wrong) => faults.all.extend(wrong),
        }
        for (name, value) in &table {
            let Some(key) = keys.get(name) else {
                if let Some((_, place)) = MOVED.iter().find(|(moved, _)| moved == name) {
                    faults
                        .all
                        .push(format!("there is no `{name}` any more: {place}"));
                    continue;
                }
                let nearest = keys.nearest(name);
                let nearest = nearest.map(|nearest| format!("; did you mean `{nearest}`?"));
                let nearest = nearest.unwrap_or_default();
                faults
                    .all
                    .push(format!("no option is called `{name}`{nearest}"));
                continue;
            };
            let secret = name
                .strip_suffix("-file")
                .filter(|secret| table.contains_key(*secret));
            if let Some(secret) = secret {
                let both = format!("`{secret}` and `{name}` are both there; one is enough");
                faults.all.push(both);
                continue;
            }
            match values(key, value) {
                Ok(values) => self.take(keys, key, values, &from, faults),
                Err(fault) => faults.all.push(fault),
            }
        }
    }

    /// Secrets in files that the environment names, and what they take the place of.
    fn take_environment(&mut self, keys: &Keys, faults: &mut Faults) {
        for (name, place) in MOVED {
            let variable = format!("RLHF_AUDIT_{}", name.to_uppercase().replace('-', "_"));
            if set(&variable).is_some() {
                faults.all.push(format!("{variable} is set: {place}"));
            }
        }
        for key in keys.iter() {
            let Some(variable) = set(&key.variable) else {
                continue;
            };
            let from = format!("environment {}", key.variable);
            if let Some(secret) = &key.holds {
                if keys
                    .get(secret)
                    .is_some_and(|key| set(&key.variable).is_some())
                {
                    let both = format!(
                        "{} is set with and without _FILE; one is enough",
                        key.variable
                    );
                    faults.all.push(both);
                    continue;
                }
                let path = variable.to_string_lossy().into_owned();
                self.take(keys, key, vec![path], &from, faults);
            }
        }
        // Where a later layer names a file that holds a secret, the secret of an earlier one is past.
        let arguments: Vec<String> = std::env::args().collect();
        self.given.retain(|name, given| {
            let Some(file) = keys
                .get(&format!("{name}-file"))
                .filter(|file| file.holds.is_none())
            else {
                return true;
            };
            let flag = format!("--{}", file.long);
            let flagged = arguments
                .iter()
                .any(|argument| argument == &flag || argument.starts_with(&format!("{flag}=")));
            let later = flagged || set(&file.variable).is_some();
            !(later && given.from.starts_with("file "))
        });
    }

    fn take(
        &mut self,
        keys: &Keys,
        key: &Key,
        values: Vec<String>,
        from: &str,
        faults: &mut Faults,
    ) {
        let is_told = self.path.is_some() && from.starts_with("file ") && key.holds.is_none();
        let (key, values) = match key.holds.as_deref().and_then(|name| keys.get(name)) {
            None => (key, values),
            Some(secret) => match held(&values.concat()) {
                Ok(held) => (secret, vec![held]),
                Err(fault) => {
                    faults.all.push(format!("`{}`: {fault}", key.name));
                    faults.unavailable = true;
                    return;
                }
            },
        };
        if let Some(fault) = values.iter().find_map(|value| key.judge(value).err()) {
            faults.all.push(fault);
            return;
        }
        let from = from.to_owned();
        let given = Given {
            values,
            from,
            is_told,
        };
        self.given.insert(key.name.clone(), given);
    }
}

/// What is wrong with the values of variables. A command says that itself of those it has an option for.
pub(crate) fn of_environment(keys: &Keys) -> Vec<String> {
    let wrong = |key: &Key| {
        let value = set(&key.variable)?;
        let text = value.to_string_lossy();
        let mut texts = match key.shape {
            Shape::List => text.split(',').collect(),
            _ => vec![&*text],
        }
        .into_iter();
        let fault = texts.find_map(|text| key.judge(text).err())?;
        Some(format!("{}: {fault}", key.variable))
    };
    keys.iter().filter_map(wrong).collect()
}

/// A variable that is set to something.
fn set(variable: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(variable).filter(|value| value != OsStr::new(""))
}

/// What a file holds, without the line's end.
fn held(path: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {path}: {e}"))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// The line at fault, without what is on it: that may be a secret.
fn no_toml(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| {
        let before = text.get(..span.start).unwrap_or_default();
        format!("line {}: ", before.matches('\n').count() + 1)
    });
    let message = error.message().lines().next().unwrap_or_default();
    format!("{}{message}", line.unwrap_or_default())
}

/// A value as an argument would be written.
fn values(key: &Key, value: &Value) -> Result<Vec<String>, String> {
    let expected = match (&key.shape, value) {
        (Shape::Text | Shape::OneOf(_), Value::String(text)) => return Ok(vec![text.clone()]),
        (Shape::Flag, Value::Boolean(flag)) => return Ok(vec![flag.to_string()]),
        (Shape::Integer | Shape::Number, Value::Integer(number)) => {
            return Ok(vec![number.to_string()]);
        }
        (Shape::Number, Value::Float(number)) => return Ok(vec![number.to_string()]),
        (Shape::List, Value::Array(items)) => {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            match texts.collect() {
                Some(texts) => return Ok(texts),
                None => "an array of strings",
            }
        }
        (Shape::Text | Shape::OneOf(_), _) => "a string",
        (Shape::Flag, _) => "true or false",
        (Shape::Integer, _) => "an integer",
        (Shape::Number, _) => "a number",
        (Shape::List, _) => "an array of strings",
    };
    let found = match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "an array",
        Value::Table(_) => "a table",
        Value::Datetime(_) => "a date",
    };
    Err(format!("`{}` is {found}, expected {expected}", key.name))
}

//! What can be configured: every argument that has a variable.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize};

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command};

use super::parts::Parts;

/// What all variables but a few begin with.
const PREFIX: &str = "RLHF_AUDIT_";
/// The variable that names the file itself.
const CONFIG: &str = "RLHF_AUDIT_CONFIG";

/// What a value looks like in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Text,
    Flag,
    Integer,
    Number,
    OneOf(Vec<String>),
    /// Of texts.
    List,
}

/// One thing that can be configured.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// Its name in the file.
    pub(crate) name: String,
    pub(crate) variable: String,
    pub(crate) shape: Shape,
    /// Its value is never shown.
    pub(crate) secret: bool,
    /// This key is a file's name: what the file holds is the value of the key that this is without `-file`.
    pub(crate) holds: Option<String>,
    pub(crate) help: String,
    pub(crate) default: Option<String>,
    /// The option's long name.
    pub(crate) long: String,
    parser: ValueParser,
}

/// All of them, by their names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys(BTreeMap<String, Key>);

impl Keys {
    /// Those of a command and all below it.
    pub(crate) fn of(command: &Command) -> Self {
        let mut keys = BTreeMap::new();
        gather(command, &mut keys);
        let files: Vec<Key> = keys.values().filter_map(Key::file).collect();
        for file in files {
            keys.entry(file.name.clone()).or_insert(file);
        }
        Self(keys)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Key> {
        self.0.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.values()
    }

    /// The known name that is most like this one, if one is.
    pub(crate) fn nearest(&self, name: &str) -> Option<&str> {
        let options = self.0.keys().map(String::as_str);
        nearest(name, options.chain(Parts::NAMES))
    }

    /// The known variable that is most like this one, if one is.
    pub(crate) fn nearest_variable(&self, variable: &str) -> Option<&str> {
        nearest(variable, self.iter().map(|key| key.variable.as_str()))
    }
}

/// The known name that is most like this one, if one is.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let alike = known.map(|known| (strsim::normalized_damerau_levenshtein(name, known), known));
    alike
        .filter(|(alike, _)| *alike >= 0.6)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

fn gather(command: &Command, keys: &mut BTreeMap<String, Key>) {
    for arg in command.get_arguments() {
        if let Some(key) = Key::of(arg) {
            keys.entry(key.name.clone()).or_insert(key);
        }
    }
    for below in command.get_subcommands() {
        gather(below, keys);
    }
}

impl Key {
    /// The key of an argument that has a variable.
    pub(crate) fn of(arg: &Arg) -> Option<Self> {
        let variable = arg.get_env()?.to_str()?;
        if variable == CONFIG {
            return None;
        }
        let name = variable.strip_prefix(PREFIX).unwrap_or(variable);
        let name = name.to_ascii_lowercase().replace('_', "-");
        let default = arg.get_default_values().first();
        Some(Self {
            shape: shape(arg),
            secret: arg.is_hide_env_values_set(),
            holds: None,
            help: arg.get_help().map(ToString::to_string).unwrap_or_default(),
            default: default.map(|value| value.to_string_lossy().into_owned()),
            long: arg.get_long().unwrap_or(&name).to_owned(),
            parser: arg.get_value_parser().clone(),
            name,
            variable: variable.to_owned(),
        })
    }

    /// Where a file may hold the secret, the key that names the file.
    fn file(&self) -> Option<Self> {
        self.secret.then(|| Self {
            name: format!("{}-file", self.name),
            variable: format!("{}_FILE", self.variable),
            shape: Shape::Text,
            secret: false,
            holds: Some(self.name.clone()),
            help: format!("A file that holds what `{}` would", self.name),
            default: None,
            long: format!("{}-file", self.long),
            parser: ValueParser::path_buf(),
        })
    }

    /// Whether the option takes this value; if not, why.
    pub(crate) fn judge(&self, value: &str) -> Result<(), String> {
        let arg = Arg::new("value")
            .long(self.name.clone())
            .action(ArgAction::Append)
            .allow_hyphen_values(true)
            .value_parser(self.parser.clone());
        let given = format!("--{}={value}", self.name);
        let read = Command::new("value").no_binary_name(true).arg(arg);
        match read.try_get_matches_from([given]) {
            Ok(_) => Ok(()),
            Err(_) if self.secret => Err(format!("the value of `{}` is not valid", self.name)),
            Err(error) => {
                let text = error.to_string();
                let line = text.lines().next().unwrap_or_default();
                let line = line.trim_start_matches("error: ");
                let flag = format!("'--{} <value>'", self.name);
                Err(line.replace(&flag, &format!("`{}`", self.name)))
            }
        }
    }
}

fn shape(arg: &Arg) -> Shape {
    match arg.get_action() {
        ArgAction::SetTrue | ArgAction::SetFalse => return Shape::Flag,
        ArgAction::Append => return Shape::List,
        _ => {}
    }
    let choices = arg.get_possible_values();
    let id = arg.get_value_parser().type_id();
    if id == TypeId::of::<bool>() {
        return Shape::Flag;
    }
    if !choices.is_empty() {
        let names = choices.iter().map(|choice| choice.get_name().to_owned());
        return Shape::OneOf(names.collect());
    }
    let integers = [
        TypeId::of::<u8>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
        TypeId::of::<NonZeroU16>(),
        TypeId::of::<NonZeroU32>(),
        TypeId::of::<NonZeroU64>(),
        TypeId::of::<NonZeroUsize>(),
    ];
    if integers.iter().any(|integer| id == *integer) {
        Shape::Integer
    } else if id == TypeId::of::<f64>() {
        Shape::Number
    } else {
        Shape::Text
    }
}

//! The passphrase of encrypted keys: from the environment, a file, or whoever sits at the terminal.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use ledger::keys::Passphrase;
use zeroize::Zeroizing;

use crate::outcome::Failure;

const VARIABLE: &str = "RLHF_AUDIT_KEY_PASSPHRASE";
const HOW: &str = "set RLHF_AUDIT_KEY_PASSPHRASE, or name a file that holds it with --passphrase-file or \
                   RLHF_AUDIT_KEY_PASSPHRASE_FILE";

static FILE: OnceLock<PathBuf> = OnceLock::new();

/// Says, once, which file holds it.
pub(crate) fn in_file(path: Option<PathBuf>) {
    if let Some(path) = path {
        // Arguments are read once.
        let _ = FILE.set(path);
    }
}

/// The passphrase, asked for when a file first needs it.
pub(crate) fn given() -> Arc<Passphrase> {
    static GIVEN: OnceLock<Arc<Passphrase>> = OnceLock::new();
    let ask = || match configured() {
        Some(given) => given,
        None if at_terminal() => prompt("Passphrase of the keys: "),
        None => Err(HOW.to_owned()),
    };
    Arc::clone(GIVEN.get_or_init(|| Arc::new(Passphrase::ask(ask))))
}

/// The passphrase, if nobody has to be asked for it.
pub(crate) fn at_hand() -> Option<Arc<Passphrase>> {
    configured().map(|_| given())
}

/// A passphrase for what is to be encrypted. At a terminal it has to be typed twice.
pub(crate) fn new() -> Result<Arc<Passphrase>, Failure> {
    if configured().is_some() || !at_terminal() {
        return Ok(given());
    }
    let first = prompt("New passphrase for the keys: ").map_err(Failure::unavailable)?;
    let again = prompt("The same again: ").map_err(Failure::unavailable)?;
    if first == again {
        Ok(Arc::new(Passphrase::new(first)))
    } else {
        Err(Failure::input(
            "the two were not the same; nothing was changed",
        ))
    }
}

fn configured() -> Option<Result<Zeroizing<String>, String>> {
    if let Ok(text) = std::env::var(VARIABLE)
        && !text.is_empty()
    {
        return Some(Ok(Zeroizing::new(text)));
    }
    let path = FILE.get()?;
    Some(match std::fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => Ok(Zeroizing::new(
            text.trim_end_matches(['\n', '\r']).to_owned(),
        )),
        Err(e) => Err(format!("cannot read {}: {e}", path.display())),
    })
}

fn at_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

fn prompt(text: &str) -> Result<Zeroizing<String>, String> {
    rpassword::prompt_password(text)
        .map(Zeroizing::new)
        .map_err(|e| format!("the terminal gave none: {e}; {HOW}"))
}

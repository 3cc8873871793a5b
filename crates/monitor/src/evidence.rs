//! What was found false, kept so that somebody else can see it: the files as they were served, and a
//! text that says what they show.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::alert::Kind;
use crate::error::MonitorError;

/// Most bytes of files kept with one alert.
const MAX_BYTES: usize = 64 << 20;

/// What shows that something is false.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// Path below the evidence's directory, and bytes.
    files: Vec<(String, Vec<u8>)>,
    bytes: usize,
}

impl Evidence {
    /// Adds a file, unless there are too many bytes already.
    pub(crate) fn add(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        let (path, bytes) = (path.into(), bytes.into());
        let known = self.files.iter().any(|(known, _)| *known == path);
        if !known && self.bytes + bytes.len() <= MAX_BYTES {
            self.bytes += bytes.len();
            self.files.push((path, bytes));
        }
    }

    /// Writes everything to `<state>/evidence/<time>-<kind>`, durably, and gives that directory.
    pub(crate) fn keep(
        &self,
        state: &Path,
        time: &str,
        kind: Kind,
        url: &str,
        summary: &str,
    ) -> Result<PathBuf, MonitorError> {
        let name = format!("{}-{kind}", time.replace(':', ""));
        let dir = state.join("evidence").join(name);
        let write = || -> io::Result<()> {
            fs::create_dir_all(&dir)?;
            let text = text(time, kind, url, summary, &self.files);
            write(&dir, "README.txt", text.as_bytes())?;
            for (path, bytes) in &self.files {
                write(&dir, path, bytes)?;
            }
            File::open(&dir)?.sync_all()?;
            File::open(state)?.sync_all()
        };
        write().map_err(|e| MonitorError::State {
            path: dir.clone(),
            why: e.to_string(),
        })?;
        Ok(dir)
    }
}

fn write(dir: &Path, path: &str, bytes: &[u8]) -> io::Result<()> {
    let path = dir.join(path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn text(time: &str, kind: Kind, url: &str, summary: &str, files: &[(String, Vec<u8>)]) -> String {
    use std::fmt::Write as _;
    let shows = match kind {
        Kind::Fork => {
            "Both checkpoints are signed with the log's keys, and the log cannot have had both: whoever holds \
             those keys has shown different histories. The two notes and the policy prove it to anybody; no \
             word of this monitor is needed. At the same size, their third lines differ. At different sizes, `proof.txt` \
             (RFC 6962, section 2.1.2) leads from the root in `root-then.txt` to the larger checkpoint's: that is what the \
             tree had at the smaller size, and not what the smaller checkpoint says."
        }
        Kind::Rollback => {
            "The log served `seen.checkpoint` after it had served the larger `last-good.checkpoint`. Both are signed with \
             its keys. That it was served afterwards is this monitor's word: an old copy in a cache, a restored \
             backup and a log that hides entries look the same."
        }
        Kind::Checkpoint => {
            "What was served as checkpoint is not signed as the policy asks. Anybody between the log and this \
             monitor can have put it there, so it proves nothing against the log's operator. After a change of the \
             log's keys or witnesses, it means that this monitor's policy is an old one."
        }
        Kind::Tiles => {
            "The checkpoint is signed with the log's keys, and the hash tiles that the log served do not give its \
             root. The log cannot show from them that it has grown from `last-good.checkpoint`."
        }
        Kind::Entries => {
            "The checkpoint is signed with the log's keys, and the entries that the log served do not give its root: \
             some were changed, removed or put in. `failures.json` names those that can be told."
        }
        Kind::Records => {
            "The entries are those that the log signed, and break its rules. `failures.json` says which record, what \
             was expected, and what was found."
        }
        Kind::Stale | Kind::Unavailable => "",
    };
    let mut text = format!(
        "{kind}: found at {time} at {url}\n\n{summary}\n\nWhat it shows\n-------------\n{shows}\n\nFiles\n-----\n"
    );
    for (path, bytes) in files {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{path} ({} bytes)", bytes.len());
    }
    text.push_str(
        "\nlast-good.checkpoint  the last checkpoint that this monitor found good\n\
         seen.checkpoint       what the log served when this was found\n\
         policy                whose signatures the monitor asks for (c2sp.org/tlog-policy)\n\
         proof.txt             the consistency proof that the served tiles gave, a hash a line\n\
         root-then.txt         the root at the smaller size that the served tiles gave\n\
         tile/                 files as they were served\n",
    );
    text
}

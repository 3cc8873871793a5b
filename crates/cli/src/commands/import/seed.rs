//! What the pseudonyms of an import are drawn from, kept until the import is done: one that was interrupted goes on with
//! the same pseudonyms. Destroyed then, since it links them to the ids in the file.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use import::Pseudonyms;
use record::{Entropy as _, RunId};

use crate::environment::SystemEntropy;
use crate::place::PlaceArgs;

/// 32 random bytes, and where they are kept.
pub(super) struct Seed {
    bytes: [u8; 32],
    file: Option<PathBuf>,
}

impl Seed {
    /// New random bytes, kept nowhere.
    pub(super) fn fresh() -> Self {
        let mut bytes = [0; 32];
        SystemEntropy.fill(&mut bytes);
        Self { bytes, file: None }
    }

    /// Those of this import, where it was interrupted; new ones otherwise, kept until they are destroyed.
    pub(super) fn kept(place: &PlaceArgs, run: RunId, stream: &str, interrupted: bool) -> Self {
        let Some(directory) = place.state() else {
            return Self::fresh();
        };
        let file = directory
            .join("imports")
            .join(format!("{run}-{stream}.seed"));
        if let Ok(Ok(bytes)) = fs::read(&file).map(<[u8; 32]>::try_from) {
            let file = Some(file);
            return Self { bytes, file };
        }
        if interrupted {
            eprintln!(
                "rlhf-audit: what the first part's pseudonyms were drawn from is not in {}: annotators, where the file \
                 names them, get new pseudonyms from here on",
                file.display()
            );
        }
        let mut seed = Self::fresh();
        match seed.write(&file) {
            Ok(()) => seed.file = Some(file),
            Err(error) => eprintln!(
                "rlhf-audit: cannot write {} ({error}): annotators get other pseudonyms should this import be \
                 interrupted; name a directory with --state-dir",
                file.display()
            ),
        }
        seed
    }

    fn write(&self, file: &Path) -> std::io::Result<()> {
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut out = options.open(file)?;
        out.write_all(&self.bytes)?;
        out.sync_all()
    }

    pub(super) fn pseudonyms(&self) -> Pseudonyms {
        Pseudonyms::from_seed(self.bytes)
    }

    /// The import is done.
    pub(super) fn destroy(self) {
        if let Some(file) = self.file
            && let Err(error) = fs::remove_file(&file)
        {
            eprintln!(
                "rlhf-audit: cannot delete {} ({error}); delete it: it links pseudonyms to people",
                file.display()
            );
        }
    }
}

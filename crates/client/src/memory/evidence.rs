//! What a server signed that does not go together, written down.

use std::fs;
use std::path::{Path, PathBuf};

use tlog::AddCheckpoint;

use super::archive::{Archive, hex, write};
use super::compare::Shown;
use super::evidence_dir;
use crate::error::ClientError;

/// Why a server is refused.
pub(super) struct Case {
    what: String,
    /// Name and bytes of each piece.
    pieces: Vec<(&'static str, String)>,
}

impl Case {
    fn new(what: String, kept: Option<String>, shown: Option<String>) -> Self {
        let kept = kept.map(|kept| ("kept", kept));
        let shown = shown.map(|shown| ("shown", shown));
        Self {
            what,
            pieces: kept.into_iter().chain(shown).collect(),
        }
    }

    pub(super) fn gone(kept: Option<String>) -> Self {
        let what = "it shows no checkpoint any more, and has shown one before".to_owned();
        Self::new(what, kept, None)
    }

    pub(super) fn another_log(kept: String, shown: String) -> Self {
        let origin = |note: &str| note.lines().next().unwrap_or_default().to_owned();
        let what = format!(
            "it shows another log, {}, in place of {}",
            origin(&shown),
            origin(&kept)
        );
        Self::new(what, Some(kept), Some(shown))
    }

    pub(super) fn not_signed(kept: Option<String>, shown: String, why: &str) -> Self {
        let what = format!("its checkpoint is not signed by the log that is known: {why}");
        Self::new(what, kept, Some(shown))
    }

    pub(super) fn rolled_back(kept: &Shown, shown: &Shown) -> Self {
        let what = format!(
            "it shows {} records, having shown {}: the log was rolled back",
            shown.size(),
            kept.size()
        );
        Self::new(what, Some(kept.note.clone()), Some(shown.note.clone()))
    }

    pub(super) fn forked(kept: &Shown, shown: &Shown, request: Option<&AddCheckpoint>) -> Self {
        let what = if kept.size() == shown.size() {
            format!("it has signed two histories of {} records", kept.size())
        } else {
            format!(
                "its {} records have not grown from the {} that it has shown: records were changed",
                shown.size(),
                kept.size()
            )
        };
        let mut case = Self::new(what, Some(kept.note.clone()), Some(shown.note.clone()));
        let proof = request.map(|request| ("proof", request.to_string()));
        case.pieces.extend(proof);
        case
    }

    /// Writes it down; the error to end with says where.
    pub(super) fn write(self, archive: &Archive, url: &str) -> ClientError {
        let what = format!("{url} contradicts itself: {}", self.what);
        let told: String = self.pieces.iter().map(|(_, text)| text.as_str()).collect();
        let name: String = hex(&told).chars().take(16).collect();
        let evidence = evidence_dir(archive.path()).join(name);
        match self.lay_down(&evidence, &what) {
            Ok(()) => ClientError::Contradiction { what, evidence },
            Err(error) => ClientError::Contradiction {
                what: format!("{what} (and the evidence could not be written: {error})"),
                evidence,
            },
        }
    }

    fn lay_down(&self, dir: &Path, what: &str) -> std::io::Result<()> {
        fs::create_dir_all(dir)?;
        for (name, text) in &self.pieces {
            write(&dir.join(name), text)?;
        }
        let why: PathBuf = dir.join("why");
        write(&why, &format!("{what}\n"))
    }
}

//! Every object under `log/tile/` and `sealed/` is accounted for: published, superseded, about to be published, or
//! surplus.

use tlog::{TileId, TileLevel, TreeSize};

use super::journal::Future;
use super::survey::{Survey, prefix_length};
use super::{Check, Fault, readable};
use crate::LedgerError;
use crate::tree::{key, sealed_key};

/// What an object is to the log.
enum Class {
    /// A tile of the checkpoint's tree; looked at elsewhere.
    Published,
    /// A partial tile that a wider one has replaced.
    Superseded(TileId),
    /// More than the checkpoint covers.
    Beyond(TileId),
    /// No tile.
    Foreign,
}

impl Check<'_> {
    pub(super) fn files(&mut self, survey: &Survey, future: &Future) -> Result<(), LedgerError> {
        let (mut superseded, mut beyond) = (0_u64, 0_u64);
        for prefix in ["log/tile", "sealed"] {
            let sealed = prefix == "sealed";
            for name in self.place.objects.list(prefix)? {
                match classify(&name, sealed, survey.size) {
                    Class::Published => {}
                    Class::Superseded(id) => {
                        superseded += u64::from(self.superseded(&name, id, sealed, survey)?);
                    }
                    Class::Beyond(id) => {
                        let bytes = self.place.objects.get(&name)?;
                        if bytes.is_some() && bytes == future.object(id, sealed) {
                            beyond += 1;
                        } else {
                            self.surplus(&name, id, sealed, survey, future);
                        }
                    }
                    Class::Foreign => {
                        self.found(
                            Fault::Surplus,
                            name.clone(),
                            "no file of the log has this name",
                        );
                        if readable(self.place.objects.get(&name))?.is_some() {
                            self.plan.aside.insert(name);
                        }
                    }
                }
            }
        }
        if superseded > 0 {
            self.note(format!(
                "{superseded} partial tiles were left behind by wider ones; they are harmless"
            ));
        }
        if beyond > 0 {
            self.note(format!(
                "{beyond} files hold what the journal has beyond the checkpoint; the next start publishes them"
            ));
        }
        Ok(())
    }

    /// A partial tile that was left behind holds the first items of its successor. Says whether it does.
    fn superseded(
        &mut self,
        name: &str,
        id: TileId,
        sealed: bool,
        survey: &Survey,
    ) -> Result<bool, LedgerError> {
        let objects = &*self.place.objects;
        let old = objects.get(name)?.unwrap_or_default();
        let mut wider = None;
        if let Some(now) = TileId::in_tree(id.level(), id.index(), TreeSize(survey.size)) {
            for now in [now, now.full()] {
                let key = if sealed { sealed_key(now) } else { key(now) };
                if wider.is_none() {
                    wider = objects.get(&key)?;
                }
            }
        }
        let length = match id.level() {
            TileLevel::Hashes(_) => Some(usize::from(id.width()) * 32),
            TileLevel::Entries if sealed => Some(old.len()),
            TileLevel::Entries => prefix_length(&old, id.width()),
        };
        let good = length == Some(old.len())
            && wider.is_some_and(|wider| old.len() < wider.len() && wider.starts_with(&old));
        let sound = match id.level() {
            TileLevel::Entries => survey.is_sound(id.index()),
            TileLevel::Hashes(_) => survey.levels.is_some(),
        };
        if good && sound {
            self.plan.superseded.insert(name.to_owned());
            return Ok(true);
        }
        let detail = "it was replaced by a wider file, which does not start with it";
        match id.level() {
            TileLevel::Hashes(_) => {
                self.found(Fault::Surplus, name, detail);
                self.plan.aside.insert(name.to_owned());
            }
            TileLevel::Entries if sealed => {
                self.found(Fault::SealedSurplus, name, detail);
            }
            TileLevel::Entries => {
                self.found(Fault::EntriesSurplus, name, detail);
            }
        }
        Ok(false)
    }

    /// An object beyond the checkpoint that is not what the journal holds.
    fn surplus(&mut self, name: &str, id: TileId, sealed: bool, survey: &Survey, future: &Future) {
        let detail = format!(
            "the checkpoint covers {} records and the journal goes to {}: neither has this",
            survey.size, future.size
        );
        match id.level() {
            TileLevel::Hashes(_) => {
                self.found(Fault::Surplus, name, detail);
                self.plan.aside.insert(name.to_owned());
            }
            TileLevel::Entries if sealed => {
                self.found(Fault::SealedSurplus, name, detail);
            }
            TileLevel::Entries => {
                self.found(Fault::EntriesSurplus, name, detail);
            }
        }
    }
}

fn classify(name: &str, sealed: bool, size: u64) -> Class {
    let path = if sealed {
        name.replacen("sealed/", "tile/entries/", 1)
    } else {
        name.trim_start_matches("log/").to_owned()
    };
    let Ok(id) = TileId::parse_path(&path) else {
        return Class::Foreign;
    };
    let has = TileId::in_tree(id.level(), id.index(), TreeSize(size)).map_or(0, TileId::width);
    match id.width() {
        width if width == has => Class::Published,
        width if width < has => Class::Superseded(id),
        _ => Class::Beyond(id),
    }
}

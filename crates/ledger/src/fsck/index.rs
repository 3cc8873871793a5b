//! The index, held against one that is built from the log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use record::chain::StreamState;
use store::{IndexRow, IndexStore, MetaStore, RangeRow, RunRow, SqliteMeta, StreamRow};
use tlog::{Hash, leaf_hash};

use super::journal::Future;
use super::survey::Survey;
use super::{Check, Fault};
use crate::LedgerError;
use crate::publish::apply_index;
use crate::read::Reader;
use crate::recover::{catch_up, follow, plain};
use crate::sequencer::snapshot;
use crate::state::{State, read_stream_row};

/// Scope and stream.
type Name = (String, String);

/// All of an index, as far as it follows from the log.
#[derive(Default)]
struct Picture {
    streams: BTreeMap<Name, StreamRow>,
    /// How many records, and a hash over where they are.
    ranges: BTreeMap<Name, (u64, Hash)>,
    kinds: BTreeSet<(String, String, u64)>,
    runs: BTreeMap<String, RunRow>,
    open: Option<RangeRow>,
}

impl Check<'_> {
    pub(super) fn index(&mut self, survey: &Survey, future: &Future) -> Result<(), LedgerError> {
        let meta = Arc::clone(&self.place.meta);
        let indexed = meta.indexed_size()?;
        let what = "the index";
        if !survey.is_whole() {
            self.unchecked("the index: the log it follows from cannot be read as a whole");
            return Ok(());
        }
        if indexed < survey.size || indexed > future.size {
            let detail = format!(
                "it covers {indexed} records, the checkpoint {} and the journal goes to {}",
                survey.size, future.size
            );
            self.plan.index = self.found(Fault::Index, what, detail);
            return Ok(());
        }
        let expected = match self.build(survey.size, indexed, future) {
            Ok(expected) => expected,
            Err(error @ LedgerError::Store(_)) => return Err(error),
            Err(error) => {
                self.unchecked(format!("the index: the log breaks its own rules: {error}"));
                return Ok(());
            }
        };
        let held = match Picture::of(&*meta) {
            Ok(held) => held,
            Err(error @ store::StoreError::CorruptDatabase { .. }) => {
                self.plan.index = self.found(Fault::Index, what, error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        for (what, detail) in expected.differences(&held) {
            self.plan.index |= self.found(Fault::Index, what, detail);
        }
        Ok(())
    }

    /// The index of the first `indexed` records, as it should be.
    fn build(&self, size: u64, indexed: u64, future: &Future) -> Result<Picture, LedgerError> {
        remove(self.place.scratch);
        let meta: Arc<dyn MetaStore> = Arc::new(SqliteMeta::open(self.place.scratch)?);
        let reader = Reader::new(Arc::clone(&self.place.objects), Arc::clone(&meta));
        let built = catch_up(&*meta, &reader, size).and_then(|_| {
            let mut state = State::default();
            let mut entries = Vec::new();
            for (index, record) in (size..indexed).zip(future.records(size)) {
                let entry = plain(record)?;
                follow(&mut state, &*meta, &entry, index, size)?;
                entries.push(entry);
            }
            apply_index(&*meta, &[snapshot(&mut state, size, entries)], indexed)?;
            Ok(Picture::of(&*meta)?)
        });
        drop((reader, meta));
        remove(self.place.scratch);
        built
    }
}

fn remove(scratch: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut path = scratch.as_os_str().to_owned();
        path.push(suffix);
        // What is left is removed by the next start.
        let _ = std::fs::remove_file(path);
    }
}

impl Picture {
    fn of<S: IndexStore + ?Sized>(store: &S) -> store::Result<Self> {
        let mut picture = Self::default();
        store.index_rows(&mut |row| {
            picture.take(row);
            Ok(())
        })?;
        picture.fold();
        Ok(picture)
    }

    fn take(&mut self, row: IndexRow) {
        match row {
            IndexRow::Stream(row) => {
                let name = (row.scope.clone(), row.stream.clone());
                self.streams.insert(name, row);
            }
            IndexRow::Range(row) => match &mut self.open {
                Some(open)
                    if (&open.scope, &open.stream) == (&row.scope, &row.stream)
                        && open.first_seq + open.count == row.first_seq
                        && open.first_index + open.count == row.first_index =>
                {
                    open.count += row.count;
                }
                _ => {
                    self.fold();
                    self.open = Some(row);
                }
            },
            IndexRow::Kind(row) => {
                self.kinds.insert((row.scope, row.kind, row.bundle));
            }
            IndexRow::Run(row) => {
                self.runs.insert(row.run.clone(), row);
            }
        }
    }

    /// Takes the range that is open into its stream's hash: how rounds cut ranges does not matter, where they are does.
    fn fold(&mut self) {
        let Some(row) = self.open.take() else { return };
        let entry = self.ranges.entry((row.scope, row.stream)).or_default();
        let mut text = entry.1.as_bytes().to_vec();
        for number in [row.first_seq, row.count, row.first_index] {
            text.extend(number.to_be_bytes());
        }
        *entry = (entry.0 + row.count, leaf_hash(&text));
    }

    /// What `held` has otherwise.
    fn differences(&self, held: &Self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        compare(
            &self.streams,
            &held.streams,
            |(scope, stream), ours, theirs| {
                let same = ours.is_some_and(|ours| {
                    theirs.is_some_and(|theirs| {
                        (ours.next_seq, ours.head, &ours.key)
                            == (theirs.next_seq, theirs.head, &theirs.key)
                            && chain(ours) == chain(theirs)
                    })
                });
                if !same {
                    found.push(differs(
                        format!("the index's stream {scope}/{stream}"),
                        ours,
                        theirs,
                    ));
                }
            },
        );
        compare(
            &self.ranges,
            &held.ranges,
            |(scope, stream), ours, theirs| {
                if ours != theirs {
                    let what = format!("the index's ranges of {scope}/{stream}");
                    found.push(differs(what, ours, theirs));
                }
            },
        );
        for (scope, kind, bundle) in self.kinds.symmetric_difference(&held.kinds) {
            let what = format!("the index's kind {kind} of {scope} in bundle {bundle}");
            let detail = if held.kinds.contains(&(scope.clone(), kind.clone(), *bundle)) {
                "the bundle holds no such record"
            } else {
                "it is not there, and the bundle holds such a record"
            };
            found.push((what, detail.to_owned()));
        }
        compare(&self.runs, &held.runs, |run, ours, theirs| {
            let plain = |row: Option<&RunRow>| {
                row.map(|row| RunRow {
                    // Not in the log.
                    principal: String::new(),
                    ..row.clone()
                })
            };
            if plain(ours) != plain(theirs) {
                found.push(differs(format!("the index's run {run}"), ours, theirs));
            }
        });
        found
    }
}

/// A stream's rules; who opened it and whether its clock was found wrong are not in the log.
fn chain(row: &StreamRow) -> Option<StreamState> {
    read_stream_row(row).ok().map(|(state, _)| state)
}

/// Calls `each` for every name that one of the two has.
fn compare<K: Ord, V>(
    ours: &BTreeMap<K, V>,
    theirs: &BTreeMap<K, V>,
    mut each: impl FnMut(&K, Option<&V>, Option<&V>),
) {
    let names: BTreeSet<&K> = ours.keys().chain(theirs.keys()).collect();
    for name in names {
        each(name, ours.get(name), theirs.get(name));
    }
}

fn differs<V>(what: String, ours: Option<&V>, theirs: Option<&V>) -> (String, String) {
    let detail = match (ours, theirs) {
        (Some(_), None) => "it is not there, and the log has it",
        (None, _) => "the log has nothing of it",
        _ => "it disagrees with the log",
    };
    (what, detail.to_owned())
}

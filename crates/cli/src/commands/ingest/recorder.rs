//! Gives lines to the spool: none twice, none never, and a bad one as the user wishes.

use std::path::Path;
use std::time::Duration;

use client::spool::{SpoolError, SpooledStream};
use import::follow::{FollowError, Follower};
use import::trainers::Entry;
use record::Draft;

use super::lines::Item;
use super::progress::{FileProgress, Progress, Totals};
use crate::outcome::Failure;
use crate::spooled::spool_failure;
use crate::stop::Stop;

/// How long is waited for room in a full spool, from one look to the next.
const ROOM: Duration = Duration::from_millis(500);

/// Records lines, and how far they were read.
pub(crate) struct Recorder<'a> {
    pub(crate) progress: Progress,
    pub(crate) stream: SpooledStream,
    pub(crate) stop: &'a Stop,
    /// Whether bad lines are counted and reported, rather than the end.
    pub(crate) skip_bad: bool,
}

impl Recorder<'_> {
    /// Records lines of the file that is called `key`. With a bad one, those before it.
    pub(crate) fn record(
        &mut self,
        key: &str,
        path: &Path,
        follower: &mut Follower,
        mut items: Vec<Item>,
    ) -> Result<(), Failure> {
        loop {
            let bad = items.iter().position(|item| item.made.is_err());
            let good = match bad {
                Some(bad) if !self.skip_bad => items.get(..bad).unwrap_or_default(),
                _ => &items,
            };
            let (batch, mut next) = self.batch(key, path, good);
            if let Some(last) = good.last() {
                next.position = follower.mark(&last.behind).map_err(follow_failure)?;
            }
            let drafts: Vec<Draft> = batch
                .drafts
                .iter()
                .map(|(_, draft)| draft.clone())
                .collect();
            if let Some((at, why)) = self.write(key, next, batch.totals, &drafts)? {
                let line = batch.drafts.get(at).map_or(0, |(item, _)| *item);
                if let Some(item) = items.get_mut(line) {
                    item.made = Err(why);
                }
                continue;
            }
            let bad = bad.filter(|_| !self.skip_bad);
            return match bad.and_then(|bad| items.get(bad)) {
                Some(Item {
                    line,
                    made: Err(why),
                    ..
                }) => Err(bad_line(path, *line, why)),
                _ => Ok(()),
            };
        }
    }

    /// An incident, and from where on the file is read again.
    pub(crate) fn start_over(
        &mut self,
        key: &str,
        incident: &str,
        why: &str,
    ) -> Result<(), Failure> {
        let mut entry = Entry::default();
        entry.incident(incident, None, why);
        let mut totals = self.progress.settled.totals;
        totals.counts.add(entry.counts);
        match self.write(key, FileProgress::default(), totals, &entry.drafts)? {
            None => Ok(()),
            Some((_, why)) => Err(Failure::input(why)),
        }
    }

    fn batch(&self, key: &str, path: &Path, items: &[Item]) -> (Batch, FileProgress) {
        let settled = &self.progress.settled;
        let mut next = settled.files.get(key).cloned().unwrap_or_default();
        let mut batch = Batch {
            drafts: Vec::new(),
            totals: settled.totals,
        };
        for (at, item) in items.iter().enumerate() {
            let skipped;
            let entry = match &item.made {
                Ok(entry) => entry,
                Err(why) => {
                    batch.totals.skipped += 1;
                    let mut entry = Entry::default();
                    let what = format!("{}, line {}: {why}", path.display(), item.line);
                    entry.incident("line-skipped", None, &what);
                    skipped = entry;
                    &skipped
                }
            };
            batch.totals.lines += 1;
            batch.totals.counts.add(entry.counts);
            next.recorded += entry.counts.rewards;
            let drafts = entry.drafts.iter().cloned();
            batch.drafts.extend(drafts.map(|draft| (at, draft)));
        }
        (batch, next)
    }

    /// One call of the spool; gives which of the drafts is no record, and why, and then none was taken.
    fn write(
        &mut self,
        key: &str,
        next: FileProgress,
        totals: Totals,
        drafts: &[Draft],
    ) -> Result<Option<(usize, String)>, Failure> {
        if drafts.is_empty() {
            // Nothing to be found again after a crash: these lines make nothing another time either.
            self.progress.settled.files.insert(key.to_owned(), next);
            self.progress.settled.totals = totals;
            return Ok(None);
        }
        loop {
            let now = self.stream.position().map_err(spool_failure)?;
            self.progress.before(now, key, next.clone(), totals)?;
            let Err(error) = self.stream.write_all(drafts.to_vec()) else {
                self.progress.after()?;
                return Ok(None);
            };
            self.progress.undo()?;
            match error {
                SpoolError::Record { at, source } => return Ok(Some((at, source.to_string()))),
                // The lines wait in their file.
                SpoolError::Full { .. } if !self.stop.wait(ROOM) => {}
                error => return Err(spool_failure(error)),
            }
        }
    }
}

struct Batch {
    /// Each with the item that it is of.
    drafts: Vec<(usize, Draft)>,
    totals: Totals,
}

fn bad_line(path: &Path, line: u64, why: &str) -> Failure {
    Failure::input(format!("{}, line {line}: {why}", path.display())).with_hint(
        "what stands before it is recorded; mend the line, or have such lines counted and reported with --skip-bad",
    )
}

/// A file that cannot be read on.
pub(crate) fn follow_failure(error: FollowError) -> Failure {
    if error.is_change() {
        return Failure::input(error).with_hint(
            "verl writes its files anew at each start: give each start files of its own, or have them read again from \
             their beginning with --on-rewrite again",
        );
    }
    Failure::unavailable(error)
}

//! A folder of rollouts: `<step>.jsonl`, one a step, as verl dumps them.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use import::follow::{FollowError, Follower};
use import::trainers::verl;

use super::lines;
use super::recorder::{Recorder, follow_failure};
use super::verl::OnRewrite;
use crate::outcome::Failure;

/// A folder.
pub(crate) struct Rollouts {
    /// `rollouts` or `validation`: what its files are called in the progress, and in records.
    name: &'static str,
    dir: PathBuf,
    on_rewrite: OnRewrite,
    /// Length and time of each file when it was last read to its end.
    read: HashMap<u64, (u64, SystemTime)>,
}

impl Rollouts {
    pub(crate) fn new(name: &'static str, dir: &Path, on_rewrite: OnRewrite) -> Self {
        Self {
            name,
            dir: dir.to_owned(),
            on_rewrite,
            read: HashMap::new(),
        }
    }

    /// What the progress calls the file of a step.
    pub(crate) fn key(name: &str, step: u64) -> String {
        format!("{name}/{step}.jsonl")
    }

    /// Reads what is new; whether something was.
    pub(crate) fn pass(&mut self, recorder: &mut Recorder<'_>, all: bool) -> Result<bool, Failure> {
        let mut any = false;
        for step in self.steps()? {
            let path = self.dir.join(format!("{step}.jsonl"));
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let seen = (metadata.len(), modified);
            if !all && self.read.get(&step) == Some(&seen) {
                continue;
            }
            any |= self.file(step, &path, recorder, all)?;
            self.read.insert(step, seen);
        }
        Ok(any)
    }

    fn file(
        &self,
        step: u64,
        path: &Path,
        recorder: &mut Recorder<'_>,
        all: bool,
    ) -> Result<bool, Failure> {
        let key = Self::key(self.name, step);
        let known = recorder.progress.settled.files.get(&key);
        let mut follower = Follower::new(path, known.map(|file| file.position.clone()));
        match follower.look() {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => {
                self.on_rewrite.decide(recorder, &key, error)?;
                follower = Follower::new(path, None);
                if !follower.look().map_err(follow_failure)? {
                    return Ok(false);
                }
            }
        }
        let mut any = false;
        loop {
            let items = self
                .read(&mut follower, step, path, all)
                .map_err(follow_failure)?;
            if items.is_empty() {
                return Ok(any);
            }
            any = true;
            recorder.record(&key, path, &mut follower, items)?;
        }
    }

    fn read(
        &self,
        follower: &mut Follower,
        step: u64,
        path: &Path,
        all: bool,
    ) -> Result<Vec<lines::Item>, FollowError> {
        lines::read(follower, u64::MAX, all, |line, bytes| {
            let item = format!("{}/{step}.jsonl:{line}", self.name);
            let place = format!("{}, line {line}", path.display());
            verl::rollout(bytes, step, &item, &place)
        })
    }

    /// The steps that have a file, in order.
    fn steps(&self) -> Result<Vec<u64>, Failure> {
        let cannot = |error: io::Error| {
            Failure::unavailable(format!("cannot read {}: {error}", self.dir.display()))
        };
        let entries = match fs::read_dir(&self.dir) {
            // verl makes it with the first step.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(cannot)?,
        };
        let mut steps = Vec::new();
        for entry in entries {
            let name = entry.map_err(cannot)?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
            let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
            steps.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
        }
        steps.sort_unstable();
        Ok(steps)
    }
}

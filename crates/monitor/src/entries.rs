//! The entries, as they come: read once each, by `verify`'s own rules.

use tlog::Checkpoint;
use verify::{Failure, Follower, Source, VerifyError};

use crate::alert::Kind;
use crate::checkpoint::Finding;
use crate::evidence::Evidence;

/// Files kept of those that failures name.
const MAX_FILES: usize = 16;
const MAX_FILE_BYTES: usize = 32 << 20;
/// Before entries that did not give the signed root are all read again, doubled at each time.
const FIRST_REST_MICROS: i64 = 60 * 1_000_000;
const MAX_REST_MICROS: i64 = 6 * 3_600 * 1_000_000;

/// Reads the entries of one log.
pub(crate) struct Entries<'a> {
    options: &'a verify::Options<'a>,
    follower: Follower<'a>,
    bad_root: bool,
    rest: i64,
    again: i64,
    /// It began with what an earlier monitor kept, and no root has confirmed that yet.
    restored: bool,
}

/// What a look at the entries came to.
pub(crate) struct Looked {
    /// What is new and wrong.
    pub(crate) finding: Option<(Finding, Vec<Failure>)>,
    /// The entries do not give the signed root.
    pub(crate) bad_root: bool,
    /// Some record breaks a rule.
    pub(crate) bad_records: bool,
}

impl<'a> Entries<'a> {
    /// Goes on with what an earlier monitor kept, if that can be read.
    pub(crate) fn new(options: &'a verify::Options<'a>, kept: Option<&[u8]>) -> Self {
        let restored = kept.and_then(|kept| Follower::restore(options, kept));
        Self {
            options,
            restored: restored.is_some(),
            follower: restored.unwrap_or_else(|| Follower::new(options)),
            bad_root: false,
            rest: FIRST_REST_MICROS,
            again: i64::MIN,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.follower.size()
    }

    pub(crate) fn unknown(&self) -> u64 {
        self.follower.counts().unknown.values().sum()
    }

    pub(crate) fn look(
        &mut self,
        source: &Source,
        checkpoint: &Checkpoint,
        now: i64,
    ) -> Result<Looked, VerifyError> {
        if self.bad_root && now < self.again {
            return Ok(self.looked(None));
        }
        // What was kept must not accuse the log, be it damaged or of a history that was abandoned.
        if self.restored && self.follower.size() > checkpoint.size.get() {
            self.begin_anew();
        }
        let mut advance = self.follower.advance(source, checkpoint)?;
        if self.restored && advance.failures_total > 0 {
            self.begin_anew();
            advance = self.follower.advance(source, checkpoint)?;
        }
        self.restored = false;
        self.bad_root = advance.spoiled;
        if self.bad_root {
            self.again = now.saturating_add(self.rest);
            self.rest = (self.rest * 2).min(MAX_REST_MICROS);
        } else {
            self.rest = FIRST_REST_MICROS;
        }
        if advance.failures_total == 0 {
            return Ok(self.looked(None));
        }
        let mut evidence = Evidence::default();
        let failures = serde_json::to_vec_pretty(&advance.failures).unwrap_or_default();
        evidence.add("failures.json", failures);
        let paths = advance.failures.iter().filter_map(|f| f.path.as_deref());
        let named = advance
            .failures
            .iter()
            .filter_map(|failure| failure.index)
            .filter_map(|index| tlog::TileId::entries(index / 256, checkpoint.size))
            .map(tlog::TileId::path);
        let mut wanted: Vec<String> = paths.map(str::to_owned).chain(named).collect();
        wanted.dedup();
        for path in wanted.into_iter().take(MAX_FILES) {
            // As they are served now; what cannot be had any more is left out.
            if let Ok(Some(bytes)) = source.file(&path, MAX_FILE_BYTES) {
                evidence.add(path, bytes);
            }
        }
        let first = advance.failures.first().map(ToString::to_string);
        let finding = Finding {
            kind: if self.bad_root {
                Kind::Entries
            } else {
                Kind::Records
            },
            summary: format!(
                "{} things are wrong with the entries up to {}; the first: {}",
                advance.failures_total,
                checkpoint.size,
                first.unwrap_or_default().replace('\n', ";")
            ),
            evidence,
        };
        Ok(self.looked(Some((finding, advance.failures))))
    }

    fn begin_anew(&mut self) {
        self.follower = Follower::new(self.options);
        self.restored = false;
    }

    /// What a monitor that is started again can go on with.
    pub(crate) fn save(&self) -> Option<Vec<u8>> {
        self.follower.save()
    }

    fn looked(&self, finding: Option<(Finding, Vec<Failure>)>) -> Looked {
        Looked {
            finding,
            bad_root: self.bad_root,
            bad_records: !self.bad_root && self.follower.failures_total() > 0,
        }
    }
}

//! When a run that trains has not been heard of for long.
//!
//! How long is counted from when its last record was *seen*, by the clock of whoever watches: producers' clocks may be off, and
//! what is imported is old. The pauses it has made before are counted by the producer's clock, which is the same at both ends.

use record::Timestamp;
use serde::{Deserialize, Serialize};

use crate::settings::StallSettings;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Stall {
    /// Updates and metrics.
    updates: u64,
    /// The last record, when its producer says it was made, and when it was seen.
    last: u64,
    made: i64,
    seen: i64,
    /// The longest pause between two records, in microseconds.
    pause: i64,
    /// The last record when it was found.
    found: Option<u64>,
}

impl Stall {
    pub(crate) fn take(&mut self, index: u64, made: Timestamp, now: Timestamp, trains: bool) {
        if self.seen != 0 {
            self.pause = self.pause.max(made.0.saturating_sub(self.made));
        }
        self.updates += u64::from(trains);
        self.last = index;
        self.made = self.made.max(made.0);
        self.seen = self.seen.max(now.0).max(1);
    }

    /// When its last record was seen.
    pub(crate) fn seen(&self) -> i64 {
        self.seen
    }

    /// `since`: from when on somebody watches.
    pub(crate) fn look(
        &mut self,
        now: Timestamp,
        since: Timestamp,
        settings: &StallSettings,
    ) -> Option<u64> {
        let quiet = now.0.saturating_sub(self.seen.max(since.0));
        let after = i64::try_from(settings.after_seconds.saturating_mul(1_000_000));
        let pauses = i64::try_from(settings.pauses).unwrap_or(i64::MAX);
        let most = after
            .unwrap_or(i64::MAX)
            .max(self.pause.saturating_mul(pauses));
        if self.updates < settings.updates || quiet <= most || self.found == Some(self.last) {
            return None;
        }
        self.found = Some(self.last);
        Some(self.last)
    }

    /// It stands in the log that it had stalled after this record.
    pub(crate) fn said(&mut self, last: u64) {
        if last == self.last {
            self.found = Some(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn at(minutes: i64) -> Timestamp {
        Timestamp(1_795_420_800_000_000 + minutes * MINUTE)
    }

    fn trained() -> Stall {
        let mut stall = Stall::default();
        for update in 0..20i64 {
            stall.take(update.cast_unsigned(), at(update), at(update), true);
        }
        stall
    }

    #[test]
    fn it_is_found_once_and_again_after_it_has_gone_on() {
        let (mut stall, settings) = (trained(), StallSettings::default());
        assert_eq!(stall.look(at(19 + 60), at(0), &settings), None);
        assert_eq!(stall.look(at(19 + 61), at(0), &settings), Some(19));
        assert_eq!(stall.look(at(19 + 90), at(0), &settings), None);
        stall.take(33, at(130), at(130), true);
        // It has made a pause of 111 minutes by now.
        assert_eq!(stall.look(at(130 + 5 * 111), at(0), &settings), None);
        assert_eq!(stall.look(at(131 + 5 * 111), at(0), &settings), Some(33));
    }

    #[test]
    fn time_in_which_nobody_watched_and_runs_that_do_not_train_do_not_count() {
        let (mut stall, settings) = (trained(), StallSettings::default());
        assert_eq!(stall.look(at(500), at(470), &settings), None);
        let mut hook = Stall::default();
        hook.take(3, at(0), at(0), false);
        assert_eq!(hook.look(at(100_000), at(0), &settings), None);
    }

    #[test]
    fn what_the_log_says_already_is_not_found() {
        let (mut stall, settings) = (trained(), StallSettings::default());
        stall.said(19);
        assert_eq!(stall.look(at(200), at(0), &settings), None);
    }
}

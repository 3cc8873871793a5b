//! The last few of something.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// The most indices that a finding names of what led up to it.
pub(crate) const MOST_EVIDENCE: usize = 64;

/// Values in the order in which they came; the oldest goes where there is no room.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Recent<T>(pub(crate) VecDeque<T>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Recent<T> {
    /// Adds one, and keeps at most `room`.
    pub(crate) fn push(&mut self, value: T, room: usize) {
        self.0.push_back(value);
        while self.0.len() > room {
            self.0.pop_front();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> std::collections::vec_deque::Iter<'_, T> {
        self.0.iter()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Indices as a finding names them: ascending, each once, the latest where there are too many.
pub(crate) fn evidence(indices: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut indices: Vec<u64> = indices.into_iter().collect();
    indices.sort_unstable();
    indices.dedup();
    indices.split_off(indices.len().saturating_sub(MOST_EVIDENCE))
}

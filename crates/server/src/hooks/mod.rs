//! What annotation platforms deliver by webhook, as records: a new annotation is recorded; one that
//! changed is recorded anew and the old one marked as superseded; one that was deleted is marked as
//! withdrawn. Nothing is overwritten, and what is delivered twice is recorded once.
//!
//! The server is the producer, on a stream `hook-<name>` of the hook's run; of a run that was sealed, on
//! the stream of that name in the scope `ledger`.

mod deliver;
mod memory;
mod proof;

use std::collections::{HashMap, VecDeque};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ledger::{Hook, Ledger};

pub(crate) use self::deliver::deliver;
use self::memory::Memory;
pub(crate) use self::proof::key_of;
use crate::problem::Problem;

/// Refused deliveries that are remembered, so that one that is tried again is not reported again.
const MAX_REFUSED: usize = 256;

/// Who delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Platform {
    /// Label Studio.
    LabelStudio,
    /// Argilla.
    Argilla,
}

impl Platform {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LabelStudio => "label-studio",
            Self::Argilla => "argilla",
        }
    }
}

impl FromStr for Platform {
    type Err = Problem;

    fn from_str(name: &str) -> Result<Self, Problem> {
        match name {
            "label-studio" => Ok(Self::LabelStudio),
            "argilla" => Ok(Self::Argilla),
            _ => Err(Problem::unprocessable(
                "bad-object",
                format!("platform is `{name}`; expected label-studio or argilla"),
            )),
        }
    }
}

/// What is known of a hook, under the lock of whoever writes for it.
type Shared = Arc<Mutex<Memory>>;

/// What this server knows of its hooks; all of it can be lost.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    memories: Mutex<HashMap<String, (Hook, Shared)>>,
    refused: Mutex<VecDeque<[u8; 32]>>,
}

impl Hooks {
    /// Signs the streams of hooks that have rested for `rest`.
    pub(crate) fn sign(&self, ledger: &Ledger, rest: Duration) {
        let memories: Vec<_> = lock(&self.memories).values().cloned().collect();
        for (_, memory) in memories {
            // Whoever has it is writing.
            let Ok(mut memory) = memory.try_lock() else {
                continue;
            };
            for place in memory.places.values_mut() {
                // A signature is a record of the stream too.
                place.length += place.own.sign(ledger, rest).len() as u64;
            }
        }
    }

    /// What is known of the hook; of one that was made anew under the name of another, nothing.
    fn memory(&self, hook: &Hook) -> Result<Shared, Problem> {
        let mut memories = lock(&self.memories);
        if let Some((known, memory)) = memories.get(&hook.name)
            && known == hook
        {
            return Ok(Arc::clone(memory));
        }
        let memory = Arc::new(Mutex::new(Memory::of(hook.clone())?));
        memories.insert(hook.name.clone(), (hook.clone(), Arc::clone(&memory)));
        Ok(memory)
    }

    /// Whether this delivery was not refused before.
    fn is_first_refusal(&self, body: &[u8]) -> bool {
        let hash = tlog::sha256(body);
        let mut refused = lock(&self.refused);
        if refused.contains(&hash) {
            return false;
        }
        if refused.len() >= MAX_REFUSED {
            refused.pop_front();
        }
        refused.push_back(hash);
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

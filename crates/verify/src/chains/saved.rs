//! What is known of streams and runs, put down so that a follower goes on after a restart. Only where
//! nothing was wrong: what a fault leaves behind is looked at again from the first entry.

use std::collections::HashMap;

use record::chain::{RunState, StreamState};
use record::{RunId, Scope};
use serde::{Deserialize, Serialize};
use tlog::Hash;

use super::{Chain, Chains, Run};
use crate::Options;
use crate::server::Server;

/// All of it, for serde. The states are text of `record::chain`'s own, which refuses other versions'.
#[derive(Serialize, Deserialize)]
pub(crate) struct Saved {
    streams: Vec<SavedStream>,
    runs: Vec<SavedRun>,
    /// What [`crate::enrolled::Enrolled`] knows.
    enrolled: Vec<String>,
    server: Server,
}

#[derive(Serialize, Deserialize)]
struct SavedStream {
    state: String,
    last: u64,
    continued: bool,
}

#[derive(Serialize, Deserialize)]
struct SavedRun {
    state: String,
    sealed_at: Option<u64>,
}

impl Chains<'_> {
    /// For [`Chains::restore`]; `None` where something is known that this does not hold.
    pub(crate) fn save(&self) -> Option<Saved> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
        if self.only.is_some() || !self.lost.is_empty() || !self.options.producer_keys.is_empty() {
            return None;
        }
        let stream = |slot: &u32| {
            let chain = &self.slots[*slot as usize];
            (chain.known && chain.other_head.is_none())
                .then_some(())
                .and_then(|()| text(chain.state.to_bytes()))
                .map(|state| SavedStream {
                    state,
                    last: chain.last,
                    continued: chain.continued,
                })
        };
        let run = |run: &Run| {
            (!run.blamed)
                .then_some(())
                .and_then(|()| text(run.state.to_bytes()))
                .map(|state| SavedRun {
                    state,
                    sealed_at: run.sealed_at,
                })
        };
        Some(Saved {
            server: self.server.clone(),
            streams: self.by_name.values().map(stream).collect::<Option<_>>()?,
            runs: self.runs.iter().map(run).collect::<Option<_>>()?,
            enrolled: self
                .enrolled
                .digests()
                .map(|digest| Hash::from(*digest).to_string())
                .collect(),
        })
    }
}

impl<'a> Chains<'a> {
    /// As [`Chains::save`] left it; `None` if that was by another version.
    pub(crate) fn restore(options: &'a Options<'a>, saved: &Saved) -> Option<Self> {
        let mut chains = Self::new(options);
        let mut by_run: HashMap<RunId, u32> = HashMap::new();
        for saved in &saved.runs {
            let state = RunState::from_bytes(saved.state.as_bytes()).ok()?;
            by_run.insert(state.run, chains.runs.len() as u32);
            chains.runs.push(Run {
                state,
                sealed_at: saved.sealed_at,
                chains: Vec::new(),
                blamed: false,
            });
        }
        for saved in &saved.streams {
            let state = StreamState::from_bytes(saved.state.as_bytes()).ok()?;
            let run = match state.scope {
                Scope::Ledger => None,
                Scope::Run(run) => Some(*by_run.get(&run)?),
            };
            let slot = chains.slots.len() as u32;
            chains.by_name.insert((state.scope, state.stream), slot);
            if let Some(run) = run {
                chains.runs[run as usize].chains.push(slot);
            }
            chains.slots.push(Chain {
                state,
                known: true,
                run,
                other_head: None,
                last: saved.last,
                continued: saved.continued,
            });
        }
        chains.by_run = by_run;
        chains.server = saved.server.clone();
        for digest in &saved.enrolled {
            let digest: Hash = digest.parse().ok()?;
            chains.enrolled.known(*digest.as_bytes());
        }
        Some(chains)
    }
}

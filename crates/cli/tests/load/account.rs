//! What was acknowledged, held against the log: looked up in the tree, found by reading everything, and verified.

use std::thread;
use std::time::{Duration, Instant};

use client::{Client, ClientError};
use serde_json::Value;
use tlog::{EntryBundle, HashTile, TileId, TileLevel, TreeSize};

use crate::common::ADMIN;
use crate::mix::{Ack, Mix, prefix};
use crate::site::Site;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) size: u64,
    pub(crate) acknowledged: u64,
    /// Acknowledged records that the tree does not have where they were said to be.
    pub(crate) not_in_tree: u64,
    /// And that the entries do not have there.
    pub(crate) not_in_entries: u64,
    /// Records that are in the log more than once.
    pub(crate) doubled: u64,
    /// Of `rlhf-audit verify`, over the whole log.
    pub(crate) verdict: String,
    pub(crate) verified_in: Duration,
}

pub(crate) fn take(site: &Site, mix: &Mix) -> Account {
    let acks = mix.acks();
    let client = site.client();
    let last = acks.last().map_or(0, |ack| ack.0);
    let published = client.published(last, Duration::from_mins(1)).unwrap();
    assert!(published.is_some(), "record {last} is not published");
    let note = client.checkpoint().unwrap();
    let checkpoint = site.policy().check(note.as_bytes()).unwrap().checkpoint;

    let mut account = Account {
        size: checkpoint.size.0,
        acknowledged: acks.len() as u64,
        ..Account::default()
    };
    scan(&client, checkpoint.size, &acks, &mut account);

    let began = Instant::now();
    let url = format!("{}/log", client.url());
    let policy = ["--policy", "audit-data/policy", "--token", ADMIN, "--json"];
    let output = site.desk.run(&[&["verify", &url], &policy[..]].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    report["verdict"]
        .as_str()
        .unwrap_or("none")
        .clone_into(&mut account.verdict);
    account.verified_in = began.elapsed();
    if account.verdict != "verified" {
        eprintln!("{report}");
    }
    account
}

/// Reads every entry and every tile above the entries. That the tiles hash to the signed root is `verify`'s to say.
fn scan(client: &Client, size: TreeSize, acks: &[Ack], account: &mut Account) {
    let mut acks = acks.iter().peekable();
    let mut names: Vec<[u8; 16]> = Vec::with_capacity(size.0 as usize);
    for number in 0..size.0.div_ceil(256) {
        let entries = TileId::entries(number, size).unwrap();
        let leaves = TileId::in_tree(TileLevel::Hashes(0), number, size).unwrap();
        let (entries, found) = tile(client, entries);
        let entries = EntryBundle::parse(&entries, found.width()).unwrap();
        let (leaves, found) = tile(client, leaves);
        let leaves = HashTile::parse(&leaves, found.width()).unwrap();
        let both = entries.iter().zip(leaves.hashes());
        for ((entry, leaf), index) in both.zip(number * 256..size.0) {
            let of_entry = tlog::leaf_hash(entry);
            let name: [u8; 32] = of_entry.into();
            names.push(name[..16].try_into().unwrap());
            while let Some((_, told)) = acks.next_if(|ack| ack.0 == index) {
                account.not_in_tree += u64::from(prefix(leaf) != *told);
                account.not_in_entries += u64::from(prefix(&of_entry) != *told);
            }
        }
    }
    // Beyond the log's end, or told twice of one index.
    let left = acks.count() as u64;
    account.not_in_tree += left;
    account.not_in_entries += left;
    names.sort_unstable();
    account.doubled = names.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
}

/// A tile, or the full one that took its place.
fn tile(client: &Client, id: TileId) -> (Vec<u8>, TileId) {
    for _ in 0..3 {
        for id in [id, id.full()] {
            match client.tile(id) {
                Ok(bytes) => return (bytes, id),
                Err(ClientError::Refused(problem)) if problem.status == 404 => {}
                Err(error) => panic!("{error}"),
            }
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("the log has no {id}");
}

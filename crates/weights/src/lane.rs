//! How two threads hash one file: the SHA-256 of a file and those of its tensors are over the same bytes, each in their
//! order, so one thread reads them and hashes the file, and another, if there is one to spare, takes the same buffers and
//! hashes the tensors. Each byte is read once. Where nobody is to spare, the one thread does both while the bytes are
//! still in its cache.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use record::Sha256;
use sha2::Digest as _;

use crate::layout::Part;

/// Bytes read at a time. Both hashes over it find it in a core's own cache.
pub(crate) const CHUNK_BYTES: usize = 512 << 10;
/// Buffers of one file: how far the reader may be ahead of its helper.
const BUFFERS: usize = 4;

/// Buffers that are filled again once the helper is done with them.
pub(crate) struct Buffers(Vec<Arc<Vec<u8>>>);

impl Buffers {
    pub(crate) fn new() -> Self {
        Self(
            (0..BUFFERS)
                .map(|_| Arc::new(vec![0; CHUNK_BYTES]))
                .collect(),
        )
    }
}

/// The tensors' side of one file.
pub(crate) struct Lane<'a> {
    /// There are no parts to hash.
    is_empty: bool,
    state: Mutex<State<'a>>,
    changed: Condvar,
}

struct State<'a> {
    /// How far they are hashed; `None` while somebody is at it.
    parts: Option<Parts<'a>>,
    /// Somebody other than the reader hashes the tensors.
    helped: bool,
    /// And has done so to the end.
    helped_out: bool,
    /// What the helper has not hashed yet, in order.
    waiting: VecDeque<Piece>,
    ended: bool,
}

/// The first so many bytes of a buffer.
type Piece = (Arc<Vec<u8>>, usize);

impl<'a> Lane<'a> {
    /// For a file with these parts, by where they begin.
    pub(crate) fn new(parts: &'a [Part]) -> Self {
        Self {
            is_empty: parts.is_empty(),
            state: Mutex::new(State {
                parts: Some(Parts::new(parts)),
                helped: false,
                helped_out: false,
                waiting: VecDeque::new(),
                ended: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State<'a>>) -> MutexGuard<'s, State<'a>> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer that nobody reads any more, the `number`-th of the file.
    pub(crate) fn free<'b>(&self, buffers: &'b mut Buffers, number: usize) -> &'b mut Arc<Vec<u8>> {
        let at = number % BUFFERS;
        let mut state = self.lock();
        while Arc::get_mut(&mut buffers.0[at]).is_none() {
            state = self.wait(state);
        }
        &mut buffers.0[at]
    }

    /// Takes note of the next bytes of the file, the first `length` of a buffer: hands them to the helper, or gives
    /// the parts to the reader, who is to hash the bytes and to call [`Lane::give_back`].
    pub(crate) fn next(&self, buffer: &Arc<Vec<u8>>, length: usize) -> Option<Parts<'a>> {
        let mut state = self.lock();
        if !state.helped {
            return state.parts.take();
        }
        state.waiting.push_back((Arc::clone(buffer), length));
        drop(state);
        self.changed.notify_all();
        None
    }

    pub(crate) fn give_back(&self, parts: Parts<'a>) {
        self.lock().parts = Some(parts);
        self.changed.notify_all();
    }

    /// There are no more bytes.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Hashes tensors until the file ends, unless somebody else does or it has ended.
    pub(crate) fn help(&self) {
        let mut state = self.lock();
        if self.is_empty || state.helped || state.ended {
            return;
        }
        state.helped = true;
        // The reader may be at it with bytes that it took before.
        let mut parts = loop {
            match state.parts.take() {
                Some(parts) => break parts,
                None => state = self.wait(state),
            }
        };
        loop {
            if let Some((buffer, length)) = state.waiting.pop_front() {
                drop(state);
                parts.update(&buffer[..length]);
                drop(buffer);
                // Under the lock, so that a reader that looks for a buffer does not miss it.
                state = self.lock();
                self.changed.notify_all();
            } else if state.ended {
                state.parts = Some(parts);
                state.helped_out = true;
                self.changed.notify_all();
                return;
            } else {
                state = self.wait(state);
            }
        }
    }

    /// The digests, in the order of the parts; to be asked for by the reader, after the end. Waits for the helper.
    pub(crate) fn digests(&self) -> Vec<Sha256> {
        let mut state = self.lock();
        while state.helped && !state.helped_out {
            state = self.wait(state);
        }
        state.parts.as_mut().map(Parts::finish).unwrap_or_default()
    }
}

/// Hashes the parts of a file as its bytes go by.
pub(crate) struct Parts<'a> {
    of: &'a [Part],
    /// Where in the file the next bytes are.
    at: u64,
    hasher: sha2::Sha256,
    digests: Vec<Sha256>,
}

impl<'a> Parts<'a> {
    fn new(parts: &'a [Part]) -> Self {
        let mut new = Self {
            of: parts,
            at: 0,
            hasher: sha2::Sha256::new(),
            digests: Vec::with_capacity(parts.len()),
        };
        new.close_ended();
        new
    }

    /// Takes the next bytes of the file.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while let Some(part) = self.of.get(self.digests.len())
            && !bytes.is_empty()
        {
            let skip = part.begin.saturating_sub(self.at).min(bytes.len() as u64);
            bytes = &bytes[skip as usize..];
            self.at += skip;
            if self.at < part.begin {
                return;
            }
            let take = (part.end - self.at).min(bytes.len() as u64);
            let (now, later) = bytes.split_at(take as usize);
            self.hasher.update(now);
            self.at += take;
            bytes = later;
            self.close_ended();
        }
        self.at += bytes.len() as u64;
    }

    /// Takes the digests of parts that end here; several where some are empty.
    fn close_ended(&mut self) {
        while let Some(part) = self.of.get(self.digests.len())
            && part.begin <= self.at
            && part.end <= self.at
        {
            self.digests
                .push(Sha256(self.hasher.finalize_reset().into()));
        }
    }

    /// All digests. An empty part beyond the last byte that was seen has none of its own bytes to wait for.
    fn finish(&mut self) -> Vec<Sha256> {
        self.close_ended();
        std::mem::take(&mut self.digests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(begin: u64, end: u64) -> Part {
        Part {
            name: format!("{begin}"),
            begin,
            end,
            tensor: None,
        }
    }

    fn of(bytes: &[u8]) -> Sha256 {
        Sha256(sha2::Sha256::digest(bytes).into())
    }

    #[test]
    fn parts_are_hashed_however_the_bytes_are_cut() {
        let bytes: Vec<u8> = (0..100).collect();
        let parts = [
            (0, 0),
            (0, 7),
            (7, 7),
            (7, 8),
            (20, 60),
            (60, 60),
            (99, 100),
            (100, 100),
        ];
        let parts = parts.map(|(begin, end)| part(begin, end));
        let expected: Vec<_> = parts
            .iter()
            .map(|part| of(&bytes[part.begin as usize..part.end as usize]))
            .collect();
        for cut in 1..=100 {
            let mut hashed = Parts::new(&parts);
            bytes.chunks(cut).for_each(|piece| hashed.update(piece));
            assert_eq!(hashed.finish(), expected, "in pieces of {cut}");
        }
    }

    /// A helper that comes at any moment, or none, makes no difference.
    #[test]
    fn a_helper_changes_nothing() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 5) as u8).collect();
        let parts = [part(8, 1_000_003), part(1_000_003, 3_000_000)];
        let expected: Vec<_> = parts
            .iter()
            .map(|part| of(&bytes[part.begin as usize..part.end as usize]))
            .collect();
        for comes_at in (0..60).map(Some).chain([None]) {
            let lane = Lane::new(&parts);
            let mut buffers = Buffers::new();
            let found = std::thread::scope(|scope| {
                for (number, piece) in bytes.chunks(50_000).enumerate() {
                    if comes_at == Some(number) {
                        scope.spawn(|| lane.help());
                    }
                    let buffer = lane.free(&mut buffers, number);
                    Arc::get_mut(buffer).unwrap()[..piece.len()].copy_from_slice(piece);
                    if let Some(mut parts) = lane.next(buffer, piece.len()) {
                        parts.update(&buffer[..piece.len()]);
                        lane.give_back(parts);
                    }
                }
                lane.end();
                lane.digests()
            });
            assert_eq!(found, expected, "{comes_at:?}");
        }
    }
}

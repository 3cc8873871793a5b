//! SHA-256 of messages whose whole length is known, straight over the compression function.
//!
//! A tree hashes millions of short messages. `sha2::Sha256` buffers, copies and wipes for each of
//! them, which costs a sixth of the time at 65 bytes; here the message is laid out in its padded
//! blocks at once. This is no streaming hasher: for a file, use `sha2`.

use sha2::block_api::compress256;

type State = [u32; 8];

/// FIPS 180-4, section 5.3.3.
const INITIAL: State = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// SHA-256 of `data` (FIPS 180-4).
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut state = INITIAL;
    let (blocks, rest) = data.as_chunks::<64>();
    if !blocks.is_empty() {
        compress256(&mut state, blocks);
    }
    let mut tail = [0; 128];
    tail[..rest.len()].copy_from_slice(rest);
    finish(state, &mut tail, rest.len(), data.len())
}

/// SHA-256 of the byte `prefix` followed by `data`.
///
/// The prefix shifts everything by a byte, so no block can be hashed where it lies without a copy of
/// its head. Most records are short enough to copy whole, which is the cheaper way up to there: one
/// call of the compression function instead of three.
pub(crate) fn prefixed(prefix: u8, data: &[u8]) -> [u8; 32] {
    match data.len() {
        0..=246 => prefixed_short::<4>(prefix, data),
        247..=502 => prefixed_short::<8>(prefix, data),
        _ => prefixed_long(prefix, data),
    }
}

/// For messages that fit into `BLOCKS` blocks with prefix and padding: 10 bytes less of data.
fn prefixed_short<const BLOCKS: usize>(prefix: u8, data: &[u8]) -> [u8; 32] {
    let mut message = [[0; 64]; BLOCKS];
    let blocks = lay_out(prefix, data, message.as_flattened_mut());
    let mut state = INITIAL;
    compress256(&mut state, &message[..blocks]);
    to_bytes(&state)
}

/// `prefix`, `data` and padding at the beginning of `message`, which has room for them; gives the number of blocks.
fn lay_out(prefix: u8, data: &[u8], message: &mut [u8]) -> usize {
    let total = data.len() + 1;
    let blocks = (total + 9).div_ceil(64);
    let (content, padding) = message[..blocks * 64].split_at_mut(total);
    content[0] = prefix;
    content[1..].copy_from_slice(data);
    let (zeros, length) = padding.split_at_mut(padding.len() - 8);
    zeros.fill(0);
    zeros[0] = 0x80;
    length.copy_from_slice(&(total as u64 * 8).to_be_bytes());
    blocks
}

/// [`prefixed`] of each of `items`, in order.
///
/// Each block of a message waits for the one before, and the processor with it. Two messages in turns, block by block, give
/// it something to do meanwhile.
pub(crate) fn prefixed_each<D: From<[u8; 32]>>(
    prefix: u8,
    items: &[&[u8]],
    mut each: impl FnMut(D),
) {
    /// Longer messages than this many blocks are hashed one by one.
    const BLOCKS: usize = 16;
    const LONGEST: usize = BLOCKS * 64 - 10;
    let mut messages = [[[0; 64]; BLOCKS]; 2];
    let (pairs, odd) = items.as_chunks::<2>();
    for pair in pairs {
        if pair.iter().any(|data| data.len() > LONGEST) {
            for data in pair {
                each(prefixed(prefix, data).into());
            }
            continue;
        }
        let [one, other] = &mut messages;
        let blocks = lay_out(prefix, pair[0], one.as_flattened_mut());
        let others = lay_out(prefix, pair[1], other.as_flattened_mut());
        let states = in_turns(&one[..blocks], &other[..others]);
        for state in &states {
            each(to_bytes(state).into());
        }
    }
    for data in odd {
        each(prefixed(prefix, data).into());
    }
}

/// The states after the blocks of two messages.
fn in_turns(one: &[[u8; 64]], other: &[[u8; 64]]) -> [State; 2] {
    let mut states = [INITIAL; 2];
    let both = one.len().min(other.len());
    for (block, others) in one.iter().zip(other) {
        compress256(&mut states[0], std::slice::from_ref(block));
        compress256(&mut states[1], std::slice::from_ref(others));
    }
    for (state, rest) in states.iter_mut().zip([&one[both..], &other[both..]]) {
        if !rest.is_empty() {
            compress256(state, rest);
        }
    }
    states
}

/// For messages of at least 63 bytes of data.
fn prefixed_long(prefix: u8, data: &[u8]) -> [u8; 32] {
    let mut state = INITIAL;
    let (head, rest) = data.split_at(63);
    let mut first = [0; 64];
    first[0] = prefix;
    first[1..].copy_from_slice(head);
    compress256(&mut state, &[first]);

    let (blocks, rest) = rest.as_chunks::<64>();
    if !blocks.is_empty() {
        compress256(&mut state, blocks);
    }
    let mut tail = [0; 128];
    tail[..rest.len()].copy_from_slice(rest);
    finish(state, &mut tail, rest.len(), data.len() + 1)
}

/// SHA-256 of the byte `prefix` followed by two digests: 65 bytes, always two blocks.
pub(crate) fn prefixed_pair(prefix: u8, left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut state = INITIAL;
    let mut blocks = [[0; 64]; 2];
    blocks[0][0] = prefix;
    blocks[0][1..33].copy_from_slice(left);
    blocks[0][33..].copy_from_slice(&right[..31]);
    blocks[1][0] = right[31];
    blocks[1][1] = 0x80;
    blocks[1][62..].copy_from_slice(&(65u16 * 8).to_be_bytes());
    compress256(&mut state, &blocks);
    to_bytes(&state)
}

/// [`prefixed_pair`] of each of the consecutive pairs in `digests`, into `out`: half as many.
///
/// Messages are laid out in groups before the first of a group is compressed. Compressing what was
/// stored a moment ago makes the processor wait for its own stores, and so does one message for the
/// other; a whole tile takes a quarter less time this way.
pub(crate) fn prefixed_pairs<D: AsRef<[u8]> + From<[u8; 32]>>(
    prefix: u8,
    digests: &[D],
    out: &mut [D],
) {
    const GROUP: usize = 16;
    let mut messages = [[[0; 64]; 2]; GROUP];
    for message in &mut messages {
        message[0][0] = prefix;
        message[1][1] = 0x80;
        message[1][62..].copy_from_slice(&(65u16 * 8).to_be_bytes());
    }
    for (pairs, out) in digests.chunks(2 * GROUP).zip(out.chunks_mut(GROUP)) {
        for (pair, message) in pairs.chunks_exact(2).zip(&mut messages) {
            let (left, right) = (pair[0].as_ref(), pair[1].as_ref());
            message[0][1..33].copy_from_slice(left);
            message[0][33..].copy_from_slice(&right[..31]);
            message[1][0] = right[31];
        }
        for (out, messages) in out.chunks_mut(2).zip(messages.as_chunks::<2>().0) {
            let states = in_turns(&messages[0], &messages[1]);
            for (out, state) in out.iter_mut().zip(&states) {
                *out = to_bytes(state).into();
            }
        }
    }
}

/// Pads and compresses the last `used` (< 64) bytes of a message of `total` bytes.
fn finish(mut state: State, tail: &mut [u8; 128], used: usize, total: usize) -> [u8; 32] {
    tail[used] = 0x80;
    let blocks = if used < 56 { 1 } else { 2 };
    let end = blocks * 64;
    tail[end - 8..end].copy_from_slice(&(total as u64 * 8).to_be_bytes());
    compress256(&mut state, &tail.as_chunks::<64>().0[..blocks]);
    to_bytes(&state)
}

fn to_bytes(state: &State) -> [u8; 32] {
    let mut out = [0; 32];
    for (bytes, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn agrees_with_the_streaming_hasher_at_every_length() {
        let data: Vec<u8> = (0..700u32).map(|i| (i * 7 % 251) as u8).collect();
        for n in 0..data.len() {
            let message = &data[..n];
            assert_eq!(
                sha256(message),
                <[u8; 32]>::from(Sha256::digest(message)),
                "{n} bytes"
            );
            let expected = Sha256::new()
                .chain_update([7])
                .chain_update(message)
                .finalize();
            assert_eq!(
                prefixed(7, message),
                <[u8; 32]>::from(expected),
                "7 and {n} bytes"
            );
        }
    }

    #[test]
    fn several_at_once_agree_with_one_by_one() {
        let data: Vec<u8> = (0..3_000u32).map(|i| (i * 7 % 251) as u8).collect();
        // Every number of blocks beside every other, both sides of the longest that goes in turns, and an odd number.
        let lengths = [
            0, 1, 54, 55, 63, 64, 118, 119, 500, 502, 503, 1013, 1014, 1015, 1016, 2_999,
        ];
        let mut items: Vec<&[u8]> = Vec::new();
        for one in lengths {
            for other in lengths {
                items.extend([&data[..one], &data[data.len() - other..]]);
            }
        }
        items.push(&data);
        let mut all: Vec<[u8; 32]> = Vec::new();
        prefixed_each(7, &items, |digest| all.push(digest));
        let expected: Vec<[u8; 32]> = items.iter().map(|item| prefixed(7, item)).collect();
        assert_eq!(all, expected);
        prefixed_each(7, &[], |_: [u8; 32]| panic!("there is none"));
    }

    #[test]
    fn hashes_a_pair_as_one_message() {
        let (left, right) = (sha256(b"left"), sha256(b"right"));
        let expected = Sha256::new()
            .chain_update([1])
            .chain_update(left)
            .chain_update(right)
            .finalize();
        assert_eq!(prefixed_pair(1, &left, &right), <[u8; 32]>::from(expected));
    }
}

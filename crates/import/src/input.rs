//! The bytes of a file: hashed as they stand, unpacked if they are gzip.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

/// The first two bytes of every gzip member (RFC 1952 §2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Large enough that reading is not what import spends its time on.
const BUFFER_BYTES: usize = 64 * 1024;

/// What `dataset.registered` says about a file: its bytes as they stand, gzip not unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// The file's length in bytes.
    pub bytes: u64,
    /// The file's SHA-256.
    pub sha256: [u8; 32],
}

impl FileFacts {
    /// The SHA-256 in lower-case hexadecimal, 64 characters.
    pub fn sha256_hex(&self) -> String {
        use std::fmt::Write as _;

        self.sha256
            .iter()
            .fold(String::with_capacity(64), |mut text, byte| {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
                text
            })
    }
}

/// Counts and hashes what passes through.
pub(crate) struct Tee<R> {
    inner: R,
    bytes: u64,
    hash: Sha256,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.bytes += n as u64;
        self.hash.update(&buf[..n]);
        Ok(n)
    }
}

pub(crate) type Whole<R> = BufReader<io::Chain<Cursor<Vec<u8>>, Tee<R>>>;

/// A file's unpacked bytes, and the facts of the file itself once it has been read.
pub(crate) enum Input<R: Read> {
    Plain(Whole<R>),
    Gzip(Box<BufReader<MultiGzDecoder<Whole<R>>>>),
}

impl<R: Read> Input<R> {
    /// Looks at the first two bytes and decides; errors are those of reading them.
    pub(crate) fn new(inner: R) -> io::Result<Self> {
        let mut tee = Tee {
            inner,
            bytes: 0,
            hash: Sha256::new(),
        };
        // By hand, since a pipe may give one byte at a time.
        let mut head = Vec::with_capacity(GZIP_MAGIC.len());
        (&mut tee)
            .take(GZIP_MAGIC.len() as u64)
            .read_to_end(&mut head)?;
        let gzip = head == GZIP_MAGIC;
        let whole = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(tee));
        Ok(if gzip {
            let unpacked = BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(whole));
            Self::Gzip(Box::new(unpacked))
        } else {
            Self::Plain(whole)
        })
    }

    pub(crate) fn is_gzip(&self) -> bool {
        matches!(self, Self::Gzip(_))
    }

    /// Reads what is left of the file, so that the facts are those of all of it.
    pub(crate) fn finish(self) -> io::Result<FileFacts> {
        let mut whole = match self {
            Self::Plain(whole) => whole,
            Self::Gzip(unpacked) => unpacked.into_inner().into_inner(),
        };
        io::copy(&mut whole, &mut io::sink())?;
        let (_, tee) = whole.into_inner().into_inner();
        Ok(FileFacts {
            bytes: tee.bytes,
            sha256: tee.hash.finalize().into(),
        })
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(plain) => plain.read(buf),
            Self::Gzip(gzip) => gzip.read(buf),
        }
    }
}

impl<R: Read> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Plain(plain) => plain.fill_buf(),
            Self::Gzip(gzip) => gzip.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        match self {
            Self::Plain(plain) => plain.consume(amount),
            Self::Gzip(gzip) => gzip.consume(amount),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_those_of_the_packed_bytes_even_if_nothing_was_read() {
        let mut packed = Vec::new();
        flate2::read::GzEncoder::new(&b"[1,2,3]"[..], flate2::Compression::default())
            .read_to_end(&mut packed)
            .unwrap();
        let input = Input::new(&packed[..]).unwrap();
        assert!(input.is_gzip());
        let facts = input.finish().unwrap();
        assert_eq!(facts.bytes, packed.len() as u64);
        assert_eq!(facts.sha256, <[u8; 32]>::from(Sha256::digest(&packed)));
    }

    #[test]
    fn one_byte_at_a_time_is_enough_to_see_gzip() {
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                let n = self.0.len().min(1).min(buf.len());
                buf[..n].copy_from_slice(&self.0[..n]);
                self.0 = &self.0[n..];
                Ok(n)
            }
        }
        let mut packed = Vec::new();
        flate2::read::GzEncoder::new(&b"hello"[..], flate2::Compression::default())
            .read_to_end(&mut packed)
            .unwrap();
        let mut text = String::new();
        Input::new(Slow(&packed))
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "hello");
    }
}

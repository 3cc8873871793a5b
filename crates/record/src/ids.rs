//! Identifiers, parsed where they enter and trusted afterwards. All but [`ProducerName`] are `Copy`
//! and lie inline, so that parsing a record allocates nothing.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::encoding::text_serde;
use crate::time::{Clock, Entropy};

/// A text that is not the identifier it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found:?}")]
pub struct IdError {
    /// What would have been right.
    pub expected: &'static str,
    /// What was there.
    pub found: String,
}

impl IdError {
    pub(crate) fn new(expected: &'static str, found: &str) -> Self {
        Self {
            expected,
            found: found.chars().take(80).collect(),
        }
    }
}

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// 128 bits in 26 Crockford characters, the first of which carries three bits.
fn crockford(value: u128) -> [u8; 26] {
    std::array::from_fn(|at| CROCKFORD[(value >> (5 * (25 - at)) & 31) as usize])
}

const UPPER: u8 = 1;
const LOWER: u8 = 2;

/// In which case each byte is a Crockford character; digits are in both.
const CASE: [u8; 256] = {
    let mut case = [0; 256];
    let mut at = 0;
    while at < CROCKFORD.len() {
        case[CROCKFORD[at] as usize] |= UPPER;
        case[CROCKFORD[at].to_ascii_lowercase() as usize] |= LOWER;
        at += 1;
    }
    case
};

/// Whether these are 26 Crockford characters, in this case, of a number below 2^128.
fn is_crockford(text: &[u8], case: u8) -> bool {
    let all = text
        .iter()
        .fold(case, |all, byte| all & CASE[usize::from(*byte)]);
    text.len() == 26 && text[0] <= b'7' && all != 0
}

fn text(bytes: &[u8]) -> &str {
    // Only ASCII is ever put in.
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// The name of a training run: a ULID, 26 Crockford characters in upper case
/// (<https://github.com/ulid/spec>).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId([u8; 26]);

impl RunId {
    /// From its text, `None` where that is no ULID in upper case.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 26] = text.as_bytes().try_into().ok()?;
        is_crockford(&bytes, UPPER).then_some(Self(bytes))
    }

    /// A new one: 48 bits of milliseconds, 80 random bits.
    pub fn generate(clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
        let mut random = [0; 16];
        entropy.fill(&mut random[6..]);
        let millis = clock.now().0.div_euclid(1_000).clamp(0, (1 << 48) - 1);
        Self(crockford(
            u128::from(millis.cast_unsigned()) << 80 | u128::from_be_bytes(random),
        ))
    }

    /// The 26 characters.
    pub fn as_str(&self) -> &str {
        text(&self.0)
    }
}

/// Where a stream belongs: to a run, or to the ledger itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// What belongs to no run; the text `ledger`.
    Ledger,
    /// A run.
    Run(RunId),
}

impl Scope {
    /// From `ledger` or a ULID.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "ledger" {
            Some(Self::Ledger)
        } else {
            RunId::parse(text).map(Self::Run)
        }
    }

    /// The text as it stands in the member `run`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Ledger => "ledger",
            Self::Run(run) => run.as_str(),
        }
    }

    /// The run, `None` for the scope `ledger`.
    pub fn run(&self) -> Option<RunId> {
        match self {
            Self::Ledger => None,
            Self::Run(run) => Some(*run),
        }
    }
}

impl From<RunId> for Scope {
    fn from(run: RunId) -> Self {
        Self::Run(run)
    }
}

const STREAM_NAME_MAX: usize = 64;

/// The name of a stream within its scope: `[a-z0-9][a-z0-9._-]{0,63}`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamName {
    // Zeros after the name, so that the derived order is that of the text.
    bytes: [u8; STREAM_NAME_MAX],
    len: u8,
}

impl StreamName {
    /// The server's own stream, `server`.
    pub const SERVER: Self = {
        let mut bytes = [0; STREAM_NAME_MAX];
        let name = b"server";
        let mut at = 0;
        while at < name.len() {
            bytes[at] = name[at];
            at += 1;
        }
        Self { bytes, len: 6 }
    };

    /// From its text, `None` where it has another form.
    pub fn parse(text: &str) -> Option<Self> {
        if !is_stream_name(text) {
            return None;
        }
        let mut bytes = [0; STREAM_NAME_MAX];
        bytes
            .get_mut(..text.len())?
            .copy_from_slice(text.as_bytes());
        Some(Self {
            bytes,
            len: text.len() as u8,
        })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        text(&self.bytes[..usize::from(self.len)])
    }
}

/// Streams and attachments are named alike.
pub(crate) fn is_stream_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=STREAM_NAME_MAX).contains(&bytes.len())
        && !matches!(bytes[0], b'.' | b'_' | b'-')
        && bytes
            .iter()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

impl Hash for StreamName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

/// A person's random name within a run or a deployment: `p-` and 26 lower-case Crockford
/// characters (128 random bits). What links it to the person is a sealed value, never in the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pseudonym([u8; 28]);

impl Pseudonym {
    /// From its text, `None` where it has another form.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 28] = text.as_bytes().try_into().ok()?;
        let good = is_crockford(bytes.strip_prefix(b"p-")?, LOWER);
        good.then_some(Self(bytes))
    }

    /// A new one.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut random = [0; 16];
        entropy.fill(&mut random);
        let mut bytes = *b"p-00000000000000000000000000";
        bytes[2..].copy_from_slice(&crockford(u128::from_be_bytes(random)));
        bytes.make_ascii_lowercase();
        Self(bytes)
    }

    /// The 28 characters.
    pub fn as_str(&self) -> &str {
        text(&self.0)
    }
}

/// Who builds and signs a stream: `[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerName(Box<str>);

impl ProducerName {
    /// From its text, `None` where it has another form.
    pub fn parse(text: &str) -> Option<Self> {
        is_producer_name(text).then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

pub(crate) fn is_producer_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=128).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'/' | b'@' | b'-')
        })
}

macro_rules! text_identifier {
    ($type:ty, $expected:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self.as_str())
            }
        }

        text_serde!($type, $expected);
    };
}

text_identifier!(RunId, "a run: a ULID of 26 upper-case characters");
text_identifier!(Scope, "`ledger` or a ULID of 26 upper-case characters");
text_identifier!(StreamName, "a stream name: [a-z0-9][a-z0-9._-]{0,63}");
text_identifier!(
    Pseudonym,
    "a pseudonym: p- and 26 lower-case Crockford characters"
);
text_identifier!(
    ProducerName,
    "a producer name: [A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> Timestamp {
            Timestamp(1_469_918_176_385_000)
        }
    }

    impl Entropy for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0xff);
        }
    }

    #[test]
    fn ulid_of_the_specification() {
        // The ULID specification's example time, 1469918176385, is written 01ARYZ6S41.
        let run = RunId::generate(&Fixed, &Fixed);
        assert_eq!(run.as_str(), "01ARYZ6S41ZZZZZZZZZZZZZZZZ");
        assert_eq!(RunId::parse(run.as_str()), Some(run));
    }

    #[test]
    fn ulid_bounds() {
        assert!(RunId::parse("7ZZZZZZZZZZZZZZZZZZZZZZZZZ").is_some());
        assert!(RunId::parse("8ZZZZZZZZZZZZZZZZZZZZZZZZZ").is_none());
        assert!(RunId::parse("01ARYZ6S41ZZZZZZZZZZZZZZZU").is_none());
        assert!(RunId::parse("01aryz6s41zzzzzzzzzzzzzzzz").is_none());
        assert!(RunId::parse("01ARYZ6S41ZZZZZZZZZZZZZZZ").is_none());
    }

    #[test]
    fn pseudonyms() {
        let name = Pseudonym::generate(&Fixed);
        assert_eq!(name.as_str(), "p-7zzzzzzzzzzzzzzzzzzzzzzzzz");
        assert_eq!(Pseudonym::parse(name.as_str()), Some(name));
        assert!(Pseudonym::parse("p-7ZZZZZZZZZZZZZZZZZZZZZZZZZ").is_none());
        assert!(Pseudonym::parse("q-7zzzzzzzzzzzzzzzzzzzzzzzzz").is_none());
    }

    #[test]
    fn stream_names() {
        assert_eq!(StreamName::parse("server"), Some(StreamName::SERVER));
        for good in ["0", "rank0", "a.b_c-d", &"a".repeat(64)] {
            assert_eq!(
                StreamName::parse(good)
                    .map(|name| name.to_string())
                    .as_deref(),
                Some(good)
            );
        }
        for bad in ["", ".a", "-a", "_a", "A", "a b", "é", &"a".repeat(65)] {
            assert!(StreamName::parse(bad).is_none(), "{bad}");
        }
        let (short, long) = (
            StreamName::parse("a").unwrap(),
            StreamName::parse("a-").unwrap(),
        );
        assert!(short < long && long < StreamName::parse("b").unwrap());
    }
}

//! The clock and the randomness of the operating system. Everything below `cli` is handed these.

use record::{Clock, Entropy, Timestamp};

/// The system's wall clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where time enters the program"
    )]
    fn now(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now().as_microsecond())
    }
}

/// The system's cryptographic random number generator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where randomness enters the program"
    )]
    fn fill(&self, buffer: &mut [u8]) {
        // Without randomness nothing here is safe to go on with: keys and commitments would be guessable.
        getrandom::fill(buffer).expect("the operating system gives random bytes");
    }
}

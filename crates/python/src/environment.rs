//! The clock and the randomness of the operating system: where they enter an interpreter that has this module.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use record::{Clock, Entropy, Timestamp};

/// The system's wall clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where time enters the interpreter"
    )]
    fn now(&self) -> Timestamp {
        let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            // A clock that stands before 1970 is wrong, and no reason to stop a training run.
            Err(_) => 0,
        };
        Timestamp(micros)
    }
}

/// How many bytes are drawn at once: a system call for each commitment's key would cost more than the commitment.
const DRAWN: usize = 4_096;

/// The system's cryptographic random number generator, read ahead on each thread. Nothing that was drawn is given out
/// twice: not in this process, which wipes what it gives, nor in one that is forked from it, which draws its own. No
/// lock is held meanwhile that a fork could leave locked for ever.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemEntropy;

struct Pool {
    bytes: [u8; DRAWN],
    used: usize,
    process: u32,
}

thread_local! {
    static POOL: RefCell<Pool> = const {
        RefCell::new(Pool { bytes: [0; DRAWN], used: DRAWN, process: 0 })
    };
}

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        if buffer.len() > DRAWN {
            return draw(buffer);
        }
        POOL.with_borrow_mut(|pool| {
            let process = std::process::id();
            if pool.process != process || pool.used + buffer.len() > DRAWN {
                draw(&mut pool.bytes);
                pool.used = 0;
                pool.process = process;
            }
            let given = pool.used..pool.used + buffer.len();
            pool.used = given.end;
            let given = &mut pool.bytes[given];
            buffer.copy_from_slice(given);
            given.fill(0);
        });
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is where randomness enters the interpreter"
)]
fn draw(buffer: &mut [u8]) {
    // Without randomness nothing here is safe to go on with: keys and commitments would be guessable.
    getrandom::fill(buffer).expect("the operating system gives random bytes");
}

//! The client of the sender: made once the server answers, and doubted whenever it did not.

use std::time::{Duration, Instant};

use super::super::core::{Core, Halt};
use super::contradiction;
use crate::client::Client;
use crate::error::ClientError;
use crate::memory::Memory;
use crate::retry::RetryPolicy;

/// What failed is tried again for ever, ever more rarely.
const POLICY: RetryPolicy = RetryPolicy {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(10),
    total: Duration::MAX,
};

/// A question is asked again at once: the connection may have been closed behind the answer before.
const QUESTION: RetryPolicy = RetryPolicy {
    first: Duration::from_millis(20),
    longest: Duration::from_millis(200),
    total: Duration::from_secs(1),
};

/// No server gives way to another in so short a time. After a longer pause it is looked at first: a connection that was
/// closed meanwhile is opened again without anybody being told, and whoever listens there by then may be another.
const SURELY_THE_SAME: Duration = Duration::from_millis(100);

/// How long to leave alone what failed.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempt: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// It failed; `asked` is the server's own wish.
    pub(super) fn fail(&mut self, asked: Option<Duration>) {
        let rest = POLICY.rest(self.attempt, Duration::ZERO, asked);
        self.until = Some(Instant::now() + rest.unwrap_or(POLICY.longest));
        self.attempt = self.attempt.saturating_add(1);
    }

    /// Leaves it alone for so long, without its having failed.
    pub(super) fn pause(&mut self, rest: Duration) {
        self.until = Some(Instant::now() + rest);
    }

    pub(super) fn succeed(&mut self) {
        *self = Self::default();
    }

    /// Try again now.
    pub(super) fn hurry(&mut self) {
        self.until = None;
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.until.filter(|until| *until > Instant::now())
    }
}

pub(super) struct Connection {
    client: Option<Client>,
    token: u64,
    backoff: Backoff,
    error: Option<String>,
    /// When the server last answered on a connection that still stood; `None` where it has not since something failed.
    answered: Option<Instant>,
}

impl Connection {
    pub(super) fn new() -> Self {
        Self {
            client: None,
            token: 0,
            backoff: Backoff::default(),
            error: None,
            answered: None,
        }
    }

    pub(super) fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }

    /// For questions, which are asked again where the connection breaks.
    pub(super) fn asking(&self) -> Option<Client> {
        self.client
            .as_ref()
            .map(|client| client.clone().with_retry(QUESTION))
    }

    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.client.is_some() && self.answered.is_some() && !self.is_resting()
    }

    pub(super) fn is_resting(&self) -> bool {
        self.backoff.until().is_some()
    }

    pub(super) fn rests_until(&self) -> Option<Instant> {
        self.backoff.until()
    }

    pub(super) fn hurry(&mut self) {
        self.backoff.hurry();
    }

    pub(super) fn succeed(&mut self) {
        self.backoff.succeed();
        self.error = None;
        self.answered = Some(Instant::now());
    }

    pub(super) fn fail(&mut self, why: String, asked: Option<Duration>) {
        self.backoff.fail(asked);
        self.error = Some(why);
        self.answered = None;
    }

    /// Makes the client, or looks whether the log is the one it was: before anything is sent to it. `false` where it does
    /// not answer.
    pub(super) fn make_ready(&mut self, core: &Core) -> Result<bool, Halt> {
        let token = core.token();
        let made = match self.client.take() {
            Some(client) if self.token != token.number => {
                Ok(client.with_token(token.text.as_deref()))
            }
            Some(client) => Ok(client),
            // It looks when it is made.
            None => {
                let made = make(core, token.text.as_deref());
                self.answered = made.is_ok().then(Instant::now);
                made
            }
        };
        self.token = token.number;
        let surely_the_same = self
            .answered
            .is_some_and(|answered| answered.elapsed() < SURELY_THE_SAME);
        let looked = made.and_then(|client| {
            let looked = if surely_the_same {
                client.doubted()
            } else {
                client.look()
            };
            self.client = Some(client);
            looked
        });
        match looked {
            Ok(()) => {
                if !surely_the_same {
                    self.answered = Some(Instant::now());
                }
                Ok(true)
            }
            Err(ClientError::Contradiction { what, evidence }) => {
                Err(contradiction(what, evidence))
            }
            Err(error) => {
                let asked = match &error {
                    ClientError::Unavailable { asked, .. } => *asked,
                    _ => None,
                };
                self.fail(error.to_string(), asked);
                Ok(false)
            }
        }
    }
}

fn make(core: &Core, token: Option<&str>) -> Result<Client, ClientError> {
    let server = &core.options.server;
    // One spool, one log: also where the server moves, and where it is on this machine.
    let memory = if let Some(memory) = &server.memory {
        let root = core.layout.root();
        let root = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
        memory
            .clone()
            .with_name(format!("spool {}", root.display()))
    } else {
        let memory = Memory::new(core.layout.checkpoints()).with_name("spool".to_owned());
        match &server.policy {
            Some(policy) => memory.with_policy(policy.clone()),
            None => memory,
        }
    };
    Client::new(&server.url, token)?
        .with_retry(RetryPolicy::NEVER)
        .remembering(memory)
}

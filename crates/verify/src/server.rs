//! What the server says on its own stream of the log as a whole: changes of keys, where the log goes
//! on from, and that it has ended.
//!
//! That these records stand where they may, and that old keys have signed, is for the chain rules.

use record::kinds::{KeyPurpose, KeyRotated, LedgerClosed, LedgerContinued};
use record::{Kind, Record, Scope, StreamName};
use serde::{Deserialize, Serialize};

use crate::ProducerKey;
use crate::meaning::Link;
use crate::report::{Closed, KEPT, KeyChange, Predecessor, Report};

const OWN: (Scope, StreamName) = (Scope::Ledger, StreamName::SERVER);

/// See the module.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Server {
    closed_at: Option<u64>,
    /// The one record that may follow is there.
    signed: bool,
}

impl Server {
    /// Where the ledger was closed, if that was before a record that may not follow.
    pub(crate) fn closed_before(
        &mut self,
        link: &Link,
        stream: (Scope, StreamName),
        kind: Option<Kind>,
    ) -> Option<u64> {
        let at = self.closed_at?;
        let signs = stream == OWN && kind == Some(Kind::StreamSigned) && link.index == at + 1;
        if signs && !self.signed {
            self.signed = true;
            return None;
        }
        Some(at)
    }

    /// Takes in a record, whichever it is.
    pub(crate) fn take(
        &mut self,
        index: u64,
        record: &Record<'_>,
        pins: &mut Vec<ProducerKey>,
        report: &mut Report,
    ) {
        if (record.scope(), *record.stream()) != OWN {
            return;
        }
        match record.kind() {
            Some(Kind::KeyRotated) if record.version() >= KeyRotated::IN_FORCE => {
                if let Ok(body) = record.decode::<KeyRotated>() {
                    follow_pin(&body, pins);
                    note(index, &body, report);
                }
            }
            Some(Kind::LedgerContinued) => {
                if let Ok(body) = record.decode::<LedgerContinued>() {
                    report.predecessor = Some(Predecessor {
                        origin: body.origin,
                        size: body.size,
                        root: body.root.to_string(),
                    });
                }
            }
            Some(Kind::LedgerClosed) => {
                self.closed_at.get_or_insert(index);
                if let Ok(body) = record.decode::<LedgerClosed>() {
                    report.closed.get_or_insert(Closed {
                        index,
                        reason: body.reason,
                        successor: body.successor,
                    });
                }
            }
            _ => {}
        }
    }
}

/// Who was pinned has handed over, and signed that: the new key is as good as pinned.
fn follow_pin(body: &KeyRotated, pins: &mut Vec<ProducerKey>) {
    let (KeyPurpose::Producer, Some(producer)) = (body.purpose, &body.producer) else {
        return;
    };
    let pinned = pins
        .iter()
        .any(|pin| pin.producer == producer.as_str() && pin.key == body.old.0);
    if pinned && body.pending().is_some_and(|pending| pending.is_valid()) {
        pins.push(ProducerKey {
            producer: producer.to_string(),
            key: body.new.0,
        });
    }
}

fn note(index: u64, body: &KeyRotated, report: &mut Report) {
    if report.key_changes.len() < KEPT {
        report.key_changes.push(KeyChange {
            index,
            purpose: body.purpose.to_string(),
            producer: body.producer.as_ref().map(ToString::to_string),
            old: body.old.to_string(),
            new: body.new.to_string(),
        });
    }
}

//! Policies, and the vkeys in them.

use tlog::{Policy, VerifierKey};

use crate::example::SIGNED;

/// A policy file, or one vkey.
pub fn policy(data: &[u8]) {
    if let Ok(policy) = Policy::parse(data) {
        let keys = policy.logs().iter().map(|log| &log.key);
        for key in keys.chain(policy.witnesses().map(|witness| &witness.key)) {
            assert_eq!(VerifierKey::parse(&key.to_string()).as_ref(), Ok(key));
        }
        let _ = (policy.requires_witnesses(), policy.keys_of(&SIGNED.origin));
        for key in policy.logs().iter().map(|log| log.key.clone()) {
            let _ = policy.clone().or_log(&key);
        }
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(key) = VerifierKey::parse(text) {
        assert_eq!(key.to_string(), text, "a vkey is written as read");
        // Alone it is a policy: the log with this key, or an error if it is only a witness's.
        let _ = Policy::from_vkeys(&[key]);
    }
}

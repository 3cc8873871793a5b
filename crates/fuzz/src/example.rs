//! The specification's example: what a log really signed, so that anything else that is accepted was
//! signed by nobody.

use std::sync::LazyLock;

use record::Submission;
use tlog::{Checkpoint, Ed25519Cosigner, MlDsa44Signer, Policy, SignedNote};

const POLICY: &str = include_str!("../../../docs/spec/examples/policy");
const CHECKPOINT: &str = include_str!("../../../docs/spec/examples/checkpoint");
const LOG: &str = include_str!("../../../docs/spec/examples/log.ndjson");

/// The policy under which the example's checkpoint is accepted, with two witnesses that it knows.
pub(crate) static POLICY_OF: LazyLock<Policy> = LazyLock::new(|| {
    let ed25519 = Ed25519Cosigner::from_seed("witness.example/ed25519", [7; 32]).expect("a name");
    let ml_dsa_44 = MlDsa44Signer::from_seed("witness.example/ml-dsa-44", [7; 32]).expect("a name");
    let (first, quorum) = POLICY.split_at(POLICY.find("quorum ").expect("a quorum line"));
    let text = format!(
        "{first}witness first {}\nwitness second {}\n{quorum}",
        ed25519.verifier_key(),
        ml_dsa_44.verifier_key()
    );
    Policy::parse(text.as_bytes()).expect("the example's policy")
});

/// The only checkpoint that the example's log has signed.
pub(crate) static SIGNED: LazyLock<Checkpoint> = LazyLock::new(|| {
    let note = SignedNote::parse(CHECKPOINT.as_bytes()).expect("the example's note");
    Checkpoint::parse(note.text()).expect("the example's checkpoint")
});

/// Its entries.
pub(crate) static ENTRIES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let submissions = LOG
        .lines()
        .map(|line| Submission::parse_line(line.as_bytes()));
    submissions
        .map(|line| line.expect("the example's line").record.to_vec())
        .collect()
});

/// The example and the corpus are accepted; else the targets would watch for what never comes.
#[cfg(test)]
mod tests {
    use super::*;
    use tlog::{TlogProof, leaf_hash};
    use verify::Verdict;

    #[test]
    fn the_checkpoint_a_proof_and_the_bundle_are_accepted() {
        let verified = POLICY_OF.check(CHECKPOINT.as_bytes()).unwrap();
        assert_eq!(verified.checkpoint, *SIGNED);
        let proof = TlogProof::parse(include_bytes!("../../../fuzz/corpus/proof/file-4")).unwrap();
        proof.verify(&leaf_hash(&ENTRIES[4]), &POLICY_OF).unwrap();
        let bundle = include_bytes!("../../../fuzz/corpus/bundle/example");
        assert_eq!(crate::bundle::verdict(bundle), Verdict::Verified);
    }
}

//! Answers of time-stamping authorities.

use std::sync::LazyLock;

use verify::timestamp::{Token, TsaRoots};

/// What the tokens in the corpus stamp.
const TEXT: &[u8] = b"rlhf-audit.example/log\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

static ROOTS: LazyLock<TsaRoots> = LazyLock::new(|| {
    TsaRoots::from_pem(include_bytes!("timestamp/root.pem")).expect("the corpus's root")
});

/// The times that the authority of the corpus has stated. Its key is gone.
const STATED: &[&str] = &[
    "2026-11-24T05:15:13.000000Z",
    "2026-11-24T05:15:14.000000Z",
    "2026-11-24T05:15:15.000000Z",
];

/// A `TimeStampResp`, or roots in PEM. A trusted token states a time that its authority stated.
pub fn timestamp(data: &[u8]) {
    if let Ok(token) = Token::open(data, TEXT) {
        assert!(token.before() >= token.time(), "less than no accuracy");
        let _ = (token.authority().len(), token.answers([7; 16]));
        if token.trusted_by(&ROOTS).is_ok() {
            let time = token.time().to_string();
            assert!(STATED.contains(&time.as_str()), "{time} was never stated");
        }
    }
    if data.starts_with(b"-----") {
        let _ = TsaRoots::from_pem(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else the target would watch for what never comes.
    #[test]
    fn the_tokens_of_the_corpus_are_trusted() {
        let tokens: [&[u8]; 3] = [
            include_bytes!("../../../fuzz/corpus/timestamp/rsa.tsr"),
            include_bytes!("../../../fuzz/corpus/timestamp/p256.tsr"),
            include_bytes!("../../../fuzz/corpus/timestamp/p384.tsr"),
        ];
        for (token, time) in tokens.into_iter().zip(STATED) {
            let token = Token::open(token, TEXT).unwrap();
            token.trusted_by(&ROOTS).unwrap();
            assert_eq!(token.time().to_string(), *time);
        }
    }
}

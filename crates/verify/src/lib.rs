//! Checks a log, a bundle or a document, trusting nothing but the key.

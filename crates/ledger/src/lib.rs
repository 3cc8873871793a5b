//! How the log grows and is read: sequencer, publisher, sealing, bundles.

//! Reads published human-feedback data sets into records.

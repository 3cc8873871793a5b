//! Attachments held against their names, and against the records that name them.

use std::io::{self, Read};

use record::{Record, Sha256};
use sha2::Digest as _;
use store::OpenObject;

use super::journal::Future;
use super::survey::Survey;
use super::{Check, Fault, readable};
use crate::LedgerError;
use crate::attachments::{NAMES_ATTACHMENTS, PREFIX, key, parse_key};

/// How much is read and hashed at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Where an attachment is first named, and with what size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    index: u64,
    bytes: u64,
    /// It was found where it has to be.
    there: bool,
}

impl Check<'_> {
    /// Takes note of what a record names. One that cannot be read is `verify`'s to speak of.
    pub(super) fn names(&mut self, index: u64, entry: &[u8]) {
        if !entry.starts_with(NAMES_ATTACHMENTS) {
            return;
        }
        let Ok(record) = Record::parse_envelope(entry) else {
            return;
        };
        for (_, bytes, sha256) in record.attachments() {
            self.named.entry(sha256).or_insert(Named {
                index,
                bytes,
                there: false,
            });
        }
    }

    pub(super) fn attachments(
        &mut self,
        survey: &Survey,
        future: &Future,
    ) -> Result<(), LedgerError> {
        for (index, record) in (survey.size..).zip(future.records(survey.size)) {
            self.names(index, record);
        }
        let mut unnamed = 0_u64;
        for name in self.place.objects.list(PREFIX)? {
            let Some(sha256) = parse_key(&name) else {
                let detail = "no attachment has this name";
                self.found(Fault::Surplus, name.clone(), detail);
                if readable(self.place.objects.get(&name))?.is_some() {
                    self.plan.aside.insert(name);
                }
                continue;
            };
            self.attachment(name, sha256)?;
            match self.named.get_mut(&sha256) {
                Some(named) => named.there = true,
                None => unnamed += 1,
            }
        }
        let missing: Vec<_> = self
            .named
            .iter()
            .filter(|(_, named)| !named.there)
            .map(|(sha256, named)| (*sha256, *named))
            .collect();
        for (sha256, named) in missing {
            let detail = format!(
                "it is not there, and record {} names it, with {} bytes",
                named.index, named.bytes
            );
            self.found(Fault::AttachmentMissing, key(&sha256), detail);
        }
        if unnamed > 0 && survey.is_whole() {
            self.note(format!(
                "{unnamed} attachments are named by no record: put, and not used so far; they are harmless"
            ));
        }
        Ok(())
    }

    fn attachment(&mut self, name: String, sha256: Sha256) -> Result<(), LedgerError> {
        let Some(object) = self.place.objects.open_object(&name)? else {
            return Ok(());
        };
        self.report.attachments += 1;
        let length = object.bytes;
        match hash(object) {
            Ok(found) if found == sha256 => {}
            Ok(found) => {
                let detail = format!("its {length} bytes have the SHA-256 {found}");
                self.found(Fault::AttachmentDamaged, name, detail);
            }
            Err(error) => {
                let detail = format!("it cannot be read: {error}");
                self.found(Fault::AttachmentDamaged, name, detail);
            }
        }
        Ok(())
    }
}

fn hash(mut object: OpenObject) -> io::Result<Sha256> {
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match object.reader.read(&mut buffer) {
            Ok(0) => return Ok(Sha256(hasher.finalize().into())),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

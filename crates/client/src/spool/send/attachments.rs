//! Attachments are put before the records that name them.

use std::fs::File;
use std::io;
use std::time::Instant;

use record::Attachment;

use super::super::attachments::path;
use super::super::batch::Batch;
use super::super::error::SpoolError;
use super::Sender;
use super::connection::Backoff;
use crate::error::ClientError;

/// What became of those that no record waits for.
#[derive(Default)]
pub(super) struct Attachments {
    backoff: Backoff,
    error: Option<String>,
}

impl Attachments {
    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.backoff.until()
    }

    pub(super) fn hurry(&mut self) {
        self.backoff.hurry();
    }
}

/// Why one was not put.
enum NotPut {
    /// The file is gone: whoever deleted it had sent it.
    Gone,
    Client(ClientError),
}

impl Sender {
    /// Puts all that wait.
    pub(super) fn send_attachments(&mut self) {
        if self.attachments.until().is_some() {
            return;
        }
        for attachment in self.core.attachments.unsent() {
            match self.put(&attachment) {
                Ok(()) | Err(NotPut::Gone) => {
                    self.attachments = Attachments::default();
                }
                Err(NotPut::Client(error)) => {
                    self.attachments.backoff.fail(None);
                    self.attachments.error =
                        Some(format!("the attachment {}: {error}", attachment.sha256));
                    self.not_put(error);
                    return;
                }
            }
        }
    }

    /// Puts what a batch names, where it is here. `false` where that failed.
    pub(super) fn send_attached(&mut self, at: usize, batch: &Batch) -> bool {
        for sha256 in &batch.attachments {
            let path = path(&self.core, sha256);
            let waits = !self.core.attachments.has(sha256)
                || self
                    .core
                    .attachments
                    .unsent()
                    .iter()
                    .any(|unsent| unsent.sha256 == *sha256);
            let (true, Ok(metadata)) = (waits, std::fs::metadata(&path)) else {
                continue;
            };
            let attachment = Attachment {
                bytes: metadata.len(),
                sha256: *sha256,
            };
            if let Err(NotPut::Client(error)) = self.put(&attachment) {
                let lane = &mut self.lanes[at];
                let title = lane.stream.title();
                let why = format!("stream {title}: the attachment {sha256}: {error}");
                lane.back();
                if !self.not_put(error) {
                    self.lanes[at].rest(why, None);
                }
                return false;
            }
        }
        true
    }

    fn put(&mut self, attachment: &Attachment) -> Result<(), NotPut> {
        let path = path(&self.core, &attachment.sha256);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.core.attachments.sent(&attachment.sha256);
                return Err(NotPut::Gone);
            }
            Err(error) => return Err(NotPut::Client(ClientError::Upload(error))),
        };
        let Some(client) = self.connection.client() else {
            return Err(NotPut::Gone);
        };
        client
            .put_attachment_as(attachment, &mut file)
            .map_err(NotPut::Client)?;
        self.core.attachments.sent(&attachment.sha256);
        self.core.moved.tell();
        Ok(())
    }

    /// Whether what keeps an attachment from the server keeps everything from it.
    fn not_put(&mut self, error: ClientError) -> bool {
        match error {
            ClientError::Contradiction { what, evidence } => {
                self.core.halt(super::contradiction(what, evidence));
            }
            ClientError::Unavailable { asked, .. } => {
                self.connection.fail(error.to_string(), asked);
            }
            ClientError::Refused(problem) if problem.status == 401 || problem.status >= 500 => {
                self.connection.fail(problem.to_string(), None);
            }
            _ => return false,
        }
        true
    }

    /// Looks for what dead processes left.
    pub(super) fn find_attachments(&mut self) {
        if let Err(error @ SpoolError::Disk { .. }) = self.core.attachments.find(&self.core) {
            self.attachments.error = Some(error.to_string());
        }
    }
}

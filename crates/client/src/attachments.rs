//! Attachments: put before the record that names them, read back and held against their name.

use std::io::{self, Read, Seek, Write};

use record::{Attachment, Sha256};
use sha2::Digest as _;
use ureq::http::Method;

use crate::client::Client;
use crate::error::ClientError;

/// How much is read and hashed at a time.
const BUFFER_BYTES: usize = 256 << 10;

impl Client {
    /// Puts an attachment, from the beginning of `source` to its end; a record may name it once this returns. It is
    /// read once for its SHA-256 and once for each try to send it, never held whole: `Cursor` makes a source of bytes.
    ///
    /// # Errors
    /// As every call; [`ClientError::Upload`] where `source` cannot be read, or changed in between.
    pub fn put_attachment(
        &self,
        source: &mut (impl Read + Seek),
    ) -> Result<Attachment, ClientError> {
        let attachment = digest(source).map_err(ClientError::Upload)?;
        self.put_attachment_as(&attachment, source)?;
        Ok(attachment)
    }

    /// As [`Client::put_attachment`], where its size and SHA-256 are known already. The server holds the bytes against
    /// them.
    ///
    /// # Errors
    /// As [`Client::put_attachment`].
    pub fn put_attachment_as(
        &self,
        attachment: &Attachment,
        source: &mut (impl Read + Seek),
    ) -> Result<(), ClientError> {
        let path = format!("/v1/attachments/{}", attachment.sha256);
        self.transport()
            .upload(&Method::PUT, &path, attachment.bytes, source)
            .map(drop)
    }

    /// Reads an attachment into `out`, and gives how many bytes it has. What was written before an error is not the
    /// attachment.
    ///
    /// # Errors
    /// As every call; [`ClientError::Refused`] with the status 404 where there is none; [`ClientError::Download`];
    /// [`ClientError::Unexpected`] where the bytes are not those of the name.
    pub fn attachment(&self, sha256: &Sha256, out: &mut impl Write) -> Result<u64, ClientError> {
        let path = format!("/v1/attachments/{sha256}");
        let mut hasher = sha2::Sha256::new();
        let bytes = self.download(&path, "attachment", &mut |piece| {
            hasher.update(piece);
            out.write_all(piece)
        })?;
        let found = Sha256(hasher.finalize().into());
        if found == *sha256 {
            return Ok(bytes);
        }
        let why = format!("bytes with the SHA-256 {found}");
        Err(self.transport().unexpected(&path, why))
    }
}

/// The size and SHA-256 of what `source` has from its beginning on.
fn digest(source: &mut (impl Read + Seek)) -> io::Result<Attachment> {
    source.rewind()?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&buffer[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Attachment {
        bytes,
        sha256: Sha256(hasher.finalize().into()),
    })
}

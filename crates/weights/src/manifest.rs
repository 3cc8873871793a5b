//! The manifest of a model: what is written, and what is read. `docs/spec/model-manifest.md` has the form.

use record::kinds::ModelFile;
use record::{MAX_ATTACHMENT_BYTES, MAX_INTEGER, Sha256, canonical};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// The format's name, as a manifest states it.
pub const FORMAT: &str = "rlhf-audit-model-manifest/v1";
/// The most bytes of a manifest: it has to fit into an attachment.
pub const MAX_MANIFEST_BYTES: u64 = MAX_ATTACHMENT_BYTES;

/// What a record holds: so many files, with names of so many characters, none of which is a control character.
const MAX_LISTED: usize = 256;
const MAX_TEXT: usize = 128;

/// Every file of a model, by name: each has its own, and they are sorted by their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    files: Vec<ManifestFile>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFile {
    /// Its path from the model's folder, with `/` between the parts.
    pub name: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// The SHA-256 of all of them.
    pub sha256: Sha256,
    /// What is known of its insides.
    pub contents: Contents,
}

/// What is known of a file's insides. `None` for the parts: they were not hashed by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Contents {
    /// Nothing.
    #[default]
    Plain,
    /// It is a safetensors file.
    Safetensors {
        /// The SHA-256 of its header, with the eight bytes of its length.
        header: Sha256,
        /// Its tensors, by name.
        tensors: Option<Vec<Tensor>>,
    },
    /// It is a zip archive of stored entries, as `torch.save` writes it.
    TorchZip {
        /// Its entries, by name.
        entries: Option<Vec<Entry>>,
    },
}

/// A tensor of a safetensors file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    /// How many bytes it has.
    pub bytes: u64,
    /// The type of its elements, as the file names it: `F32`, `BF16`.
    pub dtype: String,
    /// Its name.
    pub name: String,
    /// The SHA-256 of its bytes.
    pub sha256: Sha256,
    /// Its shape; empty for a scalar.
    pub shape: Vec<u64>,
}

/// An entry of a torch archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// How many bytes it has.
    pub bytes: u64,
    /// Its name, such as `archive/data/0`.
    pub name: String,
    /// The SHA-256 of its bytes.
    pub sha256: Sha256,
}

/// Bytes that are no manifest, or what would make none.
#[derive(Debug, thiserror::Error)]
#[error("this is no manifest of a model ({FORMAT}): {0}")]
pub struct ManifestError(String);

/// A manifest as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    files: Vec<Written>,
    format: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<Entry>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<Form>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header: Option<Sha256>,
    name: String,
    sha256: Sha256,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tensors: Option<Vec<Tensor>>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Form {
    Safetensors,
    TorchZip,
}

impl Manifest {
    /// Of files in any order.
    ///
    /// # Errors
    ///
    /// There are none, two have one name, or a name or number cannot stand in a manifest.
    pub fn new(mut files: Vec<ManifestFile>) -> Result<Self, ManifestError> {
        files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        for file in &mut files {
            file.contents.sort();
        }
        let manifest = Self { files };
        manifest.check().map_err(ManifestError)?;
        Ok(manifest)
    }

    /// The files, by name.
    pub fn files(&self) -> &[ManifestFile] {
        &self.files
    }

    /// The file of this name.
    pub fn file(&self, name: &str) -> Option<&ManifestFile> {
        let at = self
            .files
            .binary_search_by(|file| file.name.as_str().cmp(name));
        self.files.get(at.ok()?)
    }

    /// How many bytes all files have.
    pub fn bytes(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// How many tensors and entries have a digest of their own.
    pub fn parts(&self) -> u64 {
        self.files
            .iter()
            .map(|file| file.contents.count().unwrap_or(0))
            .sum()
    }

    /// The files as a `model.checkpoint` lists them, by name: all of them, or where they are too many (or named too long
    /// for a record) as many as it holds, those with weights before others and the larger before the smaller. The
    /// manifest, which the record names as an attachment, has all.
    pub fn listed(&self) -> Vec<ModelFile> {
        let mut files: Vec<_> = self
            .files
            .iter()
            .filter(|file| file.name.chars().count() <= MAX_TEXT && !file.name.contains(is_control))
            .collect();
        files.sort_by_key(|file| {
            let weights = file.contents.holds_tensors();
            (std::cmp::Reverse((weights, file.bytes)), &file.name)
        });
        files.truncate(MAX_LISTED);
        files.sort_by_key(|file| &file.name);
        let listed = files
            .into_iter()
            .map(|file| ModelFile::new(file.bytes, file.name.clone(), file.sha256));
        listed.collect()
    }

    /// The manifest itself: canonical JSON (RFC 8785).
    pub fn to_bytes(&self) -> Vec<u8> {
        let document = Document {
            files: self.files.iter().map(Written::from).collect(),
            format: FORMAT.to_owned(),
        };
        // Nothing in it is a map with keys other than texts.
        canonical::to_vec(&document).unwrap_or_default()
    }

    /// The SHA-256 of [`Manifest::to_bytes`]: two models with the same one have the same files.
    pub fn sha256(&self) -> Sha256 {
        Sha256(sha2::Sha256::digest(self.to_bytes()).into())
    }

    /// Reads a manifest.
    ///
    /// # Errors
    ///
    /// The bytes are not those of [`Manifest::to_bytes`] of any manifest.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let error = |why: String| ManifestError(why);
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(error(format!("it has {} bytes", bytes.len())));
        }
        canonical::check(bytes).map_err(|fault| error(fault.to_string()))?;
        let document: Document =
            serde_json::from_slice(bytes).map_err(|fault| error(fault.to_string()))?;
        if document.format != FORMAT {
            return Err(error(format!("its format is `{}`", document.format)));
        }
        let files = document.files.into_iter().map(ManifestFile::try_from);
        let manifest = Self {
            files: files.collect::<Result<_, _>>().map_err(error)?,
        };
        manifest.check().map_err(error)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        if self.files.is_empty() {
            return Err("it names no file".to_owned());
        }
        ascending("file", self.files.iter().map(|file| &*file.name))?;
        for file in &self.files {
            let within = |why: String| format!("file {}: {why}", file.name);
            // A path from the folder, so that nobody who follows it leaves the folder.
            let good = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
            if !file.name.split('/').all(good) {
                return Err(within("its name is no path below the folder".to_owned()));
            }
            number(file.bytes).map_err(within)?;
            file.contents.check().map_err(within)?;
        }
        Ok(())
    }
}

impl Contents {
    /// How many parts have digests of their own; `None` where they were not hashed.
    pub fn count(&self) -> Option<u64> {
        match self {
            Self::Plain => None,
            Self::Safetensors { tensors, .. } => tensors.as_ref().map(|all| all.len() as u64),
            Self::TorchZip { entries } => entries.as_ref().map(|all| all.len() as u64),
        }
    }

    /// Whether a file with this inside holds weights, an optimizer's state or the like.
    pub fn holds_tensors(&self) -> bool {
        !matches!(self, Self::Plain)
    }

    fn sort(&mut self) {
        match self {
            Self::Safetensors {
                tensors: Some(tensors),
                ..
            } => tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name)),
            Self::TorchZip {
                entries: Some(entries),
            } => entries.sort_unstable_by(|a, b| a.name.cmp(&b.name)),
            _ => {}
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Safetensors {
                tensors: Some(tensors),
                ..
            } => {
                ascending("tensor", tensors.iter().map(|tensor| &*tensor.name))?;
                tensors.iter().try_for_each(|tensor| {
                    let mut numbers = tensor.shape.iter().copied().chain([tensor.bytes]);
                    numbers.try_for_each(number)
                })
            }
            Self::TorchZip {
                entries: Some(entries),
            } => {
                ascending("entry", entries.iter().map(|entry| &*entry.name))?;
                entries.iter().try_for_each(|entry| number(entry.bytes))
            }
            _ => Ok(()),
        }
    }
}

/// As texts in records have it.
fn is_control(character: char) -> bool {
    character < ' ' || character == '\u{7f}'
}

/// Whether names ascend by their bytes, so that each is there once and there is one order.
fn ascending<'a>(what: &str, mut names: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let Some(mut last) = names.next() else {
        return Ok(());
    };
    for name in names {
        if last >= name {
            return Err(format!("{what} {name} is not behind {last}"));
        }
        last = name;
    }
    Ok(())
}

fn number(number: u64) -> Result<(), String> {
    if number <= MAX_INTEGER {
        return Ok(());
    }
    Err(format!("{number} is over 2^53-1"))
}

impl From<&ManifestFile> for Written {
    fn from(file: &ManifestFile) -> Self {
        let (format, header, tensors, entries) = match &file.contents {
            Contents::Plain => (None, None, None, None),
            Contents::Safetensors { header, tensors } => (
                Some(Form::Safetensors),
                Some(*header),
                tensors.clone(),
                None,
            ),
            Contents::TorchZip { entries } => (Some(Form::TorchZip), None, None, entries.clone()),
        };
        Self {
            bytes: file.bytes,
            entries,
            format,
            header,
            name: file.name.clone(),
            sha256: file.sha256,
            tensors,
        }
    }
}

impl TryFrom<Written> for ManifestFile {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let contents = match (
            written.format,
            written.header,
            written.tensors,
            written.entries,
        ) {
            (None, None, None, None) => Contents::Plain,
            (Some(Form::Safetensors), Some(header), tensors, None) => {
                Contents::Safetensors { header, tensors }
            }
            (Some(Form::TorchZip), None, None, entries) => Contents::TorchZip { entries },
            _ => {
                return Err(format!(
                    "file {}: format, header, tensors and entries do not go together",
                    written.name
                ));
            }
        };
        Ok(Self {
            name: written.name,
            bytes: written.bytes,
            sha256: written.sha256,
            contents,
        })
    }
}

//! Files as trainers save them, byte by byte.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use record::Sha256;
use weights::{Contents, Manifest, Options, Source, Tensors, WeightsError};

/// A tensor to be written.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) dtype: &'static str,
    pub(crate) shape: Vec<u64>,
    pub(crate) bytes: Vec<u8>,
}

/// A tensor of single precision whose bytes follow from a seed.
pub(crate) fn tensor(name: &str, shape: &[u64], seed: u8) -> Made {
    let length = 4 * shape.iter().product::<u64>();
    Made {
        name: name.to_owned(),
        dtype: "F32",
        shape: shape.to_vec(),
        bytes: (0..length)
            .map(|n| (n as u8).wrapping_mul(31) ^ seed)
            .collect(),
    }
}

/// A safetensors file: header and tensors in the order given.
pub(crate) fn safetensors(tensors: &[Made]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::json!({"format": "pt"}));
    let mut at = 0;
    for tensor in tensors {
        let end = at + tensor.bytes.len();
        let described = serde_json::json!({
            "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [at, end],
        });
        header.insert(tensor.name.clone(), described);
        at = end;
    }
    let mut header = serde_json::to_vec(&header).unwrap();
    // As the library does: tensors begin at a multiple of eight.
    while !header.len().is_multiple_of(8) {
        header.push(b' ');
    }
    let data = tensors.iter().flat_map(|tensor| tensor.bytes.clone());
    with_header(&header, &data.collect::<Vec<u8>>())
}

/// A safetensors file with any header.
pub(crate) fn with_header(header: &[u8], data: &[u8]) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header);
    file.extend_from_slice(data);
    file
}

/// What `torch.save` writes: a zip archive of stored entries.
pub(crate) fn torch_zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    zip(entries, rawzip::CompressionMethod::STORE)
}

pub(crate) fn zip(entries: &[(&str, &[u8])], method: rawzip::CompressionMethod) -> Vec<u8> {
    let mut archive = rawzip::ZipArchiveWriter::new(Vec::new());
    for (name, bytes) in entries {
        let (mut entry, config) = archive
            .new_file(name)
            .compression_method(method)
            .start()
            .unwrap();
        let mut writer = config.wrap(&mut entry);
        writer.write_all(bytes).unwrap();
        let (_, descriptor) = writer.finish().unwrap();
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap()
}

/// A folder as a trainer leaves it: two shards with their index, an optimizer, a tokenizer, the trainer's state.
pub(crate) fn checkpoint(dir: &Path) {
    let first = [
        tensor("wte.weight", &[64, 8], 1),
        tensor("h.0.bias", &[8], 2),
    ];
    let second = [tensor("lm_head.weight", &[8, 64], 3)];
    write(
        dir,
        "model-00001-of-00002.safetensors",
        &safetensors(&first),
    );
    write(
        dir,
        "model-00002-of-00002.safetensors",
        &safetensors(&second),
    );
    let index = serde_json::json!({
        "metadata": {"total_size": 4128},
        "weight_map": {
            "wte.weight": "model-00001-of-00002.safetensors",
            "h.0.bias": "model-00001-of-00002.safetensors",
            "lm_head.weight": "model-00002-of-00002.safetensors",
        },
    });
    write(
        dir,
        "model.safetensors.index.json",
        index.to_string().as_bytes(),
    );
    let optimizer = torch_zip(&[
        ("optimizer/data.pkl", b"\x80\x02}q\x00."),
        ("optimizer/byteorder", b"little"),
        ("optimizer/data/0", &[1; 4_000]),
        ("optimizer/data/1", &[2; 64]),
        ("optimizer/version", b"3\n"),
    ]);
    write(dir, "optimizer.pt", &optimizer);
    write(dir, "config.json", b"{\"model_type\":\"gpt2\"}");
    write(dir, "tokenizer/tokenizer.json", b"{}");
    write(dir, "trainer_state.json", b"{\"global_step\":500}");
}

pub(crate) fn write(dir: &Path, name: &str, bytes: &[u8]) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

pub(crate) fn always() -> Options<'static> {
    Options {
        tensors: Tensors::Always,
        ..Options::default()
    }
}

pub(crate) fn hash(dir: &Path) -> Result<Manifest, WeightsError> {
    weights::manifest(&Source::open(dir).unwrap(), &always())
}

/// One file by itself.
pub(crate) fn hash_one(name: &str, bytes: &[u8]) -> Result<Manifest, WeightsError> {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), name, bytes);
    hash(dir.path())
}

pub(crate) fn of(bytes: &[u8]) -> Sha256 {
    Sha256(<sha2::Sha256 as sha2::Digest>::digest(bytes).into())
}

/// Names and digests of a file's tensors or entries, by name.
pub(crate) fn parts(contents: &Contents) -> Vec<(String, Sha256)> {
    match contents {
        Contents::Plain => panic!("the file has no parts"),
        Contents::Safetensors { tensors, .. } => {
            let tensors = tensors.as_ref().unwrap().iter();
            tensors
                .map(|part| (part.name.clone(), part.sha256))
                .collect()
        }
        Contents::TorchZip { entries } => {
            let entries = entries.as_ref().unwrap().iter();
            entries
                .map(|part| (part.name.clone(), part.sha256))
                .collect()
        }
    }
}

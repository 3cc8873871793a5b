//! Indices of sharded models (`model.safetensors.index.json`, `pytorch_model.bin.index.json`): what they name has to be
//! there.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::error::WeightsError;
use crate::file::Laid;
use crate::layout::Form;

/// An index of a hundred thousand tensors has some ten million bytes.
const MAX_INDEX_BYTES: u64 = 64 << 20;
const SUFFIXES: [&str; 2] = [".safetensors.index.json", ".bin.index.json"];

#[derive(Deserialize)]
struct Index {
    /// Tensor to file.
    weight_map: BTreeMap<String, String>,
}

/// Marks indices that name files which are not there, or tensors that are not in them.
pub(crate) fn check(files: &mut [Laid]) -> Result<(), WeightsError> {
    for at in 0..files.len() {
        let file = &files[at];
        if !SUFFIXES.iter().any(|suffix| file.name.ends_with(suffix)) {
            continue;
        }
        let fault = if file.state.bytes > MAX_INDEX_BYTES {
            Some(format!("it has {} bytes", file.state.bytes))
        } else {
            let bytes = std::fs::read(&file.path).map_err(|e| WeightsError::io(&file.path, e))?;
            one(&file.name, &bytes, files).err()
        };
        files[at].fault = fault;
    }
    Ok(())
}

fn one(name: &str, bytes: &[u8], files: &[Laid]) -> Result<(), String> {
    let index: Index = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut tensors: BTreeMap<&str, Option<BTreeSet<&str>>> = BTreeMap::new();
    for (tensor, shard) in &index.weight_map {
        let path = if folder.is_empty() {
            shard.clone()
        } else {
            format!("{folder}/{shard}")
        };
        if !tensors.contains_key(shard.as_str()) {
            let Ok(at) = files.binary_search_by(|file| file.name.cmp(&path)) else {
                return Err(format!("it names {shard}, which is not there"));
            };
            tensors.insert(shard, named(&files[at]));
        }
        if let Some(Some(in_shard)) = tensors.get(shard.as_str())
            && !in_shard.contains(tensor.as_str())
        {
            return Err(format!(
                "it says that tensor {tensor} is in {shard}, and it is not"
            ));
        }
    }
    Ok(())
}

/// The tensors of a shard, where they can be known without reading a pickle.
fn named(shard: &Laid) -> Option<BTreeSet<&str>> {
    matches!(shard.layout.form, Form::Safetensors { .. })
        .then(|| shard.layout.parts.iter().map(|part| &*part.name).collect())
}

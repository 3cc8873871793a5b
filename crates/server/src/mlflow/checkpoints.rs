//! Files that clients hand over one at a time, as the model checkpoints they make up: when the run
//! ends, each folder that holds weights becomes a `model.checkpoint` with all of its files.
//!
//! Not sooner: nobody says when a folder is complete. Each file is recorded by itself at once
//! (`artifact.logged`).

use std::collections::{BTreeMap, BTreeSet};

use record::Draft;
use record::kinds::{ModelCheckpoint, ModelFile};

use super::view::{Artifact, View};

/// The most files in a record.
const MAX_FILES: usize = 256;
/// The most characters of a file's name in a record.
const MAX_NAME_CHARS: usize = 128;
/// What the run's own folder is called.
const ROOT: &str = "artifacts";
/// How files that hold weights end.
const WEIGHTS: [&str; 10] = [
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".gguf",
    ".onnx",
    ".pkl",
    ".joblib",
    ".msgpack",
];

/// The checkpoints in a run's files that are not recorded yet.
pub(crate) fn drafts(view: &View) -> Vec<Draft> {
    let open: BTreeMap<&str, &Artifact> = view
        .artifacts
        .iter()
        .filter(|(_, file)| !file.sealed)
        .map(|(path, file)| (path.as_str(), file))
        .collect();
    let mut folders = BTreeSet::new();
    for path in open.keys().filter(|path| is_weights(path)) {
        folders.insert(path.rsplit_once('/').map_or("", |(folder, _)| folder));
    }
    // A folder within another that holds weights is part of it.
    let outer: Vec<&str> = folders
        .iter()
        .filter(|folder| !folders.iter().any(|other| is_within(folder, other)))
        .copied()
        .collect();
    outer
        .into_iter()
        .flat_map(|folder| checkpoints(folder, &open, view))
        .collect()
}

fn checkpoints(folder: &str, open: &BTreeMap<&str, &Artifact>, view: &View) -> Vec<Draft> {
    let files: Vec<ModelFile> = open
        .iter()
        .filter_map(|(path, file)| {
            let name = within(path, folder)?;
            let fits = (1..=MAX_NAME_CHARS).contains(&name.chars().count());
            fits.then(|| ModelFile::new(file.bytes, name.to_owned(), file.sha256))
        })
        .collect();
    let name = if folder.is_empty() { ROOT } else { folder };
    let many = files.chunks(MAX_FILES).enumerate();
    many.filter_map(|(at, files)| {
        let name = if at == 0 {
            name.to_owned()
        } else {
            format!("{name} ({})", at + 1)
        };
        let fits = name.chars().count() <= MAX_NAME_CHARS;
        if !fits || view.checkpoints.contains(&name) {
            return None;
        }
        let mut body = ModelCheckpoint::new(files.to_vec(), name);
        body.step = step_of(folder);
        Some(Draft::new(body))
    })
    .collect()
}

fn is_weights(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_lowercase();
    WEIGHTS.iter().any(|end| name.ends_with(end))
}

/// Whether `folder` lies in `other`. In the run's own folder lies only what stands in it directly.
fn is_within(folder: &str, other: &str) -> bool {
    !other.is_empty()
        && folder
            .strip_prefix(other)
            .is_some_and(|rest| rest.starts_with('/'))
}

fn within<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    if folder.is_empty() {
        return (!path.contains('/')).then_some(path);
    }
    path.strip_prefix(folder)?.strip_prefix('/')
}

/// The step in a folder's name: `checkpoint-500`, `global_step_40`.
fn step_of(folder: &str) -> Option<u64> {
    let name = folder.rsplit('/').next()?;
    let digits = name.trim_start_matches(|c: char| !c.is_ascii_digit());
    let before = name.strip_suffix(digits)?.trim_end_matches(['-', '_']);
    let step = ["checkpoint", "global_step", "step"].contains(&before);
    step.then(|| digits.parse().ok())
        .flatten()
        .filter(|step| *step <= record::MAX_INTEGER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::Sha256;

    fn view(paths: &[&str]) -> View {
        let mut view = View::default();
        for path in paths {
            let file = Artifact {
                bytes: 1,
                sha256: Sha256(tlog::sha256(path.as_bytes())),
                sealed: path.contains(' '),
            };
            view.artifacts.insert((*path).to_owned(), file);
        }
        view
    }

    #[test]
    fn folders_with_weights_are_checkpoints_with_all_their_files() {
        let view = view(&[
            "checkpoint-500/model.safetensors",
            "checkpoint-500/config.json",
            "checkpoint-500/optimizer/state.pt",
            "checkpoint-500/notes of ann.txt",
            "plots/reward.png",
            "adapter.bin",
            "readme.md",
        ]);
        assert_eq!(drafts(&view).len(), 2);
        let many: Vec<String> = (0..300).map(|n| format!("m/{n}.bin")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(drafts(&self::view(&many)).len(), 2);
        assert!(drafts(&self::view(&["plots/reward.png"])).is_empty());
    }

    #[test]
    fn what_is_recorded_is_not_recorded_again() {
        let mut view = view(&["checkpoint-500/model.safetensors"]);
        view.checkpoints.insert("checkpoint-500".to_owned());
        assert!(drafts(&view).is_empty());
    }

    #[test]
    fn a_folder_may_say_its_step() {
        for (folder, step) in [
            ("checkpoint-500", Some(500)),
            ("a/global_step_40", Some(40)),
            ("step7", Some(7)),
            ("model-3", None),
            ("checkpoint", None),
            ("checkpoint-99999999999999999999", None),
            ("", None),
        ] {
            assert_eq!(step_of(folder), step, "{folder}");
        }
    }
}

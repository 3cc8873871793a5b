//! What it costs to hash a model file by file and tensor by tensor, beside SHA-256 alone of the same files on all cores.
//!
//! ```sh
//! cargo bench -p rlhf-audit-weights --bench manifest            # 64 MB, to see that it works
//! WEIGHTS_BYTES=2000000000 cargo bench -p rlhf-audit-weights --bench manifest
//! ```
//!
//! `WEIGHTS_DIR` chooses the disk, `WEIGHTS_ROUNDS` how often each is run (5), in turns; `WEIGHTS_COLD=1` has the files read
//! from the disk each time, else they are in the page cache. Medians are printed, the shortest times, and the ratio of either.

use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use sha2::{Digest as _, Sha256};
use weights::{Options, Source, Tensors};

/// Tensors in a file: as many as the layers of a model of some billion parameters have.
const TENSORS: u64 = 200;

fn main() {
    let bytes = setting("WEIGHTS_BYTES", 64_000_000);
    let rounds = setting("WEIGHTS_ROUNDS", 5).max(1);
    let cold = setting("WEIGHTS_COLD", 0) > 0;
    let below = std::env::var_os("WEIGHTS_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    println!(
        "{:.1} GB of safetensors in {}, {}; {threads} cores, medians of {rounds}",
        bytes as f64 / 1e9,
        below.display(),
        if cold {
            "read from the disk"
        } else {
            "in the page cache"
        },
    );
    println!(
        "{:<10} {:<28} {:>8} {:>8} {:>8} {:>7} {:>7}",
        "", "", "median", "best", "GB/s", "ratio", "of best"
    );
    for files in [1, 4] {
        let dir = tempfile::tempdir_in(&below).expect("a directory for the model");
        let model = Model::make(dir.path(), files, bytes);
        model.measure(rounds, cold);
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is `{value}`; expected a number"))
    })
}

/// A way to hash a model.
type Run<'a> = &'a dyn Fn(&Model);

/// A model in so many files.
struct Model {
    source: Source,
    files: Vec<PathBuf>,
    bytes: u64,
}

impl Model {
    fn make(dir: &Path, files: u64, bytes: u64) -> Self {
        let paths: Vec<_> = (1..=files)
            .map(|n| dir.join(format!("model-{n:05}-of-{files:05}.safetensors")))
            .collect();
        for (seed, path) in (1..).zip(&paths) {
            safetensors(path, bytes / files, seed).expect("room for the model");
        }
        fs::write(dir.join("config.json"), b"{}").expect("room for the model");
        let size = |path: &PathBuf| fs::metadata(path).map_or(0, |found| found.len());
        Self {
            source: Source::Folder(dir.to_path_buf()),
            bytes: paths.iter().map(size).sum(),
            files: paths,
        }
    }

    fn measure(&self, rounds: u64, cold: bool) {
        let hash = |tensors| {
            move |model: &Self| {
                let options = Options {
                    tensors,
                    ..Options::default()
                };
                weights::manifest(&model.source, &options).expect("a model that is whole");
            }
        };
        let (default, always, never) = (
            hash(Tensors::WhereCheap),
            hash(Tensors::Always),
            hash(Tensors::Never),
        );
        let runs: [(&str, Run<'_>); 4] = [
            ("SHA-256 alone, all cores", &Self::sha256_alone),
            ("manifest, as it comes", &default),
            ("manifest, with all tensors", &always),
            ("manifest, without tensors", &never),
        ];
        let mut times = vec![Vec::new(); runs.len()];
        for _ in 0..rounds {
            for ((_, run), times) in runs.iter().zip(&mut times) {
                self.warm(cold);
                let began = Instant::now();
                run(self);
                times.push(began.elapsed());
            }
        }
        let times: Vec<_> = times.iter_mut().map(|times| summed(times)).collect();
        let (alone, files) = (times[0], self.files.len());
        for ((name, _), (median, best)) in runs.iter().zip(times) {
            println!(
                "{files} file{:<4} {name:<28} {median:>8.3} {best:>8.3} {:>8.2} {:>7.2} {:>7.2}",
                if files > 1 { "s" } else { "" },
                self.bytes as f64 / 1e9 / median,
                median / alone.0,
                best / alone.1,
            );
        }
    }

    /// Every file's SHA-256 and nothing else, a thread a file.
    fn sha256_alone(&self) {
        let next = AtomicUsize::new(0);
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut buffer = vec![0; 256 << 10];
                    while let Some(path) = self.files.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let mut file = File::open(path).expect("a file of the model");
                        let mut hasher = Sha256::new();
                        loop {
                            match file.read(&mut buffer).expect("a file of the model") {
                                0 => break,
                                read => hasher.update(&buffer[..read]),
                            }
                        }
                        std::hint::black_box(hasher.finalize());
                    }
                });
            }
        });
    }

    /// Brings the files into the page cache, or takes them out.
    fn warm(&self, cold: bool) {
        let mut buffer = vec![0; 1 << 20];
        for path in &self.files {
            let mut file = File::open(path).expect("a file of the model");
            if cold {
                fadvise(&file, 0, None, Advice::DontNeed).expect("files that can be read anew");
            } else {
                while file.read(&mut buffer).expect("a file of the model") > 0 {}
            }
        }
    }
}

/// The median and the shortest, in seconds.
fn summed(times: &mut [Duration]) -> (f64, f64) {
    times.sort_unstable();
    (times[times.len() / 2].as_secs_f64(), times[0].as_secs_f64())
}

/// Writes a file of about so many bytes, which no two files have in common, and has it on the disk.
fn safetensors(path: &Path, bytes: u64, seed: u64) -> std::io::Result<()> {
    let elements = bytes / TENSORS / 4;
    let mut header = String::from("{");
    for n in 0..TENSORS {
        let comma = if n > 0 { "," } else { "" };
        let (begin, end) = (n * elements * 4, (n + 1) * elements * 4);
        let tensor = format!(
            "{comma}\"model.layers.{n}.weight\":{{\"dtype\":\"F32\",\"shape\":[{elements}],\"data_offsets\":[{begin},{end}]}}"
        );
        header.push_str(&tensor);
    }
    header += "}";
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let mut state = seed;
    for _ in 0..TENSORS * elements {
        // SplitMix64's increment; what the numbers are makes no difference to a hash.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        file.write_all(&((state >> 32) as u32).to_le_bytes())?;
    }
    file.into_inner()?.sync_all()
}

//! Whether a directory will be gone with the container, the pod or the machine's power, as mountinfo in proc(5) has it.

use std::path::{Path, PathBuf};

use crate::location::LocationArgs;

/// File systems that are memory.
const MEMORY: [&str; 2] = ["tmpfs", "ramfs"];
/// File systems that lay a container's own layer over its image.
const LAYERS: [&str; 4] = ["overlay", "aufs", "fuse-overlayfs", "fuse.fuse-overlayfs"];
/// Files and variables by which container engines and platforms can be told.
const CONTAINER_FILES: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];
const CONTAINER_VARIABLES: [&str; 3] = [
    "KUBERNETES_SERVICE_HOST",
    "ECS_CONTAINER_METADATA_URI_V4",
    "K_SERVICE",
];

/// What of a ledger is on a disk that will vanish, and why it will; `None` where everything stays.
pub(crate) fn of_ledger(location: &LocationArgs) -> Option<String> {
    let shared = location.database_url.is_some() && location.objects.is_some();
    let (what, dir) = if shared {
        ("the log's keys are", location.data_dir.join("keys"))
    } else {
        ("the ledger is", location.data_dir.clone())
    };
    let why = of_directory(&dir)?;
    Some(format!(
        "{what} in {}, {why}; mount a volume there, or what is recorded is lost with it",
        location.data_dir.display()
    ))
}

/// Why a directory will vanish, if it will.
pub(crate) fn of_directory(dir: &Path) -> Option<&'static str> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = Mount::over(&nearest(dir), &mounts)?;
    mount.vanishing(is_container())
}

/// The directory, or the nearest above it that is there, without links.
fn nearest(dir: &Path) -> PathBuf {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let there = absolute
        .ancestors()
        .find_map(|path| path.canonicalize().ok());
    there.unwrap_or_else(|| PathBuf::from("/"))
}

fn is_container() -> bool {
    CONTAINER_FILES.iter().any(|file| Path::new(file).exists())
        || CONTAINER_VARIABLES
            .iter()
            .any(|variable| std::env::var_os(variable).is_some())
}

/// One line of mountinfo.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// The directory of the file system that is mounted.
    root: String,
    /// Where.
    point: PathBuf,
    is_writable: bool,
    kind: String,
}

impl Mount {
    /// The mount that a directory is on; of several at one place the last hides the others.
    fn over(dir: &Path, mountinfo: &str) -> Option<Self> {
        mountinfo
            .lines()
            .filter_map(Self::parse)
            .filter(|mount| dir.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count())
    }

    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let root = unescaped(fields.next()?);
        let point = PathBuf::from(unescaped(fields.next()?));
        let mut options = fields.next()?.split(',');
        Some(Self {
            root,
            point,
            is_writable: options.any(|option| option == "rw"),
            kind: after.split(' ').next()?.to_owned(),
        })
    }

    fn vanishing(&self, in_container: bool) -> Option<&'static str> {
        if !self.is_writable {
            // An image's own content, or a secret that the orchestrator mounts.
            return None;
        }
        if MEMORY.contains(&self.kind.as_str()) {
            return Some("in memory, which goes with the machine or the container");
        }
        if LAYERS.contains(&self.kind.as_str()) || (in_container && self.point == Path::new("/")) {
            return Some("a container's own layer, which goes with the container");
        }
        if self.root.contains("/kubernetes.io~empty-dir/") {
            return Some("an emptyDir, which goes with the pod");
        }
        if self.is_anonymous_volume() {
            return Some("a volume without a name, which no other container will find");
        }
        None
    }

    /// A volume that the engine made since the image asks for one and nobody mounted any.
    fn is_anonymous_volume(&self) -> bool {
        let mut parts = self.root.rsplit('/');
        let docker = parts.next() == Some("_data")
            && parts.next().is_some_and(is_random_name)
            && parts.next() == Some("volumes");
        let containerd = self.root.contains("/io.containerd.grpc.v1.cri/containers/")
            && self.root.contains("/volumes/");
        docker || containerd
    }
}

/// As engines name what nobody named.
fn is_random_name(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Space, tab, newline and backslash are octal in mountinfo.
fn unescaped(field: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(field.to_owned(), |text, (code, character)| {
        text.replace(code, character)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A container as Docker makes it, with a named volume, one without a name, and a secret.
    const DOCKER: &str = "\
730 619 0:52 / / rw,relatime master:255 - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
731 730 0:55 / /proc rw,nosuid - proc proc rw
740 730 254:0 /var/lib/docker/volumes/audit/_data /data rw,relatime master:1 - ext4 /dev/vda rw
741 730 254:0 /lib/volumes/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef/_data /anonymous rw - ext4 /dev/vda rw
742 730 0:60 / /run/secrets ro,relatime - tmpfs tmpfs rw
743 730 0:61 / /memory rw - tmpfs tmpfs rw
744 730 254:0 /srv/my\\040data /with\\040space rw - ext4 /dev/vda rw
745 743 254:0 /srv/disk /memory/disk rw - xfs /dev/vdb rw
746 730 254:0 /var/lib/kubelet/pods/1-2/volumes/kubernetes.io~empty-dir/scratch /scratch rw - ext4 /dev/vda rw
747 730 254:0 /var/lib/containerd/io.containerd.grpc.v1.cri/containers/ab/volumes/cd /image rw - ext4 /dev/vda rw";

    fn of(dir: &str) -> Option<&'static str> {
        Mount::over(Path::new(dir), DOCKER).unwrap().vanishing(true)
    }

    #[test]
    fn what_goes_with_a_container_is_told_from_what_stays() {
        for stays in [
            "/data",
            "/data/ledger",
            "/with space/x",
            "/memory/disk",
            "/run/secrets/keys",
        ] {
            assert_eq!(of(stays), None, "{stays}");
        }
        for (goes, why) in [
            ("/", "own layer"),
            ("/database", "own layer"),
            ("/memory", "in memory"),
            ("/anonymous/x", "without a name"),
            ("/image", "without a name"),
            ("/scratch", "emptyDir"),
        ] {
            let said = of(goes).unwrap_or_default();
            assert!(said.contains(why), "{goes}: {said}");
        }
    }

    #[test]
    fn a_root_file_system_goes_with_a_container_of_any_kind_and_stays_on_a_machine() {
        let root = "21 1 254:0 / / rw,relatime shared:1 - 9p none rw";
        let mount = Mount::over(Path::new("/data"), root).unwrap();
        assert_eq!(mount.vanishing(false), None);
        assert!(mount.vanishing(true).is_some());
    }

    #[test]
    fn lines_that_are_none_are_passed_over() {
        for line in ["", "1 2 3", "a - b", "1 2 3:4 / - ext4", " - "] {
            assert_eq!(Mount::parse(line), None, "{line}");
        }
    }
}

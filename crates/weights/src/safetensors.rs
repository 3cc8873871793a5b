//! The safetensors format: eight bytes with the length of a header, the header in JSON, and the tensors' bytes one after
//! the other. Read as <https://github.com/huggingface/safetensors> describes it, and no more generously: what its own
//! reader refuses is refused here.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use record::Sha256;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use sha2::Digest as _;

use crate::layout::{Form, Layout, LayoutError, Part, malformed};

/// The most bytes of a header, as the format has it.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// The bytes of the header's length.
const LENGTH_BYTES: u64 = 8;
/// The most characters of a tensor's name, and dimensions of its shape.
const MAX_NAME_BYTES: usize = 4_096;
const MAX_DIMENSIONS: usize = 64;

/// What a header says of a tensor.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    dtype: String,
    shape: Vec<u64>,
    /// From the end of the header.
    data_offsets: [u64; 2],
}

pub(crate) fn layout(file: &File, bytes: u64) -> Result<Layout, LayoutError> {
    if bytes < LENGTH_BYTES {
        return malformed(format!(
            "it has {bytes} bytes, and its header's length alone takes 8"
        ));
    }
    let mut length = [0; LENGTH_BYTES as usize];
    read_at(file, &mut length, 0)?;
    let stated = u64::from_le_bytes(length);
    if stated > MAX_HEADER_BYTES {
        return malformed(format!(
            "its header is said to have {stated} bytes, and the most is {MAX_HEADER_BYTES}"
        ));
    }
    let begin = LENGTH_BYTES + stated;
    if begin > bytes {
        return malformed(format!(
            "its header is said to have {stated} bytes, and {} follow",
            bytes - LENGTH_BYTES
        ));
    }
    let mut header = vec![0; stated as usize];
    read_at(file, &mut header, LENGTH_BYTES)?;
    let mut hasher = sha2::Sha256::new_with_prefix(length);
    hasher.update(&header);
    let parts = parse(&header, begin, bytes).or_else(malformed)?;
    Ok(Layout {
        form: Form::Safetensors {
            header: Sha256(hasher.finalize().into()),
        },
        parts,
    })
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(buffer, offset)
}

/// The tensors of a header, whose bytes go from `begin` to `end` of the file without a gap.
fn parse(header: &[u8], begin: u64, end: u64) -> Result<Vec<Part>, String> {
    if header.first() != Some(&b'{') {
        return Err("its header does not begin with `{`".to_owned());
    }
    let Header(described) =
        serde_json::from_slice(header).map_err(|error| format!("its header: {error}"))?;
    let mut parts = Vec::with_capacity(described.len());
    for (name, tensor) in described {
        check(&tensor).map_err(|why| format!("tensor {name}: {why}"))?;
        let [from, to] = tensor.data_offsets;
        let place = |offset: u64| begin.checked_add(offset);
        let (Some(begin), Some(end)) = (place(from), place(to)) else {
            return Err(format!("tensor {name}: its offsets {from}..{to} cannot be"));
        };
        parts.push(Part {
            name,
            begin,
            end,
            tensor: Some((tensor.dtype, tensor.shape)),
        });
    }
    parts.sort_unstable_by(|a, b| (a.begin, a.end, &a.name).cmp(&(b.begin, b.end, &b.name)));
    let mut at = begin;
    for part in &parts {
        if part.begin != at {
            return Err(format!(
                "tensor {} begins at byte {}, and what is before it ends at {at}",
                part.name, part.begin
            ));
        }
        at = part.end;
    }
    if at != end {
        return Err(format!(
            "its tensors end at byte {at}, and the file at {end}"
        ));
    }
    Ok(parts)
}

/// Whether type, shape and offsets go together.
fn check(tensor: &Described) -> Result<(), String> {
    let Described {
        dtype,
        shape,
        data_offsets: [from, to],
    } = tensor;
    let known = !dtype.is_empty()
        && dtype.len() <= 32
        && dtype
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if !known {
        return Err(format!("`{}` is no type", dtype.escape_debug()));
    }
    if shape.len() > MAX_DIMENSIONS {
        return Err(format!("it has {} dimensions", shape.len()));
    }
    let bytes = to
        .checked_sub(*from)
        .ok_or_else(|| format!("it ends at {to}, before it begins at {from}"))?;
    // A type that came later than this code: its bytes are hashed all the same.
    let Some(bits) = bits(dtype) else {
        return Ok(());
    };
    let expected = shape
        .iter()
        .try_fold(bits, |bits, dimension| bits.checked_mul(*dimension))
        .filter(|bits| bits % 8 == 0)
        .map(|bits| bits / 8);
    if expected == Some(bytes) {
        return Ok(());
    }
    Err(format!(
        "{dtype} of the shape {shape:?} does not take the {bytes} bytes of its offsets {from}..{to}"
    ))
}

/// How many bits an element has.
fn bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ"
        | "F8_E5M2FNUZ" => 8,
        "I16" | "U16" | "F16" | "BF16" => 16,
        "I32" | "U32" | "F32" => 32,
        "I64" | "U64" | "F64" | "C64" => 64,
        _ => return None,
    })
}

/// A header's tensors by name; each name once.
struct Header(BTreeMap<String, Described>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut tensors = BTreeMap::new();
                let mut metadata = false;
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        // Texts by name; the header's digest covers them.
                        map.next_value::<BTreeMap<String, String>>()?;
                        if std::mem::replace(&mut metadata, true) {
                            return Err(A::Error::custom("`__metadata__` is there twice"));
                        }
                        continue;
                    }
                    if name.len() > MAX_NAME_BYTES {
                        return Err(A::Error::custom("a tensor's name is over 4,096 bytes"));
                    }
                    let described = map.next_value()?;
                    if let Some(_before) = tensors.insert(name.clone(), described) {
                        return Err(A::Error::custom(format_args!(
                            "tensor {} is there twice",
                            name.escape_debug()
                        )));
                    }
                }
                Ok(Header(tensors))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

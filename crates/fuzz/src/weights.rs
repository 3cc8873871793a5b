//! Files of weights: where their tensors and entries are.

use weights::fuzzing::parts;

/// A safetensors file, or a torch checkpoint, by how it begins: parts are within it and none over another, and tensors
/// leave no byte out.
pub fn weights(data: &[u8]) {
    let torch = data.starts_with(b"PK");
    let name = if torch { "a.pt" } else { "a.safetensors" };
    let Ok(Some(parts)) = parts(name, data) else {
        return;
    };
    let mut at = 0;
    for part in &parts {
        assert!(part.start <= part.end, "a part that ends before it begins");
        assert!(at <= part.start, "a part over another");
        at = part.end;
    }
    assert!(at <= data.len() as u64, "a part beyond the end");
    if !torch {
        let header = parts.first().map_or(data.len() as u64, |part| part.start);
        let tensors: u64 = parts.iter().map(|part| part.end - part.start).sum();
        assert_eq!(header + tensors, data.len() as u64, "a byte of nobody");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_the_corpus_are_found() {
        let tensors = include_bytes!("../../../fuzz/corpus/weights/two-tensors");
        assert_eq!(parts("a.safetensors", tensors).unwrap().unwrap().len(), 2);
        let torch = include_bytes!("../../../fuzz/corpus/weights/torch");
        assert_eq!(parts("a.pt", torch).unwrap().unwrap().len(), 5);
        let large = include_bytes!("../../../fuzz/corpus/weights/torch-zip64");
        assert_eq!(parts("a.pt", large).unwrap().unwrap().len(), 1);
    }
}

//! Lists in sentences.

/// `a`, `a or b`, `a, b or c`.
pub(crate) fn either<T: AsRef<str>>(words: &[T]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::either;

    #[test]
    fn the_last_word_follows_an_or() {
        assert_eq!(either::<&str>(&[]), "");
        assert_eq!(either(&["reader"]), "reader");
        assert_eq!(either(&["reader", "admin"]), "reader or admin");
        assert_eq!(
            either(&["reader", "auditor", "admin"]),
            "reader, auditor or admin"
        );
    }
}

//! What names say: of fields, whether they hold a prompt; of questions that are answered in free
//! text, what the text is. Platforms have no types for that, only names that people gave.

/// The most characters of a short text in a body.
const MAX_TEXT: usize = 128;

/// What free text is, by its question's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The judged response as it should have been.
    Correction,
    /// A response that the person wrote.
    Demonstration,
    /// Why the person judged so.
    Rationale,
    /// None of these: a remark.
    Remark,
}

const PROMPT: [&str; 8] = [
    "prompt",
    "instruction",
    "question",
    "query",
    "input",
    "context",
    "conversation",
    "history",
];
const CORRECTION: [&str; 5] = ["correct", "rewrit", "edit", "revis", "improve"];
const RATIONALE: [&str; 7] = [
    "rationale",
    "reason",
    "why",
    "explain",
    "explanation",
    "justif",
    "motivation",
];
const DEMONSTRATION: [&str; 4] = ["response", "answer", "completion", "demonstration"];

const REMARK: [&str; 5] = ["comment", "critique", "feedback", "issue", "problem"];

/// What the free text that answers a question of this name is.
pub(super) fn role(question: &str) -> Role {
    let name = question.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if says(&CORRECTION) {
        Role::Correction
    } else if says(&REMARK) {
        Role::Remark
    } else if says(&RATIONALE) {
        Role::Rationale
    } else if says(&DEMONSTRATION) {
        Role::Demonstration
    } else {
        Role::Remark
    }
}

/// Whether a field of this name holds what is answered, not the answer.
pub(super) fn is_prompt(field: &str) -> bool {
    let name = field.to_lowercase();
    PROMPT.iter().any(|word| name.contains(word)) || name == "system" || name == "user"
}

/// Whether a body can hold the text as it is.
pub(super) fn is_text(text: &str) -> bool {
    let fits = |c: char| !matches!(c, '\0'..='\u{1f}' | '\u{7f}');
    !text.is_empty() && text.chars().count() <= MAX_TEXT && text.chars().all(fits)
}

/// A name as a category, or `other` where a body cannot hold it.
pub(super) fn category(name: &str) -> String {
    if is_text(name) { name } else { "other" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_text_is() {
        for (name, expected) in [
            ("corrected_response", Role::Correction),
            ("Rewrite", Role::Correction),
            ("rewritten", Role::Correction),
            ("reason_for_answer", Role::Rationale),
            ("answer", Role::Demonstration),
            ("response-1-feedback", Role::Remark),
        ] {
            assert_eq!(role(name), expected, "{name}");
        }
        assert!(is_prompt("user_prompt") && is_prompt("Question") && !is_prompt("response-1"));
    }

    #[test]
    fn what_a_body_cannot_hold_is_no_category() {
        assert_eq!(category("toxic"), "toxic");
        assert_eq!(category(&"x".repeat(129)), "other");
        assert_eq!(category("a\nb"), "other");
        assert_eq!(category(""), "other");
    }
}

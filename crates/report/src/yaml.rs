//! Texts in YAML, for the metadata that model hubs read at the beginning of a card.

use std::fmt::{self, Write};

/// A text as a double-quoted YAML scalar on one line ([YAML 1.2.2 §7.3.1]), which no content of it
/// can end.
///
/// [YAML 1.2.2 §7.3.1]: https://yaml.org/spec/1.2.2/#731-double-quoted-style
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                // What YAML does not allow as it stands, and what would hide in an editor.
                c if c.is_control()
                    || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
                    || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}') =>
                {
                    write!(f, "\\u{:04x}", u32::from(c))?;
                }
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_the_quotes_or_the_line() {
        assert_eq!(
            Quoted("a\"b\\\n---\n\u{85}é").to_string(),
            r#""a\"b\\\n---\n\u0085é""#
        );
    }
}

//! Escaping for what templates print: a name in a record may say anything.

use std::fmt::{self, Write};

use askama::filters::Escaper;

/// Text and attribute values of HTML and SVG.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page;

impl Escaper for Page {
    fn write_escaped_str<W: Write>(&self, mut dest: W, string: &str) -> fmt::Result {
        for character in string.chars() {
            match character {
                '&' => dest.write_str("&amp;")?,
                '<' => dest.write_str("&lt;")?,
                '>' => dest.write_str("&gt;")?,
                '"' => dest.write_str("&quot;")?,
                '\'' => dest.write_str("&#39;")?,
                _ => write_visible(&mut dest, character)?,
            }
        }
        Ok(())
    }
}

/// Text of GitHub-flavoured Markdown, table cells included: one line, no mark-up, no HTML.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Markdown;

impl Escaper for Markdown {
    fn write_escaped_str<W: Write>(&self, mut dest: W, string: &str) -> fmt::Result {
        for character in string.chars() {
            match character {
                '&' => dest.write_str("&amp;")?,
                '<' => dest.write_str("&lt;")?,
                '>' => dest.write_str("&gt;")?,
                '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' | '!' => {
                    dest.write_char('\\')?;
                    dest.write_char(character)?;
                }
                _ => write_visible(&mut dest, character)?,
            }
        }
        Ok(())
    }
}

/// Line breaks become spaces; what would not be seen, or would change the order in which the rest
/// is read (Unicode's bidirectional controls), becomes U+FFFD.
fn write_visible<W: Write>(dest: &mut W, character: char) -> fmt::Result {
    let shown = match character {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}'
        | '\u{fffe}'
        | '\u{ffff}' => '\u{fffd}',
        other if other.is_control() => '\u{fffd}',
        other => other,
    };
    dest.write_char(shown)
}

/// A text escaped for [`Page`], for the plots, which are no templates.
pub(crate) fn page(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    // Writing to a String cannot fail.
    let _ = Page.write_escaped_str(&mut escaped, text);
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_hostile_name_survives() {
        let name = "<script>alert('x')</script> & \"q\"\n\u{202e}evil\u{7}";
        assert_eq!(
            page(name),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;q&quot; \u{fffd}evil\u{fffd}"
        );
        let mut text = String::new();
        Markdown
            .write_escaped_str(&mut text, "a|b `c` [d](e) <f>\n# g ![h](i)")
            .unwrap();
        assert_eq!(text, "a\\|b \\`c\\` \\[d\\](e) &lt;f&gt; # g \\!\\[h\\](i)");
    }
}

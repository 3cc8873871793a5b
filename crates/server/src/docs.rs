//! `/docs`: the OpenAPI document as one page a person can read, with nothing fetched and nothing
//! run. It is rendered from the document that `/openapi.json` serves, so the two cannot differ.

mod page;
mod schema;

use std::fmt::Write as _;

pub(crate) use page::render;

/// `/`: what this is, with links.
pub(crate) fn index(origin: &str) -> String {
    include_str!("docs/index.html").replace("{{origin}}", &escape(origin))
}

/// Makes text safe between tags and in quoted attributes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// The little of Markdown that doc comments use: paragraphs, `code` and lists.
fn prose(text: &str) -> String {
    let mut out = String::new();
    for block in text
        .split("\n\n")
        .map(str::trim)
        .filter(|block| !block.is_empty())
    {
        if block.lines().all(|line| line.starts_with("- ")) {
            let items = block
                .lines()
                .map(|line| format!("<li>{}</li>", code(&line[2..])));
            let _ = write!(out, "<ul>{}</ul>", items.collect::<String>());
        } else if let Some(example) = block
            .strip_prefix("```")
            .and_then(|b| b.strip_suffix("```"))
        {
            let example = example.split_once('\n').map_or(example, |(_, rest)| rest);
            let _ = write!(out, "<pre>{}</pre>", escape(example));
        } else {
            let _ = write!(out, "<p>{}</p>", code(block));
        }
    }
    out
}

fn code(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts
        .map(|(at, part)| {
            if at % 2 == 1 {
                format!("<code>{}</code>", escape(part))
            } else {
                escape(part)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_never_becomes_markup() {
        assert_eq!(escape("<a b='c'>&\""), "&lt;a b=&#39;c&#39;&gt;&amp;&quot;");
        assert_eq!(
            prose("see `<b>`\n\n- one\n- `two`"),
            "<p>see <code>&lt;b&gt;</code></p><ul><li>one</li><li><code>two</code></li></ul>"
        );
        assert_eq!(
            index("<origin>").matches("&lt;origin&gt;").count(),
            1,
            "the origin is shown, escaped"
        );
        assert_eq!(
            prose("```json\n{\"a\":1}\n```"),
            "<pre>{&quot;a&quot;:1}\n</pre>"
        );
    }

    #[test]
    fn every_operation_and_schema_is_on_the_page_once() {
        let document: serde_json::Value = serde_json::from_str(&crate::openapi_json()).unwrap();
        let page = render(&document, crate::catalogue::PROBLEMS);
        let operations = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|item| {
                item.as_object()
                    .unwrap()
                    .values()
                    .map(|o| o["operationId"].as_str().unwrap())
            });
        let schemas = document["components"]["schemas"]
            .as_object()
            .unwrap()
            .keys();
        let anchors = operations
            .map(str::to_owned)
            .chain(schemas.map(|s| format!("schema-{s}")));
        let mut count = 0;
        for anchor in anchors {
            assert_eq!(
                page.matches(&format!("id=\"{anchor}\"")).count(),
                1,
                "{anchor}"
            );
            count += 1;
        }
        assert!(count > crate::ROUTES.len(), "{count}");
    }

    #[test]
    fn pages_fetch_and_run_nothing() {
        let document: serde_json::Value = serde_json::from_str(&crate::openapi_json()).unwrap();
        for page in [
            render(&document, crate::catalogue::PROBLEMS),
            index("an.origin/x"),
        ] {
            for foreign in ["<script", "src=", "<link", "@import", "url("] {
                assert!(!page.contains(foreign), "{foreign}");
            }
        }
    }
}

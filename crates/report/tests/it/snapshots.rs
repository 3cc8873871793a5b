//! What a card looks like. After a wanted change: `cargo insta review`, or `INSTA_UPDATE=always`.

use crate::runs::{bare, whole};

#[test]
fn the_card_in_markdown() {
    insta::assert_snapshot!("whole.md", whole().card().markdown().unwrap());
}

#[test]
fn the_card_as_a_page() {
    insta::assert_snapshot!("whole.html", whole().card().html().unwrap());
}

#[test]
fn the_card_as_json() {
    insta::assert_snapshot!("whole.json", whole().card().json().unwrap());
}

#[test]
fn the_card_of_a_bare_run() {
    insta::assert_snapshot!("bare.md", bare("a bare run").card().markdown().unwrap());
}

/// Nothing is loaded and nothing runs. The page is left in the target directory's `tmp`, to be
/// looked at with a browser.
#[test]
fn the_page_needs_nothing_from_elsewhere() {
    for (name, card) in [
        ("whole", whole().card()),
        ("bare", bare("a bare run").card()),
    ] {
        let page = card.html().unwrap();
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(path.with_extension("html"), &page).unwrap();
        let page = page.replace("http://www.w3.org/2000/svg", "");
        for from_elsewhere in [
            "http:", "https:", "//", "url(", "src=", "href=", "@import", "<script", "<link",
        ] {
            assert!(!page.contains(from_elsewhere), "{name}: {from_elsewhere}");
        }
    }
}

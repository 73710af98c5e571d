//! `docs/description.md` is what the table says. `RAMFORGE_BLESS=1` writes it anew.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

#[test]
fn the_page_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/description.md");
    let page = description::table::markdown();
    if std::env::var_os("RAMFORGE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page,
        "docs/description.md is old: RAMFORGE_BLESS=1 cargo test -p description"
    );
}

//! `docs/description.md` and `schema/description.json` are what the table says. `RAMFORGE_BLESS=1` writes
//! them anew.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

fn is_current(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("RAMFORGE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "{file} is old: RAMFORGE_BLESS=1 cargo test -p description"
    );
}

#[test]
fn the_page_is_what_the_table_says() {
    is_current("../../docs/description.md", &description::table::markdown());
}

#[test]
fn the_schema_is_what_the_table_says() {
    is_current(
        "schema/description.json",
        &description::table::json_schema(),
    );
}

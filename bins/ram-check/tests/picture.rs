//! The picture of a verdict, in letters and as SVG: goldens, and what must hold for every verdict.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::path::Path;

use manifest::{Section, Verdict};
use ram_check::Picture;
use ram_check::model::{Facts, left_mib, needs};

const MIB: u64 = 1 << 20;

fn verdict(data_mib: u64, asked_ram_mib: Option<u64>) -> Verdict {
    let facts = Facts {
        image_bytes: data_mib * 2 * MIB,
        data_bytes: data_mib * MIB,
        zram_bytes: data_mib * MIB / 3,
        erofs_bytes: Some(data_mib * MIB / 4),
        entries: 10_000,
        ramdisk_bytes: data_mib * 4 * MIB,
        resize: true,
        reserved_bytes: 0,
        huge_pages_bytes: 0,
        kernel_bytes: 40 * MIB,
        initrd_packed: 30 * MIB,
        initrd_unpacked: 90 * MIB,
        initramfs_is_system: true,
        initramfs_is_tmpfs: true,
        reserve_bytes: ram_deploy::ram::RESERVE_BYTES,
        measured: None,
    };
    let mut stores = needs(&facts, Some("brd"));
    for need in &mut stores {
        need.left_mib = asked_ram_mib.and_then(|ram| left_mib(need, ram));
    }
    Verdict {
        format: Verdict::FORMAT,
        by: String::new(),
        ok: true,
        least_ram_mib: stores[0].least_ram_mib,
        sentence: String::new(),
        warnings: Vec::new(),
        asked_ram_mib,
        asked_leave_mib: None,
        machines: Vec::new(),
        stores,
        working_set: None,
        measured: None,
        proof: None,
    }
}

/// Compares with a file of `tests/goldens`; RAMFORGE_BLESS=1 writes it anew.
fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/goldens")
        .join(name);
    if std::env::var_os("RAMFORGE_BLESS").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{name} is not:\n{found}");
}

#[test]
fn in_letters() {
    let text = Picture::of(&verdict(400, Some(640))).lines().join("\n") + "\n";
    golden("picture.txt", &text);
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
}

#[test]
fn as_svg() {
    golden("picture.svg", &Picture::of(&verdict(400, Some(640))).svg());
}

#[test]
fn the_svg_is_xml_and_its_bars_are_whole() {
    for data_mib in [0, 1, 400, 100_000, 1 << 30] {
        for ram in [None, Some(1), Some(640), Some(u64::MAX)] {
            let svg = Picture::of(&verdict(data_mib, ram)).svg();
            let document =
                roxmltree::Document::parse(&svg).unwrap_or_else(|e| panic!("{e}: {svg}"));
            let groups = document
                .descendants()
                .filter(|n| n.has_tag_name(("http://www.w3.org/2000/svg", "g")));
            let mut bars = 0;
            for group in groups {
                let number =
                    |n: roxmltree::Node, name| n.attribute(name).unwrap().parse::<u64>().unwrap();
                let rects = group.children().filter(|n| n.tag_name().name() == "rect");
                let mut at = 90;
                for rect in rects {
                    assert_eq!(number(rect, "x"), at, "{svg}");
                    at += number(rect, "width");
                }
                assert!(at > 90 && at <= 850, "{at} in {svg}");
                bars += 1;
            }
            assert_eq!(bars, 4);
        }
    }
}

#[test]
fn nothing_to_show_is_no_reason_to_fail() {
    let mut empty = verdict(1, None);
    empty.stores.clear();
    assert_eq!(Picture::of(&empty).lines().len(), 1);
    assert!(roxmltree::Document::parse(&Picture::of(&empty).svg()).is_ok());
}

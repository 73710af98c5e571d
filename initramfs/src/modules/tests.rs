use std::io::Write;

use store::tree::{Entry, Kind};

use super::*;

const DIR: &str = "usr/lib/modules/6.1";
const DEP: &str = "\
kernel/fs/isofs/isofs.ko: kernel/drivers/cdrom/cdrom.ko
kernel/drivers/cdrom/cdrom.ko:
kernel/drivers/scsi/sr_mod.ko: kernel/drivers/cdrom/cdrom.ko kernel/drivers/scsi/scsi_mod.ko kernel/drivers/scsi/scsi_common.ko
kernel/drivers/scsi/scsi_mod.ko: kernel/drivers/scsi/scsi_common.ko
kernel/drivers/scsi/scsi_common.ko:
kernel/drivers/block/brd.ko.zst:
kernel/drivers/net/huge.ko:
";

fn tree(store: &Store) -> Tree {
    let mut tree = Tree::default();
    let mut add = |path: &str, bytes: &[u8]| {
        let path = format!("{DIR}/{path}");
        tree.insert_parents(&path, 1);
        tree.insert(Entry {
            path,
            kind: Kind::File(store.put(bytes).unwrap()),
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 1,
            xattrs: Default::default(),
        });
    };
    add("modules.dep", DEP.as_bytes());
    add("modules.builtin", b"kernel/fs/ext4/ext4.ko\n");
    add("modules.alias", b"alias scsi:t-0x05* sr_mod\n");
    for line in DEP.lines() {
        let file = line.split(':').next().unwrap();
        let bytes = format!("module {}", module_name(file));
        match file.ends_with(".zst") {
            true => add(file, &zstd::bulk::compress(bytes.as_bytes(), 1).unwrap()),
            false => add(file, bytes.as_bytes()),
        }
    }
    tree
}

fn kernel() -> Kernel<'static> {
    Kernel {
        release: "6.1",
        modules: DIR,
    }
}

#[test]
fn modules_come_after_their_needs_and_without_compression() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let base = Base {
        modules: BTreeMap::from([(Digest::of(b"module cdrom"), "lib/cdrom.ko".to_owned())]),
        ..Base::default()
    };
    let carried = carry(&store, &tree(&store), kernel(), &base, Extras::default()).unwrap();
    let names: Vec<_> = carried
        .list
        .modules
        .iter()
        .map(|m| m.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["scsi_common", "scsi_mod", "cdrom", "sr_mod", "brd", "isofs"]
    );
    assert_eq!(carried.list.modules[2].path, "lib/cdrom.ko");
    assert!(
        carried
            .files
            .iter()
            .all(|(path, _)| !path.contains("cdrom"))
    );
    let brd = carried
        .files
        .iter()
        .find(|(path, _)| path.ends_with("/brd.ko"))
        .unwrap();
    assert_eq!(brd.1, b"module brd");
    assert_eq!(carried.list.modules[5].when, When::Asked);
    assert_eq!(carried.list.modules[3].when, When::Always);
}

#[test]
fn drivers_of_network_cards_are_carried_where_they_are_wanted() {
    let dependencies = parse_dep(
        "kernel/net_failover.ko:\nkernel/virtio_net.ko: kernel/net_failover.ko\nkernel/brd.ko:\nkernel/overlay.ko:\n",
    );
    let soft = HashMap::new();
    let with = order(
        &dependencies,
        &soft,
        Extras {
            network: true,
            erofs: true,
        },
    );
    assert_eq!(with, ["brd", "overlay", "net_failover", "virtio_net"]);
    assert_eq!(order(&dependencies, &soft, Extras::default()), ["brd"]);
    assert_eq!(when("virtio_net"), When::Device);
}

#[test]
fn a_kernel_without_brd_is_refused() {
    let dependencies = parse_dep("kernel/fs/isofs/isofs.ko:\n");
    let text = check_required(&dependencies, "kernel/fs/ext4.ko\n", kernel())
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("the kernel 6.1 has no module brd"),
        "{text}"
    );
}

#[test]
fn every_compression_of_modules_is_undone() {
    let xz = {
        let mut out = liblzma::write::XzEncoder::new(Vec::new(), 6);
        out.write_all(b"module").unwrap();
        out.finish().unwrap()
    };
    let gz = {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(b"module").unwrap();
        out.finish().unwrap()
    };
    let zst = zstd::bulk::compress(b"module", 1).unwrap();
    for (name, bytes) in [
        ("a.ko.xz", xz),
        ("a.ko.gz", gz),
        ("a.ko.zst", zst),
        ("a.ko", b"module".to_vec()),
    ] {
        assert_eq!(plain(name, bytes).unwrap(), b"module", "{name}");
    }
    assert!(plain("a.ko.xz", b"module".to_vec()).is_err());
}

#[test]
fn soft_dependencies_come_before() {
    let dependencies =
        parse_dep("kernel/ext4.ko: kernel/jbd2.ko\nkernel/jbd2.ko:\nkernel/crc32c_generic.ko:\n");
    let soft = parse_softdep("# comment\nsoftdep ext4 pre: crc32c_generic absent post: jbd2\n");
    let found = ordered("ext4", &dependencies, &soft);
    assert_eq!(found, ["crc32c_generic", "jbd2", "ext4"]);
    let needs = all_needs("ext4", &dependencies["ext4"].1, &dependencies, &soft);
    assert_eq!(needs, ["crc32c_generic", "jbd2"]);
}

fn ordered(
    name: &str,
    dependencies: &Dependencies,
    soft: &HashMap<String, Vec<String>>,
) -> Vec<String> {
    let mut order = Vec::new();
    add(name, dependencies, soft, &mut BTreeSet::new(), &mut order);
    order
}

#[test]
fn cycles_end() {
    let dependencies = parse_dep("a.ko: b.ko\nb.ko:\nc.ko: d.ko\nd.ko: c.ko\n");
    let soft = parse_softdep("softdep b pre: a\nsoftdep a pre: a\n");
    assert_eq!(ordered("a", &dependencies, &soft), ["b", "a"]);
    assert_eq!(ordered("c", &dependencies, &soft), ["d", "c"]);
}

#[test]
fn names_have_underscores() {
    assert_eq!(module_name("kernel/a/usb-storage.ko.xz"), "usb_storage");
    assert_eq!(module_name("virtio-blk"), "virtio_blk");
}

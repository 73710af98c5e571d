//! What every field of every key is called: the one table of words.
//!
//! A row names a place by the fields that lead to it; `*` stands for any one name, and `{0}`, `{1}` in the words
//! for the names that stood there. Fields of the manifest are called the same in every stage that reads them.

use Word::{Changed, Chunks, Follows, Item, Object, Packages, Tree, Value, Version};

/// How a difference is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// `X was 1, is 5`.
    Value(&'static str),
    /// `X changed`: a digest, a secret, or what is too long to be shown.
    Changed(&'static str),
    /// `X changed`, `is new`, `is gone`: the content of a file.
    Object(&'static str),
    /// A listing of files, compared path by path: what one file of it is called, and the whole.
    Tree(&'static str, &'static str),
    /// A chunk map, compared chunk by chunk.
    Chunks(&'static str),
    /// `X is new`, `is gone`: a member of a list; the word for one and for more.
    Item(&'static str, &'static str),
    /// A list of packages with their versions.
    Packages,
    /// The version of a stage or of a part of one.
    Version,
    /// What follows from other fields: told only where nothing else differs. As [`Word::Changed`].
    Follows(&'static str),
}

// A table: one row a line.
#[rustfmt::skip]
const FIELDS: &[(&str, Word)] = &[
    ("version", Version),
    ("options.public_key", Value("the option --public-key")),
    ("options.machines.*", Item("machine", "machines")),
    ("options.machines.*.name", Value("the name of machine {0}")),
    ("options.machines.*.ram_mib", Value("the RAM of machine {0} in MiB")),
    ("options.machines.*.leave_mib", Value("what machine {0} must leave to applications in MiB")),
    ("options.*", Value("the option --{0}")),
    ("tools.*", Changed("the host's program {0}")),

    ("input.plan.name", Value("the image's name")),
    ("input.plan.version", Value("the image's version")),
    ("input.plan.arch", Value("the architecture")),
    ("input.plan.profiles.*", Item("profile", "profiles")),
    ("input.plan.package_manager", Value("the package manager")),
    ("input.plan.packages.bootstrap.*", Item("bootstrap package", "bootstrap packages")),
    ("input.plan.packages.image.*", Item("package", "packages")),
    ("input.plan.packages.delete.*", Item("package to delete", "packages to delete")),
    ("input.plan.packages.uninstall.*", Item("package to uninstall", "packages to uninstall")),
    ("input.plan.repositories.*", Item("repository", "repositories")),
    ("input.plan.repositories.*.uri", Value("the address of repository {0}")),
    ("input.plan.repositories.*.type", Value("the type of repository {0}")),
    ("input.plan.repositories.*.priority", Value("the priority of repository {0}")),
    ("input.plan.repositories.*.distribution", Value("the distribution of repository {0}")),
    ("input.plan.repositories.*.components", Value("the components of repository {0}")),
    ("input.plan.repositories.*.signature_check", Value("the signature check of repository {0}")),
    ("input.plan.repositories.*.imageinclude", Value("imageinclude of repository {0}")),
    ("input.plan.repositories.*.imageonly", Value("imageonly of repository {0}")),
    ("input.plan.repositories.*.keys.*", Object("a signing key of repository {0}")),
    ("input.plan.repositories.*.keys.*.object", Object("a signing key of repository {0}")),
    ("input.plan.users.*", Item("account", "accounts")),
    ("input.plan.users.*.password", Changed("the password of account {0}")),
    ("input.plan.users.*.id", Value("the id of account {0}")),
    ("input.plan.users.*.groups.*", Item("group of account {0}:", "groups of account {0}:")),
    ("input.plan.users.*.home", Value("the home directory of account {0}")),
    ("input.plan.users.*.shell", Value("the shell of account {0}")),
    ("input.plan.users.*.realname", Value("the comment of account {0}")),
    ("input.plan.locale", Value("the locale")),
    ("input.plan.keytable", Value("the keymap")),
    ("input.plan.timezone", Value("the time zone")),
    ("input.plan.overlay", Tree("the overlay file", "the overlay")),
    ("input.plan.scripts.config", Object("config.sh")),
    ("input.plan.scripts.images", Object("images.sh")),
    ("input.plan.source_date_epoch", Value("SOURCE_DATE_EPOCH")),
    ("input.plan.disk.size", Value("the disk's size")),
    ("input.plan.disk.size.value", Value("the disk's size")),
    ("input.plan.disk.size.unit", Value("the unit of the disk's size")),
    ("input.plan.disk.size.additive", Value("whether the disk's size is added to the least size")),
    ("input.plan.disk.root_label", Value("the root's label")),
    ("input.plan.disk.efi_mib", Value("the ESP's size in MiB")),
    ("input.plan.disk.resize", Value("growing of the root (oem-resize)")),
    ("input.plan.bootloader.name", Value("the boot loader")),
    ("input.plan.bootloader.timeout", Value("the boot menu's timeout")),
    ("input.plan.bootloader.console", Value("the boot menu's console")),
    ("input.plan.bootloader.serial_line", Value("the boot menu's serial line")),
    ("input.plan.bootloader.title", Value("the boot menu's title")),
    ("input.plan.kernelcmdline", Value("the kernel command line")),
    ("input.plan.ramdisk", Value("the RAM disk")),
    ("input.plan.ramdisk.size_kib", Value("the RAM disk's size in KiB")),
    ("input.plan.ramdisk.device", Value("the RAM disk's device")),
    ("input.plan.oem.resize", Value("growing of the root (oem-resize)")),
    ("input.plan.type.volid", Value("the volume id")),
    ("input.plan.type.installboot", Value("the boot menu's preselected entry")),
    ("input.plan.type.image", Value("the image type")),
    ("input.plan.type.filesystem", Value("the root's file system")),
    ("input.plan.type.firmware", Value("the firmware")),
    ("input.plan.type.installiso", Value("whether an ISO is wanted (installiso)")),
    ("input.plan.type.installpxe", Value("whether a network boot set is wanted (installpxe)")),
    ("input.plan.type.initrd_system", Value("the tool that makes the initramfs")),
    ("input.plan.type.attributes.*", Value("the attribute {0} of <type>")),
    ("input.plan.oem.unattended", Value("oem-unattended")),
    ("input.plan.oem.unattended_id", Value("oem-unattended-id")),
    ("input.plan.oem.skip_verify", Value("oem-skip-verify")),
    ("input.plan.oem.elements.*", Value("the element <{0}>")),
    ("input.plan.overrides.*", Changed("an option of desc-parse")),
    ("input.plan.overrides.*.*", Changed("an option of desc-parse")),

    ("input.rootfs.tree", Tree("", "the root tree")),
    ("input.rootfs.kernel.release", Value("the kernel's release")),
    ("input.rootfs.kernel.image", Object("the kernel")),
    ("input.rootfs.kernel.path", Value("the kernel's path")),
    ("input.rootfs.kernel.modules", Value("the modules' directory")),
    ("input.rootfs.initramfs", Object("the base initramfs")),
    ("input.rootfs.source_date_epoch", Value("the image's time stamp")),
    ("input.disk.map", Chunks("the disk image")),
    ("input.disk.size", Value("the disk image's length in bytes")),
    ("input.disk.data_bytes", Follows("the disk image's used bytes")),
    ("input.disk.erofs", Changed("the EROFS image")),
    ("input.disk.erofs.map", Chunks("the disk image with the EROFS image behind it")),
    ("input.disk.erofs.offset", Follows("the place of the EROFS image")),
    ("input.disk.erofs.size", Follows("the EROFS image's length in bytes")),
    ("input.disk.erofs.data_bytes", Follows("the EROFS image's used bytes")),
    ("input.disk.partitions.*", Item("partition", "partitions")),
    ("input.disk.partitions.*.number", Follows("the number of a partition")),
    ("input.disk.partitions.*.role", Value("the role of partition {0}")),
    ("input.disk.partitions.*.offset", Follows("the place of partition {0}")),
    ("input.disk.partitions.*.size", Follows("the size of partition {0}")),
    ("input.disk.partitions.*.guid", Follows("the GUID of partition {0}")),
    ("input.disk.partitions.*.filesystem", Value("the file system of partition {0}")),
    ("input.disk.partitions.*.filesystem.kind", Value("the file system of partition {0}")),
    ("input.disk.partitions.*.filesystem.uuid", Follows("the UUID of partition {0}")),
    ("input.disk.partitions.*.filesystem.label", Value("the label of partition {0}")),
    ("input.initrd.image", Object("the initrd")),
    ("input.initrd.image.size", Value("the initrd's length in bytes")),
    ("input.initrd.segments.*", Item("segment of the initrd:", "segments of the initrd:")),
    ("input.initrd.public_key", Follows("the key that the initramfs asks for")),
    ("input.initrd.deploy_id", Follows("the id that ties initrd and medium")),
    ("input.rootfs.entries", Value("the number of entries in the root tree")),
    ("input.initrd.zram_bytes", Value("the bytes that the root takes in a zram")),
    ("input.initrd.unpacked_bytes", Value("the initrd's unpacked length in bytes")),
    ("input.media.iso", Object("the medium")),
    ("input.media.kernelcmdline", Value("the medium's kernel command line")),
];

// A table: one row a line. Stage, or stage and part; the field; its word.
#[rustfmt::skip]
const OWN: &[(&str, &str, Word)] = &[
    ("rootfs-assemble", "identity.metadata.*", Item("metadata of the repositories:", "metadata of the repositories:")),
    ("rootfs-assemble", "identity.lock", Changed("the lock")),
    ("rootfs-assemble", "identity.network", Value("whether scripts have a network")),
    ("raw-image", "identity.loader.*", Changed("GRUB's modules of the host for {0}")),
    ("raw-image", "identity.ram-deploy", Changed("the program ram-deploy")),
    ("initrd-inject", "identity.ram-deploy", Changed("the program ram-deploy")),
    ("iso-pack", "identity.*", Changed("GRUB's modules of the host for {0}")),
    ("ram-check", "identity.accelerator", Value("QEMU's accelerator")),
    ("ram-check", "identity.firmware", Changed("the firmware for QEMU")),

    ("rootfs-assemble/resolve", "program", Changed("the host's program apt-get")),
    ("rootfs-assemble/resolve", "metadata.*", Item("metadata of the repositories:", "metadata of the repositories:")),
    ("rootfs-assemble/tree", "packages", Packages),
    ("rootfs-assemble/tree", "network", Value("whether scripts have a network")),
    ("rootfs-assemble/tree", "image.profile.*", Value("the scripts' variable {0}")),
    ("rootfs-assemble/tree", "image.sources.*", Item("package source that the image keeps:", "package sources that the image keeps:")),
    ("rootfs-assemble/tree", "image.sources.*.text", Changed("the package source {0} that the image keeps")),
    ("rootfs-assemble/tree", "image.sources.*.keys.*", Object("the keyring {1} that the image keeps")),
    ("rootfs-assemble/base tree", "packages", Packages),
    ("rootfs-assemble/initramfs", "arguments.*", Item("argument of dracut:", "arguments of dracut:")),
    ("rootfs-assemble/initramfs", "tree", Tree("", "what dracut reads")),
    ("initrd-inject/zram", "map", Object("the disk's chunk map")),
    ("initrd-inject/zram", "offset", Value("where the root begins, in bytes")),
    ("initrd-inject/zram", "size", Value("the root's size in bytes")),
    ("initrd-inject/segment", "archive", Changed("what the segment holds")),
    ("initrd-inject/segment", "method", Value("how the segment is compressed")),
    ("initrd-inject/segment", "zstd", Value("the version of zstd")),
    ("raw-image/segment", "archive", Changed("what the segment of the disk's initramfs holds")),
    ("raw-image/segment", "method", Value("how the segment of the disk's initramfs is compressed")),
    ("raw-image/segment", "zstd", Value("the version of zstd")),
    ("raw-image/file system", "added.*", Object("{0}")),
    ("raw-image/file system", "uuid", Changed("the root's UUID")),
    ("raw-image/file system", "size", Value("the root's size in bytes")),
    ("raw-image/file system", "level", Value("the option --level")),
    ("raw-image/file system", "zstd", Value("the version of zstd")),
    ("raw-image/erofs", "added.*", Object("{0}")),
    ("raw-image/erofs", "uuid", Changed("the UUID of the EROFS image")),
    ("raw-image/erofs", "compression", Value("what compresses the EROFS image")),
    ("raw-image/erofs", "compressor", Value("the version of what compresses the EROFS image")),
    ("raw-image/erofs", "level", Value("the option --level")),
    ("raw-image/erofs", "zstd", Value("the version of zstd")),
    ("ram-check/boot", "facts.version", Version),
    ("ram-check/boot", "facts.medium", Object("the medium")),
    ("ram-check/boot", "facts.qemu", Changed("the host's program qemu-system-x86_64")),
    ("ram-check/boot", "facts.identity.accelerator", Value("QEMU's accelerator")),
    ("ram-check/boot", "facts.identity.firmware", Changed("the firmware for QEMU")),
    ("ram-check/boot", "facts.up", Value("the option --up")),
    ("ram-check/boot", "facts.login", Value("who logs in")),
    ("ram-check/boot", "facts.store", Value("the option --store")),
    ("ram-check/boot", "facts.figures", Value("the version of what is read inside")),
    ("ram-check/boot", "ram_mib", Value("the machine's RAM in MiB")),
    ("ram-check/working set", "version.*", Version),
    ("ram-check/working set", "tree", Tree("", "the root tree")),
    ("ram-check/working set", "kernel", Object("the kernel")),
    ("ram-check/working set", "initramfs_is_system", Value("whether a system runs in the initramfs")),
    ("ram-check/working set", "kernelcmdline.*", Item("word of the kernel command line:", "words of the kernel command line:")),
    ("ram-check/working set", "up", Value("the option --up")),
    ("ram-check/working set", "login", Value("who logs in")),
    ("*/grub", "core", Value("the kind of GRUB's image")),
    ("*/grub", "modules", Changed("a module of GRUB")),
    ("*/grub", "names.*", Item("module of GRUB's image:", "modules of GRUB's image:")),
    ("*/grub", "prefix", Value("where GRUB looks for its menu")),
    ("*/grub", "config", Changed("GRUB's first configuration")),
    ("*/grub", "tool", Changed("the host's program grub-mkimage")),
];

/// Fields of parts that are fields of the manifest: part, how it begins there, how it begins here.
const SAME: &[(&str, &str, &str)] = &[
    ("rootfs-assemble/resolve", "arch", "input.plan.arch"),
    (
        "rootfs-assemble/resolve",
        "bootstrap",
        "input.plan.packages.bootstrap",
    ),
    (
        "rootfs-assemble/resolve",
        "image",
        "input.plan.packages.image",
    ),
    (
        "rootfs-assemble/resolve",
        "repositories",
        "input.plan.repositories",
    ),
    ("rootfs-assemble/tree", "architecture", "input.plan.arch"),
    ("rootfs-assemble/tree", "image.name", "input.plan.name"),
    (
        "rootfs-assemble/tree",
        "image.overlay",
        "input.plan.overlay",
    ),
    ("rootfs-assemble/tree", "image.users", "input.plan.users"),
    ("rootfs-assemble/tree", "image.locale", "input.plan.locale"),
    (
        "rootfs-assemble/tree",
        "image.keytable",
        "input.plan.keytable",
    ),
    (
        "rootfs-assemble/tree",
        "image.timezone",
        "input.plan.timezone",
    ),
    (
        "rootfs-assemble/tree",
        "image.config",
        "input.plan.scripts.config",
    ),
    (
        "rootfs-assemble/tree",
        "image.images",
        "input.plan.scripts.images",
    ),
    (
        "rootfs-assemble/tree",
        "image.delete",
        "input.plan.packages.delete",
    ),
    (
        "rootfs-assemble/tree",
        "image.uninstall",
        "input.plan.packages.uninstall",
    ),
    (
        "rootfs-assemble/tree",
        "image.source_date_epoch",
        "input.plan.source_date_epoch",
    ),
    (
        "rootfs-assemble/base tree",
        "architecture",
        "input.plan.arch",
    ),
    (
        "rootfs-assemble/base tree",
        "epoch",
        "input.plan.source_date_epoch",
    ),
    (
        "rootfs-assemble/initramfs",
        "epoch",
        "input.rootfs.source_date_epoch",
    ),
    ("initrd-inject/base", "initramfs", "input.rootfs.initramfs"),
    ("raw-image/file system", "tree", "input.rootfs.tree"),
    (
        "raw-image/file system",
        "label",
        "input.plan.disk.root_label",
    ),
    (
        "raw-image/file system",
        "epoch",
        "input.rootfs.source_date_epoch",
    ),
    ("raw-image/erofs", "tree", "input.rootfs.tree"),
    ("raw-image/erofs", "epoch", "input.rootfs.source_date_epoch"),
];

/// The word for a field, and the names that `*` stood for. `place` is a stage, or `stage/part`.
pub fn word(place: &str, path: &[String]) -> Option<(Word, Vec<String>)> {
    let path = &in_manifest(place, path);
    let own = OWN.iter().filter(|row| is_place(row.0, place));
    let rows = own.map(|(_, pattern, word)| (*pattern, *word));
    rows.chain(FIELDS.iter().copied())
        .find_map(|(pattern, word)| Some((word, fits(pattern, path)?)))
}

/// A field of a part as the field of the manifest that it is, where it is one.
pub fn in_manifest(place: &str, path: &[String]) -> Vec<String> {
    let renamed = SAME.iter().filter(|row| row.0 == place).find_map(|row| {
        let own: Vec<&str> = row.1.split('.').collect();
        let begins = path.len() >= own.len() && own.iter().zip(path).all(|(a, b)| a == b);
        begins.then(|| {
            let manifest = row.2.split('.').map(str::to_owned);
            manifest.chain(path[own.len()..].iter().cloned()).collect()
        })
    });
    renamed.unwrap_or_else(|| path.to_vec())
}

fn is_place(row: &str, place: &str) -> bool {
    row == place || (row == "*/grub" && place.contains("/grub-"))
}

fn fits(pattern: &str, path: &[String]) -> Option<Vec<String>> {
    let parts: Vec<&str> = pattern.split('.').collect();
    if parts.len() != path.len() {
        return None;
    }
    let mut names = Vec::new();
    for (part, name) in parts.iter().zip(path) {
        match *part {
            "*" => names.push(name.clone()),
            part if part == name => {}
            _ => return None,
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn a_field_of_a_part_is_called_as_in_the_manifest() {
        let (found, names) =
            word("rootfs-assemble/tree", &path("image.users.alice.shell")).unwrap();
        assert_eq!(found, Value("the shell of account {0}"));
        assert_eq!(names, ["alice"]);
        assert_eq!(word("raw-image", &path("input.plan.nothing")), None);
        assert!(word("iso-pack/grub-i386-pc", &path("config")).is_some());
    }

    #[test]
    fn every_row_that_stands_for_another_leads_to_a_row() {
        for (place, own, manifest) in SAME {
            let known = FIELDS.iter().any(|row| row.0.starts_with(manifest));
            assert!(
                known,
                "{place}: {own} is called {manifest}, which has no word"
            );
        }
    }
}

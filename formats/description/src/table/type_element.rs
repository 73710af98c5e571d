//! `<type>` and what stands in it, apart from `<oemconfig>` and virtual machines.

use super::Often::{Any, Once, Some};
use super::Use::{Carried, Ignored, Note, Refused, Used};
use super::{ARCH, Attr, Element, Kind, attr, leaf, must, node, old};

const SEE: super::Use = Note("see its parent");
const OTHER_TYPE: super::Use = Ignored("it belongs to another image type");
const OTHER_FS: super::Use = Ignored("it belongs to another root file system");
const NO_LVM: &str =
    "a RAM root boots by a plain mount and switch_root; LVM needs its own start in the initramfs";
const NO_LUKS: &str = "a RAM root boots by a plain mount and switch_root; an encrypted root (LUKS) needs its own start in the initramfs, and RAM forgets by itself";
const NO_RAID: &str = "a RAM root boots by a plain mount and switch_root; a RAID root needs its own start in the initramfs";
const NO_OVERLAY: &str =
    "the root is an ordinary writable file system in RAM, no overlay is needed; leave it out";
const NO_VERITY: &str = "chunks are verified when they are deployed; dm-verity and dm-integrity roots need their own start in the initramfs";
const NO_PART: &str =
    "the disk has a BIOS boot partition, an ESP and the root; further partitions are not made";
const NO_CLONE: &str = "partitions are not cloned";
const NO_SNAPPER: super::Use = Ignored("it belongs to btrfs roots");

/// File systems that KIWI knows for the root.
const FILE_SYSTEMS: &[&str] = &["ext4", "ext3", "ext2", "btrfs", "xfs", "squashfs", "erofs"];
/// Image types that KIWI knows, older ones too.
const IMAGE_TYPES: &[&str] = &[
    "btrfs", "cpio", "docker", "ext2", "ext3", "ext4", "iso", "oem", "pxe", "kis", "squashfs",
    "erofs", "tbz", "xfs", "oci", "appx", "enclave", "wsl", "vmx", "clicfs",
];
/// Image types that some attributes are for.
const OEM: &[&str] = &["oem"];
const OEM_ISO: &[&str] = &["oem", "iso"];
const BOOTING: &[&str] = &["oem", "iso", "pxe", "kis"];
/// Boot loaders with GRUB's terminals.
const GRUBS: &[&str] = &["grub2", "grub2_s390x_emu"];
const LOADERS: &[&str] = &[
    "grub2",
    "grub2_s390x_emu",
    "systemd_boot",
    "custom",
    "zipl",
    "isolinux",
];
const OUTPUTS: &[&str] = &[
    "none", "console", "gfxterm", "serial", "vga_text", "mda_text", "morse", "spkmodem",
];
const INPUTS: &[&str] = &["none", "console", "serial", "at_keyboard", "usb_keyboard"];
/// The old `console=`: first word output, second word input.
const CONSOLES: &[&str] = &[
    "none",
    "console",
    "gfxterm",
    "serial",
    "vga_text",
    "mda_text",
    "morse",
    "spkmodem",
    "at_keyboard",
    "usb_keyboard",
];
const FORMATS: &[&str] = &[
    "gce",
    "ova",
    "qcow2",
    "vagrant",
    "vmdk",
    "vdi",
    "vhd",
    "vhdx",
    "vhd-fixed",
];

// A table: one row a line.
#[rustfmt::skip]
const TYPE: &[Attr] = &[
    must("image", Kind::OneOf(IMAGE_TYPES), Used("oem")),
    attr("primary", Kind::Bool, Used("the type that is built when --type does not say")),
    attr("filesystem", Kind::OneOf(FILE_SYSTEMS), Used("ext4")).only(BOOTING),
    attr("kernelcmdline", Kind::Free, Used("the kernel command line; rd.kiwi.ramdisk and ramdisk_size make it a RAM image")).only(&["oem", "iso", "pxe", "kis", "enclave"]),
    attr("installiso", Kind::Bool, Used("a hybrid ISO that deploys the system")).only(OEM),
    attr("installstick", Kind::Bool, Used("the same as installiso: the ISO boots from a stick")).only(OEM),
    attr("installpxe", Kind::Bool, Used("a network boot set that deploys the system")).only(OEM),
    attr("installboot", Kind::OneOf(&["failsafe-install", "harddisk", "install"]), Used("the entry of the boot menu that is chosen when nobody does; the deployment by default, where KIWI has the hard disk")).only(OEM),
    attr("installprovidefailsafe", Kind::Bool, Carried("whether the menu has a failsafe entry")).only(OEM),
    attr("install_continue_on_timeout", Kind::Bool, Carried("whether the menu goes on by itself")).only(OEM).since(7, 1),
    attr("initrd_system", Kind::OneOf(&["kiwi", "dracut", "none"]), Used("dracut")).only(&["oem", "pxe", "kis"]),
    attr("firmware", Kind::OneOf(&["bios", "ec2", "efi", "uefi", "ofw", "opal", "custom"]), Used("bios, efi and uefi; media boot under all of them")).only(&["oem", "pxe", "iso"]),
    attr("volid", Kind::VolumeId, Used("volume id of the ISO; INSTALL by default")).only(OEM_ISO),
    attr("rootfs_label", Kind::Text, Used("label of the root file system; ROOT by default")).only(&["oem", "pxe", "kis", "docker"]),
    attr("efipartsize", Kind::Natural, Used("size of the ESP in MiB")).only(OEM),
    attr("publisher", Kind::IsoText, Carried("publisher of the ISO")).only(&["iso"]).since(6, 9),
    attr("application_id", Kind::IsoText, Carried("application id of the ISO")).only(OEM_ISO).since(8, 2),
    attr("bundle_format", Kind::Text, Carried("pattern of result names")).since(7, 5),
    attr("metadata_path", Kind::Path, OTHER_TYPE).only(&["appx"]).since(7, 2),
    attr("archive", Kind::Bool, Ignored("the results are files, not an archive")).only(&["kis"]).since(8, 5),
    attr("compressed", Kind::Bool, Ignored("the payload of a medium is always compressed")).only(&["pxe", "kis"]),
    attr("mediacheck", Kind::Bool, Ignored("every chunk is verified at each deployment, so no menu entry for a check is needed")).only(&["iso"]).since(6, 9),
    attr("devicepersistency", Kind::OneOf(&["by-uuid", "by-label", "by-partuuid", "by-path"]), Ignored("the root is found by its UUID")),
    attr("editbootconfig", Kind::Path, Refused("scripts on the boot configuration are not run")).only(OEM_ISO),
    attr("editbootinstall", Kind::Path, Refused("scripts on the boot loader are not run")).only(OEM),
    attr("boot", Kind::Text, Refused("it names a KIWI boot image; use initrd_system=\"dracut\"")).only(&["oem", "pxe"]),
    attr("bootkernel", Kind::Text, OTHER_TYPE),
    attr("bootprofile", Kind::Text, OTHER_TYPE).only(&["oem", "iso", "pxe", "cpio"]),
    attr("bootpartition", Kind::Bool, Ignored("the kernel lies in the root, and on the medium")).only(OEM),
    attr("bootpartsize", Kind::Natural, Ignored("there is no boot partition")).only(OEM),
    attr("bootfilesystem", Kind::OneOf(&["btrfs", "ext2", "ext3", "ext4", "xfs", "fat32", "fat16"]), Ignored("there is no boot partition")).only(OEM),
    attr("efimountoptions", Kind::Text, Ignored("the ESP is not mounted in RAM")).only(OEM),
    attr("efifatimagesize", Kind::Natural, Ignored("the ESP image of the medium is made as large as it must be")).only(OEM_ISO).since(7, 5),
    attr("eficsm", Kind::Bool, Ignored("media boot under BIOS and UEFI")).only(OEM_ISO).since(8, 2),
    attr("efiparttable", Kind::OneOf(&["msdos", "gpt"]), Ignored("the disk has a GPT, which both firmwares boot")).only(OEM_ISO).since(6, 9),
    attr("dosparttable_extended_layout", Kind::Bool, Ignored("the disk has a GPT")).only(OEM).since(7, 5),
    attr("gpt_hybrid_mbr", Kind::Bool, Ignored("the disk has a GPT with a protective MBR, which BIOS boots")).only(OEM_ISO),
    attr("force_mbr", Kind::Bool, Refused("the disk has a GPT")).only(OEM),
    attr("apply_dps_codes", Kind::Bool, Ignored("partition types follow the Discoverable Partitions Specification anyway")).only(OEM),
    attr("eficsmpart_id", Kind::Natural, Ignored("partition numbers are fixed")).only(OEM).since(8, 4),
    attr("efipart_id", Kind::Natural, Ignored("partition numbers are fixed")).only(OEM).since(8, 4),
    attr("rootpart_id", Kind::Natural, Ignored("partition numbers are fixed")).only(OEM).since(8, 4),
    attr("bootpart_id", Kind::Natural, Ignored("partition numbers are fixed")).only(OEM).since(8, 4),
    attr("disk_start_sector", Kind::Integer, Ignored("partitions are aligned to 1 MiB")).only(OEM).since(6, 9),
    attr("target_blocksize", Kind::Natural, Ignored("sectors have 512 bytes; a RAM disk needs no other")).only(&["oem", "kis"]),
    attr("target_removable", Kind::Bool, Ignored("the boot loader is always at the removable path")).only(OEM),
    attr("fsmountoptions", Kind::Text, Carried("mount options of the root")),
    attr("fscreateoptions", Kind::Text, Ignored("the file system is made with fixed options, for reproducible bytes")).since(7, 1),
    attr("squashfscompression", Kind::OneOf(&["uncompressed", "gzip", "lzo", "lz4", "xz", "zstd"]), Ignored("the payload is zstd frames")).only(&["oem", "pxe", "kis", "iso", "squashfs"]).since(7, 2),
    attr("erofscompression", Kind::Text, OTHER_FS).only(&["oem", "pxe", "kis", "iso", "erofs"]).since(8, 2),
    attr("btrfs_quota_groups", Kind::Bool, NO_SNAPPER).only(OEM).since(6, 9),
    attr("btrfs_root_is_snapper_snapshot", Kind::Bool, NO_SNAPPER).only(OEM).since(8, 3),
    attr("btrfs_root_is_subvolume", Kind::Bool, NO_SNAPPER).only(OEM).since(7, 6),
    attr("btrfs_set_default_volume", Kind::Bool, NO_SNAPPER).only(OEM).since(7, 6),
    attr("btrfs_root_is_readonly_snapshot", Kind::Bool, NO_SNAPPER).only(OEM),
    attr("format", Kind::DiskFormat(FORMATS), Ignored("the disk is written raw; convert it with qemu-img")).only(OEM),
    attr("formatoptions", Kind::Text, Ignored("the disk is written raw")).only(OEM),
    attr("vhdfixedtag", Kind::Guid, OTHER_TYPE).only(OEM),
    attr("gcelicense", Kind::Text, OTHER_TYPE).only(OEM),
    attr("enclave_format", Kind::OneOf(&["aws-nitro"]), OTHER_TYPE).only(&["enclave"]).since(8, 2),
    attr("flags", Kind::OneOf(&["overlay", "dmsquash"]), OTHER_TYPE).only(&["iso"]),
    attr("hybridpersistent", Kind::Bool, OTHER_TYPE).only(&["iso", "pxe"]),
    attr("hybridpersistent_filesystem", Kind::OneOf(&["ext4", "xfs"]), OTHER_TYPE).only(&["iso", "pxe"]),
    attr("ramonly", Kind::Bool, OTHER_TYPE).only(OEM),
    attr("derived_from", Kind::Text, Refused("images are not built on other images")).only(&["docker", "oci", "oem"]),
    attr("delta_root", Kind::Bool, Refused("images are not built on other images")).only(&["docker", "oci"]).since(7, 5),
    attr("provide_system_files", Kind::Bool, OTHER_TYPE).only(&["docker", "oci"]).since(8, 3),
    attr("require_system_files", Kind::Bool, OTHER_TYPE).only(&["docker", "oci"]).since(8, 3),
    attr("ensure_empty_tmpdirs", Kind::Bool, Ignored("temporary directories are always left empty")).only(&["docker", "oci"]).since(7, 5),
    attr("xen_server", Kind::Bool, Refused("Xen needs a hypervisor before the kernel, which the medium does not load")).only(OEM).since(6, 9),
    attr("wwid_wait_timeout", Kind::Natural, Ignored("a RAM disk needs no waiting for its name")).only(OEM),
    attr("selinux_policy", Kind::OneOf(&["targeted", "mls", "minimum"]), Refused("SELinux labels are not written by this release")).since(7, 5),
    attr("luks", Kind::Free, Refused(NO_LUKS)).only(BOOTING),
    attr("luks_version", Kind::OneOf(&["luks", "luks1", "luks2"]), Refused(NO_LUKS)).since(7, 5),
    attr("luksOS", Kind::OneOf(&["sle12", "sle11"]), Refused(NO_LUKS)).only(BOOTING),
    attr("luks_randomize", Kind::Bool, Refused(NO_LUKS)).since(7, 6),
    attr("luks_pbkdf", Kind::OneOf(&["pbkdf2", "argon2i", "argon2id"]), Refused(NO_LUKS)).only(BOOTING).since(7, 6),
    attr("mdraid", Kind::OneOf(&["mirroring", "striping"]), Refused(NO_RAID)).only(OEM),
    attr("overlayroot", Kind::Bool, Refused(NO_OVERLAY)).only(OEM),
    attr("overlayroot_write_partition", Kind::Bool, Refused(NO_OVERLAY)).only(OEM).since(7, 5),
    attr("overlayroot_readonly_filesystem", Kind::OneOf(&["squashfs", "erofs"]), Refused(NO_OVERLAY)).only(OEM).since(8, 4),
    attr("overlayroot_readonly_partsize", Kind::Natural, Refused(NO_OVERLAY)).only(OEM).since(7, 5),
    attr("overlayroot_readonly_createoptions", Kind::Text, Refused(NO_OVERLAY)),
    attr("verity_blocks", Kind::Blocks, Refused(NO_VERITY)).only(OEM_ISO).since(7, 5),
    attr("embed_verity_metadata", Kind::Bool, Refused(NO_VERITY)).only(OEM).since(7, 5),
    attr("standalone_integrity", Kind::Bool, Refused(NO_VERITY)).only(OEM).since(7, 5),
    attr("embed_integrity_metadata", Kind::Bool, Refused(NO_VERITY)).only(OEM).since(7, 5),
    attr("integrity_legacy_hmac", Kind::Bool, Refused(NO_VERITY)).only(OEM).since(7, 5),
    attr("integrity_metadata_key_description", Kind::Text, Refused(NO_VERITY)).only(OEM).since(7, 5),
    attr("integrity_keyfile", Kind::Text, Refused(NO_VERITY)).only(OEM).since(7, 5),
    attr("spare_part", Kind::Size, Refused(NO_PART)).only(OEM),
    attr("spare_part_mountpoint", Kind::Text, Refused(NO_PART)).only(OEM).since(7, 1),
    attr("spare_part_fs", Kind::OneOf(&["btrfs", "ext2", "ext3", "ext4", "xfs"]), Refused(NO_PART)).only(OEM).since(7, 1),
    attr("spare_part_fs_attributes", Kind::List(&["no-copy-on-write", "synchronous-updates"]), Refused(NO_PART)).only(OEM).since(7, 2),
    attr("spare_part_is_last", Kind::Bool, Refused(NO_PART)).only(OEM).since(7, 1),
    attr("root_clone", Kind::Natural, Refused(NO_CLONE)).only(OEM).since(7, 5),
    attr("boot_clone", Kind::Natural, Refused(NO_CLONE)).only(OEM).since(7, 5),
    old("bootloader", Kind::OneOf(LOADERS), (7, 1), Option::Some("<bootloader name=…>"), Used("upgraded to <bootloader>")),
    old("bootloader_console", Kind::Words(CONSOLES), (7, 1), Option::Some("<bootloader console=…>"), Used("upgraded to <bootloader>")),
    old("boottimeout", Kind::Natural, (7, 1), Option::Some("<bootloader timeout=…>"), Used("upgraded to <bootloader>")),
    old("zipl_targettype", Kind::OneOf(&["FBA", "SCSI", "CDL", "LDL", "GPT"]), (7, 1), Option::Some("<bootloader targettype=…>"), Used("upgraded to <bootloader>")),
    old("btrfs_root_is_snapshot", Kind::Bool, (8, 2), Option::Some("btrfs_root_is_snapper_snapshot"), NO_SNAPPER),
    old("vga", Kind::Text, (8, 4), None, Ignored("KIWI dropped it after schema 8.4; the kernel takes vga= in kernelcmdline")),
    old("hybrid", Kind::Bool, (6, 8), None, Ignored("every ISO is hybrid")),
];

// A table: one row a line.
#[rustfmt::skip]
const BOOTLOADER: &[Attr] = &[
    must("name", Kind::OneOf(LOADERS), Used("grub2")),
    attr("timeout", Kind::Integer, Used("seconds until the chosen entry boots; 10 by default")).only(&["grub2", "grub2_s390x_emu", "systemd_boot", "zipl"]),
    attr("timeout_style", Kind::OneOf(&["countdown", "hidden", "menu"]), Carried("how the menu waits")).only(GRUBS),
    attr("output_console", Kind::Words(OUTPUTS), Used("GRUB's output terminals")).only(GRUBS).since(8, 4),
    attr("input_console", Kind::Words(INPUTS), Used("GRUB's input terminals")).only(GRUBS).since(8, 4),
    old("console", Kind::Words(CONSOLES), (8, 3), Option::Some("output_console"), Used("upgraded to output_console and input_console")),
    attr("serial_line", Kind::Text, Used("GRUB's serial command")).only(GRUBS),
    attr("video_mode", Kind::Text, Ignored("the boot menu is text")).only(GRUBS).since(8, 5),
    attr("bls", Kind::Bool, Ignored("the medium has its own GRUB configuration")).only(&["grub2"]).since(8, 2),
    attr("targettype", Kind::OneOf(&["FBA", "SCSI", "CDL", "GPT"]), Ignored("it belongs to zipl")).only(&["grub2", "grub2_s390x_emu", "zipl"]),
    attr("use_disk_password", Kind::Bool, Refused(NO_LUKS)).since(7, 6),
    attr("grub_template", Kind::Path, Refused("the GRUB configuration is not made from templates")).since(7, 5),
];

// A table: one row a line.
#[rustfmt::skip]
const NAME_VALUE: &[Attr] = &[must("name", Kind::Text, SEE), attr("value", Kind::Free, SEE)];

// A table: one row a line.
#[rustfmt::skip]
const PARTITION: &[Attr] = &[
    must("name", Kind::Text, SEE).since(7, 5),
    must("size", Kind::Size, SEE),
    attr("part_id", Kind::Natural, SEE).since(8, 4),
    attr("partition_name", Kind::VolumeId, SEE).since(7, 5),
    attr("partition_type", Kind::OneOf(&["t.linux", "t.raid"]), SEE).since(7, 5),
    attr("mountpoint", Kind::Text, SEE),
    attr("filesystem", Kind::OneOf(&["btrfs", "ext2", "ext3", "ext4", "squashfs", "xfs", "fat32", "fat16"]), SEE).since(7, 5),
    attr("label", Kind::Text, SEE).since(8, 4),
    attr("clone", Kind::Natural, SEE).since(7, 5),
];

// A table: one row a line.
#[rustfmt::skip]
const VOLUME: &[Attr] = &[
    must("name", Kind::Text, SEE),
    attr("copy_on_write", Kind::Bool, SEE),
    attr("quota", Kind::Size, SEE).since(8, 2),
    attr("filesystem_check", Kind::Bool, SEE).since(7, 4),
    attr("freespace", Kind::SizeOrAll, SEE),
    attr("mountpoint", Kind::Text, SEE),
    attr("label", Kind::Text, SEE).since(6, 9),
    attr("parent", Kind::Text, SEE).since(7, 6),
    attr("size", Kind::SizeOrAll, SEE),
    ARCH.since(8, 2),
];

// A table: one row a line.
#[rustfmt::skip]
pub(super) const ROWS: &[Element] = &[
    node("type", &[("preferences", Any)], TYPE, Used("one kind of image; --type, primary=\"true\" or the first one is built")),
    node("bootloader", &[("type", Once)], BOOTLOADER, Used("GRUB 2 on the medium and on the disk")).since(7, 2),
    node("bootloadersettings", &[("bootloader", Once)], &[], Ignored("the boot loader is set up by Ramforge itself, not by grub2-install")).since(7, 5),
    leaf("shimoption", &[("bootloadersettings", Any)], NAME_VALUE, SEE).since(7, 5),
    leaf("installoption", &[("bootloadersettings", Any)], NAME_VALUE, SEE).since(7, 5),
    leaf("configoption", &[("bootloadersettings", Any)], NAME_VALUE, SEE).since(7, 5),
    node("environment", &[("bootloadersettings", Once), ("containerconfig", Once)], &[], SEE),
    leaf("env", &[("environment", Some)], &[must("name", Kind::Text, SEE), must("value", Kind::Free, SEE)], SEE),
    node(
        "securelinux",
        &[("bootloader", Any)],
        &[must("hkd_ca_cert", Kind::Text, SEE), must("hkd_sign_cert", Kind::Text, SEE)],
        Refused("it belongs to IBM Z, which is not supported"),
    ).since(8, 3),
    leaf("hkd_cert", &[("securelinux", Some)], &[must("name", Kind::Text, SEE)], SEE).since(8, 3),
    leaf("hkd_revocation_list", &[("securelinux", Any)], &[must("name", Kind::Text, SEE)], SEE).since(8, 3),
    Element {
        attributes: &[
            attr("unit", Kind::OneOf(&["M", "G"]), Used("MiB, the default, or GiB")),
            attr("additive", Kind::Bool, Used("the number is added to the least size")),
            attr("unpartitioned", Kind::Natural, Ignored("space behind the last partition would only take RAM")).since(6, 9),
        ],
        ..super::text("size", &[("type", Once)], Kind::Natural, Used("size of the disk"))
    },
    node(
        "systemdisk",
        &[("type", Once)],
        &[attr("name", Kind::Text, Refused(NO_LVM)), attr("preferlvm", Kind::Bool, Refused(NO_LVM))],
        Refused(NO_LVM),
    ),
    leaf("volume", &[("systemdisk", Any)], VOLUME, SEE),
    node("partitions", &[("type", Once)], &[], Refused(NO_PART)).since(7, 5),
    leaf("partition", &[("partitions", Some)], PARTITION, SEE),
    node("installmedia", &[("type", Once)], &[], Ignored("the initramfs of the medium is the system's own, with ram-deploy added")).since(7, 4),
    node(
        "initrd",
        &[("type", Any), ("installmedia", Any)],
        &[must("action", Kind::OneOf(&["omit", "add", "set", "setup"]), SEE)],
        Ignored("configure dracut in an overlay: root/etc/dracut.conf.d/NAME.conf"),
    ).since(7, 4),
    leaf(
        "dracut",
        &[("initrd", Any)],
        &[attr("module", Kind::Text, SEE), attr("driver", Kind::Text, SEE).since(8, 4), attr("uefi", Kind::Bool, SEE).since(8, 4)],
        SEE,
    ).since(7, 4),
    node("luksformat", &[("type", Once)], &[], Refused(NO_LUKS)).since(7, 5),
    leaf("option", &[("luksformat", Some)], NAME_VALUE, SEE).since(7, 5),
    Element {
        until: Option::Some((6, 9)),
        content: super::Content::Foreign,
        ..node("pxedeploy", &[("type", Once)], &[], Ignored("KIWI dropped it after schema 6.9"))
    },
];

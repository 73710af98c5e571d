//! `<machine>`, `<vagrantconfig>`: virtual machines around a disk image.

use super::Often::{Any, Once};
use super::Use::{Ignored, Note, Refused};
use super::{Attr, Element, Kind, attr, leaf, must, node, text};

const SEE: super::Use = Note("see its parent");
const CONTROLLERS: &[&str] = &[
    "ide",
    "buslogic",
    "lsilogic",
    "lsisas1068",
    "legacyESX",
    "pvscsi",
];
const DISK_MODES: &[&str] = &[
    "monolithicSparse",
    "monolithicFlat",
    "twoGbMaxExtentSparse",
    "twoGbMaxExtentFlat",
    "streamOptimized",
];

// A table: one row a line.
#[rustfmt::skip]
const MACHINE: &[Attr] = &[
    attr("min_memory", Kind::Natural, SEE),
    attr("max_memory", Kind::Natural, SEE),
    attr("min_cpu", Kind::Natural, SEE),
    attr("max_cpu", Kind::Natural, SEE),
    attr("ovftype", Kind::OneOf(&["vmware", "xen", "zvm", "powervm"]), SEE),
    attr("HWversion", Kind::Integer, SEE),
    attr("arch", Kind::OneOf(&["ix86", "x86_64"]), SEE),
    attr("xen_loader", Kind::OneOf(&["hvmloader", "pygrub", "pvgrub"]), Refused("Xen guests are not supported")).since(6, 9),
    attr("guestOS", Kind::Text, SEE),
    attr("memory", Kind::Natural, SEE),
    attr("ncpus", Kind::Natural, SEE),
];

// A table: one row a line.
#[rustfmt::skip]
pub(super) const ROWS: &[Element] = &[
    node("machine", &[("type", Once)], MACHINE, Ignored("it describes a virtual machine around a disk format; the ISO and the raw disk have none")),
    text("vmconfig-entry", &[("machine", Any)], Kind::Text, SEE),
    leaf(
        "vmdisk",
        &[("machine", Once)],
        &[
            attr("disktype", Kind::Text, SEE),
            attr("controller", Kind::OneOf(CONTROLLERS), SEE),
            attr("id", Kind::Natural, SEE),
            attr("device", Kind::Text, SEE),
            attr("diskmode", Kind::OneOf(DISK_MODES), SEE),
        ],
        SEE,
    ),
    leaf(
        "vmdvd",
        &[("machine", Once)],
        &[must("controller", Kind::OneOf(&["ide", "scsi"]), SEE), must("id", Kind::Natural, SEE)],
        SEE,
    ),
    leaf(
        "vmnic",
        &[("machine", Any)],
        &[
            attr("driver", Kind::Text, SEE),
            must("interface", Kind::Text, SEE),
            attr("mode", Kind::Text, SEE),
            attr("mac", Kind::Mac, SEE),
        ],
        SEE,
    ),
    leaf(
        "vagrantconfig",
        &[("type", Any)],
        &[
            must("provider", Kind::OneOf(&["libvirt", "virtualbox"]), SEE),
            must("virtualsize", Kind::Natural, SEE),
            attr("boxname", Kind::Text, SEE),
            attr("virtualbox_guest_additions_present", Kind::Bool, SEE).only(&["virtualbox"]).since(7, 1),
            attr("embedded_vagrantfile", Kind::Path, SEE).since(7, 1),
        ],
        Ignored("it describes a Vagrant box; none is made"),
    ),
];

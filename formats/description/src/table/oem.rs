//! `<oemconfig>`.

use super::Often::Once;
use super::Use::{Ignored, Refused, Used};
use super::{Element, Kind, node, text};

const IN: &[(&str, super::Often)] = &[("oemconfig", Once)];
const NO_RECOVERY: &str = "there is no recovery partition: the medium itself is the recovery, and a RAM system is fresh at each boot";
const NO_QUESTION: &str =
    "the deployment shows its progress on the console and asks only when oem-unattended is false";

// A table: one row a line.
#[rustfmt::skip]
pub(super) const ROWS: &[Element] = &[
    node("oemconfig", &[("type", Once)], &[], Used("what the deployment does")),
    text("oem-boot-title", IN, Kind::Text, Used("title of the boot entry")),
    text("oem-bootwait", IN, Kind::Bool, Ignored("the system goes on booting after the deployment; there is no installed disk to wait for")),
    text("oem-resize", IN, Kind::Bool, Used("the first boot grows the root file system; yes by default")).since(7, 3),
    text("oem-resize-once", IN, Kind::Bool, Ignored("growing is harmless to repeat: it does nothing when the root fills its disk")).since(7, 2),
    text("oem-ramdisk-size", IN, Kind::Free, Used("size of the RAM disk in kB; ramdisk_size on the kernel command line wins")).since(8, 4),
    text("oem-device-filter", IN, Kind::Text, Ignored("the system is deployed into RAM, and no device is looked for")),
    text("oem-nic-filter", IN, Kind::Text, Ignored("BOOTIF= or ip= on the kernel command line choose the network card")),
    text("oem-inplace-recovery", IN, Kind::Bool, Ignored(NO_RECOVERY)),
    text("oem-kiwi-initrd", IN, Kind::Bool, Refused("a system in RAM boots with the initramfs that deployed it")),
    text("oem-multipath-scan", IN, Kind::Bool, Ignored("multipath devices are no deployment target")),
    text("oem-vmcp-parmfile", IN, Kind::Text, Refused("it belongs to IBM Z, which is not supported")),
    text("oem-partition-install", IN, Kind::Bool, Refused("deployment into a single partition is not supported")),
    text("oem-reboot", IN, Kind::Bool, Refused("a reboot after the deployment would lose the RAM disk")),
    text("oem-reboot-interactive", IN, Kind::Bool, Refused("a reboot after the deployment would lose the RAM disk")),
    text("oem-recovery", IN, Kind::Bool, Ignored(NO_RECOVERY)),
    text("oem-recoveryID", IN, Kind::Natural, Ignored(NO_RECOVERY)),
    text("oem-recovery-part-size", IN, Kind::Natural, Ignored(NO_RECOVERY)),
    text("oem-shutdown", IN, Kind::Bool, Refused("a power-off after the deployment would lose the RAM disk")),
    text("oem-shutdown-interactive", IN, Kind::Bool, Refused("a power-off after the deployment would lose the RAM disk")),
    text("oem-silent-boot", IN, Kind::Bool, Ignored("add quiet to kernelcmdline for a silent boot")),
    text("oem-silent-install", IN, Kind::Bool, Ignored(NO_QUESTION)),
    text("oem-silent-verify", IN, Kind::Bool, Ignored("every chunk is verified as it is written; there is no pass of its own to silence")),
    text("oem-skip-verify", IN, Kind::Bool, Used("the target is not read back; chunks are verified before they are written in any case")),
    text("oem-swap", IN, Kind::Bool, Ignored("a swap partition inside the RAM disk would only take RAM; none is made")),
    text("oem-swapsize", IN, Kind::Natural, Ignored("no swap partition is made")),
    text("oem-swapname", IN, Kind::Text, Ignored("no swap partition is made")).since(7, 4),
    text("oem-systemsize", IN, Kind::Natural, Ignored("the root takes the whole disk")),
    text("oem-unattended", IN, Kind::Bool, Used("no question is asked")),
    text("oem-unattended-id", IN, Kind::Text, Used("the device that receives the image")),
    Element {
        until: Option::Some((6, 8)),
        ..text("oem-ataraid-scan", IN, Kind::Free, Ignored("KIWI dropped it after schema 6.8"))
    },
];

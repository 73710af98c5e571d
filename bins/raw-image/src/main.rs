//! `raw-image`: the disk that the system boots from.
//!
//! stdin: a manifest with `plan` and `rootfs`. stdout: the same with `disk`. Needs `grub-mkimage`, and
//! GRUB's modules where the tree has none. No privilege: owners and devices come from the tree's
//! listing, the file systems are written by `formats/image`, and nothing is ever mounted.

mod boot;
mod chunker;
mod erofs;
mod initrd;
mod known;
mod layout;
mod root;

use std::process::ExitCode;

use clap::Args;
use manifest::{Disk, DiskPlan, FileSystem, Object, Partition, PartitionRole, Section};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stage::{Context, Error, Result, Stage};
use store::tree::Tree;

use crate::chunker::{Chunked, Chunker};
use crate::layout::{BIOS_BOOT, ESP_OFFSET, Ids, Layout};

/// Stage version. Changelog. 1: the first. 2: the overlay's files lie last on the disk. 3: modules of the initramfs.
/// 4: access control lists have the form of the disk. 5: format 5 of the configuration in its initramfs.
/// 6: the size comes from a single layout. 7: zstd level 10 for its initramfs. 8: the RAM store erofs; format 6 of the
/// configuration. 9: zstd level 15 for the RAM store erofs. 10: pieces of 256 KiB there.
/// 11: drivers of keyboards, and of more controllers, in its initramfs.
const VERSION: u32 = 11;
const _: () = assert!(
    root::VERSION == 3 && erofs::VERSION == 4,
    "a part of the disk has other bytes: raise VERSION"
);
const _: () = assert!(
    ram_deploy::config::FORMAT == 6,
    "its initramfs holds another configuration: raise VERSION"
);

fn main() -> ExitCode {
    let about =
        "Makes the system's disk image: GPT, ESP and ext4 root, as verified compressed chunks";
    let stage = Stage::new("raw-image", env!("CARGO_PKG_VERSION"), VERSION, about)
        .tools(|_| vec![loader::TOOL])
        .identity(|cx, _, input| identity(cx, input));
    stage::main(stage, raw_image)
}

/// What of the host shapes the disk: GRUB's modules, and the program in its initramfs.
fn identity(cx: &Context, input: &Input) -> Result<Value> {
    let tree = || Tree::read(cx.store(), &input.rootfs.tree);
    let program = match input.plan.disk.resize || !initrd::is_in(&tree()?, input) {
        true => Some(Object::of(&initrd::program()?)),
        false => None,
    };
    let loader = loader::host_identity(cx.store(), &input.rootfs.tree)?;
    Ok(json!({"loader": loader, "ram-deploy": program}))
}

/// Options of the stage.
#[derive(Debug, Args, Serialize)]
struct Options {
    /// zstd level of the chunks, 1 to 19: what the medium weighs against the time to make it
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(i32).range(1..=19))]
    level: i32,
}

/// What the stage reads.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Input {
    pub(crate) plan: PlanInput,
    pub(crate) rootfs: RootfsInput,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PlanInput {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) arch: String,
    pub(crate) disk: DiskPlan,
    pub(crate) kernelcmdline: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RootfsInput {
    pub(crate) tree: Object,
    pub(crate) kernel: KernelInput,
    pub(crate) source_date_epoch: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KernelInput {
    pub(crate) release: String,
    pub(crate) path: String,
    pub(crate) modules: String,
}

/// Lays out the disk and cuts it into chunks.
fn raw_image(cx: &mut Context, options: &Options, input: Input) -> Result<Disk> {
    if input.plan.arch != "x86_64" {
        let arch = &input.plan.arch;
        return Err(Error::refused(format!(
            "architecture {arch}: this release makes disks for x86_64"
        )));
    }
    let ids = Ids::new(&input.plan.name, &input.plan.version, &input.plan.arch);
    let mut tree = Tree::read(cx.store(), &input.rootfs.tree)?;
    let [bios, efi] = boot::modules(cx, &tree)?;
    let signed = loader::signed(cx.store(), &tree)?;
    // Linking and packing take one core each.
    let (bios, esp, added) = std::thread::scope(|scope| {
        let bios = scope.spawn(|| boot::bios(cx, &bios));
        let esp = boot::esp(cx, &efi, signed, &ids);
        let added = root::add_files(cx, &mut tree, &input, &ids);
        let lost = |_| Err(Error::failed("a linking thread was lost"));
        (bios.join().unwrap_or_else(lost), esp, added)
    });
    let ((boot_sector, core), esp, added) = (bios?, esp?, added?);

    let root = root::Root::new(cx, &tree, &input, &ids)?;
    let compression = erofs::wanted(cx, &tree, root.nodes(), &input)?;
    drop(tree);
    let layout = Layout::new(&input.plan.disk, root.least_size()?)?;
    let esp = image::fat::volume(layout.esp, "EFI", ids.esp_fs, &esp).map_err(unfit)?;

    let table = layout.table(&ids);
    let mut chunker = Chunker::new(cx.store(), layout.size, options.level);
    chunker.data(0, &table.head(&boot_sector).map_err(unfit)?)?;
    chunker.data(BIOS_BOOT.0, &core)?;
    chunker.data(ESP_OFFSET, &esp)?;
    let tail = table.tail().map_err(unfit)?;
    chunker.data(layout.size - tail.len() as u64, &tail)?;
    let facts = root.facts(&input, &added, layout.root, options.level);
    let content = cx.cached("file system", &facts, || {
        root.write(cx, layout.root, options.level)
    })?;
    let mut disk = chunker.finish()?;
    disk.insert(layout.root_offset, content);
    let facts = compression.map(|c| erofs::Facts::new(&input, &added, &ids, c, options.level));
    let image = facts.map(|facts| erofs::write(cx, &root, &facts));
    let image = image.transpose()?;
    section(cx, &layout, &ids, disk, image, &input.plan.disk)
}

fn section(
    cx: &Context,
    layout: &Layout,
    ids: &Ids,
    made: Chunked,
    erofs: Option<erofs::Made>,
    plan: &DiskPlan,
) -> Result<Disk> {
    let (data_bytes, map) = (made.data_bytes, made.map(layout.size));
    let erofs = erofs
        .map(|made| made.behind(cx.store(), &map))
        .transpose()?;
    Ok(Disk {
        format: Disk::FORMAT,
        by: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
        size: layout.size,
        data_bytes,
        frame_bytes: map.payload().1,
        map: map.write(cx.store())?,
        guid: ids.disk.to_string(),
        partitions: partitions(layout, ids, &plan.root_label),
        erofs,
    })
}

/// The partitions in the order of their numbers.
fn partitions(layout: &Layout, ids: &Ids, root_label: &str) -> Vec<Partition> {
    let fs = |kind: &str, uuid: String, label: &str| FileSystem {
        kind: kind.to_owned(),
        uuid,
        label: label.to_owned(),
    };
    let esp_uuid = format!("{:04X}-{:04X}", ids.esp_fs >> 16, ids.esp_fs & 0xffff);
    let esp_fs = fs("vfat", esp_uuid, "EFI");
    let root_fs = fs("ext4", ids.root_fs.to_string(), root_label);
    let esp = (ESP_OFFSET, layout.esp);
    let root = (layout.root_offset, layout.root);
    let all = [
        (PartitionRole::BiosBoot, BIOS_BOOT, ids.bios_boot, None),
        (PartitionRole::Esp, esp, ids.esp, Some(esp_fs)),
        (PartitionRole::Root, root, ids.root, Some(root_fs)),
    ];
    let numbered = (1..).zip(all);
    let partition = |(number, (role, (offset, size), guid, filesystem))| Partition {
        number,
        role,
        offset,
        size,
        guid: image::Guid::to_string(&guid),
        filesystem,
    };
    numbered.map(partition).collect()
}

/// An image's refusal as a stage's error; a damaged object underneath stays one.
pub(crate) fn unfit(error: image::Error) -> Error {
    if let image::Error::Io { source, .. } = &error
        && let Some(store::Error::Damaged { .. }) = source.get_ref().and_then(|e| e.downcast_ref())
    {
        return Error::damaged(error.to_string());
    }
    Error::failed(error.to_string())
}

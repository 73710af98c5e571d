//! Appends to the system's own initramfs what brings it into RAM.
//!
//! stdin: a manifest with `plan`, `rootfs` and `disk`. stdout: the same with `initrd`. Needs no privilege
//! and no outside program, but the static `ram-deploy` beside itself.
//!
//! ```text
//! initrd := base, as the tree's own dracut made it · deployment segment · configuration, each padded to 4
//! ```
//!
//! The base stays untouched, byte for byte. The deployment segment carries `ram-deploy` with its unit and hooks, and
//! every kernel module it may need that the base does not have. What differs from image to image, above all the
//! digest of the chunk map, is a small segment of its own, so that the large one is compressed once.

mod base;
mod compression;
mod modules;

use std::io::BufReader;
use std::process::ExitCode;

use manifest::{Initrd, Object, Partition, PartitionRole, Ramdisk, Section, Segment};
use ram_deploy::config::{Config, FORMAT, ModuleList, RamStore};
use ram_deploy::{program, segment};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stage::{Context, Error, Nothing, Result, Stage};
use store::Store;
use store::tree::{Kind, Tree};

use base::Base;
use compression::Method;
use modules::Carried;

/// Version of the stage: changes when the same input would give other bytes. 1: the first. 2: the configuration is a
/// segment of its own.
const VERSION: u32 = 2;
/// RAM that a small system needs at its login prompt beyond what its initramfs had in use, in bytes.
const RESERVE: u64 = 96 << 20;
const ALIGNMENT: u64 = 4;

fn main() -> ExitCode {
    let about = "Appends ram-deploy and its kernel modules to the system's initramfs";
    let stage = Stage::new("initrd-inject", env!("CARGO_PKG_VERSION"), VERSION, about)
        .identity(|_, _, _| identity());
    stage::main(stage, inject)
}

/// What the stage reads.
#[derive(Debug, Serialize, Deserialize)]
struct Input {
    plan: PlanInput,
    rootfs: RootfsInput,
    disk: DiskInput,
}

#[derive(Debug, Serialize, Deserialize)]
struct PlanInput {
    ramdisk: Option<Ramdisk>,
    oem: OemInput,
    #[serde(rename = "type")]
    image_type: TypeInput,
}

#[derive(Debug, Serialize, Deserialize)]
struct OemInput {
    resize: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct TypeInput {
    volid: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct RootfsInput {
    tree: Object,
    kernel: KernelInput,
    initramfs: Option<Object>,
    source_date_epoch: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct KernelInput {
    release: String,
    modules: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct DiskInput {
    size: u64,
    data_bytes: u64,
    map: Object,
    partitions: Vec<Partition>,
}

/// The program that is put into the initramfs shapes the result.
fn identity() -> Result<Value> {
    Ok(json!({"ram-deploy": Object::of(&load_program()?)}))
}

fn load_program() -> Result<Vec<u8>> {
    program::load().map_err(|missing| Error::missing(missing.fact).advice(missing.advice))
}

/// Appends the deployment segments to the system's own initramfs.
fn inject(cx: &mut Context, _: &Nothing, input: Input) -> Result<Initrd> {
    let program = load_program()?;
    let store = cx.store();
    let tree = Tree::read(store, &input.rootfs.tree)?;
    let base_object = base_initramfs(&input)?;
    let facts = json!({"version": VERSION, "initramfs": base_object});
    let base: Base = cx.cached("base", &facts, || {
        // What is not whole may look like anything.
        store.verify(&base_object)?;
        base::read(BufReader::new(store.open_object(&base_object)?))
    })?;
    let carried = cx.part("modules", || {
        modules::carry(store, &tree, &input.rootfs.kernel, &base)
    })?;
    let unpacked = base.unpacked_bytes + carried.bytes() + program.len() as u64;
    let config = config(&input, unpacked)?;
    let modules = carried.list.modules.iter().map(|m| m.name.clone());
    let modules = modules.collect();
    let epoch = input.rootfs.source_date_epoch;
    let deploy = archive(
        segment::deploy(program, &carried.list, carried.files, &base.hooks)?,
        epoch,
    )?;
    let configuration = archive(segment::configuration(&config)?, epoch)?;
    let unpacked_bytes =
        base.unpacked_bytes + base::unpacked(&deploy[..])? + base::unpacked(&configuration[..])?;
    let method = compression::choose(store, &tree, &input.rootfs.kernel, &base)?;
    let segments = vec![
        named("base", base_object),
        named("deploy", packed(cx, method, &deploy)?),
        named("configuration", store.put(&configuration)?),
    ];
    Ok(Initrd {
        format: Initrd::FORMAT,
        by: format!("initrd-inject {}", env!("CARGO_PKG_VERSION")),
        image: join(store, &segments)?,
        segments,
        unpacked_bytes,
        modules,
        deploy_id: config.deploy_id(),
    })
}

/// The segment, compressed; the one of an earlier image where it had the same.
fn packed(cx: &Context, method: Method, archive: &[u8]) -> Result<Object> {
    let facts = json!({
        "version": VERSION,
        "archive": Object::of(archive),
        "method": format!("{method:?}"),
        "zstd": zstd::zstd_safe::version_number(),
    });
    cx.cached("segment", &facts, || {
        Ok(cx.store().put(&compression::pack(method, archive)?)?)
    })
}

fn named(name: &str, object: Object) -> Segment {
    let name = name.to_owned();
    Segment { name, object }
}

fn base_initramfs(input: &Input) -> Result<Object> {
    input.rootfs.initramfs.ok_or_else(|| {
        Error::refused("the root tree brings no initramfs, and there is nothing to append to")
            .advice("add the dracut package to the description: <package name=\"dracut\"/>")
    })
}

fn config(input: &Input, initramfs_bytes: u64) -> Result<Config> {
    let ramdisk = input.plan.ramdisk.clone().ok_or_else(|| {
        Error::refused("the description does not ask for a RAM disk")
            .advice("add rd.kiwi.ramdisk and ramdisk_size=KIB to kernelcmdline of its <type>")
    })?;
    let root = input
        .disk
        .partitions
        .iter()
        .find(|p| p.role == PartitionRole::Root);
    let root_uuid = root
        .and_then(|p| p.filesystem.as_ref())
        .map(|fs| fs.uuid.clone())
        .ok_or_else(|| Error::refused("disk.partitions has no root file system; expected one"))?;
    Ok(Config {
        format: FORMAT,
        volume_id: input.plan.image_type.volid.clone(),
        map: input.disk.map,
        image_size: input.disk.size,
        data_bytes: input.disk.data_bytes,
        root_uuid,
        store: RamStore::Brd {
            device: ramdisk.device,
            size_kib: ramdisk.size_kib,
        },
        resize: input.plan.oem.resize,
        reserve_bytes: RESERVE,
        initramfs_bytes,
    })
}

fn archive(items: segment::Items, epoch: u64) -> Result<Vec<u8>> {
    segment::archive(&items, epoch).map_err(|e| Error::failed(e.to_string()))
}

/// The segments, each padded: where one begins the kernel looks at multiples of four bytes. The store has them all,
/// so nothing is copied.
fn join(store: &Store, segments: &[Segment]) -> Result<Object> {
    let mut parts = Vec::new();
    for segment in segments {
        let size = segment.object.size;
        parts.push(segment.object);
        match (size.next_multiple_of(ALIGNMENT) - size) as usize {
            0 => {}
            missing => parts.push(store.put(&[0; ALIGNMENT as usize][..missing])?),
        }
    }
    let mut step = || stage::interrupted().map_err(std::io::Error::other);
    let made = store.put_parts(&parts, &mut step);
    stage::interrupted()?;
    Ok(made?)
}

/// The content of a file of the tree, links followed. `None` where there is no such file.
fn content(store: &Store, tree: &Tree, path: &str) -> Result<Option<Vec<u8>>> {
    let Some(path) = tree.resolve(path) else {
        return Ok(None);
    };
    let kind = tree.get(&path).map(|entry| &entry.kind);
    let object = match kind {
        Some(Kind::Hardlink(to)) => match tree.get(to).map(|entry| &entry.kind) {
            Some(Kind::File(object)) => *object,
            _ => return Ok(None),
        },
        Some(Kind::File(object)) => *object,
        _ => return Ok(None),
    };
    Ok(Some(store.get(&object)?))
}

impl Carried {
    /// Bytes of the carried files in whole pages, as an unpacked initramfs holds them.
    fn bytes(&self) -> u64 {
        self.files
            .iter()
            .map(|(_, bytes)| base::in_pages(bytes.len() as u64))
            .sum()
    }

    /// The modules found, and the files of those that the base does not have.
    fn new(list: ModuleList, files: Vec<(String, Vec<u8>)>) -> Self {
        Self { list, files }
    }
}

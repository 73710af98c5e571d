//! Appends to the system's own initramfs what brings it into RAM.
//!
//! stdin: a manifest with `plan`, `rootfs` and `disk`. stdout: the same with `initrd`. Needs no privilege
//! and no outside program, but the static `ram-deploy` beside itself.
//!
//! ```text
//! initrd := base, as the tree's own dracut made it · pad to 4 · deployment segment · pad to 4
//! ```
//!
//! The base stays untouched, byte for byte. The segment carries `ram-deploy` with its configuration, unit and
//! hooks, and every kernel module it may need that the base does not have.

mod base;
mod compression;
mod modules;

use std::io::{BufReader, Write};
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
use modules::Carried;

/// Version of the stage: changes when the same input would give other bytes. 1: the first.
const VERSION: u32 = 1;
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

/// Appends the deployment segment to the system's own initramfs.
fn inject(cx: &mut Context, _: &Nothing, input: Input) -> Result<Initrd> {
    let program = load_program()?;
    let store = cx.store();
    let tree = Tree::read(store, &input.rootfs.tree)?;
    let base_object = base_initramfs(&input)?;
    let base = cx.part("base", || {
        base::read(BufReader::new(store.open_object(&base_object)?))
    })?;
    let carried = cx.part("modules", || {
        modules::carry(store, &tree, &input.rootfs.kernel, &base)
    })?;
    let unpacked = base.unpacked_bytes + carried.bytes() + program.len() as u64;
    let config = config(&input, unpacked)?;
    let names = carried
        .list
        .modules
        .iter()
        .map(|m| m.name.clone())
        .collect();
    let archive = archive(&input, program, &config, carried, &base)?;
    let unpacked_bytes = base.unpacked_bytes + base::unpacked(&archive[..])?;
    let packed = cx.part("segment", || {
        let method = compression::choose(store, &tree, &input.rootfs.kernel, &base)?;
        compression::pack(method, &archive)
    })?;
    let segment = store.put(&packed)?;
    Ok(Initrd {
        format: Initrd::FORMAT,
        by: format!("initrd-inject {}", env!("CARGO_PKG_VERSION")),
        image: join(store, &base_object, &packed)?,
        segments: vec![named("base", base_object), named("deploy", segment)],
        unpacked_bytes,
        modules: names,
        deploy_id: config.deploy_id(),
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

fn archive(
    input: &Input,
    program: Vec<u8>,
    config: &Config,
    carried: Carried,
    base: &Base,
) -> Result<Vec<u8>> {
    let Carried { list, files } = carried;
    let items = segment::deploy(program, config, &list, files, &base.hooks)?;
    segment::archive(&items, input.rootfs.source_date_epoch)
        .map_err(|e| Error::failed(e.to_string()))
}

/// Base and segment, each padded: where a segment begins the kernel looks at multiples of four bytes.
fn join(store: &Store, base: &Object, segment: &[u8]) -> Result<Object> {
    let failed = |e: std::io::Error| Error::failed(format!("writing the initrd: {e}"));
    let pad = |length: u64| vec![0; (length.next_multiple_of(ALIGNMENT) - length) as usize];
    let mut out = store.writer()?;
    std::io::copy(&mut store.open_object(base)?, &mut out).map_err(failed)?;
    out.write_all(&pad(base.size)).map_err(failed)?;
    out.write_all(segment).map_err(failed)?;
    out.write_all(&pad(segment.len() as u64)).map_err(failed)?;
    Ok(out.finish()?)
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

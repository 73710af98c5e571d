//! Appends to the system's own initramfs what brings it into RAM.
//!
//! stdin: a manifest with `plan`, `rootfs` and `disk`. stdout: the same with `initrd`. Needs no privilege
//! and no outside program, but the static `ram-deploy` beside itself.
//!
//! ```text
//! initrd := base, as the tree's own dracut made it · deployment segment · configuration, each padded to 4
//! ```
//!
//! With `--base native`, and where the tree has no dracut, there is no base: `ram-deploy` is `/init` in the deployment
//! segment.
//!
//! The base stays untouched, byte for byte. The deployment segment carries `ram-deploy` with its unit and hooks, and
//! every kernel module it may need that the base does not have. What differs from image to image, above all the
//! digest of the chunk map, is a small segment of its own, so that the large one is compressed once.

mod zram;

use std::io::BufReader;
use std::process::ExitCode;

use clap::Args;
use initramfs::{Base, Extras, Kernel};
use manifest::{Digest, Initrd, Object, Partition, PartitionRole, Ramdisk, Section, Segment};
use ram_deploy::config::{Config, Erofs, FORMAT, RamStore};
use ram_deploy::{program, segment};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stage::{Context, Error, Result, Stage};
use store::tree::Tree;

/// Version of the stage: changes when the same input would give other bytes. 1: the first. 2: the configuration is a
/// segment of its own. 3: what a zram needs.
/// 4: what a tmpfs needs. 5: file systems that may hold an ISO file; what is asked, read back and signed.
/// 6: drivers of network cards. 7: what a zram takes is measured chunk by chunk. 8: zstd level 10 for the segment.
/// 9: the RAM store erofs. 10: a sum of the configuration; drivers of keyboards, and of more controllers.
/// 11: the section names the public key.
const VERSION: u32 = 11;
const _: () = assert!(
    ram_deploy::config::FORMAT == 6,
    "the segment holds another configuration: raise VERSION"
);

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
    unattended: bool,
    skip_verify: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct TypeInput {
    volid: String,
    installpxe: bool,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    erofs: Option<ErofsInput>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ErofsInput {
    map: Object,
    offset: u64,
    size: u64,
    data_bytes: u64,
}

/// The program that is put into the initramfs shapes the result.
fn identity() -> Result<Value> {
    Ok(json!({"ram-deploy": Object::of(&load_program()?)}))
}

fn load_program() -> Result<Vec<u8>> {
    program::load().map_err(|missing| Error::missing(missing.fact).advice(missing.advice))
}

/// The options.
#[derive(Debug, Clone, Args, Serialize)]
struct Options {
    /// What the deployment stands on [default: dracut where the system has it, else native]
    #[arg(long, value_enum)]
    base: Option<BaseKind>,
    /// Starts only what is signed with the private key of this public one: Ed25519 in PEM, see iso-pack --sign
    #[arg(long, value_name = "KEY", value_parser = public_key)]
    public_key: Option<Digest>,
}

/// The 32 bytes of a public key in PEM, as `openssl pkey -pubout` writes it.
fn public_key(path: &str) -> std::result::Result<Digest, String> {
    let expected = "this is no public key of Ed25519 in PEM; openssl pkey -in PRIVATE -pubout -out FILE makes one";
    let pem = stage::read_pem(path, expected)?;
    let key = ed25519_compact::PublicKey::from_pem(&pem).map_err(|_| expected)?;
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.parse()
}

/// What the deployment stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum BaseKind {
    /// The initramfs that the system's own dracut made.
    Dracut,
    /// ram-deploy itself is /init: smaller and faster, without shell, udev or dracut's words
    Native,
}

/// Makes the chain of segments.
fn inject(cx: &mut Context, options: &Options, input: Input) -> Result<Initrd> {
    let program = load_program()?;
    let store = cx.store();
    let tree = Tree::read(store, &input.rootfs.tree)?;
    let kind = options.base.unwrap_or(match input.rootfs.initramfs {
        Some(_) => BaseKind::Dracut,
        None => BaseKind::Native,
    });
    let (mut segments, base) = match kind {
        BaseKind::Dracut => dracut_base(cx, &input)?,
        BaseKind::Native => (Vec::new(), Base::default()),
    };
    let kernel = Kernel {
        release: &input.rootfs.kernel.release,
        modules: &input.rootfs.kernel.modules,
    };
    let carried = cx.part("modules", || {
        let extras = Extras {
            network: input.plan.image_type.installpxe,
            erofs: input.disk.erofs.is_some(),
        };
        initramfs::carry(store, &tree, kernel, &base, extras)
    })?;
    let unpacked = base.unpacked_bytes + carried.bytes() + program.len() as u64;
    let zram_bytes = zram::measure(cx, &input.disk.map, root(&input)?)?;
    let config = config(
        &input,
        options,
        unpacked,
        zram_bytes,
        tree.iter().count() as u64,
    )?;
    let modules = carried.list.modules.iter().map(|m| m.name.clone());
    let modules = modules.collect();
    let items = match kind {
        BaseKind::Dracut => segment::deploy(program, &carried.list, carried.files, &base.hooks)?,
        BaseKind::Native => segment::native(program, &carried.list, carried.files)?,
    };
    let epoch = input.rootfs.source_date_epoch;
    let deploy = archive(items, epoch)?;
    let configuration = archive(segment::configuration(&config)?, epoch)?;
    let unpacked_bytes = base.unpacked_bytes
        + initramfs::unpacked(&deploy[..])?
        + initramfs::unpacked(&configuration[..])?;
    let method = initramfs::choose(store, &tree, kernel, &base)?;
    segments.push(named("deploy", initramfs::packed(cx, method, &deploy)?));
    segments.push(named("configuration", store.put(&configuration)?));
    let objects: Vec<Object> = segments.iter().map(|s| s.object).collect();
    Ok(Initrd {
        format: Initrd::FORMAT,
        by: format!("initrd-inject {}", env!("CARGO_PKG_VERSION")),
        image: initramfs::join(store, &objects)?,
        segments,
        unpacked_bytes,
        zram_bytes,
        modules,
        deploy_id: config.deploy_id(),
        public_key: config.public_key,
    })
}

/// The system's own initramfs, and what the segments behind it must know of it.
fn dracut_base(cx: &Context, input: &Input) -> Result<(Vec<Segment>, Base)> {
    let object = base_initramfs(input)?;
    let facts = json!({"version": VERSION, "initramfs": object});
    let base = cx.cached("base", &facts, || {
        // What is not whole may look like anything.
        cx.store().verify(&object)?;
        initramfs::read(BufReader::new(cx.store().open_object(&object)?))
    })?;
    Ok((vec![named("base", object)], base))
}

fn named(name: &str, object: Object) -> Segment {
    let name = name.to_owned();
    Segment { name, object }
}

fn base_initramfs(input: &Input) -> Result<Object> {
    input.rootfs.initramfs.ok_or_else(|| {
        Error::refused("the root tree brings no initramfs, and there is nothing to append to")
            .advice("add the dracut package to the description, <package name=\"dracut\"/>, or use --base native")
    })
}

fn root(input: &Input) -> Result<&Partition> {
    let mut partitions = input.disk.partitions.iter();
    partitions
        .find(|p| p.role == PartitionRole::Root)
        .ok_or_else(no_root)
}

fn no_root() -> Error {
    Error::refused("disk.partitions has no root file system; expected one")
}

fn config(
    input: &Input,
    options: &Options,
    initramfs_bytes: u64,
    zram_bytes: u64,
    entries: u64,
) -> Result<Config> {
    let ramdisk = input.plan.ramdisk.clone().ok_or_else(|| {
        Error::refused("the description does not ask for a RAM disk")
            .advice("add rd.kiwi.ramdisk and ramdisk_size=KIB to kernelcmdline of its <type>")
    })?;
    let root = root(input)?;
    let filesystem = root.filesystem.as_ref();
    let root_uuid = filesystem.map(|fs| fs.uuid.clone()).ok_or_else(no_root)?;
    Ok(Config {
        format: FORMAT,
        volume_id: input.plan.image_type.volid.clone(),
        map: input.disk.erofs.as_ref().map_or(input.disk.map, |e| e.map),
        image_size: input.disk.size,
        data_bytes: input.disk.data_bytes,
        root_offset: root.offset,
        root_size: root.size,
        zram_bytes,
        entries,
        root_uuid,
        store: RamStore::Brd {
            device: ramdisk.device,
            size_kib: ramdisk.size_kib,
        },
        erofs: input.disk.erofs.as_ref().map(|erofs| Erofs {
            offset: erofs.offset,
            size: erofs.size,
            data_bytes: erofs.data_bytes,
        }),
        resize: input.plan.oem.resize,
        ask: !input.plan.oem.unattended,
        read_back: !input.plan.oem.skip_verify,
        public_key: options.public_key,
        reserve_bytes: ram_deploy::ram::RESERVE_BYTES,
        initramfs_bytes,
    })
}

fn archive(items: segment::Items, epoch: u64) -> Result<Vec<u8>> {
    segment::archive(&items, epoch).map_err(|e| Error::failed(e.to_string()))
}

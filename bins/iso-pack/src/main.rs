//! `iso-pack`: the medium that a machine boots from, and with `installpxe` what it boots from over the network.
//!
//! stdin: a manifest with `plan`, `rootfs`, `disk` and `initrd`. stdout: the same with `media`. Needs
//! `grub-mkimage`, and GRUB's modules where the tree has none. No privilege.
//!
//! ```text
//! /boot/linux, /boot/initrd            kernel and initrd
//! /boot/grub/grub.cfg, *.img           menu, El Torito images for BIOS and UEFI
//! /boot/grub/loopback.cfg              the same menu, where the ISO is a file on a disk
//! /ramforge/deploy.json, map           what ram-deploy reads first
//! /ramforge/map.sig                    the map's signature, with --sign
//! /ramforge/frames.000 …               the payload: compressed chunks, below 4 GiB a file
//! /ramforge/id-…                       names this medium for GRUB, among several
//! ```

mod boot;
mod network;
mod payload;
mod pieces;
mod sign;

use std::process::ExitCode;

use clap::Args;
use image::Guid;
use image::iso9660::{BootImage, Content, File, Hybrid, Image};
use manifest::{BootEntry, Bootloader, Digest, Initrd, Media, Object, Section};
use serde::{Deserialize, Serialize};
use stage::{Context, Error, Result, Stage};
use store::Store;
use store::tree::Tree;

use crate::pieces::Pieces;
use crate::sign::SigningKey;

/// Stage version. Changelog. 1: the first. 2: the ISO is kept as the list of its pieces. 3: `root=ramforge`.
/// 4: it boots as a file. 5: the network boot set. 6: PXELINUX boots at once where the timeout is 0.
const VERSION: u32 = 6;

fn main() -> ExitCode {
    let about =
        "Packs kernel, initrd and disk image into a hybrid ISO for CD and USB, BIOS and UEFI";
    let stage = Stage::new("iso-pack", env!("CARGO_PKG_VERSION"), VERSION, about)
        .tools(|_| vec![loader::TOOL])
        .identity(|cx, _, input: &Input| loader::host_identity(cx.store(), &input.rootfs.tree))
        .show(warn);
    stage::main(stage, pack)
}

/// Warns of a medium with one half of a signature, each time that it is asked for.
fn warn(cx: &Context, options: &Options, _: &Media) -> Result<()> {
    let initrd: Initrd = cx.section()?;
    match SigningKey::judge(options.sign.as_ref(), initrd.public_key.as_ref())? {
        Some(warning) => cx.warn(warning),
        None => Ok(()),
    }
}

/// The options.
#[derive(Debug, Args, Serialize)]
struct Options {
    /// Signs the chunk map with this private key: Ed25519 in PEM, see initrd-inject --public-key
    #[arg(long, value_name = "KEY", value_parser = SigningKey::read)]
    sign: Option<SigningKey>,
}

/// What the stage reads.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Input {
    pub(crate) plan: PlanInput,
    pub(crate) rootfs: RootfsInput,
    pub(crate) disk: DiskInput,
    pub(crate) initrd: InitrdInput,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PlanInput {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) arch: String,
    pub(crate) bootloader: Bootloader,
    pub(crate) kernelcmdline: String,
    pub(crate) ramdisk: Option<RamdiskInput>,
    #[serde(rename = "type")]
    pub(crate) image_type: TypeInput,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RamdiskInput {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size_kib: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TypeInput {
    pub(crate) volid: String,
    pub(crate) installpxe: bool,
    pub(crate) installboot: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RootfsInput {
    pub(crate) tree: Object,
    pub(crate) kernel: KernelInput,
    pub(crate) source_date_epoch: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KernelInput {
    pub(crate) image: Object,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DiskInput {
    map: Object,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    erofs: Option<ErofsInput>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ErofsInput {
    map: Object,
}

impl DiskInput {
    /// The chunk map that the medium carries: of the disk, and of the image behind it where there is one.
    pub(crate) fn medium_map(&self) -> Object {
        self.erofs.as_ref().map_or(self.map, |erofs| erofs.map)
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InitrdInput {
    pub(crate) image: Object,
    pub(crate) deploy_id: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) public_key: Option<Digest>,
}

/// Packs the ISO.
fn pack(cx: &mut Context, options: &Options, input: Input) -> Result<Media> {
    let asked = input.initrd.public_key.as_ref();
    SigningKey::judge(options.sign.as_ref(), asked)?;
    let kernelcmdline = boot::kernelcmdline(&input)?;
    let tree = Tree::read(cx.store(), &input.rootfs.tree)?;
    let loaders = boot::loaders(cx, &tree, &input)?;
    let signed = loaders.signed;
    let image = Image {
        volume_id: input.plan.image_type.volid.clone(),
        epoch: i64::try_from(input.rootfs.source_date_epoch)
            .map_err(|_| Error::refused("rootfs.source_date_epoch: expected seconds since 1970"))?,
        files: files(cx, options, &input, &kernelcmdline)?,
        bios: Some(BootImage {
            path: "boot/grub/bios.img".to_owned(),
            bytes: loaders.bios,
        }),
        uefi: Some(BootImage {
            path: "boot/grub/efi.img".to_owned(),
            bytes: loaders.esp,
        }),
        hybrid: Some(hybrid(&input, loaders.mbr)),
    };
    let iso = cx.part("hybrid ISO", || write(cx.store(), &image))?;
    let network = match input.plan.image_type.installpxe {
        true => Some(cx.part("network boot set", || {
            network::set(cx, options, &tree, &input, &kernelcmdline)
        })?),
        false => None,
    };
    Ok(Media {
        format: Media::FORMAT,
        by: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
        iso,
        volid: image.volume_id,
        boot: boot_entries(signed),
        kernelcmdline,
        network,
    })
}

/// How the medium boots; `signed`: under UEFI with a loader that firmware with Secure Boot takes.
fn boot_entries(signed: bool) -> Vec<BootEntry> {
    let entry = |firmware: &str, medium: &str, signed| BootEntry {
        firmware: firmware.to_owned(),
        medium: medium.to_owned(),
        signed,
    };
    vec![
        entry("bios", "cd", false),
        entry("uefi", "cd", signed),
        entry("bios", "disk", false),
        entry("uefi", "disk", signed),
    ]
}

/// The image as an object. Every piece is read once, for the ISO's name and to see that it is whole: a damaged one
/// must not travel, since neither kernel nor initrd is verified at boot.
fn write(store: &Store, image: &Image) -> Result<Object> {
    let failed = |error: image::Error| Error::failed(error.to_string());
    let mut pieces = Pieces::new(store);
    image::iso9660::emit(&mut pieces, image).map_err(failed)?;
    let mut step = || stage::interrupted().map_err(std::io::Error::other);
    let made = store.put_parts(&pieces.finish().map_err(failed)?, &mut step);
    stage::interrupted()?;
    Ok(made?)
}

/// The files of the medium, small ones first.
fn files(cx: &Context, options: &Options, input: &Input, kernelcmdline: &str) -> Result<Vec<File>> {
    let bytes = |path: &str, bytes: &[u8]| File {
        path: path.to_owned(),
        content: Content::Bytes(bytes.to_vec()),
    };
    let object = |path: &str, object: &Object| -> Result<File> {
        Ok(File {
            path: path.to_owned(),
            content: Content::Parts(payload::parts(cx.store(), object)?),
        })
    };
    let menu = boot::menu(input, kernelcmdline);
    let disk_info = format!("{} {}\n", input.plan.name, input.plan.version);
    let mut files = vec![
        bytes(".disk/info", disk_info.as_bytes()),
        bytes("boot/grub/grub.cfg", menu.as_bytes()),
        bytes("boot/grub/loopback.cfg", boot::loopback().as_bytes()),
        bytes(&boot::id_file(input), b""),
        object("boot/linux", &input.rootfs.kernel.image)?,
        object("boot/initrd", &input.initrd.image)?,
    ];
    let map = input.disk.medium_map();
    if let Some(key) = &options.sign {
        let signature = key.sign(&cx.store().get(&map)?);
        files.push(bytes("ramforge/map.sig", &signature));
    }
    files.extend(payload::files(cx.store(), &map)?);
    Ok(files)
}

fn hybrid(input: &Input, mbr_code: Vec<u8>) -> Hybrid {
    let guid = |what: &str| {
        let key = blake3::derive_key(
            &format!("ramforge 2026 medium: {what}"),
            input.initrd.deploy_id.as_bytes(),
        );
        let mut half = [0; 16];
        half.copy_from_slice(&key[..16]);
        Guid::from_digest(half)
    };
    Hybrid {
        mbr_code,
        disk: guid("disk"),
        iso: guid("iso"),
        esp: guid("esp"),
    }
}

//! Core images.

use manifest::{Digest, Object};
use serde::Serialize;
use stage::{At, Context, Result, Tool};

use crate::modules::{Modules, Platform};

/// The program that links core images.
pub const TOOL: Tool = Tool {
    name: "grub-mkimage",
    package: "grub-common",
};

/// Modules of every core image: file systems, partition tables, menu, terminals, loader.
const COMMON: &[&str] = &[
    "part_gpt",
    "part_msdos",
    "ext2",
    "fat",
    "iso9660",
    "search",
    "search_fs_uuid",
    "search_fs_file",
    "search_label",
    "normal",
    "configfile",
    "linux",
    "serial",
    "terminal",
    "echo",
    "test",
    "true",
    "sleep",
    "minicmd",
    "ls",
    "cat",
    "reboot",
    "halt",
    "gzio",
    "all_video",
    "gfxterm",
    "font",
    "loopback",
    "regexp",
    "probe",
];

/// Modules of an image that comes from a network, and goes on from there.
const NET: &[&str] = &["net", "tftp", "http"];

/// Modules that only one platform has or needs.
fn own_modules(platform: Platform) -> &'static [&'static str] {
    match platform {
        Platform::Bios => &["biosdisk"],
        Platform::Efi => &["efi_gop", "efi_uga", "efifwsetup"],
    }
}

/// Which image is wanted.
#[derive(Debug, Clone, Copy, Serialize)]
pub enum Core {
    /// For the BIOS boot partition of a disk: `i386-pc`.
    BiosDisk,
    /// For El Torito: `i386-pc-eltorito`.
    BiosCd,
    /// An EFI application: `x86_64-efi`.
    Efi,
    /// What a BIOS loads from a network: `i386-pc-pxe`.
    BiosNet,
    /// What UEFI loads from a network: `x86_64-efi`.
    EfiNet,
}

impl Core {
    fn format(self) -> &'static str {
        match self {
            Self::BiosDisk => "i386-pc",
            Self::BiosCd => "i386-pc-eltorito",
            Self::Efi | Self::EfiNet => "x86_64-efi",
            Self::BiosNet => "i386-pc-pxe",
        }
    }

    /// The name of the part of the work that links it.
    fn part(self) -> String {
        match self {
            Self::EfiNet => "grub-x86_64-efi-net".to_owned(),
            _ => format!("grub-{}", self.format()),
        }
    }

    /// Modules that only this image needs.
    fn modules(self) -> impl Iterator<Item = &'static str> {
        let (net, driver): (&[_], &[_]) = match self {
            Self::BiosDisk | Self::BiosCd | Self::Efi => (&[], &[]),
            Self::BiosNet => (NET, &["pxe"]),
            Self::EfiNet => (NET, &["efinet"]),
        };
        net.iter().chain(driver).copied()
    }
}

#[derive(Serialize)]
struct Facts<'a> {
    core: Core,
    modules: Digest,
    names: Vec<&'static str>,
    prefix: &'a str,
    config: &'a str,
    tool: Digest,
}

/// Links a core image. Its first act is `config`; where that is empty or comes to its end, GRUB reads
/// `grub.cfg` in `prefix`. A prefix `(,gpt3)/…` means that partition of the device GRUB came from.
///
/// # Errors
/// Exit code 1 where `grub-mkimage` fails.
pub fn build(
    cx: &Context,
    core: Core,
    modules: &Modules<'_>,
    prefix: &str,
    config: &str,
) -> Result<Vec<u8>> {
    let names: Vec<_> = COMMON
        .iter()
        .chain(own_modules(modules.platform))
        .copied()
        .chain(core.modules())
        .collect();
    let tool = cx.tool(TOOL.name)?.digest();
    let facts = Facts {
        core,
        modules: modules.digest,
        names: names.clone(),
        prefix,
        config,
        tool,
    };
    let image: Object = cx.cached(&core.part(), &facts, || {
        let scratch = cx.store().scratch()?;
        let first = scratch.path().join("first.cfg");
        std::fs::write(&first, config).at(&first)?;
        let out = scratch.path().join("core");
        let dir = modules.lay_out(&names, scratch.path())?;
        cx.tool(TOOL.name)?
            .args(["-O", core.format(), "-p", prefix, "-d"])
            .arg(dir)
            .arg("-c")
            .arg(&first)
            .arg("-o")
            .arg(&out)
            .args(&names)
            .run()?;
        let bytes = std::fs::read(&out).at(&out)?;
        Ok(cx.store().put(&bytes)?)
    })?;
    Ok(cx.store().get(&image)?)
}

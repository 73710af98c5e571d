//! A hybrid ISO image: ECMA-119 (ISO 9660), Rock Ridge (IEEE P1282), El Torito 1.0, MBR and GPT.
//!
//! One sequential file that starts a machine as a CD and as a USB stick, under BIOS and under UEFI:
//!
//! ```text
//! sector (2048 bytes)
//!  0 ..= 15   system area       ECMA-119 6.2.1: MBR with boot code, primary GPT
//! 16          primary volume descriptor          8.4
//! 17          boot record volume descriptor      El Torito 2.0
//! 18          volume descriptor set terminator   8.3
//! 19          path table L, path table M         9.4
//!             directories, in the order of the path table   9.1
//!             continuation area of the root      SUSP 5.1
//!             boot catalog                       El Torito 2.1
//!             BIOS boot image                    ┐
//!             files, in the order given          ├ GPT partition 1
//!             UEFI boot image (a FAT)            ─ GPT partition 2
//!             padding, 150 sectors
//!             backup GPT, at the very end
//! ```
//!
//! [`write()`] runs the same layout function twice, first to learn where each structure comes to
//! lie, then to write it there; both runs must agree. Contents are copied from file to file inside
//! the kernel, or kept where they are by a [`Sink`] of the caller's; memory use does not grow with them.
//!
//! Not written, because nothing that starts this medium needs it: Joliet, path tables' optional
//! copies, files of 4 GiB or more (several extents), links, devices and time stamps (TF) of Rock
//! Ridge, a directory deeper than eight levels, names longer than [`MAX_NAME`] bytes, El Torito
//! emulation modes.

mod boot;
mod descriptor;
mod directory;
mod hybrid;
mod out;
mod reader;
mod tree;

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::guid::Guid;
use out::{FileSink, Out};
use tree::Tree;

pub use out::Sink;
pub use reader::{Extent, extents, list};

/// Bytes in a logical sector.
pub const SECTOR: u64 = 2048;
/// Longest file or directory name in bytes: with it a directory record reaches 255 bytes.
pub const MAX_NAME: usize = 144;
/// Sectors of zeros behind the last file: drives read ahead past a track written at once.
pub const PADDING: u64 = 150;

/// The first volume descriptor's sector.
const DESCRIPTORS: u32 = 16;
/// Alignment of the UEFI boot image in sectors: 4096 bytes, a page of a USB stick.
const ESP_ALIGNMENT: u64 = 2;

/// Everything that is to be written.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Volume identifier: 1 to 32 printable ASCII characters.
    pub volume_id: String,
    /// Every time stamp, in seconds since 1970 UTC.
    pub epoch: i64,
    /// Files in the order of their data.
    pub files: Vec<File>,
    /// Boot image for BIOS: a GRUB core image of format `i386-pc-eltorito`.
    pub bios: Option<BootImage>,
    /// Boot image for UEFI: a FAT file system with `EFI/BOOT/BOOTX64.EFI`.
    pub uefi: Option<BootImage>,
    /// Makes it bootable as a disk too.
    pub hybrid: Option<Hybrid>,
}

/// A file on the medium.
#[derive(Debug, Clone)]
pub struct File {
    /// Path on the medium, relative, with `/`.
    pub path: String,
    /// Its bytes.
    pub content: Content,
}

/// Where a file's bytes come from.
#[derive(Debug, Clone)]
pub enum Content {
    /// Memory.
    Bytes(Vec<u8>),
    /// Ranges of other files, one after the other.
    Parts(Vec<Part>),
}

/// A range of a file on the host.
#[derive(Debug, Clone)]
pub struct Part {
    /// The file.
    pub path: PathBuf,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

/// A boot image, which is also a file on the medium.
#[derive(Debug, Clone)]
pub struct BootImage {
    /// Path on the medium.
    pub path: String,
    /// Its bytes. Of the BIOS image, those of the boot info table are replaced.
    pub bytes: Vec<u8>,
}

/// What makes the image bootable as a disk.
#[derive(Debug, Clone)]
pub struct Hybrid {
    /// GRUB's `boot_hybrid.img`; empty where there is no BIOS boot image.
    pub mbr_code: Vec<u8>,
    /// GUID of the disk.
    pub disk: Guid,
    /// GUID of the partition that is the ISO file system's data.
    pub iso: Guid,
    /// GUID of the partition that is the UEFI boot image.
    pub esp: Guid,
}

/// Where things lie in a finished image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Length of the image in bytes.
    pub size: u64,
    /// Byte offset of each of [`Image::files`], in their order.
    pub files: Vec<u64>,
}

/// First sector of every structure whose place others refer to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Places {
    path_table_l: u32,
    path_table_m: u32,
    directories: Vec<u32>,
    continuation: u32,
    catalog: u32,
    /// Of every file in the order of [`Plan::files`].
    files: Vec<u32>,
    /// Number of sectors in all.
    end: u32,
}

/// What both passes work from.
struct Plan<'a> {
    image: &'a Image,
    tree: Tree,
    /// All files in the order of their data: BIOS image, files, UEFI image.
    files: Vec<Source<'a>>,
}

/// One file's place in the order.
struct Source<'a> {
    path: &'a str,
    len: u64,
    data: Data<'a>,
}

/// Where its bytes come from.
enum Data<'a> {
    Bios(&'a [u8]),
    Uefi(&'a [u8]),
    File(&'a Content),
}

impl Content {
    /// Number of bytes.
    pub fn len(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Parts(parts) => parts.iter().map(|p| p.len).sum(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Writes `image` to `file`, which is empty. `progress` is told the number of bytes written so far,
/// at least every 16 MiB; when it fails, so does the writing.
///
/// # Errors
/// [`Error::Unfit`] when the image cannot be expressed, [`Error::Io`] when a source cannot be read
/// or `file` not be written, [`Error::Damaged`] when a source is shorter than its part says.
pub fn write(
    file: &fs::File,
    image: &Image,
    progress: &mut dyn FnMut(u64) -> io::Result<()>,
) -> Result<Summary> {
    let mut sink = FileSink {
        file,
        progress,
        position: 0,
    };
    emit(&mut sink, image)
}

/// Gives `image` to a sink, which may keep its parts without copying them.
///
/// # Errors
/// [`Error::Unfit`] when the image cannot be expressed, and those of the sink.
pub fn emit(sink: &mut dyn Sink, image: &Image) -> Result<Summary> {
    let plan = Plan::new(image)?;
    let places = lay_out(&mut Out::measure(), &plan, &plan.nowhere())?;
    let written = lay_out(&mut Out::write(sink), &plan, &places)?;
    if places != written {
        return Err(Error::damaged(
            "ISO image",
            "its two passes disagree, which is a defect in it",
        ));
    }
    Ok(plan.summary(&places))
}

/// Every structure in the order of the medium. `at` says where each will lie, as far as known.
fn lay_out(out: &mut Out<'_>, plan: &Plan<'_>, at: &Places) -> Result<Places> {
    let mut places = Places::default();
    out.put(&hybrid::system_area(plan, at)?)?;
    out.put(&descriptor::primary(plan, at))?;
    if plan.has_catalog() {
        out.put(&descriptor::boot_record(at.catalog))?;
    }
    out.put(&descriptor::set_terminator())?;
    places.path_table_l = out.sector()?;
    out.put(&directory::path_table(
        &plan.tree,
        at,
        u16::to_le_bytes,
        u32::to_le_bytes,
    ))?;
    places.path_table_m = out.sector()?;
    out.put(&directory::path_table(
        &plan.tree,
        at,
        u16::to_be_bytes,
        u32::to_be_bytes,
    ))?;
    for number in 0..plan.tree.directories.len() {
        places.directories.push(out.sector()?);
        out.put(&directory::directory(plan, at, number))?;
    }
    places.continuation = out.sector()?;
    out.put(&directory::continuation_area())?;
    if plan.has_catalog() {
        places.catalog = out.sector()?;
        out.put(&boot::catalog(plan, at)?)?;
    }
    for (number, source) in plan.files.iter().enumerate() {
        if matches!(source.data, Data::Uefi(_)) {
            out.align(ESP_ALIGNMENT)?;
        }
        places.files.push(out.sector()?);
        emit_file(out, plan, at, number)?;
    }
    out.put(&[0; (PADDING * SECTOR) as usize])?;
    out.put(&hybrid::backup(plan, at)?)?;
    places.end = out.sector()?;
    Ok(places)
}

fn emit_file(out: &mut Out<'_>, plan: &Plan<'_>, at: &Places, number: usize) -> Result<()> {
    let source = &plan.files[number];
    match source.data {
        Data::Bios(bytes) => out.put(&boot::patched(bytes, at.file(number))),
        Data::Uefi(bytes) => out.put(bytes),
        Data::File(Content::Bytes(bytes)) => out.put(bytes),
        Data::File(Content::Parts(parts)) => out.copy(parts),
    }
}

impl Places {
    fn file(&self, number: usize) -> u32 {
        self.files.get(number).copied().unwrap_or(0)
    }

    fn directory(&self, number: usize) -> u32 {
        self.directories.get(number).copied().unwrap_or(0)
    }
}

impl<'a> Plan<'a> {
    fn new(image: &'a Image) -> Result<Plan<'a>> {
        descriptor::check_volume_id(&image.volume_id)?;
        descriptor::check_epoch(image.epoch)?;
        boot::check(image)?;
        let boot = |data: Data<'a>, image: &'a BootImage| Source {
            path: &image.path,
            len: image.bytes.len() as u64,
            data,
        };
        let bios = image.bios.iter().map(|b| boot(Data::Bios(&b.bytes), b));
        let files = image.files.iter().map(|f| Source {
            path: &f.path,
            len: f.content.len(),
            data: Data::File(&f.content),
        });
        let uefi = image.uefi.iter().map(|b| boot(Data::Uefi(&b.bytes), b));
        let files: Vec<Source<'a>> = bios.chain(files).chain(uefi).collect();
        for file in &files {
            if file.len > u64::from(u32::MAX) {
                let fact = format!("{} bytes long", file.len);
                return Err(Error::unfit(
                    file.path,
                    fact,
                    "less than 4 GiB; split the file",
                ));
            }
        }
        let tree = Tree::new(files.iter().map(|f| f.path))?;
        Ok(Plan { image, tree, files })
    }

    /// The places before the first pass.
    fn nowhere(&self) -> Places {
        Places::default()
    }

    fn has_catalog(&self) -> bool {
        self.image.bios.is_some() || self.image.uefi.is_some()
    }

    /// Number of the BIOS boot image among the files.
    fn bios(&self) -> Option<usize> {
        self.image.bios.as_ref().map(|_| 0)
    }

    /// Number of the UEFI boot image among the files.
    fn uefi(&self) -> Option<usize> {
        self.image.uefi.as_ref().map(|_| self.files.len() - 1)
    }

    fn summary(&self, places: &Places) -> Summary {
        let first = usize::from(self.image.bios.is_some());
        let files = &places.files[first..first + self.image.files.len()];
        Summary {
            size: u64::from(places.end) * SECTOR,
            files: files
                .iter()
                .map(|sector| u64::from(*sector) * SECTOR)
                .collect(),
        }
    }
}

//! Section `plan`: everything a description says that can be resolved without a network.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::object::Object;

/// What shall be built. `format` is the shape of this section, `version` the image's own version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The shape of this section.
    pub format: u64,
    /// Program and version that wrote it.
    pub by: String,
    /// The image's name, as in `<image name=…>`.
    pub name: String,
    /// The image's version, as in `<version>`.
    pub version: String,
    /// The machine architecture in the kernel's spelling: `x86_64`, `aarch64`.
    pub arch: String,
    /// The profiles in force, in the order they were asked for.
    pub profiles: Vec<Profile>,
    /// The chosen `<type>`.
    #[serde(rename = "type")]
    pub image_type: TypePlan,
    /// The disk that `raw-image` lays out.
    pub disk: DiskPlan,
    /// The boot loader's settings.
    pub bootloader: Bootloader,
    /// The image's kernel command line, without the words that the installation medium adds.
    pub kernelcmdline: String,
    /// Set when the image is to run from RAM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramdisk: Option<Ramdisk>,
    /// What the installation does, from `<oemconfig>`.
    pub oem: OemConfig,
    /// Packages to install and to remove.
    pub packages: Packages,
    /// Package sources in the order of the description.
    pub repositories: Vec<Repository>,
    /// The package manager, as in `<packagemanager>`: `apt` is supported.
    pub package_manager: String,
    /// Accounts to create or change.
    pub users: Vec<User>,
    /// `<locale>`: `en_US`, without the character set; several are joined by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// `<keytable>`: a console keymap's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keytable: Option<String>,
    /// `<timezone>`: a zone of the tz database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// The overlay directory `root/` (and archives) as a tree object: merged over the packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<Object>,
    /// The description's own scripts.
    pub scripts: Scripts,
    /// Time of the newest thing in the image, seconds since 1970 UTC, where SOURCE_DATE_EPOCH says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_date_epoch: Option<u64>,
    /// Values that the command line set, with what they replaced.
    pub overrides: Vec<Override>,
    /// What no stage of this release reads and a custom stage may: `ELEMENT/ATTRIBUTE` or the path of an
    /// element → text; several texts are joined by line feeds. (Those of `<type>` and `<oemconfig>` stand
    /// in `type.attributes` and `oem.elements`.)
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub carried: BTreeMap<String, String>,
    /// Where each value stands: JSON pointer into this section → place in the description.
    pub origins: BTreeMap<String, Origin>,
}

/// One profile in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name.
    pub name: String,
}

/// The chosen `<type>` element.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TypePlan {
    /// The image type: `oem`.
    pub image: String,
    /// The root file system: `ext4`.
    pub filesystem: String,
    /// Firmware as the description says it: `bios`, `efi`, `uefi`, … Media boot both whatever it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    /// Whether an installation ISO is wanted.
    pub installiso: bool,
    /// Whether a network boot set is wanted.
    pub installpxe: bool,
    /// The boot menu's preselected entry: `install`, `harddisk` or `failsafe-install`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installboot: Option<String>,
    /// The tool that makes the base initramfs: `dracut`.
    pub initrd_system: String,
    /// The ISO's volume id.
    pub volid: String,
    /// Attributes without effect on the stages of this release, for a custom stage: name → value.
    pub attributes: BTreeMap<String, String>,
}

/// What `raw-image` reads of the plan, beside the tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskPlan {
    /// `<size>`, where it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Label of the root file system.
    pub root_label: String,
    /// Size of the ESP in MiB.
    pub efi_mib: u64,
    /// Whether the first boot grows the root file system to the disk (`oem-resize`).
    pub resize: bool,
}

/// `<size unit=… additive=…>N</size>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// The number.
    pub value: u64,
    /// Its unit.
    pub unit: SizeUnit,
    /// Whether the number is added to the least size instead of being the size.
    pub additive: bool,
}

impl Size {
    /// The size in bytes; saturates.
    pub fn bytes(&self) -> u64 {
        match self.unit {
            SizeUnit::M => self.value.saturating_mul(1 << 20),
            SizeUnit::G => self.value.saturating_mul(1 << 30),
        }
    }
}

/// The unit of `<size>`: 2^20 or 2^30 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SizeUnit {
    /// MiB.
    M,
    /// GiB.
    G,
}

/// `<bootloader>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bootloader {
    /// `grub2`.
    pub name: String,
    /// Seconds before the preselected entry boots; −1 waits for ever.
    pub timeout: i64,
    /// GRUB's console: `console`, `serial`, `gfxterm`, or two of them joined by a blank.
    pub console: String,
    /// GRUB's `serial` command, where the console has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_line: Option<String>,
    /// Title of the boot entry (`oem-boot-title`, else the image's display name).
    pub title: String,
}

/// `ramdisk_size` and the device: the reason why the image runs from RAM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ramdisk {
    /// Size of the RAM disk in KiB; absent: the image's own size decides at boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_kib: Option<u64>,
    /// The device that receives the image: `/dev/ram1`.
    pub device: String,
}

/// `<oemconfig>`, resolved. Elements without effect here are reported when they are parsed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OemConfig {
    /// `oem-unattended`: no question is asked.
    pub unattended: bool,
    /// `oem-unattended-id`: the target device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unattended_id: Option<String>,
    /// `oem-skip-verify`: the target is not read back. (Chunks are verified before they are written anyway.)
    pub skip_verify: bool,
    /// `oem-resize`: the root grows on first boot.
    pub resize: bool,
    /// Elements of `<oemconfig>` for a custom stage: name → text.
    pub elements: BTreeMap<String, String>,
}

/// Packages by the moment they are installed or removed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// Installed first.
    pub bootstrap: Vec<Package>,
    /// Installed by the image's own package manager.
    pub image: Vec<Package>,
    /// Removed by force before the image is made.
    pub delete: Vec<Package>,
    /// Removed with what depends on them before the image is made.
    pub uninstall: Vec<Package>,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The name as the package manager knows it.
    pub name: String,
}

/// One package source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// Where it is. `obsrepositories:/` means the build host's own package sources.
    pub uri: String,
    /// Kind of repository: `apt-deb`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its short name, unique in the plan.
    pub alias: String,
    /// As the package manager counts it: apt's `Pin-Priority`, where the higher one wins; 0 is unset.
    pub priority: u64,
    /// apt: the distribution (`bookworm`); absent for a flat repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<String>,
    /// apt: components, joined by blanks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<String>,
    /// `repository_gpgcheck`: whether the metadata's signature must be right. Unset means yes.
    pub signature_check: bool,
    /// Whether the image keeps the source (`imageinclude`).
    pub imageinclude: bool,
    /// Whether the image keeps the source and nothing of the image is taken from it (`imageonly`).
    #[serde(default, skip_serializing_if = "is_no")]
    pub imageonly: bool,
    /// Keys that may sign it, from `<signing key=…/>`.
    pub keys: Vec<SigningKey>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde gives a reference
fn is_no(value: &bool) -> bool {
    !value
}

/// A key that may sign a repository's metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SigningKey {
    /// The key, OpenPGP, armoured or binary.
    pub object: Object,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Login name.
    pub name: String,
    /// The crypt(3) hash; absent: the account has no password. A plain password was hashed by desc-parse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// User id; absent: the next free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Groups; the first is the primary one. `name:gid` fixes an id.
    pub groups: Vec<String>,
    /// Home directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Login shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// The comment field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realname: Option<String>,
}

/// Scripts of the description that run in the tree.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scripts {
    /// `config.sh`: after the packages and the overlay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Object>,
    /// `images.sh`: at the very end, before the tree is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Object>,
}

/// A value that an option of `desc-parse` set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// The option, as given: `--set-repo …`.
    pub option: String,
    /// JSON pointer into this section.
    pub place: String,
    /// What stood there, in words; absent: nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
}

/// A place in the description.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// File, relative to the description.
    pub file: String,
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
}

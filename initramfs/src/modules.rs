//! The kernel modules that a deployment may need, with what they depend on (`modules.dep(5)`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;

use manifest::Digest;
use ram_deploy::config::{FORMAT, Module, ModuleList, When};
use ram_deploy::segment::module_path;
use stage::{Error, Result};
use store::Store;
use store::tree::Tree;

use crate::base::{Base, in_pages};
use crate::{Kernel, content};

/// Without these nothing is deployed; they may be built in.
const REQUIRED: &[&str] = &["brd", "ext4"];

/// What is loaded at once: drivers of no device of their own, or of devices that have no ids.
const ALWAYS: &[&str] = &[
    "sr_mod",
    "sd_mod",
    "usb_storage",
    "uas",
    "mmc_block",
    "crc32c_generic",
    "ext4",
];

/// Controllers at which a medium may be, loaded when their device is there.
const CONTROLLERS: &[&str] = &[
    // USB
    "xhci_pci",
    "xhci_hcd",
    "ehci_pci",
    "ohci_pci",
    "uhci_hcd",
    "ehci_platform",
    "ohci_platform",
    // SATA and PATA
    "ahci",
    "ahci_platform",
    "ata_piix",
    "ata_generic",
    "pata_acpi",
    "sata_nv",
    "sata_via",
    "sata_sis",
    "sata_sil",
    "sata_sil24",
    "sata_mv",
    "sata_promise",
    "sata_svw",
    "sata_uli",
    "sata_vsc",
    "pata_amd",
    "pata_via",
    "pata_sis",
    "pata_jmicron",
    "pata_marvell",
    "pata_atiixp",
    "pata_oldpiix",
    // NVMe, also behind Intel's VMD
    "nvme",
    "vmd",
    // SAS and RAID
    "aacraid",
    "hpsa",
    "megaraid_sas",
    "mpt3sas",
    "smartpqi",
    // UFS, SD and MMC
    "ufshcd_pci",
    "sdhci_pci",
    "sdhci_acpi",
    "rtsx_pci",
    "rtsx_pci_sdmmc",
    "rtsx_usb",
    "rtsx_usb_sdmmc",
    // virtual machines
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_scsi",
    "vmw_pvscsi",
    "mptspi",
    "mptsas",
    "sym53c8xx",
    "hv_vmbus",
    "hv_storvsc",
    "xen_blkfront",
];

/// Keyboards, for who is asked something; loaded when their device is there. Of those with a driver of their own the common
/// ones, as the general driver leaves them to it.
const KEYBOARDS: &[&str] = &[
    "usbhid",
    "hid_generic",
    "hid_apple",
    "hid_cherry",
    "hid_chicony",
    "hid_lenovo",
    "hid_logitech",
    "hid_logitech_dj",
    "hid_logitech_hidpp",
    "hid_microsoft",
    "i8042",
    "atkbd",
    // virtual machines
    "hyperv_keyboard",
    "virtio_input",
    "xen_kbdfront",
];

/// Network cards, for images that come from a network; loaded when their device is there.
const NETWORK: &[&str] = &[
    // virtual machines
    "virtio_net",
    "vmxnet3",
    "hv_netvsc",
    "xen_netfront",
    "ena",
    "gve",
    // Intel
    "e100",
    "e1000",
    "e1000e",
    "igb",
    "igbvf",
    "igc",
    "ixgbe",
    "ixgbevf",
    "i40e",
    "iavf",
    "ice",
    // Realtek
    "8139cp",
    "8139too",
    "r8169",
    "r8152",
    // Broadcom
    "b44",
    "bnx2",
    "bnx2x",
    "bnxt_en",
    "tg3",
    // others
    "alx",
    "amd_xgbe",
    "atl1c",
    "atlantic",
    "be2net",
    "cxgb4",
    "enic",
    "forcedeth",
    "mlx4_en",
    "mlx5_core",
    "ne2k_pci",
    "pcnet32",
    "qede",
    "sfc",
    "skge",
    "sky2",
    "via_rhine",
    "via_velocity",
    // USB
    "asix",
    "ax88179_178a",
    "cdc_ether",
    "cdc_ncm",
    "smsc75xx",
    "smsc95xx",
];

/// What is loaded by name: the RAM stores and what compresses for them, and file systems that may hold an ISO file, with
/// their character sets.
const ASKED: &[&str] = &[
    "brd",
    "zstd",
    "lzo_rle",
    "lz4",
    "zram",
    "vfat",
    "exfat",
    "isofs",
    "nls_cp437",
    "nls_ascii",
    "nls_iso8859_1",
    "nls_utf8",
];

/// What the RAM store `erofs` needs.
pub const EROFS: &[&str] = &["erofs", "overlay"];

/// What not every deployment needs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras {
    /// Drivers of network cards.
    pub network: bool,
    /// The RAM store `erofs`.
    pub erofs: bool,
}

/// The modules found, and the files of those that the base does not have.
#[derive(Debug)]
pub struct Carried {
    /// All of them, in load order.
    pub list: ModuleList,
    /// Path and content of the files that the base does not have.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Carried {
    /// Bytes of the carried files in whole pages, as an unpacked initramfs holds them.
    pub fn bytes(&self) -> u64 {
        self.files
            .iter()
            .map(|(_, bytes)| in_pages(bytes.len() as u64))
            .sum()
    }

    /// The modules found, and the files of those that the base does not have.
    fn new(list: ModuleList, files: Vec<(String, Vec<u8>)>) -> Self {
        Self { list, files }
    }
}

/// `modules.dep` by name: file below the modules' directory, and the names it depends on.
type Dependencies = BTreeMap<String, (String, Vec<String>)>;

/// Finds the modules in the tree, with those of the `extras`, and takes the plain bytes of each that the base does not
/// have.
///
/// # Errors
/// Exit code 3 where the kernel cannot do without what is not there; those of the store.
pub fn carry(
    store: &Store,
    tree: &Tree,
    kernel: Kernel<'_>,
    base: &Base,
    extras: Extras,
) -> Result<Carried> {
    let dir = kernel.modules;
    let text = |name: &str| -> Result<Option<String>> {
        let bytes = content(store, tree, &format!("{dir}/{name}"))?;
        Ok(bytes.map(|b| String::from_utf8_lossy(&b).into_owned()))
    };
    let dependencies = parse_dep(&text("modules.dep")?.ok_or_else(|| {
        Error::refused(format!("{dir}/modules.dep is not in the root tree"))
            .advice("run depmod in config.sh, or install the kernel from a package")
    })?);
    check_required(
        &dependencies,
        &text("modules.builtin")?.unwrap_or_default(),
        kernel,
    )?;
    let aliases = parse_aliases(&text("modules.alias")?.unwrap_or_default());
    let soft = parse_softdep(&text("modules.softdep")?.unwrap_or_default());
    let mut list = ModuleList {
        format: FORMAT,
        modules: Vec::new(),
    };
    let mut files = Vec::new();
    for name in order(&dependencies, &soft, extras) {
        let Some((file, needs)) = dependencies.get(&name) else {
            continue;
        };
        let path = format!("{dir}/{file}");
        let packed = content(store, tree, &path)?.ok_or_else(|| {
            Error::refused(format!("{path} is named by modules.dep and not there"))
        })?;
        let bytes = plain(&path, packed)?;
        let when = when(&name);
        let needs = all_needs(&name, needs, &dependencies, &soft);
        let module = module(
            &name,
            when,
            needs,
            &aliases,
            base.modules.get(&Digest::of(&bytes)),
        );
        if module.path == module_path(&name) {
            files.push((module.path.clone(), bytes));
        }
        list.modules.push(module);
    }
    Ok(Carried::new(list, files))
}

fn module(
    name: &str,
    when: When,
    needs: Vec<String>,
    aliases: &HashMap<String, Vec<String>>,
    in_base: Option<&String>,
) -> Module {
    let aliases = match when {
        When::Device => aliases.get(name).cloned().unwrap_or_default(),
        _ => Vec::new(),
    };
    Module {
        name: name.to_owned(),
        path: in_base.cloned().unwrap_or_else(|| module_path(name)),
        needs,
        when,
        aliases,
    }
}

fn when(name: &str) -> When {
    if ALWAYS.contains(&name) {
        When::Always
    } else if [CONTROLLERS, KEYBOARDS, NETWORK]
        .iter()
        .any(|names| names.contains(&name))
    {
        When::Device
    } else {
        When::Asked
    }
}

fn check_required(dependencies: &Dependencies, builtin: &str, kernel: Kernel<'_>) -> Result<()> {
    let builtin: BTreeSet<String> = builtin.lines().map(module_name).collect();
    let absent = |name: &&&str| !dependencies.contains_key(**name) && !builtin.contains(**name);
    match REQUIRED.iter().find(absent) {
        None => Ok(()),
        Some(name) => Err(Error::refused(format!(
            "the kernel {} has no module {name}, built in or not",
            kernel.release
        ))
        .advice("choose a kernel package that has it, such as linux-image-amd64")),
    }
}

/// What must be loaded before: soft dependencies, where they are there, and hard ones.
fn all_needs(
    name: &str,
    hard: &[String],
    dependencies: &Dependencies,
    soft: &HashMap<String, Vec<String>>,
) -> Vec<String> {
    let soft = soft.get(name).into_iter().flatten();
    let mut needs: Vec<String> = soft
        .filter(|n| dependencies.contains_key(*n) && !hard.contains(n))
        .cloned()
        .collect();
    needs.extend_from_slice(hard);
    needs
}

/// Every wanted module that is there, after those it depends on; in a cycle, as dependencies allow.
fn order(
    dependencies: &Dependencies,
    soft: &HashMap<String, Vec<String>>,
    extras: Extras,
) -> Vec<String> {
    let (mut order, mut met) = (Vec::new(), BTreeSet::new());
    let cards = NETWORK.iter().filter(|_| extras.network);
    let more = EROFS.iter().filter(|_| extras.erofs).chain(cards);
    let devices = CONTROLLERS.iter().chain(KEYBOARDS);
    for name in ALWAYS.iter().chain(devices).chain(ASKED).chain(more) {
        add(name, dependencies, soft, &mut met, &mut order);
    }
    order
}

/// Adds `name` after what it depends on. Names that were `met` are in the order, or, in a cycle, about
/// to be added.
fn add(
    name: &str,
    dependencies: &Dependencies,
    soft: &HashMap<String, Vec<String>>,
    met: &mut BTreeSet<String>,
    order: &mut Vec<String>,
) {
    let Some((_, needs)) = dependencies.get(name) else {
        return;
    };
    if !met.insert(name.to_owned()) {
        return;
    }
    // modules.dep names the nearest dependency first.
    let soft_needs = soft.get(name).into_iter().flatten();
    for need in soft_needs.chain(needs.iter().rev()) {
        add(need, dependencies, soft, met, order);
    }
    order.push(name.to_owned());
}

/// Lines of the form `kernel/a/b.ko: kernel/a/c.ko …`.
fn parse_dep(text: &str) -> Dependencies {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(file, needs)| {
            let needs = needs.split_ascii_whitespace().map(module_name).collect();
            (module_name(file), (file.to_owned(), needs))
        })
        .collect()
}

/// Lines of the form `alias PATTERN NAME`.
fn parse_aliases(text: &str) -> HashMap<String, Vec<String>> {
    let mut aliases: HashMap<String, Vec<String>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if let (Some("alias"), Some(pattern), Some(name)) =
            (words.next(), words.next(), words.next())
        {
            aliases
                .entry(module_name(name))
                .or_default()
                .push(pattern.to_owned());
        }
    }
    aliases
}

/// Lines of the form `softdep NAME pre: A B post: C`; what comes before counts.
fn parse_softdep(text: &str) -> HashMap<String, Vec<String>> {
    let mut soft: HashMap<String, Vec<String>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() == Some("softdep")
            && let Some(name) = words.next()
        {
            let pre = words
                .skip_while(|w| *w != "pre:")
                .skip(1)
                .take_while(|w| *w != "post:");
            soft.entry(module_name(name))
                .or_default()
                .extend(pre.map(module_name));
        }
    }
    soft
}

/// The name of a module: its file's, without directories and suffixes, with underscores.
pub(crate) fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.split(".ko").next().unwrap_or(file);
    stem.replace('-', "_")
}

/// The module as the kernel takes it, whatever its file is compressed with.
fn plain(path: &str, bytes: Vec<u8>) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    let done = match path.rsplit('.').next() {
        Some("zst") => zstd::Decoder::new(&bytes[..]).and_then(|mut d| d.read_to_end(&mut plain)),
        Some("xz") => liblzma::read::XzDecoder::new(&bytes[..]).read_to_end(&mut plain),
        Some("gz") => flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain),
        _ => return Ok(bytes),
    };
    done.map_err(|e| Error::refused(format!("{path}: cannot be decompressed: {e}")))?;
    Ok(plain)
}

#[cfg(test)]
mod tests;

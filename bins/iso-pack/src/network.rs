//! The network boot set: what a TFTP and HTTP server offers, so that a machine without any medium comes up.
//!
//! ```text
//! boot.pxe, boot.efi, grub.cfg         GRUB for BIOS and UEFI, with its menu
//! boot.ipxe                            the same for iPXE
//! pxelinux.cfg/default                 the same for PXELINUX
//! pxeboot.NAME.ARCH-VERSION.kernel     kernel, initrd and boot options, by KIWI's names
//! pxeboot.NAME.ARCH-VERSION.initrd
//! NAME.ARCH-VERSION.append
//! ramforge/map, ramforge/frames.000 …  what ram-deploy fetches over HTTP: as on the medium, map.sig too
//! SHA256SUMS                           of all of them
//! ```
//!
//! All menus name the server that they came from; `rd.ramforge.url=` in the description's kernelcmdline wins.
//!
//! *Not written:* a signed loader, so firmware with Secure Boot refuses it; PXELINUX itself.

use std::fmt::Write;

use loader::{Core, Entry, Menu, Modules, Platform};
use manifest::{Bootloader, NetworkFile, Object};
use sha2::{Digest, Sha256};
use stage::{Context, Error, Result};
use store::Store;
use store::chunk_map::ChunkMap;
use store::tree::Tree;

use crate::{Input, Options};

/// GRUB's first act: its menu lies beside it, wherever that is.
const FIRST: &str = "set prefix=$cmdpath\nconfigfile $prefix/grub.cfg\n";

/// What GRUB sets before its menu.
const PRELUDE: &str = "\
# The directory that this came from, and where the system is fetched from over HTTP: by default the same directory of
# the same server, at port 80. For another server, or for several mirrors with commas, change what url is.
regexp --set=1:dir '^\\(.*\\)/*(.*)$' \"$prefix\"
set url=http://$net_default_server/$dir
set dir=$prefix
set words=\"rd.kiwi.install.pxe rd.ramforge.url=$url BOOTIF=01-$net_default_mac\"
";

/// The same where the description says where the system is fetched from.
const FIXED_PRELUDE: &str = "\
set dir=$prefix
set words=\"rd.kiwi.install.pxe BOOTIF=01-$net_default_mac\"
";

/// The words by which a description says where the system is fetched from.
const URL_WORDS: [&str; 2] = ["rd.ramforge.url=", "rd.kiwi.install.image="];

/// The files of the set, and their sums.
struct Set<'a> {
    store: &'a Store,
    files: Vec<NetworkFile>,
    sums: String,
}

/// Makes the boot set.
pub(crate) fn set(
    cx: &Context,
    options: &Options,
    tree: &Tree,
    input: &Input,
    cmdline: &str,
) -> Result<Vec<NetworkFile>> {
    let plan = &input.plan;
    let names = Names::new(&format!("{}.{}-{}", plan.name, plan.arch, plan.version));
    let store = cx.store();
    let mut set = Set {
        store,
        files: Vec::new(),
        sums: String::new(),
    };
    for (path, core, platform) in [
        ("boot.pxe", Core::BiosNet, Platform::Bios),
        ("boot.efi", Core::EfiNet, Platform::Efi),
    ] {
        let modules = Modules::find(store, tree, platform)?;
        set.bytes(path, &loader::build(cx, core, &modules, "/", FIRST)?)?;
    }
    let pxelinux = pxelinux(&plan.bootloader, &names, cmdline);
    for (path, text) in [
        ("grub.cfg", grub(input, &names, cmdline)),
        ("boot.ipxe", ipxe(&names, cmdline)),
        ("pxelinux.cfg/default", pxelinux),
        (&names.append, format!("{cmdline} rd.kiwi.install.pxe\n")),
    ] {
        set.bytes(path, text.as_bytes())?;
    }
    set.parts(&names.kernel, &store.parts(&input.rootfs.kernel.image)?)?;
    set.parts(&names.initrd, &store.parts(&input.initrd.image)?)?;
    set.payload(options, &input.disk.medium_map())?;
    let sums = std::mem::take(&mut set.sums);
    set.bytes("SHA256SUMS", sums.as_bytes())?;
    Ok(set.files)
}

impl Set<'_> {
    /// The chunk map, its signature, and the frames.
    fn payload(&mut self, options: &Options, object: &Object) -> Result<()> {
        self.parts("ramforge/map", &[*object])?;
        let text = self.store.get(object)?;
        if let Some(key) = &options.sign {
            self.bytes("ramforge/map.sig", &key.sign(&text))?;
        }
        let map = ChunkMap::parse(&text).map_err(|e| Error::damaged(e.to_string()))?;
        for (n, frames) in map.payload_files().iter().enumerate() {
            self.parts(&format!("ramforge/frames.{n:03}"), frames)?;
        }
        Ok(())
    }

    fn bytes(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        let object = self.store.put(bytes)?;
        self.add(path, object, Sha256::digest(bytes).as_slice());
        Ok(())
    }

    /// A file of what the store has already.
    fn parts(&mut self, path: &str, parts: &[Object]) -> Result<()> {
        let mut sum = Sha256::new();
        for part in parts {
            stage::interrupted()?;
            sum.update(self.store.get(part)?);
        }
        let object = match parts {
            [one] => *one,
            parts => {
                let mut step = || stage::interrupted().map_err(std::io::Error::other);
                let made = self.store.put_parts(parts, &mut step);
                stage::interrupted()?;
                made?
            }
        };
        self.add(path, object, sum.finalize().as_slice());
        Ok(())
    }

    fn add(&mut self, path: &str, object: Object, sum: &[u8]) {
        for byte in sum {
            let _ = write!(self.sums, "{byte:02x}");
        }
        let _ = writeln!(self.sums, "  {path}");
        let path = path.to_owned();
        self.files.push(NetworkFile { path, object });
    }
}

/// KIWI's names of what is booted.
struct Names {
    kernel: String,
    initrd: String,
    append: String,
}

impl Names {
    fn new(stem: &str) -> Self {
        Self {
            kernel: format!("pxeboot.{stem}.kernel"),
            initrd: format!("pxeboot.{stem}.initrd"),
            append: format!("{stem}.append"),
        }
    }
}

/// Whether the description itself says where the system is fetched from.
fn says_where(cmdline: &str) -> bool {
    let is_one = |word: &str| URL_WORDS.iter().any(|url| word.starts_with(url));
    cmdline.split_whitespace().any(is_one)
}

fn grub(input: &Input, names: &Names, cmdline: &str) -> String {
    let bootloader = &input.plan.bootloader;
    let entry = |title: String, words: &str| Entry::Network {
        title,
        kernel: names.kernel.clone(),
        cmdline: format!("{cmdline}{words}"),
        initrd: names.initrd.clone(),
    };
    let failsafe = input.plan.image_type.installboot.as_deref() == Some("failsafe-install");
    let menu = Menu {
        timeout: bootloader.timeout,
        console: &bootloader.console,
        serial_line: bootloader.serial_line.as_deref(),
        default: usize::from(failsafe),
        entries: vec![
            entry(bootloader.title.clone(), ""),
            entry(
                format!("{} (failsafe)", bootloader.title),
                " nomodeset rd.kiwi.debug",
            ),
            Entry::NextDevice {
                title: "Boot from the next device".to_owned(),
            },
        ],
    };
    let prelude = match says_where(cmdline) {
        true => FIXED_PRELUDE,
        false => PRELUDE,
    };
    prelude.to_owned() + &menu.render()
}

/// The URI of the script itself lies in the same directory, as KIWI's word wants it.
fn ipxe(names: &Names, cmdline: &str) -> String {
    let Names { kernel, initrd, .. } = names;
    let place = match says_where(cmdline) {
        true => "",
        false => " rd.kiwi.install.image=${cwuri}",
    };
    format!(
        "#!ipxe\n\
         kernel {kernel} initrd={initrd} {cmdline} rd.kiwi.install.pxe{place} BOOTIF=01-${{netX/mac:hexhyp}}\n\
         initrd {initrd}\n\
         boot\n"
    )
}

/// PXELINUX cannot name its server: ram-deploy learns it from the DHCP server.
fn pxelinux(bootloader: &Bootloader, names: &Names, cmdline: &str) -> String {
    let Names { kernel, initrd, .. } = names;
    let tenths = u64::try_from(bootloader.timeout)
        .unwrap_or(0)
        .saturating_mul(10);
    // A TIMEOUT of 0 is none at all: a prompt would wait for ever, where GRUB's menu boots at once.
    let prompt = u8::from(bootloader.timeout != 0);
    format!(
        "DEFAULT ramforge\nPROMPT {prompt}\nTIMEOUT {tenths}\n\
         LABEL ramforge\n  MENU LABEL {}\n  KERNEL {kernel}\n  INITRD {initrd}\n  \
         APPEND {cmdline} rd.kiwi.install.pxe\n  IPAPPEND 2\n",
        bootloader.title
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SYSLINUX takes a TIMEOUT of 0 for none at all.
    #[test]
    fn pxelinux_waits_as_long_as_grub() {
        let names = Names::new("a.x86_64-1");
        for (timeout, expected) in [
            (0, "PROMPT 0\nTIMEOUT 0\n"),
            (5, "PROMPT 1\nTIMEOUT 50\n"),
            // GRUB waits for ever.
            (-1, "PROMPT 1\nTIMEOUT 0\n"),
        ] {
            let bootloader = Bootloader {
                name: "grub2".to_owned(),
                timeout,
                console: "console".to_owned(),
                serial_line: None,
                title: "A".to_owned(),
            };
            let menu = pxelinux(&bootloader, &names, "root=ramforge");
            assert!(menu.contains(expected), "{menu}");
        }
    }

    #[test]
    fn a_description_that_says_where_is_not_contradicted() {
        let names = Names::new("a.x86_64-1");
        let own = ipxe(&names, "root=/dev/ram1p3 rd.ramforge.url=http://a/b");
        assert!(!own.contains("cwuri"), "{own}");
        let plain = ipxe(&names, "root=/dev/ram1p3");
        assert!(
            plain.contains("rd.kiwi.install.image=${cwuri} BOOTIF=01-${netX/mac:hexhyp}\n"),
            "{plain}"
        );
        assert!(plain.starts_with(
            "#!ipxe\nkernel pxeboot.a.x86_64-1.kernel initrd=pxeboot.a.x86_64-1.initrd root="
        ));
    }
}

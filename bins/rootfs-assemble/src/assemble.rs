//! The verb: from the plan to the section `rootfs`.

use std::fs;
use std::path::Path;

use manifest::{InstalledPackage, Object, Repository, Rootfs, Section};
use serde_json::json;
use stage::{At, Context, Error, Exit, Result, find_program};

use crate::apt::{self, Apt, Chosen};
use crate::ids::Maps;
use crate::input::{Input, Options, Place, PlanInput};
use crate::job::{Image, ImageSource, Job, JobPackage, Outcome};
use crate::{packages_file, sandbox, sources};

/// The version of how packages are chosen. Changelog. 1: the first.
const RESOLVE_VERSION: u32 = 1;
/// A tree takes this many times the size of its packages, with room for the initramfs.
const GROWTH: u64 = 6;
/// Bytes that even a small tree needs.
const LEAST: u64 = 400 << 20;

/// Makes the root tree.
pub fn assemble(cx: &mut Context, options: &Options, input: Input) -> Result<Rootfs> {
    let plan = input.plan;
    let maps = preflight(options, &plan)?;
    let architecture = apt::debian_architecture(&plan.arch)?;
    let scratch = cx.store().scratch()?;
    let dir = scratch.path();
    let apt = Apt::set_up(cx, &subdir(dir, "apt")?, architecture, &plan.repositories)?;
    let (chosen, debs) = choose_and_fetch(&apt, &plan)?;
    let job = Job {
        user_namespace: maps.is_some(),
        store: cx.store().root().display().to_string(),
        root: subdir(dir, "root")?.display().to_string(),
        work: subdir(dir, "work")?.display().to_string(),
        ram: ram(options, &chosen)?,
        architecture: architecture.to_owned(),
        packages: packages(&chosen, &debs),
        image: image(cx, &plan)?,
        resolv_conf: fs::read_to_string("/etc/resolv.conf").ok(),
    };
    let outcome = cx.kept("tree", &job.facts(), || sandbox::run(cx, &job, maps))?;
    section(cx, &chosen, outcome)
}

/// The packages and their files. What was chosen before stays chosen until the repositories drop it.
fn choose_and_fetch(apt: &Apt<'_>, plan: &PlanInput) -> Result<(Vec<Chosen>, Vec<Object>)> {
    let cx = apt.context();
    let facts = json!({
        "version": RESOLVE_VERSION,
        "arch": plan.arch,
        "bootstrap": plan.packages.bootstrap,
        "image": plan.packages.image,
        "repositories": plan.repositories,
        "sources": sources::current(cx.store(), plan)?,
        "program": cx.tool("apt-get")?.digest(),
    });
    let mut fresh = false;
    let chosen = cx.cached("resolve", &facts, || {
        fresh = true;
        apt::solve(apt, &plan.packages)
    })?;
    match cx.part("fetch", || apt::fetch(apt, &chosen)) {
        Err(e) if !fresh && e.exit() == Exit::Failed => {
            cx.warn("a package chosen before cannot be fetched any more, so the repositories are read again")?;
            let chosen = apt::solve(apt, &plan.packages)?;
            let debs = cx.part("fetch", || apt::fetch(apt, &chosen))?;
            Ok((chosen, debs))
        }
        debs => Ok((chosen, debs?)),
    }
}

/// Finds out what is missing before any work begins.
fn preflight(options: &Options, plan: &PlanInput) -> Result<Option<Maps>> {
    if plan.package_manager != "apt" {
        return Err(Error::refused(format!(
            "<packagemanager>{}</packagemanager>: expected apt",
            plan.package_manager
        )));
    }
    if find_program("gpgv").is_none() && find_program("sqv").is_none() {
        return Err(Error::missing(
            "host program not found: gpgv, by which apt verifies signatures",
        )
        .advice("on Debian and Ubuntu: apt-get install gpgv"));
    }
    check_architecture(&plan.arch)?;
    let root = rustix::process::geteuid().is_root();
    match (root, options.as_root) {
        (true, _) => Ok(None),
        (false, true) => Err(Error::missing("--as-root: this user is not root")
            .advice("run it with sudo, and RAMFORGE_STORE set to the same store")),
        (false, false) => Maps::of_caller().map(Some),
    }
}

/// Programs of the tree must be able to run here.
fn check_architecture(arch: &str) -> Result<()> {
    let same = |a: &str| a == std::env::consts::ARCH;
    let family = match arch {
        "i586" | "i686" => same("x86") || same("x86_64"),
        "armv7l" => same("arm") || same("aarch64"),
        "ppc64le" => same("powerpc64"),
        other => same(other),
    };
    let foreign = format!("/proc/sys/fs/binfmt_misc/qemu-{arch}");
    if family || Path::new(&foreign).exists() {
        return Ok(());
    }
    Err(Error::missing(format!(
        "the image is for {arch}, and this {} machine cannot run its programs",
        std::env::consts::ARCH
    ))
    .advice("on Debian and Ubuntu: apt-get install qemu-user-static binfmt-support"))
}

fn subdir(dir: &Path, name: &str) -> Result<std::path::PathBuf> {
    let path = dir.join(name);
    fs::create_dir(&path).at(&path)?;
    Ok(path)
}

/// How much RAM the tree may take; `None`: it goes to the disk.
fn ram(options: &Options, chosen: &[Chosen]) -> Result<Option<u64>> {
    let debs: u64 = chosen.iter().map(|c| c.size).sum();
    let need = LEAST + debs * GROWTH;
    let path = Path::new("/proc/meminfo");
    let text = fs::read_to_string(path).at(path)?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    let available = kib.unwrap_or(0) << 10;
    Ok(match options.build_tree {
        Place::Auto => (available > 3 * need).then_some(2 * need),
        Place::Ram => Some(available),
        Place::Disk => None,
    })
}

fn packages(chosen: &[Chosen], debs: &[Object]) -> Vec<JobPackage> {
    chosen
        .iter()
        .zip(debs)
        .map(|(package, deb)| JobPackage {
            name: package.name.clone(),
            version: package.version.clone(),
            deb: *deb,
            bootstrap: package.bootstrap,
            requested: package.requested,
        })
        .collect()
}

fn image(cx: &Context, plan: &PlanInput) -> Result<Image> {
    let names = |list: &[manifest::Package]| list.iter().map(|p| p.name.clone()).collect();
    let mut sources = Vec::new();
    for repository in plan.repositories.iter().filter(|r| r.imageinclude) {
        sources.extend(image_source(cx, repository)?);
    }
    Ok(Image {
        name: plan.name.clone(),
        overlay: plan.overlay,
        users: plan.users.clone(),
        locale: plan.locale.clone(),
        keytable: plan.keytable.clone(),
        timezone: plan.timezone.clone(),
        profile: profile(plan),
        config: plan.scripts.config,
        images: plan.scripts.images,
        uninstall: names(&plan.packages.uninstall),
        delete: names(&plan.packages.delete),
        sources,
        source_date_epoch: plan.source_date_epoch,
    })
}

/// A repository as the image keeps it.
fn image_source(cx: &Context, repository: &Repository) -> Result<Option<ImageSource>> {
    let Some(uri) = apt::source_uri(&repository.uri).filter(|u| !u.starts_with("file:")) else {
        cx.warn(&format!(
            "repository {}: {} means nothing outside this host, so the image does not keep it",
            repository.alias, repository.uri
        ))?;
        return Ok(None);
    };
    let name: String = repository
        .alias
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    let mut keys = Vec::new();
    for (n, key) in repository.keys.iter().enumerate() {
        let extension = apt::keyring_extension(&cx.store().get(&key.object)?);
        let number = if n == 0 {
            String::new()
        } else {
            format!("-{n}")
        };
        let path = format!("/usr/share/keyrings/{name}-archive-keyring{number}.{extension}");
        keys.push((path, key.object));
    }
    let paths: Vec<String> = keys.iter().map(|(path, _)| path.clone()).collect();
    Ok(Some(ImageSource {
        name: format!("{name}.sources"),
        text: apt::stanza(repository, &uri, &paths),
        keys,
    }))
}

/// The variables that scripts of a description know; without scripts nobody reads them.
fn profile(plan: &PlanInput) -> Vec<(String, String)> {
    if plan.scripts == manifest::Scripts::default() {
        return Vec::new();
    }
    let profiles: Vec<&str> = plan.profiles.iter().map(|p| p.name.as_str()).collect();
    let names = |list: &[manifest::Package]| {
        let names: Vec<&str> = list.iter().map(|p| p.name.as_str()).collect();
        names.join(" ")
    };
    let all = [
        ("kiwi_delete", names(&plan.packages.delete)),
        ("kiwi_iname", plan.name.clone()),
        ("kiwi_iversion", plan.version.clone()),
        ("kiwi_keytable", plan.keytable.clone().unwrap_or_default()),
        ("kiwi_language", plan.locale.clone().unwrap_or_default()),
        ("kiwi_profiles", profiles.join(",")),
        ("kiwi_timezone", plan.timezone.clone().unwrap_or_default()),
    ];
    all.into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn section(cx: &Context, chosen: &[Chosen], outcome: Outcome) -> Result<Rootfs> {
    let text = packages_file::text(&outcome.installed);
    let (packages, unknown) = lock(chosen, &outcome.installed);
    if !unknown.is_empty() {
        cx.warn(&format!(
            "a script installed packages that no lock can name: {}; list them in the description instead",
            unknown.join(", ")
        ))?;
    }
    Ok(Rootfs {
        format: Rootfs::FORMAT,
        by: concat!("rootfs-assemble ", env!("CARGO_PKG_VERSION")).to_owned(),
        tree: outcome.tree,
        bytes: outcome.bytes,
        entries: outcome.entries,
        packages,
        packages_file: cx.store().put(text.as_bytes())?,
        kernel: outcome.kernel,
        initramfs: outcome.initramfs,
        source_date_epoch: outcome.source_date_epoch,
    })
}

/// The lock, and the installed packages that were not chosen.
fn lock(
    chosen: &[Chosen],
    installed: &[(String, String, String)],
) -> (Vec<InstalledPackage>, Vec<String>) {
    let mut lock = Vec::new();
    let mut unknown = Vec::new();
    for (name, version, architecture) in installed {
        let is_it = |c: &&Chosen| c.name == *name && c.version == *version;
        match chosen.iter().find(is_it) {
            Some(package) => lock.push(InstalledPackage {
                name: name.clone(),
                version: version.clone(),
                architecture: architecture.clone(),
                sha256: package.sha256.clone(),
                source: package.source.clone(),
            }),
            None => unknown.push(name.clone()),
        }
    }
    lock.sort();
    (lock, unknown)
}

//! The verb: from the plan to the section `rootfs`.

use std::fs;
use std::path::Path;

use manifest::{InstalledPackage, Lock, LockedPackage, Object, Repository, Rootfs, Section};
use stage::{At, Context, Result};
use store::tree::Tree;

use crate::apt;
use crate::choose::choose;
use crate::input::{Input, Options, Place, PlanInput};
use crate::job::{Image, ImageSource, Job, JobPackage, Outcome};
use crate::{packages_file, preflight, sandbox};

/// A tree takes this many times the size of its packages, with room for the initramfs.
const GROWTH: u64 = 6;
/// Bytes that even a small tree needs.
const LEAST: u64 = 400 << 20;

/// Makes the root tree.
pub fn assemble(cx: &mut Context, options: &Options, input: Input) -> Result<Rootfs> {
    let plan = input.plan;
    let maps = preflight::check(options, &plan)?;
    let architecture = apt::debian_architecture(&plan.arch)?;
    let scratch = cx.store().scratch()?;
    let dir = scratch.path();
    let (chosen, debs) = choose(cx, options, &plan, &subdir(dir, "apt")?)?;
    let job = Job {
        user_namespace: maps.is_some(),
        store: cx.store().root().display().to_string(),
        run: cx.run().to_owned(),
        root: subdir(dir, "root")?.display().to_string(),
        work: subdir(dir, "work")?.display().to_string(),
        ram: ram(options, need(cx, &plan, &chosen)?)?,
        architecture: architecture.to_owned(),
        packages: packages(&chosen, &debs),
        image: image(cx, &plan)?,
        network: !options.offline,
        resolv_conf: fs::read_to_string("/etc/resolv.conf").ok(),
    };
    // What scripts made with a network serves a build without one, not the other way round.
    let online = match job.network {
        true => None,
        false => cx.found("tree", &job.facts(true))?,
    };
    let outcome = match online {
        Some(outcome) => outcome,
        None => cx.kept("tree", &job.facts(job.network), || {
            sandbox::run(cx, &job, maps)
        })?,
    };
    let lock = Lock::new(&plan.arch, &plan.packages, &chosen);
    section(cx, &lock, outcome)
}

fn subdir(dir: &Path, name: &str) -> Result<std::path::PathBuf> {
    let path = dir.join(name);
    fs::create_dir(&path).at(&path)?;
    Ok(path)
}

/// Bytes that the tree will have, roughly.
fn need(cx: &Context, plan: &PlanInput, chosen: &[LockedPackage]) -> Result<u64> {
    let debs: u64 = chosen.iter().map(|c| c.size).sum();
    let overlay = match &plan.overlay {
        Some(overlay) => Tree::read(cx.store(), overlay)?.bytes(),
        None => 0,
    };
    Ok(LEAST + debs * GROWTH + overlay)
}

/// How much RAM a tree of `need` bytes may take; `None`: it goes to the disk.
fn ram(options: &Options, need: u64) -> Result<Option<u64>> {
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

fn packages(chosen: &[LockedPackage], debs: &[Object]) -> Vec<JobPackage> {
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
    let kept = |r: &&Repository| r.imageinclude || r.imageonly;
    for repository in plan.repositories.iter().filter(kept) {
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

fn section(cx: &Context, lock: &Lock, outcome: Outcome) -> Result<Rootfs> {
    let text = packages_file::text(&outcome.installed);
    let (packages, unknown) = installed(&lock.packages, &outcome.installed);
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
        lock: Some(cx.store().put(lock.to_text()?.as_bytes())?),
        packages_file: cx.store().put(text.as_bytes())?,
        kernel: outcome.kernel,
        initramfs: outcome.initramfs,
        source_date_epoch: outcome.source_date_epoch,
    })
}

/// What is installed, with where it came from, and what is installed without having been chosen.
fn installed(
    chosen: &[LockedPackage],
    installed: &[(String, String, String)],
) -> (Vec<InstalledPackage>, Vec<String>) {
    let mut known = Vec::new();
    let mut unknown = Vec::new();
    for (name, version, architecture) in installed {
        let is_it = |c: &&LockedPackage| c.name == *name && c.version == *version;
        match chosen.iter().find(is_it) {
            Some(package) => known.push(InstalledPackage {
                name: name.clone(),
                version: version.clone(),
                architecture: architecture.clone(),
                sha256: package.sha256.clone(),
                source: package.source.clone(),
            }),
            None => unknown.push(name.clone()),
        }
    }
    known.sort();
    (known, unknown)
}

//! Installing packages: our own unpacking where nothing but files is asked for, dpkg for all that runs.
//!
//! 1. Packages whose `preinst` must run are rewritten without compression for dpkg. Those of them that
//!    the first programs need (libc, perl, …) are also *lent*: unpacked without being registered.
//! 2. All others are unpacked for good, on all cores, and registered in dpkg's database.
//! 3. dpkg unpacks those of step 1 that are lent, with their scripts, and configures the bootstrap packages:
//!    scripts of all others rely on the essential ones without saying so.
//! 4. dpkg unpacks the rest of step 1 in apt's order; what they pre-depend on is configured before.
//! 5. `dpkg --configure -a` does the rest in its own order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use stage::{Error, Result};
use store::Store;
use store::tree::Tree;

use super::capture::Captured;
use super::database::{self, Database};
use super::guest::Guest;
use super::mounts::{TREE, WORK};
use super::unpack::{How, Names, Unpacked, Unpacker};
use super::{capture, files, part};
use crate::deb::{self, Control, Package};
use crate::job::{Job, JobPackage};
use crate::{contents, parallel};

/// Tells init scripts that nothing may be started in a tree that does not run.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// A package with what its control member says, and what it holds.
struct Known<'a> {
    index: usize,
    job: &'a JobPackage,
    path: PathBuf,
    control: Control,
    contents: Tree,
}

impl Known<'_> {
    fn for_dpkg(&self) -> bool {
        self.control.files.contains_key("preinst")
    }

    fn plain_copy(&self) -> String {
        format!("{WORK}/{:04}.deb", self.index)
    }
}

/// What was installed.
pub struct Installed {
    /// The image's time stamp: what the environment said, or the time of the packages' newest file.
    pub epoch: u64,
    /// The files whose contents are known from their packages, as they were before any script ran.
    pub placed: Captured,
}

/// Installs the packages of the job into the empty tree.
///
/// # Errors
/// Exit code 1 with the package, and what its script said.
pub fn install(store: &Store, job: &Job) -> Result<Installed> {
    let known = part("read packages", || read(store, &job.packages))?;
    let epoch = job.image.source_date_epoch.unwrap_or(newest(&known));
    let placed = part("unpack", || unpack(store, &known))?;
    let guest = Guest::new(store, epoch);
    files::write(POLICY, "#!/bin/sh\nexit 101\n", 0o755)?;
    part("configure", || configure(&guest, &known))?;
    files::remove(POLICY)?;
    let automatic = known.iter().filter(|k| !k.job.requested);
    let automatic: Vec<_> = automatic
        .map(|k| (k.job.name.clone(), job.architecture.clone()))
        .collect();
    database::write_automatic(&automatic)?;
    Ok(Installed { epoch, placed })
}

fn read<'a>(store: &Store, packages: &'a [JobPackage]) -> Result<Vec<Known<'a>>> {
    let mut numbered: Vec<_> = packages.iter().enumerate().collect();
    largest_first(&mut numbered, |(_, job)| job.deb.size);
    let mut known = parallel::map(&numbered, |(index, job)| {
        let path = store.object_path(&job.deb);
        let damaged = |e| Error::damaged(format!("package {}: {e}", job.name));
        // What is read from it later is a part of it; here every byte is compared with the object's name.
        store.verify(&job.deb).map_err(damaged)?;
        Ok(Known {
            index: *index,
            job,
            control: Package::open(&path)?.control,
            contents: contents::of(store, &job.name, &job.deb)?,
            path,
        })
    })?;
    known.sort_by_key(|k| k.index);
    Ok(known)
}

/// So that no core is left with a large one at the end.
fn largest_first<T>(list: &mut [T], size: impl Fn(&T) -> u64) {
    list.sort_by_key(|one| std::cmp::Reverse(size(one)));
}

/// Time of the newest file of all packages.
fn newest(known: &[Known]) -> u64 {
    let times = known
        .iter()
        .flat_map(|k| k.contents.iter().map(|e| e.mtime));
    times.max().and_then(|t| u64::try_from(t).ok()).unwrap_or(0)
}

fn names(known: &Known) -> Names {
    let replaces = known.control.fields.relation("Replaces");
    Names {
        name: known.job.name.clone(),
        replaces: replaces.into_iter().flatten().collect(),
    }
}

fn unpack(store: &Store, known: &[Known]) -> Result<Captured> {
    let mut unpacker = Unpacker::new(store, known.iter().map(names).collect())?;
    for k in known.iter().filter(|k| !k.for_dpkg()) {
        unpacker.claim(k.index, &k.contents)?;
    }
    let (mut lent, mut rest): (Vec<&Known>, Vec<&Known>) =
        known.iter().partition(|k| k.for_dpkg() && k.job.bootstrap);
    for k in &lent {
        unpacker.frame(k.index, &k.contents, How::Lend)?;
    }
    for list in [&mut lent, &mut rest] {
        largest_first(list, |k| k.job.deb.size);
    }
    parallel::map(&lent, |k| {
        copy_plain(store, k)?;
        unpacker.unpack(k.index, &k.contents, How::Lend, &|_| false)
    })?;
    for k in known.iter().filter(|k| !k.for_dpkg()) {
        unpacker.frame(k.index, &k.contents, How::Install)?;
    }
    let mut unpacked = parallel::map(&rest, |k| match k.for_dpkg() {
        true => copy_plain(store, k).map(|()| None),
        false => Ok(Some((k.index, unpack_one(k, &unpacker)?))),
    })?;
    unpacker.finish_dirs()?;
    unpacked.sort_by_key(|u| u.as_ref().map(|(index, _)| *index));
    let mut database = Database::default();
    for (index, unpacked) in unpacked.into_iter().flatten() {
        database.add(
            &known[index].control,
            &unpacker.without_lost(index, unpacked),
        )?;
    }
    database.write()?;
    capture::placed(TREE.as_ref(), unpacker.into_contents())
}

fn copy_plain(store: &Store, known: &Known) -> Result<()> {
    let target = known.plain_copy();
    deb::write_plain(&known.path, &known.contents, store, Path::new(&target))
}

fn unpack_one(known: &Known, unpacker: &Unpacker) -> Result<Unpacked> {
    let conffiles: BTreeSet<String> = database::conffiles(&known.control).into_iter().collect();
    let all = !known.control.files.contains_key("md5sums");
    unpacker.unpack(known.index, &known.contents, How::Install, &|path| {
        all || conffiles.contains(path)
    })
}

fn configure(guest: &Guest, known: &[Known]) -> Result<()> {
    let mut first: Vec<&Known> = known
        .iter()
        .filter(|k| k.for_dpkg() && k.job.bootstrap)
        .collect();
    // Its script makes /etc/passwd, which all others may need.
    first.sort_by_key(|k| k.job.name != "base-passwd");
    for group in first.chunk_by(|a, _| a.job.name != "base-passwd") {
        run_unpack(guest, group, &["--force-depends"])?;
    }
    let essential: Vec<&str> = known
        .iter()
        .filter(|k| k.job.bootstrap)
        .map(|k| k.job.name.as_str())
        .collect();
    run_configure(guest, &essential)?;
    let mut order = Order::new(known, &essential);
    let mut batch: Vec<&Known> = Vec::new();
    for k in known.iter().filter(|k| k.for_dpkg() && !k.job.bootstrap) {
        let needed = order.needed_before(k);
        if !needed.is_empty() {
            run_unpack(guest, &batch, &["--force-depends"])?;
            batch.clear();
            run_configure(guest, &needed)?;
        }
        batch.push(k);
        order.unpacked.insert(k.job.name.as_str());
    }
    run_unpack(guest, &batch, &["--force-depends"])?;
    dpkg_configure(guest, &["--force-unsafe-io", "--configure", "-a"])
}

fn run_unpack(guest: &Guest, packages: &[&Known], force: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let copies: Vec<String> = packages.iter().map(|k| k.plain_copy()).collect();
    let mut args = vec!["--force-unsafe-io"];
    args.extend(force);
    args.push("--unpack");
    args.extend(copies.iter().map(String::as_str));
    guest.must("dpkg", &args)?;
    copies.iter().try_for_each(files::remove)
}

fn run_configure(guest: &Guest, names: &[&str]) -> Result<()> {
    let mut args = vec![
        "--force-unsafe-io",
        "--force-depends",
        "--no-triggers",
        "--configure",
    ];
    args.extend(names);
    dpkg_configure(guest, &args)
}

fn dpkg_configure(guest: &Guest, args: &[&str]) -> Result<()> {
    let finished = guest.run("dpkg", args, &[])?;
    let what = "dpkg --configure";
    match finished.status.success() {
        true => finished.whole(what),
        false => Err(finished.error_around("dpkg: error processing package", what)),
    }
}

/// What must be configured before a package that pre-depends on it is unpacked.
struct Order<'a> {
    by_name: BTreeMap<&'a str, &'a Control>,
    providers: BTreeMap<String, &'a str>,
    unpacked: BTreeSet<&'a str>,
    configured: BTreeSet<&'a str>,
}

impl<'a> Order<'a> {
    /// `configured` are the packages that are configured already.
    fn new(known: &'a [Known<'a>], configured: &[&'a str]) -> Self {
        let mut providers = BTreeMap::new();
        for k in known {
            for name in k.control.fields.relation("Provides").into_iter().flatten() {
                providers.entry(name).or_insert(k.job.name.as_str());
            }
        }
        let plain = known.iter().filter(|k| !k.for_dpkg());
        Self {
            by_name: known
                .iter()
                .map(|k| (k.job.name.as_str(), &k.control))
                .collect(),
            providers,
            unpacked: plain
                .map(|k| k.job.name.as_str())
                .chain(configured.iter().copied())
                .collect(),
            configured: configured.iter().copied().collect(),
        }
    }

    /// Names the packages that `package` pre-depends on, with all that they depend on, as far as they are
    /// not configured yet; notes that they will be.
    fn needed_before(&mut self, package: &'a Known<'a>) -> Vec<&'a str> {
        let mut needed = Vec::new();
        let mut open = self.terms(&package.control, &["Pre-Depends"]);
        while let Some(name) = open.pop() {
            if self.unpacked.contains(name) && self.configured.insert(name) {
                needed.push(name);
                if let Some(control) = self.by_name.get(name).copied() {
                    open.extend(self.terms(control, &["Pre-Depends", "Depends"]));
                }
            }
        }
        needed
    }

    /// For each term of the relation fields, the package of the set that fulfils it.
    fn terms(&self, control: &Control, fields: &[&str]) -> Vec<&'a str> {
        let terms = fields.iter().flat_map(|f| control.fields.relation(f));
        let find = |alternatives: Vec<String>| {
            alternatives.iter().find_map(|name| {
                let real = self.by_name.get_key_value(name.as_str()).map(|(n, _)| *n);
                real.or_else(|| self.providers.get(name).copied())
            })
        };
        terms.filter_map(find).collect()
    }
}

//! What a build is made of, and nothing that a stage made of it, into a store of its own.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use manifest::{Lock, Object, Plan, Rootfs, package_key};
use stage::{At, Error, Result};
use store::Store;
use store::tree::{Kind, Tree};

/// Puts the inputs of the plan, and those package files of the lock that are here, into an empty store. Each object
/// is checked on the way. Gives the number of packages that are not here.
///
/// # Errors
/// Exit code 6 where an input is damaged or missing.
pub(super) fn carry(from: &Store, to: &Store, plan: &Plan, lock: &Lock) -> Result<usize> {
    for object in of_plan(from, plan)? {
        stage::interrupted()?;
        link(from, to, &object)?;
    }
    let mut missing = 0;
    for package in &lock.packages {
        stage::interrupted()?;
        let key = package_key(&package.sha256)?;
        let value = from.action(&key)?;
        let object = value
            .clone()
            .and_then(|v| serde_json::from_value::<Object>(v).ok());
        match (object.filter(|o| from.has(o)), value) {
            (Some(object), Some(value)) => {
                link(from, to, &object)?;
                to.record_action(&key, &value)?;
            }
            _ => missing += 1,
        }
    }
    Ok(missing)
}

/// The lock of a manifest.
///
/// # Errors
/// Exit code 3 where it names none.
pub(super) fn lock(store: &Store, rootfs: &Rootfs) -> Result<Lock> {
    let object = rootfs.lock.ok_or_else(|| {
        Error::refused("the manifest names no lock, so nobody knows its packages")
            .advice("build it again with rootfs-assemble of this release")
    })?;
    Lock::parse(&store.get(&object)?).map_err(|e| Error::damaged(e.to_string()))
}

fn of_plan(store: &Store, plan: &Plan) -> Result<Vec<Object>> {
    let keys = plan.repositories.iter().flat_map(|r| &r.keys);
    let mut objects: Vec<Object> = keys.map(|key| key.object).collect();
    objects.extend(plan.scripts.config.iter().chain(&plan.scripts.images));
    if let Some(overlay) = plan.overlay {
        objects.push(overlay);
        let tree = Tree::read(store, &overlay)?;
        objects.extend(tree.iter().filter_map(|entry| match entry.kind {
            Kind::File(object) => Some(object),
            _ => None,
        }));
    }
    Ok(objects)
}

/// The same file under the same name in another store; a copy where that is on another file system.
fn link(from: &Store, to: &Store, object: &Object) -> Result<()> {
    from.verify(object)?;
    let (source, target) = (from.object_path(object), to.object_path(object));
    if let Some(dir) = target.parent() {
        fs::create_dir_all(dir).at(dir)?;
    }
    match fs::hard_link(&source, &target) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(_) => copy(from, to, object, &source),
    }
}

fn copy(from: &Store, to: &Store, object: &Object, source: &Path) -> Result<()> {
    let stored = to.put_reader(&mut from.open_object(object)?)?;
    match stored == *object {
        true => Ok(()),
        false => Err(Error::damaged(format!(
            "{} changed while it was read",
            source.display()
        ))),
    }
}

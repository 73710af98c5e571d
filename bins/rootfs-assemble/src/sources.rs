//! Where the packages come from: a lock, or the repositories as they were last read.
//!
//! ```text
//! --lock FILE ──────────────────────────────▶ packages
//! repositories ─▶ metadata, verified ─▶ solve ─▶ packages
//! ```
//!
//! The digests of the verified metadata are in the stage key, so packages are chosen again when a repository has
//! changed and never otherwise. Asking a server takes longer than a whole run that has nothing to do, so a server
//! is asked once a day, with `--refresh`, or when it no longer has a package. A directory of this host is looked at
//! every time.

use std::fs;
use std::path::Path;
use std::time::Duration;

use manifest::{Lock, LockedPackage, Scripts, StageKey, stage_key, to_canonical};
use serde_json::{Value, json};
use stage::{At, Context, Error, Result};

use crate::apt::{self, Apt, HOST_SOURCES, Metadata, host};
use crate::input::{Input, Options, PlanInput};
use crate::preflight;

/// The version of how metadata are kept. Changelog. 1: the first.
const VERSION: u32 = 1;
/// Where the host's package sources stand.
const HOST_ETC: &str = "/etc/apt";
/// Seconds.
const HOUR: u64 = 3600;

/// Where the packages come from.
#[derive(Debug)]
pub enum Sources {
    /// Exactly these.
    Lock(Vec<LockedPackage>),
    /// What the repositories have.
    Repositories(Metadata),
}

impl Sources {
    /// What of the sources decides about the outcome.
    ///
    /// # Errors
    /// Exit code 1 where the lock cannot be written as JSON.
    pub fn identity(&self) -> Result<Value> {
        Ok(match self {
            Self::Lock(packages) => {
                let digest = manifest::Digest::of(to_canonical(packages)?.as_bytes());
                json!({"lock": digest})
            }
            Self::Repositories(metadata) => json!({"metadata": metadata.identity()}),
        })
    }
}

/// The sources' part of the stage key. Reads the repositories where they were not read for too long.
///
/// # Errors
/// Exit code 3 for a lock that is not one of this description, 1 for a repository that cannot be read.
pub fn identity(cx: &Context, options: &Options, input: &Input) -> Result<Value> {
    let mut identity = current(cx, options, &input.plan)?.identity()?;
    if input.plan.scripts != Scripts::default() {
        identity["network"] = json!(!options.offline);
    }
    Ok(identity)
}

fn current(cx: &Context, options: &Options, plan: &PlanInput) -> Result<Sources> {
    if let Some(file) = &options.lock {
        return lock(file, plan).map(Sources::Lock);
    }
    let key = key(plan)?;
    let known = recorded(cx, &key)?;
    let metadata = match known {
        Some(metadata) if options.offline || is_fresh(cx, options, plan, &key)? => {
            say_age(cx, plan, &key)?;
            metadata
        }
        None if options.offline => return Err(never_read()),
        known => {
            // The stage's own check comes too late: reading the repositories is work.
            preflight::check(options, plan)?;
            update(cx, options, plan, &key, known.as_ref())?
        }
    };
    Ok(Sources::Repositories(metadata))
}

/// The sources, once the stage runs: as its key has them.
///
/// # Errors
/// As [`identity`].
pub fn known(cx: &Context, options: &Options, plan: &PlanInput) -> Result<Sources> {
    match &options.lock {
        None => match recorded(cx, &key(plan)?)? {
            Some(metadata) => Ok(Sources::Repositories(metadata)),
            None => current(cx, options, plan),
        },
        Some(_) => current(cx, options, plan),
    }
}

/// Reads the repositories again; says whether they have changed.
///
/// # Errors
/// Exit code 1 for a repository that cannot be read.
pub fn read_again(
    cx: &Context,
    options: &Options,
    plan: &PlanInput,
    before: &Metadata,
) -> Result<bool> {
    Ok(update(cx, options, plan, &key(plan)?, Some(before))? != *before)
}

fn never_read() -> Error {
    Error::failed("--offline: the store has no metadata of these repositories")
        .advice("run it once without --offline, or name the packages with --lock FILE")
}

fn lock(file: &Path, plan: &PlanInput) -> Result<Vec<LockedPackage>> {
    let refused = |fact: String| Error::refused(format!("lock {}: {fact}", file.display()));
    let lock = Lock::parse(&fs::read(file).at(file)?).map_err(|e| refused(e.to_string()))?;
    let differences = lock.differences(&plan.arch, &plan.packages);
    if differences.is_empty() {
        return Ok(lock.packages);
    }
    Err(refused(format!(
        "it is not one of this description:\n  {}",
        differences.join("\n  ")
    ))
    .advice("build without --lock once: the lock in the output directory is the new one"))
}

/// The name under which the metadata of the plan's repositories are kept.
fn key(plan: &PlanInput) -> Result<StageKey> {
    let architecture = apt::debian_architecture(&plan.arch)?;
    let mut local = Vec::new();
    for repository in plan.sources() {
        local.push(apt::fingerprint(repository, architecture)?);
    }
    let host = match uses_host(plan) {
        true => host::identity(&host::files(Path::new(HOST_ETC))?),
        false => Value::Null,
    };
    let facts = json!({
        "version": VERSION,
        "arch": plan.arch,
        "repositories": plan.sources().collect::<Vec<_>>(),
        "local": local,
        "host": host,
    });
    Ok(stage_key("rootfs-assemble/metadata", &facts)?)
}

fn uses_host(plan: &PlanInput) -> bool {
    plan.sources().any(|r| r.uri == HOST_SOURCES)
}

fn recorded(cx: &Context, key: &StageKey) -> Result<Option<Metadata>> {
    let value = cx.store().action(key)?;
    let metadata = value.and_then(|v| serde_json::from_value::<Metadata>(v).ok());
    Ok(metadata.filter(|m| m.is_here(cx.store())))
}

/// Whether what is known of the repositories need not be asked for again.
fn is_fresh(cx: &Context, options: &Options, plan: &PlanInput, key: &StageKey) -> Result<bool> {
    if options.refresh {
        return Ok(false);
    }
    if all_local(plan) {
        return Ok(true);
    }
    if uses_host(plan) && host::has_local(&host::files(Path::new(HOST_ETC))?) {
        return Ok(false);
    }
    let limit = Duration::from_secs(options.max_age.saturating_mul(HOUR));
    let age = cx.store().action_age(key)?;
    Ok(age.is_some_and(|age| age < limit))
}

/// Whether all repositories are directories of this host, whose state is in the name of what is kept.
fn all_local(plan: &PlanInput) -> bool {
    let local = |uri: &str| apt::source_uri(uri).is_some_and(|u| u.starts_with("file:"));
    plan.sources().all(|r| local(&r.uri))
}

/// Says how old the knowledge is that is used.
fn say_age(cx: &Context, plan: &PlanInput, key: &StageKey) -> Result<()> {
    let age = cx
        .store()
        .action_age(key)?
        .map_or(0, |age| age.as_secs() / HOUR);
    if age > 0 && !all_local(plan) {
        cx.say(&format!(
            "the repositories were read {age} h ago; --refresh reads them again"
        ));
    }
    Ok(())
}

fn update(
    cx: &Context,
    options: &Options,
    plan: &PlanInput,
    key: &StageKey,
    before: Option<&Metadata>,
) -> Result<Metadata> {
    let scratch = cx.store().scratch()?;
    let architecture = apt::debian_architecture(&plan.arch)?;
    for package in plan.packages.bootstrap.iter().chain(&plan.packages.image) {
        apt::check_name(cx, &plan.packages, &package.name)?;
    }
    let auth = options.auth.as_deref();
    let apt = Apt::set_up(cx, scratch.path(), architecture, &plan.repositories, auth)?;
    let metadata = cx.part("metadata", || apt::update(&apt, before))?;
    let value = serde_json::to_value(&metadata).map_err(|e| Error::failed(e.to_string()))?;
    cx.store().sync()?;
    cx.store().record_action(key, &value)?;
    Ok(metadata)
}

//! Which packages, and their files: from the lock or the repositories into the store.

use std::path::Path;

use manifest::{LockedPackage, Object};
use serde_json::json;
use stage::{Context, Error, Exit, Result};

use crate::apt::{self, Apt, Metadata};
use crate::input::{Options, PlanInput};
use crate::sources::{self, Sources};

/// The version of how packages are chosen. Changelog. 1: the first.
const RESOLVE_VERSION: u32 = 1;

/// The packages in the order in which they are unpacked, with their files. `dir` is an empty directory for apt.
///
/// # Errors
/// Exit code 1 with the package that cannot be had; 3 for a lock that is not one of this description.
pub fn choose(
    cx: &Context,
    options: &Options,
    plan: &PlanInput,
    dir: &Path,
) -> Result<(Vec<LockedPackage>, Vec<Object>)> {
    let mut apt = SetUp {
        cx,
        options,
        plan,
        dir,
        apt: None,
    };
    let sources = sources::known(cx, options, plan)?;
    let chosen = match &sources {
        Sources::Lock(packages) => packages.clone(),
        Sources::Repositories(metadata) => resolve(&mut apt, metadata)?,
    };
    let objects = apt::fetched(cx.store(), &chosen)?;
    let lacking: Vec<&str> = chosen
        .iter()
        .zip(&objects)
        .filter(|(_, object)| object.is_none())
        .map(|(package, _)| package.name.as_str())
        .collect();
    if lacking.is_empty() {
        return Ok((chosen, objects.into_iter().flatten().collect()));
    }
    if options.offline {
        return Err(not_here(&lacking));
    }
    let apt = apt.get()?;
    match cx.part("fetch", || apt::fetch(apt, &chosen, objects)) {
        Err(error) if error.exit() == Exit::Failed => {
            Err(explain(cx, options, plan, &sources, error))
        }
        debs => Ok((chosen, debs?)),
    }
}

fn resolve(apt: &mut SetUp<'_>, metadata: &Metadata) -> Result<Vec<LockedPackage>> {
    let (cx, plan) = (apt.cx, apt.plan);
    let facts = json!({
        "version": RESOLVE_VERSION,
        "arch": plan.arch,
        "bootstrap": plan.packages.bootstrap,
        "image": plan.packages.image,
        "repositories": plan.sources().collect::<Vec<_>>(),
        "metadata": metadata.identity(),
        "program": cx.tool("apt-get")?.digest(),
    });
    cx.cached("resolve", &facts, || {
        let apt = apt.get()?;
        metadata.lay(apt)?;
        apt::solve(apt, &plan.packages)
    })
}

fn not_here(lacking: &[&str]) -> Error {
    const SHOWN: usize = 5;
    let names = lacking[..lacking.len().min(SHOWN)].join(", ");
    let more = match lacking.len().saturating_sub(SHOWN) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    Error::failed(format!(
        "--offline: {} packages are not in the store: {names}{more}",
        lacking.len()
    ))
    .advice("run it once without --offline")
}

/// A package that was chosen cannot be fetched: has the repository moved on since it was read?
fn explain(
    cx: &Context,
    options: &Options,
    plan: &PlanInput,
    sources: &Sources,
    error: Error,
) -> Error {
    match sources {
        Sources::Lock(_) => error.advice(
            "the lock names a package that is not there any more; build without --lock for a new one",
        ),
        Sources::Repositories(metadata) => match sources::read_again(cx, options, plan, metadata) {
            Ok(true) => Error::failed(
                "a package that was chosen is not there any more: the repositories have changed and are read again",
            )
            .stale(),
            _ => error,
        },
    }
}

/// apt, configured when it is first needed: a run that has all packages needs none.
struct SetUp<'a> {
    cx: &'a Context,
    options: &'a Options,
    plan: &'a PlanInput,
    dir: &'a Path,
    apt: Option<Apt<'a>>,
}

impl<'a> SetUp<'a> {
    fn get(&mut self) -> Result<&Apt<'a>> {
        let apt = match self.apt.take() {
            Some(apt) => apt,
            None => {
                let architecture = apt::debian_architecture(&self.plan.arch)?;
                let auth = self.options.auth.as_deref();
                let repositories = &self.plan.repositories;
                Apt::set_up(self.cx, self.dir, architecture, repositories, auth)?
            }
        };
        Ok(self.apt.insert(apt))
    }
}

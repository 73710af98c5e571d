//! Which state of the repositories counts: the stage key's view of the world outside.
//!
//! Packages that were chosen once stay chosen, so that a second run does nothing. `--refresh` begins a new
//! *generation*: from then on, keys differ from those of earlier runs, and the repositories are read again.

use std::path::Path;

use manifest::{StageKey, stage_key};
use serde_json::{Value, json};
use stage::Result;
use store::Store;

use crate::apt::{HOST_SOURCES, host};
use crate::input::{Input, Options, PlanInput};

/// What of the host and of time decides about the outcome: its package sources, where the plan asks for
/// them, and the generation.
///
/// # Errors
/// Those of the store and of the host's source files.
pub fn identity(options: &Options, input: &Input) -> Result<Value> {
    let store = Store::open_default()?;
    let host = host_sources(&input.plan)?;
    let key = key(&input.plan, &host)?;
    let mut generation = generation(&store, &key)?;
    if options.refresh {
        generation += 1;
        store.record_action(&key, &json!(generation))?;
    }
    Ok(json!({"host": host, "generation": generation}))
}

/// The same, once the stage runs.
///
/// # Errors
/// As [`identity`].
pub fn current(store: &Store, plan: &PlanInput) -> Result<Value> {
    let host = host_sources(plan)?;
    let generation = generation(store, &key(plan, &host)?)?;
    Ok(json!({"host": host, "generation": generation}))
}

fn host_sources(plan: &PlanInput) -> Result<Value> {
    match plan.repositories.iter().any(|r| r.uri == HOST_SOURCES) {
        true => Ok(host::identity(&host::files(Path::new("/etc/apt"))?)),
        false => Ok(Value::Null),
    }
}

fn key(plan: &PlanInput, host: &Value) -> Result<StageKey> {
    let facts = json!({"repositories": plan.repositories, "host": host});
    Ok(stage_key("rootfs-assemble/generation", &facts)?)
}

fn generation(store: &Store, key: &StageKey) -> Result<u64> {
    Ok(store.action(key)?.and_then(|v| v.as_u64()).unwrap_or(0))
}

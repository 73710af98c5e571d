//! What is in the store, and what keeps it there.

use std::time::SystemTime;

use manifest::to_canonical;
use serde_json::{Map, Value, json};
use stage::Result;
use store::Store;

use crate::gc::{self, Inventory, Kind, Marker, by_kind, line};
use crate::print;

/// The command.
///
/// # Errors
/// Exit code 1 where something cannot be read.
pub(crate) fn stats(store: &Store, as_json: bool) -> Result<()> {
    let inventory = Inventory::take(store)?;
    let kinds = gc::everything(store, &inventory)?;
    let kept = kept(store, &inventory)?;
    if as_json {
        return print(&to_canonical(&value(&inventory, &kinds, &kept))?);
    }
    print("objects")?;
    let sums = by_kind(&inventory, &kinds, inventory.objects.keys());
    for (kind, (count, bytes)) in sums {
        print(&format!("  {}", line(kind.words(), count, bytes)))?;
    }
    print("kept by")?;
    for kept in &kept {
        print(&format!(
            "  {}",
            line(&kept.words(), kept.count, kept.bytes)
        ))?;
    }
    let actions = inventory.actions.values().map(|a| a.size).sum();
    print(&line(
        "recorded results",
        inventory.actions.len() as u64,
        actions,
    ))?;
    let journals = inventory.runs.iter().map(|r| r.size).sum();
    print(&line("journals", inventory.runs.len() as u64, journals))?;
    if let Some((oldest, newest)) = ages(&inventory) {
        print(&format!("objects were put {newest} to {oldest} days ago"))?;
    }
    Ok(())
}

/// What a kind of root keeps that none before it in the list does.
struct Kept {
    name: &'static str,
    /// How many such roots there are.
    roots: usize,
    count: u64,
    bytes: u64,
}

impl Kept {
    fn words(&self) -> String {
        match self.name {
            "pins" => format!("pins ({})", self.roots),
            "holds" => format!("running builds ({})", self.roots),
            "runs" => format!("runs of {} days ({})", gc::KEEP_DAYS, self.roots),
            _ => "nothing: gc frees it".to_owned(),
        }
    }
}

/// Each object is counted at the first root in the order pins, holds, runs, that leads to it.
fn kept(store: &Store, inventory: &Inventory) -> Result<Vec<Kept>> {
    let mut marker = Marker::new(store, inventory);
    let mut all = Vec::new();
    let mut before = (0, 0);
    let mut count = |name, roots, marker: &Marker<'_>| {
        let marked = inventory.objects.keys().filter(|o| marker.has_object(o));
        let now = (marked.count() as u64, marker.bytes());
        let (count, bytes) = (now.0 - before.0, now.1 - before.1);
        before = now;
        all.push(Kept {
            name,
            roots,
            count,
            bytes,
        });
    };
    let pins = gc::pins(store)?;
    pins.iter().try_for_each(|pin| marker.file(pin))?;
    count("pins", pins.len(), &marker);
    let holds = store.holds(None)?;
    holds.iter().try_for_each(|hold| marker.file(hold))?;
    count("holds", holds.len(), &marker);
    let is_young = |run: &&gc::Run| run.age() < gc::days(gc::KEEP_DAYS);
    let young: Vec<_> = inventory.runs.iter().filter(is_young).collect();
    young.iter().try_for_each(|run| marker.run(run))?;
    count("runs", young.len(), &marker);
    let (objects, bytes) = before;
    let sum: u64 = inventory.objects.values().map(|o| o.size).sum();
    all.push(Kept {
        name: "nothing",
        roots: 0,
        count: inventory.objects.len() as u64 - objects,
        bytes: sum - bytes,
    });
    Ok(all)
}

fn value(inventory: &Inventory, kinds: &Marker<'_>, kept: &[Kept]) -> Value {
    let sum = |count: u64, bytes: u64| json!({"count": count, "bytes": bytes});
    let sums = by_kind(inventory, kinds, inventory.objects.keys());
    let name = |kind: &Kind| kind.words().replace([' ', ','], "-").replace("--", "-");
    let by_kind: Map<_, _> = sums
        .iter()
        .map(|(k, (n, b))| (name(k), sum(*n, *b)))
        .collect();
    let kept: Map<_, _> = kept
        .iter()
        .map(|k| {
            (
                k.name.to_owned(),
                json!({"roots": k.roots, "count": k.count, "bytes": k.bytes}),
            )
        })
        .collect();
    let actions = inventory.actions.values().map(|a| a.size).sum();
    let journals = inventory.runs.iter().map(|r| r.size).sum();
    let objects = inventory.objects.values().map(|o| o.size).sum();
    let (oldest, newest) = ages(inventory).unwrap_or_default();
    json!({
        "objects": sum(inventory.objects.len() as u64, objects),
        "kinds": by_kind,
        "kept": kept,
        "actions": sum(inventory.actions.len() as u64, actions),
        "journals": sum(inventory.runs.len() as u64, journals),
        "oldest_days": oldest,
        "newest_days": newest,
    })
}

/// Days since the oldest and the newest object were put.
fn ages(inventory: &Inventory) -> Option<(u64, u64)> {
    let times = || inventory.objects.values().map(|o| o.since);
    let days = |t: SystemTime| t.elapsed().map_or(0, |age| age.as_secs() / (24 * 3600));
    Some((days(times().min()?), days(times().max()?)))
}

//! `ramforge why`: what ran again, and what differed from the time before, in words.
//!
//! The journal names, for every stage and part of a stage, the object with all that its key was made of. The
//! newest run of a stage is compared with the one before it of the same description, that is, with the same
//! arguments of the pipeline. Two descriptions differ in everything.
//!
//! ```text
//! journals ─▶ history ─▶ differ: places ─▶ words: what a place is called ─▶ sentences
//! ```

mod contents;
mod differ;
mod history;
mod sentence;
mod words;

use manifest::{Disk, Initrd, Manifest, Media, Object, Plan, Rootfs, Section, Verdict};
use serde_json::{Value, json};
use stage::{Error, Exit, Result};
use store::Store;

use history::{PartRun, Run, StageRun, history};

/// The stages of the pipeline in their order.
pub const STAGES: [&str; 6] = [
    Plan::STAGE,
    Rootfs::STAGE,
    Disk::STAGE,
    Initrd::STAGE,
    Media::STAGE,
    Verdict::STAGE,
];

/// The fields of `facts` for which there is no word. `place` is a stage, or `stage/part`.
pub fn unnamed(place: &str, facts: &Value) -> Vec<String> {
    let own = |path: &Vec<String>| {
        let has_word = (1..=path.len()).any(|n| words::word(place, &path[..n]).is_some());
        // The name of the stage says only whose key it is.
        !has_word && path.as_slice() != ["stage"]
    };
    let paths = differ::leaves(facts).into_iter().filter(own);
    paths.map(|path| path.join(".")).collect()
}

/// Says of one stage, or of all, why it ran again, one line after another.
///
/// # Errors
/// Exit code 2 for a stage that nobody knows, 1 where the journal is empty, and those of the store.
pub fn why(store: &Store, stage: Option<&str>) -> Result<Vec<String>> {
    let history = history(store)?;
    if history.is_empty() {
        return Err(Error::failed("the journal is empty: no run yet"));
    }
    let names: Vec<&str> = match stage {
        Some(name) => vec![known(&history, name)?],
        None => STAGES.to_vec(),
    };
    let mut lines = Vec::new();
    for name in names {
        lines.extend(Question::new(store, &history, name).answer()?);
    }
    Ok(lines)
}

/// The name, if it is a stage's.
fn known<'a>(history: &'a [Run], name: &'a str) -> Result<&'a str> {
    let all = history.iter().flat_map(|run| &run.stages);
    let mut names: Vec<&str> = STAGES.to_vec();
    names.extend(
        all.map(|s| s.stage.as_str())
            .filter(|n| !STAGES.contains(n)),
    );
    names.sort_by_key(|n| STAGES.iter().position(|s| s == n).unwrap_or(STAGES.len()));
    names.dedup();
    match names.contains(&name) {
        true => Ok(name),
        false => Err(
            Error::new(Exit::Usage, format!("there is no stage {name:?}"))
                .advice(format!("expected one of {}", names.join(", "))),
        ),
    }
}

/// One stage, its newest run, and the runs of the same description before that one.
struct Question<'a> {
    store: &'a Store,
    history: &'a [Run],
    name: &'a str,
    run: Option<&'a Run>,
    earlier: Vec<&'a Run>,
}

impl<'a> Question<'a> {
    fn new(store: &'a Store, history: &'a [Run], name: &'a str) -> Self {
        // A run of other stages on their own says nothing of this one.
        let counts = |run: &&Run| run.arguments.is_some() || run.stage(name).is_some();
        let mut runs = history.iter().rev().filter(counts);
        let run = runs.next();
        let same = |other: &&Run| run.is_some_and(|run| run.arguments == other.arguments);
        Self {
            store,
            history,
            name,
            run,
            earlier: runs.filter(same).collect(),
        }
    }

    fn answer(&self) -> Result<Vec<String>> {
        let Some(run) = self.run else {
            return Ok(vec![format!("{} has not run yet", self.name)]);
        };
        let Some(stage) = run.stage(self.name) else {
            return Ok(vec![self.absent(run)]);
        };
        let mut lines = vec![self.headline(stage)?];
        if let Some(failure) = &stage.failure {
            let first = failure.lines().next().unwrap_or_default();
            lines.push(format!("  it did not end well: {first}"));
        }
        for part in &stage.parts {
            lines.push(format!("  {:24} {}", part.part, self.part(part)?));
        }
        Ok(lines)
    }

    /// Why a run knows nothing of the stage.
    fn absent(&self, run: &Run) -> String {
        let name = self.name;
        let failed = run
            .stages
            .iter()
            .find_map(|s| Some((&s.stage, s.failure.as_ref()?)));
        match (failed, run.code) {
            (Some((stage, failure)), _) => {
                let first = failure.lines().next().unwrap_or_default();
                format!("{name} did not run the last time: {stage} failed before it: {first}")
            }
            (None, None) => {
                format!("{name} has not begun: the last run has not ended yet, or was cut off")
            }
            (None, Some(code)) => format!(
                "{name} left nothing in the journal of the last run (exit code {code}): another program may have taken its place"
            ),
        }
    }

    fn headline(&self, stage: &StageRun) -> Result<String> {
        let name = self.name;
        let Some(now) = stage.facts else {
            return Ok(format!("{name} failed before it began"));
        };
        let before = self
            .earlier
            .iter()
            .find_map(|run| Some((run.stage(name)?, run.stage(name)?.facts?)));
        let Some((before, then)) = before else {
            return Ok(match stage.found {
                true => format!(
                    "{name} had nothing to do: its result was in the store; no earlier run of this description is known"
                ),
                false => format!(
                    "{name} ran for the first time: no earlier run of this description is known"
                ),
            });
        };
        if name == Plan::STAGE {
            return self.plan(then, now);
        }
        let said = self.differences(name, then, now)?;
        Ok(match (said.is_empty(), stage.found) {
            (true, true) => format!(
                "{name} had nothing to do: nothing that it reads differs from the time before"
            ),
            (false, true) => format!(
                "{name} had nothing to do: an earlier run left the result of this; since the time before, {}",
                said.join("; ")
            ),
            (false, false) => format!("{name} ran again: {}", said.join("; ")),
            (true, false) => format!("{name} ran again: {}", unchanged(before)),
        })
    }

    /// The first stage reads the description every time.
    fn plan(&self, then: Object, now: Object) -> Result<String> {
        let said = self.differences(Plan::STAGE, then, now)?;
        Ok(match said.is_empty() {
            true => {
                "desc-parse read the description: it says what it said the time before".to_owned()
            }
            false => format!("desc-parse read the description: {}", said.join("; ")),
        })
    }

    fn part(&self, part: &PartRun) -> Result<String> {
        if part.found {
            return Ok("from the store".to_owned());
        }
        let before = self.earlier.iter().find_map(|run| {
            let parts = &self.maker(run.stage(self.name)?).parts;
            parts.iter().rev().find(|p| p.part == part.part)
        });
        let Some(before) = before else {
            return Ok("made: no earlier one is known".to_owned());
        };
        let place = format!("{}/{}", self.name, part.part);
        let said = self.differences(&place, before.facts, part.facts)?;
        Ok(match said.is_empty() {
            true => {
                "made again: nothing differs, but the store does not have it any more".to_owned()
            }
            false => format!("made again: {}", said.join("; ")),
        })
    }

    /// Who made the result that a stage found in the store, be it for another description.
    fn maker(&self, stage: &'a StageRun) -> &'a StageRun {
        let all = self.history.iter().rev().flat_map(|run| &run.stages);
        let same = |s: &&StageRun| s.stage == stage.stage && s.facts == stage.facts && !s.found;
        match stage.found {
            true => all.into_iter().find(same).unwrap_or(stage),
            false => stage,
        }
    }

    /// What differs between two sets of facts, in words.
    fn differences(&self, place: &str, then: Object, now: Object) -> Result<Vec<String>> {
        if then == now {
            return Ok(Vec::new());
        }
        let (Some(before), Some(after)) = (self.facts(place, then)?, self.facts(place, now)?)
        else {
            return Ok(vec!["what its key was made of is not in the store any more, so what differs cannot be said".to_owned()]);
        };
        let found = differ::compare(&before, &after);
        let plan = self.plan_now()?;
        let origin = |path: &[String], pointer: &str| origin(&plan, path, pointer);
        Ok(sentence::sentences(self.store, place, &found, &origin))
    }

    fn facts(&self, place: &str, object: Object) -> Result<Option<Value>> {
        if !self.store.has(&object) {
            return Ok(None);
        }
        let facts: Value = serde_json::from_slice(&self.store.get(&object)?)
            .map_err(|e| Error::damaged(e.to_string()))?;
        Ok(Some(match place == Plan::STAGE {
            true => said_by_description(facts),
            false => facts,
        }))
    }

    /// The plan of the newest run, where that is known.
    fn plan_now(&self) -> Result<Manifest> {
        let facts = self.run.and_then(|run| run.stage(Plan::STAGE)?.facts);
        let mut plan = Manifest::default();
        if let Some(object) = facts.filter(|o| self.store.has(o))
            && let Ok(section) = serde_json::from_slice::<Plan>(&self.store.get(&object)?)
        {
            plan.set(&section)?;
        }
        Ok(plan)
    }
}

/// Why a stage whose key did not change was not found in the store.
fn unchanged(before: &StageRun) -> String {
    match (&before.failure, before.finished) {
        (Some(_), _) | (None, false) => "nothing differs, but the time before it did not come to its end".to_owned(),
        (None, true) => "nothing differs, but its result was not in the store (a negative verdict is never kept)".to_owned(),
    }
}

/// The plan without what says nothing of the image: places, versions of programs.
fn said_by_description(mut plan: Value) -> Value {
    if let Some(fields) = plan.as_object_mut() {
        for name in ["format", "by", "origins"] {
            fields.remove(name);
        }
    }
    json!({"input": {"plan": plan}})
}

/// Where a value of the plan stands in the description: itself, or what it is part of.
fn origin(plan: &Manifest, path: &[String], pointer: &str) -> Option<String> {
    let [input, section, first, ..] = path else {
        return None;
    };
    if (input.as_str(), section.as_str()) != ("input", "plan") {
        return None;
    }
    // A part has its own names for the first steps, but the last ones are the plan's.
    let at = pointer.find(&format!("/{first}"));
    let mut pointer = at.map_or(format!("/{first}"), |at| pointer[at..].to_owned());
    loop {
        if let Some(found) = plan.plan_origin(&pointer) {
            return Some(format!("{}:{}:{}", found.file, found.line, found.column));
        }
        pointer.truncate(pointer.rfind('/').filter(|at| *at > 0)?);
    }
}

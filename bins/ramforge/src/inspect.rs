//! Questions to the journal.

use journal::{Event, Line, fold, read, runs};
use manifest::Object;
use serde_json::Value;
use stage::{Error, Exit, Result};
use store::Store;

use crate::print;

pub(crate) fn report(store: &Store, run: Option<&str>) -> Result<()> {
    let path = match run {
        Some(run) => store.journal_dir().join(format!("{run}.jsonl")),
        None => runs(&store.journal_dir())?
            .pop()
            .ok_or_else(|| Error::failed("the journal is empty: no run yet"))?,
    };
    let state = fold(&read(&path)?);
    print(&format!(
        "run {}",
        path.file_stem().unwrap_or_default().to_string_lossy()
    ))?;
    for stage in &state.stages {
        let outcome = match (&stage.failure, stage.cached, stage.milliseconds) {
            (Some(message), ..) => message.lines().next().unwrap_or_default().to_owned(),
            (None, true, _) => "from the store".to_owned(),
            (None, false, Some(_)) => "done".to_owned(),
            (None, false, None) => "unfinished".to_owned(),
        };
        let seconds = stage.milliseconds.map_or(0.0, |ms| ms as f64 / 1000.0);
        let memory = stage.peak_kib.unwrap_or(0) / 1024;
        print(&format!(
            "  {:16} {seconds:8.2} s {memory:6} MiB  {outcome}",
            stage.stage
        ))?;
    }
    for warning in &state.warnings {
        print(&format!("  warning: {warning}"))?;
    }
    if let Some(code) = state.code {
        print(&format!("  exit code {code}"))?;
    }
    Ok(())
}

pub(crate) fn why(store: &Store, stage: &str) -> Result<()> {
    let mut starts: Vec<(Vec<String>, Object)> = Vec::new();
    for path in runs(&store.journal_dir())? {
        let lines = read(&path)?;
        let arguments = match lines.first().map(|line| &line.event) {
            Some(Event::RunStarted { arguments }) => arguments.clone(),
            _ => Vec::new(),
        };
        let facts = lines.into_iter().filter_map(|line| facts_of(line, stage));
        starts.extend(facts.map(|facts| (arguments.clone(), facts)));
    }
    // Two descriptions differ in everything: only runs of the same one are compared.
    let same = starts.last().map(|last| last.0.clone());
    starts.retain(|start| Some(&start.0) == same.as_ref());
    let mut starts: Vec<Object> = starts.into_iter().map(|start| start.1).collect();
    let Some(last) = starts.pop() else {
        return Err(
            Error::new(Exit::Failed, format!("the journal knows no run of {stage}"))
                .advice("name a stage as the report does: ramforge report"),
        );
    };
    let Some(before) = starts.pop() else {
        print(&format!(
            "{stage} ran once: there is nothing to compare with"
        ))?;
        return Ok(());
    };
    let mut differences = Vec::new();
    compare(
        "",
        &facts(store, &before)?,
        &facts(store, &last)?,
        &mut differences,
    );
    if differences.is_empty() {
        print(&format!(
            "{stage}: nothing differs from the time before; its result came from the store"
        ))?;
    }
    differences.iter().try_for_each(|d| print(d))
}

fn facts_of(line: Line, wanted: &str) -> Option<Object> {
    match line.event {
        Event::StageStarted { stage, facts, .. } if stage == wanted => Some(facts),
        _ => None,
    }
}

fn facts(store: &Store, object: &Object) -> Result<Value> {
    serde_json::from_slice(&store.get(object)?).map_err(|e| Error::damaged(e.to_string()))
}

/// Names every place where two values differ.
fn compare(place: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(a), Value::Object(b)) => {
            for name in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                let place = if place.is_empty() {
                    name.clone()
                } else {
                    format!("{place}.{name}")
                };
                compare(
                    &place,
                    a.get(name).unwrap_or(&Value::Null),
                    b.get(name).unwrap_or(&Value::Null),
                    found,
                );
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{place}[{i}]"), a, b, found);
            }
        }
        (a, b) if a != b => found.push(format!("{place}: {} → {}", short(a), short(b))),
        _ => {}
    }
}

fn short(value: &Value) -> String {
    let text = if value.is_null() {
        "(nothing)".to_owned()
    } else {
        value.to_string()
    };
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_named_by_their_place() {
        let mut found = Vec::new();
        let before = json!({"input": {"timeout": 1, "same": [1, 2]}});
        compare(
            "",
            &before,
            &json!({"input": {"timeout": 5, "same": [1, 2], "new": true}}),
            &mut found,
        );
        assert_eq!(
            found,
            ["input.timeout: 1 → 5", "input.new: (nothing) → true"]
        );
    }
}

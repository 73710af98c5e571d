//! A stage of its own, as small as one can be: counts the packages of a plan and calls it a verdict.
//!
//! It shows the whole of what an author writes: the input type that is the key, the verb, `main`.

use std::process::ExitCode;

use manifest::{Packages, Section, Verdict};
use serde::{Deserialize, Serialize};
use stage::{Context, Nothing, Result, Stage, Tool};

const VERSION: u32 = 1;

fn main() -> ExitCode {
    let stage = Stage::new(
        "count-packages",
        env!("CARGO_PKG_VERSION"),
        VERSION,
        "Counts packages",
    )
    .tools(|_: &Nothing| {
        vec![Tool {
            name: "sleep",
            package: "coreutils",
        }]
    })
    .judge(|verdict: &Verdict| verdict.ok);
    stage::main(stage, count)
}

#[derive(Serialize, Deserialize)]
struct Input {
    plan: PlanInput,
}

#[derive(Serialize, Deserialize)]
struct PlanInput {
    packages: Packages,
}

fn count(cx: &mut Context, _: &Nothing, input: Input) -> Result<Verdict> {
    let packages = input.plan.packages.image;
    // A package named `sleep` makes the stage slow, for tests of its interruption.
    if packages.iter().any(|p| p.name == "sleep") {
        cx.tool("sleep")?.arg("60").run()?;
    }
    Ok(Verdict {
        format: Verdict::FORMAT,
        by: "count-packages 1".to_owned(),
        ok: !packages.is_empty(),
        least_ram_mib: 0,
        asked_ram_mib: None,
        asked_leave_mib: None,
        machines: Vec::new(),
        sentence: format!("{} packages", packages.len()),
        stores: Vec::new(),
        warnings: Vec::new(),
        working_set: None,
        measured: None,
        proof: None,
    })
}

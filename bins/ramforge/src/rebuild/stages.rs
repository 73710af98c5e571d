//! The stages from the root tree to the medium, joined by pipes, in a store of their own.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use stage::{At, Error, Exit, Result, find_program, interrupted};
use store::Store;

/// The stages, and the variable that holds options of each, as in pipeline.sh.
const STAGES: [(&str, &str); 4] = [
    ("rootfs-assemble", "ROOTFS_ASSEMBLE"),
    ("raw-image", "RAW_IMAGE"),
    ("initrd-inject", "INITRD_INJECT"),
    ("iso-pack", "ISO_PACK"),
];
/// How often the stages are looked at.
const POLL: Duration = Duration::from_millis(50);

/// Runs the stages on the manifest in the file `plan` and gives the manifest that comes out.
///
/// # Errors
/// The exit code of the first stage that fails; it has said why.
pub(super) fn run(store: &Store, plan: &Path, lock: &Path) -> Result<String> {
    let run = journal::new_run_id();
    let mut stages = Running(Vec::new());
    let mut input = Stdio::from(File::open(plan).at(plan)?);
    let mut last = None;
    for (name, options) in STAGES {
        let program = locate(name)?;
        if let Some(output) = last.take() {
            input = Stdio::from(output);
        }
        let mut command = Command::new(&program);
        command
            .args(words(options))
            .env("RAMFORGE_STORE", store.root())
            .env("RAMFORGE_RUN", &run)
            .env("RAMFORGE_PIPELINE", "1")
            .stdin(input)
            .stdout(Stdio::piped());
        if name == STAGES[0].0 {
            command.arg("--lock").arg(lock);
        }
        let mut child = command.spawn().at(&program)?;
        last = child.stdout.take();
        stages.0.push((name, child));
        input = Stdio::null();
    }
    stages.finish(last)
}

/// As pipeline.sh finds them: in PATH, else beside this program.
fn locate(name: &str) -> Result<PathBuf> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|p| Some(p.parent()?.join(name)));
    find_program(name)
        .or_else(|| beside.filter(|p| p.is_file()))
        .ok_or_else(|| {
            Error::missing(format!("program not found: {name}"))
                .advice("it belongs beside ramforge; run: make build")
        })
}

/// A stage's options from the environment, split at blanks as pipeline.sh does.
fn words(variable: &str) -> Vec<OsString> {
    let text = std::env::var(variable).unwrap_or_default();
    text.split_whitespace().map(OsString::from).collect()
}

/// Stages that run; stopped when dropped.
struct Running(Vec<(&'static str, Child)>);

impl Running {
    /// Reads what the last stage writes, and waits for all.
    fn finish(mut self, output: Option<ChildStdout>) -> Result<String> {
        let collected = std::thread::spawn(move || {
            let mut text = String::new();
            output.map_or(Ok(0), |mut pipe| pipe.read_to_string(&mut text))?;
            Ok::<_, std::io::Error>(text)
        });
        let mut ended: Vec<Option<ExitStatus>> = vec![None; self.0.len()];
        while ended.iter().any(Option::is_none) {
            interrupted()?;
            std::thread::sleep(POLL);
            for ((name, child), status) in self.0.iter_mut().zip(&mut ended) {
                *status = child.try_wait().at(Path::new(name))?;
            }
        }
        let statuses = self.0.iter().zip(ended.iter().flatten());
        let failed: Vec<_> = statuses.filter(|(_, status)| !status.success()).collect();
        // A stage that was stopped because the one behind it failed does not say why.
        let stopped = |status: &ExitStatus| status.code() == Some(Exit::Interrupted as i32);
        match failed.iter().find(|(_, s)| !stopped(s)).or(failed.first()) {
            Some(((name, _), status)) => Err(failure(name, **status)),
            None => match collected.join() {
                Ok(text) => text.at(Path::new("the rebuild's manifest")),
                Err(_) => Err(Error::failed("the reading thread was lost")),
            },
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            if let Ok(None) = child.try_wait() {
                // It may end in this moment; then there is nobody to hear it.
                let _ = kill_process(Pid::from_child(child), Signal::TERM);
            }
        }
        for (_, child) in &mut self.0 {
            let _ = child.wait();
        }
    }
}

fn failure(name: &str, status: ExitStatus) -> Error {
    let exits = [
        Exit::Usage,
        Exit::Refused,
        Exit::Missing,
        Exit::Damaged,
        Exit::Interrupted,
    ];
    let exit = exits.into_iter().find(|e| status.code() == Some(*e as i32));
    Error::new(
        exit.unwrap_or(Exit::Failed),
        format!("the rebuild: {name} ended with {status}"),
    )
}

//! The stage's side of the sandbox: starts the worker, writes its maps, listens to it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use stage::{Context, Error, Exit, Result, interrupted};

use crate::ids::{self, Maps};
use crate::job::{Job, Message, Outcome};

/// The hidden first argument that makes this program the worker.
pub const WORKER: &str = "--worker-in-sandbox";
/// How often signals are looked for.
const POLL: Duration = Duration::from_millis(50);
/// How long a worker that has answered may take to end.
const GRACE: Duration = Duration::from_secs(3);

/// Has the worker do the job. `maps` are absent for root.
///
/// # Errors
/// Exit code 5 where the host refuses the sandbox, 130 after a signal, else as the worker says.
pub fn run(cx: &Context, job: &Job, maps: Option<Maps>) -> Result<Outcome> {
    let (mut worker, lines) = Worker::start(job)?;
    loop {
        interrupted()?;
        let message = match lines.recv_timeout(POLL) {
            Ok(line) => parse(&line)?,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Err(worker.lost()),
        };
        match message {
            Message::Ready => worker.answer(maps)?,
            Message::Progress(text) => cx.progress(&text),
            Message::Warning(text) => cx.warn(&text)?,
            Message::Part { name, milliseconds } => {
                cx.part_finished(&name, Duration::from_millis(milliseconds))?;
            }
            Message::Event(event) => cx.journal(*event)?,
            Message::Damage(damage) => cx.store().note_damage(damage),
            Message::Peak(kib) => stage::report_peak(kib),
            Message::Done(outcome) => {
                worker.end(job.ram.is_some());
                return Ok(*outcome);
            }
            Message::Failed {
                code,
                step,
                message,
                advice,
            } => {
                // Inside, the store has a place that nobody knows outside.
                let message = message.replace(crate::inside::STORE, &job.store);
                return Err(match step {
                    Some(step) => ids::refusal(&step, &message, maps.is_none()),
                    None => error(code, message, advice),
                });
            }
        }
    }
}

fn parse(line: &str) -> Result<Message> {
    serde_json::from_str(line).map_err(|e| {
        Error::failed(format!(
            "the sandbox said {line:?}: {e}; expected a message"
        ))
    })
}

fn error(code: u8, message: String, advice: Option<String>) -> Error {
    let exits = [
        Exit::Refused,
        Exit::Missing,
        Exit::Damaged,
        Exit::Interrupted,
    ];
    let exit = exits.into_iter().find(|e| *e as u8 == code);
    let error = Error::new(exit.unwrap_or(Exit::Failed), message);
    match advice {
        Some(advice) => error.advice(advice),
        None => error,
    }
}

/// The running worker; killed with everything inside when dropped.
struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Whether it has answered and ends by itself.
    is_done: bool,
}

impl Worker {
    fn start(job: &Job) -> Result<(Self, Receiver<String>)> {
        let failed =
            |e: std::io::Error| Error::failed(format!("the sandbox cannot be started: {e}"));
        let mut child = Command::new("/proc/self/exe")
            .arg0("rootfs-assemble")
            .arg(WORKER)
            .env_clear()
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let is_done = false;
        let mut worker = Self {
            child,
            stdin,
            is_done,
        };
        worker.say(&serde_json::to_string(job).map_err(|e| Error::failed(e.to_string()))?)?;
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let lines = stdout
                .into_iter()
                .flat_map(|out| BufReader::new(out).lines());
            // The receiver goes away when the stage has its answer.
            for line in lines.map_while(std::result::Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok((worker, receiver))
    }

    fn say(&mut self, line: &str) -> Result<()> {
        let Some(stdin) = &mut self.stdin else {
            return Ok(());
        };
        writeln!(stdin, "{line}").map_err(|e| Error::failed(format!("the sandbox: {e}")))
    }

    fn answer(&mut self, maps: Option<Maps>) -> Result<()> {
        if let Some(maps) = maps {
            maps.write(self.child.id())?;
        }
        self.say("mapped")
    }

    /// Lets the worker end. Where the tree is `in_ram` nothing of it is left for anybody, and the kernel frees it while
    /// the next stage works; else this waits until the mounts are gone.
    fn end(&mut self, in_ram: bool) {
        self.is_done = in_ram;
        if in_ram {
            return;
        }
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The worker ended without an answer.
    fn lost(&mut self) -> Error {
        let status = match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(e) => e.to_string(),
        };
        Error::failed(format!("the sandbox ended without an answer: {status}"))
            .advice("is memory short? `--build-tree disk` needs less of it")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        // It has ended already in the good case. Its pid 1 dies with it, and with that one all others.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

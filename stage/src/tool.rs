//! Outside programs: found before work begins, run in a clean environment, recorded in the journal.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ::journal::Event;
use manifest::Digest;
use rustix::process::Pid;
use serde_json::{Map, Value};

use crate::context::Context;
use crate::error::{At, Error, Result};
use crate::interrupt::{forget_child, guard_child, interrupted};

/// Directories beside `$PATH` where administrators' programs lie.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(10);
/// Characters of a program's output that an error message repeats.
const TAIL: usize = 1500;

/// An outside program that a stage needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// The program's name.
    pub name: &'static str,
    /// The Debian package that brings it.
    pub package: &'static str,
}

/// A tool that was found.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    pub(crate) tool: Tool,
    pub(crate) path: PathBuf,
    pub(crate) digest: Digest,
}

/// Looks for a program in `$PATH` and the administrators' directories.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(std::env::split_paths(SYSTEM_PATH))
        .map(|dir| dir.join(name))
        .find(|file| {
            rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file()
        })
}

/// Finds all tools, or says which packages are missing: exit code 5.
pub(crate) fn locate(tools: &[Tool]) -> Result<Vec<Located>> {
    let mut found = Vec::new();
    let mut absent = Vec::new();
    for tool in tools {
        match find_program(tool.name) {
            Some(path) => {
                let digest = Digest::of(&std::fs::read(&path).at(&path)?);
                found.push(Located {
                    tool: *tool,
                    path,
                    digest,
                });
            }
            None => absent.push(tool),
        }
    }
    if absent.is_empty() {
        return Ok(found);
    }
    let list = |field: fn(&Tool) -> &'static str, by: &str| {
        let mut names: Vec<_> = absent.iter().map(|t| field(t)).collect();
        names.dedup();
        names.join(by)
    };
    Err(Error::missing(format!(
        "host program not found: {}",
        list(|t| t.name, ", ")
    ))
    .advice(format!(
        "on Debian and Ubuntu: apt-get install {}",
        list(|t| t.package, " ")
    )))
}

/// The programs' identities for the stage key: name → BLAKE3 of the file.
pub(crate) fn identities(tools: &[Located]) -> Value {
    let pairs = tools
        .iter()
        .map(|t| (t.tool.name.to_owned(), t.digest.to_string().into()));
    Value::Object(Map::from_iter(pairs))
}

/// What a program printed.
#[derive(Debug)]
pub struct Output {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub status: ExitStatus,
}

impl Output {
    /// The end of what it said, for a message.
    pub fn tail(&self) -> String {
        let said = if self.stderr.is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        let text = String::from_utf8_lossy(said);
        let skip = text.chars().count().saturating_sub(TAIL);
        text.chars()
            .skip(skip)
            .collect::<String>()
            .trim()
            .to_owned()
    }
}

/// One run of an outside program in the making.
#[derive(Debug)]
pub struct Command<'a> {
    cx: &'a Context,
    digest: Digest,
    words: Vec<OsString>,
    inner: std::process::Command,
    input: Option<Vec<u8>>,
}

impl<'a> Command<'a> {
    pub(crate) fn new(cx: &'a Context, located: &Located) -> Self {
        let mut inner = std::process::Command::new(&located.path);
        inner
            .env_clear()
            .env("PATH", SYSTEM_PATH)
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC");
        inner.process_group(0);
        let words = vec![located.tool.name.into()];
        Self {
            cx,
            digest: located.digest,
            words,
            inner,
            input: None,
        }
    }

    /// BLAKE3 of the program's file.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.words.push(arg.as_ref().to_owned());
        self.inner.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Sets a variable; the environment holds nothing of the caller's but PATH, LC_ALL and TZ.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.inner.current_dir(dir);
        self
    }

    /// Gives the program `bytes` on its standard input.
    #[must_use]
    pub fn input(mut self, bytes: Vec<u8>) -> Self {
        self.input = Some(bytes);
        self
    }

    /// Runs the program; a failure is an error that repeats its last words.
    ///
    /// # Errors
    /// Exit code 1 where it fails, 130 where a signal came.
    pub fn run(self) -> Result<Output> {
        let name = self.words[0].to_string_lossy().into_owned();
        let output = self.run_any()?;
        if output.status.success() {
            return Ok(output);
        }
        Err(Error::failed(format!(
            "{name} ended with {}:\n{}",
            words(output.status),
            output.tail()
        )))
    }

    /// Runs the program, however it ends.
    ///
    /// # Errors
    /// Exit code 1 where it cannot be started, 130 where a signal came.
    pub fn run_any(mut self) -> Result<Output> {
        interrupted()?;
        let begin = Instant::now();
        let stdin = if self.input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        self.inner
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let path = PathBuf::from(self.inner.get_program());
        let child = self.inner.spawn().at(&path)?;
        let group = Pid::from_child(&child);
        guard_child(group);
        let output = attend(child, self.input.take());
        forget_child(group);
        let output = output.at(&path)?;
        interrupted()?;
        self.record(&output, begin.elapsed())?;
        Ok(output)
    }

    fn record(&self, output: &Output, time: Duration) -> Result<()> {
        let mut log = output.stdout.clone();
        log.extend_from_slice(&output.stderr);
        let log = if log.is_empty() {
            None
        } else {
            Some(self.cx.store().put(&log)?)
        };
        let mut room = 1500;
        let command = self.words.iter().map(|w| w.to_string_lossy().into_owned());
        let command = command
            .take_while(|w| {
                room -= w.len().min(room);
                room > 0
            })
            .collect();
        self.cx.journal(Event::CommandRun {
            stage: self.cx.stage().to_owned(),
            command,
            program: self.digest,
            status: words(output.status),
            milliseconds: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            log,
        })
    }
}

/// Feeds the child, collects what it prints and waits for it.
fn attend(mut child: Child, input: Option<Vec<u8>>) -> std::io::Result<Output> {
    let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let collect = |pipe: Option<Box<dyn Read + Send>>| {
            scope.spawn(move || {
                let mut bytes = Vec::new();
                pipe.map_or(Ok(0), |mut p| p.read_to_end(&mut bytes))
                    .map(|_| bytes)
            })
        };
        let out = collect(out.map(|p| Box::new(p) as Box<dyn Read + Send>));
        let err = collect(err.map(|p| Box::new(p) as Box<dyn Read + Send>));
        if let (Some(mut pipe), Some(bytes)) = (stdin, input) {
            // A program that does not read its input says so itself.
            scope.spawn(move || {
                let _ = pipe.write_all(&bytes);
            });
        }
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            std::thread::sleep(POLL);
        };
        let lost = |_| std::io::Error::other("a reading thread was lost");
        Ok(Output {
            stdout: out.join().map_err(lost)??,
            stderr: err.join().map_err(lost)??,
            status,
        })
    })
}

fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

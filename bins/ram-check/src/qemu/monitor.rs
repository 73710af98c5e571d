//! QEMU's machine protocol (QMP): one JSON object a line, events in between.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::error::{At, Error, Result};

/// How long the monitor may take to answer, and to be there at all.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How often its socket is tried.
const POLL: Duration = Duration::from_millis(20);

/// A connection to the monitor.
#[derive(Debug)]
pub(super) struct Monitor {
    lines: BufReader<UnixStream>,
    path: PathBuf,
    /// Events that came between an order and its answer.
    events: Vec<Value>,
}

impl Monitor {
    /// Connects as soon as the socket is there.
    pub(super) fn connect(path: &Path) -> Result<Self> {
        let begin = Instant::now();
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(e) if begin.elapsed() > PATIENCE => return Err(e).at(path),
                Err(_) => std::thread::sleep(POLL),
            }
        };
        stream.set_read_timeout(Some(PATIENCE)).at(path)?;
        let mut monitor = Self {
            lines: BufReader::new(stream),
            path: path.to_owned(),
            events: Vec::new(),
        };
        monitor.read()?;
        monitor.order("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Gives an order and returns its answer.
    pub(super) fn order(&mut self, order: &str, arguments: Value) -> Result<Value> {
        let line = json!({"execute": order, "arguments": arguments}).to_string() + "\n";
        self.lines
            .get_mut()
            .write_all(line.as_bytes())
            .at(&self.path)?;
        loop {
            let mut reply = self.read()?;
            if let Some(answer) = reply.get_mut("return") {
                return Ok(answer.take());
            }
            if let Some(error) = reply.get("error") {
                return Err(refused(order, error["desc"].as_str().unwrap_or("refused")));
            }
            self.keep_event(reply);
        }
    }

    /// Waits for an event; gives its data. Nothing may be said for as long as `limit`.
    pub(super) fn wait_event(&mut self, name: &str, limit: Duration) -> Result<Value> {
        self.lines
            .get_ref()
            .set_read_timeout(Some(limit))
            .at(&self.path)?;
        loop {
            if let Some(event) = self.events.iter().find(|e| e["event"] == name) {
                return Ok(event["data"].clone());
            }
            let line = self.read()?;
            self.keep_event(line);
        }
    }

    fn keep_event(&mut self, line: Value) {
        if line["event"].is_string() {
            self.events.push(line);
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line).at(&self.path)?;
        serde_json::from_str(&line).map_err(|e| refused("read", &format!("{e} in {line:?}")))
    }
}

fn refused(order: &str, fact: &str) -> Error {
    Error::Monitor {
        order: order.to_owned(),
        fact: fact.to_owned(),
    }
}

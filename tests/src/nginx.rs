//! A real server of static files, at a port of the loopback.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use tempfile::TempDir;

use crate::{command, scratch};

/// nginx on a directory; it ends on drop.
#[derive(Debug)]
pub struct Nginx {
    process: Child,
    /// The port at 127.0.0.1.
    pub port: u16,
    dir: TempDir,
}

/// A port that nobody listens on.
///
/// # Panics
/// Where the system has none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

impl Nginx {
    /// Starts it.
    ///
    /// # Panics
    /// Where it does not come up.
    pub fn start(root: &Path) -> Self {
        Self::configured(root, "")
    }

    /// Starts one that sends whole files whatever range is asked for.
    ///
    /// # Panics
    /// Where it does not come up.
    pub fn without_ranges(root: &Path) -> Self {
        Self::configured(root, "max_ranges 0;")
    }

    fn configured(root: &Path, more: &str) -> Self {
        let (dir, port) = (scratch(), free_port());
        let config = format!(
            "daemon off; master_process off; pid {dir}/pid; events {{}}\n\
             http {{ access_log {dir}/access.log; client_body_temp_path {dir}/t; proxy_temp_path {dir}/t;\n\
             fastcgi_temp_path {dir}/t; uwsgi_temp_path {dir}/t; scgi_temp_path {dir}/t;\n\
             server {{ listen 127.0.0.1:{port}; root {root}; {more} }} }}\n",
            dir = dir.path().display(),
            root = root.display(),
        );
        fs::write(dir.path().join("conf"), config).unwrap();
        let log = fs::File::create(dir.path().join("error.log")).unwrap();
        let process = command("nginx")
            .args(["-e", "stderr", "-c"])
            .arg(dir.path().join("conf"))
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self { process, port, dir };
        for _ in 0..300 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let said = fs::read_to_string(server.dir.path().join("error.log"));
        panic!("nginx does not come up: {said:?}");
    }

    /// What `agent` has asked for so far: the path of every request that was answered.
    ///
    /// # Panics
    /// Where the log cannot be read.
    pub fn asked_by(&self, agent: &str) -> Vec<String> {
        self.log(agent, 6)
    }

    /// The bytes that `agent` was sent so far, without headers.
    ///
    /// # Panics
    /// Where the log cannot be read.
    pub fn bytes_for(&self, agent: &str) -> u64 {
        let sent = self.log(agent, 9);
        sent.iter().map(|bytes| bytes.parse::<u64>().unwrap()).sum()
    }

    /// A field of the lines of the log (format `combined`) that name `agent`.
    fn log(&self, agent: &str, field: usize) -> Vec<String> {
        let log = fs::read_to_string(self.dir.path().join("access.log")).unwrap();
        let asked = log.lines().filter(|line| line.contains(agent));
        let field = |line: &str| line.split(' ').nth(field).unwrap().to_owned();
        asked.map(field).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

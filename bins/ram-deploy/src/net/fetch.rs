//! Files of a boot set from one of several mirrors: what breaks goes on where it broke, at another mirror if need be.
//!
//! A file is asked for once, from the wanted byte as far as it will be read, so that nothing waits between two requests;
//! the connection is kept for the next one. The server is only as fast as bytes are taken: what waits is in the socket's buffers.
//!
//! ```text
//! fault → the same mirror again → the next mirror → … each was tried: a pause that grows → … no bytes for `limit`: the end
//! ```
//!
//! A server that sends only whole files is of use too, where no other is at hand: what comes before the wanted byte is read
//! and dropped.
//!
//! Too slow is a fault as well: a mirror that sends a byte now and then would hold up everything for ever.
//!
//! Nothing that arrives is trusted: the caller verifies it, and says by reading it again that it was wrong. A mirror
//! that sent wrong bytes is only asked again where there is no other. Where several sent a part each, nobody knows whose
//! is wrong: all of it is asked of one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::http::{Answer, Connection, Fault};
use super::redirect::target;
use super::url::Url;

/// Redirections that are followed in a row.
const REDIRECTIONS: usize = 5;
/// The first and the longest pause when every mirror has failed.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// Bytes that must arrive before a mirror counts as one that works again, and that it must send in each
/// [`Patience::silence`] of waiting.
const PROGRESS: u64 = 64 << 10;

/// Bytes of what is not wanted that are read at once.
const DROPPED: usize = 64 << 10;

/// How long is waited for what.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How long a server may say nothing, may take for the head of an answer, and may send less than a trickle.
    pub silence: Duration,
    /// How long nothing may arrive from any server; longer where not every one was asked by then.
    pub limit: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(10),
            limit: Duration::from_secs(60),
        }
    }
}

/// Finds the addresses of a host.
pub type Resolve = dyn Fn(&str) -> Result<Vec<std::net::Ipv4Addr>, Fault> + Send + Sync;
/// Tells a person what happened.
pub type Tell<'a> = dyn Fn(&str) + Send + Sync + 'a;

/// A server with the boot set.
#[derive(Debug)]
struct Mirror {
    url: Url,
    /// Why it was of no use the last time.
    fault: Option<Fault>,
    /// When that was.
    failed: Option<Instant>,
    /// Whether it sent bytes that were wrong.
    lied: bool,
    /// Whether it is known to send only whole files.
    whole: bool,
}

/// A body that is being read.
#[derive(Debug)]
struct Body {
    connection: Connection,
    /// The server at its other end: after a redirection not that of the mirror.
    server: String,
    file: String,
    /// Offset of the next byte in the file.
    next: u64,
    /// Whether it is the whole file, sent by a server that sends nothing else.
    whole: bool,
}

/// How fast the current mirror sends: what came while it was waited for.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Counts `bytes` that came after `waited`; `silence` is the time in which [`PROGRESS`] must come.
    fn count(&mut self, waited: Duration, bytes: u64, silence: Duration) -> Result<(), Fault> {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < silence {
            return Ok(());
        }
        match std::mem::take(self).bytes {
            PROGRESS.. => Ok(()),
            bytes => Err(format!(
                "is too slow: {bytes} bytes in {} s",
                silence.as_secs()
            )),
        }
    }
}

/// A file and the bytes of it that are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its path in the boot set.
    pub file: &'a str,
    /// Its whole length.
    pub size: u64,
    /// The first byte.
    pub from: u64,
    /// The first byte that will not be read in one go with it.
    pub to: u64,
}

impl<'a> Wanted<'a> {
    /// All of a file.
    pub fn whole(file: &'a str, size: u64) -> Self {
        Self {
            file,
            size,
            from: 0,
            to: size,
        }
    }
}

/// Who sent what was read: a mirror and its bytes, in their order.
pub type Senders = Vec<(usize, u64)>;

/// Fetches from mirrors.
pub struct Fetcher<'a> {
    mirrors: Vec<Mirror>,
    current: usize,
    body: Option<Body>,
    patience: Patience,
    resolve: Box<Resolve>,
    tell: &'a Tell<'a>,
    /// Faults since a mirror worked.
    faults: usize,
    /// Bytes since then.
    progress: u64,
    since: Instant,
    /// When the last read was over: what lies between two reads is not a server's time.
    paused: Instant,
    pace: Pace,
    /// Why it was given up for good.
    ended: Option<Fault>,
}

impl std::fmt::Debug for Fetcher<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher")
            .field("mirrors", &self.mirrors)
            .finish_non_exhaustive()
    }
}

impl<'a> Fetcher<'a> {
    /// Fetches from `urls`, the first one first.
    pub fn new(
        urls: Vec<Url>,
        patience: Patience,
        resolve: Box<Resolve>,
        tell: &'a Tell<'a>,
    ) -> Self {
        let mirror = |url| Mirror {
            url,
            fault: None,
            failed: None,
            lied: false,
            whole: false,
        };
        Self {
            mirrors: urls.into_iter().map(mirror).collect(),
            current: 0,
            body: None,
            patience,
            resolve,
            tell,
            faults: 0,
            progress: 0,
            since: Instant::now(),
            paused: Instant::now(),
            pace: Pace::default(),
            ended: None,
        }
    }

    /// The directory of the mirror that is asked now.
    pub fn url(&self) -> Option<&Url> {
        Some(&self.mirrors.get(self.current)?.url)
    }

    /// How many there are.
    pub fn mirrors(&self) -> usize {
        self.mirrors.len()
    }

    /// The directories of all mirrors.
    pub fn urls(&self) -> impl Iterator<Item = &Url> {
        self.mirrors.iter().map(|mirror| &mirror.url)
    }

    /// Fills `bytes`, and says who sent them.
    ///
    /// # Errors
    /// What each mirror's fault was, when nothing has arrived for the whole limit; then for ever.
    pub fn fill(&mut self, wanted: Wanted<'_>, bytes: &mut [u8]) -> Result<Senders, Fault> {
        self.since += self.paused.elapsed();
        let filled = self.fill_in_time(wanted, bytes);
        self.paused = Instant::now();
        filled
    }

    fn fill_in_time(&mut self, wanted: Wanted<'_>, bytes: &mut [u8]) -> Result<Senders, Fault> {
        let mut senders = Senders::new();
        let mut done = 0;
        while done < bytes.len() {
            let from = wanted.from + done as u64;
            match self.some(Wanted { from, ..wanted }, &mut bytes[done..]) {
                Ok(n) => {
                    match senders.last_mut().filter(|last| last.0 == self.current) {
                        Some((_, bytes)) => *bytes += n as u64,
                        None => senders.push((self.current, n as u64)),
                    }
                    done += n;
                    self.worked(n as u64);
                }
                Err(fault) => self.failed(fault, &format!("/{} offset {from}", wanted.file))?,
            }
        }
        Ok(senders)
    }

    /// Bytes that these mirrors sent are wrong. One alone is a liar: another one is asked from now on, where there is one.
    /// Of several nobody knows which: one that has no part in it is asked, or else the one that sent the end of it.
    pub fn distrust(&mut self, senders: &[usize]) {
        if let [liar] = senders {
            self.lied(*liar);
        }
        if !senders.contains(&self.current) {
            return;
        }
        self.body = None;
        let other = self.others().find(|n| !senders.contains(n));
        match other {
            Some(other) => self.ask_from_now_on(other),
            None if self.mirrors[self.current].lied => self.next(),
            None => (),
        }
    }

    fn lied(&mut self, liar: usize) {
        let Some(mirror) = self.mirrors.get_mut(liar) else {
            return;
        };
        if !mirror.lied {
            mirror.lied = true;
            (self.tell)(&format!("{} sends wrong bytes", mirror.url));
        }
    }

    /// The mirrors that have not sent wrong bytes, from the one after the current on; that one is the last.
    fn others(&self) -> impl Iterator<Item = usize> {
        let count = self.mirrors.len();
        let all = (1..=count).map(move |n| (self.current + n) % count);
        all.filter(|n| !self.mirrors[*n].lied)
    }

    /// The next mirror that has not sent wrong bytes, or just the next one.
    fn next(&mut self) {
        let honest = self.others().next();
        let after = (self.current + 1).checked_rem(self.mirrors.len());
        if let Some(next) = honest.or(after) {
            self.ask_from_now_on(next);
        }
    }

    fn ask_from_now_on(&mut self, mirror: usize) {
        self.current = mirror;
        self.pace = Pace::default();
    }

    fn worked(&mut self, bytes: u64) {
        self.progress += bytes;
        if self.progress >= PROGRESS || self.faults == 0 {
            self.faults = 0;
            self.progress = 0;
            self.since = Instant::now();
        }
    }

    /// Notes a fault and chooses who is asked next, after a pause where all were asked.
    fn failed(&mut self, fault: Fault, place: &str) -> Result<(), Fault> {
        self.body = None;
        self.pace = Pace::default();
        if let Some(fault) = &self.ended {
            return Err(fault.clone());
        }
        let count = self.mirrors.len();
        let Some(mirror) = self.mirrors.get_mut(self.current) else {
            return Err("no server is named".to_owned());
        };
        if mirror.fault.as_ref() != Some(&fault) {
            (self.tell)(&format!("{} at {place}: {fault}; going on", mirror.url));
        }
        mirror.fault = Some(fault);
        mirror.failed = Some(Instant::now());
        self.faults += 1;
        let came = std::mem::take(&mut self.progress);
        // The first mirror is asked twice in a row, so that then every one had its turn.
        let all_asked = count == 1 || self.faults > count;
        if all_asked && self.since.elapsed() >= self.patience.limit {
            let ended = self.all_faults(came);
            self.ended = Some(ended.clone());
            return Err(ended);
        }
        // The first fault may be a chance: the same mirror is asked again.
        if self.faults > 1 {
            self.next();
        }
        if let Some(rounds) = (self.faults - 1).checked_div(count).filter(|n| *n > 0) {
            let pause = FIRST_PAUSE * (1 << (rounds - 1).min(10));
            std::thread::sleep(pause.min(LONGEST_PAUSE));
        }
        Ok(())
    }

    /// Why it is given up, after `came` bytes from the last mirror.
    fn all_faults(&self, came: u64) -> Fault {
        let one = |m: &Mirror| Some(format!("{}: {}", m.url, m.fault.as_ref()?));
        let all: Vec<String> = self.mirrors.iter().filter_map(one).collect();
        let what = match came {
            0 => "nothing",
            _ => "too little",
        };
        format!(
            "{what} arrived for {} s: {}",
            self.patience.limit.as_secs(),
            all.join("; ")
        )
    }

    /// Reads some bytes from the current mirror.
    fn some(&mut self, wanted: Wanted<'_>, bytes: &mut [u8]) -> Result<usize, Fault> {
        if let Some(fault) = &self.ended {
            return Err(fault.clone());
        }
        let goes_on = |b: &Body| {
            let is_near = b.next == wanted.from || b.whole && b.next < wanted.from;
            b.file == wanted.file && is_near && b.connection.left() > 0
        };
        let mut begin = Instant::now();
        let mut body = match self.body.take() {
            Some(body) if goes_on(&body) => body,
            other => {
                let body = self.ask_for_a_part(wanted, other)?;
                // Its first answer may take its time; one that answers often with little may not.
                if self.pace.bytes == 0 {
                    begin = Instant::now();
                }
                body
            }
        };
        if body.next < wanted.from {
            self.skip(&mut body, wanted.from)?;
            begin = Instant::now();
        }
        let n = body.connection.read(bytes)?;
        body.next += n as u64;
        let is_whole = body.next == wanted.to || body.next == wanted.size;
        self.body = Some(body);
        let paced = self
            .pace
            .count(begin.elapsed(), n as u64, self.patience.silence);
        if is_whole {
            // All that was asked for: however little that was, it does not drip.
            self.pace = Pace::default();
            return Ok(n);
        }
        paced.map(|()| n)
    }

    /// Asks the current mirror, and where it sends the whole file for a part of it, others that may do better.
    fn ask_for_a_part(&mut self, wanted: Wanted<'_>, kept: Option<Body>) -> Result<Body, Fault> {
        let mut body = self.ask(wanted, kept)?;
        while body.next < wanted.from {
            body.whole = true;
            self.sends_whole_files();
            let Some(better) = self.better() else { break };
            self.ask_from_now_on(better);
            body = self.ask(wanted, None)?;
        }
        Ok(body)
    }

    /// A mirror that may have ranges, and has not failed lately.
    fn better(&self) -> Option<usize> {
        self.others().find(|n| {
            let Mirror { whole, failed, .. } = self.mirrors[*n];
            !whole && failed.is_none_or(|when| when.elapsed() >= self.patience.limit)
        })
    }

    fn sends_whole_files(&mut self) {
        if let Some(mirror) = self.mirrors.get_mut(self.current)
            && !mirror.whole
        {
            mirror.whole = true;
            (self.tell)(&format!(
                "{} sends only whole files (no ranges): for tmpfs it sends them many times, for brd and zram once",
                mirror.url
            ));
        }
    }

    /// Reads what comes before the byte `to`, and drops it.
    fn skip(&mut self, body: &mut Body, to: u64) -> Result<(), Fault> {
        let mut dropped = vec![0; DROPPED];
        while body.next < to {
            let most = (to - body.next).min(DROPPED as u64) as usize;
            let begin = Instant::now();
            let n = body.connection.read(&mut dropped[..most])? as u64;
            body.next += n;
            // Nobody was silent meanwhile.
            self.since += begin.elapsed();
            self.pace.count(begin.elapsed(), n, self.patience.silence)?;
        }
        Ok(())
    }

    /// Asks the current mirror, over `kept` where that is free; follows it elsewhere.
    fn ask(&self, wanted: Wanted<'_>, kept: Option<Body>) -> Result<Body, Fault> {
        let Some(mirror) = self.mirrors.get(self.current) else {
            return Err("no server is named".to_owned());
        };
        let (mut url, mut path) = (mirror.url.clone(), mirror.url.path(wanted.file));
        let kept = kept.filter(|b| b.connection.is_free() && b.server == url.authority());
        let mut kept = kept.map(|body| body.connection);
        for _ in 0..REDIRECTIONS {
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => self.connect(&url)?,
            };
            match connection.get(&url, &path, wanted.from..wanted.to, wanted.size)? {
                Answer::Body(first) => {
                    return Ok(Body {
                        connection,
                        server: url.authority(),
                        file: wanted.file.to_owned(),
                        next: first,
                        whole: false,
                    });
                }
                Answer::Elsewhere(location) => (url, path) = target(&url, &path, &location)?,
            }
        }
        Err(format!("sends {path} from one place to another for ever"))
    }

    fn connect(&self, url: &Url) -> Result<Connection, Fault> {
        let addresses = match url.host.parse() {
            Ok(address) => vec![address],
            Err(_) => (self.resolve)(&url.host)?,
        };
        let mut last = format!("{} has no address", url.host);
        for address in addresses {
            let address = SocketAddr::from((address, url.port));
            match Connection::open(address, self.patience.silence) {
                Ok(connection) => return Ok(connection),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }
}

#[cfg(test)]
pub(crate) mod tests;

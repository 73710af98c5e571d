//! Images from servers that do what servers should not: every case ends with the right bytes or with a sentence.
//!
//! The servers are real sockets; the one that behaves is nginx.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use manifest::{Digest, Object};
use pipeline_tests::{Nginx, free_port};
use ram_deploy::deploy::{Source, deploy};
use ram_deploy::net::fetch::{Fetcher, Patience};
use ram_deploy::net::source::Remote;
use ram_deploy::net::url::Url;
use ram_deploy::target::Disk;
use store::chunk_map::{Chunk, ChunkMap, FORMAT};

const CHUNK: u64 = 64 * 1024;
const CHUNKS: u64 = 48;
const SILENCE: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(3);

/// A boot set of chunks that do not compress, in a directory that a server offers.
struct Set {
    dir: tempfile::TempDir,
    image: Vec<u8>,
    map: ChunkMap,
}

fn set() -> Set {
    let mut image = vec![0; (CHUNKS * CHUNK) as usize];
    blake3::Hasher::new().finalize_xof().fill(&mut image);
    let mut payload = Vec::new();
    let chunk = |(at, plain): (usize, &[u8])| {
        let frame = zstd::bulk::compress(plain, 1).unwrap();
        payload.extend(&frame);
        Chunk {
            at: at as u64,
            blake3: Digest::of(plain),
            frame: Object::of(&frame),
        }
    };
    let chunks = image.chunks(CHUNK as usize).enumerate().map(chunk);
    let map = ChunkMap {
        format: FORMAT,
        size: image.len() as u64,
        chunk_size: CHUNK,
        chunks: chunks.collect(),
    };
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("ramforge")).unwrap();
    fs::write(dir.path().join("ramforge/frames.000"), payload).unwrap();
    Set { dir, image, map }
}

impl Set {
    fn payload(&self) -> Vec<u8> {
        fs::read(self.dir.path().join("ramforge/frames.000")).unwrap()
    }

    /// Deploys from `ports`, in their order; gives the outcome and what was told on the way.
    fn deploy(&self, ports: &[u16]) -> (Result<(), String>, Vec<String>) {
        let told = Mutex::new(Vec::new());
        let tell = |line: &str| told.lock().unwrap().push(line.to_owned());
        let url = |port| Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
        let urls = ports.iter().map(url).collect();
        let patience = Patience {
            silence: SILENCE,
            limit: LIMIT,
        };
        let fetcher = Fetcher::new(
            urls,
            patience,
            Box::new(|_| Err("no names here".into())),
            &tell,
        );
        let file = self.dir.path().join("target");
        File::create(&file).unwrap().set_len(self.map.size).unwrap();
        let target = Disk::file(&file).unwrap();
        let remote = Remote::new(&self.map, fetcher);
        let outcome = deploy(&self.map, &remote, &target, 2, &|_| ());
        drop(remote);
        if outcome.is_ok() {
            assert!(
                fs::read(&file).unwrap() == self.image,
                "other bytes than the image's"
            );
        }
        let told = told.into_inner().unwrap();
        (outcome.map_err(|stop| stop.to_string()), told)
    }

    /// Deploys, which must succeed.
    fn comes_through(&self, ports: &[u16]) -> Vec<String> {
        let (outcome, told) = self.deploy(ports);
        assert_eq!(outcome, Ok(()), "{told:?}");
        told
    }

    /// Deploys, which must end with a sentence.
    fn ends(&self, ports: &[u16]) -> String {
        self.deploy(ports).0.unwrap_err()
    }
}

/// What a bad server is asked: how often it was asked before, and from where on.
struct Asked {
    before: usize,
    from: u64,
}

/// A server whose answers `answer` writes; `requests` counts them.
fn server(
    answer: impl Fn(&mut TcpStream, Asked) + Send + Sync + 'static,
) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(AtomicUsize::new(0));
    let (count, answer) = (Arc::clone(&requests), Arc::new(answer));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, count, answer) =
                (stream.unwrap(), Arc::clone(&count), Arc::clone(&answer));
            std::thread::spawn(move || serve(stream, &count, &*answer));
        }
    });
    (port, requests)
}

fn serve(mut stream: TcpStream, count: &AtomicUsize, answer: &dyn Fn(&mut TcpStream, Asked)) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut from = 0;
    while let Some(Ok(line)) = lines.next() {
        if let Some(range) = line.strip_prefix("Range: bytes=") {
            from = range.trim_end_matches('-').parse().unwrap();
        }
        if line.is_empty() {
            let before = count.fetch_add(1, Ordering::SeqCst);
            return answer(&mut stream, Asked { before, from });
        }
    }
}

/// Answers a request as it should be answered, with `length` for the length that is told and `bytes` for the body.
fn answer(stream: &mut TcpStream, from: u64, length: u64, total: u64, bytes: &[u8]) {
    let range = match from {
        0 => "200 OK\r\n".to_owned(),
        _ => format!(
            "206 Partial Content\r\nContent-Range: bytes {from}-{}/{total}\r\n",
            from + length - 1
        ),
    };
    let head = format!("HTTP/1.1 {range}Content-Length: {length}\r\n\r\n");
    // The other side may close at any time.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(bytes));
}

/// A server of `payload` that does `twist` to the rest that it is asked for.
fn twisted(payload: Vec<u8>, twist: impl Fn(&Asked, &mut Vec<u8>) + Send + Sync + 'static) -> u16 {
    let serve = move |stream: &mut TcpStream, asked: Asked| {
        let mut rest = payload[asked.from as usize..].to_vec();
        let length = rest.len() as u64;
        twist(&asked, &mut rest);
        answer(stream, asked.from, length, payload.len() as u64, &rest);
    };
    server(serve).0
}

#[test]
fn nginx_is_asked_once() {
    let set = set();
    let nginx = Nginx::start(set.dir.path());
    assert_eq!(set.comes_through(&[nginx.port]), Vec::<String>::new());
    // The log is written when the answer is out.
    for _ in 0..100 {
        if !nginx.asked_by("ram-deploy").is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(nginx.asked_by("ram-deploy"), ["/ramforge/frames.000"]);
}

#[test]
fn a_server_that_closes_again_and_again_goes_on_where_it_broke() {
    let set = set();
    let asked_from = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked_from);
    let port = twisted(set.payload(), move |asked, rest| {
        seen.lock().unwrap().push(asked.from);
        rest.truncate(200_000);
    });
    let told = set.comes_through(&[port]);
    assert!(told[0].contains("closed the connection"), "{told:?}");
    // Nothing was fetched twice.
    let from = asked_from.lock().unwrap();
    assert!(
        from.iter()
            .enumerate()
            .all(|(n, from)| *from == n as u64 * 200_000),
        "{from:?}"
    );
}

#[test]
fn a_server_that_stalls_is_left_for_the_next() {
    let set = set();
    let (port, requests) = server({
        let payload = set.payload();
        move |stream, asked| {
            let rest = &payload[asked.from as usize..];
            let total = payload.len() as u64;
            answer(
                stream,
                asked.from,
                rest.len() as u64,
                total,
                &rest[..rest.len().min(100_000)],
            );
            // It neither goes on nor closes.
            let _ = stream.read(&mut [0]);
        }
    });
    let nginx = Nginx::start(set.dir.path());
    let told = set.comes_through(&[port, nginx.port]);
    assert!(told[0].contains("it is silent"), "{told:?}");
    assert!(requests.load(Ordering::SeqCst) > 0);
}

#[test]
fn wrong_bytes_are_fetched_again_elsewhere() {
    let set = set();
    let port = twisted(set.payload(), |_, rest| {
        for byte in rest.iter_mut().step_by(50_000) {
            *byte ^= 1;
        }
    });
    let nginx = Nginx::start(set.dir.path());
    let told = set.comes_through(&[port, nginx.port]);
    assert!(
        told.iter().any(|line| line.contains("sends wrong bytes")),
        "{told:?}"
    );
}

/// One wrong byte that is right when it is asked for again.
#[test]
fn wrong_bytes_once_do_not_end_it() {
    let set = set();
    let port = twisted(set.payload(), |asked, rest| {
        if asked.before == 0 {
            rest[150_000] ^= 1;
        }
    });
    set.comes_through(&[port]);
}

#[test]
fn wrong_bytes_for_ever_end_with_the_place() {
    let set = set();
    let port = twisted(set.payload(), |asked, rest| {
        if asked.from <= 150_000 {
            rest[150_000 - asked.from as usize] ^= 1;
        }
    });
    let sentence = set.ends(&[port]);
    let place = format!("chunk 2 at http://127.0.0.1:{port}/ramforge/frames.000 offset ");
    assert!(sentence.starts_with(&place), "{sentence}");
    assert!(
        sentence.contains("is damaged") && sentence.contains("SHA256SUMS"),
        "{sentence}"
    );
}

#[test]
fn lengths_that_are_lies_are_not_believed() {
    let set = set();
    let payload = set.payload();
    let nginx = Nginx::start(set.dir.path());
    let total = payload.len() as u64;
    type Lie = fn(&mut TcpStream, u64, &[u8], u64);
    let lies: [(&str, Lie); 6] = [
        ("has 1 bytes", |s, from, _, _| answer(s, from, 1, 1, b"x")),
        ("expected", |s, from, rest, total| {
            answer(s, from, total - from + 9, total + 9, rest);
        }),
        ("not HTTP", |s, _, _, _| {
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n";
            let _ = s.write_all(head);
        }),
        ("without its length", |s, _, rest, _| {
            let _ = s
                .write_all(b"HTTP/1.1 200 OK\r\n\r\n")
                .and_then(|()| s.write_all(rest));
        }),
        ("coded", |s, _, _, _| {
            let _ = s.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello");
        }),
        ("are sent, expected", |s, from, rest, total| {
            let range = format!("bytes {}-{}/{total}", from + 1, total - 1);
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: {range}\r\nContent-Length: {}\r\n\r\n",
                total - from - 1
            );
            let _ = s
                .write_all(head.as_bytes())
                .and_then(|()| s.write_all(&rest[1..]));
        }),
    ];
    for (words, lie) in lies {
        let rest = payload.clone();
        let (port, _) =
            server(move |s, asked| lie(s, asked.from, &rest[asked.from as usize..], total));
        let told = set.comes_through(&[port, nginx.port]);
        assert!(told[0].contains(words), "{words}: {told:?}");
        // A busy machine may be silent in the end.
        let (outcome, told) = set.deploy(&[port]);
        let sentence = outcome.unwrap_err();
        assert!(told[0].contains(words), "{words}: {told:?}");
        assert!(sentence.contains("nothing arrived for"), "{sentence}");
    }
}

/// Such a server is of use as long as nothing breaks.
#[test]
fn a_server_without_ranges_serves_from_the_beginning_only() {
    let set = set();
    let total = set.payload().len() as u64;
    let payload = set.payload();
    let whole = move |stream: &mut TcpStream, _: Asked| answer(stream, 0, total, total, &payload);
    let (port, _) = server(whole);
    assert_eq!(set.comes_through(&[port]), Vec::<String>::new());
    let cut = twisted(set.payload(), |asked, rest| {
        if asked.before == 0 {
            rest.truncate(100_000);
        }
    });
    let told = set.comes_through(&[cut, port]);
    assert!(told[0].contains("closed the connection"), "{told:?}");
}

/// A server may send less than it is asked for.
#[test]
fn a_server_that_sends_small_ranges_is_asked_again() {
    let set = set();
    let payload = set.payload();
    let (port, requests) = server(move |stream, asked| {
        let total = payload.len() as u64;
        match asked.from {
            0 => answer(stream, 0, total, total, &payload[..1000]),
            from => {
                let end = total.min(from + 300_000);
                answer(
                    stream,
                    from,
                    end - from,
                    total,
                    &payload[from as usize..end as usize],
                );
            }
        }
    });
    set.comes_through(&[port]);
    assert!(requests.load(Ordering::SeqCst) > 10);
}

#[test]
fn redirections_are_followed_but_not_for_ever() {
    let set = set();
    let nginx = Nginx::start(set.dir.path());
    let elsewhere = |to: String| {
        server(move |stream, _| {
            let head = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            let _ = stream.write_all(head.as_bytes());
        })
    };
    let to = format!("http://127.0.0.1:{}/ramforge/frames.000", nginx.port);
    assert_eq!(set.comes_through(&[elsewhere(to).0]), Vec::<String>::new());
    let sentence = set.ends(&[elsewhere("/again".into()).0]);
    assert!(sentence.contains("for ever"), "{sentence}");
    let sentence = set.ends(&[elsewhere("https://127.0.0.1/x".into()).0]);
    assert!(sentence.contains("https is not read"), "{sentence}");
}

#[test]
fn servers_that_are_not_there_are_all_named() {
    let set = set();
    let empty = tempfile::tempdir().unwrap();
    let nginx = Nginx::start(empty.path());
    let sentence = set.ends(&[free_port(), nginx.port]);
    for words in [
        "cannot be read: nothing arrived for 3 s",
        "cannot be connected: Connection refused",
        "answers 404 Not Found to /ramforge/frames.000",
    ] {
        assert!(sentence.contains(words), "{words}: {sentence}");
    }
}

/// A server that goes away in the middle and comes back before the limit.
#[test]
fn a_server_that_comes_back_in_time_is_enough() {
    let set = set();
    let payload = set.payload();
    let (port, _) = server(move |stream, asked| {
        if (1..4).contains(&asked.before) {
            return;
        }
        let rest = &payload[asked.from as usize..];
        let sent = if asked.before == 0 {
            500_000
        } else {
            rest.len()
        };
        answer(
            stream,
            asked.from,
            rest.len() as u64,
            payload.len() as u64,
            &rest[..sent],
        );
    });
    let told = set.comes_through(&[port]);
    assert!(
        told.iter().any(|line| line.contains("without an answer")),
        "{told:?}"
    );
}

/// Several threads that read in the order of the image, more or less: one request is enough for them.
#[test]
fn frames_in_disorder_are_not_asked_for_one_by_one() {
    let set = set();
    let nginx = Nginx::start(set.dir.path());
    let url = Url::parse(&format!("http://127.0.0.1:{}", nginx.port)).unwrap();
    let names = Box::new(|_: &str| Err("no names here".into()));
    let fetcher = Fetcher::new(vec![url], Patience::default(), names, &|_| ());
    let remote = Remote::new(&set.map, fetcher);
    let (payload, size) = (set.payload(), 60_000);
    for at in [1, 0, 3, 2, 6, 5, 4, 7, 9, 10, 8].map(|n| n * size) {
        let mut bytes = vec![0; size];
        remote.read(at as u64, &mut bytes).unwrap();
        assert!(bytes == payload[at..at + size], "offset {at}");
    }
    drop(remote);
    for _ in 0..100 {
        if !nginx.asked_by("ram-deploy").is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(nginx.asked_by("ram-deploy").len(), 1);
}

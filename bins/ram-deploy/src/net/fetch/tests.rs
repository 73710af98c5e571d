use super::*;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A server may say something before its answer, and a field in another encoding.
#[test]
fn what_is_said_before_the_answer_is_no_answer() {
    let (bytes, told) = fetched(
        vec![server(|client, from| {
            let early = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
            let head = head(from, SIZE - 1, SIZE);
            let answer = [early.as_bytes(), head.as_bytes(), &vec![7; SIZE - from]].concat();
            let _ = client.write_all(&answer);
        })],
        SILENCE,
        SIZE,
    );
    assert!(bytes == Ok(vec![7; SIZE]) && told.is_empty(), "{told}");
}

const SILENCE: Duration = Duration::from_secs(1);

/// The URL of a server that does `serve` with each request, which it has read; `from` is where it begins.
pub(crate) fn server(serve: impl Fn(&mut TcpStream, usize) + Send + Sync + 'static) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = BufReader::new(client.unwrap());
            let (mut line, mut from) = (String::new(), 0);
            while client.read_line(&mut line).unwrap() > 2 {
                if let Some(range) = line.strip_prefix("Range: bytes=") {
                    from = range.trim().trim_end_matches('-').parse().unwrap();
                }
                line.clear();
            }
            serve(client.get_mut(), from);
        }
    });
    Url::parse(&url).unwrap()
}

/// The head of an answer with the rest of `size` bytes.
fn head(from: usize, last: usize, size: usize) -> String {
    let length = last + 1 - from;
    format!(
        "HTTP/1.1 206 Partial\r\nConnection: close\r\nContent-Length: {length}\r\nContent-Range: bytes {from}-{last}/{size}\r\n\r\n"
    )
}

/// Sends `bytes` one by one until nobody listens.
fn drip(client: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes {
        if client.write_all(&[*byte]).is_err() {
            return;
        }
        std::thread::sleep(SILENCE / 8);
    }
}

/// Fetches one file of `size` bytes from `urls`; gives its bytes and what was told.
fn fetched(urls: Vec<Url>, limit: Duration, size: usize) -> (Result<Vec<u8>, Fault>, String) {
    let told = std::sync::Mutex::new(String::new());
    let tell = |line: &str| told.lock().unwrap().push_str(line);
    let patience = Patience {
        silence: SILENCE,
        limit,
    };
    let mut fetcher = Fetcher::new(urls, patience, Box::new(|_| Ok(Vec::new())), &tell);
    let mut bytes = vec![0; size];
    let wanted = Wanted::whole("f", size as u64);
    let filled = fetcher.fill(wanted, &mut bytes).map(|_| bytes);
    drop(fetcher);
    (filled, told.into_inner().unwrap())
}

const SIZE: usize = 200_000;

fn good() -> Url {
    server(|client, from| {
        let answer = [head(from, SIZE - 1, SIZE).as_bytes(), &vec![7; SIZE - from]].concat();
        let _ = client.write_all(&answer);
    })
}

/// A body, a head and ranges that come byte by byte: each server is left for the next one.
#[test]
fn servers_that_drip_are_left() {
    let body = server(|client, from| {
        let _ = client.write_all(head(from, SIZE - 1, SIZE).as_bytes());
        drip(client, &[7; 1000]);
    });
    let heads = server(|client, from| {
        drip(client, head(from, SIZE - 1, SIZE).as_bytes());
    });
    let ranges = server(|client, from| {
        std::thread::sleep(SILENCE / 8);
        let answer = [head(from, from, SIZE).as_bytes(), &[7]].concat();
        let _ = client.write_all(&answer);
    });
    for (bad, words) in [
        (body, "is too slow"),
        (heads, "its answer is not whole after"),
        (ranges, "is too slow"),
    ] {
        let (bytes, told) = fetched(vec![bad, good()], Duration::from_secs(60), SIZE);
        assert!(bytes == Ok(vec![7; SIZE]), "{told}");
        assert!(told.contains(words), "{told}");
    }
}

/// Silent servers use up the limit before the last one had its turn; it has it all the same.
#[test]
fn every_mirror_is_asked_before_the_end() {
    let silent = || {
        server(|client, _| {
            // Nothing is said until the other side closes.
            let _ = std::io::Read::read(client, &mut [0]);
        })
    };
    let (bytes, told) = fetched(vec![silent(), silent(), good()], SILENCE, SIZE);
    assert!(bytes == Ok(vec![7; SIZE]), "{told}");
    let (bytes, told) = fetched(vec![silent(), silent()], SILENCE, SIZE);
    assert!(bytes.is_err(), "{told}");
}

/// Of several senders the one that sent the end is asked for all of it, and is then known to lie or not.
#[test]
fn nobody_is_called_a_liar_for_anothers_part() {
    let urls = |count| vec![Url::parse("http://a").unwrap(); count];
    let names = || Box::new(|_: &str| Ok(Vec::new()));
    let mut two = Fetcher::new(urls(2), Patience::default(), names(), &|_| ());
    two.current = 1;
    two.distrust(&[0, 1]);
    assert_eq!((two.current, two.others().count()), (1, 2));
    two.distrust(&[1]);
    assert_eq!((two.current, two.others().count()), (0, 1));
    // All of them lie: each in its turn.
    two.distrust(&[0]);
    assert_eq!((two.current, two.others().count()), (1, 0));
    let mut three = Fetcher::new(urls(3), Patience::default(), names(), &|_| ());
    three.distrust(&[2, 0]);
    assert_eq!((three.current, three.others().count()), (1, 3));
    // Who is asked now has no part in it.
    three.distrust(&[2]);
    assert_eq!((three.current, three.others().count()), (1, 2));
}

/// With no other server it ends, although something arrives all the time.
#[test]
fn a_server_that_drips_is_not_waited_for_for_ever() {
    let drips = server(|client, from| {
        let _ = client.write_all(head(from, SIZE - 1, SIZE).as_bytes());
        drip(client, &[7; 1000]);
    });
    let (bytes, _) = fetched(vec![drips], SILENCE * 2, SIZE);
    let fault = bytes.unwrap_err();
    assert!(fault.starts_with("too little arrived for"), "{fault}");
}

/// A server that sends the whole file each time, and how often it was asked.
fn without_ranges() -> (Url, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let url = server(move |client, _| {
        count.fetch_add(1, Ordering::Relaxed);
        let _ = client.write_all(&[WHOLE.as_bytes(), &numbers()].concat());
    });
    (url, asked)
}

const WHOLE: &str = "HTTP/1.0 200 OK\r\nContent-Length: 200000\r\n\r\n";

fn numbers() -> Vec<u8> {
    (0..SIZE).map(|n| (n % 251) as u8).collect()
}

/// Reads 1000 bytes at each offset; gives what was told.
fn read_at(
    urls: Vec<Url>,
    offsets: &[u64],
    silence: Duration,
    mut after: impl FnMut(u64),
) -> Vec<String> {
    let told = std::sync::Mutex::new(Vec::new());
    let tell = |line: &str| told.lock().unwrap().push(line.to_owned());
    let patience = Patience {
        silence,
        limit: silence,
    };
    let mut fetcher = Fetcher::new(urls, patience, Box::new(|_| Ok(Vec::new())), &tell);
    for from in offsets {
        let mut bytes = vec![0; 1000];
        let wanted = Wanted {
            from: *from,
            ..Wanted::whole("f", SIZE as u64)
        };
        fetcher.fill(wanted, &mut bytes).unwrap();
        assert!(bytes == numbers()[*from as usize..][..1000], "{from}");
        after(*from);
    }
    drop(fetcher);
    told.into_inner().unwrap()
}

/// A server without ranges sends everything each time; one whose body goes on is not asked again.
#[test]
fn a_server_without_ranges_is_of_use() {
    let (url, asked) = without_ranges();
    // From the middle on, farther on past a gap, and back: that needs another answer.
    let expected = [(100_000, 1), (150_000, 1), (5, 2), (1005, 2)];
    let mut answers = expected.iter();
    let told = read_at(vec![url], &expected.map(|(from, _)| from), SILENCE, |_| {
        let (from, answers) = answers.next().unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), *answers, "{from}");
    });
    assert!(
        matches!(&told[..], [line] if line.contains("no ranges")),
        "{told:?}"
    );
}

/// One that has ranges is asked instead, where there is one that answers.
#[test]
fn a_server_with_ranges_is_better() {
    let ranges = server(|client, from| {
        let answer = [head(from, SIZE - 1, SIZE).as_bytes(), &numbers()[from..]].concat();
        let _ = client.write_all(&answer);
    });
    let (url, asked) = without_ranges();
    let told = read_at(vec![url, ranges], &[100_000, 5, 150_000], SILENCE, |_| ());
    assert_eq!(asked.load(Ordering::Relaxed), 1, "{told:?}");
    let (url, _) = without_ranges();
    let nobody = Url::parse("http://127.0.0.1:1").unwrap();
    read_at(vec![url, nobody], &[100_000, 5, 150_000], SILENCE, |_| ());
}

/// A server that breaks off while what comes before the wanted byte is dropped is asked again, however long that took.
#[test]
fn a_break_before_the_wanted_byte_is_no_end() {
    // A busy machine may oversleep.
    let silence = SILENCE * 3;
    let asked = AtomicUsize::new(0);
    let url = server(move |client, _| {
        let _ = client.write_all(WHOLE.as_bytes());
        if asked.fetch_add(1, Ordering::Relaxed) > 0 {
            let _ = client.write_all(&numbers());
            return;
        }
        for piece in numbers().chunks(22_000).take(4) {
            let _ = client.write_all(piece);
            std::thread::sleep(silence * 2 / 5);
        }
    });
    let told = read_at(vec![url], &[100_000], silence, |_| ());
    assert!(
        told.iter().any(|line| line.contains("too early; going on")),
        "{told:?}"
    );
}

//! Which state of the repositories counts, and the lock that makes it count no more.
//!
//! The packages of the tiny repository make no system: what comes after they are fetched fails in every case, and
//! is not looked at here.

#![allow(clippy::unwrap_used, clippy::panic)]

mod place;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};

use manifest::{Lock, LockedPackage, Packages};
use serde_json::{Value, json};

use place::Place;

/// A static web server on loopback; it notes every path that was asked for.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

/// `name:word` in base64, as a client sends it.
const LOGIN: &str = "Authorization: Basic bmFtZTp3b3Jk";

impl Server {
    fn start(place: &Place) -> Self {
        Self::guarded(place, "")
    }

    /// A server that answers only to who sends this header.
    fn guarded(place: &Place, header: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (notes, root) = (Arc::clone(&asked), place.path("repo"));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &root, &notes, header);
            }
        });
        Self { address, asked }
    }

    fn repository(&self, place: &Place, keys: &[Value]) -> Value {
        let mut repository = place.repository(keys);
        repository["uri"] = json!(self.address);
        repository
    }

    /// What was asked for since the last call.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn answer(stream: TcpStream, root: &std::path::Path, notes: &Mutex<Vec<String>>, header: &str) {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    while reader.read_line(&mut request).unwrap_or(0) > 2 {}
    let path = request.split_whitespace().nth(1).unwrap_or("/").to_owned();
    let mut bytes = Vec::new();
    let file = fs::File::open(root.join(path.trim_start_matches('/').replace("./", "")));
    let status = match file.and_then(|mut f| f.read_to_end(&mut bytes)) {
        _ if !request.contains(header) => "401 Unauthorized",
        Ok(_) => "200 OK",
        Err(_) => "404 Not Found",
    };
    notes.lock().unwrap().push(path);
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        bytes.len()
    );
    let mut stream = reader.into_inner();
    // A client that has gone has what it wanted.
    let _ = stream.write_all(&[head.as_bytes(), &bytes].concat());
}

/// A place whose repository is signed, and the repository's key.
fn signed() -> (Place, Value) {
    let place = Place::new();
    let key = place.put(&place.key("signer"));
    place.sign("signer");
    (place, key)
}

fn add(place: &Place, name: &str, version: &str) {
    place.package(name, version, "Depends: apt\n");
    place.index();
    place.sign("signer");
}

#[test]
fn a_directory_of_this_host_is_looked_at_every_time() {
    let (place, key) = signed();
    let repository = place.repository(&[key]);
    let (_, said) = place.assemble(&repository, &["tool", "new"]);
    assert!(
        said.contains("the repositories have no package new"),
        "{said}"
    );
    add(&place, "new", "1");
    let (_, said) = place.assemble(&repository, &["tool", "new"]);
    assert!(
        !said.contains("the repositories have no package new") && said.contains("fetch"),
        "{said}"
    );
}

#[test]
fn a_server_is_asked_once_a_day_or_when_told_to() {
    let (place, key) = signed();
    let server = Server::start(&place);
    let repository = server.repository(&place, &[key]);
    let (_, said) = place.assemble(&repository, &["tool"]);
    assert!(said.contains("fetch"), "{said}");
    let asked = server.asked();
    assert!(
        asked.iter().any(|path| path.contains("InRelease")),
        "{asked:?}"
    );
    place.assemble(&repository, &["tool"]);
    assert_eq!(server.asked(), Vec::<String>::new());
    for again in [&["--refresh"][..], &["--max-age", "0"]] {
        place.assemble_with(again, &repository, &["tool"]);
        let asked = server.asked();
        assert!(
            asked.iter().any(|path| path.contains("InRelease")),
            "{asked:?}"
        );
    }
}

#[test]
fn credentials_come_from_apts_own_file_and_stay_there() {
    let (place, key) = signed();
    let server = Server::guarded(&place, LOGIN);
    let repository = server.repository(&place, &[key]);
    let (_, said) = place.assemble(&repository, &["tool"]);
    assert!(said.contains("401"), "{said}");
    let auth = place.path("auth.conf");
    let machine = server.address.trim_end_matches('/');
    fs::write(
        &auth,
        format!("machine {machine} login name password word\n"),
    )
    .unwrap();
    let option = ["--auth", auth.to_str().unwrap()];
    let (_, said) = place.assemble_with(&option, &repository, &["tool"]);
    assert!(said.contains("fetch") && !said.contains("401"), "{said}");
    let mut grep = Command::new("grep");
    grep.args(["-rl", "password word"]).arg(place.path("store"));
    let kept = String::from_utf8(grep.output().unwrap().stdout).unwrap();
    assert_eq!(kept, "");
    let missing = place.assemble_with(&["--auth", "/none"], &repository, &["tool", "new"]);
    assert!(missing.1.contains("/none"), "{}", missing.1);
}

#[test]
fn what_is_for_the_image_only_is_not_asked() {
    let (place, key) = signed();
    let mut only = place.repository(std::slice::from_ref(&key));
    only["uri"] = json!("http://127.0.0.1:9/debian");
    only["alias"] = json!("only");
    only["imageonly"] = json!(true);
    let both = json!([only, place.repository(&[key])]);
    let (_, said) = place.assemble(&both, &["tool"]);
    assert!(
        said.contains("fetch") && !said.contains("127.0.0.1:9"),
        "{said}"
    );
}

/// The repository drops a version between the moment it was chosen and the moment it is fetched.
#[test]
fn a_repository_that_has_moved_on_is_read_again() {
    let (place, key) = signed();
    let server = Server::start(&place);
    let repository = server.repository(&place, &[key]);
    fs::rename(place.path("repo/tool_1_all.deb"), place.path("aside")).unwrap();
    let (code, said) = place.assemble(&repository, &["tool"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("package tool cannot be fetched"), "{said}");
    add(&place, "tool", "2");
    server.asked();
    let (_, said) = place.assemble(&repository, &["tool"]);
    assert!(
        said.contains("the repositories have changed and are read again"),
        "{said}"
    );
    let asked = server.asked();
    assert!(
        asked.iter().any(|path| path.contains("tool_2_all")),
        "{asked:?}"
    );
}

#[test]
fn offline_means_no_connection() {
    let (place, key) = signed();
    let server = Server::start(&place);
    let repository = server.repository(&place, &[key]);
    let (code, said) = place.assemble_with(&["--offline"], &repository, &["tool"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("no metadata of these repositories"), "{said}");
    fs::rename(place.path("repo/tool_1_all.deb"), place.path("aside")).unwrap();
    place.assemble(&repository, &["tool"]);
    server.asked();
    let (code, said) = place.assemble_with(&["--offline"], &repository, &["tool"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("not in the store: "), "{said}");
    assert_eq!(server.asked(), Vec::<String>::new());
}

#[test]
fn a_lock_of_another_description_is_refused() {
    let (place, key) = signed();
    let repository = place.repository(&[key]);
    let package = |name: &str| manifest::Package { name: name.into() };
    let packages = Packages {
        image: vec![package("tool"), package("gone")],
        ..Packages::default()
    };
    let chosen = LockedPackage {
        name: "tool".into(),
        version: "1".into(),
        architecture: "all".into(),
        sha256: "00".repeat(32),
        uri: "http://example.org/tool_1_all.deb".into(),
        size: 1,
        source: "local:tool_1_all.deb".into(),
        bootstrap: false,
        requested: true,
    };
    let file = place.path("a.lock.json");
    let lock = Lock::new(std::env::consts::ARCH, &packages, &[chosen]);
    fs::write(&file, lock.to_text().unwrap()).unwrap();
    let options = ["--lock", file.to_str().unwrap()];
    let (code, said) = place.assemble_with(&options, &repository, &["tool", "new"]);
    assert_eq!(code, 3, "{said}");
    for fact in [
        "a.lock.json: it is not one of this description",
        "it lacks the image package new",
        "it has the image package gone, which the description does not name",
        "build without --lock",
    ] {
        assert!(said.contains(fact), "{fact}: {said}");
    }
    fs::write(&file, "{\n oops").unwrap();
    let (code, said) = place.assemble_with(&options, &repository, &["tool"]);
    assert_eq!(code, 3, "{said}");
    assert!(
        said.contains("a.lock.json: key must be a string at line 2"),
        "{said}"
    );
}

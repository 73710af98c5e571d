//! The network boot set instead of a medium: an address, the chunk map, and the frames over HTTP.
//!
//! ```text
//! words    what the command line asks for
//! link     interface, address by DHCP or as given (dhcp), undone at the end
//! fetch    files from mirrors: url, dns, http
//! source   the payload as deploy::Source
//! local    what of it a medium of this machine holds already
//! ```
//!
//! It needs nothing of the initramfs around it, so it is the same with dracut and without.

mod dhcp;
mod dns;
pub mod fetch;
mod http;
mod link;
pub mod local;
mod redirect;
pub mod source;
pub mod url;
pub mod words;

use std::net::Ipv4Addr;
use std::time::Duration;

use manifest::Digest;
use store::chunk_map::ChunkMap;

use crate::config::{self, Config};
use crate::console::Console;
use crate::medium::Medium;
use crate::modules::Loader;
use crate::signature::{self, SIGNATURE_BYTES, SIGNATURE_ON_MEDIUM};
use crate::stop::{Result, Stop};
use fetch::{Fetcher, Patience, Wanted};
use http::Fault;
use link::Link;
use local::Local;
use source::Remote;
use url::Url;
use words::Request;

/// How long is waited for the network where rd.ramforge.wait says nothing.
const WAIT: Duration = Duration::from_secs(60);
/// How often each mirror is asked for a map, or its signature, that is not the right one.
const TRIES: usize = 3;

/// A boot set with the right map.
#[derive(Debug)]
pub struct Network<'a> {
    /// Its chunk map, verified.
    pub map: ChunkMap,
    /// Its payload.
    pub payload: Local<'a>,
    /// Where it is, for people.
    pub place: String,
    link: Link,
}

/// Brings the network up and fetches the map of `config`. `tell` is told of servers that fail.
///
/// # Errors
/// A sentence.
pub fn open<'a>(
    config: &Config,
    request: Request,
    limit: Option<Duration>,
    loader: &mut Loader,
    console: &Console,
    tell: &'a fetch::Tell<'a>,
) -> Result<Network<'a>> {
    for remark in &request.remarks {
        console.say(&format!("warning: {remark}"));
    }
    let limit = limit.unwrap_or(WAIT);
    let link = link::find(&request, limit, loader, console)?;
    let urls = match request.urls.is_empty() {
        true => vec![booted_from(link.lease.boot.as_ref())?],
        false => request.urls,
    };
    let patience = Patience {
        limit,
        ..Patience::default()
    };
    let servers = [request.name_servers, link.lease.name_servers.clone()].concat();
    let resolve = move |host: &str| dns::resolve(host, &servers, random() as u16);
    let mut fetcher = Fetcher::new(urls, patience, Box::new(resolve), tell);
    let map = map(config, &mut fetcher)?;
    let place = fetcher.url().map(ToString::to_string).unwrap_or_default();
    let mut payload = Local::new(Remote::new(&map, fetcher), tell);
    if request.local {
        payload.look(&map, loader, console);
    }
    Ok(Network {
        payload,
        map,
        place,
        link,
    })
}

impl Network<'_> {
    /// Closes every connection and leaves the interface as it was found. Says what became of it, and gives the media that
    /// were read.
    pub fn release(self) -> (String, Vec<Medium>) {
        let Self { payload, link, .. } = self;
        let media = payload.into_media();
        (link.close(), media)
    }
}

/// The directory that the firmware booted from: its file may be a path on its server, or a URL of its own.
fn booted_from(boot: Option<&(Ipv4Addr, String)>) -> Result<Url> {
    let directory = |(server, file): &(Ipv4Addr, String)| match file.contains("://") {
        true => Url::parse_file(file).ok(),
        false => Url::parse_file(&format!("http://{server}/{file}")).ok(),
    };
    boot.and_then(directory).ok_or_else(|| {
        Stop::new(
            "nothing says where the system is to be fetched from, and the DHCP server names no boot server",
            "add rd.ramforge.url=http://SERVER/DIRECTORY to the kernel command line",
        )
    })
}

/// The map that `config` names, from the first mirror that has it.
fn map(config: &Config, fetcher: &mut Fetcher<'_>) -> Result<ChunkMap> {
    let file = config::MAP_ON_MEDIUM;
    let is_it = |text: &[u8]| Digest::of(text) == config.map.blake3;
    let text = small(fetcher, file, config.map.size, is_it).map_err(|fault| {
        let way_out = "see that the server runs and has the boot set of this initramfs, or name another one with rd.ramforge.url=";
        Stop::new(format!("/{file} cannot be fetched: {fault}"), way_out)
    })?;
    let text = text.ok_or_else(|| {
        let urls: Vec<String> = fetcher.urls().map(ToString::to_string).collect();
        let urls = urls.join(" and of ");
        Stop::new(
            format!("/{file} of {urls} is not the one this initramfs was made for"),
            "put all files of one build on the server, kernel and initramfs too",
        )
    })?;
    // Where the initramfs has a public key, the map counts only when it is signed.
    if let Some(key) = &config.public_key {
        check_signature(key, &text, fetcher)?;
    }
    ChunkMap::parse(&text).map_err(|e| Stop::new(e.to_string(), "build the image again"))
}

fn check_signature(key: &Digest, map: &[u8], fetcher: &mut Fetcher<'_>) -> Result<()> {
    let is_one = |signature: &[u8]| signature::verify(key, map, signature);
    let size = SIGNATURE_BYTES as u64;
    let fact = match small(fetcher, SIGNATURE_ON_MEDIUM, size, is_one) {
        Ok(Some(_)) => return Ok(()),
        Ok(None) => "is not one of this map with the key that this initramfs trusts".to_owned(),
        Err(fault) => format!("cannot be fetched: {fault}"),
    };
    Err(Stop::new(
        format!("the signature /{SIGNATURE_ON_MEDIUM} {fact}"),
        "put a boot set on the server that was made with iso-pack --sign",
    ))
}

/// A small file as it `is_right`, from the first mirror that has it so; `None` where none has.
fn small(
    fetcher: &mut Fetcher<'_>,
    file: &str,
    size: u64,
    is_right: impl Fn(&[u8]) -> bool,
) -> std::result::Result<Option<Vec<u8>>, Fault> {
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    for _ in 0..TRIES * fetcher.mirrors() {
        let senders = fetcher.fill(Wanted::whole(file, size), &mut bytes)?;
        if is_right(&bytes) {
            return Ok(Some(bytes));
        }
        let senders: Vec<usize> = senders.into_iter().map(|(mirror, _)| mirror).collect();
        fetcher.distrust(&senders);
    }
    Ok(None)
}

/// A number that another machine, or the next boot, does not have.
fn random() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::tests::vector;
    use std::io::Write;

    /// A server of one file, which it sends from the beginning.
    fn server(file: Vec<u8>) -> Url {
        fetch::tests::server(move |client, _| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", file.len());
            let _ = client.write_all(&[head.as_bytes(), &file].concat());
        })
    }

    #[test]
    fn a_wrong_signature_on_a_mirror_costs_only_that_mirror() {
        let (key, map, good) = vector();
        let other = vec![1; SIGNATURE_BYTES];
        let checked = |files: &[&Vec<u8>]| {
            let urls = files.iter().map(|file| server(file.to_vec())).collect();
            let names = Box::new(|_: &str| Ok(Vec::new()));
            let mut fetcher = Fetcher::new(urls, Patience::default(), names, &|_| ());
            check_signature(&key, &map, &mut fetcher)
        };
        assert_eq!(checked(&[&other, &other, &good]), Ok(()));
        let text = checked(&[&other, &other]).unwrap_err().to_string();
        assert!(text.contains("is not one of this map"), "{text}");
    }

    #[test]
    fn the_firmwares_file_says_where_the_set_is() {
        let server = Ipv4Addr::new(10, 0, 2, 2);
        for (file, url) in [
            ("", "http://10.0.2.2/"),
            ("boot.pxe", "http://10.0.2.2/"),
            ("/net/boot.pxe", "http://10.0.2.2/net/"),
            (
                "http://10.0.2.2:8000/net/boot.ipxe",
                "http://10.0.2.2:8000/net/",
            ),
            ("tftp://10.0.2.9/boot.ipxe", "http://10.0.2.9/"),
        ] {
            let found = booted_from(Some(&(server, file.to_owned())));
            assert_eq!(found.unwrap().to_string(), url, "{file}");
        }
        assert!(booted_from(None).is_err());
        assert!(booted_from(Some(&(server, "ftp://x/y".to_owned()))).is_err());
    }
}

//! Where a server sends its client to.

use super::http::Fault;
use super::url::Url;

/// The server and path that a redirection from `path` names (RFC 3986, 5.2).
pub(super) fn target(url: &Url, path: &str, location: &str) -> Result<(Url, String), Fault> {
    let refuse = |why| format!("sends to {location}: {why}");
    let to = location.split('#').next().unwrap_or_default();
    if !to.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(refuse("expected no blanks in it".to_owned()));
    }
    let head = to.split(['/', '?']).next().unwrap_or_default();
    if head.contains(':') || to.starts_with("//") {
        let whole = match head.is_empty() {
            true => format!("http:{to}"),
            false => to.to_owned(),
        };
        let rest = whole.splitn(4, '/').nth(3).unwrap_or_default();
        let host = Url::parse(whole.split('?').next().unwrap_or_default());
        return Ok((host.map_err(refuse)?, format!("/{rest}")));
    }
    let file = path.split('?').next().unwrap_or_default();
    let directory = file.rsplit_once('/').map_or("", |(directory, _)| directory);
    let path = match to.chars().next() {
        None => path.to_owned(),
        Some('/') => to.to_owned(),
        Some('?') => format!("{file}{to}"),
        Some(_) => normal(&format!("{directory}/{to}")),
    };
    Ok((url.clone(), path))
}

/// `path` without `.` and `..`.
fn normal(path: &str) -> String {
    let (file, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let mut parts: Vec<&str> = Vec::new();
    for part in file.split('/').skip(1) {
        match part {
            "." => (),
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}{query}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_is_a_path_or_another_server() {
        let url = Url::parse("http://a/b").unwrap();
        let to = |location| {
            let found = target(&url, "/b/ramforge/map?old", location);
            found.map(|(url, path)| format!("{}{path}", url.authority()))
        };
        for (location, expected) in [
            ("/c/map?x=1", "a/c/map?x=1"),
            ("http://o:81/c/map?x=1", "o:81/c/map?x=1"),
            ("//o/c#f", "o/c"),
            ("http://o", "o/"),
            ("frames", "a/b/ramforge/frames"),
            ("../c/./map?u=http://x/..", "a/b/c/map?u=http://x/.."),
            ("../../../map", "a/map"),
            ("?new", "a/b/ramforge/map?new"),
        ] {
            assert_eq!(to(location).as_deref(), Ok(expected), "{location}");
        }
        let fault = to("https://o/c").unwrap_err();
        assert!(fault.contains("every byte is verified"), "{fault}");
        assert!(to("/c\r\nX: y").is_err() && to("ftp:c").is_err());
    }
}

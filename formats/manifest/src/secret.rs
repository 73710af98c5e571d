//! What a manifest and a journal leave out, since both are kept and passed on.

/// A text whose URIs have no user and password any more: `http://user:word@host/` becomes `http://…@host/`.
pub fn without_credentials(text: &str) -> String {
    let mut parts = text.split("://");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept += "://";
        match end_of_credentials(part) {
            Some(at) => kept.extend(["…", &part[at..]]),
            None => kept += part,
        }
    }
    kept
}

/// Where the `@` behind user and password stands, in what follows `://`.
fn end_of_credentials(text: &str) -> Option<usize> {
    let authority = &text[..text.find(['/', '?', '#', ' ']).unwrap_or(text.len())];
    // What stands in the place of a port and is none is the beginning of a password with one of these signs in it.
    let port = authority.rsplit_once(':').map_or("", |parts| parts.1);
    let odd = !authority.starts_with('[') && !port.bytes().all(|b| b.is_ascii_digit());
    let at = authority.rfind('@');
    at.or_else(|| text.rfind('@').filter(|_| odd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_user_and_password_go() {
        for (text, kept) in [
            ("http://user:word@host/a@b", "http://…@host/a@b"),
            ("https://token@host:8080", "https://…@host:8080"),
            ("http://u:w@ord@host?q#f", "http://…@host?q#f"),
            ("http://a:b@c/d ftp://e:f@g", "http://…@c/d ftp://…@g"),
            (
                "http://h/d,apt-deb,,,,,{http://u:w@h/k}",
                "http://h/d,apt-deb,,,,,{http://…@h/k}",
            ),
            ("http://u:w/o?r#d@host/", "http://…@host/"),
            ("http://host:80/a@b", "http://host:80/a@b"),
            ("http://[::1]/a@b", "http://[::1]/a@b"),
            ("dir:///srv/a@b", "dir:///srv/a@b"),
            ("/srv/a@b", "/srv/a@b"),
            ("", ""),
        ] {
            assert_eq!(without_credentials(text), kept);
        }
    }
}

//! What a manifest and a journal leave out, since both are kept and passed on.

/// A text whose URIs have no user and password any more: `http://user:word@host/` becomes `http://…@host/`.
pub fn without_credentials(text: &str) -> String {
    let mut parts = text.split("://");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept += "://";
        let authority = part.find(['/', '?', '#', ' ']).unwrap_or(part.len());
        match part[..authority].rfind('@') {
            Some(at) => kept.extend(["…", &part[at..]]),
            None => kept += part,
        }
    }
    kept
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
            ("dir:///srv/a@b", "dir:///srv/a@b"),
            ("/srv/a@b", "/srv/a@b"),
            ("", ""),
        ] {
            assert_eq!(without_credentials(text), kept);
        }
    }
}

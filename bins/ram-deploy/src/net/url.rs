//! Where a boot set lies: `http://HOST[:PORT]/DIRECTORY` (RFC 3986).
//!
//! *Not read:* https, since every byte is verified against the digest in the initramfs; user names; IPv6.

use std::fmt;

/// A directory on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The directory: empty, or beginning with a slash; never ending with one.
    pub directory: String,
}

impl Url {
    /// Reads the URL of a directory.
    ///
    /// # Errors
    /// What is wrong with it, without the URL itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            Some(("http", rest)) => rest,
            // What the firmware was told: the files of a boot set lie in the same place for HTTP.
            Some(("tftp", rest)) => rest,
            Some(("https", _)) => {
                return Err("https is not read; use http: every byte is verified".to_owned());
            }
            _ => return Err("expected http://SERVER/DIRECTORY".to_owned()),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains(['@', '[', '\\']) || path.contains(['?', '#']) {
            return Err("expected no user, query or IPv6 address in it".to_owned());
        }
        let (host, port) = match authority.split_once(':') {
            None => (authority, 80),
            Some((host, port)) => {
                let port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
                (host, port)
            }
        };
        if host.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("expected the name or address of a server in it".to_owned());
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        Ok(Self {
            host: host.to_owned(),
            port,
            directory: parts.iter().map(|part| format!("/{part}")).collect(),
        })
    }

    /// Reads the URL of a file, of which the directory counts.
    ///
    /// # Errors
    /// As [`Url::parse`].
    pub fn parse_file(text: &str) -> Result<Self, String> {
        let mut url = Self::parse(text)?;
        if let (false, Some(cut)) = (text.ends_with('/'), url.directory.rfind('/')) {
            url.directory.truncate(cut);
        }
        Ok(url)
    }

    /// The path of a file in the directory, as a request names it.
    pub fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.directory)
    }

    /// What a request's `Host` says.
    pub fn authority(&self) -> String {
        match self.port {
            80 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}/", self.authority(), self.directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Url::parse(text).map_or_else(|e| e, |url| url.to_string())
    }

    #[test]
    fn directories_are_read() {
        assert_eq!(shown("http://a"), "http://a/");
        assert_eq!(
            shown("http://10.0.2.2:8080//x/y//"),
            "http://10.0.2.2:8080/x/y/"
        );
        assert_eq!(shown("tftp://10.0.2.2/"), "http://10.0.2.2/");
        assert_eq!(
            Url::parse("http://a:80/b").unwrap().path("ramforge/map"),
            "/b/ramforge/map"
        );
        assert_eq!(
            Url::parse("http://a").unwrap().path("ramforge/map"),
            "/ramforge/map"
        );
    }

    #[test]
    fn of_a_file_the_directory_counts() {
        let shown = |text| Url::parse_file(text).unwrap().to_string();
        assert_eq!(shown("http://a/b/system.xz"), "http://a/b/");
        assert_eq!(shown("http://a/system.xz"), "http://a/");
        assert_eq!(shown("http://a/b/"), "http://a/b/");
        assert_eq!(
            shown("tftp://a/image/system.x86_64-1.xz"),
            "http://a/image/"
        );
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        for (text, why) in [
            ("ftp://a/b", "expected http://"),
            ("a/b", "expected http://"),
            ("https://a/b", "every byte is verified"),
            ("http:///b", "name or address"),
            ("http://a:x/", "no port"),
            ("http://u@a/", "no user"),
            ("http://[::1]/", "IPv6"),
            ("http://a/b?c", "query"),
            ("http://a/b c", "name or address"),
        ] {
            assert!(shown(text).contains(why), "{text}: {}", shown(text));
        }
    }
}

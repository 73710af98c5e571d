//! The private configuration: apt.conf(5), sources.list(5), apt_preferences(5).

use std::fs;
use std::path::{Path, PathBuf};

use manifest::{Object, Repository};
use stage::{At, Command, Context, Error, Result};

use super::{HOST_SOURCES, explain, host};

/// Where the host's apt is configured.
const HOST_ETC: &str = "/etc/apt";
/// Variables that a host may need to reach its sources.
const PROXIES: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];
/// Settings of the host under `Acquire::` that are ours to decide.
const OURS: [&str; 8] = [
    "Acquire::AllowInsecure",
    "Acquire::AllowWeak",
    "Acquire::AllowDowngrade",
    "Acquire::IndexTargets",
    "Acquire::Changelogs",
    "Acquire::CompressionTypes",
    "Acquire::Languages",
    "Acquire::GzipIndexes",
];
/// Keyrings of distributions, for repositories of a description that names no key.
const KEYRINGS: &str = "/usr/share/keyrings";

/// The lines that say where credentials are. They are never copied: apt reads them where they lie.
fn credentials(auth: Option<&Path>) -> Result<String> {
    let (file, parts) = match auth {
        Some(file) => {
            let file = fs::canonicalize(file).at(file)?;
            fs::File::open(&file).at(&file)?;
            (file, "/dev/null".to_owned())
        }
        None => (
            Path::new(HOST_ETC).join("auth.conf"),
            format!("{HOST_ETC}/auth.conf.d"),
        ),
    };
    let file = file.display();
    Ok(format!(
        "Dir::Etc::netrc \"{file}\";\nDir::Etc::netrcparts \"{parts}\";\n"
    ))
}

/// apt with its private configuration.
pub struct Apt<'a> {
    pub(super) cx: &'a Context,
    pub(super) dir: PathBuf,
    pub(super) repositories: &'a [Repository],
}

impl<'a> Apt<'a> {
    /// Writes the configuration into `dir`, which must exist and be empty. `auth` has users and passwords of
    /// servers, in the form of apt_auth.conf(5); without it the host's own do.
    ///
    /// # Errors
    /// Exit code 3 for a repository that apt cannot serve, 5 where the host has no sources, else 1.
    pub fn set_up(
        cx: &'a Context,
        dir: &Path,
        architecture: &str,
        repositories: &'a [Repository],
        auth: Option<&Path>,
    ) -> Result<Self> {
        let apt = Self {
            cx,
            dir: dir.to_owned(),
            repositories,
        };
        for sub in [
            "etc/sources.list.d",
            "etc/preferences.d",
            "etc/trusted.gpg.d",
            "etc/keys",
            "state/lists/partial",
            "cache/archives/partial",
        ] {
            let sub = dir.join(sub);
            fs::create_dir_all(&sub).at(&sub)?;
        }
        apt.write("status", "")?;
        if repositories.iter().all(|r| r.imageonly) {
            return Err(Error::refused("the description names no repository to build from")
                .advice("add <repository><source path=\"obsrepositories:/\"/></repository> for the host's own"));
        }
        for (index, repository) in repositories.iter().enumerate() {
            if !repository.imageonly {
                apt.add(index, repository)?;
            }
        }
        apt.trust_distributions()?;
        let host = repositories
            .iter()
            .any(|r| r.uri == HOST_SOURCES && !r.imageonly);
        apt.write("apt.conf", &apt.settings(architecture, host, auth)?)?;
        Ok(apt)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.dir.join(name);
        fs::write(&path, text).at(&path)
    }

    fn settings(&self, architecture: &str, host: bool, auth: Option<&Path>) -> Result<String> {
        let dir = self.dir.display();
        // An index as gzip is a third larger than as xz and is read four times as fast: a server that brings more than
        // 10 MB a second makes up for it.
        let mut text = format!(
            r#"Dir "/";
Dir::Etc "{dir}/etc/";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::State "{dir}/state/";
Dir::State::status "{dir}/status";
Dir::Cache "{dir}/cache/";
Dir::Log "{dir}/log";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::CompressionTypes::Order {{ "gz"; }};
Acquire::ForceHash "SHA256";
Acquire::Retries "2";
"#
        );
        text.push_str(&credentials(auth)?);
        if host {
            let dump = self.cx.tool("apt-config")?.arg("dump").run()?;
            for line in String::from_utf8_lossy(&dump.stdout).lines() {
                if line.starts_with("Acquire::") && !OURS.iter().any(|o| line.starts_with(o)) {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
        Ok(text)
    }

    fn add(&self, index: usize, repository: &Repository) -> Result<()> {
        if repository.uri == HOST_SOURCES {
            for file in host::files(Path::new(HOST_ETC))? {
                let name = format!("etc/sources.list.d/{index:03}-{}", file.name);
                self.write(&name, &file.text)?;
            }
            return Ok(());
        }
        let origin = explain::origin(self.cx, &format!("/repositories/{index}"));
        if repository.kind != "apt-deb" {
            let fact = format!(
                "{origin}repository {}: type {:?}",
                repository.alias, repository.kind
            );
            return Err(Error::refused(fact + "; expected \"apt-deb\""));
        }
        let uri = source_uri(&repository.uri)
            .ok_or_else(|| explain::unknown_uri(&origin, &repository.uri))?;
        if let Some(path) = uri.strip_prefix("file:")
            && !Path::new(path).is_dir()
        {
            return Err(explain::no_directory(&origin, repository, path));
        }
        let mut keys = Vec::new();
        for (n, key) in repository.keys.iter().enumerate() {
            keys.push(self.key(&format!("{index:03}-{n}"), &key.object)?);
        }
        let text = stanza(repository, &uri, &keys);
        self.write(&format!("etc/sources.list.d/{index:03}.sources"), &text)?;
        if repository.priority > 0 {
            self.write(
                &format!("etc/preferences.d/{index:03}.pref"),
                &preference(&uri, repository.priority),
            )?;
        }
        Ok(())
    }

    fn key(&self, name: &str, object: &Object) -> Result<String> {
        let bytes = self.cx.store().get(object)?;
        let path = self
            .dir
            .join(format!("etc/keys/{name}.{}", keyring_extension(&bytes)));
        fs::write(&path, bytes).at(&path)?;
        Ok(path.display().to_string())
    }

    /// Repositories without keys of their own may be signed by the host's and the distributions' keys.
    fn trust_distributions(&self) -> Result<()> {
        let trusted = self.dir.join("etc/trusted.gpg.d");
        // Only the distributions' own: a third party's key vouches for its own repository.
        let archive = |name: &str| {
            let own = ["debian-archive-", "ubuntu-archive-"];
            own.iter().any(|prefix| name.starts_with(prefix)) && !name.contains("removed")
        };
        for (dir, wanted) in [
            (Path::new(HOST_ETC).join("trusted.gpg.d"), None),
            (PathBuf::from(KEYRINGS), Some(archive)),
        ] {
            let Ok(entries) = fs::read_dir(&dir) else {
                continue;
            };
            for path in entries.flatten().map(|e| e.path()) {
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                let kind = path.extension().and_then(|e| e.to_str());
                if matches!(kind, Some("gpg" | "asc")) && wanted.is_none_or(|w| w(&name)) {
                    // A keyring that this user may not read cannot vouch for anything.
                    let _ = fs::copy(&path, trusted.join(name));
                }
            }
        }
        Ok(())
    }

    /// One of apt's programs with this configuration.
    pub(super) fn tool(&self, name: &str) -> Result<Command<'a>> {
        let mut tool = self.cx.tool(name)?;
        for proxy in PROXIES {
            if let Some(value) = std::env::var_os(proxy) {
                tool = tool.env(proxy, value);
            }
        }
        Ok(tool.env("APT_CONFIG", self.dir.join("apt.conf")))
    }
}

/// A deb822 paragraph for a repository of the description.
pub fn stanza(repository: &Repository, uri: &str, keys: &[String]) -> String {
    let mut text = format!("Types: deb\nURIs: {uri}\n");
    match &repository.distribution {
        Some(distribution) => {
            let components = repository.components.as_deref().unwrap_or("main");
            text += &format!("Suites: {distribution}\nComponents: {components}\n");
        }
        None => text += "Suites: ./\n",
    }
    if !keys.is_empty() {
        text += &format!("Signed-By: {}\n", keys.join(" "));
    }
    if !repository.signature_check {
        text += "Trusted: yes\nCheck-Valid-Until: no\n";
    }
    text
}

fn preference(uri: &str, priority: u64) -> String {
    let host = uri
        .split_once("://")
        .and_then(|(_, rest)| rest.split(['/', ':']).next())
        .unwrap_or_default();
    format!("Package: *\nPin: origin \"{host}\"\nPin-Priority: {priority}\n")
}

/// The URI as apt knows it: local directories become `file:`. `None` for a kind apt cannot serve.
pub fn source_uri(uri: &str) -> Option<String> {
    let (scheme, rest) = match uri.split_once(':') {
        Some(split) => split,
        None if uri.starts_with('/') => ("file", uri),
        None => return None,
    };
    match scheme {
        "http" | "https" | "ftp" => Some(uri.to_owned()),
        "file" | "dir" => Some(format!("file:/{}", rest.trim_start_matches('/'))),
        _ => None,
    }
}

/// The extension by which apt tells armoured keys from binary keyrings.
pub fn keyring_extension(bytes: &[u8]) -> &'static str {
    if bytes.starts_with(b"-----BEGIN") {
        "asc"
    } else {
        "gpg"
    }
}

/// The architecture in Debian's spelling.
///
/// # Errors
/// Exit code 3 for one that Debian does not have.
pub fn debian_architecture(arch: &str) -> Result<&'static str> {
    const NAMES: [(&str, &str); 9] = [
        ("x86_64", "amd64"),
        ("aarch64", "arm64"),
        ("armv7l", "armhf"),
        ("i586", "i386"),
        ("i686", "i386"),
        ("ppc64le", "ppc64el"),
        ("riscv64", "riscv64"),
        ("s390x", "s390x"),
        ("loongarch64", "loong64"),
    ];
    let found = NAMES.iter().find(|(kernel, _)| *kernel == arch);
    found.map(|(_, debian)| *debian).ok_or_else(|| {
        let known = NAMES.map(|(kernel, _)| kernel).join(", ");
        Error::refused(format!("architecture {arch:?}; expected one of {known}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_uris_become_apts() {
        for uri in ["dir:///srv/r", "file:/srv/r", "/srv/r", "file:///srv/r"] {
            assert_eq!(source_uri(uri).as_deref(), Some("file:/srv/r"), "{uri}");
        }
        assert_eq!(source_uri("obs://x/y"), None);
        assert_eq!(source_uri("relative"), None);
    }

    #[test]
    fn a_stanza_says_what_is_trusted() {
        let mut repository = Repository {
            uri: "http://example.org/d".into(),
            kind: "apt-deb".into(),
            alias: "a".into(),
            priority: 0,
            distribution: Some("stable".into()),
            components: None,
            signature_check: true,
            imageinclude: false,
            imageonly: false,
            keys: Vec::new(),
        };
        let text = stanza(&repository, &repository.uri, &["/k.asc".into()]);
        assert_eq!(
            text,
            "Types: deb\nURIs: http://example.org/d\nSuites: stable\nComponents: main\nSigned-By: /k.asc\n"
        );
        repository.distribution = None;
        repository.signature_check = false;
        let text = stanza(&repository, "file:/r", &[]);
        assert_eq!(
            text,
            "Types: deb\nURIs: file:/r\nSuites: ./\nTrusted: yes\nCheck-Valid-Until: no\n"
        );
        assert!(preference("http://example.org:80/d", 99).contains("Pin: origin \"example.org\""));
    }

    #[test]
    fn architectures_are_translated() {
        assert_eq!(debian_architecture("x86_64").unwrap(), "amd64");
        assert!(debian_architecture("vax").is_err());
    }
}

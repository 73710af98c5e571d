//! `<packages>`, `<repository>`, `<containers>`.

use super::Often::{Any, Must, Some};
use super::Use::{Ignored, Note, Refused, Used};
use super::{ARCH, Element, Kind, PROFILES, attr, leaf, must, node, old};

/// Values of `<packages type=…>`.
const PACKAGES_TYPES: &[&str] = &[
    "bootstrap",
    "delete",
    "docker",
    "image",
    "iso",
    "oem",
    "pxe",
    "kis",
    "oci",
    "uninstall",
    "systemfiles",
];

/// Values of `<repository type=…>`, older ones too.
const REPOSITORY_TYPES: &[&str] = &[
    "apk",
    "apt-deb",
    "apt-rpm",
    "deb-dir",
    "mirrors",
    "rpm-md",
    "rpm-dir",
    "red-carpet",
    "slack-site",
    "up2date-mirrors",
    "urpmi",
    "yast2",
];

const CREDENTIALS: &str = "a manifest is no place for secrets: apt takes them from /etc/apt/auth.conf.d of the build host (apt_auth.conf(5)), or from the file that rootfs-assemble --auth names";
const NOT_APT: super::Use =
    Ignored("apt repositories have no such thing; KIWI does nothing with it for apt either");

// A table: one row a line.
#[rustfmt::skip]
pub(super) const ROWS: &[Element] = &[
    node(
        "packages",
        &[("image", Any)],
        &[
            must("type", Kind::OneOf(PACKAGES_TYPES), Used("bootstrap, image, oem, delete and uninstall count for an oem image")),
            PROFILES,
            attr("patternType", Kind::OneOf(&["onlyRequired", "plusRecommended"]), Used("onlyRequired, the default, is what is done; plusRecommended gives a warning")),
            attr("bootstrap_package", Kind::Text, Refused("bootstrapping from a package is not supported; list the packages")).only(&["bootstrap"]).since(7, 5),
        ],
        Used("packages by the moment they are installed or removed"),
    ),
    leaf(
        "package",
        &[("packages", Any)],
        &[
            must("name", Kind::Text, Used("the name as apt knows it")),
            ARCH,
            attr("bootinclude", Kind::Bool, Ignored("it concerns KIWI's own initrd")),
            attr("bootdelete", Kind::Bool, Ignored("it concerns KIWI's own initrd")),
        ],
        Used("one package"),
    ),
    leaf(
        "archive",
        &[("packages", Any)],
        &[
            must("name", Kind::Path, Used("a tar file of the description, unpacked over the packages")),
            attr("bootinclude", Kind::Bool, Ignored("it concerns KIWI's own initrd")),
            attr("target_dir", Kind::Text, Used("directory to unpack into; the root by default")).since(7, 4),
        ],
        Used("its files become part of the overlay, below root/"),
    ),
    leaf(
        "file",
        &[("packages", Any)],
        &[
            must("name", Kind::Path, Used("a file of the description")),
            attr("target", Kind::Text, Used("where it goes; a path that ends in / is a directory, and so is what the overlay or every system has as one")),
            attr("owner", Kind::Text, Used("user:group as numbers, or root")),
            attr("permissions", Kind::Text, Used("octal mode; without it the file keeps its own")),
            ARCH,
        ],
        Used("becomes part of the overlay, above root/"),
    ).since(8, 2),
    leaf("ignore", &[("packages", Any)], &[must("name", Kind::Text, Note("a package name")), ARCH], NOT_APT),
    leaf("namedCollection", &[("packages", Any)], &[must("name", Kind::Text, Note("a collection")), ARCH], NOT_APT),
    leaf("product", &[("packages", Any)], &[must("name", Kind::Text, Note("a product")), ARCH], NOT_APT),
    leaf(
        "collectionModule",
        &[("packages", Any)],
        &[
            must("name", Kind::Name, Note("a module")),
            must("enable", Kind::Bool, Note("on or off")),
            attr("stream", Kind::Name, Note("a stream")),
            ARCH,
        ],
        NOT_APT,
    ).since(7, 5),
    node(
        "repository",
        &[("image", Any)],
        &[
            attr("type", Kind::OneOf(REPOSITORY_TYPES), Used("apt-deb")),
            PROFILES,
            ARCH.since(8, 2),
            attr("alias", Kind::Name, Used("its short name in the package lock")),
            attr("priority", Kind::Integer, Used("apt's Pin-Priority, as in KIWI: of two sources the higher number wins; below 0 is refused")),
            attr("components", Kind::Text, Used("main by default")),
            attr("distribution", Kind::Text, Used("the release; without it the repository is flat")),
            attr("imageinclude", Kind::Bool, Used("the image keeps the source")),
            attr("imageonly", Kind::Bool, Used("the image keeps the source; nothing is taken from it for the build")),
            attr("repository_gpgcheck", Kind::Bool, Used("whether the signature must be right; yes by default")),
            attr("package_gpgcheck", Kind::Bool, Note("Debian packages carry no signature; the signed metadata has their digests")),
            attr("customize", Kind::Path, Refused("scripts on package sources are not run")).since(7, 4),
            attr("username", Kind::Free, Ignored(CREDENTIALS)),
            attr("password", Kind::Free, Ignored(CREDENTIALS)),
            attr("sourcetype", Kind::OneOf(&["baseurl", "metalink", "mirrorlist"]), Used("baseurl; apt knows no metalinks")).since(7, 1),
            attr("architectures", Kind::Machines, Ignored("packages of the target machine are taken")).only(&["apt-deb"]).since(8, 2),
            old("use_for_bootstrap", Kind::Bool, (8, 1), None, Ignored("KIWI dropped it after schema 8.1; every repository serves the bootstrap")).since(7, 4),
        ],
        Used("a package source"),
    ),
    node(
        "source",
        &[("repository", Must)],
        &[must("path", Kind::Uri, Used("http:, https:, ftp:, file:, dir:, obs: or obsrepositories:/ (the build host's own sources); this: and iso: are refused: a plan names no directory of the host that made it, --set-repo does"))],
        Used("where the repository is"),
    ),
    leaf(
        "signing",
        &[("source", Any)],
        &[must("key", Kind::KeyUri, Used("this://FILE, a key in the description"))],
        Used("a key that may sign the repository"),
    ).since(7, 5),
    node(
        "containers",
        &[("image", Any)],
        &[
            PROFILES,
            ARCH,
            must("source", Kind::Text, Note("a registry")),
            must("backend", Kind::OneOf(&["podman", "docker", "container-snap"]), Note("a container engine")),
        ],
        Refused("container images are not fetched by this release; load them in a unit at first boot"),
    ).since(8, 2),
    leaf(
        "container",
        &[("containers", Some)],
        &[
            must("name", Kind::Text, Note("an image")),
            ARCH,
            attr("path", Kind::Text, Note("a path")),
            attr("tag", Kind::Text, Note("a tag")),
            attr("fetch_only", Kind::Bool, Note("a switch")),
        ],
        Note("see its parent"),
    ).since(8, 2),
];

//! `<image>` and its direct children, apart from preferences and packages.

use super::Often::{Any, Must, Once, Some};
use super::Use::{Carried, Ignored, Note, Refused, Used};
use super::{ARCH, Content, Element, Kind, PROFILES, attr, leaf, must, node, text};

// A table: one row a line.
#[rustfmt::skip]
pub(super) const ROWS: &[Element] = &[
    node(
        "image",
        &[("", Must)],
        &[
            must("name", Kind::Name, Used("the image's name, first part of every file name")),
            attr("displayname", Kind::Text, Used("title of the boot entry, unless oem-boot-title says another")),
            attr("id", Kind::Text, Carried("an identifier that /etc/ImageID would hold")),
            must("schemaversion", Kind::Text, Used("decides which old spellings are upgraded")),
        ],
        Used("the whole description"),
    ),
    leaf(
        "include",
        &[("image", Any)],
        &[must("from", Kind::Text, Used("a file of the description; its <image>'s children stand here"))],
        Used("the children of the included <image> take its place"),
    ).since(7, 4),
    node(
        "description",
        &[("image", Must)],
        &[must("type", Kind::OneOf(&["system", "boot"]), Note("boot descriptions make a KIWI initrd; they have no <type image=\"oem\">"))],
        Note("who wrote it, and what it is for"),
    ),
    text("author", &[("description", Must)], Kind::Free, Note("a name")),
    text("contact", &[("description", Some)], Kind::Free, Note("an address")),
    text("specification", &[("description", Must)], Kind::Free, Note("a sentence")),
    text("license", &[("description", Once)], Kind::Free, Note("a licence")).since(6, 9),
    node("profiles", &[("image", Any)], &[], Used("declares profiles")),
    node(
        "profile",
        &[("profiles", Some)],
        &[
            must("name", Kind::Text, Used("the name that profiles= and --profile use")),
            must("description", Kind::Free, Note("a sentence")),
            attr("import", Kind::Bool, Used("in force when no --profile is given")),
            ARCH.since(6, 9),
        ],
        Used("a switch for parts of the description"),
    ),
    leaf(
        "requires",
        &[("profile", Any)],
        &[must("profile", Kind::Text, Used("a profile that comes into force with this one")), ARCH.since(8, 4)],
        Used("brings another profile"),
    ).since(6, 9),
    node("users", &[("image", Any)], &[PROFILES, ARCH.since(8, 4)], Used("accounts")),
    leaf(
        "user",
        &[("users", Some)],
        &[
            must("name", Kind::Text, Used("login name")),
            must("password", Kind::Free, Used("crypt(3) hash, or plain text with pwdformat")),
            attr("pwdformat", Kind::OneOf(&["encrypted", "plain"]), Used("plain text is hashed by desc-parse (sha512-crypt)")),
            attr("groups", Kind::Groups, Used("the first is the primary group")),
            attr("home", Kind::Text, Used("home directory")),
            attr("id", Kind::Natural, Used("user id")),
            attr("realname", Kind::Free, Used("comment field")),
            attr("shell", Kind::Text, Used("login shell")),
        ],
        Used("an account to create or change"),
    ),
    node("drivers", &[("image", Any)], &[PROFILES], Ignored("it trims a KIWI initrd; the initramfs takes every module that the deployment needs by itself")),
    leaf(
        "file",
        &[("drivers", Some), ("strip", Some)],
        &[must("name", Kind::Text, Note("see its parent")), ARCH],
        Note("see its parent"),
    ),
    node(
        "strip",
        &[("image", Any)],
        &[must("type", Kind::OneOf(&["delete", "tools", "libs"]), Note("see the element")), PROFILES],
        Ignored("it has an effect only in scripts that call KIWI's own functions; remove files in config.sh"),
    ),
    node(
        "certificates",
        &[("image", Once)],
        &[PROFILES, must("target_distribution", Kind::OneOf(&["suse", "redhat", "debian", "archlinux"]), Note("see the element"))],
        Refused("certificates are not installed by this release; put them into root/usr/local/share/ca-certificates and run update-ca-certificates in config.sh"),
    ).since(8, 4),
    leaf("certificate", &[("certificates", Some)], &[must("name", Kind::Path, Note("see its parent"))], Note("see its parent")).since(8, 4),
    Element {
        content: Content::Foreign,
        ..node("extension", &[("image", Once)], &[], Ignored("extensions are for other programs"))
    },
];

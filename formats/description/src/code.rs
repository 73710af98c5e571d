//! The codes of diagnostics. A code never changes its meaning; a retired one is not used again.
//!
//! R00xx reading · R01xx grammar · R02xx meaning · R03xx files · R04xx options.

/// A stable name of one kind of diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u16);

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "R{:04}", self.0)
    }
}

impl Code {
    /// The code that a text such as `R0101` names, where there is one.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(['R', 'r'])?;
        let code = Self(digits.parse().ok()?);
        EXPLANATIONS.iter().any(|e| e.0 == code).then_some(code)
    }

    /// What the code means and what to do: a title, then a paragraph.
    pub fn explanation(self) -> Option<(&'static str, &'static str)> {
        EXPLANATIONS
            .iter()
            .find(|e| e.0 == self)
            .map(|e| (e.1, e.2))
    }
}

macro_rules! codes {
    ($($name:ident = $number:literal, $title:literal, $text:literal;)*) => {
        $(#[doc = $title] pub const $name: Code = Code($number);)*

        /// Code, title and explanation of every diagnostic, by number.
        pub const EXPLANATIONS: &[(Code, &str, &str)] = &[$(($name, $title, $text)),*];
    };
}

codes! {
    NO_DESCRIPTION = 1, "There is no description in the directory.",
        "A description is a directory that holds config.xml or exactly one file *.kiwi, or such a file itself. Name the directory, or the file.";
    TWO_DESCRIPTIONS = 2, "The directory holds more than one description.",
        "Without config.xml there must be exactly one file *.kiwi. Name the file that is meant instead of the directory.";
    UNREADABLE = 3, "A file cannot be read as text.",
        "Descriptions are UTF-8 text. Convert other encodings first, for example with iconv.";
    MALFORMED = 4, "The XML is not well-formed.",
        "The text breaks a rule of XML itself: a tag that is not closed, an attribute without quotes, a bare & or <. Nothing behind such a place can be judged, so only the first one is shown.";
    LIMIT = 5, "The description is larger or deeper than any real one.",
        "Limits on bytes, nodes, nesting and entity expansion keep a hostile file from using up the machine.";
    NOT_AN_IMAGE = 6, "The document is not an image description.",
        "The root element of a KIWI description is <image>, without a namespace.";
    SCHEMA_VERSION = 7, "The schema version is not supported.",
        "Versions 6.8 to 8.5 are read. Older descriptions must be upgraded with an older KIWI first. The attribute schemaversion of <image> says which one it is.";
    BAD_INCLUDE = 8, "An <include> cannot be followed.",
        "An include names a file inside the description by a relative path or this://path. The file holds an <image> whose children take the place of the include. Included files cannot include others.";
    NEWER_SCHEMA = 9, "The schema version is newer than the table.",
        "The description is read by the rules of version 8.5. What version 8.6 or later added is reported as unknown.";

    UNKNOWN_ELEMENT = 101, "An element of this name does not exist.",
        "The name is not in the table of the language (docs/description.md). The nearest known name is shown.";
    MISPLACED_ELEMENT = 102, "The element may not stand here.",
        "The element exists, but below another parent.";
    UNKNOWN_ATTRIBUTE = 103, "An attribute of this name does not exist here.",
        "The element does not have the attribute. The nearest name that it has is shown.";
    OLD_NAME = 104, "The name was used in older schema versions.",
        "The attribute or value was renamed or removed in the schema version that the description declares. Use the new name, or declare the older version.";
    MISSING_ATTRIBUTE = 105, "An attribute is missing.",
        "The element means nothing without it.";
    MISSING_ELEMENT = 106, "An element is missing.",
        "The parent element needs it.";
    TOO_MANY = 107, "The element stands too often.",
        "It may stand once below its parent.";
    BAD_VALUE = 108, "The value is not of the kind that is expected.",
        "Each attribute and each text has a kind: a boolean, a number, one of a few words, a list of architectures. The message says which.";
    STRAY_TEXT = 109, "Text stands where none belongs.",
        "The element holds other elements only.";
    FOREIGN_ELEMENT = 110, "An element of a foreign namespace stands outside <extension>.",
        "Elements of other namespaces belong inside <extension>.";
    FOREIGN_ATTRIBUTE = 111, "An attribute of a foreign namespace.",
        "Only the xsi: attributes of <image> are known.";
    MISFIT = 112, "The attribute or element does not go with the value beside it.",
        "Some attributes are for certain image types, boot loaders or kinds of packages only. Take it out, or change the value that decides.";

    UNKNOWN_PROFILE = 201, "A profile of this name is not declared.",
        "Profiles are declared by <profile name=…> below <profiles>. A condition on an undeclared profile would never hold.";
    PROFILE_CYCLE = 202, "Profiles require each other in a circle.",
        "Follow the <requires> elements that are shown and take one out.";
    NO_TYPE = 203, "No image type is left.",
        "None of the <preferences> in force has a <type>, or none has the one that --type asks for.";
    NO_VERSION = 204, "The image has no version.",
        "One of the <preferences> in force must hold <version>. It becomes part of every file name.";
    NOT_OEM = 205, "The image type is not supported.",
        "Ramforge builds oem images: a disk image with an installation medium that deploys it.";
    FILE_SYSTEM = 206, "The root file system is not supported.",
        "This release makes ext4.";
    PACKAGE_MANAGER = 207, "The package manager is not supported.",
        "This release builds from apt repositories.";
    REFUSED = 208, "Ramforge refuses what is asked for.",
        "The reason stands in the message. A system in RAM boots by a plain root mount and switch_root; whatever needs more than that is refused when the description is read, not when the machine boots.";
    RAMDISK_TOO_SMALL = 209, "The RAM disk is smaller than the image.",
        "ramdisk_size (kB) is the size of the whole OS disk in RAM. <size> is the size of that disk. Make the first at least as large as the second.";
    BAD_RAMDISK_SIZE = 210, "The RAM disk's size cannot be understood.",
        "ramdisk_size and oem-ramdisk-size are a whole number of kB, without a unit.";
    CONTRADICTION = 211, "Two values contradict each other.",
        "Both places are shown. Change one.";
    NO_MEDIUM = 212, "The RAM disk needs a medium that deploys it.",
        "Set installiso=\"true\" (a CD or USB stick) or installpxe=\"true\" (the network).";
    IGNORED = 213, "The value has no effect here.",
        "Ramforge knows the value and does nothing with it. The message says why that does not matter, or what to do when it does.";
    DUPLICATE_RAMDISK_SIZE = 214, "ramdisk_size is given more than once.",
        "The last one on the kernel command line counts, as in the kernel. The command line counts before oem-ramdisk-size.";
    NO_KERNEL = 215, "No package looks like a kernel.",
        "Without a kernel the image cannot boot. On Debian it is linux-image-amd64 or linux-image-cloud-amd64. A meta package of your own may bring it; then this warning can be ignored.";
    NO_INIT = 216, "No package looks like an init system.",
        "Without /sbin/init the system stops after the deployment. On Debian it is systemd-sysv.";
    NO_LOGIN = 217, "Nobody can log in.",
        "No user has a password, and neither an overlay nor a script is there that could install a key.";
    NOT_A_HASH = 219, "The password is not a crypt(3) hash.",
        "Without pwdformat=\"plain\" the value goes into /etc/shadow as it stands. Write a hash (mkpasswd -m sha512crypt), or add pwdformat=\"plain\": desc-parse then hashes it.";
    NO_REPOSITORY = 220, "There is no package source.",
        "No <repository> is in force, or those that are have imageonly=\"true\" and are not built from. Add one, or use --set-repo.";
    BAD_URI = 221, "The URI is not of a kind that can be fetched.",
        "Package sources are http:, https:, ftp:, file:, dir:, obs: or obsrepositories:.";
    REPOSITORY_TYPE = 222, "The repository's type does not fit the package manager.",
        "apt reads repositories of type apt-deb.";
    DUPLICATE_ALIAS = 223, "Two repositories have the same alias.",
        "The alias names the source in the package lock and must be unique.";
    NO_PACKAGES = 224, "No packages are asked for.",
        "None of the <packages type=\"image\"> or type=\"bootstrap\" in force holds a package.";
    CONFLICTING_PACKAGES = 225, "A package is both installed and removed.",
        "Removal comes last, so the package will not be in the image.";
    BAD_COMMAND_LINE = 226, "The kernel would not understand the kernel command line.",
        "A double quote is not closed (the kernel takes everything behind it as one word), a control character such as a line feed stands in it, or the line is longer than the kernel keeps: 2048 bytes on x86, of which the medium needs some. Or a word of ram-deploy has a value that would stop the boot.";
    NEVER_MATCHES = 227, "A condition never holds.",
        "arch=: conditions compare with the machine name that uname -m prints: x86_64, not amd64; aarch64, not arm64. profiles=: names are compared as they stand between the commas, blanks too.";
    SECOND_DEFINITION = 228, "A user is defined twice.",
        "The first definition counts; only the groups of the others are added.";
    BOOTS_ELSEWHERE = 229, "The medium would not deploy the system by itself.",
        "installboot=\"harddisk\" makes the boot menu leave the medium alone. A system that runs from RAM is only there when the medium deploys it.";
    ROOT_IS_GIVEN = 230, "kernelcmdline names a root of its own.",
        "The boot loader passes root=UUID=… of the file system that was made. A second root= would win or lose by its position.";
    DUPLICATE_ID = 231, "Two users have the same id.",
        "useradd refuses the second. Give each its own, or leave id out.";
    BAD_ACCOUNT = 232, "An account's field cannot stand in /etc/passwd.",
        "Names are 1 to 32 letters, digits, _, -, . and do not begin with -. Home and shell are absolute paths. No field holds a colon or a control character: it would begin another field.";
    BAD_PACKAGE = 233, "A package cannot have this name.",
        "A name is what the package manager is called with: it is not empty, holds no blanks or control characters, and does not begin with -, which would be an option.";
    MACHINE = 234, "The architecture is not supported.",
        "This release makes disks and media for x86_64. Conditions (arch=) may name any machine; what they select is taken or left out as in KIWI.";
    BAD_SETTING = 235, "A setting is no name.",
        "keytable and timezone become part of a path in the image: letters, digits, _, -, +, . and /, not / first and no .. in it.";
    BAD_LABEL = 236, "The label of the root file system is too long.",
        "ext4 keeps 16 bytes. Choose a shorter rootfs_label; without one it is ROOT.";
    HALF_SERIAL = 237, "The boot menu is on the serial line, and nothing behind it.",
        "output_console has serial, so the menu is seen there; kernelcmdline has no console=ttyS0, so kernel, deployment and login are not. Add the word, or take serial out.";
    NO_GETTY = 238, "The serial console has no login.",
        "console=ttyS0 sends the kernel's messages there. systemd also starts a login on it; other init systems do so only when they are told, in /etc/inittab or the like.";
    NO_ROOM = 239, "The kernel is told to take less memory than the RAM disk has.",
        "mem= hides all memory above it. The RAM disk may be as large as ramdisk_size, and the system needs memory beside it. Raise mem=, or take it out.";
    NO_RESUME = 240, "A system in RAM cannot resume.",
        "resume= names a swap partition that holds a hibernated system. There is none in RAM, and what is in RAM is gone when the power is.";
    NO_SHELL = 241, "The login shell may be missing.",
        "The user's shell comes from a package that the description does not ask for. Without it the login fails. Another package may bring it; then this warning can be ignored.";
    PROFILE_TWICE = 242, "Two profiles have the same name.",
        "The last one counts, as in KIWI: its <requires> and nothing of the others. Give each its own name, or join them.";
    TWO_TARGETS = 243, "Two devices are named for the deployment.",
        "rd.kiwi.oem.installdevice on the kernel command line counts before oem-unattended-id, as at KIWI's boot. Take one out.";
    TWO_PLACES = 244, "An archive or file shall go to two places.",
        "KIWI keeps one place for each name, that of the last mention; so does Ramforge. An archive is unpacked there as often as it is named. Give one of them another name.";
    FILE_ELSEWHERE = 245, "A file of another machine is left out.",
        "arch= of <file> is a condition like that of <package>, and the file is left out on other machines. KIWI's schema has the attribute, but KIWI places the file on every machine. Take arch= out if it shall be there.";
    NO_RAMDISK = 246, "Nothing makes the system run from RAM.",
        "Ramforge's media carry a system into RAM. Without rd.kiwi.ramdisk or ramdisk_size in kernelcmdline, or oem-ramdisk-size, the tree and the raw disk can be made, and initrd-inject and iso-pack refuse the rest when the packages are long installed.";

    MISSING_FILE = 301, "A file that the description names is not there.",
        "Names are relative to the directory of the description.";
    OUTSIDE = 302, "A name leads outside the description.",
        "A description reads nothing but its own directory: no absolute paths, no .., no symbolic links that lead out. Copy the file into the description.";
    BAD_ARCHIVE = 303, "An archive cannot be unpacked.",
        "Archives are tar files, plain or compressed with gzip, xz or zstd. All archives of a description together unpack to at most 16 GiB and 500,000 entries, names and attributes have at most 128 MiB together and 1 MiB each, a path has fewer than 4,096 bytes, and a decoder takes at most 256 MiB of memory: a few KiB of a hostile archive could fill a disk.";
    UNSUPPORTED_SCRIPT = 304, "A script of this name is not run.",
        "KIWI would run it at a moment that does not exist in Ramforge. config.sh and images.sh are run.";
    REMOTE_KEY = 305, "A signing key is not part of the description.",
        "desc-parse reads no network. Save the key beside the description and name it this://FILE.";
    FILE_OWNER = 306, "The owner of a file cannot be known yet.",
        "User names exist only in the finished system. Use numbers (0:0), or chown in config.sh.";
    ODD_FILE = 307, "The overlay holds something that is no file, directory or symbolic link.",
        "Sockets, pipes and device nodes do not belong in an overlay.";

    BAD_OPTION = 401, "An option has a value that cannot be used.",
        "The message says what is expected.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_ordered() {
        assert!(EXPLANATIONS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(Code::parse("R0101"), Some(UNKNOWN_ELEMENT));
        assert_eq!(Code::parse("R9999"), None);
    }
}

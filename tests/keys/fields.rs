//! Every element and attribute of the language that shapes the plan, changed one by one: which fields of which
//! keys differ then, and no others.

/// One change of a description.
pub struct Row {
    /// What of the language it changes: `PARENT/ELEMENT` or `PARENT/ELEMENT@ATTRIBUTE`.
    pub of: &'static [&'static str],
    /// The description; `config.xml` where it is not said.
    pub file: Option<&'static str>,
    /// Arguments of desc-parse, before and after.
    pub arguments: &'static [&'static str],
    /// What holds before and after: text and its replacement.
    pub given: &'static [(&'static str, &'static str)],
    /// The change: text, which stands there once, and its replacement.
    pub edit: (&'static str, &'static str),
    pub expect: Expect,
}

/// What a change leads to.
pub enum Expect {
    /// Exactly these fields of keys differ.
    Fields(&'static [&'static str]),
    /// The description is refused: no other value is supported.
    Refused,
}

const fn row(
    of: &'static [&'static str],
    edit: (&'static str, &'static str),
    expect: &'static [&'static str],
) -> Row {
    Row {
        of,
        file: None,
        arguments: &[],
        given: &[],
        edit,
        expect: Expect::Fields(expect),
    }
}

const fn refused(of: &'static [&'static str], edit: (&'static str, &'static str)) -> Row {
    Row {
        expect: Expect::Refused,
        ..row(of, edit, &[])
    }
}

const fn in_file(file: &'static str, row: Row) -> Row {
    Row {
        file: Some(file),
        ..row
    }
}

const fn with(arguments: &'static [&'static str], row: Row) -> Row {
    Row { arguments, ..row }
}

/// With the second `<type>`.
const fn second(row: Row) -> Row {
    Row {
        given: &[(SECOND_TYPE, SECOND_TYPE_CHOSEN)],
        ..row
    }
}

const SECOND_TYPE: &str = "volid=\"SECOND\"";
const SECOND_TYPE_CHOSEN: &str = "volid=\"SECOND\" primary=\"true\"";
const SPARE: &[&str] = &["--profile", "spare"];

const NOTHING: &[&str] = &[];
const NAME: &[&str] = &[
    "rootfs-assemble plan.name",
    "raw-image plan.name",
    "iso-pack plan.name",
];
const VERSION: &[&str] = &[
    "rootfs-assemble plan.version",
    "raw-image plan.version",
    "iso-pack plan.version",
];
const PROFILES: &[&str] = &["rootfs-assemble plan.profiles"];
const USERS: &[&str] = &["rootfs-assemble plan.users"];
const KEYTABLE: &[&str] = &["rootfs-assemble plan.keytable"];
const TIMEZONE: &[&str] = &["rootfs-assemble plan.timezone"];
const OVERLAY: &[&str] = &["rootfs-assemble plan.overlay"];
const PACKAGES: &[&str] = &["rootfs-assemble plan.packages.image"];
const REPOSITORIES: &[&str] = &["rootfs-assemble plan.repositories"];
const SOURCES: &[&str] = &[
    "rootfs-assemble plan.repositories",
    "rootfs-assemble identity.metadata",
];
const CMDLINE: &[&str] = &[
    "raw-image plan.kernelcmdline",
    "iso-pack plan.kernelcmdline",
];
const VOLID: &[&str] = &["initrd-inject plan.type.volid", "iso-pack plan.type.volid"];
const CONSOLE: &[&str] = &["iso-pack plan.bootloader.console"];
const TIMEOUT: &[&str] = &["iso-pack plan.bootloader.timeout"];
const TITLE: &[&str] = &["iso-pack plan.bootloader.title"];
const DEVICE: &[&str] = &["initrd-inject plan.ramdisk.device"];
const RAMDISK_SIZE: &[&str] = &[
    "initrd-inject plan.ramdisk.size_kib",
    "iso-pack plan.ramdisk.size_kib",
    "ram-check plan.ramdisk.size_kib",
];
const RESIZE: &[&str] = &[
    "raw-image plan.disk.resize",
    // Without growing, the disk carries no program for it.
    "raw-image identity.ram-deploy",
    "initrd-inject plan.oem.resize",
    "ram-check plan.oem.resize",
];

/// The rows. Each edit's first text stands exactly once in the description.
// A table: one row a line.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(&["/image", "image/packages"], ("</image>", "<packages type=\"image\"><package name=\"file\"/></packages></image>"), PACKAGES),
    row(&["/image@name"], ("name=\"keys\" display", "name=\"kez\" display"), NAME),
    row(&["oemconfig/oem-boot-title"], ("<oem-boot-title>A title</oem-boot-title>", ""), TITLE),
    Row { given: &[("<oem-boot-title>A title</oem-boot-title>", "")], ..row(&["/image@displayname"], ("\"Keys\"", "\"Other keys\""), TITLE) },
    row(&["/image@id"], ("id=\"a1\"", "id=\"a2\""), NOTHING),
    row(&["/image@schemaversion"], ("schemaversion=\"8.5\"", "schemaversion=\"8.4\""), NOTHING),
    row(&["image/include"], ("<include from=\"this://./more.xml\"/>", ""), PACKAGES),
    row(&["image/include@from"], ("more.xml", "other.xml"), PACKAGES),

    row(&["image/profiles", "profiles/profile"], ("<profile name=\"more\"", "<profile name=\"new\" description=\"x\" import=\"true\"/><profile name=\"more\""), PROFILES),
    row(&["profiles/profile@name"], ("name=\"base\"", "name=\"bass\""), PROFILES),
    row(&["profiles/profile@import"], ("\"what spare requires\"", "\"what spare requires\" import=\"true\""), PROFILES),
    row(&["profiles/profile@arch"], ("import=\"true\" arch=\"x86_64\"", "import=\"true\" arch=\"aarch64\""), PROFILES),
    with(SPARE, row(&["profile/requires"], ("<requires profile=\"more\" arch=\"x86_64\"/>", ""), PROFILES)),
    with(SPARE, row(&["profile/requires@profile"], ("requires profile=\"more\"", "requires profile=\"base\""), PROFILES)),
    with(SPARE, row(&["profile/requires@arch"], ("profile=\"more\" arch=\"x86_64\"", "profile=\"more\" arch=\"aarch64\""), PROFILES)),

    row(&["image/preferences"], ("<preferences profiles", "<preferences><keytable>fr</keytable></preferences><preferences profiles"), KEYTABLE),
    row(&["image/preferences@profiles"], ("preferences profiles=\"spare\"", "preferences profiles=\"base\""), KEYTABLE),
    row(&["image/preferences@arch"], ("preferences arch=\"aarch64\"", "preferences arch=\"x86_64\""), TIMEZONE),
    row(&["preferences/version"], ("1.0.0", "1.0.1"), VERSION),
    refused(&["preferences/packagemanager"], ("<packagemanager>apt<", "<packagemanager>zypper<")),
    row(&["preferences/locale"], ("en_US", "de_DE"), &["rootfs-assemble plan.locale"]),
    row(&["preferences/keytable"], (">us<", ">fr<"), KEYTABLE),
    row(&["preferences/timezone"], (">UTC<", ">Asia/Tokyo<"), TIMEZONE),
    row(&["preferences/showlicense"], ("MIT", "GPL"), NOTHING),

    row(&["preferences/type", "preferences/type@primary"], (SECOND_TYPE, SECOND_TYPE_CHOSEN), &[
        "raw-image plan.kernelcmdline", "iso-pack plan.kernelcmdline", "initrd-inject plan.type.volid",
        "iso-pack plan.type.volid", "iso-pack plan.type.installboot", "raw-image plan.disk.root_label",
        "raw-image plan.disk.size.additive", "raw-image plan.disk.size.unit", "raw-image plan.disk.size.value",
        "initrd-inject plan.ramdisk.size_kib", "iso-pack plan.ramdisk.size_kib", "ram-check plan.ramdisk.size_kib",
        "iso-pack plan.bootloader.console", "iso-pack plan.bootloader.serial_line", "iso-pack plan.bootloader.timeout",
        "iso-pack plan.bootloader.title",
    ]),
    refused(&["preferences/type@image"], ("<type image=\"oem\" filesystem=\"ext4\" installiso=\"true\" initrd", "<type image=\"iso\" filesystem=\"ext4\" installiso=\"true\" initrd")),
    refused(&["preferences/type@filesystem"], ("filesystem=\"ext4\" installiso=\"true\" initrd", "filesystem=\"xfs\" installiso=\"true\" initrd")),
    refused(&["preferences/type@initrd_system"], ("initrd_system=\"dracut\"", "initrd_system=\"kiwi\"")),
    row(&["preferences/type@kernelcmdline"], ("console=ttyS0\" firmware", "console=ttyS0 quiet\" firmware"), CMDLINE),
    row(&["preferences/type@kernelcmdline"], ("ramdisk_size=2048000 console", "ramdisk_size=3048000 console"), RAMDISK_SIZE),
    row(&["preferences/type@installiso"], ("installiso=\"true\" initrd", "installiso=\"false\" initrd"), NOTHING),
    row(&["preferences/type@installstick"], ("installiso=\"true\" initrd", "installiso=\"true\" installstick=\"true\" initrd"), NOTHING),
    row(&["preferences/type@installpxe"], ("installiso=\"true\" initrd", "installiso=\"true\" installpxe=\"true\" initrd"), &["initrd-inject plan.type.installpxe", "iso-pack plan.type.installpxe"]),
    row(&["preferences/type@installboot"], ("installboot=\"install\"", "installboot=\"failsafe-install\""), &["iso-pack plan.type.installboot"]),
    row(&["preferences/type@firmware"], ("firmware=\"uefi\"", "firmware=\"bios\""), NOTHING),
    row(&["preferences/type@volid"], ("FIRST", "OTHER"), VOLID),
    row(&["preferences/type@rootfs_label"], ("rootfs_label=\"SYSTEM\"", "rootfs_label=\"OTHER\""), &["raw-image plan.disk.root_label"]),
    row(&["preferences/type@efipartsize"], ("efipartsize=\"20\"", "efipartsize=\"40\""), &["raw-image plan.disk.efi_mib"]),
    row(&["preferences/type@installprovidefailsafe"], ("installprovidefailsafe=\"true\"", "installprovidefailsafe=\"false\""), NOTHING),
    row(&["preferences/type@install_continue_on_timeout"], ("install_continue_on_timeout=\"true\"", "install_continue_on_timeout=\"false\""), NOTHING),
    refused(&["preferences/type@publisher"], ("firmware=\"uefi\"", "firmware=\"uefi\" publisher=\"Somebody\"")),
    row(&["preferences/type@application_id"], ("0xfe", "0xff"), NOTHING),
    row(&["preferences/type@bundle_format"], ("%N", "%A"), NOTHING),
    row(&["preferences/type@fsmountoptions"], ("noatime", "relatime"), NOTHING),
    in_file("old.kiwi", refused(&["preferences/type@bootloader"], ("bootloader=\"grub2\"", "bootloader=\"isolinux\""))),
    in_file("old.kiwi", row(&["preferences/type@bootloader_console"], ("\"serial\"", "\"console\""), CONSOLE)),
    in_file("old.kiwi", row(&["preferences/type@boottimeout"], ("boottimeout=\"3\"", "boottimeout=\"4\""), TIMEOUT)),
    in_file("old.kiwi", row(&["preferences/type@zipl_targettype"], ("boottimeout=\"3\"", "boottimeout=\"3\" zipl_targettype=\"CDL\""), NOTHING)),

    row(&["type/bootloader"], ("<bootloader name=\"grub2\" timeout=\"1\" timeout_style=\"menu\" output_console=\"console\" input_console=\"console\"\n                        serial_line=\"serial --unit=0\"/>", ""), &[
        "iso-pack plan.bootloader.console", "iso-pack plan.bootloader.serial_line", "iso-pack plan.bootloader.timeout",
    ]),
    refused(&["type/bootloader@name"], ("name=\"grub2\" timeout=\"1\" timeout_style", "name=\"isolinux\" timeout=\"1\" timeout_style")),
    row(&["type/bootloader@timeout"], ("timeout=\"1\" timeout_style", "timeout=\"5\" timeout_style"), TIMEOUT),
    row(&["type/bootloader@timeout_style"], ("timeout_style=\"menu\"", "timeout_style=\"hidden\""), NOTHING),
    row(&["type/bootloader@output_console"], ("timeout_style=\"menu\" output_console=\"console\"", "timeout_style=\"menu\" output_console=\"serial\""), CONSOLE),
    row(&["type/bootloader@input_console"], ("input_console=\"console\"", "input_console=\"serial\""), CONSOLE),
    row(&["type/bootloader@serial_line"], ("--unit=0", "--unit=1"), &["iso-pack plan.bootloader.serial_line"]),
    in_file("middle.kiwi", row(&["type/bootloader@console"], ("console=\"serial\"", "console=\"console\""), CONSOLE)),

    in_file("middle.kiwi", row(&["type/size"], ("<bootloader name=\"grub2\" timeout=\"3\" console=\"serial\"/>", "<bootloader name=\"grub2\" timeout=\"3\" console=\"serial\"/><size>1500</size>"), &[
        "raw-image plan.disk.size.additive", "raw-image plan.disk.size.unit", "raw-image plan.disk.size.value",
    ])),
    row(&["type/size"], (">64<", ">65<"), &["raw-image plan.disk.size.value"]),
    row(&["type/size@unit"], ("unit=\"M\"", "unit=\"G\""), &["raw-image plan.disk.size.unit"]),
    row(&["type/size@additive"], ("additive=\"true\"", "additive=\"false\""), &["raw-image plan.disk.size.additive"]),

    in_file("middle.kiwi", row(&["type/oemconfig"], ("<bootloader name=\"grub2\" timeout=\"3\" console=\"serial\"/>", "<bootloader name=\"grub2\" timeout=\"3\" console=\"serial\"/><oemconfig><oem-resize>false</oem-resize></oemconfig>"), RESIZE)),
    row(&["oemconfig/oem-boot-title"], (">A title<", ">Another title<"), TITLE),
    row(&["oemconfig/oem-resize"], ("<oem-resize>true<", "<oem-resize>false<"), RESIZE),
    second(row(&["oemconfig/oem-ramdisk-size"], ("<oem-ramdisk-size>1048000<", "<oem-ramdisk-size>3048000<"), RAMDISK_SIZE)),
    row(&["oemconfig/oem-skip-verify"], ("<oem-skip-verify>true<", "<oem-skip-verify>false<"), &["initrd-inject plan.oem.skip_verify"]),
    row(&["oemconfig/oem-unattended"], ("<oem-unattended>true<", "<oem-unattended>false<"), &["initrd-inject plan.oem.unattended"]),
    row(&["oemconfig/oem-unattended-id"], (">/dev/ram1<", ">/dev/ram2<"), DEVICE),

    row(&["image/users", "users/user"], ("<users profiles", "<users><user name=\"alice\" password=\"!\"/></users><users profiles"), USERS),
    with(SPARE, row(&["image/users@profiles"], ("users profiles=\"spare\"", "users profiles=\"base\""), USERS)),
    row(&["image/users@arch"], ("users arch=\"aarch64\"", "users arch=\"x86_64\""), USERS),
    row(&["users/user@name"], ("user name=\"root\"", "user name=\"toor\""), USERS),
    row(&["users/user@password"], ("$6$ramforge$uVEJ", "$6$ramforge$vVEJ"), USERS),
    row(&["users/user@pwdformat"], ("pwdformat=\"encrypted\"", "pwdformat=\"plain\""), USERS),
    row(&["users/user@groups"], ("groups=\"root\"", "groups=\"root,video\""), USERS),
    row(&["users/user@home"], ("home=\"/root\"", "home=\"/home/root\""), USERS),
    row(&["users/user@id"], ("id=\"0\"", "id=\"1\""), USERS),
    row(&["users/user@realname"], ("Charlie", "Alice"), USERS),
    row(&["users/user@shell"], ("/bin/bash", "/bin/sh"), USERS),

    row(&["image/repository"], ("<repository profiles", "<repository alias=\"new\" repository_gpgcheck=\"false\"><source path=\"dir://@REPOSITORY@\"/></repository><repository profiles"), SOURCES),
    refused(&["image/repository@type"], ("repository type=\"apt-deb\"", "repository type=\"rpm-md\"")),
    row(&["image/repository@profiles"], ("repository profiles=\"spare\"", "repository profiles=\"base\""), SOURCES),
    row(&["image/repository@arch"], ("repository arch=\"aarch64\"", "repository arch=\"x86_64\""), SOURCES),
    row(&["image/repository@alias"], ("alias=\"first\"", "alias=\"primus\""), REPOSITORIES),
    row(&["image/repository@priority"], ("priority=\"5\"", "priority=\"6\""), REPOSITORIES),
    row(&["image/repository@distribution"], ("distribution=\"stable\"", "distribution=\"testing\""), SOURCES),
    row(&["image/repository@components"], ("components=\"main\"", "components=\"main contrib\""), SOURCES),
    row(&["image/repository@imageinclude"], ("imageinclude=\"true\"", "imageinclude=\"false\""), REPOSITORIES),
    Row {
        given: &[("<repository profiles", "<repository alias=\"only\" imageonly=\"true\" repository_gpgcheck=\"false\"><source path=\"dir://@REPOSITORY@\"/></repository><repository profiles")],
        ..row(&["image/repository@imageonly"], ("imageonly=\"true\"", "imageonly=\"false\""), SOURCES)
    },
    row(&["image/repository@repository_gpgcheck"], ("repository_gpgcheck=\"true\"", "repository_gpgcheck=\"false\""), REPOSITORIES),
    refused(&["image/repository@sourcetype"], ("sourcetype=\"baseurl\"", "sourcetype=\"metalink\"")),
    // A second way to the same directory.
    row(&["repository/source", "repository/source@path"], ("<source path=\"dir://@REPOSITORY@\">", "<source path=\"dir://@REPOSITORY@/.\">"), SOURCES),
    row(&["source/signing"], ("<signing key=\"this://key.asc\"/>", "<signing key=\"this://key.asc\"/><signing key=\"this://key.gpg\"/>"), REPOSITORIES),
    row(&["source/signing@key"], ("this://key.asc", "this://key.gpg"), REPOSITORIES),

    row(&["image/packages@type"], ("packages type=\"uninstall\"", "packages type=\"delete\""), &["rootfs-assemble plan.packages.delete", "rootfs-assemble plan.packages.uninstall"]),
    row(&["image/packages@type"], ("packages type=\"bootstrap\"", "packages type=\"image\""), &["rootfs-assemble plan.packages.bootstrap", "rootfs-assemble plan.packages.image"]),
    row(&["image/packages@profiles"], ("packages type=\"image\" profiles=\"spare\"", "packages type=\"image\" profiles=\"base\""), PACKAGES),
    row(&["image/packages@patternType"], ("onlyRequired", "plusRecommended"), NOTHING),
    row(&["packages/package"], ("<package name=\"systemd-sysv\"/>", ""), PACKAGES),
    row(&["packages/package@name"], ("systemd-sysv", "sysvinit-core"), PACKAGES),
    row(&["packages/package@arch"], ("name=\"vim\" arch=\"aarch64\"", "name=\"vim\" arch=\"x86_64\""), PACKAGES),
    row(&["packages/archive"], ("<archive name=\"files.tar\" target_dir=\"opt\"/>", ""), OVERLAY),
    row(&["packages/archive@name"], ("files.tar", "others.tar"), OVERLAY),
    row(&["packages/archive@target_dir"], ("target_dir=\"opt\"", "target_dir=\"srv\""), OVERLAY),
    row(&["packages/file"], ("<file name=\"extra.txt\" target=\"etc/extra\" owner=\"0:0\" permissions=\"0644\" arch=\"x86_64\"/>", ""), OVERLAY),
    Row { given: &[("target=\"etc/extra\"", "target=\"etc/\"")], ..row(&["packages/file@name"], ("extra.txt", "other.txt"), OVERLAY) },
    row(&["packages/file@target"], ("etc/extra", "etc/more"), OVERLAY),
    row(&["packages/file@owner"], ("owner=\"0:0\"", "owner=\"1:0\""), OVERLAY),
    row(&["packages/file@permissions"], ("0644", "0600"), OVERLAY),
    row(&["packages/file@arch"], ("permissions=\"0644\" arch=\"x86_64\"", "permissions=\"0644\" arch=\"aarch64\""), OVERLAY),

    // What says nothing of the image.
    row(&[], ("<!-- Everything", "<!-- Nearly everything"), NOTHING),
    row(&[], ("<users profiles", "\n\n  <users   profiles"), NOTHING),
    row(&[], ("unit=\"M\" additive=\"true\"", "additive=\"true\" unit=\"M\""), NOTHING),
    row(&[], ("Every field of the language", "Each field of the language"), NOTHING),
    row(&[], ("ramforge@example.org", "keys@example.org"), NOTHING),
    row(&[], ("\"in force\"", "\"always in force\""), NOTHING),
];

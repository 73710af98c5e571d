//! The program as a shell sees it: arguments, files, stdout, stderr, exit code.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use store::Store;
use store::tree::{Kind, Tree};
use tempfile::TempDir;

const TYPE: &str = r#"<type image="oem" filesystem="ext4" installiso="true" kernelcmdline="rd.kiwi.ramdisk ramdisk_size=2048000 console=ttyS0"><bootloader name="grub2" timeout="1"/></type>"#;

/// A description in a directory of its own, with a store beside it.
struct Bench {
    dir: TempDir,
    store: TempDir,
}

struct Told {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Told {
    fn plan(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        assert!(self.stdout.ends_with('\n') && self.stdout.lines().count() == 1);
        serde_json::from_str::<Value>(&self.stdout).unwrap()["plan"].clone()
    }

    fn says(&self, words: &[&str]) {
        assert_eq!(self.code, 3, "{}", self.stderr);
        assert!(self.stdout.is_empty());
        for word in words {
            assert!(
                self.stderr.contains(word),
                "no {word:?} in\n{}",
                self.stderr
            );
        }
    }
}

impl From<Output> for Told {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A whole description around a `<type>` and what else stands in `<image>`.
fn document(image_type: &str, more: &str) -> String {
    format!(
        r#"<image schemaversion="8.0" name="t">
<description type="system"><author>a</author><contact>c</contact><specification>s</specification></description>
<preferences><version>1.0.0</version><packagemanager>apt</packagemanager>{image_type}</preferences>
<users><user name="root" password="$6$a$b"/></users>
<repository type="apt-deb"><source path="obsrepositories:/"/></repository>
<packages type="image"><package name="linux-image-amd64"/><package name="systemd-sysv"/></packages>
{more}
</image>
"#
    )
}

impl Bench {
    fn new(text: &str) -> Self {
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
            store: tempfile::tempdir().unwrap(),
        };
        bench.write("config.xml", text);
        bench
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), text).unwrap();
    }

    fn mode(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_desc-parse"));
        command.args(options).arg(self.dir.path());
        command
            .env("RAMFORGE_STORE", self.store.path())
            .env_remove("SOURCE_DATE_EPOCH");
        command
    }

    fn run(&self, options: &[&str]) -> Told {
        self.command(options).output().unwrap().into()
    }

    fn overlay(&self, plan: &Value) -> Tree {
        let store = Store::open(self.store.path()).unwrap();
        let object = serde_json::from_value(plan["overlay"].clone()).unwrap();
        Tree::read(&store, &object).unwrap()
    }
}

#[test]
fn three_spellings_give_one_plan() {
    let spellings = [
        r#"<type image="oem" filesystem="ext4" installiso="true" kernelcmdline="rd.kiwi.ramdisk ramdisk_size=2048000 quiet"><bootloader name="grub2" timeout="1"/></type>"#,
        r#"<type image="oem" filesystem="ext4" installiso="true" kernelcmdline="rd.kiwi.ramdisk quiet"><bootloader name="grub2" timeout="1"/>
           <oemconfig><oem-skip-verify>true</oem-skip-verify><oem-unattended>true</oem-unattended>
           <oem-unattended-id>/dev/ram1</oem-unattended-id><oem-swap>false</oem-swap>
           <oem-multipath-scan>false</oem-multipath-scan><oem-ramdisk-size>2048000</oem-ramdisk-size></oemconfig></type>"#,
        r#"<type image="oem" filesystem="ext4" installiso="true" kernelcmdline=" ramdisk_size=2048000 quiet"><bootloader name="grub2" timeout="1"/></type>"#,
    ];
    let plans: Vec<Value> = spellings
        .iter()
        .map(|s| Bench::new(&document(s, "")).run(&[]).plan())
        .collect();
    let expected = json!({"size_kib": 2_048_000, "device": "/dev/ram1"});
    for plan in &plans {
        assert_eq!(plan["ramdisk"], expected);
        assert_eq!(plan["kernelcmdline"], "quiet");
        assert_eq!(plan["oem"], plans[0]["oem"]);
    }
    assert_eq!(plans[0]["oem"]["unattended_id"], "/dev/ram1");
    assert_eq!(plans[0]["oem"]["unattended"], true);
    assert_eq!(plans[0]["oem"]["skip_verify"], true);
}

#[test]
fn a_switch_of_the_kernel_command_line_may_be_off() {
    for off in ["0", "no", "off"] {
        let words = format!("rd.kiwi.ramdisk={off}");
        let text = TYPE.replace("rd.kiwi.ramdisk ramdisk_size=2048000", &words);
        let plan = Bench::new(&document(&text, "")).run(&[]).plan();
        assert_eq!(plan["ramdisk"], Value::Null, "{off}");
    }
}

#[test]
fn a_reserve_that_would_stop_the_boot_is_refused_with_its_place() {
    let with = |value: &str| {
        let word = format!("rd.ramforge.reserve={value} console=ttyS0");
        let text = document(&TYPE.replace("console=ttyS0", &word), "");
        let before = text.split("rd.ramforge.reserve").next().unwrap();
        let line = before.lines().count();
        let column = before.lines().last().unwrap().len() + 1;
        let told = Bench::new(&text).run(&[]);
        (told, format!("config.xml:{line}:{column}\n"))
    };
    let words = with("400").0.plan()["kernelcmdline"].clone();
    assert_eq!(words, "rd.ramforge.reserve=400 console=ttyS0");
    for value in ["400M", "", "4294967297"] {
        let (told, place) = with(value);
        assert_eq!(told.code, 3, "{value}: {}", told.stderr);
        let fact = format!("error[R0226]: rd.ramforge.reserve is \"{value}\"");
        let told = told.stderr;
        assert!(told.contains(&fact) && told.contains(&place), "{told}");
        let label = "expected a number of MiB without a unit, at most 4294967296";
        assert!(told.contains(label), "{told}");
    }
}

#[test]
fn the_command_line_of_the_kernel_wins() {
    let text = TYPE.replace(
        "</type>",
        "<oemconfig><oem-ramdisk-size>4096000</oem-ramdisk-size></oemconfig></type>",
    );
    let told = Bench::new(&document(&text, "")).run(&[]);
    assert_eq!(told.plan()["ramdisk"]["size_kib"], 2_048_000);
    assert!(told.stderr.contains("warning[R0214]"), "{}", told.stderr);
}

#[test]
fn old_spellings_are_upgraded() {
    let old = document(
        r#"<type image="vmx" filesystem="ext4" bootloader="grub2" boottimeout="3" bootloader_console="serial console" vga="0x317" hybrid="true"><pxedeploy><timeout>1</timeout></pxedeploy></type>"#,
        "",
    )
    .replace("8.0", "6.8")
    .replace("<packagemanager>apt<", "<packagemanager>apt-get<");
    let told = Bench::new(&old).run(&[]);
    for dropped in ["vga has", "hybrid=\"true\" has", "<pxedeploy> has"] {
        let warning = format!("warning[R0213]: {dropped} no effect");
        assert!(told.stderr.contains(&warning), "{}", told.stderr);
    }
    let plan = told.plan();
    assert_eq!(plan["type"]["attributes"], json!({}));
    assert_eq!(plan["type"]["image"], "oem");
    assert_eq!(plan["oem"]["resize"], false);
    assert_eq!(plan["bootloader"]["timeout"], 3);
    assert_eq!(plan["bootloader"]["console"], "serial console");
    assert_eq!(plan["package_manager"], "apt");
    assert_eq!(plan["ramdisk"], Value::Null);
}

#[test]
fn the_examples_are_without_a_word() {
    for name in ["debian-ram", "debian-vm"] {
        let bench = Bench::new("");
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../examples")
            .join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_desc-parse"));
        command.args(["--target-arch", "x86_64"]).arg(path);
        let told: Told = command
            .env("RAMFORGE_STORE", bench.store.path())
            .output()
            .unwrap()
            .into();
        let plan = told.plan();
        assert_eq!(told.stderr, "", "{name}");
        assert_eq!(plan["ramdisk"]["size_kib"], 2_048_000);
        assert_eq!(plan["bootloader"]["timeout"], 1);
        assert_eq!(plan["repositories"][0]["uri"], "obsrepositories:/");
        let motd = bench.overlay(&plan);
        assert!(motd.get("etc/issue.d/ramforge.issue").is_some(), "{name}");
    }
}

#[test]
fn every_value_remembers_its_place() {
    let bench = Bench::new(&document(TYPE, ""));
    let plan = bench.run(&["--add-package", "bc"]).plan();
    let origin = |pointer: &str| plan["origins"][pointer].clone();
    assert_eq!(
        origin("/packages/image/1"),
        json!({"file": "config.xml", "line": 6, "column": 74})
    );
    assert_eq!(
        origin("/users/0"),
        json!({"file": "config.xml", "line": 4, "column": 20})
    );
    assert_eq!(
        origin("/version"),
        json!({"file": "config.xml", "line": 3, "column": 23})
    );
    assert_eq!(plan["overrides"][0]["option"], "--add-package bc");
    assert_eq!(plan["overrides"][0]["place"], "/packages/image/2");
    assert_eq!(origin("/packages/image/2")["file"], "(command line)");
}

#[test]
fn overrides_say_what_they_replaced() {
    let bench = Bench::new(&document(
        TYPE,
        r#"<repository alias="b"><source path="dir:///srv/b"/></repository>"#,
    ));
    let plan = bench
        .run(&[
            "--set-repo",
            "http://deb.example.org/debian,apt-deb,debian,7,,,,main contrib,bookworm",
            "--add-repo",
            "dir:///srv/c",
            "--set-type-attr",
            "volid=MINE",
            "--target-arch",
            "amd64",
        ])
        .plan();
    assert_eq!(
        plan["repositories"][0],
        json!({"uri": "http://deb.example.org/debian", "type": "apt-deb", "alias": "debian", "priority": 7,
            "distribution": "bookworm", "components": "main contrib", "signature_check": true,
            "imageinclude": false, "keys": []})
    );
    assert_eq!(plan["repositories"][2]["uri"], "dir:///srv/c");
    assert_eq!(plan["repositories"][2]["alias"], "repository-3");
    let of = |option: &str| {
        let list = plan["overrides"].as_array().unwrap();
        let found = list
            .iter()
            .find(|o| o["option"].as_str().unwrap().starts_with(option));
        found.unwrap().clone()
    };
    assert_eq!(of("--set-repo")["replaced"], "obsrepositories:/");
    assert_eq!(of("--set-repo")["place"], "/repositories/0");
    assert_eq!(of("--add-repo")["place"], "/repositories/2");
    assert_eq!(of("--set-type-attr")["place"], "/type/volid");
    assert_eq!(
        (of("--target-arch")["place"].clone(), plan["arch"].clone()),
        (json!("/arch"), json!("x86_64"))
    );
}

#[test]
fn a_package_is_deleted_with_what_depends_on_it() {
    let plan = Bench::new(&document(TYPE, ""))
        .run(&["--delete-package", "dash"])
        .plan();
    let lists = (&plan["packages"]["uninstall"], &plan["packages"]["delete"]);
    assert_eq!(lists, (&json!([{"name": "dash"}]), &json!([])));
}

#[test]
fn what_an_override_replaced_is_told_without_its_secrets() {
    let kind = TYPE.replace(" installiso", r#" luks="hidden" installiso"#);
    let text = document(&kind, "").replace(
        "obsrepositories:/",
        "https://me:hidden@deb.example.org/debian",
    );
    let bench = Bench::new(&text);
    for sources in [
        &["--set-repo", "dir:///srv/a"][..],
        &["--ignore-repos", "--add-repo", "dir:///srv/a"],
    ] {
        let plan = bench
            .run(&[sources, &["--set-type-attr", "luks="]].concat())
            .plan();
        assert!(!plan.to_string().contains("hidden"), "{plan}");
        let replaced = |n: usize| plan["overrides"][n]["replaced"].clone();
        let repository = json!("https://…@deb.example.org/debian");
        assert_eq!((replaced(0), replaced(1)), (json!("…"), repository));
    }
    bench.run(&[]).says(&["R0221", "R0208"]);
}

#[test]
fn profiles_and_machines_choose() {
    let more = r#"<profiles><profile name="a" description="a"><requires profile="b"/></profile><profile name="b" description="b"/>
<profile name="c" description="c" import="true"/></profiles>
<packages type="image" profiles="a"><package name="in-a"/></packages>
<packages type="oem" profiles="x,b"><package name="in-b"/><package name="arm" arch="aarch64"/></packages>
<packages type="image" profiles="c"><package name="in-c"/></packages>
<packages type="iso"><package name="live"/></packages>
<packages type="delete"><package name="gone"/></packages>"#;
    let bench = Bench::new(&document(TYPE, more));
    let names = |options: &[&str]| -> Vec<String> {
        let plan = bench.run(options).plan();
        let list = plan["packages"]["image"].as_array().unwrap().clone();
        list.iter()
            .skip(2)
            .map(|p| p["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&[]), ["in-c"]);
    assert_eq!(
        names(&["--profile", "a", "--target-arch", "x86_64"]),
        ["in-a", "in-b"]
    );
    let told = bench.run(&["--profile", "b", "--target-arch", "aarch64"]);
    told.says(&[
        "R0234",
        "machine aarch64 is not supported",
        "--target-arch x86_64",
    ]);
    let plan = bench.run(&["--profile", "a"]).plan();
    assert_eq!(plan["profiles"], json!([{"name": "a"}, {"name": "b"}]));
    assert_eq!(plan["packages"]["delete"], json!([{"name": "gone"}]));
}

#[test]
fn plain_passwords_are_hashed_the_same_way_each_time() {
    let users = r#"<users><user name="tux" password="linux" pwdformat="plain" groups="users,video:33" id="1000"/></users>"#;
    let text = document(TYPE, users);
    let first = Bench::new(&text).run(&[]).plan();
    let hash = first["users"][1]["password"].as_str().unwrap().to_owned();
    assert!(hash.starts_with("$6$") && !first.to_string().contains("\"linux\""));
    assert_eq!(
        Bench::new(&text).run(&[]).plan()["users"][1]["password"],
        hash
    );
    assert_eq!(first["users"][1]["groups"], json!(["users", "video:33"]));
    // The judge: libcrypt by way of openssl, which knows the default rounds only by leaving them out.
    let salt = hash.split('$').nth(3).unwrap();
    let salt = format!("rounds=5000${salt}");
    let judge = judge_output("openssl", &["passwd", "-6", "-salt", &salt, "linux"]);
    let judge = judge.trim_end();
    assert_eq!(judge, hash);
}

fn judge_output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}"));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_overlay_is_a_tree() {
    let more = r#"<profiles><profile name="p" description="p" import="true"/></profiles>
<packages type="image"><archive name="a.tar.gz" target_dir="/opt"/><file name="one" target="/srv/" permissions="0600" owner="7:8"/></packages>"#;
    let bench = Bench::new(&document(TYPE, more));
    bench.write("root/etc/motd", "from root\n");
    bench.write("root/etc/issue", "from root\n");
    bench.write("root/usr/bin/tool", "#!/bin/sh\n");
    bench.mode("root/usr/bin/tool", 0o4755);
    bench.write("p/etc/issue", "from the profile\n");
    symlink("/etc/passwd", bench.path("root/etc/link")).unwrap();
    bench.write("one", "1");
    bench.write("config.sh", "true");
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o640);
    header.set_uid(5);
    header.set_gid(0);
    header.set_mtime(77);
    tar.append_data(&mut header, "./x/y", &b"hi"[..]).unwrap();
    bench.write("a.tar.gz", tar.into_inner().unwrap().finish().unwrap());
    let plan = bench.run(&[]).plan();
    let tree = bench.overlay(&plan);
    let store = Store::open(bench.store.path()).unwrap();
    let text = |path: &str| match &tree.get(path).unwrap().kind {
        Kind::File(object) => String::from_utf8(store.get(object).unwrap()).unwrap(),
        other => panic!("{path} is {other:?}"),
    };
    assert_eq!(text("etc/motd"), "from root\n");
    assert_eq!(text("etc/issue"), "from the profile\n");
    assert_eq!(
        (text("opt/x/y").as_str(), text("srv/one").as_str()),
        ("hi", "1")
    );
    let facts = |path: &str| {
        let e = tree.get(path).unwrap();
        (e.mode, e.uid, e.gid, e.mtime)
    };
    assert_eq!(facts("usr/bin/tool"), (0o4755, 0, 0, 0));
    assert_eq!(facts("opt/x/y"), (0o640, 5, 0, 77));
    assert_eq!(facts("srv/one"), (0o600, 7, 8, 0));
    assert_eq!(
        tree.get("etc/link").unwrap().kind,
        Kind::Symlink("/etc/passwd".to_owned())
    );
    assert_ne!(plan["scripts"]["config"], Value::Null);
    assert_eq!(bench.run(&[]).stdout, bench.run(&[]).stdout);
}

#[test]
fn single_files_go_where_kiwi_puts_them() {
    let more = r#"<packages type="bootstrap"><file name="b" target="/opt/same"/></packages>
<packages type="image"><file name="tool" target="/usr/bin"/><file name="a" target="/opt/same"/><file name="key" target="/etc/key"/>
<file name="drop" target="/etc/own.d"/></packages>"#;
    let bench = Bench::new(&document(TYPE, more));
    for (name, mode) in [
        ("tool", 0o755),
        ("a", 0o644),
        ("b", 0o644),
        ("key", 0o400),
        ("drop", 0o644),
    ] {
        bench.write(name, name);
        bench.mode(name, mode);
    }
    bench.write("root/etc/own.d/other", "");
    let tree = bench.overlay(&bench.run(&[]).plan());
    let mode = |path: &str| tree.get(path).unwrap().mode;
    assert_eq!((mode("usr/bin/tool"), mode("etc/key")), (0o755, 0o400));
    assert!(tree.get("etc/own.d/drop").is_some());
    // Of two that go to one place, that of the bootstrap.
    let store = Store::open(bench.store.path()).unwrap();
    match &tree.get("opt/same").unwrap().kind {
        Kind::File(object) => assert_eq!(store.get(object).unwrap(), b"b"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_missing_is_told_with_its_place() {
    let more = r#"<packages type="bootstrap"><archive name="base.tar"/><file name="none" target="/x"/></packages>
<repository><source path="dir:///srv"><signing key="this://./key.asc"/></source></repository>"#;
    let told = Bench::new(&document(TYPE, more)).run(&[]);
    told.says(&[
        "error[R0301]: the archive base.tar is not there",
        "config.xml:7:43",
        "error[R0301]: the file none is not there",
        "config.xml:7:66",
        "error[R0301]: the signing key key.asc is not there",
        "config.xml:8:53",
        "<archive name=\"base.tar\"/>",
        "3 errors",
    ]);
}

#[test]
fn what_is_carried_stands_in_the_plan() {
    let kind = TYPE.replace("timeout=\"1\"", "timeout=\"1\" timeout_style=\"hidden\"");
    let more =
        "<preferences><showlicense>one</showlicense><showlicense>two</showlicense></preferences>";
    let plan = Bench::new(&document(&kind, more)).run(&[]).plan();
    assert_eq!(
        plan["carried"],
        json!({"bootloader/timeout_style": "hidden", "preferences/showlicense": "one\ntwo"})
    );
    assert_eq!(
        plan["origins"]["/carried/preferences~1showlicense"]["line"],
        7
    );
    assert_eq!(plan["format"], 3);
}

#[test]
fn keys_of_the_command_line_may_lie_anywhere() {
    let outside = tempfile::tempdir().unwrap();
    let key = outside.path().join("mine.asc");
    std::fs::write(&key, "a key").unwrap();
    let other = outside.path().join("other.asc");
    std::fs::write(&other, "another key").unwrap();
    let bench = Bench::new(&document(TYPE, ""));
    let (first, second) = (key.display(), other.display());
    let added = format!("dir:///srv/b,apt-deb,b,,,,{{file://{first};{second}}}");
    let plan = bench
        .run(&["--add-repo", &added, "--signing-key", key.to_str().unwrap()])
        .plan();
    let keys = |n: usize| plan["repositories"][n]["keys"].as_array().unwrap().len();
    // The host's own sources have keys of their own; a key that is named twice is one.
    assert_eq!((keys(0), keys(1)), (0, 2));
    assert_eq!(plan["overrides"][1]["option"], "--signing-key mine.asc");
    assert_eq!(plan["overrides"][1]["place"], "/repositories/1/keys");
    let told = bench.run(&["--add-repo", "dir:///srv/b,,,,,,{none.asc}"]);
    told.says(&[
        "desc-parse: error: the options have 1 error",
        "the signing key none.asc is not there",
        "expected a file, by its path from here",
    ]);
}

#[test]
fn keys_and_epoch_reach_the_plan() {
    let more = r#"<repository alias="k"><source path="dir:///srv"><signing key="this://key.asc"/></source></repository>"#;
    let bench = Bench::new(&document(TYPE, more));
    bench.write("key.asc", "key");
    let output = bench
        .command(&[])
        .env("SOURCE_DATE_EPOCH", "86400")
        .output()
        .unwrap();
    let plan = Told::from(output).plan();
    assert_eq!(plan["repositories"][1]["keys"][0]["object"]["size"], 3);
    assert_eq!(plan["source_date_epoch"], 86400);
    let output = bench
        .command(&[])
        .env("SOURCE_DATE_EPOCH", "soon")
        .output()
        .unwrap();
    assert_eq!(Told::from(output).code, 2);
}

#[test]
fn a_hostile_description_reads_nothing_else() {
    let secret = tempfile::tempdir().unwrap();
    std::fs::write(secret.path().join("s"), "TOPSECRET").unwrap();
    let more = r#"<packages type="image"><archive name="out.tar"/><file name="sub/s"/></packages>"#;
    let bench = Bench::new(&document(TYPE, more));
    symlink(secret.path().join("s"), bench.path("out.tar")).unwrap();
    symlink(secret.path(), bench.path("sub")).unwrap();
    symlink(secret.path(), bench.path("root")).unwrap();
    symlink(secret.path().join("s"), bench.path("config.sh")).unwrap();
    let told = bench.run(&[]);
    told.says(&[
        "the archive out.tar leads outside",
        "the file sub/s leads outside",
        "the overlay root/ is a symbolic link",
        "config.sh: it leads outside",
    ]);
    assert!(!told.stderr.contains("TOPSECRET"));
}

#[test]
fn an_overlay_of_a_profile_is_taken_or_told() {
    let more = r#"<profiles><profile name="../no-directory-beside-it" description="x"/><profile name="a/b" description="b"/></profiles>"#;
    let bench = Bench::new(&document(TYPE, more));
    bench.write("a/b/etc/motd", "");
    for (name, told) in [
        ("a/b", "of the profile a/b is"),
        ("../no-directory-beside-it", ""),
    ] {
        let options = ["--profile", name];
        match told {
            "" => assert_eq!(bench.run(&options).plan()["overlay"], Value::Null),
            told => bench.run(&options).says(&["R0302", told]),
        }
    }
}

#[test]
fn odd_files_do_not_block() {
    let bench = Bench::new(&document(TYPE, ""));
    bench.write("root/etc/motd", "");
    for name in ["root/pipe", "images.sh"] {
        let made = Command::new("mkfifo")
            .arg(bench.path(name))
            .status()
            .unwrap();
        assert!(made.success());
    }
    bench.write("disk.sh", "true");
    bench.write("config-cdroot.tar.xz", "");
    bench.run(&[]).says(&[
        "config-cdroot.tar.xz is not unpacked onto the medium",
        "root/pipe is no file, directory or symbolic link",
        "images.sh: it is not a regular file",
        "disk.sh is not run",
    ]);
}

#[test]
fn one_description_must_be_meant() {
    let bench = Bench::new("");
    std::fs::rename(bench.path("config.xml"), bench.path("a.kiwi")).unwrap();
    bench.write("b.kiwi", "");
    bench.run(&[]).says(&["R0002", "a.kiwi and b.kiwi"]);
    std::fs::remove_file(bench.path("a.kiwi")).unwrap();
    std::fs::remove_file(bench.path("b.kiwi")).unwrap();
    bench
        .run(&[])
        .says(&["R0001", "no config.xml and no *.kiwi"]);
}

#[test]
fn what_cannot_be_opened_is_named_by_its_path_with_the_reason() {
    let bench = Bench::new(&document(TYPE, ""));
    bench.write("config.xml", vec![b' '; (1 << 20) + 1]);
    let path = bench.path("config.xml").display().to_string();
    bench.run(&[]).says(&["R0005", &path, "1048576 bytes"]);
    std::fs::remove_file(bench.path("config.xml")).unwrap();
    symlink("none", bench.path("config.xml")).unwrap();
    let told: Told = bench.command(&[]).output().unwrap().into();
    let dir = bench.dir.path().display().to_string();
    told.says(&["R0001", &dir, "no config.xml and no *.kiwi"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_desc-parse"));
    command.arg(&path).env("RAMFORGE_STORE", bench.store.path());
    let told: Told = command.output().unwrap().into();
    told.says(&["R0001", &path, "there is no such file or directory"]);
}

#[test]
fn a_path_may_be_no_text() {
    let bench = Bench::new("");
    let dir = bench.dir.path().join(OsStr::from_bytes(b"\xff"));
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("config.xml"), document(TYPE, "")).unwrap();
    let run = |path: &Path| -> Told {
        let mut command = Command::new(env!("CARGO_BIN_EXE_desc-parse"));
        command.arg(path).env("RAMFORGE_STORE", bench.store.path());
        command.output().unwrap().into()
    };
    assert_eq!(run(&dir).plan()["name"], "t");
    run(&dir.join("none")).says(&["R0001", "there is no such file"]);
}

#[test]
fn bad_archives_are_refused() {
    let bench = Bench::new(&document(
        TYPE,
        r#"<packages type="image"><archive name="a.tar"/></packages>"#,
    ));
    for (bytes, words) in [
        (
            &b"this is no tar file at all, but it is long enough to be tried"[..],
            "cannot be unpacked",
        ),
        (&[b'x'; 1024], "it is no tar archive"),
        (b"BZh91AY&SY", "bzip2"),
        (b"PK\x03\x04rubbish", "it is a zip file"),
        (b"", "it is empty"),
        (b"\x1f\x8b\x08\x00rubbish", "cannot be unpacked"),
    ] {
        bench.write("a.tar", bytes);
        bench.run(&[]).says(&["R0303", words, "config.xml:7:39"]);
    }
}

/// A tar header: name, kind, size.
fn header(kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_path("file").unwrap();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    header
}

/// The header of an xz stream with CRC32 as its check (xz file format, 2.1.1).
const XZ_STREAM: &[u8] = b"\xfd7zXZ\x00\x00\x01\x69\x22\xde\x36";
/// The header of its first block (3.1): LZMA2 with a dictionary of 1 GiB.
const XZ_BLOCK_OF_1_GIB: &[u8] = b"\x02\x00\x21\x01\x24\x00\x00\x00\x5e\x1f\xc7\xf9";

#[test]
fn an_archive_that_unpacks_to_more_than_it_may_is_refused() {
    let bench = Bench::new(&document(
        TYPE,
        r#"<packages type="image"><archive name="a.tar"/></packages>"#,
    ));
    // A file of 17 GiB.
    let large = header(tar::EntryType::Regular, 17 << 30);
    // A sparse file whose one hole is larger still, in an archive of a KiB.
    let mut sparse = header(tar::EntryType::GNUSparse, 0);
    let gnu = sparse.as_gnu_mut().unwrap();
    // 32 GiB, as tar writes what eleven octal digits cannot.
    let large_number = [0x80, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0];
    gnu.realsize = large_number;
    gnu.sparse[0].offset = large_number;
    gnu.sparse[0].numbytes.copy_from_slice(b"00000000000\0");
    sparse.set_cksum();
    // A name of 64 MiB, which the reader would hold in memory.
    let long = header(tar::EntryType::GNULongName, 64 << 20);
    let mut name = long.as_bytes().to_vec();
    name.resize(name.len() + (64 << 20), b'n');
    // One entry that has thousands of directories above it.
    let path = "d/".repeat(3000);
    let deep = header(tar::EntryType::GNULongName, path.len() as u64);
    let mut deep = [deep.as_bytes(), path.as_bytes()].concat();
    deep.resize(deep.len().next_multiple_of(512), 0);
    deep.extend(header(tar::EntryType::Directory, 0).as_bytes());
    // A frame of zstd, and a block of xz, that ask for a window of 1 GiB.
    let zstd_window = b"\x28\xb5\x2f\xfd\x00\xa0\x01\x00\x00".to_vec();
    let xz_window = [XZ_STREAM, XZ_BLOCK_OF_1_GIB, &[0; 64]].concat();
    for (bytes, words) in [
        (large.as_bytes().to_vec(), "more than the 16 GiB"),
        (sparse.as_bytes().to_vec(), "more than the 16 GiB"),
        (zstd::encode_all(&name[..], 1).unwrap(), "longer than any"),
        (deep, "a path in it has 6000 bytes"),
        (zstd_window, "more memory than the 256 MiB"),
        (xz_window, "more memory than the 256 MiB"),
    ] {
        bench.write("a.tar", &bytes);
        bench.run(&[]).says(&["R0303", words, "config.xml:7:39"]);
    }
}

#[test]
fn usage_and_explanations() {
    let run = |args: &[&str]| -> Told {
        let mut command = Command::new(env!("CARGO_BIN_EXE_desc-parse"));
        command.args(args).output().unwrap().into()
    };
    assert_eq!(run(&[]).code, 2);
    assert_eq!(run(&["--no-such-option", "x"]).code, 2);
    let told = run(&["--explain", "R0209"]);
    assert_eq!(told.code, 0);
    assert!(
        told.stdout.starts_with("R0209: The RAM disk is smaller"),
        "{}",
        told.stdout
    );
    assert_eq!(run(&["--explain", "R9999"]).code, 2);
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let bench = Bench::new(&document(TYPE, ""));
    let mut child = bench
        .command(&[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let told: Told = child.wait_with_output().unwrap().into();
    assert_eq!((told.code, told.stderr.as_str()), (0, ""));
}

#[test]
fn findings_can_be_read_by_programs() {
    let bench = Bench::new(&document(TYPE, "<packages type=\"imgae\"/>"));
    let told = bench.run(&["--message-format", "json"]);
    assert_eq!(told.code, 3);
    let finding: Value = serde_json::from_str(told.stderr.lines().next().unwrap()).unwrap();
    assert_eq!(finding["code"], "R0108");
    assert_eq!(finding["severity"], "error");
    assert_eq!(
        finding["place"]["file"],
        bench.path("config.xml").to_str().unwrap()
    );
    assert_eq!(finding["place"]["line_start"], 7);
    assert_eq!(
        (
            &finding["place"]["column_start"],
            &finding["place"]["column_end"]
        ),
        (&json!(17), &json!(22))
    );
    let edit = &finding["fix"]["edits"][0];
    let text = std::fs::read_to_string(bench.path("config.xml")).unwrap();
    let range =
        edit["byte_start"].as_u64().unwrap() as usize..edit["byte_end"].as_u64().unwrap() as usize;
    assert_eq!(
        (&text[range], &edit["replacement"]),
        ("imgae", &json!("image"))
    );
}

#[test]
fn fixes_are_written_in_place() {
    let bench = Bench::new(&document(TYPE, "<!-- kept -->\n<packages type=\"imgae\"/>"));
    bench.mode("config.xml", 0o640);
    // Only root can give the file to somebody else first.
    let _ = chown(bench.path("config.xml"), Some(1234), Some(1234));
    let owner = || {
        let meta = std::fs::metadata(bench.path("config.xml")).unwrap();
        (meta.uid(), meta.gid())
    };
    let before = owner();
    let told = bench.run(&["--fix"]);
    assert_eq!(owner(), before);
    assert_eq!(told.plan()["packages"]["bootstrap"], json!([]));
    assert!(
        told.stderr.contains("config.xml: 1 fix made"),
        "{}",
        told.stderr
    );
    let text = std::fs::read_to_string(bench.path("config.xml")).unwrap();
    assert_eq!(
        text,
        document(TYPE, "<!-- kept -->\n<packages type=\"image\"/>")
    );
    let mode = std::fs::metadata(bench.path("config.xml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(bench.run(&["--fix"]).stderr, "");
}

#[test]
fn the_plan_can_be_read_by_people() {
    let told = Bench::new(&document(TYPE, "")).run(&["--explain-plan", "--add-package", "bc"]);
    told.plan();
    for words in [
        "runs from  RAM: /dev/ram1 of 2000 MiB",
        "install  linux-image-amd64 systemd-sysv bc",
        "packages of  obsrepositories:/  (repository-1)",
        "user  root with a password",
        "option  --add-package bc",
    ] {
        assert!(
            told.stderr.contains(words),
            "no {words:?} in\n{}",
            told.stderr
        );
    }
}

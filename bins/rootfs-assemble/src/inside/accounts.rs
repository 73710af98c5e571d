//! Accounts: passwd(5), group(5), shadow(5), gshadow(5), edited as useradd and usermod would.
//!
//! The first group of an account is its primary one; the others are added to what it has. An account that
//! is there is changed where the description says something; a new one gets a home from `/etc/skel`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use manifest::User;
use stage::{At, Error, Result};

use super::files::{self, Meta};

/// Ids of people, as login.defs(5) has them.
const FIRST_ID: u64 = 1000;
const LAST_ID: u64 = 60_000;
/// Subordinate ids that useradd gives to each new person.
const SUBIDS: u64 = 65_536;

/// A file of colon-separated lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn parse(text: &str) -> Self {
        let rows = text.lines().filter(|l| !l.is_empty());
        Self {
            rows: rows
                .map(|l| l.split(':').map(str::to_owned).collect())
                .collect(),
        }
    }

    fn text(&self) -> String {
        self.rows.iter().map(|r| r.join(":") + "\n").collect()
    }

    fn row(&self, name: &str) -> Option<&Vec<String>> {
        self.rows.iter().find(|r| r[0] == name)
    }

    fn set(&mut self, name: &str, field: usize, value: &str) {
        if let Some(row) = self.rows.iter_mut().find(|r| r[0] == name) {
            if row.len() <= field {
                row.resize(field + 1, String::new());
            }
            value.clone_into(&mut row[field]);
        }
    }

    fn add(&mut self, fields: &[&str]) {
        self.rows
            .push(fields.iter().map(|f| (*f).to_owned()).collect());
    }

    /// The numbers in a column.
    fn numbers(&self, field: usize) -> impl Iterator<Item = u64> + '_ {
        self.rows
            .iter()
            .filter_map(move |r| r.get(field)?.parse().ok())
    }

    fn has_number(&self, field: usize, number: u64) -> bool {
        self.numbers(field).any(|n| n == number)
    }
}

/// The account files of the tree.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    passwd: Table,
    group: Table,
    shadow: Table,
    gshadow: Table,
    subuid: Option<Table>,
    subgid: Option<Table>,
}

/// A home directory to make.
#[derive(Debug, PartialEq, Eq)]
pub struct Home {
    /// Where.
    pub path: String,
    /// Whose.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
}

impl Accounts {
    /// Reads the files below `etc`.
    ///
    /// # Errors
    /// Exit code 1 where there is no passwd or group.
    pub fn read(etc: &Path) -> Result<Self> {
        let table = |name: &str| {
            let path = etc.join(name);
            fs::read_to_string(&path)
                .at(&path)
                .map(|t| Table::parse(&t))
        };
        Ok(Self {
            passwd: table("passwd")?,
            group: table("group")?,
            shadow: table("shadow").unwrap_or_default(),
            gshadow: table("gshadow").unwrap_or_default(),
            subuid: table("subuid").ok(),
            subgid: table("subgid").ok(),
        })
    }

    /// Writes the files below `etc`, with the owners and modes they had.
    ///
    /// # Errors
    /// Exit code 1 with the path.
    pub fn write(&self, etc: &Path) -> Result<()> {
        let tables = [
            ("passwd", Some(&self.passwd), 0o644),
            ("group", Some(&self.group), 0o644),
            ("shadow", Some(&self.shadow), 0o640),
            ("gshadow", Some(&self.gshadow), 0o640),
            ("subuid", self.subuid.as_ref(), 0o644),
            ("subgid", self.subgid.as_ref(), 0o644),
        ];
        for (name, table, mode) in tables {
            if let Some(table) = table {
                write_table(&etc.join(name), table, mode)?;
            }
        }
        Ok(())
    }

    /// Creates or changes an account. `day` is today, in days since 1970. Gives the home to be made.
    ///
    /// # Errors
    /// Exit code 3 where an id is taken or a name impossible.
    pub fn apply(&mut self, user: &User, day: u64) -> Result<Option<Home>> {
        check(&user.name)?;
        let mut gids = Vec::new();
        for group in &user.groups {
            gids.push(self.ensure_group(group)?);
        }
        let primary = gids.first().map(|(_, gid)| *gid);
        let home = match self.passwd.row(&user.name) {
            Some(_) => {
                self.modify(user, primary)?;
                None
            }
            None => Some(self.create(user, primary, day)?),
        };
        if let Some(password) = &user.password {
            self.set_password(&user.name, password, day);
        }
        for (group, _) in gids.iter().skip(1) {
            self.join(group, &user.name);
        }
        Ok(home)
    }

    fn modify(&mut self, user: &User, primary: Option<u64>) -> Result<()> {
        let name = &user.name;
        if let Some(id) = user.id {
            let taken = |r: &Vec<String>| r[0] != *name && r.get(2) == Some(&id.to_string());
            if self.passwd.rows.iter().any(taken) {
                return Err(taken_id("user", name, id));
            }
            self.passwd.set(name, 2, &id.to_string());
        }
        if let Some(gid) = primary {
            self.passwd.set(name, 3, &gid.to_string());
        }
        if let Some(realname) = &user.realname {
            self.passwd.set(name, 4, realname);
        }
        if let Some(shell) = &user.shell {
            self.passwd.set(name, 6, shell);
        }
        Ok(())
    }

    fn create(&mut self, user: &User, primary: Option<u64>, day: u64) -> Result<Home> {
        let uid = match user.id {
            Some(id) if self.passwd.has_number(2, id) => {
                return Err(taken_id("user", &user.name, id));
            }
            Some(id) => id,
            None => free_id(&self.passwd, &user.name)?,
        };
        let gid = match primary {
            Some(gid) => gid,
            None => self.ensure_group(&user.name)?.1,
        };
        let home = user
            .home
            .clone()
            .unwrap_or_else(|| format!("/home/{}", user.name));
        self.passwd.add(&[
            &user.name,
            "x",
            &uid.to_string(),
            &gid.to_string(),
            user.realname.as_deref().unwrap_or_default(),
            &home,
            user.shell.as_deref().unwrap_or("/bin/sh"),
        ]);
        let day = day.to_string();
        self.shadow
            .add(&[&user.name, "!", &day, "0", "99999", "7", "", "", ""]);
        if uid >= FIRST_ID {
            add_subids(self.subuid.as_mut(), &user.name);
            add_subids(self.subgid.as_mut(), &user.name);
        }
        let number = |n: u64| u32::try_from(n).map_err(|_| taken_id("user", &user.name, n));
        Ok(Home {
            path: home,
            uid: number(uid)?,
            gid: number(gid)?,
        })
    }

    /// The group `name` or `name:gid`; made where there is none.
    fn ensure_group(&mut self, wanted: &str) -> Result<(String, u64)> {
        let (name, id) = match wanted.split_once(':') {
            Some((name, id)) => (name, id.parse().ok()),
            None => (wanted, None),
        };
        check(name)?;
        if let Some(row) = self.group.row(name) {
            let gid = row.get(2).and_then(|g| g.parse().ok()).unwrap_or(0);
            return Ok((name.to_owned(), gid));
        }
        let gid = match id {
            Some(id) if self.group.has_number(2, id) => return Err(taken_id("group", name, id)),
            Some(id) => id,
            None => free_id(&self.group, name)?,
        };
        self.group.add(&[name, "x", &gid.to_string(), ""]);
        self.gshadow.add(&[name, "!", "", ""]);
        Ok((name.to_owned(), gid))
    }

    fn set_password(&mut self, name: &str, hash: &str, day: u64) {
        self.passwd.set(name, 1, "x");
        if self.shadow.row(name).is_none() {
            self.shadow
                .add(&[name, "", "", "0", "99999", "7", "", "", ""]);
        }
        self.shadow.set(name, 1, hash);
        self.shadow.set(name, 2, &day.to_string());
    }

    fn join(&mut self, group: &str, user: &str) {
        for table in [&mut self.group, &mut self.gshadow] {
            let Some(row) = table.row(group) else {
                continue;
            };
            let members = row.get(3).cloned().unwrap_or_default();
            if !members.split(',').any(|m| m == user) {
                let members = if members.is_empty() {
                    user.to_owned()
                } else {
                    format!("{members},{user}")
                };
                table.set(group, 3, &members);
            }
        }
    }

    /// Sets the day of the last password change of every account, so that the build day leaves no trace.
    pub fn set_days(&mut self, day: u64) {
        let names: Vec<String> = self.shadow.rows.iter().map(|r| r[0].clone()).collect();
        for name in names {
            self.shadow.set(&name, 2, &day.to_string());
        }
    }
}

fn write_table(path: &Path, table: &Table, mode: u32) -> Result<()> {
    let (mode, gid) = match fs::metadata(path) {
        Ok(meta) => (meta.mode() & 0o7777, meta.gid()),
        Err(_) => (mode, 0),
    };
    files::write(path, table.text(), mode)?;
    std::os::unix::fs::chown(path, Some(0), Some(gid)).at(path)
}

/// Refuses names that would break the files' format.
fn check(name: &str) -> Result<()> {
    let fine = !name.is_empty()
        && !name.starts_with('-')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.$".contains(c));
    if fine {
        return Ok(());
    }
    Err(Error::refused(format!(
        "{name:?} is no name for an account or a group; expected letters, digits, \"_\", \"-\", \".\""
    )))
}

fn taken_id(what: &str, name: &str, id: u64) -> Error {
    Error::refused(format!("{what} {name}: the id {id} is taken or too large"))
        .advice("choose another id in the description, or leave it out")
}

/// One above the highest id of a person, as useradd chooses it.
fn free_id(table: &Table, name: &str) -> Result<u64> {
    let people = table
        .numbers(2)
        .filter(|n| (FIRST_ID..=LAST_ID).contains(n));
    let next = people.max().map_or(FIRST_ID, |highest| highest + 1);
    if next <= LAST_ID {
        return Ok(next);
    }
    (FIRST_ID..=LAST_ID)
        .find(|n| !table.has_number(2, *n))
        .ok_or_else(|| taken_id("account", name, next))
}

fn add_subids(table: Option<&mut Table>, name: &str) {
    let Some(table) = table else {
        return;
    };
    let ends = table.rows.iter().filter_map(|r| {
        let first: u64 = r.get(1)?.parse().ok()?;
        Some(first + r.get(2)?.parse::<u64>().ok()?)
    });
    let first = ends.max().unwrap_or(100_000);
    table.add(&[name, &first.to_string(), &SUBIDS.to_string()]);
}

/// Makes a home directory with the files of `/etc/skel`.
///
/// # Errors
/// Exit code 1 with the path.
pub fn make_home(home: &Home, mode: u32, epoch: i64) -> Result<()> {
    let path = Path::new(&home.path);
    if !path.is_absolute() {
        let fact = format!("home directory {:?}; expected an absolute path", home.path);
        return Err(Error::refused(fact));
    }
    if !path.exists() {
        fs::create_dir_all(path).at(path)?;
        copy_skeleton(Path::new("/etc/skel"), path, home, epoch).at(path)?;
    }
    let meta = Meta {
        mode,
        uid: home.uid,
        gid: home.gid,
        mtime: epoch,
    };
    files::finish_dir(path, meta).at(path)
}

fn copy_skeleton(from: &Path, to: &Path, home: &Home, epoch: i64) -> io::Result<()> {
    for entry in fs::read_dir(from).into_iter().flatten() {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let there = entry.metadata()?;
        let meta = Meta {
            mode: there.mode() & 0o7777,
            uid: home.uid,
            gid: home.gid,
            mtime: epoch,
        };
        if there.is_dir() {
            fs::create_dir(&target)?;
            copy_skeleton(&source, &target, home, epoch)?;
            files::finish_dir(&target, meta)?;
        } else if there.is_symlink() {
            files::symlink(&fs::read_link(&source)?, &target)?;
            files::finish_link(&target, meta)?;
        } else {
            let mut file = files::create(&target)?;
            io::copy(&mut fs::File::open(&source)?, &mut file)?;
            files::finish_file(&file, meta)?;
        }
    }
    Ok(())
}

/// The mode of new homes, from login.defs(5).
pub fn home_mode(login_defs: &str) -> u32 {
    let value = |name: &str| {
        login_defs.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let ours = words.next() == Some(name);
            ours.then(|| u32::from_str_radix(words.next()?, 8).ok())?
        })
    };
    value("HOME_MODE").unwrap_or_else(|| 0o777 & !value("UMASK").unwrap_or(0o022))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: Table::parse(
                "root:*:0:0:root:/root:/bin/bash\nme:x:1005:1005::/home/me:/bin/sh\n",
            ),
            group: Table::parse("root:*:0:\nsudo:*:27:me\nme:x:1005:\n"),
            shadow: Table::parse("root:*:20000:0:99999:7:::\n"),
            gshadow: Table::parse("sudo:*::me\n"),
            subuid: Some(Table::parse("me:100000:65536\n")),
            subgid: None,
        }
    }

    fn user(name: &str, groups: &[&str]) -> User {
        User {
            name: name.into(),
            password: Some("$6$salt$hash".into()),
            id: None,
            groups: groups.iter().map(|g| (*g).into()).collect(),
            home: None,
            shell: None,
            realname: None,
        }
    }

    #[test]
    fn root_gets_a_password_and_keeps_the_rest() {
        let mut accounts = accounts();
        let home = accounts.apply(&user("root", &["root"]), 19_000).unwrap();
        assert_eq!(home, None);
        assert_eq!(
            accounts.passwd.rows[0].join(":"),
            "root:x:0:0:root:/root:/bin/bash"
        );
        assert_eq!(
            accounts.shadow.text(),
            "root:$6$salt$hash:19000:0:99999:7:::\n"
        );
    }

    #[test]
    fn a_new_user_gets_the_next_id_a_group_and_a_home() {
        let mut accounts = accounts();
        let home = accounts.apply(&user("you", &[]), 19_000).unwrap().unwrap();
        assert_eq!(
            (home.path.as_str(), home.uid, home.gid),
            ("/home/you", 1006, 1006)
        );
        assert!(
            accounts
                .passwd
                .text()
                .ends_with("you:x:1006:1006::/home/you:/bin/sh\n")
        );
        assert!(
            accounts
                .subuid
                .unwrap()
                .text()
                .ends_with("you:165536:65536\n")
        );
    }

    #[test]
    fn groups_are_made_with_their_ids_and_joined() {
        let mut accounts = accounts();
        let user = user("you", &["crew:2000", "sudo", "new"]);
        accounts.apply(&user, 19_000).unwrap();
        assert_eq!(accounts.passwd.row("you").unwrap()[3], "2000");
        assert_eq!(accounts.group.row("sudo").unwrap()[3], "me,you");
        assert_eq!(accounts.gshadow.row("sudo").unwrap()[3], "me,you");
        assert_eq!(accounts.group.row("new").unwrap()[3], "you");
    }

    #[test]
    fn taken_ids_and_broken_names_are_refused() {
        let mut accounts = accounts();
        let mut you = user("you", &[]);
        you.id = Some(1005);
        assert!(
            accounts
                .apply(&you, 0)
                .unwrap_err()
                .to_string()
                .contains("1005")
        );
        assert!(accounts.apply(&user("a:b", &[]), 0).is_err());
        assert!(accounts.apply(&user("", &[]), 0).is_err());
    }

    #[test]
    fn home_modes_come_from_login_defs() {
        assert_eq!(home_mode("#HOME_MODE 0700\nUMASK\t\t027\n"), 0o750);
        assert_eq!(home_mode("HOME_MODE\t0700\nUMASK 022\n"), 0o700);
        assert_eq!(home_mode(""), 0o755);
    }
}

//! Who a process of a container runs as, by the container's own `/etc/passwd` and `/etc/group`.
//!
//! Numbers need no entry; a name does. The rules are Docker's: a user without a group has that of
//! its entry, else 0, and the supplementary groups that name it; a group that is given is the only one.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;

use super::failure::{Attempt, Result, failure};
use crate::plan::{Failure, FailureKind};

/// The largest file of users or groups that is read. It is the container's, which may make it any
/// size.
const MAX_BYTES: u64 = 16 << 20;
/// The largest number of a user or group.
const MAX_ID: u32 = i32::MAX as u32;

/// A user with its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    /// Its number.
    pub(super) uid: u32,
    /// Its group.
    pub(super) gid: u32,
    /// Supplementary groups.
    pub(super) groups: Vec<u32>,
    /// Its home, absolute.
    pub(super) home: String,
}

impl User {
    /// The user that `USER[:GROUP]` names, empty for root, in the root that the process is in.
    pub(super) fn find(named: &str) -> Result<Self> {
        let read = |path| read(path).or_fail(FailureKind::Setting, &format!("read {path}"));
        Self::among(named, &read("/etc/passwd")?, &read("/etc/group")?)
    }

    /// The same among the entries of these files.
    fn among(named: &str, passwd: &str, group: &str) -> Result<Self> {
        let (user, named_group) = named.split_once(':').unwrap_or((named, ""));
        let user = if user.is_empty() { "0" } else { user };
        let entry = Entry::find(passwd, user);
        let uid = match &entry {
            Some(entry) => entry.id,
            None => id(user).ok_or_else(|| unknown("user", user, "/etc/passwd"))?,
        };
        let mut found = Self {
            uid,
            gid: 0,
            groups: Vec::new(),
            home: "/".to_owned(),
        };
        if let Some(entry) = &entry {
            found.gid = entry.rest.first().and_then(|gid| id(gid)).unwrap_or(0);
            // Name, password, number, group, full name, home.
            let home = entry.rest.get(2).filter(|home| home.starts_with('/'));
            found.home = home.map_or_else(|| "/".to_owned(), |home| (*home).to_owned());
        }
        if named_group.is_empty() {
            if let Some(entry) = &entry {
                found.groups = groups_of(group, entry.name);
            }
        } else {
            found.gid = match Entry::find(group, named_group) {
                Some(entry) => entry.id,
                None => {
                    id(named_group).ok_or_else(|| unknown("group", named_group, "/etc/group"))?
                }
            };
        }
        Ok(found)
    }
}

/// The failure of a name that has no entry.
fn unknown(what: &str, name: &str, file: &str) -> Failure {
    failure(
        FailureKind::Setting,
        format!("find {what} {name}: it is not in the container's {file}"),
    )
}

/// A number of a user or group.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= MAX_ID)
}

/// An entry of either file: name, password, number, and what follows.
struct Entry<'a> {
    name: &'a str,
    id: u32,
    rest: Vec<&'a str>,
}

impl<'a> Entry<'a> {
    /// The entries of a file. A line of another form is none.
    fn all(file: &'a str) -> impl Iterator<Item = Self> {
        file.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?;
            let id = id(fields.nth(1)?)?;
            let rest = fields.collect();
            Some(Self { name, id, rest })
        })
    }

    /// The first one with this name or number.
    fn find(file: &'a str, named: &str) -> Option<Self> {
        let number = id(named);
        Self::all(file).find(|entry| entry.name == named || Some(entry.id) == number)
    }
}

/// The groups that list a user as a member.
fn groups_of(group: &str, user: &str) -> Vec<u32> {
    let lists = |entry: &Entry<'_>| {
        let members = entry.rest.first();
        members.is_some_and(|members| members.split(',').any(|member| member == user))
    };
    Entry::all(group)
        .filter(lists)
        .map(|entry| entry.id)
        .collect()
}

/// Reads a file of the container's; empty where it is not there or is no file.
fn read(path: &str) -> io::Result<String> {
    // A fifo or device in its place must not be waited for.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(String::new());
        }
        file => file?,
    };
    if !file.metadata()?.is_file() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
        # a comment\n\
        app:x:1000:1001:App:/home/app:/bin/sh\n\
        odd:x:1002\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:app,root\napp:x:1001:\nvideo:x:44:other,app\n7:x:70:\n";

    fn found(named: &str) -> (u32, u32, Vec<u32>, String) {
        let user = User::among(named, PASSWD, GROUP).unwrap();
        (user.uid, user.gid, user.groups, user.home)
    }

    #[test]
    fn a_name_a_number_or_neither_finds_the_entry() {
        assert_eq!(found(""), (0, 0, vec![4], "/root".into()));
        let app = (1000, 1001, vec![4, 44], "/home/app".to_owned());
        assert_eq!(found("app"), app);
        assert_eq!(found("1000"), app);
        assert_eq!(found("odd"), (1002, 0, vec![], "/".into()));
    }

    #[test]
    fn a_group_that_is_given_is_the_only_one() {
        assert_eq!(found("app:adm"), (1000, 4, vec![], "/home/app".into()));
        assert_eq!(found("app:99"), (1000, 99, vec![], "/home/app".into()));
        assert_eq!(found(":app"), (0, 1001, vec![], "/root".into()));
        assert_eq!(found("app:7"), (1000, 70, vec![], "/home/app".into()));
    }

    #[test]
    fn a_number_needs_no_entry_and_a_name_does() {
        assert_eq!(found("4321"), (4321, 0, vec![], "/".into()));
        for named in ["nobody", "app:nobody", "-1", "4294967295", "app:2147483648"] {
            let failure = User::among(named, PASSWD, GROUP).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Setting, "{named}");
        }
        let user = User::among("12:34", "", "").unwrap();
        assert_eq!((user.uid, user.gid), (12, 34));
        assert!(User::among("root", "", "").is_err());
    }
}

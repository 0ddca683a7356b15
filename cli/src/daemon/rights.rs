//! Who asks, as the system knows the peer of a connection, and what that user may do.

use crate::config::{Settings, keys};
use crate::socket::Peer;
use crate::socket::routes::Right;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use std::ffi::CString;

/// A user with the groups that the system's data base gives it, not those of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its name; `uid:N` if it has none.
    pub name: String,
    uid: u32,
    groups: Vec<String>,
}

/// Whose connection it is. The data base of users may be a slow one: this blocks.
pub fn who(peer: Peer) -> Who {
    let user = User::from_uid(Uid::from_raw(peer.uid)).ok().flatten();
    let gid = user.as_ref().map_or(Gid::from_raw(peer.gid), |user| user.gid);
    let Some(user) = user else {
        return Who { name: format!("uid:{}", peer.uid), uid: peer.uid, groups: named(&[gid]) };
    };
    let all = CString::new(user.name.as_str()).ok().and_then(|name| getgrouplist(&name, gid).ok());
    Who { groups: named(&all.unwrap_or_else(|| vec![gid])), name: user.name, uid: peer.uid }
}

fn named(groups: &[Gid]) -> Vec<String> {
    groups.iter().filter_map(|gid| Group::from_gid(*gid).ok().flatten()).map(|group| group.name).collect()
}

/// Whether the configuration lets it. Root, and the daemon's own user, may: they can read the stores anyway.
pub fn may(settings: &Settings, cluster: &str, who: &Who, right: Right) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let lists = match right {
        Right::View => &[keys::WHO_VIEW, keys::WHO_OPERATE][..],
        Right::Operate => &[keys::WHO_OPERATE],
    };
    let is_in = |entry: &String| match entry.strip_prefix('%') {
        Some(group) => who.groups.iter().any(|own| own == group),
        None => *entry == who.name,
    };
    let listed = lists.iter().any(|list| settings.texts(Some(cluster), list).iter().any(is_in));
    who.uid == 0 || who.uid == own || listed
}

#[cfg(test)]
mod tests {
    //! Shows who may do what.

    use super::{Who, may};
    use crate::config::Settings;
    use crate::socket::routes::Right;

    /// Goal: by name or group; to operate is to look as well; a cluster's own list stands instead of the one for all.
    #[test]
    fn rights_are_by_user_and_group() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("it is ours");
        std::fs::create_dir(dir.path().join("clusters")).expect("it is ours");
        write("config.toml", "[who]\nview = [\"%staff\"]\noperate = [\"bob\"]\n");
        write("clusters/blue.toml", "inventory = \"k\"\n");
        write("clusters/red.toml", "inventory = \"k\"\n[who]\noperate = []\n");
        let settings = Settings::read(dir.path()).expect("it is right");
        let user = |name: &str, groups: &[&str]| Who {
            name: name.to_owned(),
            uid: u32::MAX - 7,
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
        };
        let (bob, carol, mallory) = (user("bob", &[]), user("carol", &["staff"]), user("staff", &["bob"]));
        for (who, cluster, view, operate) in [
            (&bob, "blue", true, true),
            (&bob, "red", false, false),
            (&carol, "blue", true, false),
            (&carol, "red", true, false),
            (&mallory, "blue", false, false),
        ] {
            let can = |right| may(&settings, cluster, who, right);
            assert_eq!((can(Right::View), can(Right::Operate)), (view, operate), "{who:?} {cluster}");
        }
        let root = Who { uid: 0, ..mallory };
        assert!(may(&settings, "red", &root, Right::Operate));
    }
}

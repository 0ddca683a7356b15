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

impl Who {
    /// Whether it counts where two persons are needed: whoever may become root may be anybody, and so is who runs the daemon.
    pub fn is_a_person(&self) -> bool {
        self.uid != 0 && self.uid != rustix::process::geteuid().as_raw()
    }
}

/// Whether the configuration lets it. Root, and the daemon's own user, may look and operate: they can read the stores anyway.
pub fn may(settings: &Settings, cluster: &str, who: &Who, right: Right) -> bool {
    let lists = match right {
        Right::View => &[keys::WHO_VIEW, keys::WHO_OPERATE, keys::WHO_APPROVE][..],
        Right::Operate => &[keys::WHO_OPERATE],
        Right::Approve => &[keys::WHO_APPROVE],
    };
    let is_in = |entry: &String| match entry.strip_prefix('%') {
        Some(group) => who.groups.iter().any(|own| own == group),
        None => *entry == who.name,
    };
    let listed = lists.iter().any(|list| settings.texts(Some(cluster), list).iter().any(is_in));
    match right {
        Right::Approve => who.is_a_person() && listed,
        Right::View | Right::Operate => !who.is_a_person() || listed,
    }
}

#[cfg(test)]
mod tests {
    //! Shows who may do what.

    use super::{Who, may};
    use crate::config::Settings;
    use crate::socket::routes::Right;

    /// Goal: by name or group; to operate or to approve is to look as well; root approves nothing, even if it is listed; a cluster's own list stands instead of the one for all.
    #[test]
    fn rights_are_by_user_and_group() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("it is ours");
        std::fs::create_dir(dir.path().join("clusters")).expect("it is ours");
        write("config.toml", "[who]\nview = [\"%staff\"]\noperate = [\"bob\"]\napprove = [\"dan\", \"root\"]\n");
        write("clusters/blue.toml", "inventory = \"k\"\n");
        write("clusters/red.toml", "inventory = \"k\"\n[who]\noperate = []\n");
        let settings = Settings::read(dir.path()).expect("it is right");
        let user = |name: &str, groups: &[&str]| Who {
            name: name.to_owned(),
            uid: u32::MAX - 7,
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
        };
        let (bob, carol, mallory) = (user("bob", &[]), user("carol", &["staff"]), user("staff", &["bob"]));
        let (dan, root) = (user("dan", &[]), Who { uid: 0, ..user("root", &[]) });
        for (who, cluster, rights) in [
            (&bob, "blue", [true, true, false]),
            (&bob, "red", [false, false, false]),
            (&carol, "blue", [true, false, false]),
            (&carol, "red", [true, false, false]),
            (&mallory, "blue", [false, false, false]),
            (&dan, "blue", [true, false, true]),
            (&root, "red", [true, true, false]),
        ] {
            let can = [Right::View, Right::Operate, Right::Approve].map(|right| may(&settings, cluster, who, right));
            assert_eq!(can, rights, "{who:?} {cluster}");
        }
    }
}

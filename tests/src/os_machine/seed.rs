//! A fleet to begin with: what a simulated one looks like once it is healthy, laid out on real machines.

use super::{CLUSTER, OsMachine};
use k0rotate_activities::host::FileKind;
use k0rotate_activities::rehearsal::machine::Machine;
use k0rotate_activities::rehearsal::world::{FleetPlan, World};
use k0rotate_engine::clock::Timestamp;
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::time::Duration;

/// Which k0s the stand-in is.
pub const VERSION: &str = "v1.36.3+k0s.2";
/// Objects of the cluster that are to be put into etcd once it answers.
const OBJECTS: &str = "/etc/k0s-standin/objects.json";
/// Between looks at etcd.
const LOOK: Duration = Duration::from_millis(500);

/// Writes the files of `C+W` machines into `DIR/hN/up`.
pub fn seed(size: &str, dir: &str) {
    let (controllers, workers) = size.split_once('+').expect("C+W");
    let count = |text: &str| text.parse::<usize>().expect("a number");
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let start = Timestamp(u64::try_from(since.as_millis()).expect("before the year 584554049"));
    let plan = FleetPlan { start, version: VERSION.to_owned(), ..FleetPlan::sized(count(controllers), count(workers)) };
    let world = World::new(&plan);
    let roots = ["/var/lib/k0s", "/etc/k0s", "/etc/systemd/system"].map(str::to_owned);
    let members = plan.hosts.iter().take(count(controllers));
    let cluster: Vec<String> = members.map(|h| format!("{}=https://{}:2380", h.name, h.address)).collect();
    for (at, host) in plan.hosts.iter().enumerate() {
        let up = format!("{dir}/{}/up", host.name);
        for file in world.files(&host.name, &roots) {
            let bytes = world.read(&host.name, &file.path);
            lay(&format!("{up}{}", file.path), &file.kind, bytes.as_deref()).expect("a file can be laid out");
            set(&format!("{up}{}", file.path), &file.kind, file.mode, file.owner.uid).expect("a file can be owned");
        }
        lay_text(&format!("{up}{CLUSTER}"), &cluster.join(",")).expect("a file can be laid out");
        let unit = if at < count(controllers) { "k0scontroller" } else { "k0sworker" };
        let wants = format!("{up}/etc/systemd/system/multi-user.target.wants");
        fs::create_dir_all(&wants).expect("a directory can be made");
        symlink(format!("../{unit}.service"), format!("{wants}/{unit}.service")).expect("a unit can be enabled");
        if at == 0 {
            // As after a clean stop: nobody holds a Lease.
            let kept = world.objects().into_iter().filter(|(path, _)| !path.contains("/leases/"));
            let objects: Vec<Value> = kept.map(|(path, o)| json!([path, *o])).collect();
            lay_text(&format!("{up}{OBJECTS}"), &Value::Array(objects).to_string()).expect("objects can be laid out");
        }
    }
}

fn lay_text(path: &str, text: &str) -> io::Result<()> {
    lay(path, &FileKind::File { sha256: String::new(), size: 0 }, Some(text.as_bytes()))
}

fn lay(path: &str, kind: &FileKind, bytes: Option<&[u8]>) -> io::Result<()> {
    if let Some(parent) = Path::new(path).parent() {
        fs::create_dir_all(parent)?;
    }
    match kind {
        FileKind::File { .. } => fs::write(path, bytes.unwrap_or_default()),
        FileKind::Dir => fs::create_dir_all(path),
        FileKind::Link { target } => symlink(target, path),
        FileKind::Other => Ok(()),
    }
}

fn set(path: &str, kind: &FileKind, mode: u32, uid: u32) -> io::Result<()> {
    match kind {
        FileKind::Link { .. } => lchown(path, Some(uid), Some(0)),
        FileKind::Other => Ok(()),
        _ => {
            chown(path, Some(uid), Some(0))?;
            fs::set_permissions(path, Permissions::from_mode(mode))
        }
    }
}

/// Puts the objects into etcd as soon as it answers, once.
pub fn give_objects(data: &str) {
    let Ok(text) = fs::read_to_string(OBJECTS) else { return };
    let objects: Vec<(String, Value)> = serde_json::from_str(&text).expect("objects of a seed");
    let mut machine = OsMachine::here(data);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(LOOK);
            let Some(store) = machine.store() else { continue };
            for (path, object) in &objects {
                store.put(path, object.clone());
            }
            let _ = fs::remove_file(OBJECTS);
            return;
        }
    });
}

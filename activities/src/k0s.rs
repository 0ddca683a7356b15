//! Reads what k0s and systemd print about a host into types.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A text that is not what the command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the expected output")]
pub struct Unreadable;

/// `k0s status -o json`. Exit status 0 also when the API probe fails or the CA has expired (lab §16).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Status {
    /// For example `v1.36.3+k0s.2`.
    pub version: String,
    /// The main process.
    pub pid: u32,
    /// `controller` or `worker`.
    pub role: String,
    /// Whether a kubelet runs.
    pub workloads: bool,
    /// Whether it was started with `--single`.
    #[serde(default)]
    pub single_node: bool,
    /// The command line.
    #[serde(default)]
    pub args: Vec<String>,
    /// Of a controller: its node configuration (the file, not the dynamic one).
    #[serde(default)]
    pub cluster_config: Option<Value>,
    /// Where things are.
    #[serde(rename = "K0sVars")]
    pub vars: Vars,
}

/// Where k0s keeps its files.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Vars {
    /// Usually `/var/lib/k0s`.
    pub data_dir: String,
    /// Since 1.31.
    #[serde(default)]
    pub kubelet_root_dir: String,
    /// The configuration file as given, or the usual one.
    #[serde(default)]
    pub startup_config_path: String,
}

impl Status {
    /// Parses it.
    pub fn read(stdout: &[u8]) -> Result<Self, Unreadable> {
        serde_json::from_slice(stdout).map_err(|_| Unreadable)
    }

    /// Whether it was said by a k0s that runs.
    pub fn runs(&self) -> bool {
        self.pid != 0
    }

    /// A value of the node configuration, for example `/spec/api/address`.
    pub fn config(&self, pointer: &str) -> Option<&Value> {
        self.cluster_config.as_ref()?.pointer(pointer)
    }

    /// The same, if it is a text that is not empty.
    pub fn config_text(&self, pointer: &str) -> Option<&str> {
        self.config(pointer)?.as_str().filter(|text| !text.is_empty())
    }

    /// Whether kubelet's root directory was told, else it lies below the data directory.
    pub fn kubelet_root(&self) -> String {
        if self.vars.kubelet_root_dir.is_empty() {
            format!("{}/kubelet", self.vars.data_dir)
        } else {
            self.vars.kubelet_root_dir.clone()
        }
    }
}

/// The ids of `k0s token list --role ROLE`; none if it prints nothing (1.34) or says so (1.32, 1.36).
pub fn token_ids(stdout: &str) -> Vec<String> {
    let first = stdout.lines().filter_map(|line| line.split_whitespace().next());
    first.filter(|word| crate::token::is_id(word)).map(str::to_owned).collect()
}

/// `k0s etcd member-list`: peer addresses by name.
pub fn etcd_members(stdout: &[u8]) -> Result<BTreeMap<String, String>, Unreadable> {
    #[derive(Deserialize)]
    struct List {
        members: BTreeMap<String, String>,
    }
    serde_json::from_slice::<List>(stdout).map(|list| list.members).map_err(|_| Unreadable)
}

/// The host of `https://10.0.0.1:2380`, without brackets.
pub fn host_of_url(url: &str) -> Option<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next()?;
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.to_owned())
}

/// `systemctl show -p A,B UNIT`: one `key=value` a line.
pub fn properties(stdout: &str) -> BTreeMap<String, String> {
    stdout
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// The command line of a unit: the last ExecStart of these texts (unit first, then drop-ins in order); an empty one clears what stood before.
pub fn exec_start<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<Vec<String>> {
    let lines = texts.into_iter().flat_map(str::lines).map(str::trim);
    let last = lines.filter_map(|line| line.strip_prefix("ExecStart=")).last()?;
    let words = words(last);
    (!words.is_empty()).then_some(words)
}

/// Splits as systemd does: quotes group words, a backslash keeps the next character, and prefixes of the program go.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut any) = (Vec::new(), String::new(), None, false);
    let mut characters = line.trim_start_matches(['-', '@', ':', '+', '!']).chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            ('\\', _) => word.extend(characters.next()),
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => (quote, any) = (Some(c), true),
            (c, None) if c.is_whitespace() => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            (c, _) => word.push(c),
        }
    }
    if any || !word.is_empty() {
        words.push(word);
    }
    words
}

/// A duration as Go writes it, for example `87600h0m0s`, in seconds; fractions and smaller units are not used for lifetimes.
pub fn seconds(text: &str) -> Option<i64> {
    let (mut total, mut number) = (0_i64, String::new());
    for c in text.chars() {
        let unit = match c {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            digit => {
                number.push(digit);
                continue;
            }
        };
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(unit)?)?;
        number.clear();
    }
    (number.is_empty() && total > 0).then_some(total)
}

/// The value of `--name=value` or `--name value`.
pub fn flag<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    args.iter().enumerate().find_map(|(at, arg)| {
        let rest = arg.strip_prefix("--")?.strip_prefix(name)?;
        match rest.strip_prefix('=') {
            Some(value) => Some(value),
            None if rest.is_empty() => args.get(at + 1).map(String::as_str),
            None => None,
        }
    })
}

/// Whether a switch is on: `--name` or `--name=true`.
pub fn switch(args: &[String], name: &str) -> bool {
    args.iter().any(|arg| {
        let rest = arg.strip_prefix("--").and_then(|arg| arg.strip_prefix(name));
        rest.is_some_and(|rest| rest.is_empty() || rest == "=true")
    })
}

#[cfg(test)]
mod tests {
    //! Shows that what real k0s and systemd printed is read.

    use super::*;

    macro_rules! golden {
        ($name:literal) => {
            include_str!(concat!("../../tests/goldens/v1.36.3+k0s.2/", $name))
        };
    }

    /// Goal: the statuses of a controller and of a worker.
    #[test]
    fn statuses_are_read() {
        let controller = Status::read(golden!("status-json-controller.stdout.txt").as_bytes()).unwrap();
        assert_eq!(
            (controller.role.as_str(), controller.workloads, controller.single_node),
            ("controller", false, false)
        );
        assert_eq!(controller.config_text("/spec/api/address"), Some("10.77.0.11"));
        assert_eq!(
            (controller.vars.data_dir.as_str(), controller.kubelet_root().as_str()),
            ("/var/lib/k0s", "/var/lib/k0s/kubelet")
        );
        let worker = Status::read(golden!("status-json-worker.stdout.txt").as_bytes()).unwrap();
        assert_eq!((worker.workloads, worker.cluster_config.is_none()), (true, true));
        assert_eq!(flag(&worker.args, "token-file"), Some("/etc/k0s/token"));
        assert_eq!(flag(&worker.args, "token"), None);
        assert!(Status::read(b"Version: v1.36.3").is_err());
    }

    /// Goal: token lists with and without tokens, the tabs of 1.32 and the silence of 1.34.
    #[test]
    fn token_lists_are_read() {
        let of_1_32 = include_str!("../../tests/goldens/v1.32.13+k0s.0/token-list-worker-with-tokens.stdout.txt");
        assert_eq!(token_ids(of_1_32), ["vgrlo6"]);
        assert_eq!(token_ids(golden!("token-list-controller-with-tokens.stdout.txt")), ["6l1r2d", "ml76zo", "mmvcxx"]);
        assert_eq!(token_ids(golden!("ctrl-worker-token-list-none.stdout.txt")), Vec::<String>::new());
        assert_eq!(token_ids(""), Vec::<String>::new());
    }

    /// Goal: the members of etcd and their hosts.
    #[test]
    fn member_lists_are_read() {
        let members = etcd_members(golden!("etcd-member-list-controller.stdout.txt").as_bytes()).unwrap();
        assert_eq!(members.len(), 3);
        assert_eq!(host_of_url(&members["h2"]).as_deref(), Some("10.77.0.12"));
        assert_eq!(host_of_url("https://[fd00::1]:2380").as_deref(), Some("fd00::1"));
    }

    /// Goal: lifetimes as k0s prints them, and nothing else.
    #[test]
    fn lifetimes_are_read() {
        assert_eq!(
            (seconds("87600h0m0s"), seconds("1h30m"), seconds("90s")),
            (Some(315_360_000), Some(5400), Some(90))
        );
        assert_eq!(["", "0s", "5", "1d", "-1h", "9999999999999999h"].map(seconds), [None; 6]);
    }

    /// Goal: properties and command lines of units, drop-ins and quotes included.
    #[test]
    fn units_are_read() {
        let shown = properties(golden!("systemctl-show-running-controller.stdout.txt"));
        assert_eq!((shown["MainPID"].as_str(), shown["ActiveState"].as_str()), ("17971", "active"));
        let unit = golden!("unit-k0sworker.stdout.txt");
        let args = exec_start([unit]).unwrap();
        assert_eq!((args[0].as_str(), args[1].as_str()), ("/usr/local/bin/k0s", "worker"));
        assert_eq!(flag(&args, "kubelet-extra-args"), Some("--node-ip=10.77.0.14"));
        let over = exec_start([unit, "[Service]\nExecStart=\nExecStart=-/opt/k0s worker \"--labels=a=b c\" --single"])
            .unwrap();
        assert_eq!(over, ["/opt/k0s", "worker", "--labels=a=b c", "--single"]);
        assert!(switch(&over, "single") && !switch(&over, "enable-worker"));
        assert_eq!(exec_start(["[Service]\n"]), None);
    }
}

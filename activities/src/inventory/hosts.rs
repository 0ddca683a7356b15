//! Hosts of an inventory: roles, names, directories and how each is reached.

use super::keys::is_yes;
use super::problem::{Code, Problem};
use super::tree::{Node, Source, Value};
use super::{Connection, InventoryHost, SshServer};
use crate::fleet::Role;

/// Reads all hosts, or says all that is wrong with them.
pub(super) fn read(source: &Source, spec: &Node) -> Result<Vec<InventoryHost>, Vec<Problem>> {
    let Some(list) = spec.get("hosts").filter(|n| !n.list().is_empty()) else {
        return Err(vec![source.problem(Code::Hosts, spec.line, "spec.hosts has no host")]);
    };
    let (mut hosts, mut problems) = (Vec::new(), Vec::new());
    for node in list.list() {
        match host(source, node) {
            Ok(host) => hosts.push(host),
            Err(problem) => problems.push(problem),
        }
    }
    name_apart(&mut hosts);
    problems.extend(contradictions(source, list, &hosts));
    if problems.is_empty() { Ok(hosts) } else { Err(problems) }
}

fn host(source: &Source, node: &Node) -> Result<InventoryHost, Problem> {
    let flags = flags(node);
    let connection = connection(source, node)?;
    let hostname = text(source, node, "hostname")?;
    let private_address = text(source, node, "privateAddress")?;
    let reached = connection.address().to_owned();
    Ok(InventoryHost {
        name: hostname.clone().unwrap_or_else(|| reached.clone()),
        address: private_address.clone().unwrap_or(reached),
        role: role(source, node, &flags)?,
        connection,
        hostname,
        private_address,
        data_dir: flag(&flags, "--data-dir").or(text(source, node, "dataDir")?),
        kubelet_root: flag(&flags, "--kubelet-root-dir").or(text(source, node, "kubeletRootDir")?),
        file: source.file.to_owned(),
        line: source.line(node.line),
    })
}

fn role(source: &Source, node: &Node, flags: &[String]) -> Result<Role, Problem> {
    let Some(written) = node.get("role") else {
        return Err(source.problem(Code::Value, node.line, "this host has no role"));
    };
    let role = match written.text() {
        Some("controller") => Role::Controller,
        Some("controller+worker") => Role::ControllerWorker,
        Some("single") => Role::Single,
        Some("worker") => Role::Worker,
        _ => {
            let what = "a role is one of controller, controller+worker, single, worker";
            return Err(source.problem(Code::Value, written.line, what));
        }
    };
    // As k0sctl does: these flags decide over the role.
    let on = |name: &str| flag_given(flags, name);
    Ok(if on("--single") {
        Role::Single
    } else if on("--enable-worker") {
        Role::ControllerWorker
    } else {
        role
    })
}

fn flags(node: &Node) -> Vec<String> {
    let all = node.get("installFlags").map(Node::list).unwrap_or_default();
    all.iter().filter_map(Node::text).map(|t| unquoted(t).to_owned()).collect()
}

fn unquoted(text: &str) -> &str {
    let inner = |q: char| text.strip_prefix(q).and_then(|t| t.strip_suffix(q));
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}

/// The value of `--name=value` or `--name value`.
fn flag(flags: &[String], name: &str) -> Option<String> {
    let value = flags.iter().find_map(|f| f.strip_prefix(name)?.strip_prefix(['=', ' ']));
    value.map(|v| unquoted(v.trim()).to_owned()).filter(|v| !v.is_empty())
}

fn flag_given(flags: &[String], name: &str) -> bool {
    flags.iter().any(|f| f == name) || flag(flags, name).is_some_and(|v| v != "false")
}

fn connection(source: &Source, node: &Node) -> Result<Connection, Problem> {
    let local = node.get("localhost").filter(|n| is_yes(n) || n.get("enabled").is_some_and(is_yes));
    let winrm = node.get("winRM").or_else(|| node.get("winrm"));
    let ways = [node.get("ssh"), node.get("openSSH"), local, winrm, node.get("rehearsal")];
    if ways.iter().flatten().count() != 1 {
        let what = "a host has exactly one of ssh, openSSH, localhost and winRM";
        return Err(source.problem(Code::Value, node.line, what));
    }
    if let Some(ssh) = ways[0] {
        let (server, bastions) = (server(source, ssh)?, bastions(source, ssh)?);
        Ok(Connection::Ssh { server: with_defaults(server), bastions, options: options(ssh) })
    } else if let Some(ssh) = ways[1] {
        let config = text(source, ssh, "configPath")?;
        Ok(Connection::OpenSsh { server: server(source, ssh)?, config, options: options(ssh) })
    } else if let Some(winrm) = ways[3] {
        Ok(Connection::WinRm { address: required(source, winrm, "address")? })
    } else if ways[4].is_some() {
        Ok(Connection::Rehearsal { socket: required(source, node, "rehearsal")? })
    } else {
        Ok(Connection::Localhost)
    }
}

/// k0sctl's defaults; a key is looked for by the agent and the user's configuration.
fn with_defaults(server: SshServer) -> SshServer {
    SshServer { user: server.user.or(Some("root".to_owned())), port: server.port.or(Some(22)), ..server }
}

fn server(source: &Source, node: &Node) -> Result<SshServer, Problem> {
    Ok(SshServer {
        address: required(source, node, "address")?,
        user: text(source, node, "user")?,
        port: port(source, node)?,
        key: text(source, node, "keyPath")?,
    })
}

/// The one next to us first; k0sctl's file has the one next to the host outermost.
fn bastions(source: &Source, node: &Node) -> Result<Vec<SshServer>, Problem> {
    let mut all = Vec::new();
    let mut at = node;
    while let Some(bastion) = at.get("bastion") {
        all.insert(0, with_defaults(server(source, bastion)?));
        at = bastion;
    }
    Ok(all)
}

/// All but the one that would turn the check of host keys off: keys are always checked.
fn options(node: &Node) -> Vec<(String, String)> {
    let Some(Value::Map(entries)) = node.get("options").map(|n| &n.value) else { return Vec::new() };
    let kept = entries.iter().filter(|e| !e.key.eq_ignore_ascii_case("StrictHostKeyChecking"));
    let word = |text: &str| match text {
        "true" => "yes".to_owned(),
        "false" => "no".to_owned(),
        other => other.to_owned(),
    };
    kept.filter_map(|e| Some((e.key.clone(), word(e.value.text()?)))).collect()
}

fn port(source: &Source, node: &Node) -> Result<Option<u16>, Problem> {
    let Some(port) = node.get("port") else { return Ok(None) };
    match port.text().and_then(|t| t.parse().ok()).filter(|p| *p > 0) {
        Some(port) => Ok(Some(port)),
        None => Err(source.problem(Code::Value, port.line, "a port is a number from 1 to 65535")),
    }
}

fn required(source: &Source, node: &Node, key: &str) -> Result<String, Problem> {
    text(source, node, key)?.ok_or_else(|| {
        let line = node.get(key).map_or(node.line, |n| n.line);
        let problem = source.problem(Code::Value, line, format!("`{key}` is missing or empty"));
        match source.substituted.unset.iter().find(|(_, at)| *at == source.line(line)) {
            Some((name, _)) => problem.help(format!("the variable {name} is not set")),
            None => problem,
        }
    })
}

fn text(source: &Source, node: &Node, key: &str) -> Result<Option<String>, Problem> {
    match node.get(key) {
        None => Ok(None),
        Some(value) => match value.text() {
            Some(text) => Ok(Some(text.to_owned()).filter(|t| !t.is_empty())),
            None => Err(source.problem(Code::Value, value.line, format!("`{key}` is a text"))),
        },
    }
}

/// Hosts behind one address, told apart by their ports.
fn name_apart(hosts: &mut [InventoryHost]) {
    let names: Vec<String> = hosts.iter().map(|h| h.name.clone()).collect();
    for host in hosts.iter_mut().filter(|h| h.hostname.is_none()) {
        let twice = names.iter().filter(|n| **n == host.name).count() > 1;
        if let (true, Some(port)) = (twice, host.connection.port()) {
            host.name = format!("{}:{port}", host.name);
        }
    }
}

fn contradictions(source: &Source, list: &Node, hosts: &[InventoryHost]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (at, host) in hosts.iter().enumerate() {
        if hosts[..at].iter().any(|h| h.name == host.name) {
            let what = "another host has the same name and address";
            problems.push(Problem::at(Code::Hosts, source.file, source.original, host.line, what));
        }
    }
    if hosts.len() == list.list().len() && !hosts.iter().any(|h| h.role.is_controller()) {
        problems.push(source.problem(Code::Hosts, list.line, "no host has the role of a controller"));
    }
    if hosts.len() > 1 && hosts.iter().any(|h| h.role == Role::Single) {
        problems.push(source.problem(Code::Hosts, list.line, "a `single` host is the only one of its cluster"));
    }
    problems
}

//! `k0s kubectl`, as far as the activities use it.

use super::{Outcome, error, failed, indented, printed};
use crate::host::Output;
use crate::rehearsal::k0s::client::Client;
use crate::rehearsal::k0s::setup::Setup;
use crate::rehearsal::k0s::worker::hint;
use crate::rehearsal::machine::{End, Machine, Verb};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What was said besides the words.
#[derive(Default)]
struct Flags {
    namespace: Option<String>,
    everywhere: bool,
    kubeconfig: Option<String>,
    raw: Option<String>,
    file: Option<String>,
    output: String,
    kind: String,
    patch: String,
    duration: Option<String>,
    ignore_missing: bool,
    fields: String,
    labels: String,
}

pub(super) fn kubectl(m: &mut dyn Machine, setup: &Setup, args: &[&str], stdin: &[u8]) -> Outcome {
    let Some((words, flags)) = read(args) else { return Outcome::Unknown };
    let own = setup.pki("admin.conf");
    if flags.kubeconfig.is_none() && !m.exists(&own) {
        return error(&format!(
            "cannot stat k0s kubeconfig, is the server running?: stat {own}: no such file or directory"
        ));
    }
    let path = flags.kubeconfig.clone().unwrap_or(own);
    let Some(client) = Client::load(m, &path) else {
        return failed(&format!("error: stat {path}: no such file or directory"));
    };
    if client.shows.is_none() && client.bearer.is_none() {
        return Outcome::Done(Output {
            status: 1,
            stdout: b"Please enter Username: ".to_vec(),
            stderr: b"error: EOF\n".to_vec(),
        });
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match (words.as_slice(), &flags.raw) {
        (["get"], Some(raw)) => raw_get(m, &client, raw),
        (["create", "token", account], None) => token(m, &client, &flags, account),
        (["create" | "apply" | "replace"], None) if flags.file.as_deref() == Some("-") => {
            files(m, &client, &flags, words[0], stdin)
        }
        (["get", resource, names @ ..], None) => get(m, &client, &flags, resource, names),
        (["delete", resource, names @ ..], None) if !names.is_empty() => delete(m, &client, &flags, resource, names),
        (["patch", resource, name], None) => patch(m, &client, &flags, resource, name),
        (["auth", "whoami"], None) => {
            let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
            match send(m, &client, Verb::Post, "/apis/authentication.k8s.io/v1/selfsubjectreviews", &body) {
                Ok(answer) => printed(pretty(&answer)),
                Err(outcome) => outcome,
            }
        }
        _ => Outcome::Unknown,
    }
}

fn read(args: &[&str]) -> Option<(Vec<String>, Flags)> {
    let mut flags = Flags { kind: "strategic".to_owned(), ..Flags::default() };
    let mut words = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if !arg.starts_with('-') || *arg == "-" {
            words.push((*arg).to_owned());
            continue;
        }
        let (name, given) = arg.split_once('=').map_or((*arg, None), |(name, value)| (name, Some(value.to_owned())));
        let mut value = || given.clone().or_else(|| rest.next().map(|next| (*next).to_owned()));
        match name {
            "-n" | "--namespace" => flags.namespace = value(),
            "-A" | "--all-namespaces" => flags.everywhere = true,
            "--kubeconfig" => flags.kubeconfig = value(),
            "--raw" => flags.raw = value(),
            "-f" | "--filename" => flags.file = value(),
            "-o" | "--output" => flags.output = value()?,
            "--type" => flags.kind = value()?,
            "-p" | "--patch" => flags.patch = value()?,
            "--duration" => flags.duration = value(),
            "--ignore-not-found" => flags.ignore_missing = given.as_deref() != Some("false"),
            "--field-selector" => flags.fields = value()?,
            "-l" | "--selector" => flags.labels = value()?,
            "--wait" | "--now" | "--force" => {}
            "--grace-period" | "--request-timeout" | "--timeout" => drop(value()?),
            _ => return None,
        }
    }
    Some((words, flags))
}

/// Base path and plural of a resource by any of its names, and whether it lies in a namespace.
fn resource(name: &str) -> Option<(&'static str, &'static str, &'static str, bool)> {
    let name = name.split('.').next().unwrap_or(name);
    let core = "/api/v1";
    Some(match name {
        "cm" | "configmap" | "configmaps" => (core, "configmaps", "configmap", true),
        "secret" | "secrets" => (core, "secrets", "secret", true),
        "po" | "pod" | "pods" => (core, "pods", "pod", true),
        "sa" | "serviceaccount" | "serviceaccounts" => (core, "serviceaccounts", "serviceaccount", true),
        "no" | "node" | "nodes" => (core, "nodes", "node", false),
        "ns" | "namespace" | "namespaces" => (core, "namespaces", "namespace", false),
        "lease" | "leases" => ("/apis/coordination.k8s.io/v1", "leases", "lease.coordination.k8s.io", true),
        "csr" | "certificatesigningrequest" | "certificatesigningrequests" => (
            "/apis/certificates.k8s.io/v1",
            "certificatesigningrequests",
            "certificatesigningrequest.certificates.k8s.io",
            false,
        ),
        "ds" | "daemonset" | "daemonsets" => ("/apis/apps/v1", "daemonsets", "daemonset.apps", true),
        "rs" | "replicaset" | "replicasets" => ("/apis/apps/v1", "replicasets", "replicaset.apps", true),
        "etcdmember" | "etcdmembers" => {
            ("/apis/etcd.k0sproject.io/v1beta1", "etcdmembers", "etcdmember.etcd.k0sproject.io", false)
        }
        "controlnode" | "controlnodes" => {
            ("/apis/autopilot.k0sproject.io/v1beta2", "controlnodes", "controlnode.autopilot.k0sproject.io", false)
        }
        _ => return None,
    })
}

fn path(flags: &Flags, name: &str, namespace: Option<&str>) -> Option<(String, &'static str)> {
    let (base, plural, singular, namespaced) = resource(name)?;
    let namespace = namespace.or(flags.namespace.as_deref()).unwrap_or("default");
    let path = if namespaced && !flags.everywhere {
        format!("{base}/namespaces/{namespace}/{plural}")
    } else {
        format!("{base}/{plural}")
    };
    Some((path, singular))
}

fn raw_get(m: &mut dyn Machine, client: &Client, path: &str) -> Outcome {
    match client.call(m, Verb::Get, path, Vec::new()).end {
        End::Answer(200..=299, body) => printed(body),
        end => refusal(client, &end),
    }
}

fn get(m: &mut dyn Machine, client: &Client, flags: &Flags, name: &str, names: &[&str]) -> Outcome {
    let Some((list, _)) = path(flags, name, None) else { return Outcome::Unknown };
    if !matches!(flags.output.as_str(), "json" | "name") {
        return Outcome::Unknown;
    }
    let encoded = |text: &str| text.replace('%', "%25").replace('=', "%3D").replace('/', "%2F").replace(',', "%2C");
    let asked = match names {
        [] => format!("{list}?fieldSelector={}&labelSelector={}", encoded(&flags.fields), encoded(&flags.labels)),
        [one] => format!("{list}/{one}"),
        _ => return Outcome::Unknown,
    };
    match send(m, client, Verb::Get, &asked, &Value::Null) {
        Ok(mut answer) => {
            if names.is_empty() {
                answer = json!({"apiVersion": "v1", "items": answer["items"], "kind": "List", "metadata": {"resourceVersion": ""}});
            }
            printed(pretty(&answer))
        }
        Err(Outcome::Done(output)) if flags.ignore_missing && output.err_text().contains("(NotFound)") => printed(""),
        Err(outcome) => outcome,
    }
}

fn delete(m: &mut dyn Machine, client: &Client, flags: &Flags, name: &str, names: &[&str]) -> Outcome {
    let Some((list, singular)) = path(flags, name, None) else { return Outcome::Unknown };
    let mut text = String::new();
    for name in names {
        match send(m, client, Verb::Delete, &format!("{list}/{name}"), &Value::Null) {
            Ok(_) => drop(writeln!(text, "{singular} {name:?} deleted")),
            Err(Outcome::Done(output)) if flags.ignore_missing && output.err_text().contains("(NotFound)") => {}
            Err(outcome) => return outcome,
        }
    }
    printed(text)
}

fn patch(m: &mut dyn Machine, client: &Client, flags: &Flags, name: &str, object: &str) -> Outcome {
    let Some((list, singular)) = path(flags, name, None) else { return Outcome::Unknown };
    let Ok(change) = serde_json::from_str::<Value>(&flags.patch) else {
        return failed("error: unable to parse the patch");
    };
    let verb = if flags.kind == "json" { Verb::JsonPatch } else { Verb::Patch };
    match send(m, client, verb, &format!("{list}/{object}"), &change) {
        Ok(_) => printed(format!("{singular}/{object} patched\n")),
        Err(outcome) => outcome,
    }
}

fn token(m: &mut dyn Machine, client: &Client, flags: &Flags, account: &str) -> Outcome {
    let Some((list, _)) = path(flags, "sa", None) else { return Outcome::Unknown };
    let duration = flags.duration.as_deref().unwrap_or("1h").parse::<jiff::SignedDuration>();
    let seconds = duration.map_or(3600, |d| d.as_secs());
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": seconds}});
    match send(m, client, Verb::Post, &format!("{list}/{account}/token"), &body) {
        Ok(answer) => printed(format!("{}\n", answer["status"]["token"].as_str().unwrap_or_default())),
        Err(outcome) => outcome,
    }
}

/// `create`, `apply` and `replace` of objects from standard input.
fn files(m: &mut dyn Machine, client: &Client, flags: &Flags, verb: &str, stdin: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(stdin);
    let parsed = serde_json::from_str::<Value>(&text).ok().or_else(|| serde_saphyr::from_str::<Value>(&text).ok());
    let Some(given) = parsed else { return failed("error: no objects passed to create") };
    let objects = given["items"].as_array().cloned().unwrap_or_else(|| vec![given]);
    let mut said = String::new();
    for object in objects {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
        let Some((list, singular)) = path(flags, &kind, object["metadata"]["namespace"].as_str()) else {
            return Outcome::Unknown;
        };
        let one = format!("{list}/{name}");
        let there = verb != "create" && client.get(m, &one).is_some();
        let (asked, at, word) = match (verb, there) {
            ("replace", _) => (Verb::Put, one, "replaced"),
            ("apply", true) => (Verb::Patch, one, "configured"),
            _ => (Verb::Post, list, "created"),
        };
        match send(m, client, asked, &at, &object) {
            Ok(_) => drop(writeln!(said, "{singular}/{name} {word}")),
            Err(Outcome::Done(output)) => {
                let stderr = output.err_text().replacen("): ", "): error when creating \"STDIN\": ", 1).into_bytes();
                return Outcome::Done(Output { status: 1, stdout: said.into_bytes(), stderr });
            }
            Err(outcome) => return outcome,
        }
    }
    printed(said)
}

fn send(m: &mut dyn Machine, client: &Client, verb: Verb, path: &str, body: &Value) -> Result<Value, Outcome> {
    match client.call(m, verb, path, body.to_string().into_bytes()).end {
        End::Answer(200..=299, body) => serde_json::from_slice(&body).map_err(|_| failed("error: unreadable answer")),
        end => Err(refusal(client, &end)),
    }
}

/// kubectl's words for what went wrong (goldens `kubectl-*-bad-*`).
fn refusal(client: &Client, end: &End) -> Outcome {
    match end {
        End::Refused => failed(&format!(
            "The connection to the server {} was refused - did you specify the right host or port?",
            client.address
        )),
        End::NotTrusted(why) => {
            failed(&format!("Unable to connect to the server: tls: failed to verify certificate: x509: {}", hint(*why)))
        }
        End::Answer(401, _) => failed("error: You must be logged in to the server (Unauthorized)"),
        End::Answer(500, body) => failed(&format!(
            "Error from server (InternalError): an error on the server ({:?}) has prevented the request from succeeding",
            String::from_utf8_lossy(body)
        )),
        End::Answer(_, body) => {
            let status: Value = serde_json::from_slice(body).unwrap_or_default();
            let (reason, message) =
                (status["reason"].as_str().unwrap_or("Unknown"), status["message"].as_str().unwrap_or_default());
            failed(&format!("Error from server ({reason}): {message}"))
        }
        _ => failed("Unable to connect to the server: net/http: TLS handshake timeout"),
    }
}

fn pretty(value: &Value) -> String {
    indented(value, b"    ")
}

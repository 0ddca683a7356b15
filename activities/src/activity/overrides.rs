//! Which arguments of an operator put other trust in the place of k0s' own.

use serde_json::Value;

/// An argument that this tool would silently be undone or broken by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// `api`, `controllerManager`, `scheduler`, `storage/etcd` or `kubelet`.
    pub component: &'static str,
    /// Its name, without dashes.
    pub argument: &'static str,
}

const API: &[&str] = &[
    "client-ca-file",
    "kubelet-certificate-authority",
    "kubelet-client-certificate",
    "kubelet-client-key",
    "proxy-client-cert-file",
    "proxy-client-key-file",
    "requestheader-client-ca-file",
    "service-account-key-file",
    "service-account-signing-key-file",
    "tls-cert-file",
    "tls-private-key-file",
];
const CONTROLLER_MANAGER: &[&str] = &[
    "client-ca-file",
    "cluster-signing-cert-file",
    "cluster-signing-key-file",
    "kubeconfig",
    "requestheader-client-ca-file",
    "root-ca-file",
    "service-account-private-key-file",
];
const SCHEDULER: &[&str] = &["client-ca-file", "kubeconfig", "requestheader-client-ca-file"];
const ETCD: &[&str] =
    &["cert-file", "key-file", "peer-cert-file", "peer-key-file", "peer-trusted-ca-file", "trusted-ca-file"];
const KUBELET: &[&str] =
    &["bootstrap-kubeconfig", "cert-dir", "client-ca-file", "kubeconfig", "tls-cert-file", "tls-private-key-file"];

/// The first override in a cluster configuration: the file of a controller or the dynamic one.
pub fn in_config(config: &Value) -> Option<Override> {
    let parts: [(&str, &'static str, &'static [&'static str]); 4] = [
        ("/spec/api", "api", API),
        ("/spec/controllerManager", "controllerManager", CONTROLLER_MANAGER),
        ("/spec/scheduler", "scheduler", SCHEDULER),
        ("/spec/storage/etcd", "storage/etcd", ETCD),
    ];
    parts.into_iter().find_map(|(pointer, component, names)| {
        let part = config.pointer(pointer)?;
        let argument = names.iter().find(|name| in_component(part, name))?;
        Some(Override { component, argument })
    })
}

/// The first override in `--kubelet-extra-args`.
pub fn in_kubelet(extra_args: &str) -> Option<Override> {
    let mut given = extra_args.split_whitespace();
    let argument = given.find_map(|arg| KUBELET.iter().find(|name| is_argument(arg, name)))?;
    Some(Override { component: "kubelet", argument })
}

fn in_component(part: &Value, name: &str) -> bool {
    let mut raw = part["rawArgs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    part["extraArgs"].get(name).is_some() || raw.any(|arg| is_argument(arg, name))
}

fn is_argument(arg: &str, name: &str) -> bool {
    let arg = arg.trim_matches(['"', '\'']).trim_start_matches('-');
    arg.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

#[cfg(test)]
mod tests {
    //! Shows that foreign trust paths are named, and that arguments that merely look alike are not.

    use super::*;

    /// Goal: an override is found in extraArgs, in rawArgs and among the kubelet's arguments.
    #[test]
    fn overrides_are_named() {
        let config = serde_json::json!({"spec": {"api": {"extraArgs": {"client-ca-file-x": "/a"}},
            "controllerManager": {"extraArgs": {"root-ca-file": "/b"}}}});
        assert_eq!(in_config(&config), Some(Override { component: "controllerManager", argument: "root-ca-file" }));
        let config = serde_json::json!({"spec": {"storage": {"etcd": {"rawArgs": ["--peer-trusted-ca-file=/c"]}}}});
        assert_eq!(in_config(&config), Some(Override { component: "storage/etcd", argument: "peer-trusted-ca-file" }));
        assert_eq!(in_config(&serde_json::json!({"spec": {"api": {"extraArgs": {"v": "2"}}}})), None);
        assert_eq!(in_kubelet("--node-ip=10.0.0.1 --cert-dir=/x").map(|o| o.argument), Some("cert-dir"));
        assert_eq!(in_kubelet("--node-ip=10.0.0.1 --cert-dir-x=/x"), None);
    }
}

//! Reads and writes kubeconfigs of the shapes that k0s and the kubelet write.

use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// What of a kubeconfig matters here: its current context's server, trust and credentials.
#[derive(Clone, Debug)]
pub struct Kubeconfig {
    /// For example `https://10.0.0.1:6443`.
    pub server: String,
    /// Trusted CAs, PEM; empty if the file names another file for them.
    pub ca: String,
    /// Name of the user: `kubelet-bootstrap` or `controller-bootstrap` tell the role of a join token.
    pub user: String,
    /// What the client shows.
    pub credentials: Credentials,
}

/// What a client shows.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Nothing.
    None,
    /// A bearer token.
    Token(Secret),
    /// A certificate and its key, PEM.
    Certificate {
        /// PEM.
        certificate: String,
        /// PEM.
        key: Secret,
    },
    /// Files on the host.
    Files {
        /// Absolute path.
        certificate: String,
        /// Absolute path.
        key: String,
    },
}

/// A kubeconfig that does not parse. Says nothing of what stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a kubeconfig")]
pub struct NotAKubeconfig;

impl Kubeconfig {
    /// Reads the current context.
    pub fn read(text: &Secret) -> Result<Self, NotAKubeconfig> {
        let text = std::str::from_utf8(text.expose()).map_err(|_| NotAKubeconfig)?;
        let file: File = serde_saphyr::from_str(text).map_err(|_| NotAKubeconfig)?;
        let context = named(file.contexts, &file.current_context)?.context;
        let cluster = named(file.clusters, &context.cluster)?.cluster;
        let user = named(file.users, &context.user)?.user;
        let ca = cluster.ca.map(|data| text_of(&data)).transpose()?.unwrap_or_default();
        Ok(Self { server: cluster.server, ca, user: context.user, credentials: user.credentials()? })
    }
}

/// The bootstrap kubeconfig inside a join token, and `kubelet-bootstrap.conf`. Workers up to 1.32 insist on these names (facts §3.1).
pub fn bootstrap(server: &str, ca: &str, user: &str, token: &Secret) -> Secret {
    let token = String::from_utf8_lossy(token.expose());
    let auth = format!("    token: {token}\n");
    write(&Shape { cluster: "k0s", context: "k0s", namespace: "", user, server, ca }, &auth)
}

/// `admin.conf`, `ccm.conf`, `scheduler.conf` and `konnectivity.conf` of a controller.
pub fn component(server: &str, ca: &str, certificate: &str, key: &Secret) -> Secret {
    let (certificate, key) = (STANDARD.encode(certificate), STANDARD.encode(key.expose()));
    let auth = format!("    client-certificate-data: {certificate}\n    client-key-data: {key}\n");
    write(&Shape { cluster: "local", context: "Default", namespace: "", user: "user", server, ca }, &auth)
}

/// `kubelet.conf`, whose credentials lie in one file beside it.
pub fn kubelet(server: &str, ca: &str, pem_file: &str) -> Secret {
    let auth = format!("    client-certificate: {pem_file}\n    client-key: {pem_file}\n");
    let (cluster, context, user) = ("default-cluster", "default-context", "default-auth");
    write(&Shape { cluster, context, namespace: "    namespace: default\n", user, server, ca }, &auth)
}

struct Shape<'a> {
    cluster: &'a str,
    context: &'a str,
    namespace: &'a str,
    user: &'a str,
    server: &'a str,
    ca: &'a str,
}

fn write(shape: &Shape<'_>, auth: &str) -> Secret {
    let Shape { cluster, context, namespace, user, server, ca } = shape;
    let ca = STANDARD.encode(ca);
    Secret::new(
        format!(
            "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {ca}\n    server: {server}\n  name: {cluster}\n\
             contexts:\n- context:\n    cluster: {cluster}\n{namespace}    user: {user}\n  name: {context}\n\
             current-context: {context}\nkind: Config\nusers:\n- name: {user}\n  user:\n{auth}"
        )
        .into_bytes(),
    )
}

fn named<T: Named>(all: Vec<T>, name: &str) -> Result<T, NotAKubeconfig> {
    all.into_iter().find(|one| one.name() == name).ok_or(NotAKubeconfig)
}

fn bytes_of(data: &str) -> Result<Vec<u8>, NotAKubeconfig> {
    STANDARD.decode(data.trim()).map_err(|_| NotAKubeconfig)
}

fn text_of(data: &str) -> Result<String, NotAKubeconfig> {
    String::from_utf8(bytes_of(data)?).map_err(|_| NotAKubeconfig)
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "current-context")]
    current_context: String,
    clusters: Vec<NamedCluster>,
    contexts: Vec<NamedContext>,
    users: Vec<NamedUser>,
}

trait Named {
    fn name(&self) -> &str;
}

macro_rules! named {
    ($name:ident, $field:ident: $inner:ident) => {
        #[derive(Deserialize)]
        struct $name {
            name: String,
            $field: $inner,
        }
        impl Named for $name {
            fn name(&self) -> &str {
                &self.name
            }
        }
    };
}
named!(NamedCluster, cluster: Cluster);
named!(NamedContext, context: Context);
named!(NamedUser, user: User);

#[derive(Deserialize)]
struct Cluster {
    server: String,
    #[serde(rename = "certificate-authority-data")]
    ca: Option<String>,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
struct User {
    token: Option<String>,
    #[serde(rename = "client-certificate-data")]
    certificate_data: Option<String>,
    #[serde(rename = "client-key-data")]
    key_data: Option<String>,
    #[serde(rename = "client-certificate")]
    certificate: Option<String>,
    #[serde(rename = "client-key")]
    key: Option<String>,
}

impl User {
    fn credentials(self) -> Result<Credentials, NotAKubeconfig> {
        Ok(match self {
            Self { token: Some(token), .. } => Credentials::Token(Secret::new(token.into_bytes())),
            Self { certificate_data: Some(certificate), key_data: Some(key), .. } => {
                Credentials::Certificate { certificate: text_of(&certificate)?, key: Secret::new(bytes_of(&key)?) }
            }
            Self { certificate: Some(certificate), key: Some(key), .. } => Credentials::Files { certificate, key },
            _ => Credentials::None,
        })
    }
}

#[cfg(test)]
mod tests {
    //! Shows that what a real k0s wrote is read, and written again byte for byte.

    use super::*;

    const KUBELET: &str = include_str!("../../tests/goldens/v1.36.3+k0s.2/kubelet-conf-worker.yaml");
    const ADMIN: &str = include_str!("../../tests/goldens/v1.36.3+k0s.2/kubeconfig-admin.yaml");
    const BOOTSTRAP: &str =
        include_str!("../../tests/goldens/v1.36.3+k0s.2/token-create-worker-on-controller.stdout.txt");

    fn read(text: &str) -> Kubeconfig {
        Kubeconfig::read(&Secret::new(text.as_bytes().to_vec())).unwrap()
    }

    /// Goal: the kubelet's own kubeconfig survives reading and writing without a changed byte.
    #[test]
    fn the_kubelets_is_written_as_it_was() {
        let config = read(KUBELET);
        let Credentials::Files { certificate, .. } = &config.credentials else { panic!("files") };
        assert_eq!(kubelet(&config.server, &config.ca, certificate).expose(), KUBELET.as_bytes());
        assert_eq!(crate::pki::read_one(config.ca.as_bytes()).unwrap().subject_cn, "kubernetes-ca");
    }

    /// Goal: the same for a component's, whose key the golden leaves out.
    #[test]
    fn a_components_is_written_as_it_was() {
        let text = ADMIN.replace("<redacted>", "a2V5");
        let config = read(&text);
        let Credentials::Certificate { certificate, key } = &config.credentials else { panic!("a certificate") };
        assert_eq!(component(&config.server, &config.ca, certificate, key).expose(), text.as_bytes());
        let subject = crate::pki::read_one(certificate.as_bytes()).unwrap();
        assert_eq!(
            (subject.subject_cn.as_str(), subject.organizations[0].as_str()),
            ("kubernetes-admin", "system:masters")
        );
    }

    /// Goal: the same for the one in a join token.
    #[test]
    fn the_one_in_a_join_token_is_written_as_it_was() {
        let config = read(BOOTSTRAP);
        let Credentials::Token(token) = &config.credentials else { panic!("a token") };
        assert_eq!(bootstrap(&config.server, &config.ca, &config.user, token).expose(), BOOTSTRAP.as_bytes());
        assert_eq!(config.user, "kubelet-bootstrap");
    }

    /// Goal: what is no kubeconfig is said to be none, for example the line that k0sctl leaves in a token file.
    #[test]
    fn anything_else_is_refused() {
        for text in ["", "# overwritten by k0sctl after join\n", "kind: Config\ncurrent-context: a\n"] {
            assert!(Kubeconfig::read(&Secret::new(text.as_bytes().to_vec())).is_err(), "{text}");
        }
    }
}

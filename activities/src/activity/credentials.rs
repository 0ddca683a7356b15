//! Credentials as clients show them: where they lie, how they are shown, and whether a controller accepts them.

use super::common::{self, Step};
use super::files;
use crate::facts::K0sHost;
use crate::fleet::Root;
use crate::host::{ClientIdentity, TlsEnd, TlsRequest};
use crate::kube::SecretHead;
use crate::kubeconfig::{Credentials, Kubeconfig};
use crate::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};

/// What kind of credential it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The administrator's client certificate.
    AdminCertificate,
    /// A kubelet's client certificate.
    KubeletCertificate,
    /// A service account's token, minted on this controller.
    ServiceAccountToken,
    /// A bootstrap token.
    JoinToken,
    /// The API server's certificate for etcd.
    EtcdClient,
    /// The certificate of etcd's peers.
    EtcdPeer,
    /// The front proxy's certificate, with X-Remote-User.
    FrontProxy,
}

/// What a controller made of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Whoever shows it is known: also where it may do nothing.
    Accepted,
    /// 401, or an alert of TLS.
    Refused,
    /// No clear answer.
    Unclear,
    /// Not asked, or there was nothing to compare with.
    NotShown,
}

/// A credential in memory.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A client certificate and its key.
    Certificate(ClientIdentity),
    /// A bearer token.
    Bearer(Secret),
}

/// Where credentials are taken from and shown to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The controller.
    pub controller: K0sHost,
    /// Address of its etcd's peer port, if k0s runs etcd.
    pub etcd_peer: Option<String>,
    /// A host with a kubelet.
    pub node: Option<K0sHost>,
    /// Ids of join tokens that the operator keeps, so that they prove nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep_token: Vec<String>,
}

impl Kind {
    /// The kinds that rest on these roots.
    pub fn of(roots: &[Root]) -> Vec<Self> {
        let kinds = |root: &Root| match root {
            Root::KubernetesCa => vec![Self::AdminCertificate, Self::KubeletCertificate, Self::JoinToken],
            Root::ServiceAccount => vec![Self::ServiceAccountToken],
            Root::EtcdCa => vec![Self::EtcdClient, Self::EtcdPeer],
            Root::FrontProxyCa => vec![Self::FrontProxy],
        };
        roots.iter().flat_map(kinds).collect()
    }
}

impl Place {
    /// The credential of that kind as it is now; `None` if there is none here.
    pub async fn find(&self, cx: &Step, kind: Kind) -> Result<Option<Credential>, Failure> {
        let pki = files::pki_dir(&self.controller);
        match kind {
            Kind::AdminCertificate => self.admin(cx).await,
            Kind::KubeletCertificate => self.kubelet(cx).await,
            Kind::ServiceAccountToken => mint(cx, &self.controller).await,
            Kind::JoinToken => self.join_token(cx).await,
            Kind::EtcdClient => self.pair(cx, &format!("{pki}/apiserver-etcd-client")).await,
            Kind::EtcdPeer => self.pair(cx, &format!("{pki}/etcd/peer")).await,
            Kind::FrontProxy => self.pair(cx, &format!("{pki}/front-proxy-client")).await,
        }
    }

    /// Shows a credential to the controller, from the controller.
    pub async fn show(&self, cx: &Step, kind: Kind, credential: &Credential) -> Result<Verdict, Failure> {
        let address = match (kind, &self.etcd_peer) {
            (Kind::EtcdClient, _) => "127.0.0.1:2379".to_owned(),
            (Kind::EtcdPeer, Some(peer)) => format!("{peer}:2380"),
            (Kind::EtcdPeer, None) => return Ok(Verdict::NotShown),
            _ => format!("{}:{}", self.controller.address, self.controller.api_port),
        };
        let path = if matches!(kind, Kind::EtcdClient | Kind::EtcdPeer) { "/version" } else { "/api" };
        let mut request = TlsRequest { address, path: path.to_owned(), ..TlsRequest::default() };
        if kind == Kind::FrontProxy {
            let headers = [("X-Remote-User", "kubernetes-admin"), ("X-Remote-Group", "system:masters")];
            request.headers = headers.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec();
        }
        ask(cx, &self.controller, request, credential).await
    }

    async fn admin(&self, cx: &Step) -> Result<Option<Credential>, Failure> {
        let path = format!("{}/admin.conf", files::pki_dir(&self.controller));
        let Some(text) = common::read(cx, &self.controller.name, &path).await? else { return Ok(None) };
        Ok(match Kubeconfig::read(&text).map(|conf| conf.credentials) {
            Ok(Credentials::Certificate { certificate, key }) => {
                Some(Credential::Certificate(ClientIdentity { certificate, key }))
            }
            _ => None,
        })
    }

    async fn kubelet(&self, cx: &Step) -> Result<Option<Credential>, Failure> {
        let Some(node) = &self.node else { return Ok(None) };
        let path = format!("{}/pki/kubelet-client-current.pem", node.kubelet_root);
        let Some(both) = common::read(cx, &node.name, &path).await? else { return Ok(None) };
        let certificate = certificates_only(&String::from_utf8_lossy(both.expose()));
        Ok(Some(Credential::Certificate(ClientIdentity { certificate, key: both })))
    }

    /// The first that lets nodes in, is not kept, and has not run out. Those that let controllers in are no credentials of the API server.
    async fn join_token(&self, cx: &Step) -> Result<Option<Credential>, Failure> {
        let path = "/api/v1/secrets?fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken";
        let Some(list) = common::get_json(cx, &self.controller, path).await? else { return Ok(None) };
        let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let decode = |text: &serde_json::Value| STANDARD.decode(text.as_str()?).ok();
        let now = i64::try_from(cx.clock.now().0).unwrap_or(i64::MAX);
        let bearer = items.iter().find_map(|secret| {
            let (head, data) = (SecretHead::read(secret)?, &secret["data"]);
            let kept = self.keep_token.iter().any(|id| head.token_id() == Some(id));
            data["usage-bootstrap-authentication"].as_str().filter(|_| !kept && head.lives(now))?;
            Some([decode(&data["token-id"])?, b".".to_vec(), decode(&data["token-secret"])?].concat())
        });
        Ok(bearer.map(|bytes| Credential::Bearer(Secret::new(bytes))))
    }

    async fn pair(&self, cx: &Step, stem: &str) -> Result<Option<Credential>, Failure> {
        let certificate = common::read_text(cx, &self.controller.name, &format!("{stem}.crt")).await?;
        let key = common::read(cx, &self.controller.name, &format!("{stem}.key")).await?;
        Ok(certificate.zip(key).map(|(certificate, key)| Credential::Certificate(ClientIdentity { certificate, key })))
    }
}

/// A certificate may be printed; the key that lies in the same file may not.
fn certificates_only(pem: &str) -> String {
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    let blocks = pem.split(begin).skip(1).filter_map(|rest| rest.split_once(end));
    blocks.flat_map(|(body, _)| [begin, body, end, "\n"]).collect()
}

/// A token of the service account `default`, signed by this controller; nothing is stored by it.
pub async fn mint(cx: &Step, controller: &K0sHost) -> Result<Option<Credential>, Failure> {
    let args = ["kubectl", "-n", "kube-system", "create", "token", "default", "--duration=24h"];
    let output = common::exec(cx, &controller.name, common::k0s(controller, args)).await?;
    Ok(output.ok().then(|| Credential::Bearer(Secret::new(output.stdout.trim_ascii().to_vec()))))
}

/// Shows a credential somewhere, from a host.
pub async fn ask(cx: &Step, from: &K0sHost, request: TlsRequest, shown: &Credential) -> Result<Verdict, Failure> {
    let request = match shown.clone() {
        Credential::Certificate(identity) => TlsRequest { identity: Some(identity), ..request },
        Credential::Bearer(bearer) => TlsRequest { bearer: Some(bearer), ..request },
    };
    let seen = common::host(cx, &from.name)?.tls(request).await.map_err(common::of(&from.name))?;
    Ok(match seen.end {
        TlsEnd::Answer(200 | 403, _) => Verdict::Accepted,
        TlsEnd::Answer(401, _) | TlsEnd::NotAccepted => Verdict::Refused,
        _ => Verdict::Unclear,
    })
}

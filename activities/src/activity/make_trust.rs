//! Makes the new trust of a cluster, or takes what the operator brought, and seals it.

use super::common::Step;
use super::made::Made;
use crate::fleet::{Fleet, KeyKind, Root};
use crate::pki::{self, Issued, PkiError, Validity};
use crate::trust::{NewTrust, OwnCa, Pair};
use k0rotate_engine::activity::{Activity, RetryPolicy};
use k0rotate_engine::failure::Failure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// In place when every key of the new trust is sealed, can be opened again and belongs to its certificate. Touches no host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeTrust {
    /// One pair for all controllers; Kubernetes CA, etcd CA, service-account key.
    pub shared: Vec<Wanted>,
    /// One front-proxy CA for each of these controllers: k0s never copies it (facts §3.3).
    pub front_proxy: Option<(Wanted, Vec<String>)>,
    #[serde(skip)]
    made: Made<NewTrust>,
}

/// A root as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Which.
    pub root: Root,
    /// Common name; that of the old one is kept, for k0s tells its own leafs by the issuer's name (facts §1.1).
    pub common_name: String,
    /// How long it will be valid, seconds.
    pub seconds: i64,
    /// Brought by the operator, who sealed it at the start.
    pub given: Option<OwnCa>,
    /// SHA-256 of the public keys in use now: what is brought must be none of them, or everything old would be accepted on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<String>,
}

impl MakeTrust {
    /// A use of it.
    pub fn new(shared: Vec<Wanted>, front_proxy: Option<(Wanted, Vec<String>)>) -> Self {
        Self { shared, front_proxy, made: Made::default() }
    }
}

impl Activity for MakeTrust {
    const NAME: &'static str = "make-trust";
    type Env = Fleet;
    type Before = ();
    type Output = NewTrust;

    fn target(&self) -> String {
        "cluster".to_owned()
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { deadline: Duration::from_secs(120), ..RetryPolicy::default() }
    }

    /// Reads every key back, for nothing may be stopped for a key that is lost.
    async fn probe(&self, cx: &Step, (): &()) -> Result<Option<NewTrust>, Failure> {
        let Some(trust) = self.made.get() else { return Ok(None) };
        for pair in trust.shared.values().chain(trust.front_proxy.values()) {
            let key = cx.env.secrets.get(&pair.key).await?;
            if pki::sha256_hex(key.expose()) != pair.key_sha256 {
                return Err(Failure::refused("sealed-key-differs"));
            }
        }
        Ok(Some(trust))
    }

    /// The keys stay sealed where nobody asks for them; they never reached a host.
    async fn undo(&self, _cx: &Step, (): &()) -> Result<(), Failure> {
        Ok(())
    }

    async fn undone(&self, _cx: &Step, (): &()) -> Result<bool, Failure> {
        Ok(true)
    }

    async fn run(&self, cx: &Step, (): &()) -> Result<(), Failure> {
        let mut trust = NewTrust::default();
        for wanted in &self.shared {
            trust.shared.insert(wanted.root, pair(cx, wanted).await?);
        }
        if let Some((wanted, hosts)) = &self.front_proxy {
            for host in hosts {
                trust.front_proxy.insert(host.clone(), pair(cx, wanted).await?);
            }
        }
        self.made.set(trust);
        Ok(())
    }
}

async fn pair(cx: &Step, wanted: &Wanted) -> Result<Pair, Failure> {
    let now = i64::try_from(cx.clock.now().0 / 1000).unwrap_or(i64::MAX);
    let issued = match &wanted.given {
        Some(given) => given_ca(cx, wanted, given, now).await?,
        None => make(cx, wanted, now).await?,
    };
    let fingerprint = match wanted.root {
        Root::ServiceAccount => pki::public_key_fingerprints(issued.certificate.as_bytes())?.remove(0),
        _ => pki::read_one(issued.certificate.as_bytes())?.fingerprint,
    };
    let key_sha256 = pki::sha256_hex(issued.key.expose());
    let key = cx.env.secrets.put(&issued.key).await?;
    Ok(Pair { key, public: issued.certificate, fingerprint, key_sha256 })
}

async fn given_ca(cx: &Step, wanted: &Wanted, given: &OwnCa, now: i64) -> Result<Issued, Failure> {
    let reference = given.key.as_ref().ok_or_else(|| Failure::refused("secret-not-found"))?;
    let key = cx.env.secrets.get(reference).await?;
    let ca = pki::check_ca(given.certificate.as_bytes(), &key, now)
        .map_err(|r| Failure::refused("ca-refused").with("reason", r))?;
    if wanted.retired.contains(&ca.spki_sha256) {
        return Err(Failure::refused("ca-not-new"));
    }
    Ok(Issued { certificate: given.certificate.clone(), key })
}

/// An RSA key takes a tenth of a second of a core: not on the thread that serves everybody.
async fn make(cx: &Step, wanted: &Wanted, now: i64) -> Result<Issued, Failure> {
    let _busy = cx.clock.busy();
    let (root, name, kind) = (wanted.root, wanted.common_name.clone(), cx.env.keys);
    let validity = Validity::from_now(now, wanted.seconds);
    let made = tokio::task::spawn_blocking(move || make_blocking(root, &name, kind, validity)).await;
    made.map_err(|_| Failure::new("key-not-made"))?.map_err(Failure::from)
}

fn make_blocking(root: Root, name: &str, kind: KeyKind, validity: Validity) -> Result<Issued, PkiError> {
    match root {
        Root::ServiceAccount => pki::make_service_account(kind),
        _ => pki::make_ca(name, kind, validity),
    }
}

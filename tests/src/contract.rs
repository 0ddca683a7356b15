//! What k0s does, as far as activities and probes rely on it: each fact once, asked of whichever k0s stands there.

mod running;
mod stopped;

use k0rotate_activities::host::{Change, Command, Fence, Host, Mark, Output};
use k0rotate_activities::pki::{self, CertInfo};
use k0rotate_engine::clock::Clock;
use std::sync::Arc;
use std::time::Duration;

/// How long k0s may take to come up, or to be seen not to.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Where k0s keeps its files.
const DATA: &str = "/var/lib/k0s";
/// The unit of a controller.
const UNIT: &str = "k0scontroller";

/// A controller and a worker of one cluster, healthy, each with its own mark's fence.
pub struct Ground {
    /// A controller without workloads; it is stopped and started.
    pub controller: Arc<dyn Host>,
    /// A worker.
    pub worker: Arc<dyn Host>,
    /// Time as the machines see it pass.
    pub clock: Arc<dyn Clock>,
}

/// A fact by its name in docs/k0s-contract.md, and what speaks against it.
pub type Told = (&'static str, Result<(), String>);

/// Asks for every fact. The cluster is left with a Kubernetes CA of its controller's own making, and is of no further use.
pub async fn all(ground: &Ground) -> Vec<Told> {
    let mut told = running::all(ground).await;
    ground.hold().await;
    told.extend(stopped::all(ground).await);
    told
}

/// As a fact is told: nothing, or why not.
fn wants(holds: bool, why: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why.into()) }
}

/// It ends so, and says this.
fn ends(output: &Output, status: i32, says: &str) -> Result<(), String> {
    let text = format!("{}{}", output.text(), output.err_text());
    wants(output.status == status && text.contains(says), format!("status {}, wanted {status}: {says}", output.status))
}

impl Ground {
    async fn ask(host: &Arc<dyn Host>, program: &str, args: &[&str]) -> Result<Output, String> {
        host.exec(Command::new(program, args.iter().copied())).await.map_err(|e| e.to_string())
    }

    async fn k0s(&self, args: &[&str]) -> Result<Output, String> {
        Self::ask(&self.controller, "/usr/local/bin/k0s", args).await
    }

    async fn k0s_of_worker(&self, args: &[&str]) -> Result<Output, String> {
        Self::ask(&self.worker, "/usr/local/bin/k0s", args).await
    }

    async fn read(&self, path: &str) -> Result<String, String> {
        let bytes = self.controller.read(&format!("{DATA}/{path}")).await.map_err(|e| e.to_string())?;
        let bytes = bytes.ok_or_else(|| format!("{path} is not there"))?;
        String::from_utf8(bytes.expose().to_vec()).map_err(|e| e.to_string())
    }

    async fn certificate(&self, path: &str) -> Result<CertInfo, String> {
        pki::read_one(self.read(path).await?.as_bytes()).map_err(|e| e.to_string())
    }

    /// A property of the controller's unit.
    async fn unit(&self, property: &str) -> Result<String, String> {
        let shown = Self::ask(&self.controller, "systemctl", &["show", "-p", property, UNIT]).await?.text();
        Ok(shown.trim().split_once('=').map(|(_, value)| value.to_owned()).unwrap_or_default())
    }

    /// Takes the controller for changes.
    async fn hold(&self) {
        let held = self.controller.mark_replace(None, Some(&mark())).await;
        assert!(held.is_ok(), "the controller has no mark: {held:?}");
    }

    async fn change(&self, changes: Vec<Change>) -> Result<(), String> {
        let output = self.controller.change(&fence(), changes).await.map_err(|e| e.to_string())?;
        wants(output.ok(), format!("a change ends with {}", output.status))
    }

    async fn systemctl(&self, verb: &str) -> Result<(), String> {
        self.change(vec![Change::Run(Command::new("systemctl", [verb, UNIT]))]).await
    }

    /// Looks until it is so, or time is over.
    async fn until(&self, what: &str, mut is: impl AsyncFnMut() -> Result<bool, String>) -> Result<(), String> {
        let begun = self.clock.monotonic();
        while !is().await? {
            wants(self.clock.monotonic().saturating_sub(begun) < PATIENCE, format!("{what}: not in {PATIENCE:?}"))?;
            self.clock.sleep(LOOK).await;
        }
        Ok(())
    }

    async fn ready(&self) -> Result<(), String> {
        let ready = async || Ok(self.k0s(&["kubectl", "get", "--raw", "/readyz"]).await?.text() == "ok");
        self.until("the API is ready", ready).await
    }
}

fn mark() -> Mark {
    Mark {
        execution: "contract".into(),
        incarnation: "i".into(),
        fence: 1,
        direction: "forward".into(),
        phase: "contract".into(),
        by: "test@here".into(),
    }
}

fn fence() -> Fence {
    Fence { execution: "contract".into(), incarnation: "i".into(), number: 2, attempt: "contract".into() }
}

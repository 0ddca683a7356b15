//! What befalls the machines of a lab while the tool works on them, and how it is taken back.

use super::Lab;
use std::time::Duration;

/// One kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The power fails and comes back at once: no process ends in order.
    PowerCut,
    /// It reboots by itself.
    Reboot,
    /// Its network cable is out for so long.
    Link(Duration),
    /// sshd is started anew, with all that hangs on it.
    Sshd,
}

impl Trouble {
    /// Makes it on machine `n`; it is over when this returns.
    pub async fn befall(self, lab: &Lab, n: usize) {
        let n = n.to_string();
        match self {
            Self::PowerCut => {
                lab.ask(&["power-cut", &n]);
            }
            Self::Reboot => {
                lab.ask(&["restart", &n]);
            }
            Self::Link(away) => {
                lab.ask(&["link", &n, "down"]);
                tokio::time::sleep(away).await;
                lab.ask(&["link", &n, "up"]);
            }
            // Whoever is connected is thrown out as well: a restart alone leaves sessions be.
            Self::Sshd => {
                lab.ask(&["ssh", &n, "systemctl restart ssh; pkill -u ops -x sshd || true"]);
            }
        }
    }
}

//! Facts about a k0s that is stopped, held, started again, and started on trust that is not whole.

use super::{DATA, Ground, Told, UNIT, ends, wants};
use k0rotate_activities::host::{Change, Command, OwnerIds, Process};
use k0rotate_activities::layout;
use k0rotate_activities::pki;
use k0rotate_activities::secret::Secret;

pub(super) async fn all(g: &Ground) -> Vec<Told> {
    vec![
        ("stop-ends-all", stop_ends_all(g).await),
        ("stopped-it-says-so", stopped_it_says_so(g).await),
        ("held-it-does-not-start", held_it_does_not_start(g).await),
        ("leafs-are-made-anew", leafs_are_made_anew(g).await),
        ("leafs-are-renewed-at-start", leafs_are_renewed_at_start(g).await),
        ("key-of-another-certificate", key_of_another_certificate(g).await),
        ("certificate-without-its-key", certificate_without_its_key(g).await),
    ]
}

async fn ended(g: &Ground) -> Result<bool, String> {
    Ok(["inactive", "failed"].contains(&g.unit("ActiveState").await?.as_str()))
}

async fn stop(g: &Ground) -> Result<(), String> {
    g.systemctl("stop").await?;
    g.until("the unit has ended", async || ended(g).await).await
}

async fn stop_ends_all(g: &Ground) -> Result<(), String> {
    stop(g).await?;
    let alone = async || {
        let processes = g.controller.processes().await.map_err(|e| e.to_string())?;
        Ok(processes.iter().all(Process::is_shim))
    };
    g.until("all that it started has ended", alone).await
}

async fn stopped_it_says_so(g: &Ground) -> Result<(), String> {
    ends(&g.k0s(&["status"]).await?, 1, "Error: status: can't get \"status\" via \"/run/k0s/status.sock\"")?;
    let made = g.k0s(&["token", "create", "--role", "worker", "--expiry", "1h"]).await?;
    ends(&made, 1, "Error: failed to get k0s status")?;
    let refused = "The connection to the server localhost:6443 was refused";
    ends(&g.k0s(&["kubectl", "get", "--raw", "/readyz"]).await?, 1, refused)?;
    ends(&g.k0s(&["backup", "--save-path", "-"]).await?, 1, "Error: unable to detect cluster status")
}

async fn held_it_does_not_start(g: &Ground) -> Result<(), String> {
    let write = |path: String, text: &str| {
        let bytes = Secret::new(text.as_bytes().to_vec());
        Change::Write { path, bytes, mode: 0o644, owner: OwnerIds { uid: 0, gid: 0 } }
    };
    let reload = || Change::Run(Command::new("systemctl", ["daemon-reload"]));
    let drop_in = layout::drop_in(UNIT);
    let condition = format!("[Unit]\nConditionPathExists=!{}\n", layout::HELD);
    g.change(vec![write(drop_in.clone(), &condition), reload(), write(layout::HELD.to_owned(), "held\n")]).await?;
    g.systemctl("start").await?;
    let stays = ended(g).await?;
    let removed = [layout::HELD.to_owned(), drop_in].map(|path| Change::Remove { path });
    g.change([removed.to_vec(), vec![reload()]].concat()).await?;
    wants(stays, "held, its unit was started")
}

/// Which certificate it is, and whether the CA signed it.
async fn leaf(g: &Ground, path: &str) -> Result<(String, bool), String> {
    let leaf = g.certificate(path).await?;
    let ca = g.certificate("pki/ca.crt").await?;
    Ok((leaf.fingerprint.clone(), pki::signed_by(&leaf, &ca)))
}

fn remove(paths: &[&str]) -> Vec<Change> {
    paths.iter().map(|path| Change::Remove { path: format!("{DATA}/{path}") }).collect()
}

async fn leafs_are_made_anew(g: &Ground) -> Result<(), String> {
    let root = g.read("pki/ca.crt").await?;
    g.change(remove(&["pki/admin.crt", "pki/admin.key", "pki/server.crt", "pki/server.key"])).await?;
    g.systemctl("start").await?;
    g.ready().await?;
    for path in ["pki/admin.crt", "pki/server.crt"] {
        wants(leaf(g, path).await?.1, format!("{path} is not of the CA"))?;
    }
    wants(g.read("pki/ca.crt").await? == root, "the CA is another one")
}

async fn leafs_are_renewed_at_start(g: &Ground) -> Result<(), String> {
    let before = (leaf(g, "pki/server.crt").await?.0, leaf(g, "pki/admin.crt").await?.0);
    stop(g).await?;
    g.systemctl("start").await?;
    g.ready().await?;
    let after = (leaf(g, "pki/server.crt").await?.0, leaf(g, "pki/admin.crt").await?.0);
    wants(before.0 != after.0 && before.1 != after.1, "server.crt or admin.crt is the one that was there")
}

async fn key_of_another_certificate(g: &Ground) -> Result<(), String> {
    stop(g).await?;
    let [own, other, aside] = ["ca.key", "front-proxy-ca.key", "ca.key.aside"].map(|name| format!("{DATA}/pki/{name}"));
    let keep = Change::Copy { from: own.clone(), to: aside.clone() };
    g.change(vec![keep, Change::Remove { path: own.clone() }, Change::Copy { from: other, to: own.clone() }]).await?;
    g.systemctl("start").await?;
    let failed = g.until("its start fails", async || Ok(g.unit("Result").await? == "exit-code")).await;
    stop(g).await?;
    g.change(vec![Change::Remove { path: own.clone() }, Change::Rename { from: aside, to: own }]).await?;
    failed
}

async fn certificate_without_its_key(g: &Ground) -> Result<(), String> {
    let old = g.certificate("pki/ca.crt").await?;
    g.change(remove(&["pki/ca.key"])).await?;
    g.systemctl("start").await?;
    g.until("a key lies there", async || Ok(g.read("pki/ca.key").await.is_ok())).await?;
    let new = g.certificate("pki/ca.crt").await?;
    wants(new.spki_sha256 != old.spki_sha256 && new.subject_cn == old.subject_cn, "it is no new CA")
}

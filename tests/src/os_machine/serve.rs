//! Ports of real processes: TLS with what the model's program loaded, requests answered by the model.

use super::tls;
use super::{OsMachine, http};
use k0rotate_activities::pki::{CertInfo, Purpose};
use k0rotate_activities::rehearsal::k0s::answer::answer;
use k0rotate_activities::rehearsal::k0s::apiserver::authenticate;
use k0rotate_activities::rehearsal::machine::{Call, Listener, Machine, Service};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a client may be silent in a handshake or a request.
const SILENCE: Duration = Duration::from_secs(10);
/// How soon the end of a process is noticed on a tunnel.
const LOOK: Duration = Duration::from_millis(200);

/// Ports that are served, by number: whose they are, and whether they are closed.
#[derive(Default)]
pub struct Ports(Mutex<BTreeMap<u16, (u32, Arc<AtomicBool>)>>);

impl Ports {
    /// Closes all ports of a process.
    pub fn close_of(&self, pid: u32) {
        let mut ports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ports.retain(|port, (owner, closed)| {
            if *owner == pid {
                closed.store(true, Ordering::SeqCst);
                // Wakes the one who waits for a connection.
                let _ = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], *port)));
            }
            *owner != pid
        });
    }
}

/// Agents that are connected to the konnectivity-server of this process, by node.
#[derive(Default)]
pub struct Tunnels(Mutex<BTreeMap<String, usize>>);

impl Tunnels {
    /// Whether an agent is connected.
    pub fn any(&self) -> bool {
        !self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn enter(&self, node: &str) -> bool {
        let mut tunnels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = tunnels.entry(node.to_owned()).or_default();
        *count += 1;
        *count == 1
    }

    fn leave(&self, node: &str) {
        let mut tunnels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = tunnels.get(node).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            tunnels.remove(node);
        } else {
            tunnels.insert(node.to_owned(), left);
        }
    }
}

/// Begins to serve; the port is free again when the process has ended.
pub fn listen(machine: &OsMachine, port: u16, listener: Listener) {
    let host = machine.host.clone();
    match &listener.service {
        // A real etcd serves its ports itself.
        Service::Etcd => return,
        Service::Api(loaded) => *host.api.lock().unwrap_or_else(PoisonError::into_inner) = Some(loaded.clone()),
        _ => {}
    }
    let Some(config) = tls::server(&host.keys, &listener.chain, listener.client_ca.clone()) else {
        eprintln!("standin: no key for the certificate of port {port}");
        return;
    };
    let tcp = match TcpListener::bind(("0.0.0.0", port)) {
        Ok(tcp) => tcp,
        Err(error) => {
            eprintln!("standin: port {port}: {error}");
            return;
        }
    };
    let closed = Arc::new(AtomicBool::new(false));
    host.ports.0.lock().unwrap_or_else(PoisonError::into_inner).insert(port, (listener.pid, closed.clone()));
    let machine = machine.of(listener.pid);
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            if closed.load(Ordering::SeqCst) {
                break;
            }
            let Ok(stream) = stream else { continue };
            let (config, service, closed) = (config.clone(), listener.service.clone(), closed.clone());
            let mut machine = machine.of(listener.pid);
            std::thread::spawn(move || {
                let _ = serve(stream, config, &service, &mut machine, &closed);
            });
        }
    });
}

type Tls = StreamOwned<ServerConnection, TcpStream>;

fn serve(
    tcp: TcpStream,
    config: Arc<ServerConfig>,
    service: &Service,
    machine: &mut OsMachine,
    closed: &AtomicBool,
) -> io::Result<()> {
    tcp.set_read_timeout(Some(SILENCE))?;
    tcp.set_write_timeout(Some(SILENCE))?;
    tcp.set_nodelay(true)?;
    let mut stream = Tls::new(ServerConnection::new(config).map_err(io::Error::other)?, tcp);
    let shaken = stream.conn.complete_io(&mut stream.sock);
    if let Err(error) = shaken {
        // What rustls objects to is on its way in an alert.
        let _ = stream.conn.write_tls(&mut stream.sock);
        return Err(error);
    }
    match service {
        Service::Handshake | Service::Etcd => drop(stream.read(&mut [0])),
        Service::Konnectivity(_) => tunnel(stream, machine, closed)?,
        Service::Api(_) | Service::Kubelet(_) => request(&mut stream, service, machine)?,
    }
    Ok(())
}

fn request(stream: &mut Tls, service: &Service, machine: &mut OsMachine) -> io::Result<()> {
    let mut call = http::read_request(stream)?;
    let shown = stream.conn.peer_certificates().map(tls::infos).filter(|chain| !chain.is_empty());
    call.shows = shown.map(Into::into);
    let (status, body) = match service {
        Service::Api(loaded) => answer(loaded, machine, &call),
        Service::Kubelet(client_ca) => {
            let shown: &[CertInfo] = call.shows.as_deref().unwrap_or_default();
            match machine.verify(shown, client_ca, Purpose::Client) {
                Ok(()) => (200, b"ok".to_vec()),
                Err(_) => (401, b"Unauthorized".to_vec()),
            }
        }
        _ => (404, b"404 page not found\n".to_vec()),
    };
    http::reply(stream, status, &body)?;
    stream.conn.send_close_notify();
    stream.conn.complete_io(&mut stream.sock).map(drop)
}

/// An agent says its node and its token, and stays; `new` if it is the first of its node here.
fn tunnel(stream: Tls, machine: &mut OsMachine, closed: &AtomicBool) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let node = line.trim().to_owned();
    line.clear();
    stream.read_line(&mut line)?;
    let call = Call { bearer: Some(line.trim().to_owned()), ..Call::default() };
    let loaded = machine.host.api.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if loaded.is_none_or(|loaded| authenticate(&loaded, machine, &call).is_none()) {
        return Ok(());
    }
    let mut stream = stream.into_inner();
    let new = machine.host.tunnels.enter(&node);
    let ended = (|| {
        stream.write_all(if new { b"new\n" } else { b"known\n" })?;
        stream.flush()?;
        stream.sock.set_read_timeout(Some(LOOK))?;
        while new && !closed.load(Ordering::SeqCst) {
            match stream.read(&mut [0]) {
                Ok(0) => break,
                Err(e) if !matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => return Err(e),
                _ => {}
            }
        }
        Ok(())
    })();
    machine.host.tunnels.leave(&node);
    ended
}

//! A TCP load balancer before the controllers, as every real fleet has one.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// The API, k0s' join API, konnectivity.
const PORTS: [u16; 3] = [6443, 9443, 8132];
/// After that a controller is passed over.
const CONNECT: Duration = Duration::from_millis(500);

/// Serves for ever.
pub fn balance(own: &str, controllers: &[String]) -> io::Result<()> {
    let serve = |port: u16| {
        let listener = TcpListener::bind((own, port))?;
        let controllers = controllers.to_vec();
        Ok(thread::spawn(move || {
            let turn = Arc::new(AtomicUsize::new(0));
            for stream in listener.incoming().flatten() {
                let (controllers, turn) = (controllers.clone(), turn.clone());
                thread::spawn(move || {
                    if let Some(server) = choose(&controllers, port, &turn) {
                        join(&stream, &server);
                    }
                });
            }
        }))
    };
    let threads = PORTS.map(serve).into_iter().collect::<io::Result<Vec<_>>>()?;
    for thread in threads {
        let _ = thread.join();
    }
    Ok(())
}

/// The next one that accepts a connection.
fn choose(controllers: &[String], port: u16, turn: &AtomicUsize) -> Option<TcpStream> {
    let first = turn.fetch_add(1, Ordering::Relaxed);
    (0..controllers.len()).find_map(|at| {
        let address = controllers[(first + at) % controllers.len()].parse().ok()?;
        TcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECT).ok()
    })
}

fn join(client: &TcpStream, server: &TcpStream) {
    let copy = |from: &TcpStream, to: &TcpStream| {
        let (mut from, mut to) = (from.try_clone().ok()?, to.try_clone().ok()?);
        Some(thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        }))
    };
    let both = [copy(client, server), copy(server, client)];
    for thread in both.into_iter().flatten() {
        let _ = thread.join();
    }
}

// `recv` is the word of channels and signals; what else has a method of that name is no arm.
use millpond::{net::UdpSocket, select};

fn receive(socket: &UdpSocket, other: &std::sync::mpsc::Receiver<u8>) {
    select! {
        n = other.recv() => drop(n),
        n = socket.recv() => drop(n),
    }
}

fn main() {}

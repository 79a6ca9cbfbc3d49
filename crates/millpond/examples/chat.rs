//! A chat room: one goroutine owns the room, and everybody else sends it messages.
//!
//! ```text
//!   client ──lines──▶ reader ──┐ Event            String ┌──▶ writer ──▶ client
//!   client ──lines──▶ reader ──┼───────▶  room  ─────────┼──▶ writer ──▶ client
//!   client ──lines──▶ reader ──┘   256             32    └──▶ writer ──▶ client
//! ```
//!
//! The room's table of members has one owner and so needs no lock. All queues are bounded: who talks
//! faster than the others read is slowed down. A member that does not read for [`PATIENCE`] loses
//! its place, so that the others wait for it once and not for ever.
//!
//! ```text
//! cargo run --release -p millpond --example chat -- 127.0.0.1:7001
//! nc 127.0.0.1 7001          # in two terminals; the first line is your name
//! ```

use millpond::chan::{Receiver, Sender, bounded};
use millpond::go;
use millpond::net::{TcpListener, TcpStream};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

/// The longest line, in bytes. A client cannot make us hold more.
const LINE_BYTES: u64 = 1024;

/// Lines that wait for a member to read them.
const QUEUE_LINES: usize = 32;

/// How long a member may take to make room for a line.
const PATIENCE: Duration = Duration::from_secs(1);

/// What happens to the room.
enum Event {
    Joined { id: u64, name: String, out: Sender<String> },
    Said { id: u64, line: String },
    Left { id: u64 },
}

#[millpond::main]
fn main() -> io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7001".to_owned());
    let listener = TcpListener::bind(addr)?;
    println!("listening on {}", listener.local_addr()?);
    let (room, events) = bounded(256);
    drop(go(move || run_room(&events)));
    for id in 0.. {
        let (conn, _peer) = listener.accept()?;
        let room = room.clone();
        drop(go(move || serve(id, &conn, &room)));
    }
    Ok(())
}

/// A member: reads lines and tells the room. Its writer is a goroutine of its own.
fn serve(id: u64, conn: &TcpStream, room: &Sender<Event>) {
    let mut reader = BufReader::new(conn);
    let Ok(Some(name)) = read_line(&mut reader) else { return };
    let Ok(write_half) = conn.try_clone() else { return };
    let Ok(()) = conn.set_write_timeout(Some(PATIENCE)) else { return };
    let (out, lines) = bounded(QUEUE_LINES);
    drop(go(move || write_lines(&write_half, lines)));

    // The room lives as long as the program, so these cannot fail before its end.
    let _ = room.send(Event::Joined { id, name, out });
    while let Ok(Some(line)) = read_line(&mut reader) {
        let _ = room.send(Event::Said { id, line });
    }
    let _ = room.send(Event::Left { id });
}

/// A line without its end; `None` at the end of input, and for a line that is too long.
fn read_line(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<String>> {
    let mut line = String::new();
    reader.take(LINE_BYTES).read_line(&mut line)?;
    let whole = line.strip_suffix('\n').map(|line| line.trim_end_matches('\r').to_owned());
    Ok(whole)
}

/// Writes what the room sends, until the room drops its end; then the connection is over.
fn write_lines(mut conn: &TcpStream, lines: Receiver<String>) {
    for line in lines {
        if conn.write_all(line.as_bytes()).is_err() {
            break;
        }
    }
    // Wakes the reader, whatever it waits for. Fails only if the connection is gone already.
    let _ = conn.shutdown(Shutdown::Both);
}

struct Member {
    name: String,
    out: Sender<String>,
}

/// The owner of the room.
fn run_room(events: &Receiver<Event>) {
    let mut members: HashMap<u64, Member> = HashMap::new();
    for event in events.iter() {
        match event {
            Event::Joined { id, name, out } => {
                tell(&mut members, id, &format!("* {name} is here\n"));
                let _ = out.try_send(format!("* {} others are here\n", members.len()));
                members.insert(id, Member { name, out });
            }
            Event::Said { id, line } => {
                // Unknown: it was too slow to read, has lost its place, and is still talking.
                let Some(member) = members.get(&id) else { continue };
                let line = format!("{}: {line}\n", member.name);
                tell(&mut members, id, &line);
            }
            Event::Left { id } => {
                if let Some(member) = members.remove(&id) {
                    tell(&mut members, id, &format!("* {} has left\n", member.name));
                }
            }
        }
    }
}

/// Sends `line` to all but `from`. Parks while a queue is full; whose stays full is put out.
fn tell(members: &mut HashMap<u64, Member>, from: u64, line: &str) {
    members.retain(|&id, member| {
        id == from || member.out.send_timeout(line.to_owned(), PATIENCE).is_ok()
    });
}

//! More connections than descriptors: wait, say so once a second, recover.

mod common;

use common::{Client, PATIENCE, Server, millpond};
use std::process::Command;
use std::time::{Duration, Instant};

/// Far fewer descriptors than connections.
const DESCRIPTORS: usize = 200;
const CONNECTIONS: usize = 300;

fn limited_server() -> Server {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("ulimit -n {DESCRIPTORS} && exec \"$0\" \"$@\""))
        .arg(millpond().get_program())
        .args(["serve", "--http", "127.0.0.1:0", "--echo", "127.0.0.1:0"]);
    Server::from(command)
}

/// Processor time that a process has used.
fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = [fields[11], fields[12]].iter().map(|n| n.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// Takes the lines that have come already and says how many speak of the shortage.
fn waiting_lines(server: &Server) -> u64 {
    server.log.try_iter().filter(|line| line.contains("Too many open files")).count() as u64
}

#[test]
fn a_server_out_of_descriptors_waits_quietly_and_recovers() {
    let start = Instant::now();
    let server = limited_server();
    let mut clients: Vec<Client> = (0..CONNECTIONS).map(|_| Client::connect(server.http)).collect();
    // Those that came first are served while others wait in the kernel's queue.
    assert_eq!(clients[0].ask("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").status, 200);

    let line = server.wait_for_log("Too many open files");
    assert!(line.starts_with("millpond http: accept: "), "{line}");
    let mut lines = 1 + waiting_lines(&server);
    let (began, cpu) = (Instant::now(), cpu_time(server.pid()));
    for _ in 0..2 {
        server.wait_for_log("Too many open files");
    }
    let (took, used) = (began.elapsed(), cpu_time(server.pid()) - cpu);
    assert!(used < took / 4, "{used:?} of processor time in {took:?}");
    // However late this test reads them: lines that are a second apart cannot be more than this.
    lines += 2 + waiting_lines(&server);
    assert!(lines <= 1 + start.elapsed().as_secs(), "{lines} lines within {:?}", start.elapsed());

    let mut last = clients.pop().unwrap();
    last.send("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
    drop(clients);
    let began = Instant::now();
    assert_eq!(last.read_reply().status, 200);
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(Client::connect(server.http).ask("GET / HTTP/1.1\r\nhost: x\r\n\r\n").status, 200);
}

//! Clients that we did not write: curl and wrk, where they are installed.

mod common;

use common::{Server, have};
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn curl_gets_pages_and_its_bodies_back() {
    if !have("curl") {
        return;
    }
    let server = Server::start(&[]);
    let url = format!("http://{}", server.http);
    let page = Command::new("curl").args(["-sS", "--fail", &url]).output().unwrap();
    assert!(page.status.success(), "{page:?}");
    assert!(String::from_utf8_lossy(&page.stdout).contains("millpond"));

    // Above 1 MiB curl asks first (Expect: 100-continue); -T - sends chunks.
    let body: Vec<u8> = (0..3 << 20).map(|i: u32| (i ^ i >> 9) as u8).collect();
    for how in [&["--data-binary", "@-"][..], &["-X", "POST", "-T", "-"]] {
        let mut curl = Command::new("curl")
            .args(["-sS", "--fail"])
            .args(how)
            .arg(format!("{url}/echo"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut input, sent) = (curl.stdin.take().unwrap(), body.clone());
        let sending = std::thread::spawn(move || input.write_all(&sent));
        let out = curl.wait_with_output().unwrap();
        sending.join().unwrap().unwrap();
        assert!(out.status.success() && out.stdout == body, "{how:?}: {} bytes", out.stdout.len());
    }
}

#[test]
fn wrk_with_a_thousand_connections_sees_no_error() {
    if !have("wrk") {
        return;
    }
    let server = Server::start(&[]);
    let url = format!("http://{}/", server.http);
    let out = Command::new("wrk").args(["-t1", "-c1000", "-d3s", &url]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{out:?}");
    assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{text}");
    let done = text.lines().find_map(|line| line.trim().split_once(" requests in"));
    let done: u64 = done.and_then(|(count, _)| count.parse().ok()).unwrap_or(0);
    assert!(done > 1_000, "{text}");
    println!("{text}");
}

//! hyper's HTTP/1 server and client over our sockets, executor and timer.
#![cfg(feature = "hyper")]

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Executor, Timer};
use hyper::{Request, Response, service::service_fn};
use millpond_net::hyper::{TaskExecutor, TaskTimer};
use millpond_net::{TcpListener, TcpStream};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Serves connections in goroutines of their own until the listener is closed.
fn serve(listener: TcpListener, header_limit: Duration) {
    for conn in listener.incoming() {
        let conn = conn.unwrap();
        millpond_rt::go(move || {
            let echo = service_fn(|request: Request<Incoming>| async {
                let body = request.into_body().collect().await?.to_bytes();
                Ok::<_, hyper::Error>(Response::new(Full::new(body)))
            });
            millpond_rt::block_on(
                hyper::server::conn::http1::Builder::new()
                    .timer(TaskTimer)
                    .header_read_timeout(header_limit)
                    .serve_connection(conn, echo),
            )
        });
    }
}

fn start_server(header_limit: Duration) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let accepting = listener.try_clone().unwrap();
    millpond_rt::go(move || serve(accepting, header_limit));
    (listener, addr)
}

#[test]
fn requests_on_a_kept_connection_are_answered() {
    let (listener, addr) = start_server(Duration::from_secs(60));
    let client = millpond_rt::spawn(async move {
        let stream = TcpStream::connect_async(addr).await.unwrap();
        let (mut send, conn) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        TaskExecutor.execute(conn);
        for len in [0, 1, 1000, 300_000] {
            let body = Bytes::from(vec![b'm'; len]);
            let request =
                Request::post("/echo").header("host", "pond").body(Full::new(body.clone()));
            send.ready().await.unwrap();
            let response = send.send_request(request.unwrap()).await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
        }
    });
    client.join().unwrap();
    listener.close();
}

#[test]
fn slow_headers_time_out() {
    let (listener, addr) = start_server(Duration::from_millis(50));
    let mut client = TcpStream::connect(addr).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhos").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("the server closes the connection");
    listener.close();
}

#[test]
fn a_sleep_is_reset_in_place() {
    let began = Instant::now();
    let mut sleep = TaskTimer.sleep(Duration::from_secs(3600));
    TaskTimer.reset(&mut sleep, began + Duration::from_millis(20));
    millpond_rt::block_on(sleep);
    assert!(began.elapsed() >= Duration::from_millis(20));
    assert!(began.elapsed() < Duration::from_secs(60));
}

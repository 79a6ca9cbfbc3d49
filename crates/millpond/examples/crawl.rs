//! A bounded crawl: follows the links of a site, each page once, a few fetches at a time, and no
//! longer than its context allows.
//!
//! ```text
//!   visit(link) ── known? ──▶ nothing
//!        │ new
//!        ▼ a goroutine for each page
//!   permit ──▶ fetch(ctx) ──▶ give the permit back ──▶ visit(each link of the page)
//!     4
//! ```
//!
//! This is the pattern for work that finds more work: links, directories, dependencies. There are
//! four bounds, and each stands in one place. *Each page once*: the set of known links, in which a
//! page is entered before it is fetched. *So many fetches at a time*: a `Semaphore`. *So many pages
//! at all*: a site may be endless. *So long*: the `Context`, which every wait ends with, for a permit
//! too.
//!
//! Without the first a link back to the start never ends; without the second a page with a thousand
//! links is a thousand connections; without the last one server that accepts and says nothing holds
//! the whole crawl.
//!
//! A goroutine for each page looks extravagant, with four of them at work. But one that waits for
//! a permit costs its stack and nothing else, and in return the crawl is written as what it is. A
//! `pool::Workers`, or a scope with a limit, fits where the jobs are known from outside: here jobs
//! make jobs, and workers that wait for a place in a queue which only they can empty wait for ever.
//!
//! For the same reason the permit is given back before the links are followed.
//!
//! The scope ends when the last page has been followed. Nobody counts, and the goroutines borrow
//! the crawl instead of sharing it.
//!
//! The site is in this program: a little HTTP server on a free port, which also counts how many
//! fetches meet. Each page links to others; some links lead back, some nowhere. A second site never
//! answers.
//!
//! ```text
//! cargo run --release -p millpond --example crawl
//! ```

use millpond::context::ContextError;
use millpond::net::{TcpListener, TcpStream};
use millpond::scope::Scope;
use millpond::sync::{AcquireCtxError, Mutex, Semaphore};
use millpond::{Context, go, scope};
use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Fetches at a time.
const FETCHES: usize = 4;

/// Pages in all.
const PAGES: usize = 1_000;

/// How long a crawl may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest page, in bytes.
const PAGE_BYTES: u64 = 1 << 20;

/// What was found where.
type Found = BTreeMap<String, io::Result<Page>>;

struct Page {
    links: Vec<String>,
}

struct Crawl<'a> {
    ctx: &'a Context,
    site: SocketAddr,
    /// All links that were ever seen.
    known: Mutex<HashSet<String>>,
    found: Mutex<Found>,
    fetches: Semaphore,
}

/// Everything that can be reached from `start` before `ctx` is done. A page that was not reached
/// any more has the context's error. Parks until all fetches have ended.
fn crawl(ctx: &Context, site: SocketAddr, start: &str) -> Found {
    let (known, found) = (Mutex::default(), Mutex::default());
    let crawl = Crawl { ctx, site, known, found, fetches: Semaphore::new(FETCHES) };
    scope(|s| crawl.visit(s, start));
    crawl.found.into_inner()
}

impl Crawl<'_> {
    /// Starts the visit of a page, unless it has been started already.
    fn visit<'scope>(&'scope self, s: &'scope Scope<'scope, '_>, link: &str) {
        let mut known = self.known.lock();
        if known.len() >= PAGES || !known.insert(link.to_owned()) {
            return;
        }
        drop(known);
        let link = link.to_owned();
        s.go(move || {
            let page = self.fetch(&link);
            if let Ok(page) = &page {
                page.links.iter().for_each(|link| self.visit(s, link));
            }
            self.found.lock().insert(link, page);
        });
    }

    /// Gets a page when it is its turn. The permit is gone when this returns.
    fn fetch(&self, link: &str) -> io::Result<Page> {
        let _permit = self.fetches.acquire_ctx(self.ctx).map_err(|error| match error {
            AcquireCtxError::Context(error) => error.into(),
            AcquireCtxError::Closed => io::Error::other(error),
        })?;
        fetch(self.ctx, self.site, link)
    }
}

/// Gets a page and its links. Each wait ends with the context.
fn fetch(ctx: &Context, site: SocketAddr, link: &str) -> io::Result<Page> {
    let conn = TcpStream::connect_ctx(ctx, site)?;
    let mut conn = conn.with_ctx(ctx);
    write!(conn, "GET {link} HTTP/1.0\r\nHost: {site}\r\n\r\n")?;
    let mut reply = String::new();
    conn.take(PAGE_BYTES).read_to_string(&mut reply)?;
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
    let status = head.lines().next().unwrap_or("");
    if status.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(status.to_owned()));
    }
    let links = body.split("href=\"").skip(1).filter_map(|rest| rest.split_once('"'));
    Ok(Page { links: links.map(|(link, _)| link.to_owned()).collect() })
}

/// The site: `/0` to `/99`, each with three links.
struct Site {
    /// Atomic: fetches that are being served, how many there were at most, and in all.
    now: AtomicUsize,
    most: AtomicUsize,
    all: AtomicUsize,
}

const SITE_PAGES: usize = 100;

impl Site {
    fn start() -> io::Result<(SocketAddr, Arc<Self>)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let zero = || AtomicUsize::new(0);
        let site = Arc::new(Self { now: zero(), most: zero(), all: zero() });
        let serving = site.clone();
        go(move || {
            for conn in listener.incoming().flatten() {
                let site = serving.clone();
                go(move || site.serve(&conn));
            }
        });
        Ok((addr, site))
    }

    fn serve(&self, mut conn: &TcpStream) -> io::Result<()> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.all.fetch_add(1, Ordering::SeqCst);
        let mut head = BufReader::new(conn).take(8 << 10);
        let (mut request, mut line) = (String::new(), String::new());
        head.read_line(&mut request)?;
        while head.read_line(&mut line)? > 2 {
            line.clear();
        }
        let path = request.split(' ').nth(1).and_then(|path| path.strip_prefix('/'));
        let page = path.and_then(|path| path.parse::<usize>().ok());
        let reply = match page.filter(|page| *page < SITE_PAGES) {
            Some(page) => format!(
                "HTTP/1.0 200 OK\r\n\r\n<a href=\"/{}\"> <a href=\"/{}\"> <a href=\"/{}\">",
                (2 * page + 1) % SITE_PAGES,
                (2 * page + 2) % SITE_PAGES,
                // Beyond the last page: nowhere.
                page + SITE_PAGES / 2,
            ),
            None => "HTTP/1.0 404 Not Found\r\n\r\n".to_owned(),
        };
        // Before the reply: who has it may already be at the next page.
        self.now.fetch_sub(1, Ordering::SeqCst);
        conn.write_all(reply.as_bytes())
    }
}

#[millpond::main]
fn main() -> io::Result<()> {
    let (addr, site) = Site::start()?;
    let (ctx, _cancel) = Context::background().with_timeout(PATIENCE);
    let found = crawl(&ctx, addr, "/0");
    let broken: Vec<_> =
        found.iter().filter_map(|(link, found)| Some((link, found.as_ref().err()?))).collect();
    let (most, all) = (site.most.load(Ordering::SeqCst), site.all.load(Ordering::SeqCst));
    assert_eq!(all, found.len(), "a page was fetched twice");
    assert!(most <= FETCHES, "{most} fetches at a time");
    println!("{} pages, {} broken links", found.len() - broken.len(), broken.len());
    if let Some((link, error)) = broken.first() {
        println!("the first is {link}: {error}");
    }

    // Connections wait in its queue, and nobody accepts them.
    let deaf = TcpListener::bind("127.0.0.1:0")?;
    let (ctx, _cancel) = ctx.with_timeout(Duration::from_millis(50));
    let found = crawl(&ctx, deaf.local_addr()?, "/0");
    let error = found["/0"].as_ref().err().expect("it does not answer");
    assert_eq!(ContextError::of(error), Some(ContextError::DeadlineExceeded), "{error}");
    println!("a deaf site: {error}");
    Ok(())
}

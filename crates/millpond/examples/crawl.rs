//! A bounded crawl: follows the links of a site, each page once, a few fetches at a time.
//!
//! ```text
//!   visit(link) ── known? ──▶ nothing
//!        │ new
//!        ▼ a goroutine for each page
//!   permit ──▶ fetch ──▶ give the permit back ──▶ visit(each link of the page)
//!     4
//! ```
//!
//! There are three bounds, and each stands in one place. *Each page once*: the set of known links,
//! in which a page is entered before it is fetched. *So many fetches at a time*: the permits, a
//! channel that holds as many messages as there may be fetches. *So many pages at all*: a site may
//! be endless.
//!
//! A goroutine for each page looks extravagant, with four of them at work. But one that waits for
//! a permit costs its stack and nothing else, and in return the crawl is written as what it is; a
//! fixed set of workers would need a queue, and a way to tell an empty queue from the end.
//!
//! The permit is given back before the links are followed: a page that held on to its permit while
//! it waits for others to get theirs could wait for ever.
//!
//! The site is in this program: a little HTTP server on a free port, which also counts how many
//! fetches meet. Each page links to others; some links lead back, some nowhere.
//!
//! ```text
//! cargo run --release -p millpond --example crawl
//! ```

use millpond::chan::{Receiver, Sender, bounded};
use millpond::go;
use millpond::net::{TcpListener, TcpStream};
use millpond::sync::{Mutex, WaitGroup};
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

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest page, in bytes.
const PAGE_BYTES: u64 = 1 << 20;

/// What a fetch found.
type Found = Result<Page, String>;

struct Page {
    links: Vec<String>,
}

struct Crawl {
    site: SocketAddr,
    /// All links that were ever seen.
    known: Mutex<HashSet<String>>,
    found: Mutex<BTreeMap<String, Found>>,
    permits: Permits,
    /// Counts the pages that are on their way.
    pages: WaitGroup,
}

impl Crawl {
    /// Everything that can be reached from `start`. Parks until that is so.
    fn run(site: SocketAddr, start: &str) -> BTreeMap<String, Found> {
        let crawl = Arc::new(Self {
            site,
            known: Mutex::default(),
            found: Mutex::default(),
            permits: Permits::new(FETCHES),
            pages: WaitGroup::new(),
        });
        crawl.visit(start);
        crawl.pages.wait();
        std::mem::take(&mut *crawl.found.lock())
    }

    /// Starts the visit of a page, unless it has been started already.
    fn visit(self: &Arc<Self>, link: &str) {
        let mut known = self.known.lock();
        if known.len() >= PAGES || !known.insert(link.to_owned()) {
            return;
        }
        drop(known);
        let (crawl, link) = (self.clone(), link.to_owned());
        // Counted from here on, while the page that led here is still counted: so the count
        // reaches zero only at the end.
        self.pages.go(move || {
            let permit = crawl.permits.acquire();
            let found = fetch(crawl.site, &link).map_err(|error| error.to_string());
            drop(permit);
            if let Ok(page) = &found {
                page.links.iter().for_each(|link| crawl.visit(link));
            }
            crawl.found.lock().insert(link, found);
        });
    }
}

/// A number of permits: messages in a channel that holds no more.
struct Permits {
    taken: Sender<()>,
    back: Receiver<()>,
}

/// Gives the permit back when it is dropped, on every way out.
struct Permit<'a>(&'a Permits);

impl Permits {
    fn new(count: usize) -> Self {
        let (taken, back) = bounded(count);
        Self { taken, back }
    }

    /// Parks while all are taken.
    fn acquire(&self) -> Permit<'_> {
        self.taken.send(()).expect("the receiver is beside it");
        Permit(self)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.back.try_recv().expect("this permit is in the channel");
    }
}

/// Gets a page and its links.
fn fetch(site: SocketAddr, link: &str) -> io::Result<Page> {
    let mut conn = TcpStream::connect_timeout(&site, PATIENCE)?;
    conn.set_read_timeout(Some(PATIENCE))?;
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
        drop(go(move || {
            for conn in listener.incoming().flatten() {
                let site = serving.clone();
                drop(go(move || site.serve(&conn)));
            }
        }));
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
    let found = Crawl::run(addr, "/0");
    let broken: Vec<_> =
        found.iter().filter_map(|(link, found)| Some((link, found.as_ref().err()?))).collect();
    let (most, all) = (site.most.load(Ordering::SeqCst), site.all.load(Ordering::SeqCst));
    assert_eq!(all, found.len(), "a page was fetched twice");
    assert!(most <= FETCHES, "{most} fetches at a time");
    println!("{} pages, {} broken links", found.len() - broken.len(), broken.len());
    if let Some((link, error)) = broken.first() {
        println!("the first is {link}: {error}");
    }
    Ok(())
}

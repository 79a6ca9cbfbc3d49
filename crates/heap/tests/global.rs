//! The heap as the global allocator of this very program: threads that come and go, objects that cross
//! threads, destructors of thread-locals that allocate, `fork`, and memory that comes back.

use millpond_heap::stats;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[cfg(not(millpond_alloc))]
#[global_allocator]
static ALLOC: millpond_heap::Alloc = millpond_heap::Alloc;

/// Held by tests that measure the heap, and by those that hold much of it: they would measure each other.
static MEASURED: Mutex<()> = Mutex::new(());

/// What the other tests of this program may hold meanwhile, in bytes.
const OTHERS: usize = 64 << 20;

/// Rounds of a soak: many where they are quick.
const ROUNDS: usize = if cfg!(debug_assertions) { 4 } else { 40 };

/// A generator of numbers, from a seed that a failing test prints.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % below
    }
}

fn block(random: &mut Random) -> Vec<u8> {
    let bytes = 1 << random.next(14);
    let bytes = bytes + random.next(bytes);
    vec![bytes as u8; bytes]
}

fn looks_right(block: &[u8]) -> bool {
    block.iter().all(|&byte| byte == block.len() as u8)
}

#[test]
fn a_program_runs_on_it() {
    let words: Vec<String> = (0..10_000).map(|n| format!("word {n}")).collect();
    let map: HashMap<&str, usize> = words.iter().map(|word| (&word[..], word.len())).collect();
    let tree: BTreeMap<usize, &str> =
        words.iter().map(|word| (map[&word[..]], &word[..])).collect();
    assert_eq!(tree.len(), 4);
    assert!(stats().in_use() > 10_000 * 24);
}

#[test]
fn threads_come_and_go_while_objects_cross_them() {
    for round in 0..ROUNDS {
        let (send, receive) = mpsc::channel::<Vec<u8>>();
        let shared = Arc::new(Mutex::new(Vec::<Vec<u8>>::new()));
        let threads: Vec<_> = (0..16)
            .map(|thread| {
                let (send, shared) = (send.clone(), shared.clone());
                std::thread::spawn(move || {
                    let mut random = Random((round * 100 + thread) as u64);
                    let mut mine: Vec<Vec<u8>> = Vec::new();
                    for _ in 0..400 {
                        match random.next(6) {
                            0 | 1 => mine.push(block(&mut random)),
                            2 if !mine.is_empty() => {
                                let which = random.next(mine.len());
                                assert!(looks_right(&mine.swap_remove(which)));
                            }
                            3 => send.send(block(&mut random)).unwrap(),
                            4 => shared.lock().unwrap().push(block(&mut random)),
                            _ => {
                                let taken = shared.lock().unwrap().pop();
                                assert!(taken.is_none_or(|block| looks_right(&block)));
                            }
                        }
                    }
                    // Some outlive their thread.
                    mine.into_iter().step_by(2).for_each(|block| send.send(block).unwrap());
                })
            })
            .collect();
        drop(send);
        receive.into_iter().for_each(|block| assert!(looks_right(&block)));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
    assert_eq!(millpond_heap::check(), Ok(()));
}

#[test]
fn destructors_of_thread_locals_allocate_and_free() {
    struct Late(Vec<String>);
    impl Drop for Late {
        fn drop(&mut self) {
            let more: Vec<Vec<u8>> = (1..200).map(|n| vec![1; n * 10]).collect();
            self.0.extend(more.iter().map(|block| block.len().to_string()));
            assert_eq!(self.0.len(), 299);
        }
    }
    thread_local!(static LATE: RefCell<Late> = const { RefCell::new(Late(Vec::new())) });
    for _ in 0..20 {
        let fill = || LATE.with(|late| late.borrow_mut().0.extend((0..100).map(|n| n.to_string())));
        std::thread::spawn(fill).join().unwrap();
    }
}

#[test]
fn keys_that_are_destroyed_after_ours_still_allocate() {
    unsafe extern "C" fn late(value: *mut libc::c_void) {
        // SAFETY: `set` below stored a box.
        let value = unsafe { Box::from_raw(value.cast::<u64>()) };
        let blocks: Vec<Vec<u8>> = (1..100).map(|n| vec![n as u8; n * 100]).collect();
        assert!(blocks.iter().all(|block| block[0] as usize * 100 == block.len()));
        assert_eq!(*value, 7);
    }
    // Of two keys, the later one is destroyed later: ours is older than this one.
    drop(Box::new(1));
    let mut key = 0;
    // SAFETY: `key` is written to; the destructor gets what is stored below.
    assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(late)) }, 0);
    for _ in 0..10 {
        let thread = std::thread::spawn(move || {
            let value = Box::into_raw(Box::new(7u64));
            // SAFETY: the key exists.
            assert_eq!(unsafe { libc::pthread_setspecific(key, value.cast()) }, 0);
        });
        thread.join().unwrap();
    }
    assert_eq!(millpond_heap::check(), Ok(()));
}

#[test]
fn a_child_of_fork_allocates_whatever_other_threads_were_doing() {
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let threads: Vec<_> = (0..4)
        .map(|seed| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut random = Random(seed);
                let mut kept: Vec<Vec<u8>> = Vec::new();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    kept.push(block(&mut random));
                    if kept.len() > 100 {
                        kept.swap_remove(random.next(100));
                    }
                }
            })
        })
        .collect();
    for round in 0..ROUNDS {
        // SAFETY: the child does nothing but allocate, and leaves without destructors.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let mut random = Random(round as u64);
            let blocks: Vec<Vec<u8>> = (0..500).map(|_| block(&mut random)).collect();
            let right = blocks.iter().all(|block| looks_right(block));
            drop(blocks);
            let fine = right && millpond_heap::check().is_ok();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(if fine { 0 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(millpond_heap::check(), Ok(()));
}

/// Resident bytes of the mappings of the heap.
fn resident() -> usize {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut ours = false;
    let mut total = 0;
    for line in smaps.lines() {
        if line.split_whitespace().next().is_some_and(|word| word.contains('-')) {
            ours = line.ends_with("[anon:millpond heap]");
        } else if ours && let Some(rest) = line.strip_prefix("Rss:") {
            total += rest.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10;
        }
    }
    total
}

/// Waits for an event that comes some time after the load has gone.
fn eventually(what: impl Fn() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(240);
    while Instant::now() < until {
        if what() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

#[test]
fn memory_of_a_burst_goes_back_by_itself_and_by_release() {
    let _alone = MEASURED.lock().unwrap_or_else(|poison| poison.into_inner());
    let blocks: Vec<Vec<u8>> = (0..200_000).map(|_| vec![1; 1000]).collect();
    let sheet = stats();
    assert_eq!(sheet.obtained, sheet.accounted());
    let full = resident();
    if full > 0 {
        assert!(full >= 200 << 20, "{full}");
        assert!(full <= sheet.resident_at_most() + OTHERS, "{full} {sheet}");
    }
    drop(blocks);
    assert!(eventually(|| stats().resident_at_most() < OTHERS), "{}", stats());
    let blocks: Vec<Vec<u8>> = (0..100_000).map(|_| vec![1; 1000]).collect();
    drop(blocks);
    millpond_heap::release();
    // Other tests of this program run meanwhile.
    assert!(eventually(|| stats().idle < OTHERS), "{}", stats());
}

#[test]
fn pages_without_a_block_in_use_go_back_though_their_span_stays() {
    let _alone = MEASURED.lock().unwrap_or_else(|poison| poison.into_inner());
    let mut blocks: Vec<Vec<u8>> = (0..50_000).map(|_| vec![1; 2048]).collect();
    let before = stats().resident_at_most();
    let mut number = 0;
    blocks.retain(|_| {
        number += 1;
        number % 20 == 0
    });
    millpond_heap::release();
    assert!(eventually(|| stats().resident_at_most() < before - (60 << 20)), "{}", stats());
    assert!(blocks.iter().all(|block| block.iter().all(|&byte| byte == 1)));
}

#[test]
fn an_idle_thread_does_not_keep_what_its_cache_holds() {
    let _alone = MEASURED.lock().unwrap_or_else(|poison| poison.into_inner());
    let (tell, told) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let before = stats().resident_at_most();
    let thread = std::thread::spawn(move || {
        let blocks: Vec<Vec<u8>> = (0..40_000).map(|n| vec![1; 16 + n % 2000]).collect();
        drop(blocks);
        tell.send(()).unwrap();
        wait.recv().unwrap_err();
    });
    told.recv().unwrap();
    assert!(eventually(|| stats().resident_at_most() < before + (30 << 20)), "{}", stats());
    drop(go_on);
    thread.join().unwrap();
}

#[test]
fn large_objects_grow_where_they_are_or_by_their_pages() {
    let _alone = MEASURED.lock().unwrap_or_else(|poison| poison.into_inner());
    let mut bytes: Vec<u8> = Vec::new();
    for n in 0..24 << 20 {
        bytes.push(n as u8);
    }
    assert!(bytes.iter().enumerate().all(|(n, &byte)| byte == n as u8));
    bytes.truncate(40_000);
    bytes.shrink_to_fit();
    assert!(bytes.iter().enumerate().all(|(n, &byte)| byte == n as u8));
    let zeros = vec![0u8; 32 << 20];
    assert!(zeros.iter().all(|&byte| byte == 0));
}

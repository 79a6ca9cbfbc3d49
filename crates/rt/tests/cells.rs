//! What a goroutine leaves behind, and who sees it: its memory, and its place in dumps.

use millpond_rt::{Builder, Goroutine, Status, counts, go, goroutines, yield_now};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// What one thread keeps at most: `Counts::spare_cell_bytes` promises it.
const KEEP_BYTES: usize = 512 << 10;

fn run<T: Send + 'static>(procs: usize, body: impl FnOnce() -> T + Send + 'static) -> T {
    Builder::new().procs(procs).private().run(body).expect("the runtime starts")
}

/// The dump of the process's runtime, taken by a thread that is not its own. One test has such a
/// runtime, so it meets no other.
fn look() -> Vec<Goroutine> {
    thread::spawn(goroutines).join().unwrap()
}

#[test]
fn a_goroutine_is_in_the_dump_once_from_its_first_instruction_to_its_end() {
    let body = || {
        let looks = go(|| {
            let first = look();
            yield_now();
            [first, look()]
        });
        for all in looks.join().unwrap() {
            let unnamed: Vec<_> = all.iter().filter(|g| g.name.is_none()).collect();
            assert_eq!(unnamed.len(), 1, "{all:?}");
            assert_eq!(unnamed[0].status, Status::Running);
            assert!(unnamed[0].location.file().ends_with("cells.rs"), "{all:?}");
            assert!(unnamed[0].stack_bytes > 8 << 10, "{all:?}");
        }
        let left: Vec<_> = look().into_iter().map(|g| g.name).collect();
        assert_eq!(left, [Some("main".to_owned())]);

        // While others come and go, no look misses what lives throughout or sees one twice.
        let over = Arc::new(AtomicBool::new(false));
        let looker = {
            let over = over.clone();
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let ids: Vec<_> = goroutines().iter().map(|g| g.id).collect();
                    assert!(ids.windows(2).all(|two| two[0] < two[1]), "twice: {ids:?}");
                    assert!(!ids.is_empty(), "main is missing");
                }
            })
        };
        for _ in 0..200 {
            let parents: Vec<_> = (0..20)
                .map(|_| {
                    go(|| {
                        let child = go(|| ());
                        yield_now();
                        child.join().unwrap();
                    })
                })
                .collect();
            parents.into_iter().for_each(|parent| parent.join().unwrap());
        }
        over.store(true, Ordering::Relaxed);
        looker.join().unwrap();
    };
    Builder::new().procs(2).run(body).unwrap();
}

#[test]
fn memory_of_ended_goroutines_serves_the_next_ones() {
    run(1, || {
        let start = || (0..500u64).map(|i| go(move || i)).collect::<Vec<_>>();
        start().into_iter().for_each(|handle| drop(handle.join()));
        let kept = counts().spare_cell_bytes;
        let handles = start();
        let left = counts().spare_cell_bytes;
        assert!(kept >= 500 * 64, "kept {kept}");
        assert!(kept - left >= 500 * 64, "of {kept} bytes {left} are left");
        handles.into_iter().for_each(|handle| drop(handle.join()));
        assert_eq!(counts().spare_cell_bytes, kept);
    });
}

#[test]
fn what_is_kept_of_a_burst_is_bounded() {
    for procs in [1, 2, 8] {
        run(procs, || {
            let handles: Vec<_> = (0..20_000u64).map(|i| go(move || i)).collect();
            handles.into_iter().for_each(|handle| drop(handle.join()));
            let counts = counts();
            assert!(counts.spare_cell_bytes > 0);
            assert!(counts.spare_cell_bytes <= KEEP_BYTES * counts.threads, "{counts:?}");
        });
    }
}

#[test]
fn closures_and_results_of_every_size_and_alignment_stay_whole() {
    #[repr(align(64))]
    struct Wide(u8);

    /// Counts what was dropped.
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn check<const N: usize>(dropped: &Arc<AtomicUsize>) {
        let handles: Vec<_> = (0..10u8)
            .map(|i| {
                let (bytes, counted) = ([i; N], Counted(dropped.clone()));
                go(move || {
                    if i.is_multiple_of(2) {
                        yield_now();
                    }
                    assert!(bytes.iter().all(|&byte| byte == i));
                    (bytes, counted)
                })
            })
            .collect();
        for (i, handle) in handles.into_iter().enumerate() {
            if i % 3 > 0 {
                assert!(handle.join().unwrap().0.iter().all(|&byte| usize::from(byte) == i));
            }
        }
    }

    for procs in [1, 2, 8] {
        let dropped = Arc::new(AtomicUsize::new(0));
        let counts = dropped.clone();
        run(procs, move || {
            for _ in 0..20 {
                check::<0>(&counts);
                check::<1>(&counts);
                check::<100>(&counts);
                check::<300>(&counts);
                check::<1_000>(&counts);
                check::<5_000>(&counts);
                let wide = Wide(7);
                let back = go(move || wide).join().unwrap();
                assert!(back.0 == 7 && (&raw const back).is_aligned());
            }
            // Four of ten handles are dropped early, so those goroutines may still be on their way.
            while counts.load(Ordering::Relaxed) < 20 * 6 * 10 {
                yield_now();
            }
        });
        assert_eq!(dropped.load(Ordering::Relaxed), 20 * 6 * 10);
    }
}

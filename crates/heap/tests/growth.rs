//! Growth by huge pages: who gets them, and that what they hold can be given back. Each case is a process of its own,
//! since what is told of is the whole heap's. Where the kernel has no huge pages to give, the cases that want some say
//! so; what must hold without them is held all the same.

use millpond_heap::{check, heap, release, set_limit, stats};
use millpond_sys::arena::{Arena, HUGE_BYTES};
use std::process::Command;

#[cfg(not(millpond_alloc))]
#[global_allocator]
static ALLOC: millpond_heap::Alloc = millpond_heap::Alloc;

const MIB: usize = 1 << 20;

/// Bytes of a line of `/proc/self/smaps`, of the mapping that an address lies in.
fn of_mapping(place: usize, name: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut inside, mut sum) = (false, 0);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(first), second) = (words.next(), words.next()) else { continue };
        let number = |text| usize::from_str_radix(text, 16);
        if let Some((start, end)) = first.split_once('-')
            && let (Ok(start), Ok(end)) = (number(start), number(end))
        {
            inside = (start..end).contains(&place);
        } else if inside && first == name {
            sum += second.unwrap().parse::<usize>().unwrap() << 10;
        }
    }
    sum
}

fn of_heap(name: &str) -> usize {
    PLACE.with(|place| of_mapping(std::ptr::from_ref::<u8>(place) as usize, name))
}

thread_local! {
    /// A block, to know the heap's mapping by.
    static PLACE: Box<u8> = Box::new(1);
}

fn huge_bytes() -> usize {
    of_heap("AnonHugePages:")
}

/// Whether this kernel has a huge page for those who ask as the heap does.
fn gives_huge_pages() -> bool {
    let arena = Arena::reserve(HUGE_BYTES, HUGE_BYTES, c"test").unwrap();
    let part = arena.start()..arena.start() + HUGE_BYTES;
    arena.open(part.clone()) && arena.back(part) && of_mapping(arena.start(), "AnonHugePages:") > 0
}

/// Blocks of 16 B to 1 KiB, so many bytes of them, each written to.
fn fill(bytes: usize, written: impl Fn(usize) -> usize) -> Vec<*mut u8> {
    let mut blocks = Vec::with_capacity(bytes / 64);
    let (mut total, mut seed) = (0, 7usize);
    while total < bytes {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let size = 16 << ((seed >> 33) % 7);
        let block = heap::alloc(size, 8);
        // SAFETY: the block has that many bytes.
        unsafe { block.write_bytes(7, written(size).min(size)) };
        total += size;
        blocks.push(block);
    }
    blocks
}

fn free(blocks: impl IntoIterator<Item = *mut u8>) {
    // SAFETY: callers pass blocks of `fill`, once.
    blocks.into_iter().for_each(|block| unsafe { heap::dealloc(block) });
}

fn assert_sound() {
    assert_eq!(check(), Ok(()));
    let at_most = || {
        let stats = stats();
        assert_eq!(stats.obtained, stats.accounted(), "{stats}");
        stats.resident_at_most() - stats.meta
    };
    // The scavenger may be at work, and reading the figure takes memory.
    let (before, resident) = (at_most(), of_heap("Rss:"));
    let most = before.max(at_most()) + MIB / 4;
    assert!(resident <= most, "{resident} B are resident, {most} at most\n{}", stats());
}

/// A dense heap has huge pages; of each that loses a part, the kernel has the part.
fn dense() {
    let blocks = fill(96 * MIB, |size| size);
    let huge = huge_bytes();
    if huge == 0 {
        assert!(!gives_huge_pages(), "no huge page in 96 MiB of small blocks");
        println!("skipped: this kernel gives no huge pages");
    }
    assert!(huge < 84 * MIB, "{huge}: the first 16 MiB have none");
    assert_sound();
    let (kept, gone): (Vec<_>, Vec<_>) =
        blocks.into_iter().enumerate().partition(|(n, _)| n % 64 == 0);
    let floor: std::collections::HashSet<usize> =
        kept.iter().map(|&(_, block)| block as usize >> 12).collect();
    free(gone.into_iter().map(|(_, block)| block));
    release();
    assert_eq!(huge_bytes(), 0, "huge pages with a few live blocks");
    let resident = of_heap("Rss:");
    assert!(
        resident < (floor.len() << 12) * 11 / 10 + 3 * MIB,
        "{resident} B for {} pages",
        floor.len()
    );
    assert!(kept.iter().all(|&(_, block)| unsafe_read(block) == 7));
    assert_sound();
    // And again: what was given back whole is made resident whole.
    let more = fill(64 * MIB, |size| size);
    assert_sound();
    free(more);
    free(kept.into_iter().map(|(_, block)| block));
    release();
    assert_sound();
    assert!(of_heap("Rss:") < 4 * MIB);
}

fn unsafe_read(block: *mut u8) -> u8 {
    // SAFETY: a live block of `fill`, written to.
    unsafe { block.read() }
}

/// What stays small has none.
fn small() {
    let blocks = fill(10 * MIB, |size| size);
    assert_eq!(huge_bytes(), 0);
    assert_sound();
    free(blocks);
}

/// Nor has what is not filled: blocks that are touched at their first bytes, and large objects among small ones.
fn hollow() {
    let blocks: Vec<Vec<u8>> = (0..3000)
        .map(|n| {
            let mut block = Vec::with_capacity(32 << 10);
            block.push(n as u8);
            block
        })
        .collect();
    assert_eq!(huge_bytes(), 0);
    assert!(of_heap("Rss:") < 40 * MIB, "of 94 MiB, an eighth was touched");
    drop(blocks);
    release();
    let mut large = Vec::new();
    let mut little = Vec::new();
    for _ in 0..64 {
        large.push(heap::alloc_zeroed(MIB, 8));
        little.extend(fill(MIB / 4, |size| size));
    }
    assert!(of_heap("Rss:") < 40 * MIB, "64 MiB were never touched");
    assert_sound();
    free(large);
    free(little);
}

/// Nor what has a limit that leaves no room.
fn limited() {
    set_limit(1);
    let blocks = fill(64 * MIB, |size| size);
    assert_eq!(huge_bytes(), 0);
    free(blocks);
}

/// Zeroed memory is zero where pages were used before, and untouched where not.
fn zeroed() {
    let blocks = fill(64 * MIB, |size| size);
    free(blocks);
    let before = of_heap("Rss:");
    let object = heap::alloc_zeroed(512 * MIB, 8);
    assert!(of_heap("Rss:") < before + 4 * MIB, "zeros were written where the kernel has some");
    // SAFETY: the object has that many bytes.
    let bytes = unsafe { std::slice::from_raw_parts(object, 80 * MIB) };
    assert!(bytes.iter().all(|&byte| byte == 0));
    free([object]);
}

/// Large objects that the kernel moves out of huge pages, and into them.
fn moved() {
    let blocks = fill(64 * MIB, |size| size);
    let (kept, gone): (Vec<_>, Vec<_>) =
        blocks.into_iter().enumerate().partition(|(n, _)| n % 100_000 == 0);
    free(gone.into_iter().map(|(_, block)| block));
    let mut objects: Vec<Vec<u8>> = (0..8).map(|n| vec![n; MIB]).collect();
    for round in 1..5 {
        for (n, object) in objects.iter_mut().enumerate() {
            object.resize(MIB << round, n as u8);
        }
        release();
        assert_sound();
    }
    let right = |(n, object): (usize, &Vec<u8>)| object.iter().all(|&byte| byte == n as u8);
    assert!(objects.iter().enumerate().all(right));
    assert!(kept.iter().all(|&(_, block)| unsafe_read(block) == 7));
    free(kept.into_iter().map(|(_, block)| block));
}

/// Threads that grow at the same time, and forks meanwhile.
fn crowd() {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..3).for_each(|_| free(fill(40 * MIB, |size| size)))))
            .collect();
        let mut forks = 0;
        while forks < 20 || threads.iter().any(|thread| !thread.is_finished()) {
            // SAFETY: the child allocates, which is what is tested, and ends without running anything else.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let blocks = fill(MIB, |size| size);
                let right = blocks.iter().all(|&block| unsafe_read(block) == 7);
                let is_sound = check().is_ok();
                // What the child's own scavenger has on loan comes back; what the parent lent out would not.
                while stats().moving > 0 {
                    std::thread::yield_now();
                }
                // SAFETY: ends the child.
                unsafe { libc::_exit(i32::from(!right || !is_sound)) };
            }
            let mut status = 0;
            // SAFETY: the child is this process's.
            let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert!(child > 0 && waited == child && status == 0, "{status}");
            forks += 1;
        }
    });
    assert_sound();
}

#[test]
fn child() {
    match std::env::var("CASE").as_deref() {
        Err(_) => {}
        Ok("dense") => dense(),
        Ok("small") => small(),
        Ok("hollow") => hollow(),
        Ok("limited") => limited(),
        Ok("zeroed") => zeroed(),
        Ok("moved") => moved(),
        Ok("crowd") => crowd(),
        Ok(other) => panic!("no case {other}"),
    }
}

fn run(case: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]).env("CASE", case);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{case}: {text}");
    print!("{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_heap_that_is_filled_has_huge_pages_and_gives_back_every_part_of_them() {
    run("dense");
}

#[test]
fn a_small_heap_has_no_huge_pages() {
    run("small");
}

#[test]
fn what_is_lent_out_and_never_touched_is_not_made_resident() {
    run("hollow");
}

#[test]
fn near_the_limit_nothing_is_made_resident_ahead_of_use() {
    run("limited");
}

#[test]
fn zeroed_objects_are_zero_and_untouched_where_nothing_was() {
    run("zeroed");
}

#[test]
fn objects_that_the_kernel_moves_keep_their_content() {
    run("moved");
}

#[test]
fn threads_that_grow_at_once_leave_a_sound_heap_to_each_other_and_to_forks() {
    run("crowd");
}

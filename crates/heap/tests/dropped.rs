//! What a thread's cache holds of large classes once all of their blocks are freed: the span that it allocates from,
//! and hardly more. In a process of its own, since the figures are the whole heap's.

use millpond_heap::stats;

#[cfg(not(millpond_alloc))]
#[global_allocator]
static ALLOC: millpond_heap::Alloc = millpond_heap::Alloc;

/// Block and span bytes of the classes of 2 KiB to 16 KiB, of which this process has a span after one allocation.
fn classes() -> Vec<(usize, usize)> {
    let warm: Vec<Vec<u8>> = (11..14).map(|bits| vec![1; 1 << bits]).collect();
    let found = stats().classes.into_iter().filter(|class| class.spans > 0);
    let found = found.map(|class| (class.block_bytes, class.span_bytes / class.spans));
    let large = found.filter(|&(block, _)| (2048..=16_384).contains(&block)).collect();
    drop(warm);
    large
}

fn spans(block_bytes: usize) -> usize {
    stats().classes.into_iter().find(|class| class.block_bytes == block_bytes).unwrap().spans
}

#[test]
fn a_thread_that_frees_all_blocks_of_a_large_class_keeps_one_more_span_at_most() {
    let classes = classes();
    assert!(classes.len() >= 3);
    for (block_bytes, span_bytes) in classes {
        // One of this thread, and perhaps one of the thread that started it.
        let before = spans(block_bytes);
        for backwards in [false, true] {
            let in_a_span = span_bytes / block_bytes;
            let mut blocks: Vec<Vec<u8>> = Vec::with_capacity(12 * in_a_span);
            // The last one has just begun a span.
            while spans(block_bytes) < before + 10 {
                blocks.push(vec![1; block_bytes]);
            }
            if backwards {
                blocks.reverse();
            }
            drop(blocks);
            let kept = spans(block_bytes);
            assert!(kept <= before + 1, "{kept} spans of {block_bytes} B, backwards: {backwards}");
        }
    }
}

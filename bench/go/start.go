package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Go has no join: a wait group says when all are done, and each leaves its number in a place of its own.
func spawnJoin(a args) outcome {
	batches, batch := a.get("batches"), a.get("batch")
	results := make([]uint64, batch)
	var sum uint64
	began := time.Now()
	for range batches {
		var group sync.WaitGroup
		group.Add(int(batch))
		for i := range batch {
			go func() {
				results[i] = i
				group.Done()
			}()
		}
		group.Wait()
		for _, result := range results {
			sum += result
		}
	}
	return outcome{ops: batches * batch, took: time.Since(began), check: sum}
}

func yields(a args) outcome {
	goroutines, each := a.get("goroutines"), a.get("each")
	var group sync.WaitGroup
	var sum atomic.Uint64
	began := time.Now()
	for range goroutines {
		group.Add(1)
		go func() {
			for range each {
				runtime.Gosched()
			}
			sum.Add(each)
			group.Done()
		}()
	}
	group.Wait()
	return outcome{ops: goroutines * each, took: time.Since(began), check: sum.Load()}
}

func tree(parent chan uint64, first, leaves uint64) {
	if leaves == 1 {
		parent <- first
		return
	}
	children := make(chan uint64)
	part := leaves / 10
	for i := range uint64(10) {
		go tree(children, first+i*part, part)
	}
	var sum uint64
	for range 10 {
		sum += <-children
	}
	parent <- sum
}

func skynet(a args) outcome {
	leaves := a.get("leaves")
	root := make(chan uint64)
	began := time.Now()
	go tree(root, 0, leaves)
	sum := <-root
	return outcome{ops: 1, took: time.Since(began), check: sum}
}

func sleepers(a args) outcome {
	count, span := a.get("count"), time.Duration(a.get("ms"))*time.Millisecond
	var group sync.WaitGroup
	var woken atomic.Uint64
	began := time.Now()
	for range count {
		group.Add(1)
		go func() {
			time.Sleep(span)
			woken.Add(1)
			group.Done()
		}()
	}
	group.Wait()
	return outcome{ops: 1, took: time.Since(began), check: woken.Load()}
}

func idle(a args) outcome {
	count := a.get("count")
	var arrived atomic.Uint64
	gate := make(chan struct{})
	before, began := footprint(), time.Now()
	for range count {
		go func() {
			arrived.Add(1)
			<-gate
		}()
	}
	for arrived.Load() < count {
		runtime.Gosched()
	}
	bytes := (footprint() - before) / count
	extra := fmt.Sprintf("bytes=%d", bytes)
	return outcome{ops: count, took: time.Since(began), check: arrived.Load(), extra: extra}
}

// footprint is VmRSS + VmPTE, in bytes.
func footprint() (bytes uint64) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		var kilobytes uint64
		for _, key := range []string{"VmRSS:", "VmPTE:"} {
			if rest, found := strings.CutPrefix(line, key); found {
				fmt.Sscan(rest, &kilobytes)
				bytes += kilobytes * 1024
			}
		}
	}
	return bytes
}

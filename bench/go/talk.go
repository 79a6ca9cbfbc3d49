package main

import (
	"runtime"
	"sync"
	"time"
)

func pingpong(a args) outcome {
	return trips(a.get("trips"), func() {})
}

// pingpongApart locks each of the two to a thread of its own: Go has no other way to keep two goroutines apart.
func pingpongApart(a args) outcome {
	return trips(a.get("trips"), runtime.LockOSThread)
}

func trips(trips uint64, place func()) outcome {
	ping, pong, result := make(chan uint64), make(chan uint64), make(chan uint64)
	began := time.Now()
	go func() {
		place()
		for value := range ping {
			pong <- value
		}
	}()
	go func() {
		place()
		var sum uint64
		for value := range trips {
			ping <- value
			sum += <-pong
		}
		result <- sum
	}()
	sum := <-result
	return outcome{ops: trips, took: time.Since(began), check: sum}
}

func mpmc(a args) outcome {
	producers, consumers, each := a.get("producers"), a.get("consumers"), a.get("each")
	values, sums := make(chan uint64, a.get("cap")), make(chan uint64)
	var group sync.WaitGroup
	began := time.Now()
	for range producers {
		group.Add(1)
		go func() {
			for value := range each {
				values <- value
			}
			group.Done()
		}()
	}
	for range consumers {
		go func() {
			var sum uint64
			for value := range values {
				sum += value
			}
			sums <- sum
		}()
	}
	group.Wait()
	close(values)
	var sum uint64
	for range consumers {
		sum += <-sums
	}
	return outcome{ops: producers * each, took: time.Since(began), check: sum}
}

func selects(a args) outcome {
	each, capacity := a.get("each"), a.get("cap")
	var sources [4]chan uint64
	result := make(chan uint64)
	began := time.Now()
	for i := range sources {
		sources[i] = make(chan uint64, capacity)
		go func() {
			for value := range each {
				sources[i] <- value
			}
		}()
	}
	go func() {
		var sum, value uint64
		for range 4 * each {
			select {
			case value = <-sources[0]:
			case value = <-sources[1]:
			case value = <-sources[2]:
			case value = <-sources[3]:
			}
			sum += value
		}
		result <- sum
	}()
	sum := <-result
	return outcome{ops: 4 * each, took: time.Since(began), check: sum}
}

func mutex(a args) outcome {
	contenders, each := a.get("contenders"), a.get("each")
	var group sync.WaitGroup
	var lock sync.Mutex
	var number uint64
	began := time.Now()
	for range contenders {
		group.Add(1)
		go func() {
			for range each {
				lock.Lock()
				number++
				lock.Unlock()
			}
			group.Done()
		}()
	}
	group.Wait()
	return outcome{ops: contenders * each, took: time.Since(began), check: number}
}

func generate(numbers chan uint64) {
	for number := uint64(2); ; number++ {
		numbers <- number
	}
}

func filter(numbers, passed chan uint64, prime uint64) {
	for number := range numbers {
		if number%prime != 0 {
			passed <- number
		}
	}
}

func sieve(a args) outcome {
	primes := a.get("primes")
	began := time.Now()
	numbers := make(chan uint64)
	go generate(numbers)
	var last uint64
	for range primes {
		last = <-numbers
		passed := make(chan uint64)
		go filter(numbers, passed, last)
		numbers = passed
	}
	return outcome{ops: 1, took: time.Since(began), check: last}
}

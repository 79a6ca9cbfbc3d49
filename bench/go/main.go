// The benchmarks on Go, as a Go programmer would write them.
//
// The program speaks as the others do: "bench-go ROW key=value…" prints one line "ns=… ops=… check=…". The standard library is
// enough for every row. start.go is about beginning, ending and resting, talk.go about channels and locks, serve.go
// holds the servers.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// workers is what every runtime gets.
const workers = 2

// args are the numbers that the driver asked for.
type args map[string]uint64

func (a args) get(key string) uint64 {
	value, there := a[key]
	if !there {
		refuse("this benchmark needs " + key + "=NUMBER")
	}
	return value
}

// outcome is what a benchmark has found.
type outcome struct {
	ops   uint64
	took  time.Duration
	check uint64
	// extra is appended to the line as it is.
	extra string
}

var rows = map[string]func(args) outcome{
	"spawn_join":     spawnJoin,
	"yield":          yields,
	"skynet":         skynet,
	"sleepers":       sleepers,
	"idle":           idle,
	"pingpong":       pingpong,
	"pingpong_apart": pingpongApart,
	"mpmc":           mpmc,
	"mpsc":           mpmc,
	"select":         selects,
	"mutex":          mutex,
	"sieve":          sieve,
	"echo":           echo,
	"echo_4k":        echo4k,
	"http":           hello,
}

func main() {
	runtime.GOMAXPROCS(workers)
	if len(os.Args) < 2 {
		refuse("usage: ROW [key=number]…, or --list")
	}
	if os.Args[1] == "--list" {
		for name := range rows {
			fmt.Println(name)
		}
		return
	}
	row, there := rows[os.Args[1]]
	if !there {
		refuse("no such row: " + os.Args[1])
	}
	given := args{}
	for _, word := range os.Args[2:] {
		key, text, _ := strings.Cut(word, "=")
		value, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			refuse("expected key=number, found " + word)
		}
		given[key] = value
	}
	found := row(given)
	fmt.Printf("ns=%d ops=%d check=%d %s\n", found.took.Nanoseconds(), found.ops, found.check, found.extra)
}

func refuse(problem string) {
	fmt.Fprintln(os.Stderr, problem)
	os.Exit(2)
}

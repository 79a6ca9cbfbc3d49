package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// messageBytes is the buffer with which an echo server reads, as in the other programs.
const messageBytes = 1024

// naiveBytes is the buffer of a handler that nobody has thought about.
const naiveBytes = 4096

// listen announces where, and ends the process when standard input is closed.
func listen() net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		refuse(err.Error())
	}
	fmt.Println("listening", listener.Addr())
	go func() {
		os.Stdin.Read(make([]byte, 16))
		os.Exit(0)
	}()
	return listener
}

func echo(a args) outcome { return serve(a, messageBytes) }

func echo4k(a args) outcome { return serve(a, naiveBytes) }

func serve(a args, bufferBytes int) outcome {
	listener := listen()
	if ms := a["burn_ms"]; ms > 0 {
		go func() {
			for {
				burn(time.Duration(ms) * time.Millisecond)
				time.Sleep(time.Duration(1000-ms) * time.Millisecond)
			}
		}()
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			refuse(err.Error())
		}
		go echoUntilClosed(conn, bufferBytes)
	}
}

func echoUntilClosed(conn net.Conn, bufferBytes int) {
	defer conn.Close()
	buf := make([]byte, bufferBytes)
	for {
		got, err := conn.Read(buf)
		if err != nil {
			return
		}
		if _, err := conn.Write(buf[:got]); err != nil {
			return
		}
	}
}

func burn(length time.Duration) {
	for began := time.Now(); time.Since(began) < length; {
	}
}

func hello(args) outcome {
	body := []byte("Hello, world!")
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(body) })
	refuse(http.Serve(listen(), handler).Error())
	return outcome{}
}

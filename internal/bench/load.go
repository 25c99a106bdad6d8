package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// loadResult is what one load said of itself, as JSON on standard output.
type loadResult struct {
	Sent     int64
	Seconds  float64
	P50, P99 float64 // ms
	Max      float64 // ms
}

// load posts 1 KiB messages over kept-alive connections, each waiting for
// its answer, and counts the 201s. It writes its requests by hand: a full HTTP
// client would take as much of the two cores as the server under test. With
// await, a single connection waits for each message's end. With a pace a message's
// time counts from when it was to be sent, so that one that is late delays no figure.
func load(target string, spell time.Duration, s senders) error {
	url, key, _ := strings.Cut(target, " ")
	addr := strings.TrimPrefix(url, "http://")
	var sent atomic.Int64
	var next atomic.Int64
	var mu sync.Mutex
	var times []time.Duration
	var failure error
	var running sync.WaitGroup
	start := time.Now()
	run := strconv.FormatInt(start.UnixNano(), 36)
	for range s.conns {
		running.Go(func() {
			mine, err := sender(addr, key, run, s, func() (n int64, due time.Time, more bool) {
				n = next.Add(1)
				if s.pace > 0 {
					due = start.Add(time.Duration(n) * time.Second / time.Duration(s.pace))
					time.Sleep(time.Until(due))
				}
				if s.messages > 0 {
					return n, due, n <= int64(s.messages)
				}
				return n, due, time.Since(start) < spell
			})
			sent.Add(int64(len(mine)))
			mu.Lock()
			defer mu.Unlock()
			times = append(times, mine...)
			if err != nil {
				failure = err
			}
		})
	}
	running.Wait()
	took := time.Since(start)
	if failure != nil {
		return failure
	}
	slices.Sort(times)
	quantile := func(q float64) float64 {
		if len(times) == 0 {
			return 0
		}
		return float64(times[int(q*float64(len(times)-1))].Microseconds()) / 1000
	}
	return json.NewEncoder(os.Stdout).Encode(loadResult{Sent: sent.Load(), Seconds: took.Seconds(), P50: quantile(0.5), P99: quantile(0.99), Max: quantile(1)})
}

func sender(addr, key, run string, s senders, next func() (n int64, due time.Time, more bool)) ([]time.Duration, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	body := `{"invoice":{"number":"INV-2026-0042","text":"` + strings.Repeat("x", 1024-47) + `"}}`
	head := "POST /v1/routes/" + benchRoute + "/messages HTTP/1.1\r\nHost: " + addr + "\r\nAuthorization: Bearer " + key +
		"\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\nIdempotency-Key: "
	in := bufio.NewReaderSize(conn, 4096)
	var out bytes.Buffer
	var times []time.Duration
	for {
		n, due, more := next()
		if !more {
			return times, nil
		}
		out.Reset()
		out.WriteString(head)
		out.WriteString(run)
		out.WriteByte('-')
		out.WriteString(strconv.FormatInt(n, 10))
		out.WriteString("\r\n\r\n")
		out.WriteString(body)
		began := due
		if s.pace == 0 {
			began = time.Now()
		}
		if _, err := conn.Write(out.Bytes()); err != nil {
			return times, err
		}
		if err := readCreated(in); err != nil {
			return times, err
		}
		if s.await {
			if err := awaitCompleted(conn, in, addr, n+int64(s.already)); err != nil {
				return times, err
			}
		}
		times = append(times, time.Since(began))
	}
}

// awaitCompleted asks until n messages are completed.
func awaitCompleted(conn net.Conn, in *bufio.Reader, addr string, n int64) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Microsecond) { // bounded by the deadline
		if _, err := io.WriteString(conn, "GET /completed HTTP/1.1\r\nHost: "+addr+"\r\n\r\n"); err != nil {
			return err
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		if have, err := strconv.ParseInt(string(answer), 10, 64); err != nil || have >= n {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s of %d messages completed after a minute", answer, n)
		}
	}
}

// readCreated reads one answer and wants it to be 201.
func readCreated(in *bufio.Reader) error {
	status, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	created := bytes.HasPrefix(status, []byte("HTTP/1.1 201 "))
	text := string(status)
	length := 0
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if created {
		_, err := in.Discard(length)
		return err
	}
	answer := make([]byte, length)
	_, _ = io.ReadFull(in, answer)
	return fmt.Errorf("%s: %s", strings.TrimSpace(text), answer)
}

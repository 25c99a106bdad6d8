package api_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/api"
)

// pipes is a listener of connections in memory, for time that tests let pass.
type pipes struct {
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

type pipeConn struct {
	net.Conn
	from string
}

func (p pipeConn) RemoteAddr() net.Addr { return pipeAddr(p.from) }

type pipeAddr string

func (a pipeAddr) Network() string { return "pipe" }
func (a pipeAddr) String() string  { return string(a) }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.incoming:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return pipeAddr("pipe") }

// dial opens a connection that comes from an address.
func (p *pipes) dial(t *testing.T, from string) net.Conn {
	t.Helper()
	mine, theirs := net.Pipe()
	p.incoming <- pipeConn{theirs, from}
	t.Cleanup(func() { _ = mine.Close() })
	return mine
}

// inMemory serves the surface over connections in memory; it must run in a bubble,
// which then holds that no goroutine of the server is left.
func inMemory(t *testing.T, f api.Service, bounds *api.Connections) *pipes {
	t.Helper()
	p := &pipes{incoming: make(chan net.Conn), closed: make(chan struct{})}
	server := api.Server("", api.New(f, api.Options{}))
	var l net.Listener = p
	if bounds != nil {
		l = bounds.Bound(server, p)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the server ended: %v", err)
		}
		time.Sleep(time.Second) // the server leaves a moment to who is still to read its refusal
	})
	return p
}

// drip writes a byte a second until the connection ends, and says how long it took.
func drip(conn net.Conn) time.Duration {
	began := time.Now()
	for {
		if _, err := conn.Write([]byte("x")); err != nil {
			return time.Since(began)
		}
		time.Sleep(time.Second)
	}
}

func TestSlowHeader(t *testing.T) {
	for name, head := range map[string]string{
		"nothing":    "",
		"a line":     "POST /v1/ro",
		"headers":    "POST /v1/routes/orders/messages HTTP/1.1\r\nHost: b\r\nX-A: ",
		"after one":  "GET /healthz HTTP/1.1\r\nHost: b\r\n\r\n",
		"one by one": "GET /healthz HTTP/1.1\r\nHost: b\r\nX-A: 1\r\nX-",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := inMemory(t, newFake(), nil)
				conn := p.dial(t, "192.0.2.1:1")
				go func() { _, _ = io.Copy(io.Discard, conn) }()
				if _, err := io.WriteString(conn, head); err != nil {
					t.Fatal(err)
				}
				// The time of a header begins with its fourth byte when it is not the first.
				if took := drip(conn); took > 15*time.Second {
					t.Errorf("a header that does not end was waited for %s", took)
				}
			})
		})
	}
}

func TestSilentConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := inMemory(t, newFake(), nil)
		for head, most := range map[string]time.Duration{"": 10 * time.Second, "GET /healthz HTTP/1.1\r\nHost: b\r\n\r\n": 2 * time.Minute} {
			conn, began := p.dial(t, "192.0.2.1:1"), time.Now()
			if _, err := io.WriteString(conn, head); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, conn); err != nil || time.Since(began) > most+time.Second {
				t.Errorf("after %q it was kept open for %s (%v)", head, time.Since(began), err)
			}
		}
	})
}

// TestSlowBody: a small one has a minute, a large one a minute for each mebibyte;
// whoever is slower is told so, and nothing of it stays.
func TestSlowBody(t *testing.T) {
	for name, c := range map[string]struct {
		route  string
		length int
		sends  int // bytes at first
		most   time.Duration
	}{
		"small":                {"orders", 100_000, 0, time.Minute},
		"large":                {"large", 90 << 20, 0, time.Minute},
		"large, a part came":   {"large", 90 << 20, 400 << 10, 3 * time.Minute},
		"large, stands in mid": {"large", 90 << 20, 5 << 20, 8 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				p := inMemory(t, f, nil)
				conn := p.dial(t, "192.0.2.1:1")
				answered := make(chan string, 1)
				go func() {
					resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
					if err != nil {
						answered <- err.Error()
						return
					}
					text, _ := io.ReadAll(resp.Body)
					answered <- strconv.Itoa(resp.StatusCode) + " " + string(text)
					_ = conn.Close()
				}()
				if _, err := fmt.Fprintf(conn, "POST /v1/routes/%s/messages HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer any-key\r\nContent-Length: %d\r\n\r\n", c.route, c.length); err != nil {
					t.Fatal(err)
				}
				if _, err := conn.Write(make([]byte, c.sends)); err != nil {
					t.Fatal(err)
				}
				took := drip(conn)
				if said := <-answered; took > c.most+2*time.Second || !strings.HasPrefix(said, "400 ") || !strings.Contains(said, "slowly") {
					t.Errorf("waited for %s, answered %s", took, said)
				}
				if len(f.order) != 0 || len(f.staged) != 0 {
					t.Errorf("%d messages and %d files stay", len(f.order), len(f.staged))
				}
			})
		})
	}
}

// TestSlowReader: an answer that nobody reads does not hold the server for ever.
func TestSlowReader(t *testing.T) {
	for name, c := range map[string]struct {
		size int
		most time.Duration
	}{"small": {1000, 2 * time.Minute}, "large": {3 << 20, 5 * time.Minute}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				sent, err := f.Accept(t.Context(), ferry.Message{Route: "large", Body: bytes.Repeat([]byte("x"), c.size)})
				if err != nil {
					t.Fatal(err)
				}
				bounds := &api.Connections{}
				p := inMemory(t, f, bounds)
				conn, began := p.dial(t, "192.0.2.1:1"), time.Now()
				if _, err := fmt.Fprintf(conn, "GET /v1/messages/%s/body HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer any-key\r\n\r\n", sent.ID); err != nil {
					t.Fatal(err)
				}
				for bounds.Open() > 0 && time.Since(began) < time.Hour {
					time.Sleep(time.Second)
				}
				if took := time.Since(began); took > c.most+2*time.Second {
					t.Errorf("it was waited for %s", took)
				}
			})
		})
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		p := inMemory(t, f, nil)
		conn := p.dial(t, "192.0.2.1:1")
		const n = 100
		go func() {
			var all bytes.Buffer
			for i := range n {
				body := strings.Repeat("x", i+1)
				fmt.Fprintf(&all, "POST /v1/routes/orders/messages?idempotencyKey=%d HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer any-key\r\nContent-Length: %d\r\n\r\n%s", i, len(body), body)
			}
			_, _ = conn.Write(all.Bytes())
		}()
		in := bufio.NewReader(conn)
		for i := range n {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatalf("answer %d: %v", i, err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusCreated {
				t.Fatalf("answer %d: %d, %v", i, resp.StatusCode, err)
			}
			f.mu.Lock()
			want := "/v1/messages/" + f.order[i].String()
			f.mu.Unlock()
			if !strings.HasSuffix(resp.Header.Get("Location"), want) {
				t.Fatalf("answer %d is at %s, want %s", i, resp.Header.Get("Location"), want)
			}
		}
	})
}

// ask makes a request over an open connection.
func ask(conn net.Conn) (status int, err error) {
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: b\r\n\r\n"); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		why := map[string]int{}
		bounds := &api.Connections{Most: 4, PerAddress: 3, Closed: func(reason string) { mu.Lock(); defer mu.Unlock(); why[reason]++ }}
		p := inMemory(t, newFake(), bounds)
		var open []net.Conn
		for i := range 4 {
			conn := p.dial(t, fmt.Sprintf("192.0.2.%d:1", i))
			if status, err := ask(conn); err != nil || status != http.StatusOK {
				t.Fatalf("connection %d: %d, %v", i, status, err)
			}
			open = append(open, conn)
			time.Sleep(time.Second)
		}
		// All idle: a fifth takes the place of the one that has idled the longest.
		fifth := p.dial(t, "192.0.2.9:1")
		if status, err := ask(fifth); err != nil || status != http.StatusOK {
			t.Fatalf("the fifth: %d, %v", status, err)
		}
		if _, err := ask(open[0]); err == nil {
			t.Error("the one that idled the longest is still open")
		}
		for i, conn := range open[1:] {
			if status, err := ask(conn); err != nil || status != http.StatusOK {
				t.Errorf("connection %d was closed: %v", i+1, err)
			}
		}
		// All busy: another one is closed, and they are not.
		busy := append([]net.Conn{fifth}, open[1:]...)
		for _, conn := range busy {
			if _, err := io.WriteString(conn, "POST /v1/routes/orders/messages HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer any-key\r\nContent-Length: 3\r\n\r\nab"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		late := p.dial(t, "192.0.2.10:1")
		if _, err := late.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a connection too many: %v", err)
		}
		for i, conn := range busy {
			if _, err := io.WriteString(conn, "c"); err != nil {
				t.Fatal(err)
			}
			if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != http.StatusCreated {
				t.Errorf("the busy connection %d: %v", i, err)
			}
			_ = conn.Close()
		}
		synctest.Wait()
		if n := bounds.Open(); n != 0 {
			t.Errorf("%d connections are counted, none is open", n)
		}
		// One address has three of the four.
		for i := range 4 {
			conn := p.dial(t, fmt.Sprintf("[2001:db8::%d]:1", i)) // one network
			_ = conn.SetReadDeadline(time.Now().Add(time.Second))
			_, err := conn.Read(make([]byte, 1))
			if want := os.ErrDeadlineExceeded; i < 3 && !errors.Is(err, want) || i == 3 && !errors.Is(err, io.EOF) {
				t.Errorf("connection %d of one address: %v", i, err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if want := (map[string]int{api.ConnectionsIdle: 1, api.ConnectionsFull: 1, api.ConnectionsAddress: 1}); fmt.Sprint(why) != fmt.Sprint(want) {
			t.Errorf("closed for %v, want %v", why, want)
		}
	})
}

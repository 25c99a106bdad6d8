package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/accesslog"
	"ferry/api"
)

// link answers /queue.
type link func(http.ResponseWriter, *http.Request) error

func (l link) ServeQueue(w http.ResponseWriter, r *http.Request) error { return l(w, r) }

// upgraded answers as a link does that took the connection over.
func upgraded(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusSwitchingProtocols)
	return nil
}

// workers connects one.
func (s *surface) workers() {
	s.t.Helper()
	if a := s.call("", http.MethodGet, "/queue", ""); a.StatusCode != http.StatusSwitchingProtocols {
		s.t.Errorf("GET /queue: %d %s", a.StatusCode, a.body)
	}
}

func TestQueueRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		link   api.QueueLink
		method string
		want   int
		says   string
	}{
		"no queue here": {nil, http.MethodGet, 404, "no queue for workers here"},
		"the queue's reason": {link(func(http.ResponseWriter, *http.Request) error {
			return ferry.Errorf(ferry.CodeNotFound, "it is elsewhere").WithHint("go there")
		}), http.MethodGet, 404, `"hint":"go there"`},
		"no WebSocket": {link(func(http.ResponseWriter, *http.Request) error {
			return ferry.Errorf(ferry.CodeUpgradeRequired, "only a WebSocket")
		}), http.MethodGet, 426, `"code":"upgradeRequired"`},
		"another method": {link(upgraded), http.MethodPost, 405, "methodNotAllowed"},
	} {
		s := newSurface(t, func(o *api.Options) { o.Queue = c.link })
		s.wrong = true
		if a := s.call("", c.method, "/queue", ""); a.StatusCode != c.want || !strings.Contains(string(a.body), c.says) {
			t.Errorf("%s: %d %s, want %d %s", name, a.StatusCode, a.body, c.want, c.says)
		}
	}
}

// entries keeps the lines of an access log.
type entries chan accesslog.Entry

func (e entries) Add(one *accesslog.Entry) { e <- *one }

// A connection that was taken over outlives the server's time limits, counts among
// the open ones until it ends, is in the access log once, and does not hold up a stop.
func TestQueueOutlivesTheRequest(t *testing.T) {
	taken := make(chan net.Conn, 1)
	lines := make(entries, 4)
	handler := api.New(newFake(), api.Options{AccessLog: lines, Queue: link(func(w http.ResponseWriter, _ *http.Request) error {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return err
		}
		taken <- conn
		_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		return err
	})})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := api.Server("", handler)
	server.ReadTimeout, server.WriteTimeout, server.IdleTimeout = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	connections := &api.Connections{Most: 2, PerAddress: 2}
	served := make(chan error, 1)
	go func() { served <- server.Serve(connections.Bound(server, listener)) }()

	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = fmt.Fprint(conn, "GET /queue HTTP/1.1\r\nHost: broker\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", answer, err)
	}
	_ = answer.Body.Close()
	own := <-taken
	if line := <-lines; line.Status != 101 || line.Endpoint != "connectWorker" || line.Took > 5*time.Second {
		t.Errorf("access log: %+v", line)
	}
	time.Sleep(150 * time.Millisecond) // longer than any limit of the server
	stopping, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(stopping); err != nil {
		t.Errorf("the stop waits for it: %v", err)
	}
	if err := <-served; err != http.ErrServerClosed {
		t.Error(err)
	}
	if _, err := io.WriteString(own, "still here\n"); err != nil {
		t.Error(err)
	}
	if text, err := reader.ReadString('\n'); err != nil || text != "still here\n" {
		t.Errorf("%q, %v", text, err)
	}
	if n := connections.Open(); n != 1 {
		t.Errorf("%d connections count as open, want 1", n)
	}
	_ = own.Close()
	if n := connections.Open(); n != 0 {
		t.Errorf("%d connections count as open after the end", n)
	}
}

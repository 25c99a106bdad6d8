package natsqueue

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nkeys"
	"go.uber.org/goleak"

	"ferry/queue"
)

// webEnv is a server behind /queue with one worker that may connect.
type webEnv struct {
	t      *testing.T
	server *Server
	web    *webServer
	client *http.Client
	seed   []byte
	public string
}

func newWebEnv(t *testing.T, login time.Duration) *webEnv {
	t.Helper()
	s, err := StartServer(ServerOptions{StoreDir: t.TempDir(), Log: testLog(t), loginTime: login})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	e := &webEnv{t: t, server: s, web: serveWeb(t, s)}
	transport := e.web.Client().Transport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true
	e.client = &http.Client{Transport: transport, Timeout: 10 * time.Second}
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	if e.seed, err = key.Seed(); err != nil {
		t.Fatal(err)
	}
	if e.public, err = key.PublicKey(); err != nil {
		t.Fatal(err)
	}
	e.admit(true)
	return e
}

// admit lets the worker in, or shuts it out.
func (e *webEnv) admit(in bool) {
	e.t.Helper()
	var list []WorkerAuth
	if in {
		list = []WorkerAuth{{Name: "w1", PublicKey: e.public, Routes: []string{"invoices"}}}
	}
	if err := e.server.SetWorkers(list); err != nil {
		e.t.Fatal(err)
	}
}

func (e *webEnv) connect(more func(*ConnectOptions)) (queue.Driver, error) {
	opts := ConnectOptions{Worker: "w1", URL: e.web.url, CA: e.web.ca, Seed: append([]byte(nil), e.seed...), Log: testLog(e.t)}
	if more != nil {
		more(&opts)
	}
	return Connect(e.t.Context(), opts)
}

func (e *webEnv) socket() *websocket.Conn {
	e.t.Helper()
	ws, err := e.trySocket()
	if err != nil {
		e.t.Fatal(err)
	}
	return ws
}

func (e *webEnv) trySocket() (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(e.t.Context(), 10*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, e.web.url, &websocket.DialOptions{HTTPClient: e.client})
	return ws, err
}

// visits is how many are there, and how many of them have not logged in.
func (e *webEnv) visits() (all, strangers int) {
	d := e.server.door
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.visits), d.waiting
}

func (e *webEnv) awaitVisits(want int) {
	e.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		all, strangers := e.visits()
		if all == want {
			return
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("%d visits, %d of them strangers, want %d", all, strangers, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// What is no WebSocket of a worker's is answered, and leaves nothing behind.
func TestDoorRefuses(t *testing.T) {
	e := newWebEnv(t, 0)
	upgrade := map[string]string{
		"Connection": "keep-alive, Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	}
	with := func(name, value string) map[string]string {
		h := map[string]string{}
		for k, v := range upgrade {
			h[k] = v
		}
		h[name] = value
		return h
	}
	for name, c := range map[string]struct {
		method string
		header map[string]string
		says   string
	}{
		"no upgrade":       {"GET", nil, "only a WebSocket"},
		"a POST":           {"POST", upgrade, "only a WebSocket"},
		"another protocol": {"GET", with("Upgrade", "h2c"), "only a WebSocket"},
		"an old version":   {"GET", with("Sec-WebSocket-Version", "8"), "no handshake"},
		"a bad key":        {"GET", with("Sec-WebSocket-Key", "short"), "no handshake"},
		"a page":           {"GET", with("Origin", "https://evil.example"), "pages in a browser"},
		"a page of ours":   {"GET", with("Origin", e.web.URL), "pages in a browser"},
	} {
		r, err := http.NewRequest(c.method, e.web.URL+"/queue", nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range c.header {
			r.Header.Set(k, v)
		}
		answer, err := e.client.Do(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var told struct{ Detail string }
		err = json.NewDecoder(answer.Body).Decode(&told)
		_ = answer.Body.Close()
		if err != nil || answer.StatusCode == http.StatusSwitchingProtocols || !strings.Contains(told.Detail, c.says) {
			t.Errorf("%s: %d %q, %v, want %q", name, answer.StatusCode, told.Detail, err, c.says)
		}
	}
	if all, strangers := e.visits(); all != 0 || strangers != 0 {
		t.Errorf("%d visits, %d strangers are left", all, strangers)
	}
}

// What is said on a WebSocket that is no NATS ends it, and nothing else.
func TestDoorGarbage(t *testing.T) {
	e := newWebEnv(t, 300*time.Millisecond)
	d, err := e.connect(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close(context.Background()) }()
	for name, say := range map[string]func(ctx context.Context, ws *websocket.Conn) error{
		"text": func(ctx context.Context, ws *websocket.Conn) error {
			return ws.Write(ctx, websocket.MessageText, []byte("PING\r\n"))
		},
		"no protocol": func(ctx context.Context, ws *websocket.Conn) error {
			return ws.Write(ctx, websocket.MessageBinary, []byte("GET / HTTP/1.1\r\n\r\n"))
		},
		"a long line": func(ctx context.Context, ws *websocket.Conn) error {
			return ws.Write(ctx, websocket.MessageBinary, []byte(strings.Repeat("x", 64<<10)))
		},
		"before login": func(ctx context.Context, ws *websocket.Conn) error {
			return ws.Write(ctx, websocket.MessageBinary, []byte("SUB > 1\r\n"))
		},
		"a huge message": func(ctx context.Context, ws *websocket.Conn) error {
			return ws.Write(ctx, websocket.MessageBinary, make([]byte, 8<<20))
		},
		"nothing": func(context.Context, *websocket.Conn) error { return nil },
		"a beginning": func(ctx context.Context, ws *websocket.Conn) error {
			w, err := ws.Writer(ctx, websocket.MessageBinary)
			if err == nil {
				_, err = w.Write([]byte("CONN"))
			}
			return err
		},
	} {
		ws := e.socket()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_ = say(ctx, ws) // it may be cut off while it talks
		for {
			if _, _, err := ws.Read(ctx); err != nil {
				if ctx.Err() != nil {
					t.Errorf("%s: the connection goes on", name)
				}
				break
			}
		}
		cancel()
		_ = ws.CloseNow()
	}
	// Frames that are none, below the library.
	e.rawFrame([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	e.rawFrame([]byte{0x82, 0x7f, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) // not masked, and without end
	e.awaitVisits(1)
	if _, err := d.Request(t.Context(), []byte("?")); errors.Is(err, queue.ErrUnauthorized) || errors.Is(err, queue.ErrClosed) {
		t.Errorf("the worker beside them: %v", err)
	}
}

// rawFrame sends bytes in the place of frames, and waits until it is cut off.
func (e *webEnv) rawFrame(frame []byte) {
	e.t.Helper()
	conn, err := tls.Dial("tcp", e.web.Listener.Addr().String(), e.client.Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		e.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	const ask = "GET /queue HTTP/1.1\r\nHost: broker\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	if _, err := conn.Write(append([]byte(ask), frame...)); err != nil {
		e.t.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() || !strings.HasPrefix(string(text), "HTTP/1.1 101") {
		e.t.Errorf("%x: %v, %.40q", frame, err, text)
	}
}

// A thousand that never log in are let in a few at a time, end by themselves, and
// leave nothing; the worker that was there before is not disturbed, and a new one
// gets in as soon as they are gone.
func TestDoorStrangers(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("strangers", func(t *testing.T) {
		e := newWebEnv(t, time.Second)
		e.web = servePlainWeb(t, e.server)
		d, err := e.connect(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = d.Close(context.Background()) }()
		var mu sync.Mutex
		var open []*websocket.Conn
		refused := 0
		var group sync.WaitGroup
		slots := make(chan struct{}, 64)
		for range 1000 {
			slots <- struct{}{}
			group.Go(func() {
				defer func() { <-slots }()
				ws, err := e.trySocket()
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					refused++
					return
				}
				open = append(open, ws)
			})
			if _, strangers := e.visits(); strangers > maxStrangersFrom {
				t.Fatalf("%d strangers of one address are in", strangers)
			}
		}
		group.Wait()
		if refused == 0 || len(open) < maxStrangersFrom {
			t.Errorf("%d refused, %d let in", refused, len(open))
		}
		e.awaitVisits(1) // each was cut off after its second
		if !d.(*driver).link.isUp() {
			t.Error("the worker was disturbed")
		}
		again, err := e.connect(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.server.Connections(); len(got) != 2 || got[0].Via != ViaQueue || got[0].PublicKey != e.public || got[0].Address == "" {
			t.Errorf("connections: %+v", got)
		}
		_ = again.Close(context.Background())
		for _, ws := range open {
			_ = ws.CloseNow()
		}
	})
	goleak.VerifyNone(t, before)
}

// Who floods and never reads is cut off with its login at once.
func TestDoorRevokedUnderLoad(t *testing.T) {
	e := newWebEnv(t, 0)
	ws := e.socket()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, info, err := ws.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var told struct{ Nonce string }
	if err := json.Unmarshal(info[len("INFO "):], &told); err != nil {
		t.Fatal(err)
	}
	login := connectLine(t, e.seed, e.public, told.Nonce)
	if err := ws.Write(ctx, websocket.MessageBinary, []byte(login+"PING\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, pong, err := ws.Read(ctx); err != nil || !strings.HasPrefix(string(pong), "PONG") {
		t.Fatalf("%q, %v", pong, err)
	}
	flood := make(chan error, 1)
	go func() {
		questions := []byte(strings.Repeat("PUB ferry.ask.w1 ferry.inbox.w1.x 4\r\nping\r\nPING\r\n", 200))
		for {
			if err := ws.Write(ctx, websocket.MessageBinary, questions); err != nil {
				flood <- err
				return
			}
		}
	}()
	time.Sleep(100 * time.Millisecond) // the answers fill every buffer on the way
	began := time.Now()
	e.admit(false)
	select {
	case <-flood:
	case <-ctx.Done():
		t.Fatal("it still talks")
	}
	e.awaitVisits(0)
	if took := time.Since(began); took > leaveTime+2*time.Second {
		t.Errorf("cut off after %s", took)
	}
	_ = ws.CloseNow()

	_, err = e.connect(nil)
	if !errors.Is(err, queue.ErrUnauthorized) {
		t.Errorf("a revoked worker connects: %v", err)
	}
}

// connectLine is the login of a seed.
func connectLine(t *testing.T, seed []byte, public, nonce string) string {
	t.Helper()
	key, err := nkeys.FromSeed(append([]byte(nil), seed...))
	if err != nil {
		t.Fatal(err)
	}
	signature, err := key.Sign([]byte(nonce))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"nkey": public, "sig": base64.RawURLEncoding.EncodeToString(signature), "verbose": false, "pedantic": false})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("CONNECT %s\r\n", text)
}

// One login may not take every place.
func TestDoorOneLoginTooOften(t *testing.T) {
	d := newDoor(nil, slog.New(slog.DiscardHandler))
	var last *visit
	for i := range maxLoginVisits + 1 {
		v, err := d.admit(fmt.Sprintf("192.0.2.%d:1", i))
		if err != nil {
			t.Fatal(err)
		}
		d.meet(v, uint64(i+1))
		d.entered(v.id, "U1")
		last = v
		if i < maxLoginVisits && v.ctx.Err() != nil {
			t.Fatalf("visit %d is ended", i)
		}
	}
	if last.ctx.Err() == nil {
		t.Error("one more than a login may have goes on")
	}
	if _, strangers := d.waiting, len(d.strangers); strangers != 0 {
		t.Errorf("%d addresses of strangers are remembered", strangers)
	}
}

// Addresses of one network of IPv6 count as one: a customer has 2^64 of them.
func TestHostOf(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:51000":         "192.0.2.7",
		"[::ffff:192.0.2.7]:1":    "192.0.2.7",
		"[2001:db8:1:2:3::4]:443": "2001:db8:1:2::/64",
		"pipe":                    "pipe",
	} {
		if got := hostOf(remote); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
}

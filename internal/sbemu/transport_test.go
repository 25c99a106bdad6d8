package sbemu

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"github.com/coder/websocket"

	"ferry/internal/sbemu/wire"
)

var noRetry = policy.RetryOptions{MaxRetries: -1}

// there and back, whatever the transport.
func roundTrip(t *testing.T, c *azservicebus.Client) {
	t.Helper()
	send(t, sender(t, c, "orders"), &azservicebus.Message{Body: make([]byte, 200<<10)})
	r := receiver(t, c, "orders", nil)
	m := receive(t, r)
	if len(m.Body) != 200<<10 {
		t.Errorf("%d bytes came", len(m.Body))
	}
	must(t, r.CompleteMessage(within(t), m, nil))
}

func TestTLSWithCustomEndpoint(t *testing.T) {
	cert := certificate(t)
	s := start(t, Options{TLS: cert.server})
	if !strings.HasPrefix(s.ConnectionString(), "Endpoint=sb://"+Host+"/;") {
		t.Errorf("the connection string is %q", strings.Split(s.ConnectionString(), ";SharedAccessKey=")[0])
	}
	roundTrip(t, clientOf(t, s.ConnectionString(), &azservicebus.ClientOptions{TLSConfig: cert.client, CustomEndpoint: s.Addr()}))
}

func TestWebSocket(t *testing.T) {
	cert := certificate(t)
	s := start(t, Options{TLS: cert.server})
	web := &http.Client{Transport: &http.Transport{
		TLSClientConfig: cert.client,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, s.Addr())
		},
	}}
	t.Cleanup(web.CloseIdleConnections)
	roundTrip(t, clientOf(t, s.ConnectionString(), &azservicebus.ClientOptions{
		NewWebSocketConn: func(ctx context.Context, args azservicebus.NewWebSocketConnArgs) (net.Conn, error) {
			if args.Host != "wss://"+Host+"/$servicebus/websocket" {
				t.Errorf("dialled %s", args.Host)
			}
			ws, _, err := websocket.Dial(ctx, args.Host, &websocket.DialOptions{Subprotocols: []string{"amqp"}, HTTPClient: web})
			if err != nil {
				return nil, err
			}
			ws.SetReadLimit(-1)
			return websocket.NetConn(context.Background(), ws, websocket.MessageBinary), nil
		},
	}))
}

func TestWebSocketIsCut(t *testing.T) {
	s := start(t, Options{})
	ctx := within(t)
	ws, _, err := websocket.Dial(ctx, "ws://"+s.Addr()+"/$servicebus/websocket", &websocket.DialOptions{Subprotocols: []string{"amqp"}})
	must(t, err)
	must(t, ws.Write(ctx, websocket.MessageBinary, []byte(wire.HeaderAMQP)))
	if _, b, err := ws.Read(ctx); err != nil || string(b) != wire.HeaderAMQP {
		t.Fatalf("read %q, %v", b, err)
	}
	s.DropConnections()
	if _, _, err := ws.Read(ctx); err == nil {
		t.Error("the WebSocket goes on")
	}
	_ = ws.CloseNow()
}

func TestWebSocketOfAnotherProtocol(t *testing.T) {
	s := start(t, Options{})
	ctx := within(t)
	ws, _, err := websocket.Dial(ctx, "ws://"+s.Addr()+"/$servicebus/websocket", &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
	must(t, err)
	if _, _, err := ws.Read(ctx); websocket.CloseStatus(err) != websocket.StatusProtocolError {
		t.Errorf("read: %v", err)
	}
	_ = ws.CloseNow()
}

func TestOnePortSpeaksEverything(t *testing.T) {
	cert := certificate(t)
	s := start(t, Options{TLS: cert.server})
	for _, scheme := range []string{"http", "https"} {
		web := &http.Client{Transport: &http.Transport{TLSClientConfig: cert.client}}
		resp, err := web.Get(scheme + "://" + s.Addr() + "/orders")
		must(t, err)
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %s", scheme, resp.Status)
		}
		web.CloseIdleConnections()
	}
	c, err := tls.Dial("tcp", s.Addr(), cert.client)
	must(t, err)
	_, err = c.Write([]byte(wire.HeaderAMQP))
	must(t, err)
	got := make([]byte, 8)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != wire.HeaderAMQP {
		t.Errorf("read %q, %v", got, err)
	}
	_ = c.Close()
}

func TestTLSIsRefusedWithoutACertificate(t *testing.T) {
	s := start(t, Options{})
	if c, err := tls.Dial("tcp", s.Addr(), certificate(t).client); err == nil {
		t.Error("a handshake without a certificate")
		_ = c.Close()
	}
}

func TestCloseEndsEverything(t *testing.T) {
	s, err := Start(Options{})
	must(t, err)
	p := dial(t, s)
	idle, err := net.Dial("tcp", s.Addr())
	must(t, err)
	must(t, s.Close())
	must(t, s.Close())
	if _, _, err := p.next(); err == nil {
		t.Error("the connection goes on")
	}
	if _, err := idle.Read(make([]byte, 1)); err == nil {
		t.Error("a connection that said nothing goes on")
	}
	_ = idle.Close()
	if c, err := net.Dial("tcp", s.Addr()); err == nil {
		t.Error("the port is still open")
		_ = c.Close()
	}
}

func TestBadOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"delay":  {Delay: -1},
		"frames": {Limits: Limits{FrameBytes: 100}},
		"listen": {Listen: "127.0.0.1:none"},
		"queue":  {Queues: queuesNamed("$bad")},
		"twice":  {Queues: queuesNamed("a", "A")},
	} {
		if s, err := Start(o); err == nil {
			t.Errorf("%s: started", name)
			_ = s.Close()
		}
	}
}

// What is sent at t arrives at t plus the delay, each way, however much is sent.
func TestDelayIsLatencyAndNoBottleneck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const by = 10 * time.Millisecond
		near, far := net.Pipe()
		d := delay(far, by)
		began := time.Now()
		go func() {
			for i := range 100 {
				_, _ = near.Write([]byte{byte(i)})
			}
		}()
		got := make([]byte, 0, 100)
		for buf := make([]byte, 10); len(got) < 100; {
			n, err := d.Read(buf)
			must(t, err)
			got = append(got, buf[:n]...)
		}
		if took := time.Since(began); took != by {
			t.Errorf("100 writes arrived after %s", took)
		}
		for i, b := range got {
			if int(b) != i {
				t.Fatalf("byte %d is %d", i, b)
			}
		}
		began = time.Now()
		for range 100 {
			_, err := d.Write([]byte("x"))
			must(t, err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("writing took %s", took)
		}
		for buf := make([]byte, 1); len(got) < 200; got = append(got, buf...) {
			_, err := io.ReadFull(near, buf)
			must(t, err)
		}
		if took := time.Since(began); took != by {
			t.Errorf("100 writes back arrived after %s", took)
		}
		must(t, d.SetReadDeadline(time.Now().Add(time.Second)))
		if _, err := d.Read(make([]byte, 1)); err == nil || !os.IsTimeout(err) || time.Since(began) != by+time.Second {
			t.Errorf("read: %v after %s", err, time.Since(began))
		}
		must(t, d.SetReadDeadline(time.Time{}))
		_, _ = near.Write([]byte("last"))
		_ = near.Close()
		if b, err := io.ReadAll(d); err != nil || string(b) != "last" { // what was on its way comes before the end
			t.Errorf("read %q, %v", b, err)
		}
		must(t, d.Close())
		if _, err := d.Write([]byte("x")); err == nil {
			t.Error("wrote after the end")
		}
	})
}

func TestRoundTripOverADelay(t *testing.T) {
	s := start(t, Options{Delay: 10 * time.Millisecond})
	from := sender(t, client(t, s), "orders")
	send(t, from, &azservicebus.Message{})
	began := time.Now()
	send(t, from, &azservicebus.Message{})
	if took := time.Since(began); took < 20*time.Millisecond {
		t.Errorf("a round trip of 20 ms took %s", took)
	}
}

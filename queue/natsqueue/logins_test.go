package natsqueue

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"ferry/queue"
)

// rawLogin speaks the protocol itself: it sends what connect makes of the
// nonce, once or more, and gives the server's answer to a ping after that.
func rawLogin(t *testing.T, s *Server, connects ...func(nonce string) map[string]any) string {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	line, err := in.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		Nonce string `json:"nonce"`
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info); err != nil {
		t.Fatal(err)
	}
	for _, connect := range connects {
		fields := connect(info.Nonce)
		fields["verbose"], fields["pedantic"] = false, false
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(c, "CONNECT %s\r\nPING\r\n", text); err != nil {
			return err.Error()
		}
		if line, err = in.ReadString('\n'); err != nil {
			return err.Error()
		}
	}
	return strings.TrimSpace(line)
}

func TestLogins(t *testing.T) {
	public, seed := newKey(t)
	strange, strangeSeed := newKey(t)
	s := start(t, ServerOptions{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", Workers: []WorkerAuth{
		{Name: "worker-one", PublicKey: public, Routes: []string{"route-a"}},
	}})
	// as logs in with a key, over a signature by seed of the text that it is given.
	as := func(key string, seed []byte, encode func([]byte) string, text func(nonce string) string) func(string) map[string]any {
		pair, err := nkeys.FromSeed(seed)
		if err != nil {
			t.Fatal(err)
		}
		return func(nonce string) map[string]any {
			sig, err := pair.Sign([]byte(text(nonce)))
			if err != nil {
				t.Fatal(err)
			}
			return map[string]any{"nkey": key, "sig": encode(sig)}
		}
	}
	forURLs, standard := base64.RawURLEncoding.EncodeToString, base64.StdEncoding.EncodeToString
	nonce := func(nonce string) string { return nonce }
	good := as(public, seed, forURLs, nonce)
	const refused = "-ERR 'Authorization Violation'"
	for name, c := range map[string]struct {
		want string
		log  []func(string) map[string]any
	}{
		"known key":                        {"PONG", []func(string) map[string]any{good}},
		"known key, standard base64":       {"PONG", []func(string) map[string]any{as(public, seed, standard, nonce)}},
		"known key, twice":                 {"PONG", []func(string) map[string]any{good, good}},
		"unknown key":                      {refused, []func(string) map[string]any{as(strange, strangeSeed, forURLs, nonce)}},
		"signed by another key":            {refused, []func(string) map[string]any{as(public, strangeSeed, forURLs, nonce)}},
		"the broker's key, signed by none": {refused, []func(string) map[string]any{as(s.public, strangeSeed, forURLs, nonce)}},
		"another nonce signed":             {refused, []func(string) map[string]any{as(public, seed, forURLs, func(string) string { return "other" })}},
		"no signature":                     {refused, []func(string) map[string]any{func(string) map[string]any { return map[string]any{"nkey": public} }}},
		"no base64":                        {refused, []func(string) map[string]any{func(string) map[string]any { return map[string]any{"nkey": public, "sig": "%"} }}},
		"no key":                           {refused, []func(string) map[string]any{func(string) map[string]any { return map[string]any{} }}},
		"the key as a user":                {refused, []func(string) map[string]any{func(string) map[string]any { return map[string]any{"user": public, "pass": ""} }}},
		"then as a stranger":               {refused, []func(string) map[string]any{good, as(strange, strangeSeed, forURLs, nonce)}},
	} {
		if got := rawLogin(t, s, c.log...); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// speaker is a worker that speaks NATS below the driver.
func speaker(t *testing.T, s *Server, name, public string, seed []byte) *nats.Conn {
	t.Helper()
	key, err := nkeys.FromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(s.URL(), nats.Nkey(public, key.Sign), nats.CustomInboxPrefix(inboxOf+name),
		nats.NoReconnect(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// may says whether the connection may publish to the subject, by the last denial
// that the server sent: ask for each subject once.
func may(t *testing.T, nc *nats.Conn, subject string) bool {
	t.Helper()
	if err := errors.Join(nc.Publish(subject, nil), nc.Flush()); err != nil {
		t.Fatal(err)
	}
	return nc.LastError() == nil || !strings.Contains(nc.LastError().Error(), `"`+subject+`"`)
}

func TestSetWorkersTouchesOnlyWhoChanged(t *testing.T) {
	const nextA, nextB = nextSubject + messageStream + ".route-a", nextSubject + messageStream + ".route-b"
	public, seed := newKey(t)
	otherPublic, otherSeed := newKey(t)
	one := WorkerAuth{Name: "worker-one", PublicKey: public, Routes: []string{"route-a"}}
	two := WorkerAuth{Name: "worker-two", PublicKey: otherPublic, Routes: []string{"route-a"}}
	s := start(t, ServerOptions{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", Workers: []WorkerAuth{one, two}})
	a, b := speaker(t, s, one.Name, public, seed), speaker(t, s, two.Name, otherPublic, otherSeed)
	set := func(workers ...WorkerAuth) {
		t.Helper()
		if err := s.SetWorkers(workers); err != nil {
			t.Fatal(err)
		}
	}
	stay := func(what string, conns ...*nats.Conn) {
		t.Helper()
		for _, nc := range conns {
			if err := nc.Flush(); err != nil {
				t.Fatalf("%s: a connection was cut: %v", what, err)
			}
		}
	}
	set(one, two)
	stay("the same list", a, b)

	one.Routes = []string{"route-b"}
	set(one, two)
	stay("other routes", a, b)
	if may(t, a, nextA) {
		t.Error("a route that was taken away may still be received")
	}
	if !may(t, a, nextB) {
		t.Error("a route that was added may not be received")
	}
	if !may(t, b, nextA) {
		t.Error("the other worker's route is gone")
	}

	// Whoever is out counts for nothing from the moment that SetWorkers returns,
	// also with what is under way by then.
	ledger := brokerOf(t, s)
	if _, err := ledger.Ensure(t.Context(), queue.AllReceipts()); err != nil {
		t.Fatal(err)
	}
	set(two)
	_ = a.Publish(receiptSubject+one.Name, []byte("too late")) // it may not know yet
	_ = a.Flush()
	stay("another worker removed", b)
	eventually(t, "the removed worker's connection ends", a.IsClosed)
	stream, err := ledger.(*driver).keep.manager.js.Stream(t.Context(), receiptStream)
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 0 {
		t.Errorf("%d receipts of a removed worker", n)
	}

	// A key under another name hears something else.
	two.Name = "worker-three"
	set(two)
	eventually(t, "the connection under the old name ends", b.IsClosed)
	stay("", speaker(t, s, two.Name, otherPublic, otherSeed))
}

func TestLoginsForgetConnectionsThatEnded(t *testing.T) {
	public, seed := newKey(t)
	s := start(t, ServerOptions{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", Workers: []WorkerAuth{
		{Name: "worker-one", PublicKey: public, Routes: []string{"route-a"}},
	}})
	for range 5 * sweepFrom {
		speaker(t, s, "worker-one", public, seed).Close()
	}
	s.logins.mu.Lock()
	defer s.logins.mu.Unlock()
	if n := len(s.logins.open); n > 2*sweepFrom {
		t.Errorf("%d connections are remembered, and hardly any is open", n)
	}
}

// Workers come and go while others work: the server must not write to what it
// reads for them. Only the race detector sees the difference.
func TestWorkersChangeWhileMessagesFlow(t *testing.T) {
	ctx := patient(t)
	public, seed := newKey(t)
	strange, _ := newKey(t)
	steady := WorkerAuth{Name: "worker-one", PublicKey: public, Routes: []string{"route-a"}}
	s := start(t, ServerOptions{StoreDir: t.TempDir(), Workers: []WorkerAuth{steady}})
	broker := brokerOf(t, s)
	address := queue.MessagesOf("route-a")
	if _, err := broker.Ensure(ctx, address); err != nil {
		t.Fatal(err)
	}
	w, err := Connect(ctx, ConnectOptions{Worker: steady.Name, InProcess: s, Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(ctx)
	const rounds = 100
	done := make(chan struct{})
	var all sync.WaitGroup
	until := func(what string, do func() error) {
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := do(); err != nil {
					t.Errorf("%s: %v", what, err)
					return
				}
			}
		})
	}
	until("ask for progress", func() error {
		_, err := broker.Progress(ctx, address)
		return err
	})
	until("deliver", func() error {
		if _, err := broker.Publish(ctx, address, []queue.Packet{{Data: []byte("x")}}); err != nil {
			return err
		}
		items, err := w.Receive(ctx, address, 1)
		for _, item := range items {
			err = errors.Join(err, w.Settle(ctx, address, item, queue.Complete))
		}
		return err
	})
	for i := range rounds {
		workers := []WorkerAuth{steady}
		if i%2 == 0 {
			workers[0].Routes = []string{"route-a", "route-b"}
			workers = append(workers, WorkerAuth{Name: "worker-two", PublicKey: strange, Routes: []string{"route-a"}})
		}
		if err := s.SetWorkers(workers); err != nil {
			t.Errorf("set the workers: %v", err)
			break
		}
		if _, err := broker.Progress(ctx, address); err != nil { // let the others have their turn
			t.Errorf("ask for progress: %v", err)
			break
		}
	}
	close(done)
	all.Wait()
}

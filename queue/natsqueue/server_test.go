package natsqueue

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"ferry/queue"
)

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func eventually(t *testing.T, what string, ask func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !ask(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never happened: %s", what)
		}
	}
}

// connectionOf logs in as a worker, with no code of ours on that side.
func connectionOf(t *testing.T, s *Server, worker, public string, seed []byte) *nats.Conn {
	t.Helper()
	key, err := nkeys.FromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(s.URL(), nats.Nkey(public, key.Sign), nats.CustomInboxPrefix(inboxOf+worker))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func start(t *testing.T, opts ServerOptions) *Server {
	t.Helper()
	s, err := StartServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func brokerOf(t *testing.T, s *Server) queue.Driver {
	t.Helper()
	d, err := s.Driver()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close(context.Background()) })
	return d
}

func newKey(t *testing.T) (public string, seed []byte) {
	t.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = key.PublicKey(); err != nil {
		t.Fatal(err)
	}
	if seed, err = key.Seed(); err != nil {
		t.Fatal(err)
	}
	return public, seed
}

func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = StartServer(ServerOptions{StoreDir: t.TempDir(), Listen: taken.Addr().String()})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("start: %v, want EADDRINUSE", err)
	}
}

func TestWithoutListenNoPortIsOpened(t *testing.T) {
	s := start(t, ServerOptions{StoreDir: t.TempDir()})
	if s.URL() != "" || s.nats.Addr() != nil {
		t.Errorf("url %q, address %v, want none", s.URL(), s.nats.Addr())
	}
}

// A store that is gone or damaged is a normal start.
func TestDamagedStore(t *testing.T) {
	streams := filepath.Join("jetstream", "$G", "streams")
	for name, c := range map[string]struct {
		damage func(dir string) error
		aside  bool
	}{
		"folder deleted": {func(dir string) error { return os.RemoveAll(dir) }, false},
		"stream deleted": {func(dir string) error { return os.RemoveAll(filepath.Join(dir, streams, messageStream)) }, false},
		"definition garbled": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, streams, messageStream, "meta.inf"), []byte("{garbled"), 0o600)
		}, true},
		"definition deleted": {func(dir string) error {
			return os.Remove(filepath.Join(dir, streams, messageStream, "meta.inf"))
		}, true},
		"checksum wrong": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, streams, receiptStream, "meta.sum"), []byte("0123456789abcdef"), 0o600)
		}, true},
		"consumer garbled": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, streams, messageStream, "obs", "invoices", "o.dat"), bytes.Repeat([]byte{0xa5}, 40), 0o600)
		}, true},
		"consumer's definition garbled": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, streams, receiptStream, "obs", "broker", "meta.inf"), []byte("{garbled"), 0o600)
		}, true},
		"blocks garbled": {func(dir string) error { return garbleBlocks(filepath.Join(dir, streams, messageStream, "msgs")) }, false},
		"a file in the way": {func(dir string) error {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			return os.WriteFile(dir, []byte("not a folder"), 0o600)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := patient(t)
			dir := filepath.Join(t.TempDir(), "queue")
			address := queue.MessagesOf("invoices")
			fill(t, dir, address)
			if err := c.damage(dir); err != nil {
				t.Fatal(err)
			}
			log := new(syncBuffer)
			s := start(t, ServerOptions{StoreDir: dir, Log: slog.New(slog.NewTextHandler(log, nil))})
			d := brokerOf(t, s)
			for _, a := range []queue.Address{address, queue.AllReceipts()} {
				if _, err := d.Ensure(ctx, a); err != nil {
					t.Fatalf("ensure: %v", err)
				}
			}
			if _, err := d.Publish(ctx, address, []queue.Packet{{ID: "again", Data: []byte("again")}}); err != nil {
				t.Fatalf("publish: %v", err)
			}
			eventually(t, "the new packet comes", func() bool {
				items, err := d.Receive(ctx, address, 10)
				if err != nil {
					t.Fatalf("receive: %v", err)
				}
				for _, item := range items {
					if string(item.Data) == "again" {
						return true
					}
				}
				return false
			})
			moved, err := filepath.Glob(dir + ".damaged-*")
			if err != nil || (len(moved) == 1) != c.aside {
				t.Errorf("moved aside: %v, %v, want %v", moved, err, c.aside)
			}
			if c.aside != strings.Contains(log.String(), "queue.store.damaged") {
				t.Errorf("the log:\n%s", log)
			}
		})
	}
}

// fill makes a store with a few packets and stops its server.
func fill(t *testing.T, dir string, address queue.Address) {
	t.Helper()
	ctx := patient(t)
	s, err := StartServer(ServerOptions{StoreDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Driver()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []queue.Address{address, queue.AllReceipts()} {
		if _, err := d.Ensure(ctx, a); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Publish(ctx, address, []queue.Packet{{ID: "1", Data: []byte("one")}, {ID: "2", Data: []byte("two")}}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Close(ctx), s.Shutdown(ctx)); err != nil {
		t.Fatal(err)
	}
}

func garbleBlocks(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		return errors.Join(err, errors.New("there are no files to garble"))
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err == nil && info.Mode().IsRegular() {
			err = os.WriteFile(f, bytes.Repeat([]byte{0xa5}, int(info.Size())), 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func TestConnectErrors(t *testing.T) {
	ctx := patient(t)
	s := start(t, ServerOptions{StoreDir: t.TempDir(), Listen: "127.0.0.1:0"})
	_, stranger := newKey(t)
	secret := string(stranger)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "worker.nk")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		opts ConnectOptions
		want error
	}{
		"unknown key":            {ConnectOptions{URL: s.URL(), Seed: []byte(secret)}, queue.ErrUnauthorized},
		"unknown key, file":      {ConnectOptions{URL: s.URL(), SeedFile: file}, queue.ErrUnauthorized},
		"unknown key in process": {ConnectOptions{InProcess: s, Seed: []byte(secret)}, queue.ErrUnauthorized},
		"nobody listens":         {ConnectOptions{URL: "nats://" + nobody, Seed: []byte(secret)}, queue.ErrUnavailable},
		"no such file":           {ConnectOptions{URL: s.URL(), SeedFile: file + "x"}, os.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			c.opts.Worker = "worker-one"
			began := time.Now()
			_, err := Connect(ctx, c.opts)
			if !errors.Is(err, c.want) {
				t.Fatalf("connect: %v, want %v", err, c.want)
			}
			if strings.Contains(err.Error(), secret) {
				t.Error("the error holds the seed")
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
	if _, err := Connect(ctx, ConnectOptions{Worker: "worker-one", URL: s.URL(), Seed: []byte("SUNOTASEED")}); err == nil ||
		strings.Contains(err.Error(), "NOTASEED") {
		t.Errorf("connect with a bad seed: %v", err)
	}
}

// Below the driver: what the server itself denies a worker that speaks NATS.
func TestServerDeniesWorkers(t *testing.T) {
	ctx := patient(t)
	public, seed := newKey(t)
	otherPublic, _ := newKey(t)
	s := start(t, ServerOptions{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", Workers: []WorkerAuth{
		{Name: "worker-one", PublicKey: public, Routes: []string{"route-a"}},
		{Name: "worker-two", PublicKey: otherPublic, Routes: []string{"route-b"}},
	}})
	d := brokerOf(t, s)
	for _, a := range []queue.Address{queue.MessagesOf("route-a"), queue.MessagesOf("route-b"), queue.AllReceipts()} {
		if _, err := d.Ensure(ctx, a); err != nil {
			t.Fatal(err)
		}
	}
	key, err := nkeys.FromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	denied := make(chan error, 1)
	nc, err := nats.Connect(s.URL(), nats.Nkey(public, key.Sign), nats.CustomInboxPrefix(inboxOf+"worker-one"),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	isDenied := func() bool {
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-denied:
			return errors.Is(err, nats.ErrPermissionViolation)
		case <-time.After(200 * time.Millisecond):
			return false
		}
	}
	for _, subject := range []string{
		"ferry.msg.route-a", "ferry.msg.route-b", "ferry.receipt.worker-two", "ferry.receipt.-broker", "ferry.ask.worker-two",
		"ferry.signal.worker-one", "ferry.signal.worker-two", "ferry.inbox.worker-two.x", "ferry.inbox.-broker.x",
		"$JS.API.CONSUMER.MSG.NEXT.FERRY_MSG.route-b", "$JS.API.CONSUMER.INFO.FERRY_MSG.route-b",
		"$JS.API.CONSUMER.MSG.NEXT.FERRY_RCPT.broker", "$JS.ACK.FERRY_MSG.route-b.1.1.1.1.0", "$JS.ACK.FERRY_RCPT.broker.1.1.1.1.0",
		"$JS.API.CONSUMER.CREATE.FERRY_MSG", "$JS.API.CONSUMER.CREATE.FERRY_MSG.x.ferry.msg.route-a",
		"$JS.API.CONSUMER.DURABLE.CREATE.FERRY_MSG.route-a", "$JS.API.CONSUMER.DELETE.FERRY_MSG.route-a",
		"$JS.API.STREAM.CREATE.X", "$JS.API.STREAM.DELETE.FERRY_MSG", "$JS.API.STREAM.PURGE.FERRY_MSG",
		"$JS.API.STREAM.MSG.GET.FERRY_MSG", "$JS.API.DIRECT.GET.FERRY_MSG", "$JS.API.INFO", "$SYS.REQ.SERVER.PING",
	} {
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		if !isDenied() {
			t.Errorf("publishing to %s is allowed", subject)
		}
	}
	for _, subject := range []string{
		">", "ferry.>", "ferry.msg.route-a", "ferry.ask.*", "ferry.receipt.*", "ferry.signal.worker-two", "ferry.signal.*",
		"ferry.inbox.worker-two.>", "ferry.inbox.-broker.>", "_INBOX.>", "$JS.>", "$SYS.>",
	} {
		if _, err := nc.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		if !isDenied() {
			t.Errorf("subscribing to %s is allowed", subject)
		}
	}
	for _, subject := range []string{
		"ferry.receipt.worker-one", "ferry.ask.worker-one", "$JS.API.CONSUMER.INFO.FERRY_MSG.route-a",
		"$JS.API.CONSUMER.MSG.NEXT.FERRY_MSG.route-a", "$JS.ACK.FERRY_MSG.route-a.1.1.1.1.0", "$JS.ACK._.hash.FERRY_MSG.route-a.1.1.1.1.0",
	} {
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		if isDenied() {
			t.Errorf("publishing to %s is denied", subject)
		}
	}
}

// A worker may not have the broker's answer sent where the worker itself may not publish.
func TestAnswersGoToTheirAskerOnly(t *testing.T) {
	ctx := patient(t)
	public, seed := newKey(t)
	s := start(t, ServerOptions{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", Workers: []WorkerAuth{
		{Name: "worker-one", PublicKey: public, Routes: []string{"route-a"}},
	}})
	d := brokerOf(t, s)
	if _, err := d.Ensure(ctx, queue.AllReceipts()); err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 10)
	stop, err := d.Serve(ctx, func(_ context.Context, _ string, data []byte) []byte {
		asked <- string(data)
		return []byte("forged")
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	nc := connectionOf(t, s, "worker-one", public, seed)
	if err := nc.PublishRequest("ferry.ask.worker-one", "ferry.receipt.worker-two", []byte("evil")); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Request("ferry.ask.worker-one", []byte("good"), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if got := <-asked; got != "good" {
		t.Errorf("%q was answered", got)
	}
	stream, err := d.(*driver).keep.manager.js.Stream(ctx, receiptStream)
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != 0 {
		t.Errorf("%d forged receipts", n)
	}
}

func TestRoutesOfAWorkerChangeLive(t *testing.T) {
	ctx := patient(t)
	public, seed := newKey(t)
	auth := WorkerAuth{Name: "worker-one", PublicKey: public, Routes: []string{"route-a"}}
	s := start(t, ServerOptions{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", Workers: []WorkerAuth{auth}})
	d := brokerOf(t, s)
	address := queue.MessagesOf("route-b")
	if _, err := d.Ensure(ctx, address); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Publish(ctx, address, []queue.Packet{{ID: "1", Data: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	w, err := Connect(ctx, ConnectOptions{Worker: "worker-one", URL: s.URL(), Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(ctx)
	if _, err := w.Receive(ctx, address, 1); !errors.Is(err, queue.ErrUnauthorized) {
		t.Fatalf("receive: %v, want ErrUnauthorized", err)
	}
	auth.Routes = append(auth.Routes, "route-b")
	if err := s.SetWorkers([]WorkerAuth{auth}); err != nil {
		t.Fatal(err)
	}
	if items, err := w.Receive(ctx, address, 1); err != nil || len(items) != 1 {
		t.Errorf("receive: %d items, %v, want 1", len(items), err)
	}
	for name, bad := range map[string]WorkerAuth{
		"name":  {Name: "a.b", PublicKey: public},
		"route": {Name: "worker-one", PublicKey: public, Routes: []string{">"}},
		"key":   {Name: "worker-one", PublicKey: "UNOTAKEY"},
	} {
		if err := s.SetWorkers([]WorkerAuth{bad}); err == nil {
			t.Errorf("a worker with a bad %s was taken", name)
		}
	}
}

// The broker restarts on the same port: workers come back by themselves.
func TestWorkersReconnect(t *testing.T) {
	ctx := patient(t)
	public, seed := newKey(t)
	dir := t.TempDir()
	workers := []WorkerAuth{{Name: "worker-one", PublicKey: public, Routes: []string{"route-a"}}}
	s, err := StartServer(ServerOptions{StoreDir: dir, Listen: "127.0.0.1:0", Workers: workers})
	if err != nil {
		t.Fatal(err)
	}
	address := queue.MessagesOf("route-a")
	d, err := s.Driver()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Ensure(ctx, address); err != nil {
		t.Fatal(err)
	}
	w, err := Connect(ctx, ConnectOptions{Worker: "worker-one", URL: s.URL(), Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close(ctx)
	received := make(chan []queue.Item, 1)
	failed := make(chan error, 1)
	go func() {
		for {
			items, err := w.Receive(ctx, address, 1)
			if errors.Is(err, queue.ErrUnavailable) {
				continue
			}
			if err != nil {
				failed <- err
				return
			}
			received <- items
			return
		}
	}()
	listen := strings.TrimPrefix(s.URL(), "nats://")
	if err := errors.Join(d.Close(ctx), s.Shutdown(ctx)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the loss is noticed", func() bool {
		_, err := w.Request(ctx, []byte("x"))
		return errors.Is(err, queue.ErrUnavailable)
	})
	s = start(t, ServerOptions{StoreDir: dir, Listen: listen, Workers: workers})
	d = brokerOf(t, s)
	if _, err := d.Publish(ctx, address, []queue.Packet{{ID: "1", Data: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	select {
	case items := <-received:
		if len(items) != 1 {
			t.Errorf("%d items came, want 1", len(items))
		}
	case err := <-failed:
		t.Fatalf("receive: %v, want only ErrUnavailable while the broker is away", err)
	case <-ctx.Done():
		t.Fatal("the worker did not come back")
	}
}

func TestTidy(t *testing.T) {
	ctx := patient(t)
	s := start(t, ServerOptions{StoreDir: t.TempDir()})
	d := brokerOf(t, s).(*driver)
	live, still, idle := queue.MessagesOf("live"), queue.MessagesOf("still"), queue.MessagesOf("idle")
	for _, a := range []queue.Address{live, still, idle} {
		if _, err := d.Ensure(ctx, a); err != nil {
			t.Fatal(err)
		}
	}
	packets := make([]queue.Packet, tidyFrom+500)
	for i := range packets {
		packets[i] = queue.Packet{ID: "", Data: []byte("x")}
	}
	publish := func(to queue.Address, n int) {
		t.Helper()
		if _, err := d.Publish(ctx, to, packets[:n]); err != nil {
			t.Fatal(err)
		}
	}
	complete := func(from queue.Address, n int) { t.Helper(); completeAll(ctx, t, d, from, n) }
	left := func() uint64 {
		t.Helper()
		stream, err := d.keep.manager.js.Stream(ctx, messageStream)
		if err != nil {
			t.Fatal(err)
		}
		return stream.CachedInfo().State.Msgs
	}
	tidy := func() {
		t.Helper()
		if err := d.keep.tidyStream(ctx, messageStream); err != nil {
			t.Fatal(err)
		}
	}

	publish(live, len(packets))
	tidy()
	tidy() // once to see the others idle, once to know that it was a round ago
	publish(still, 3)
	publish(live, 10)
	complete(live, len(packets)+10)
	eventually(t, "what is completed in front is removed", func() bool { tidy(); return left() == 13 })
	p, err := d.Progress(ctx, still)
	if err != nil {
		t.Fatal(err)
	}
	if want := uint64(len(packets)); p.Settled > want || p.Last != want+13 {
		t.Errorf("progress of the other route: %+v", p)
	}
	complete(still, 3)
	publish(live, len(packets))
	tidy()
	if n := left(); n != 13+uint64(len(packets)) && n != uint64(len(packets)) {
		t.Errorf("%d packets are left: some were removed that nobody received", n)
	}
	complete(live, len(packets))
	eventually(t, "everything completed is removed", func() bool { tidy(); return left() == 0 })
	publish(idle, 1)
	tidy()
	tidy()
	if items, err := d.Receive(ctx, idle, 5); err != nil || len(items) != 1 {
		t.Errorf("the idle route's packet: %d items, %v", len(items), err)
	}
}

func TestFullStoreRefuses(t *testing.T) {
	ctx := patient(t)
	s := start(t, ServerOptions{StoreDir: t.TempDir(), Limits: Limits{MaxStoreBytes: 4 << 20}})
	d := brokerOf(t, s)
	address := queue.MessagesOf("invoices")
	if _, err := d.Ensure(ctx, address); err != nil {
		t.Fatal(err)
	}
	var err error
	taken := 0
	for err == nil && taken < 50 {
		if _, err = d.Publish(ctx, address, []queue.Packet{{ID: "", Data: make([]byte, 256<<10)}}); err == nil {
			taken++
		}
	}
	if !errors.Is(err, queue.ErrUnavailable) || taken < 5 {
		t.Fatalf("after %d packets: %v, want ErrUnavailable", taken, err)
	}
	there := map[uint64]bool{}
	for len(there) < taken { // one receive may bring only some
		items, err := d.Receive(ctx, address, 50)
		if err != nil {
			t.Fatalf("%d of %d packets are there, %v", len(there), taken, err)
		}
		for _, item := range items {
			there[item.Position] = true
		}
	}
}

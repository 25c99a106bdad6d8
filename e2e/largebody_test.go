package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/erp"
	"ferry/api"
	"ferry/broker"
	"ferry/client"
	"ferry/internal/azurite"
	"ferry/queue"
	"ferry/queue/memqueue"
	"ferry/secret"
	"ferry/worker"
)

const (
	vastBody   = 50 << 20 // of one message, bytes
	vastMemory = 64 << 20 // what broker and worker may take for it, together
)

// vast is a body of n bytes that is never whole in memory.
func vast(n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{1}), n)
}

func sumOf(t *testing.T, r io.Reader) string {
	t.Helper()
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// sink is a destination that keeps the hash of what it gets, and nothing else.
type sink struct {
	mu   sync.Mutex
	sums []string
	size []int64 // as Content-Length told it
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		_, _ = io.WriteString(w, `{"items":[]}`)
		return
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, r.Body); err != nil {
		http.Error(w, "the body ended early", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.sums, s.size = append(s.sums, hex.EncodeToString(sum.Sum(nil))), append(s.size, r.ContentLength)
	s.mu.Unlock()
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, `{"id":"DOC-1"}`)
}

// got asserts that one body came, once and whole.
func (s *sink) got(t *testing.T, sum string, size int64) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sums) != 1 || s.sums[0] != sum || s.size[0] != size {
		t.Errorf("the destination got %v of %v bytes, want once %s of %d", s.sums, s.size, sum, size)
	}
}

// folder is a store of bodies in a folder.
type folder struct{ dir string }

func (f folder) Put(ctx context.Context, name string, size int64, sum []byte, open func() (io.ReadCloser, error)) error {
	from, err := open()
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	to, err := os.Create(filepath.Join(f.dir, name+".part"))
	if err != nil {
		return err
	}
	is := sha256.New()
	n, err := io.Copy(io.MultiWriter(to, is), from)
	if err = errors.Join(err, to.Close(), ctx.Err()); err != nil || n != size || !bytes.Equal(is.Sum(nil), sum) {
		return fmt.Errorf("put %s: %d bytes: %w", name, n, err)
	}
	return os.Rename(to.Name(), filepath.Join(f.dir, name))
}

func (f folder) Get(_ context.Context, name string, w io.Writer) error {
	from, err := os.Open(filepath.Join(f.dir, name))
	if err != nil {
		return fmt.Errorf("%w: %w", queue.ErrBodyMissing, err)
	}
	defer func() { _ = from.Close() }()
	_, err = io.Copy(w, from)
	return err
}

func (f folder) Delete(_ context.Context, name string) error {
	if err := os.Remove(filepath.Join(f.dir, name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (f folder) Sweep(context.Context, time.Duration, func(string) bool) (int, error) { return 0, nil }

// heapPeak watches the heap until stop, which says how far it rose.
func heapPeak() (stop func() int64) {
	now := func() int64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		return int64(sample[0].Value.Uint64())
	}
	runtime.GC()
	before, quit, peak := now(), make(chan struct{}), make(chan int64)
	go func() {
		most := before
		for {
			select {
			case <-quit:
				peak <- max(most, now()) - before
				return
			case <-time.After(time.Millisecond):
				most = max(most, now())
			}
		}
	}()
	return func() int64 {
		close(quit)
		return <-peak
	}
}

// TestALargeBodyTakesLittleMemory sends a body of 50 MB through surface, ledger,
// queue, worker and adapter in this process, and watches the heap: by the broker's
// own parts, and by a store of bodies. It runs beside no other test.
func TestALargeBodyTakesLittleMemory(t *testing.T) {
	for _, way := range []string{"asked of the broker", "by a store"} {
		t.Run(way, func(t *testing.T) {
			var store queue.BodyStore
			if way == "by a store" {
				store = folder{t.TempDir()}
			}
			to, c, wait := inProcess(t, store)
			want := sumOf(t, vast(vastBody))
			defer debug.SetGCPercent(debug.SetGCPercent(50))
			stop := heapPeak()
			a, err := c.SendFrom(t.Context(), invoices, ferry.Message{ContentType: "application/octet-stream", IdempotencyKey: "vast"}, vast(vastBody), vastBody)
			if err != nil {
				t.Fatal(err)
			}
			wait(a.ID)
			back, err := c.OpenBody(t.Context(), a.ID.String(), 0)
			if err != nil {
				t.Fatal(err)
			}
			if got := sumOf(t, back); got != want {
				t.Errorf("read back: %s, want %s", got, want)
			}
			_ = back.Close()
			rose := stop()
			t.Logf("the heap rose by %.1f MB", float64(rose)/1e6)
			if rose > vastMemory {
				t.Errorf("the heap rose by %d bytes, want at most %d", rose, vastMemory)
			}
			to.got(t, want, vastBody)
		})
	}
}

// inProcess is a broker and a worker in this process, over a queue in memory.
func inProcess(t *testing.T, store queue.BodyStore) (to *sink, c *client.Client, wait func(ferry.ID)) {
	t.Helper()
	to = &sink{}
	destination := httptest.NewServer(to)
	t.Cleanup(destination.Close)
	mem := memqueue.New(memqueue.Options{Lock: 30 * time.Second})
	b, err := broker.New(t.Context(), broker.Options{
		DataDir: t.TempDir(), Version: "test", Routes: []ferry.Route{{Name: invoices, MaxBytes: ferry.MaxBody}},
		OpenTransport: func(context.Context, []ferry.WorkerInfo) (broker.Transport, error) {
			return memTransport{queue.New(mem.Broker(), queue.Options{Bodies: store})}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	if _, err := b.AddWorker(t.Context(), "erp-worker", []string{invoices}, "", "test"); err != nil {
		t.Fatal(err)
	}
	key, err := b.CreateKey(t.Context(), ferry.KeySpec{Name: "test", Role: ferry.RoleAdmin}, "test")
	if err != nil {
		t.Fatal(err)
	}
	dest, err := erp.New(secret.Resolver{}, nil)(adapters.DestinationConfig{Name: "erp", Dialect: "rest", URL: destination.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dest.Close() })
	adapter, err := dest.Route(adapters.RouteConfig{Route: invoices, URL: "/in", Reference: ".id"})
	if err != nil {
		t.Fatal(err)
	}
	q := queue.New(mem.Worker("erp-worker", invoices), queue.Options{Bodies: store})
	w, err := worker.New(worker.Options{
		Name: "erp-worker", Version: "test", Queue: q, InboxDir: t.TempDir(),
		Routes: []worker.Route{{
			Name: invoices, Adapter: adapter, Timeout: 5 * time.Minute,
			Destination: worker.NewDest(worker.DestOptions{Name: "erp", Destination: dest, Concurrency: 2}),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.Stop(context.Background())
		_ = q.Close(context.Background())
	})
	surface := httptest.NewUnstartedServer(api.New(b, api.Options{}))
	surface.Config = api.Server("", surface.Config.Handler)
	surface.Start()
	t.Cleanup(surface.Close)
	if c, err = client.New(surface.URL, key.Secret, client.Options{}); err != nil {
		t.Fatal(err)
	}
	return to, c, func(id ferry.ID) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if e, err := c.Await(ctx, id.String()); err != nil || e.State != ferry.StateCompleted || e.Reference != "DOC-1" {
			t.Fatalf("it ended as %s, %q: %v", e.State, e.Reference, err)
		}
	}
}

// memTransport is a queue in memory as the broker runs it.
type memTransport struct{ q *queue.Queue }

func (m memTransport) Queue() *queue.Queue { return m.q }

func (m memTransport) NewLogin() (public, seed string, err error) { return "public", "seed", nil }

func (m memTransport) SetWorkers([]ferry.WorkerInfo) error { return nil }

func (m memTransport) Close(ctx context.Context) error { return m.q.Close(ctx) }

// TestALargeBodyThroughThePrograms sends it by the command line through two
// programs and embedded NATS, and reads it back.
func TestALargeBodyThroughThePrograms(t *testing.T) {
	t.Parallel()
	largeBody(t, options{})
}

// TestALargeBodyByBlobStorage is the same on Service Bus, with the body by Azurite.
func TestALargeBodyByBlobStorage(t *testing.T) {
	address := azurite.Start(t)
	t.Parallel()
	storage := &storage{to: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: address})
	}}}
	server := httptest.NewServer(storage)
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "storage.txt")
	if err := os.WriteFile(file, []byte(azurite.ConnectionString(server.Listener.Addr().String())), 0o600); err != nil {
		t.Fatal(err)
	}
	largeBody(t, options{bus: true, bodies: fmt.Sprintf(", bodies: {container: bodies, connectionString: %q}", "file:"+file)})
	if up, down := storage.up.Load(), storage.down.Load(); up < vastBody || down < vastBody {
		t.Errorf("%d bytes went up to the storage and %d down, want the %d of the body both ways", up, down, vastBody)
	}
}

// storage counts what goes to an account and comes from it, bytes.
type storage struct {
	to       http.Handler
	up, down atomic.Int64
}

func (s *storage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = countedBody{r.Body, &s.up}
	s.to.ServeHTTP(countedWriter{w, &s.down}, r)
}

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (c countedBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

type countedWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c countedWriter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

func largeBody(t *testing.T, o options) {
	t.Helper()
	o.routes, o.lock, o.destination = []string{invoices}, "30s", []string{"timeout: 2m"}
	o.broker = map[string][]string{invoices: {"maxBytes: 100MiB"}}
	w := newWorld(t, o)
	to := &sink{}
	server := httptest.NewServer(to)
	t.Cleanup(server.Close)
	w.erpURL = server.URL
	w.write("worker.yaml", w.workerYAML("erp-worker", o))
	w.start()
	w.awaitDone(w.send(invoices, "warm", `{"number":"warm"}`).ID)
	to.mu.Lock()
	to.sums, to.size = nil, nil
	to.mu.Unlock()

	file, err := os.Create(w.path("vast.bin"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(file, vast(vastBody)); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	rose := residentPeak(t, w.broker, w.worker)
	out := w.cli("send", invoices, "-f", "vast.bin", "--key", "vast", "--wait", "--timeout", "120s")
	if !strings.Contains(out, "DOC-1") {
		t.Errorf("send --wait said %q", out)
	}
	w.cli("messages", "list", "--q", "vast")
	page, err := w.client.Messages(t.Context(), ferry.MessageFilter{Q: "vast"})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("%d messages, %v", len(page.Items), err)
	}
	w.cli("messages", "body", page.Items[0].ID.String(), "--out", "back.bin")
	if n := rose(); n > vastMemory && !raceEnabled { // the race detector takes a multiple
		t.Errorf("broker and worker took %d bytes more, want at most %d", n, vastMemory)
	}
	want := sumOf(t, vast(vastBody))
	to.got(t, want, vastBody)
	back, err := os.Open(w.path("back.bin"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = back.Close() }()
	if got := sumOf(t, back); got != want {
		t.Errorf("read back: %s, want %s", got, want)
	}
	left, err := filepath.Glob(w.path("erp-worker-data/*/body-*"))
	if staged, _ := filepath.Glob(w.path("data/bodies/staged/*")); err != nil || len(left)+len(staged) != 0 {
		t.Errorf("there stay %v and %v, %v", left, staged, err)
	}
	w.balance()
}

func (w *world) awaitDone(id ferry.ID) {
	w.t.Helper()
	w.await(id, ferry.StateCompleted, 30*time.Second)
}

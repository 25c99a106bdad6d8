package broker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/queue"
	"ferry/queue/memqueue"
	"ferry/queue/queuetest"
)

// over makes large bodies travel by a store.
func over(store queue.BodyStore) func(*Options) {
	return func(o *Options) {
		open := o.OpenTransport
		o.OpenTransport = func(ctx context.Context, workers []ferry.WorkerInfo) (Transport, error) {
			made, err := open(ctx, workers)
			if err != nil {
				return nil, err
			}
			m := made.(memTransport)
			if err := m.q.Close(ctx); err != nil {
				return nil, err
			}
			m.q = queue.New(m.mem.Broker(), queue.Options{Bodies: store})
			return m, nil
		}
	}
}

func big(n int) string { return strings.Repeat("large ", ferry.InlineBody/6+1+n) }

func TestLargeBodiesTravelByTheStore(t *testing.T) {
	bodies := memqueue.NewBodies()
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		w.send(`{}`)
		h.report(h.takeOne(orders), ferry.Delivered, done())
		if names := bodies.Names(); len(names) != 0 {
			t.Fatalf("a body that travels with its message was put: %v", names)
		}

		id := w.send(big(0))
		d := h.takeOne(orders)
		name := queue.BodyName(id, 1)
		if names := bodies.Names(); !slices.Equal(names, []string{name}) {
			t.Fatalf("in the store when the message is handed out: %v, want %s", names, name)
		}
		// Its next turns find it there: it is put once.
		h.report(d, ferry.Failed, retryAfter(time.Second))
		time.Sleep(2 * time.Second)
		d = h.takeOne(orders)
		if puts, _ := bodies.Counts(name); puts != 1 || len(bodies.Names()) != 1 {
			t.Fatalf("after a retry: put %d times, %v", puts, bodies.Names())
		}
		// The end takes it away, and a replay brings it back; an edit under its own name.
		h.report(d, ferry.Rejected, rejected())
		if names := bodies.Names(); len(names) != 0 {
			t.Fatalf("after the end there are %v", names)
		}
		if _, err := w.b.Replay(t.Context(), id, []byte(big(1)), "", "", "op"); err != nil {
			t.Fatal(err)
		}
		d = h.takeOne(orders)
		if names := bodies.Names(); !slices.Equal(names, []string{queue.BodyName(id, 2)}) {
			t.Fatalf("after an edit there are %v", names)
		}
		q := queue.New(w.mem.Worker("one", orders), queue.Options{Bodies: bodies})
		defer func() { _ = q.Close(context.Background()) }()
		if got, err := queuetest.FetchBody(t.Context(), q, d.HandOut); err != nil || string(got) != big(1) {
			t.Errorf("the worker got %d bytes, %v", len(got), err)
		}
		h.report(d, ferry.Delivered, done())
		if names := bodies.Names(); len(names) != 0 {
			t.Errorf("after the end there are %v", names)
		}
		w.balanced()
	}, over(bodies))
}

func TestTheLedgerHealsTheStoreOfBodies(t *testing.T) {
	bodies := memqueue.NewBodies()
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send(big(0))
		d := h.takeOne(orders)
		q := queue.New(w.mem.Worker("one", orders), queue.Options{Bodies: bodies})
		defer func() { _ = q.Close(context.Background()) }()
		fetch := func() ([]byte, error) { return queuetest.FetchBody(t.Context(), q, d.HandOut) }

		name := queue.BodyName(id, 1)
		bodies.Alter(name)
		if got, err := fetch(); err != nil || string(got) != big(0) {
			t.Errorf("altered in the store: %d bytes, %v", len(got), err)
		}
		if err := bodies.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if got, err := fetch(); err != nil || string(got) != big(0) {
			t.Errorf("missing in the store: %d bytes, %v", len(got), err)
		}
		away := errors.New("the store is away")
		bodies.SetAway(away)
		if got, err := fetch(); err != nil || string(got) != big(0) {
			t.Errorf("store away: %d bytes, %v", len(got), err)
		}

		files, err := filepath.Glob(filepath.Join(w.dir, "bodies", "??", "*"))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		if err := os.Remove(files[0]); err != nil {
			t.Fatal(err)
		}
		// The store may have what the ledger lost: nobody gives up before it was asked.
		if _, err := fetch(); !errors.Is(err, away) || errors.Is(err, queue.ErrBodyMissing) {
			t.Errorf("lost, and the store away: %v, want a passing fault", err)
		}
		bodies.SetAway(nil)
		if _, err := fetch(); !errors.Is(err, queue.ErrBodyMissing) {
			t.Errorf("lost everywhere: %v, want ErrBodyMissing", err)
		}
	}, over(bodies))
}

func TestAStoreThatIsAwayHoldsNothingBack(t *testing.T) {
	bodies := memqueue.NewBodies()
	bodies.SetAway(errors.New("the store is away"))
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		first, second := w.send(big(0)), w.send(big(1))
		began := time.Now()
		got := h.take(orders, 10)
		if len(got) != 2 || time.Since(began) > time.Second {
			t.Fatalf("%d messages after %s, want 2 at once", len(got), time.Since(began))
		}
		puts, _ := bodies.Counts(queue.BodyName(first, 1))
		more, _ := bodies.Counts(queue.BodyName(second, 1))
		if puts+more != 1 {
			t.Errorf("a store that is away was asked %d times, want once", puts+more)
		}
		if body, err := h.fetch(got[0].HandOut); err != nil || string(body) != big(0) {
			t.Errorf("from the broker: %d bytes, %v", len(body), err)
		}
		bodies.SetAway(nil)
		time.Sleep(storeAway)
		id := w.send(big(2))
		h.takeOne(orders)
		if names := bodies.Names(); !slices.Equal(names, []string{queue.BodyName(id, 1)}) {
			t.Errorf("when it is back there are %v", names)
		}
	}, over(bodies))
}

// stuck is a store whose puts never end by themselves.
type stuck struct {
	*memqueue.Bodies
	mu        sync.Mutex
	now, most int
}

func (s *stuck) Put(ctx context.Context, name string, size int64, sum []byte, open func() (io.ReadCloser, error)) error {
	s.mu.Lock()
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	s.now--
	s.mu.Unlock()
	return ctx.Err()
}

func TestAStoreThatHangsHoldsARouteForAMoment(t *testing.T) {
	bodies := &stuck{Bodies: memqueue.NewBodies()}
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		for i := range 8 {
			w.send(big(i))
		}
		h.hello(orders)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		for n := 0; n < 8; {
			got, err := h.q.ReceiveMessages(ctx, orders, 8)
			if err != nil {
				t.Fatalf("after %d: %v", n, err)
			}
			n += len(got)
		}
		if took := time.Since(began); took > 2*putTime {
			t.Errorf("the route was held for %s", took)
		}
		if bodies.most != putsAtOnce {
			t.Errorf("%d puts at a time, want %d", bodies.most, putsAtOnce)
		}
	}, over(bodies), func(o *Options) { o.Routes[0].Window = 20 })
}

func TestTheStoreOfBodiesIsSwept(t *testing.T) {
	bodies := memqueue.NewBodies()
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		ends, stays := w.send(big(0)), w.send(big(1))
		got := h.take(orders, 10)
		bodies.SetAway(errors.New("away"))
		for _, d := range got {
			if d.HandOut.ID == ends {
				h.report(d, ferry.Delivered, done())
			}
		}
		bodies.SetAway(nil)
		if n := len(bodies.Names()); n != 2 {
			t.Fatalf("%d bodies in the store, want 2: the end came while it was away", n)
		}
		// One of a run of long ago, one of an old revision, one that is not ours.
		for _, name := range []string{queue.BodyName(ferry.NewID(time.Now()), 1), queue.BodyName(stays, 7), "something else"} {
			sum := []byte{0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55}
			if err := bodies.Put(t.Context(), name, 0, sum, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(nil)), nil }); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(orphanAge + 2*sweepEvery)
		synctest.Wait()
		names, want := bodies.Names(), []string{queue.BodyName(stays, 1), "something else"}
		slices.Sort(names)
		slices.Sort(want)
		if !slices.Equal(names, want) {
			t.Errorf("after the sweep there are %v, want %v", names, want)
		}
	}, over(bodies))
}

// stagedMessage is a message whose body is in a file already.
func (w *world) stagedMessage(body string, change ...func(*ferry.Message)) ferry.Message {
	w.t.Helper()
	staged, err := w.b.StageBody(w.t.Context(), orders, strings.NewReader(body), ferry.MaxBody)
	if err != nil {
		w.t.Fatal(err)
	}
	m := ferry.Message{Route: orders, Staged: &staged, ContentType: "application/json"}
	for _, f := range change {
		f(&m)
	}
	return m
}

func (w *world) bodyFiles() []string {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.dir, "bodies", "*", "*"))
	if err != nil {
		w.t.Fatal(err)
	}
	return files
}

// padded is a JSON body of n bytes.
func padded(n int) string {
	const head, tail = `{"number":"A-7","text":"`, `"}`
	return head + strings.Repeat("x", n-len(head)-len(tail)) + tail
}

func TestALookIntoLargeBodies(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		id, err := w.b.Accept(t.Context(), w.stagedMessage(padded(ferry.MaxMapped)))
		if err != nil {
			t.Fatal(err)
		}
		if e := w.message(id.ID); e.OrderingKey != "A-7" || e.Size != ferry.MaxMapped {
			t.Errorf("its ordering key is %q, its size %d", e.OrderingKey, e.Size)
		}
		page, err := w.b.Messages(t.Context(), ferry.MessageFilter{Q: "A-7"})
		if err != nil || len(page.Items) != 1 {
			t.Errorf("searched for: %d, %v", len(page.Items), err)
		}
		files := len(w.bodyFiles())

		_, err = w.b.Accept(t.Context(), w.stagedMessage(padded(ferry.MaxMapped+1)))
		var refused *ferry.Error
		if !errors.As(err, &refused) || refused.Code != ferry.CodeInvalid || !strings.Contains(refused.Hint, "orderBy") {
			t.Errorf("too large for orderBy: %v", err)
		}
		_, err = w.b.Accept(t.Context(), w.stagedMessage("no JSON"+big(0)))
		if ferry.CodeOf(err) != ferry.CodeBadOrderingKey {
			t.Errorf("no JSON: %v", err)
		}
		_, err = w.b.Accept(t.Context(), w.stagedMessage(padded(ferry.MaxMapped), func(m *ferry.Message) { m.Route = "nowhere" }))
		if ferry.CodeOf(err) != ferry.CodeRouteNotFound {
			t.Errorf("no route: %v", err)
		}
		bad := []ferry.Message{w.stagedMessage(padded(1 << 20)), w.stagedMessage("no JSON" + big(0))}
		if _, errs, err := w.b.AcceptBatch(t.Context(), bad, false); err != nil || errs[0] != nil || errs[1] == nil {
			t.Errorf("a batch: %v, %v", errs, err)
		}
		if _, err := w.b.StageBody(t.Context(), "nowhere", strings.NewReader("x"), 10); ferry.CodeOf(err) != ferry.CodeRouteNotFound {
			t.Errorf("no route: %v", err)
		}
		if after := w.bodyFiles(); len(after) != files {
			t.Errorf("of what was refused there stays %v", after)
		}
	}, func(o *Options) {
		o.Routes[0].OrderBy, o.Routes[0].SearchKeys = ".number", []string{".number"}
		o.Routes[0].MaxBytes = ferry.MaxBody
	})
}

// Search keys alone refuse nothing: what cannot be looked into cannot be found.
func TestBodiesTooLargeToSearch(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, err := w.b.Accept(t.Context(), w.stagedMessage(padded(ferry.MaxMapped+1)))
		if err != nil {
			t.Fatal(err)
		}
		page, err := w.b.Messages(t.Context(), ferry.MessageFilter{Q: "A-7"})
		if err != nil || len(page.Items) != 0 {
			t.Errorf("searched for: %d, %v", len(page.Items), err)
		}
		body, err := w.b.OpenBody(t.Context(), a.ID, 0)
		if err != nil || body.Size != ferry.MaxMapped+1 {
			t.Fatalf("its body has %d bytes, %v", body.Size, err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
		for _, path := range w.bodyFiles() {
			if err := os.Truncate(path, 100); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.b.OpenBody(t.Context(), a.ID, 0); ferry.CodeOf(err) != ferry.CodeBodyMissing {
			t.Errorf("altered: %v", err)
		}
	}, func(o *Options) { o.Routes[0].SearchKeys, o.Routes[0].MaxBytes = []string{".number"}, ferry.MaxBody })
}

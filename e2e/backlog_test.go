package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ferry"
	"ferry/queue"
	"ferry/queue/natsqueue"
)

// Bounds of a backlog of any size: the queue's files, and what the broker's
// process has of its own in memory.
const (
	mostQueueBytes = 256 << 20
	mostOwnMemory  = 700 << 20 // the index of idempotency keys is bounded too, at some 100 MiB
	mostStart      = 30 * time.Second
)

// backlogSize is how many messages wait: 20,000, or what FERRY_BACKLOG says.
func backlogSize(t *testing.T) int {
	t.Helper()
	text := os.Getenv("FERRY_BACKLOG")
	if text == "" {
		return 20_000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 5_000 || n > 5_000_000 {
		t.Fatalf("FERRY_BACKLOG=%s is no number from 5000 to 5000000", text)
	}
	return n
}

// TestBacklog: a route whose worker is away. However much waits, the queue has one
// window of it, disk and memory of the queue stay bounded, a start takes seconds,
// and when the worker is there again everything is delivered.
func TestBacklog(t *testing.T) {
	t.Parallel()
	n := backlogSize(t)
	w := newWorld(t, options{})
	w.startBroker()
	w.cli("workers", "add", "erp-worker", "--routes", invoices, "--out", "erp-worker.nk")
	p := w.play("erp-worker")
	p.hello() // the route is bound; and then the worker does nothing

	began := time.Now()
	w.sendBatches(n)
	took := time.Since(began)
	t.Logf("%d accepted in %s, %.0f a second", n, took.Round(time.Millisecond), float64(n)/took.Seconds())
	p.awaitWindow(ferry.DefaultWindow)
	w.bounded("with everything waiting")

	for range 3 { // copies of earlier runs must not pile up
		w.broker.stop(t, 30*time.Second)
		began = time.Now()
		w.startBroker()
		ready := time.Since(began)
		p.awaitWindow(ferry.DefaultWindow)
		t.Logf("ready %s after the start with %d waiting, the window full after %s", ready.Round(time.Millisecond), n, time.Since(began).Round(time.Millisecond))
		if ready > mostStart {
			t.Errorf("the start took %s", ready)
		}
	}
	w.bounded("after the restarts")
	began = time.Now()
	if _, err := w.client.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("status takes %s", time.Since(began).Round(time.Millisecond))

	began = time.Now()
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { w.watchWindow(stop) })
	p.deliver(n)
	took = time.Since(began)
	close(stop)
	watch.Wait()
	t.Logf("%d delivered in %s, %.0f a second", n, took.Round(time.Millisecond), float64(n)/took.Seconds())
	w.awaitDrained(60 * time.Second)
	w.bounded("after the drain")
	if got, want := w.balance(), (ferry.Reconciliation{Accepted: int64(n), Completed: int64(n)}); got != want {
		t.Errorf("reconcile: %+v, not %+v", got, want)
	}
}

// sendBatches sends n messages, 500 at a time from four senders.
func (w *world) sendBatches(n int) {
	w.t.Helper()
	const batch = ferry.MaxBatch
	from := make(chan int)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range from {
				messages := make([]ferry.Message, min(batch, n-i))
				for j := range messages {
					key := fmt.Sprintf("backlog-%07d", i+j)
					messages[j] = ferry.Message{Body: []byte(kibibyte(key)), ContentType: "application/json", IdempotencyKey: key}
				}
				answer, err := w.client.SendBatch(w.t.Context(), invoices, messages, false)
				if err != nil || answer.Accepted != len(messages) {
					w.t.Errorf("batch at %d: %d of %d, %v", i, answer.Accepted, len(messages), err)
				}
			}
		})
	}
	for i := 0; i < n && !w.t.Failed(); i += batch {
		from <- i
	}
	close(from)
	group.Wait()
	if w.t.Failed() {
		w.t.FailNow()
	}
}

// bounded tells and holds what the broker takes.
func (w *world) bounded(when string) {
	w.t.Helper()
	queueBytes, ledgerBytes := folderSize(w.t, w.path("data/queue")), folderSize(w.t, w.path("data"))
	memory := memoryOf(w.t, w.broker.cmd.Process.Pid)
	w.t.Logf("%s: queue %d MiB on disk, everything %d MiB; memory %d MiB of its own, %d MiB with the mapped ledger at its highest",
		when, queueBytes>>20, ledgerBytes>>20, memory["RssAnon"]>>20, memory["VmHWM"]>>20)
	if queueBytes > mostQueueBytes {
		w.t.Errorf("the queue takes %d MiB on disk", queueBytes>>20)
	}
	if memory["RssAnon"] > mostOwnMemory && !raceEnabled {
		w.t.Errorf("the broker takes %d MiB of memory", memory["RssAnon"]>>20)
	}
}

// watchWindow holds the route to its window until stop.
func (w *world) watchWindow(stop <-chan struct{}) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		routes, err := w.client.Routes(w.t.Context())
		switch {
		case err != nil:
			w.t.Errorf("routes: %v", err)
			return
		case routes[0].InQueue > ferry.DefaultWindow:
			w.t.Errorf("%d in the queue, the window is %d", routes[0].InQueue, ferry.DefaultWindow)
			return
		}
	}
}

func folderSize(t *testing.T, dir string) int64 {
	t.Helper()
	var size int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				size += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// memoryOf reads what Linux says of a process, bytes; elsewhere nothing is known.
func memoryOf(t *testing.T, pid int) map[string]int64 {
	t.Helper()
	if runtime.GOOS != "linux" {
		return nil
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]int64{}
	for line := range strings.SplitSeq(string(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[2] == "kB" {
			if n, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				values[strings.TrimSuffix(fields[0], ":")] = n << 10
			}
		}
	}
	return values
}

// played is a worker that a test plays: as fast as the queue allows.
type played struct {
	w    *world
	name string
	q    *queue.Queue
	nc   *nats.Conn // for what only the queue's server knows
	seen map[ferry.ID]bool
}

func (w *world) play(name string) *played {
	w.t.Helper()
	url := "nats://" + w.queue
	d, err := natsqueue.Connect(w.t.Context(), natsqueue.ConnectOptions{Worker: name, URL: url, SeedFile: w.path(name + ".nk")})
	if err != nil {
		w.t.Fatal(err)
	}
	login, err := nats.NkeyOptionFromSeed(w.path(name + ".nk"))
	if err != nil {
		w.t.Fatal(err)
	}
	nc, err := nats.Connect(url, login, nats.CustomInboxPrefix("ferry.inbox."+name), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		w.t.Fatal(err)
	}
	p := &played{w: w, name: name, q: queue.New(d, queue.Options{}), nc: nc, seen: map[ferry.ID]bool{}}
	w.t.Cleanup(func() {
		nc.Close()
		_ = p.q.Close(context.Background())
	})
	return p
}

func (p *played) hello() {
	p.w.t.Helper()
	welcome, err := p.q.Hello(p.w.t.Context(), queue.Hello{
		Worker: p.name, Inbox: "inbox-of-" + p.name, Routes: []queue.RouteHello{{Name: invoices, Bound: time.Second}},
	})
	if err != nil || !welcome.Routes[invoices].Granted {
		p.w.t.Fatalf("hello: %+v, %v", welcome, err)
	}
}

// awaitWindow waits until the queue's server has a window for the route, and no
// more.
func (p *played) awaitWindow(window int) {
	p.w.t.Helper()
	eventually(p.w.t, mostStart, func() string {
		answer, err := p.nc.Request("$JS.API.CONSUMER.INFO.FERRY_MSG."+invoices, nil, 2*time.Second)
		if err != nil {
			return err.Error()
		}
		var info struct {
			Pending    int `json:"num_pending"`
			AckPending int `json:"num_ack_pending"`
		}
		if err := json.Unmarshal(answer.Data, &info); err != nil {
			return err.Error()
		}
		if have := info.Pending + info.AckPending; have > window {
			p.w.t.Fatalf("the queue has %d messages of the route, the window is %d", have, window)
		} else if have < window {
			return fmt.Sprintf("the queue has %d messages of the route, not %d", have, window)
		}
		return ""
	})
}

// deliver receives until n messages came, and reports each. A copy is told of
// again and counts once.
func (p *played) deliver(n int) {
	p.w.t.Helper()
	ctx := p.w.t.Context()
	for round := 0; len(p.seen) < n; round++ {
		got, err := p.q.ReceiveMessages(ctx, invoices, 500)
		if errors.Is(err, queue.ErrUnavailable) {
			continue
		}
		if err != nil {
			p.w.t.Fatal(err)
		}
		receipts := make([]ferry.Receipt, len(got))
		for i, d := range got {
			m := d.HandOut
			p.seen[m.ID] = true
			receipts[i] = ferry.Receipt{
				ID: m.ID, Route: m.Route, Turn: m.Turn, Revision: m.Revision, Generation: m.Generation,
				Worker: p.name, Inbox: "inbox-of-" + p.name, Verdict: ferry.Delivered, Effect: ferry.EffectDone,
				Reference: "DOC-1", Next: ferry.Next{Do: ferry.DoComplete},
			}
		}
		if err := p.q.SendReceipts(ctx, receipts, strconv.Itoa(round)); err != nil {
			p.w.t.Fatal(err)
		}
		for _, d := range got {
			if err := d.Complete(ctx); err != nil {
				p.w.t.Fatal(err)
			}
		}
	}
}

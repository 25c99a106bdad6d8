package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
)

// polite is a sender that notes how each of its requests ended.
type polite struct {
	w    *world
	key  string // of the API
	http *http.Client

	mu       sync.Mutex
	accepted map[string]ferry.ID
	unsure   []string // keys of requests that ended without an answer
	answered atomic.Int64
	refused  atomic.Int64 // connections
}

func (w *world) polite() *polite {
	w.t.Helper()
	key, err := os.ReadFile(w.path("data/admin.key"))
	if err != nil {
		w.t.Fatal(err)
	}
	return &polite{
		w: w, key: strings.TrimSpace(string(key)), accepted: map[string]ferry.ID{},
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: time.Minute},
	}
}

// post makes one request, which nobody repeats by himself: the key of the message is
// in the query.
func (p *polite) post(ctx context.Context, path, body string) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.w.api+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.GetBody = nil
	r.Header.Set("Authorization", "Bearer "+p.key)
	r.Header.Set("Content-Type", "application/json")
	answer, err := p.http.Do(r)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, errors.Join(err, answer.Body.Close())
}

// send sends one message until it is accepted.
func (p *polite) send(ctx context.Context, key string) {
	path := "/v1/routes/" + invoices + "/messages?idempotencyKey=" + url.QueryEscape(key)
	for ctx.Err() == nil {
		status, err := p.post(ctx, path, kibibyte(key))
		switch {
		case err == nil && (status == http.StatusCreated || status == http.StatusOK):
			p.answered.Add(1)
			return
		case err == nil && status == http.StatusServiceUnavailable:
			p.answered.Add(1)
		case errors.Is(err, syscall.ECONNREFUSED):
			p.refused.Add(1)
		case ctx.Err() != nil:
			return
		case err != nil:
			// Whether it was read, the ledger knows, once the broker is back.
			p.mu.Lock()
			p.unsure = append(p.unsure, fmt.Sprintf("%s: %v", key, err))
			p.mu.Unlock()
			p.settleDoubt(ctx, key)
		default:
			p.w.t.Errorf("%s: status %d", key, status)
			return
		}
		time.Sleep(20 * time.Millisecond) // of a sender that comes again
	}
}

// settleDoubt fails when a request that got no answer was taken.
func (p *polite) settleDoubt(ctx context.Context, key string) {
	for ctx.Err() == nil {
		page, err := p.w.client.Messages(ctx, ferry.MessageFilter{Q: key})
		if err != nil {
			time.Sleep(50 * time.Millisecond) // until the broker is back
			continue
		}
		if len(page.Items) > 0 {
			p.w.t.Errorf("%s was accepted, and its sender's connection was cut without an answer", key)
		}
		return
	}
}

// receive waits for messages of a route where there are none: what waits when the
// broker stops is answered.
func (p *polite) receive(ctx context.Context, route string) {
	for ctx.Err() == nil {
		began := time.Now()
		_, err := p.post(ctx, "/"+route+"/messages/head?timeout=50", "")
		switch {
		case err == nil:
			p.answered.Add(1)
		case errors.Is(err, syscall.ECONNREFUSED):
			p.refused.Add(1)
		case ctx.Err() == nil && time.Since(began) > 100*time.Millisecond:
			p.w.t.Errorf("a receiver that had waited for %s was cut: %v", time.Since(began), err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestStopLoops asks broker and worker to end, again and again, at moments left to
// chance, under load: each ends well, every message ends exactly once, and no sender
// or receiver is left without an answer.
func TestStopLoops(t *testing.T) {
	t.Parallel()
	stops := number(t, "FERRY_STOPS", 3, 10_000)
	rng, _ := chance(t)
	w := newWorld(t, options{
		lock: "5s", destination: []string{"timeout: 1s", "concurrency: 8"},
		route: []string{`lookup: {url: "/invoices?externalId={externalKey}", reference: ".items[0].id"}`, "settleTime: 1s"},
	})
	// A route that no worker delivers.
	text, err := os.ReadFile(w.path("broker.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	w.write("broker.yaml", string(text)+"  - {name: handed, workers: pull}\n")
	w.startBroker()
	w.cli("workers", "add", "erp-worker", "--routes", invoices, "--out", "erp-worker.nk")
	w.startWorker()
	w.fail(practice.Fault{Kind: practice.FaultSlow, Times: -1, Chance: 0.50, Delay: 100 * time.Millisecond})
	p := w.polite()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	var senders, receivers sync.WaitGroup
	for i := range 8 {
		senders.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				case <-time.After(50 * time.Millisecond):
				}
				key := fmt.Sprintf("stop-%d-%05d", i, n)
				p.send(ctx, key)
				p.mu.Lock()
				p.accepted[key] = ferry.ID{}
				p.mu.Unlock()
			}
		})
	}
	for range 2 {
		receivers.Go(func() { p.receive(ctx, "handed") })
	}
	for i := range stops {
		w.awaitBroker()
		time.Sleep(time.Duration(rng.Int64N(int64(500 * time.Millisecond)))) // a moment left to chance
		whom := [...]string{"broker", "worker", "both"}[(int(i)+rng.IntN(2))%3]
		var ends sync.WaitGroup
		if whom != "worker" {
			_ = w.broker.cmd.Process.Signal(syscall.SIGTERM)
		}
		if whom != "broker" {
			_ = w.worker.cmd.Process.Signal(syscall.SIGTERM)
		}
		for name, one := range map[string]*process{"broker": w.broker, "worker": w.worker} {
			if whom != "both" && whom != name {
				continue
			}
			ends.Go(func() {
				select {
				case <-one.ended:
					code := one.cmd.ProcessState.ExitCode()
					if code == -1 && one.out.String() == "" {
						return // it was so young that it could not hear yet, and had begun nothing
					}
					if code != 0 {
						t.Errorf("stop %d of the %s: exit code %d\n%s", i, name, code, last(one.out.String(), 4<<10))
					}
				case <-time.After(40 * time.Second):
					t.Errorf("stop %d: the %s did not end", i, name)
				}
			})
		}
		ends.Wait()
		w.restart()
	}
	w.awaitBroker()
	close(done)
	senders.Wait()
	w.awaitDrained(time.Minute)
	cancel()
	receivers.Wait()
	for key := range p.accepted {
		if docs := w.erp.Documents(key); len(docs) != 1 {
			t.Errorf("%s has %d documents", key, len(docs))
		}
	}
	n := int64(len(p.accepted))
	if got, want := w.balance(), (ferry.Reconciliation{Accepted: n, Completed: n}); got != want {
		t.Errorf("reconcile: %+v, not %+v", got, want)
	}
	if n := w.erp.Calls(practice.OpCreate); n != len(p.accepted) {
		t.Errorf("%d creates of %d messages: a call was cut", n, len(p.accepted))
	}
	t.Logf("%d stops, %d messages, %d answers, %d connections refused, %d cut before they were read: %v", stops, n, p.answered.Load(), p.refused.Load(), len(p.unsure), p.unsure)
}

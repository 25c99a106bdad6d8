package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/breaker"
	"ferry/internal/commit"
)

func logonRefused() ferry.Verdict {
	return ferry.Verdict{Kind: ferry.Unauthorized, Effect: ferry.EffectNone, Status: 401}
}

// logons is a destination with a password; it counts who tries at a time.
type logons struct {
	mu         sync.Mutex
	password   string // the right one
	now        string // the one that is sent
	tries      int    // with a wrong one
	out, most  int
	beforeGood int // calls at a time before the first good answer, at the most
	good       bool
}

func (l *logons) call() ferry.Verdict {
	l.mu.Lock()
	sent := l.now
	l.out++
	l.most = max(l.most, l.out)
	if !l.good {
		l.beforeGood = max(l.beforeGood, l.out)
	}
	l.mu.Unlock()
	time.Sleep(50 * time.Millisecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out--
	if sent != l.password {
		l.tries++
		return logonRefused()
	}
	l.good = true
	return delivered("INV-1")
}

func (l *logons) set(change func(*logons)) {
	l.mu.Lock()
	change(l)
	l.mu.Unlock()
}

// seen is what it counted so far.
func (l *logons) seen() (tries, most, beforeGood int, good bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tries, l.most, l.beforeGood, l.good
}

// secured makes the destination's script one with a password.
func (w *world) secured(password string) *logons {
	l := &logons{password: "right", now: password}
	w.erp.post = func(context.Context, adapters.Call) ferry.Verdict { return l.call() }
	w.erp.print = password
	w.change = func(r *Route) {
		r.Destination = NewDest(DestOptions{Name: "erp", Destination: w.erp, Concurrency: 8})
		w.dest = r.Destination
	}
	return l
}

func (w *world) handOuts(n int) []ferry.HandOut {
	list := make([]ferry.HandOut, n)
	for i := range list {
		list[i] = w.handOut()
	}
	return list
}

// One logon reaches the destination with a wrong password, whatever waits, until
// it is mended; and with the right one, one call goes first.
func TestOneLogonWithAWrongPassword(t *testing.T) {
	inWorld(t, func(w *world) {
		l := w.secured("wrong")
		w.run()
		w.publish(w.handOuts(40)...)
		time.Sleep(20 * time.Minute)
		if tries, _, _, _ := l.seen(); tries != 1 {
			w.t.Fatalf("%d logons", tries)
		}
		w.clear()
		w.erp.set(func(s *script) { s.print = "right" })
		l.set(func(l *logons) { l.now = "right" })
		time.Sleep(2 * watchInterval)
		synctest.Wait()
		if tries, most, before, _ := l.seen(); tries != 1 || before != 1 || most != 8 {
			w.t.Fatalf("%d wrong logons, %d at a time before the first good one, %d after it", tries, before, most)
		}
		if n := len(w.all()); n != 39 {
			w.t.Fatalf("%d of the 39 that never met it came through", n)
		}
	})
}

// rereading is a script whose secret is kept, and read anew when it is asked to.
type rereading struct {
	*script
	reread func()
}

func (r rereading) Reread() { r.reread() }

// A refused secret that is kept elsewhere is read anew while the refusal holds, and
// what was rotated there goes on by itself.
func TestARefusedSecretIsReadAnew(t *testing.T) {
	inWorld(t, func(w *world) {
		l := w.secured("wrong")
		var mu sync.Mutex
		asked, there := 0, "wrong"
		w.change = func(r *Route) {
			r.Destination = NewDest(DestOptions{Name: "erp", Concurrency: 8, Destination: rereading{w.erp, func() {
				mu.Lock()
				defer mu.Unlock()
				asked++
				now := there
				w.erp.set(func(s *script) { s.print = now })
				l.set(func(l *logons) { l.now = now })
			}}})
			w.dest = r.Destination
		}
		w.run()
		w.publish(w.handOuts(10)...)
		time.Sleep(time.Minute)
		mu.Lock()
		if tries, _, _, _ := l.seen(); tries != 1 || asked < 5 || asked > 13 {
			w.t.Errorf("%d logons, read anew %d times in a minute", tries, asked)
		}
		w.clear()
		there = "right"
		mu.Unlock()
		time.Sleep(2 * watchInterval)
		synctest.Wait()
		if tries, _, _, _ := l.seen(); tries != 1 || len(w.all()) != 9 {
			w.t.Errorf("%d wrong logons, %d of the 9 others came through", tries, len(w.all()))
		}
	})
}

// A secret that changes while all is well is as unknown as the first.
func TestAChangedSecretIsTriedOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		l := w.secured("right")
		w.run()
		w.publish(w.handOuts(60)...)
		time.Sleep(2 * time.Second)
		if tries, most, _, _ := l.seen(); most != 8 || tries != 0 {
			w.t.Fatalf("%d at a time, %d refused", most, tries)
		}
		w.erp.set(func(s *script) { s.print = "rotated" })
		l.set(func(l *logons) { l.now, l.good, l.beforeGood = "rotated", false, 0 })
		w.publish(w.handOuts(20)...)
		time.Sleep(10 * time.Minute)
		if tries, _, before, _ := l.seen(); tries != 1 || before != 1 {
			w.t.Fatalf("%d logons with the new secret, %d at a time", tries, before)
		}
	})
}

// A restart does not begin the count anew.
func TestRefusalIsKeptOverARestart(t *testing.T) {
	inWorld(t, func(w *world) {
		l := w.secured("wrong")
		w.run()
		w.publish(w.handOuts(10)...)
		time.Sleep(time.Minute)
		began := time.Now().Add(-time.Minute)
		for range 3 {
			w.stopWorker()
			w.run()
			time.Sleep(time.Minute)
			if tries, _, _, _ := l.seen(); tries != 1 {
				w.t.Fatalf("%d logons after a restart", tries)
			}
			c := w.lastHello().Routes[0].Conditions
			if len(c) != 1 || c[0].Type != ferry.RouteUnauthorized || c[0].Since.Sub(began).Abs() > time.Second || c[0].Until.Sub(began.Add(refusedFor)).Abs() > time.Second {
				w.t.Fatalf("conditions %+v", c)
			}
		}
		// Three of its own accord, however often it is started.
		for range 8 {
			time.Sleep(150 * time.Minute)
			w.publish(w.handOut())
			w.stopWorker()
			w.run()
		}
		synctest.Wait()
		if tries, _, _, _ := l.seen(); tries != 1+refusedTries {
			w.t.Fatalf("%d logons in a day with restarts", tries)
		}
		// Resumed: tried once more, and the hold begins again.
		w.say(func(w *world) { w.word.ResumedAt = time.Now() })
		w.stopWorker()
		w.run()
		w.publish(w.handOut())
		time.Sleep(10 * time.Second)
		if tries, _, _, _ := l.seen(); tries != 2+refusedTries {
			w.t.Fatalf("%d logons after somebody resumed", tries)
		}
		// Mended while the worker was down.
		w.stopWorker()
		w.erp.set(func(s *script) { s.print = "right" })
		l.set(func(l *logons) { l.now = "right" })
		w.run()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if tries, _, _, good := l.seen(); tries != 2+refusedTries || !good {
			w.t.Fatalf("%d logons, good %v", tries, good)
		}
		// Accepted: what was kept is gone.
		if r, _, err := w.worker.inbox.refusalOf("erp", "wrong"); r != nil || err != nil {
			w.t.Fatalf("still on record: %v", err)
		}
	})
}

// The inbox holds nothing that passwords can quickly be tried against.
func TestKeptRefusalTellsNothing(t *testing.T) {
	b, err := openInbox(t.TempDir(), commit.Options{Log: slog.New(slog.DiscardHandler)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.close() }()
	const print = "0123456789abcdef0123456789abcdef"
	at := time.Now().Truncate(time.Millisecond)
	tries := []time.Time{at.Add(-time.Hour)}
	if err := b.keepRefusal("erp", at, tries, print); err != nil {
		t.Fatal(err)
	}
	got, same, err := b.refusalOf("erp", print)
	if err != nil || !same || !got.At.Equal(at) || len(got.Tries) != 1 || !got.Tries[0].Equal(tries[0]) {
		t.Fatalf("%+v %v %v", got, same, err)
	}
	for name, other := range map[string][2]string{"another secret": {"erp", "f" + print[1:]}, "another destination": {"other", print}} {
		if _, same, err := b.refusalOf(other[0], other[1]); same || err != nil {
			t.Errorf("%s: %v, %v", name, same, err)
		}
	}
	file, err := os.ReadFile(b.db.Path())
	if err != nil || !bytes.Contains(file, []byte("refusals")) || bytes.Contains(file, []byte(print)) {
		t.Errorf("the inbox holds the fingerprint: %v", err)
	}
	if err := b.dropRefusal("erp"); err != nil {
		t.Fatal(err)
	}
	if r, _, err := b.refusalOf("erp", print); r != nil || err != nil {
		t.Errorf("dropped, and there: %v", err)
	}
}

// A health request that is answered with a refusal is a logon, too; and while the
// credentials are not trusted it does not go out beside a call.
func TestProbeIsALogon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		refuse, out, most, logons := true, 0, 0, 0
		logon := func() bool {
			mu.Lock()
			out++
			logons++
			most = max(most, out)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			defer mu.Unlock()
			out--
			return !refuse
		}
		post := func(ferry.ID) ferry.Verdict {
			if logon() {
				return delivered("INV-1")
			}
			return logonRefused()
		}
		l := newLab(t, 2, 4, post, func() error {
			if logon() {
				return nil
			}
			return fmt.Errorf("%w: status 403", adapters.ErrRefused)
		}, "wrong")
		defer l.end()
		l.d.breaker.Unavailable(true)
		time.Sleep(20 * time.Minute)
		mu.Lock()
		if logons != 1 || most != 1 {
			t.Fatalf("%d logons, %d at a time", logons, most)
		}
		refuse = false
		mu.Unlock()
		if c, _ := l.d.conditions(); len(c) != 2 || c[0].Type != ferry.RouteUnauthorized || c[1].Type != ferry.RouteUnavailable {
			t.Fatalf("conditions %+v", c)
		}
		l.erp.set(func(s *script) { s.print = "right" })
		time.Sleep(watchInterval + breaker.ProbeInterval + 3*time.Second)
		if _, done, _ := l.counts(); done == 0 {
			t.Fatal("nothing is delivered with the right secret")
		}
	})
}

// Several routes share one destination: together they log on once.
func TestSharedDestinationLogsOnOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		var mu sync.Mutex
		l := newLab(t, 5, 4, func(ferry.ID) ferry.Verdict {
			mu.Lock()
			n++
			mu.Unlock()
			time.Sleep(100 * time.Millisecond)
			return logonRefused()
		}, nil, "wrong")
		defer l.end()
		time.Sleep(29 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if n != 1 {
			t.Fatalf("%d logons", n)
		}
	})
}

// A panic in the health request is a failed one.
func TestProbeThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		erp := &script{probeFn: func() error { panic("a bug") }}
		d := NewDest(DestOptions{Name: "erp", Destination: erp})
		d.breaker.Unavailable(true)
		time.Sleep(breaker.ProbeInterval)
		d.probe(t.Context())
		if s := d.breaker.Snapshot(); s.State == breaker.Closed || d.used != 0 {
			t.Fatalf("%+v, %d used", s, d.used)
		}
		erp.set(func(s *script) { s.probeFn = func() error { return errors.New("down") } })
		time.Sleep(breaker.ProbeInterval)
		d.probe(t.Context())
		if d.pings.bad != 2 {
			t.Fatalf("%d failed", d.pings.bad)
		}
	})
}

// Throttled is visible as such, since when it began and until when it lasts, also
// when a 503 asked for it; the hold is an hour at the most.
func TestThrottledIsVisible(t *testing.T) {
	for name, v := range map[string]ferry.Verdict{
		"429":                  {Kind: ferry.Throttled, Effect: ferry.EffectNone, Status: 429, RetryAfter: 90 * time.Second},
		"503 with Retry-After": {Kind: ferry.Unavailable, Effect: ferry.EffectNone, Status: 503, RetryAfter: 90 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.erp.post = always(v)
				w.run()
				began := time.Now()
				w.publish(w.handOut())
				time.Sleep(45 * time.Second)
				c, _ := w.dest.conditions()
				if len(c) != 1 || c[0].Type != ferry.RouteThrottled || !c[0].Since.Equal(began) || c[0].Until == nil || !c[0].Until.Equal(began.Add(90*time.Second)) {
					w.t.Fatalf("conditions %+v", c)
				}
				w.wantCounts(1, 0)
				time.Sleep(46 * time.Second)
				if c, _ := w.dest.conditions(); len(c) != 0 {
					w.t.Fatalf("conditions after it %+v", c)
				}
				w.publish(w.handOut())
				w.wantCounts(2, 0)
				long := v
				long.RetryAfter = 20 * time.Hour
				w.erp.set(func(s *script) { s.post = always(long) })
				time.Sleep(90 * time.Second)
				w.publish(w.handOut())
				if c, _ := w.dest.conditions(); len(c) != 1 || time.Until(*c[0].Until) != time.Hour {
					w.t.Fatalf("conditions %+v", c)
				}
			})
		})
	}
}

package broker

import (
	"context"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/queue"
)

// gate is a queue that keeps the last list of workers that it was given. What a test
// sets runs first, once: whatever comes between two steps of an act.
type gate struct {
	memTransport
	admitted []string
	onLogin  func()
	onList   func()
}

func (g *gate) NewLogin() (public, seed string, err error) {
	if f := g.onLogin; f != nil {
		g.onLogin = nil
		f()
	}
	return g.memTransport.NewLogin()
}

func (g *gate) SetWorkers(workers []ferry.WorkerInfo) error {
	if f := g.onList; f != nil {
		g.onList = nil
		f()
	}
	g.admitted = nil
	for _, w := range workers {
		if w.RevokedAt == nil {
			g.admitted = append(g.admitted, w.Name)
		}
	}
	return nil
}

func (g *gate) open(o *Options) {
	open := o.OpenTransport
	o.OpenTransport = func(ctx context.Context, workers []ferry.WorkerInfo) (Transport, error) {
		t, err := open(ctx, workers)
		if err == nil {
			g.memTransport = t.(memTransport)
		}
		return g, err
	}
}

// A worker that is revoked while another one is let in stays out: the queue is told
// of workers by one at a time, and of those that the ledger has then.
func TestRevokedWhileAnotherIsAdded(t *testing.T) {
	g := &gate{}
	bubble(t, func(t *testing.T, w *world) {
		for _, name := range []string{"one", "two"} {
			if _, err := w.b.AddWorker(t.Context(), name, []string{orders}, "", "test"); err != nil {
				t.Fatal(err)
			}
		}
		revoked := make(chan error, 1)
		g.onList = func() {
			go func() {
				_, err := w.b.RevokeWorker(t.Context(), "one", "", "test")
				revoked <- err
			}()
			synctest.Wait() // it is through, or waits
		}
		if _, err := w.b.RotateWorker(t.Context(), "two", "", "test"); err != nil {
			t.Fatal(err)
		}
		if err := <-revoked; err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(g.admitted, []string{"two"}) {
			t.Errorf("the queue lets in %v", g.admitted)
		}
	}, g.open)
}

// A worker that is revoked while it is given another credential stays revoked; so
// does what it was let in for, when it was let in anew meanwhile.
func TestRevokedWhileItIsRotated(t *testing.T) {
	for name, c := range map[string]struct {
		after func(w *world) error
		code  ferry.Code
	}{
		"revoked": {func(*world) error { return nil }, ferry.CodeNotFound},
		"let in again for less": {func(w *world) error {
			time.Sleep(time.Second)
			_, err := w.b.AddWorker(w.t.Context(), "one", []string{notes}, "", "test")
			return err
		}, ferry.CodeConflict},
	} {
		t.Run(name, func(t *testing.T) {
			g := &gate{}
			bubble(t, func(t *testing.T, w *world) {
				if _, err := w.b.AddWorker(t.Context(), "one", []string{orders, notes}, "", "test"); err != nil {
					t.Fatal(err)
				}
				var want ferry.WorkerInfo
				g.onLogin = func() {
					if _, err := w.b.RevokeWorker(t.Context(), "one", "", "test"); err != nil {
						t.Error(err)
					}
					if err := c.after(w); err != nil {
						t.Error(err)
					}
					want, _ = w.b.ledger.Worker("one")
				}
				if _, err := w.b.RotateWorker(t.Context(), "one", "", "test"); ferry.CodeOf(err) != c.code {
					t.Errorf("rotated: %v", err)
				}
				got, _ := w.b.ledger.Worker("one")
				if got.RevokedAt != want.RevokedAt || !slices.Equal(got.Routes, want.Routes) {
					t.Errorf("it is %+v, want %+v", got, want)
				}
				if in := len(g.admitted) > 0; in != (want.RevokedAt == nil) {
					t.Errorf("the queue lets in %v", g.admitted)
				}
			}, g.open)
		})
	}
}

// A broker whose last admin key has expired makes another at its next start: nobody
// is locked out for good.
func TestAdminKeyAfterTheLastExpired(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		ensure := func() string {
			t.Helper()
			path, err := w.b.EnsureAdminKey(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return path
		}
		path := ensure()
		if path == "" || ensure() != "" {
			t.Fatal("the first start makes one key, and the second none")
		}
		if _, err := w.b.CreateKey(t.Context(), ferry.KeySpec{Name: "second", Role: ferry.RoleAdmin, Expires: time.Now().Add(time.Hour)}, "test"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.b.RevokeKey(t.Context(), "admin", "", "test"); err != nil {
			t.Fatal(err)
		}
		if ensure() != "" {
			t.Fatal("the second key is good for an hour")
		}
		time.Sleep(time.Hour)
		if ensure() == "" {
			t.Fatal("there is no admin key any more")
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if who, err := w.b.Authenticate(t.Context(), string(text[:len(text)-1])); err != nil || who.Role != ferry.RoleAdmin {
			t.Errorf("%+v %v", who, err)
		}
	})
}

// The broker says how each worker stands: it knows of goodbyes, of its own start, and
// its clock.
func TestWorkerStates(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		one, two := w.worker("one", orders), w.worker("two", orders)
		want := func(states ...ferry.WorkerState) {
			t.Helper()
			list, err := w.b.Workers(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []ferry.WorkerState
			for _, i := range list {
				got = append(got, i.State)
			}
			if !slices.Equal(got, states) {
				t.Errorf("the workers are %v, want %v", got, states)
			}
		}
		want(ferry.WorkerNeverSeen, ferry.WorkerNeverSeen)
		one.hello(orders)
		two.hello(orders)
		want(ferry.WorkerConnected, ferry.WorkerConnected)
		if _, err := one.q.Hello(t.Context(), queue.Hello{Worker: "one", Inbox: one.inbox, Leaving: true}); err != nil {
			t.Fatal(err)
		}
		want(ferry.WorkerStopped, ferry.WorkerConnected)
		time.Sleep(31 * time.Second)
		want(ferry.WorkerStopped, ferry.WorkerAway)

		w.restart()
		made, err := w.b.AddWorker(t.Context(), "zoe", []string{notes}, "", "test")
		if err != nil || made.State != ferry.WorkerNeverSeen {
			t.Errorf("made: %s %v", made.State, err)
		}
		want(ferry.WorkerNotSinceStart, ferry.WorkerNotSinceStart, ferry.WorkerNeverSeen)
		one.hello(orders)
		if gone, err := w.b.RevokeWorker(t.Context(), "two", "", "test"); err != nil || gone.State != ferry.WorkerRevoked {
			t.Errorf("revoked: %s %v", gone.State, err)
		}
		want(ferry.WorkerConnected, ferry.WorkerRevoked, ferry.WorkerNeverSeen)
	})
}

// Package queuetest is what every queue driver must pass. A driver's test says
// in a Harness how to make one; Run does the rest. The names of the cases are
// the specification.
package queuetest

import (
	"context"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ferry/queue"
)

// Harness says how to make the queue under test.
type Harness struct {
	// Open makes a queue in dir (a folder of its own), empty at first. Everything
	// that it starts must have ended after Env.Stop.
	Open func(tb testing.TB, dir string) *Env
	// Bubble runs each case inside a synctest bubble, so that waiting costs nothing.
	Bubble bool
	// Lock is that of the drivers. Outside a bubble it should be short.
	Lock time.Duration
	// Durable drivers keep what they took when their process ends; they are
	// reopened and killed.
	Durable bool
	// OneLogin says why every connection has the same rights here: the cases in which
	// the technology refuses a worker are left out.
	OneLogin string
}

// Env is a queue that runs.
type Env struct {
	// Broker makes another connection with the broker's rights.
	Broker func() queue.Driver
	// Worker makes a connection that is authenticated as that worker, for these routes.
	Worker func(name string, routes ...string) queue.Driver
	// Revoke refuses the worker from now on.
	Revoke func(name string)
	// Lose loses every channel, as a power cut may.
	Lose func()
	// SetAside has the technology set aside what lies in the channel and nobody
	// holds. Needed of drivers that are a queue.DeadLetterer.
	SetAside func(address queue.Address, reason, description string)
	// Stop ends the queue; with Durable, Open on the same folder brings it back.
	Stop func()
}

// Routes of the cases.
const (
	routeA = "route-a"
	routeB = "route-b"
)

// pause is between two looks at something that is awaited.
const pause = 5 * time.Millisecond

// childFolder tells a child process of SurvivesKill where to work.
const childFolder = "FERRY_QUEUETEST_FOLDER"

// patience is how long a case may take before it counts as hung.
func (h Harness) patience() time.Duration { return 20*time.Second + 20*h.Lock }

type test struct {
	name    string
	durable bool // only for durable drivers
	run     func(s *suite)
	rights  bool // only where the technology tells workers apart
}

// Run runs every case.
func Run(t *testing.T, h Harness) {
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			switch {
			case c.durable && !h.Durable:
				t.Skip("the driver keeps nothing beyond its process")
			case c.rights && h.OneLogin != "":
				t.Skip(h.OneLogin)
			case h.Bubble:
				dir := t.TempDir()
				synctest.Test(t, func(t *testing.T) { runCase(t, h, c, dir) })
			default:
				dir := os.Getenv(childFolder)
				if dir == "" {
					dir = t.TempDir()
				}
				runCase(t, h, c, dir)
			}
		})
	}
}

func runCase(t *testing.T, h Harness, c test, dir string) {
	ctx, cancel := context.WithTimeout(context.Background(), h.patience())
	defer cancel()
	s := &suite{T: t, h: h, dir: dir, ctx: ctx}
	s.open()
	defer s.shut()
	c.run(s)
}

// suite is one case under way.
type suite struct {
	*testing.T
	h   Harness
	dir string
	ctx context.Context
	env *Env

	mu     sync.Mutex
	queues []*queue.Queue
	raw    []queue.Driver
}

func (s *suite) open() {
	s.Helper()
	s.env = s.h.Open(s, s.dir)
}

// shut closes everything that the case opened.
func (s *suite) shut() {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), s.h.patience())
	defer cancel()
	s.mu.Lock()
	queues, raw := s.queues, s.raw
	s.queues, s.raw = nil, nil
	s.mu.Unlock()
	for _, q := range queues {
		if err := q.Close(ctx); err != nil {
			s.Errorf("close: %v", err)
		}
	}
	for _, d := range raw {
		if err := d.Close(ctx); err != nil {
			s.Errorf("close: %v", err)
		}
	}
	s.env.Stop()
}

// broker is a queue with the broker's rights whose channels for both routes exist.
func (s *suite) broker() *queue.Queue {
	s.Helper()
	q := s.over(s.env.Broker())
	if _, err := q.Ensure(s.ctx, []string{routeA, routeB}); err != nil {
		s.Fatalf("ensure: %v", err)
	}
	return q
}

func (s *suite) worker(name string, routes ...string) *queue.Queue {
	s.Helper()
	return s.over(s.env.Worker(name, routes...))
}

func (s *suite) over(d queue.Driver) *queue.Queue {
	q := queue.New(d, queue.Options{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues = append(s.queues, q)
	return q
}

// bare is a driver with the broker's rights and no Queue over it.
func (s *suite) bare(d queue.Driver) queue.Driver {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw = append(s.raw, d)
	return d
}

// eventually asks until it is true.
func (s *suite) eventually(what string, ask func() bool) {
	s.Helper()
	for !ask() {
		if s.ctx.Err() != nil {
			s.Fatalf("it never happened: %s", what)
		}
		time.Sleep(pause)
	}
}

// soon is a context for something that should not happen at all: long enough to
// see it, short enough to wait for.
func (s *suite) soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.ctx, s.h.Lock/3)
}

package sim

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// errDead is what somebody gets who was killed: nothing it does has an effect.
var errDead = errors.New("killed")

// life is one run of a process, from its start to its end.
type life struct {
	name string
	dead chan struct{} // closed when it is killed

	mu     sync.Mutex
	killed bool
	gated  bool // after its start: it waits at gates
	frozen time.Time
	deafTo time.Time // of a worker: until then it and the broker do not hear each other

	writing string       // of a worker: what the commit under way writes, for the story
	grant   atomic.Int32 // of a worker: what its last hello was told of the route
}

// What a worker's last hello was told.
const (
	grantUnknown int32 = iota
	grantGiven
	grantRefused
)

func newLife(name string) *life { return &life{name: name, dead: make(chan struct{})} }

func (l *life) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.killed {
		l.killed = true
		close(l.dead)
	}
}

func (l *life) isDead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.killed
}

func (l *life) setGated(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gated = on
}

func (l *life) isGated() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gated
}

// freeze has it stand still until a time.
func (l *life) freeze(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen = until
}

func (l *life) thaws() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.frozen
}

func (l *life) isFrozen() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.frozen)
}

// deafen keeps it and the broker from hearing each other until a time.
func (l *life) deafen(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deafTo = until
}

func (l *life) isDeaf() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.deafTo)
}

// way is how a gate is passed.
type way string

// The ways through gates. The first that a gate offers is the ordinary one; the
// others are faults.
const (
	ordinary   way = "ordinary"
	refused    way = "refused"     // an error, and nothing happened
	answerLost way = "answer lost" // an error, although it happened
	late       way = "late"        // the destination goes on writing, and does not answer
	fail       way = "fail"
	reject     way = "reject"
	busy       way = "busy"
	down       way = "down"
	auth       way = "auth"
)

// gate is where a goroutine of the product waits for the simulator.
type gate struct {
	of       *life
	kind     string
	words    string // what will happen, for the story: "W1 posts A.1 r1"
	position uint64 // tells gates of one name apart
	ways     []way
	ready    func() bool // nil: at any time
	arrived  bool        // what is waited for is there already: who stood still finds it, however late

	seq  int
	open chan passage
}

// passage is how the simulator lets somebody through.
type passage struct {
	way  way
	pick int // where there is a choice: which
}

// gates holds everybody who waits.
type gates struct {
	mu     sync.Mutex
	parked []*gate
	seq    int
}

// park waits at a gate until the simulator opens it, ctx ends or the life does.
func (g *gates) park(ctx context.Context, at *gate) (passage, error) {
	if at.of.isDead() {
		return passage{}, errDead
	}
	if !at.of.isGated() {
		return passage{way: ordinary}, nil
	}
	at.open = make(chan passage, 1)
	g.mu.Lock()
	g.seq++
	at.seq = g.seq
	g.parked = append(g.parked, at)
	g.mu.Unlock()
	defer g.leave(at)
	select {
	case p := <-at.open:
		return p, nil
	case <-at.of.dead:
		return passage{}, errDead
	case <-ctx.Done():
	}
	if at.arrived && at.of.isFrozen() {
		const soon = time.Second // after it goes on
		timer := time.NewTimer(time.Until(at.of.thaws()) + soon)
		defer timer.Stop()
		select {
		case p := <-at.open:
			return p, nil
		case <-at.of.dead:
		case <-timer.C:
		}
	}
	if at.of.isDead() {
		return passage{}, errDead
	}
	return passage{}, ctx.Err()
}

func (g *gates) leave(at *gate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.parked = slices.DeleteFunc(g.parked, func(other *gate) bool { return other == at })
}

// list gives the gates that can be opened, in an order that depends on their
// names alone.
func (g *gates) list() []*gate {
	g.mu.Lock()
	parked := slices.Clone(g.parked)
	g.mu.Unlock()
	slices.SortFunc(parked, func(x, y *gate) int {
		return cmp.Or(cmp.Compare(x.words, y.words), cmp.Compare(x.position, y.position), cmp.Compare(x.seq, y.seq))
	})
	return slices.DeleteFunc(parked, func(x *gate) bool { return x.of.isDead() || x.of.isFrozen() || x.ready != nil && !x.ready() })
}

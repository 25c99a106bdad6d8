package broker

import (
	"container/heap"
	"strings"
	"time"

	"ferry"
)

// turns says which target is told next. Targets of one host go in a lane of their
// own, and lanes take turns, so that a host with ten thousand dead addresses costs
// the others nothing. In each lane those whose last telling failed go behind the
// others, in places of their own. Whoever uses it holds the outbox's lock.
type turns struct {
	later lateHeap
	lanes map[string]*lane
	ring  []*lane // those with somebody ready, who goes next first
	busy  int
	again int // of the busy, those whose last telling failed
}

// Bounds of what is told at a time.
const (
	tellAtOnce  = 96 // targets whose last telling went well
	againAtOnce = 32 // and those whose last one failed
	laneAtOnce  = 32
	laneAgain   = 4
	laneFails   = 3 // tellings that failed in a row: the whole host may be down
	laneDown    = 8 // targets at a time then
)

// lane is the targets of one host.
type lane struct {
	name string
	// Ready: subscriptions and the like, addresses that one message asked for, of which
	// there may be many more, and those whose last telling failed.
	few, many, tried []*telling
	ofMany           bool // whose turn it is of the first two
	busy, again      int
	fails            int
	inRing           bool
}

// telling is how far one target is.
type telling struct {
	to    ferry.NoticeTarget
	lane  *lane
	state tellingState
	more  bool   // something came while it was busy
	after uint64 // the last notice of the last page
	fails int    // in a row
	gone  int    // in a row: the target says that there is nothing
	next  time.Time
	index int       // in the heap
	since time.Time // of the first failure in a row
	why   string
	told  map[uint64]bool // and not out of the ledger yet: it could not write
}

type tellingState int

const (
	tellingIdle  tellingState = iota // nothing is to be done
	tellingLater                     // in the heap
	tellingReady                     // in its lane
	tellingBusy
)

func newTurns() turns { return turns{lanes: map[string]*lane{}} }

// laneOf is the lane of a target: what shares its fate.
func (b *Broker) laneOf(to ferry.NoticeTarget) string {
	if to.Kind == ferry.ReplyCallback || to.Kind == ferry.ReplySubscription {
		return "https://" + hostOf(b.shownTarget(to))
	}
	return to.Kind + "/" + to.Route + "/" + to.Target
}

// hostOf is the host of what MaskURL shows.
func hostOf(masked string) string {
	host, _, _ := strings.Cut(masked, "/")
	return host
}

func (q *turns) lane(name string) *lane {
	l := q.lanes[name]
	if l == nil {
		l = &lane{name: name}
		q.lanes[name] = l
	}
	return l
}

// ready lets a target have a turn, at once.
func (q *turns) ready(t *telling) {
	if t.state == tellingLater {
		heap.Remove(&q.later, t.index)
	}
	t.state = tellingReady
	switch {
	case t.fails > 0:
		t.lane.tried = append(t.lane.tried, t)
	case t.to.Kind == ferry.ReplyCallback:
		t.lane.many = append(t.lane.many, t)
	default:
		t.lane.few = append(t.lane.few, t)
	}
	if !t.lane.inRing {
		t.lane.inRing = true
		q.ring = append(q.ring, t.lane)
	}
}

// wait lets a target have a turn at t.next.
func (q *turns) wait(t *telling) {
	t.state = tellingLater
	heap.Push(&q.later, t)
}

// next is whose turn it is: nil when nobody's, and then after how long somebody's
// comes, 0 for not before somebody else is done.
func (q *turns) next(now time.Time) (t *telling, in time.Duration) {
	for len(q.later) > 0 && !q.later[0].next.After(now) {
		q.ready(q.later[0])
	}
	for range len(q.ring) {
		l := q.ring[0]
		q.ring = q.ring[1:]
		if t = q.take(l); t != nil {
			t.state = tellingBusy
			q.busy++
			l.busy++
		}
		if l.inRing = len(l.few)+len(l.many)+len(l.tried) > 0; l.inRing {
			q.ring = append(q.ring, l)
		}
		if t != nil {
			return t, 0
		}
	}
	if len(q.later) > 0 {
		return nil, q.later[0].next.Sub(now)
	}
	return nil, 0
}

// take takes the next of a lane that may be told now.
func (q *turns) take(l *lane) *telling {
	most := laneAtOnce
	if l.fails >= laneFails {
		most = laneDown
	}
	if len(l.few)+len(l.many) > 0 && q.busy-q.again < tellAtOnce && l.busy-l.again < most {
		l.ofMany = !l.ofMany
		if len(l.few) == 0 || l.ofMany && len(l.many) > 0 {
			return first(&l.many)
		}
		return first(&l.few)
	}
	if len(l.tried) > 0 && q.again < againAtOnce && l.again < laneAgain {
		q.again++
		l.again++
		return first(&l.tried)
	}
	return nil
}

func first(list *[]*telling) *telling {
	t := (*list)[0]
	(*list)[0] = nil
	*list = (*list)[1:]
	return t
}

// done gives the turn back; wasAgain is whether the telling before had failed.
func (q *turns) done(t *telling, wasAgain, well bool) {
	q.busy--
	t.lane.busy--
	if wasAgain {
		q.again--
		t.lane.again--
	}
	if well {
		t.lane.fails = 0
	} else {
		t.lane.fails++
	}
	t.state = tellingIdle
}

// forget ends an idle target.
func (q *turns) forget(t *telling) {
	if l := t.lane; l.busy == 0 && !l.inRing && l.fails == 0 {
		delete(q.lanes, l.name)
	}
}

// lateHeap holds the targets that wait for a time, the first of them first.
type lateHeap []*telling

func (h lateHeap) Len() int           { return len(h) }
func (h lateHeap) Less(i, j int) bool { return h[i].next.Before(h[j].next) }
func (h lateHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for container/heap.
func (h *lateHeap) Push(x any) {
	t := x.(*telling)
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop is for container/heap.
func (h *lateHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return t
}

package broker

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"ferry"
	"ferry/queue"
	"ferry/store"
)

const (
	putsAtOnce    = 4 // bodies on their way into the store
	putTime       = 10 * time.Second
	putPace       = 2 << 20     // bytes per second that a put may be slow with
	storeAway     = time.Minute // how long a store that failed is left alone
	bodiesKnown   = 10_000      // bodies that are known to be in the store
	deletesWait   = 1024
	deleteTime    = 30 * time.Second
	bodySweepTime = 10 * time.Minute
)

// carrier puts bodies that are too large for the queue into the store that they
// travel by, and takes them out again. The ledger has them all: what goes wrong
// here costs the worker a question to the broker, and the route nothing.
type carrier struct {
	b     *Broker
	store queue.BodyStore // nil: workers ask the broker
	slots chan struct{}
	ended chan storedBody

	mu    sync.Mutex
	put   map[ferry.ID]int // the revision that this run put
	until time.Time        // it is left alone
}

type storedBody struct {
	id       ferry.ID
	revision int
}

func newCarrier(b *Broker) *carrier {
	return &carrier{
		b: b, slots: make(chan struct{}, putsAtOnce), ended: make(chan storedBody, deletesWait), put: map[ferry.ID]int{},
	}
}

// carry puts the bodies that do not travel with their messages, before those are
// handed out. A store that is away holds nothing back.
func (c *carrier) carry(ctx context.Context, handOuts []ferry.HandOut) {
	if c.store == nil {
		return
	}
	var puts sync.WaitGroup
	defer puts.Wait()
	for i := range handOuts {
		h := &handOuts[i]
		if h.Body != nil || h.Size <= int64(c.b.queue.InlineMax()) || c.has(h) {
			continue
		}
		select {
		case c.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		if c.away() {
			<-c.slots
			return
		}
		puts.Go(func() {
			defer func() { <-c.slots }()
			c.putOne(ctx, h)
		})
	}
}

func (c *carrier) putOne(ctx context.Context, h *ferry.HandOut) {
	bounded, cancel := context.WithTimeout(ctx, putTime+time.Duration(h.Size/putPace)*time.Second)
	defer cancel()
	err := c.store.Put(bounded, queue.BodyName(h.ID, h.Revision), h.Size, h.SHA256, func() (io.ReadCloser, error) {
		body, err := c.b.ledger.OpenBody(h.ID, h.Revision)
		if err != nil {
			return nil, err
		}
		return body.ReadSeekCloser, nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		if len(c.put) >= bodiesKnown {
			for id := range c.put { // any: the sweep takes it when it has ended
				delete(c.put, id)
				break
			}
		}
		c.put[h.ID] = h.Revision
	case ctx.Err() != nil:
	case errors.Is(err, store.ErrBodyMissing):
		c.b.log.Error("a body cannot be put into the store of bodies: the worker will find out", "route", h.Route, "message", h.ID, "error", err)
	default:
		c.until = time.Now().Add(storeAway)
		c.b.log.Warn("the store of bodies takes none: workers ask the broker for them", "route", h.Route, "message", h.ID, "error", err, "again", storeAway)
	}
}

func (c *carrier) has(h *ferry.HandOut) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.put[h.ID] == h.Revision
}

func (c *carrier) away() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Before(c.until)
}

// note takes what a commit did: the body of a message that ended is not needed any
// more. It must not block: the committer waits.
func (c *carrier) note(changes []store.Change) {
	if c.store == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.put) == 0 {
		return
	}
	for i := range changes {
		id := changes[i].ID
		revision, ok := c.put[id]
		if !ok || !changes[i].Left || readyAgain(changes[i+1:], id) {
			continue
		}
		delete(c.put, id)
		select {
		case c.ended <- storedBody{id, revision}:
		default: // the sweep takes it
		}
	}
}

func readyAgain(changes []store.Change, id ferry.ID) bool {
	for i := range changes {
		if changes[i].ID == id && changes[i].Ready {
			return true
		}
	}
	return false
}

// run removes the bodies of messages that ended, and now and then what is left of
// others: not on the janitor's time, since a store may hang.
func (c *carrier) run(ctx context.Context) {
	if c.store == nil {
		return
	}
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-c.ended:
			c.remove(ctx, s)
		case <-due.C:
			c.sweep(ctx)
			due.Reset(sweepEvery)
		}
	}
}

func (c *carrier) remove(ctx context.Context, s storedBody) {
	c.mu.Lock()
	_, again := c.put[s.id] // it was replayed meanwhile
	c.mu.Unlock()
	if again || c.away() {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, deleteTime)
	defer cancel()
	if err := c.store.Delete(bounded, queue.BodyName(s.id, s.revision)); err != nil && ctx.Err() == nil {
		c.b.log.Info("a body stays in the store of bodies until it is swept", "message", s.id, "error", err)
	}
}

// sweep removes what no pending message refers to: of messages that ended while
// the store was away, or in an earlier run.
func (c *carrier) sweep(ctx context.Context) {
	if c.away() {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, bodySweepTime)
	defer cancel()
	removed, err := c.store.Sweep(bounded, orphanAge, c.wanted)
	if err != nil && ctx.Err() == nil {
		c.b.log.Warn("the store of bodies could not be swept", "error", err)
	}
	if removed > 0 {
		c.b.log.Info("removed bodies of ended messages from the store of bodies", "bodies", removed)
	}
}

// wanted says whether a pending message refers to the body. What is not ours, or
// cannot be read, is kept.
func (c *carrier) wanted(name string) bool {
	id, revision, ok := queue.ParseBodyName(name)
	if !ok {
		return true
	}
	e, err := c.b.ledger.Message(id)
	if err != nil {
		return ferry.CodeOf(err) != ferry.CodeMessageNotFound
	}
	return e.State.Pending() && e.Revision == revision
}

package intake

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry/internal/servicebus"
)

// renewEvery is how often it is looked for locks that are half over.
const renewEvery = time.Second

// hold takes a message into the hand. Its lock is renewed from now on.
func (st *stint) hold(m *azservicebus.ReceivedMessage) *held {
	h := &held{m: m, renew: halfOf(m.LockedUntil)}
	st.mu.Lock()
	st.held[h] = struct{}{}
	st.mu.Unlock()
	st.s.inHand(+1)
	return h
}

// halfOf is when half of the time is over until a lock ends.
func halfOf(until *time.Time) time.Time {
	if until == nil {
		return time.Time{}
	}
	return time.Now().Add(time.Until(*until) / 2)
}

// letGo ends the holding, and frees the slot.
func (st *stint) letGo(h *held) {
	st.mu.Lock()
	delete(st.held, h)
	st.mu.Unlock()
	st.s.inHand(-1)
	st.slots <- struct{}{}
}

// renewLocks renews the locks of what is in hand for long: while the disk is slow.
func (st *stint) renewLocks(ctx context.Context) {
	var renewals sync.WaitGroup
	defer renewals.Wait()
	ticker := time.NewTicker(renewEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, h := range st.dueForRenewal() {
			renewals.Go(func() { st.renewLock(ctx, h) })
		}
	}
}

func (st *stint) dueForRenewal() (list []*held) {
	now := time.Now()
	st.mu.Lock()
	defer st.mu.Unlock()
	for h := range st.held {
		if !h.busy && !h.renew.IsZero() && now.After(h.renew) {
			h.busy = true
			list = append(list, h)
		}
	}
	return list
}

func (st *stint) renewLock(ctx context.Context, h *held) {
	until, err := st.r.Renew(ctx, h.m)
	next := halfOf(&until)
	if err != nil {
		if next = time.Now().Add(renewEvery); errors.Is(err, servicebus.ErrLockLost) {
			next = time.Time{} // it comes again; on disk by then, it is a repeat
		}
		st.s.log.Debug("a lock could not be renewed", "queue", st.s.Queue, "sequence", number(h.m), "error", err)
	}
	st.mu.Lock()
	h.busy, h.renew = false, next
	st.mu.Unlock()
}

package worker

import "time"

// pauseAway is the pause of a route that has too many deliveries which need the
// broker while it is away. Each release may count in the queue.
const pauseAway = time.Minute

// brokerHeard says whether the broker was heard lately.
func (w *Worker) brokerHeard() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.answered) < heardLately
}

// noBody ends a turn whose body could not be fetched. While the broker is away the
// delivery is kept in hand, outside the destination's slot: given back, it would
// come straight back, for hours, and there are queues that count that. Half of the
// hands are kept free for what needs no broker.
func (t *turn) noBody(err error) {
	if t.w.brokerHeard() {
		t.fault("body.fetch", err)
		return
	}
	select {
	case t.r.waits <- struct{}{}:
		t.waits = true
		t.w.log.Warn("body.fetch", "route", t.r.Name, "message", t.h.ID, "turn", t.h.Turn, "error", err.Error(), "next", "it waits for the broker")
	default:
		t.r.hold(pauseAway)
		t.fault("body.fetch", err)
	}
}

// awaitBroker keeps the delivery until the broker is heard, and gives it back then.
// A lock that is lost meanwhile ends the wait: it comes again.
func (t *turn) awaitBroker() {
	defer func() { <-t.r.waits }()
	for !t.w.brokerHeard() && !t.w.draining() && t.d.Context().Err() == nil {
		wait(t.d.Context(), helloRetry)
	}
	t.giveBack()
}

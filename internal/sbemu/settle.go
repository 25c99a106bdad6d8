package sbemu

import (
	"slices"

	"ferry/internal/sbemu/wire"
)

// disposition settles deliveries at the peer's wish. The peer asks with the outcome
// and waits for ours, unless it has settled already.
func (s *session) disposition(p *wire.Disposition) {
	if !p.Receiver || p.State == nil || p.State.Kind == wire.Received {
		return // of what the peer sent: that is settled here; or no outcome yet
	}
	last := p.First
	if p.Last.Set {
		last = p.Last.Value
	}
	for _, id := range s.inRange(p.First, last) {
		s.settle(id, s.unsettled[id], p)
	}
}

// inRange returns which deliveries in the peer's hands are meant, in order: a range
// may name any number of ids.
func (s *session) inRange(first, last uint32) []uint32 {
	if first == last {
		if s.unsettled[first] == nil {
			return nil
		}
		return []uint32{first}
	}
	var ids []uint32
	for id := range s.unsettled {
		if id-first <= last-first {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b uint32) int { return int(int64(a-first) - int64(b-first)) })
	return ids
}

func (s *session) settle(id uint32, h *held, p *wire.Disposition) {
	if p.State.Kind == wire.InTransaction {
		s.c.endLink(h.l, failure(condNotThere, "there are no transactions here"))
		return
	}
	outcome := outcomeOf(p.State)
	fault := s.c.srv.hooks.settle(h.l.node.queue(), outcome)
	if fault.Lose {
		return
	}
	delete(s.unsettled, id)
	h.l.settledOne()
	state := s.apply(h, outcome, p.State)
	if fault.Drop || p.Settled {
		return
	}
	s.c.after(fault.Delay, func() {
		if !h.l.detached && !s.ended { // else the answer is lost with the link
			s.c.send(s.channel, &wire.Disposition{First: id, Last: wire.U(id), Settled: true, State: state})
		}
	})
}

// The names of outcomes, as the hook on settlements gets them.
const (
	outcomeCompleted    = "completed"
	outcomeAbandoned    = "abandoned"
	outcomeReleased     = "released"
	outcomeDeferred     = "deferred"
	outcomeDeadLettered = "deadLettered"
)

func outcomeOf(s *wire.State) string {
	switch {
	case s.Kind == wire.Accepted:
		return outcomeCompleted
	case s.Kind == wire.Released:
		return outcomeReleased
	case s.Kind == wire.Rejected:
		return outcomeDeadLettered
	case s.UndeliverableHere:
		return outcomeDeferred
	}
	return outcomeAbandoned
}

const (
	deadLetterReason      = "DeadLetterReason"
	deadLetterDescription = "DeadLetterErrorDescription"
)

// apply does what an outcome means, and returns the answer: the outcome, without
// what it carried (a rejected one with its error would be read as a failure), or
// rejected with the reason why it could not be done.
func (s *session) apply(h *held, outcome string, st *wire.State) *wire.State {
	src := h.l.node.source
	var err error
	switch outcome {
	case outcomeCompleted:
		err = src.Complete(h.token)
	case outcomeReleased:
		err = src.Release(h.token)
	case outcomeAbandoned:
		err = src.Abandon(h.token, properties(st.Annotations))
	case outcomeDeferred:
		err = src.Defer(h.token, properties(st.Annotations))
	case outcomeDeadLettered:
		var info wire.Map
		reason, description := "", ""
		if st.Error != nil {
			info = st.Error.Info
			reason, description = text(info.Get(deadLetterReason)), text(info.Get(deadLetterDescription))
			if st.Error.Condition != "com.microsoft:dead-letter" && reason == "" {
				reason, description = string(st.Error.Condition), st.Error.Description
			}
		}
		err = src.DeadLetter(h.token, reason, description, properties(info, deadLetterReason, deadLetterDescription))
	}
	if err != nil {
		return rejected(failureOf(err))
	}
	return &wire.State{Kind: st.Kind, UndeliverableHere: st.UndeliverableHere}
}

package worker

import (
	"context"
	"io"
	"sync"

	"ferry"
	"ferry/adapters"
)

// script is an adapter and a destination that do as they are told.
type script struct {
	mu      sync.Mutex
	post    func(ctx context.Context, call adapters.Call) ferry.Verdict
	look    func(ctx context.Context, call adapters.Call) adapters.LookupResult
	poll    func(ctx context.Context, call adapters.Call) ferry.Verdict
	probeFn func() error
	print   string // fingerprint

	posts, looks, probes int
	polls                int
	calls                []adapters.Call
	out, most            int // calls out now, and at the most
	blind                bool
}

func (s *script) Deliver(ctx context.Context, call adapters.Call) ferry.Verdict {
	if call.Open != nil { // kept as it was while the call was made
		body, err := call.Open()
		if err != nil {
			return ferry.Verdict{Kind: ferry.NotTried, Text: err.Error()}
		}
		call.Body, _ = io.ReadAll(body)
		_ = body.Close()
	}
	s.mu.Lock()
	s.posts++
	s.calls = append(s.calls, call)
	s.out++
	s.most = max(s.most, s.out)
	post := s.post
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.out--; s.mu.Unlock() }()
	if post == nil {
		return delivered("INV-1")
	}
	return post(ctx, call)
}

func (s *script) Lookup(ctx context.Context, call adapters.Call) adapters.LookupResult {
	s.mu.Lock()
	s.looks++
	look := s.look
	s.mu.Unlock()
	if look == nil {
		return adapters.LookupResult{State: adapters.Absent}
	}
	return look(ctx, call)
}

func (s *script) Poll(ctx context.Context, call adapters.Call) ferry.Verdict {
	s.mu.Lock()
	s.polls++
	poll := s.poll
	s.mu.Unlock()
	return poll(ctx, call)
}

func (s *script) pollCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.polls
}

func (s *script) CanLookup() bool { return !s.blind }

func (s *script) Preview(context.Context, adapters.Call) (adapters.Preview, error) {
	return adapters.Preview{}, nil
}

func (s *script) Route(adapters.RouteConfig) (adapters.Adapter, error) { return s, nil }
func (s *script) Check(context.Context) error                          { return nil }
func (s *script) Close() error                                         { return nil }

func (s *script) Probe(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probes++
	if s.probeFn == nil {
		return adapters.ErrNoProbe
	}
	return s.probeFn()
}

func (s *script) Fingerprint() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.print
}

func (s *script) set(change func(*script)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *script) counts() (posts, looks int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.posts, s.looks
}

func delivered(reference string) ferry.Verdict {
	return ferry.Verdict{Kind: ferry.Delivered, Effect: ferry.EffectDone, Reference: reference, Status: 201}
}

func verdict(kind ferry.VerdictKind, effect ferry.Effect, status int) ferry.Verdict {
	return ferry.Verdict{Kind: kind, Effect: effect, Status: status, Text: "scripted"}
}

func always(v ferry.Verdict) func(context.Context, adapters.Call) ferry.Verdict {
	return func(context.Context, adapters.Call) ferry.Verdict { return v }
}

func looked(r adapters.LookupResult) func(context.Context, adapters.Call) adapters.LookupResult {
	return func(context.Context, adapters.Call) adapters.LookupResult { return r }
}

func (s *script) probeCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probes
}

func (s *script) mostAtATime() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

func (s *script) firstBody() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.calls[0].Body)
}

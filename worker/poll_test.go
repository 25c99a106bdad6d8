package worker

import (
	"context"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ferry"
	"ferry/adapters"
)

const statusURL = "https://erp.example/operations/1"

func taken() ferry.Verdict {
	return ferry.Verdict{Kind: ferry.InProgress, Effect: ferry.EffectMaybe, Status: 202, StatusURL: statusURL, Text: "taken"}
}

func polls(r *Route)     { r.Confirm = ConfirmPoll }
func callsBack(r *Route) { r.Confirm = ConfirmCallback }

func with(changes ...func(*Route)) func(*Route) {
	return func(r *Route) {
		for _, change := range changes {
			change(r)
		}
	}
}

func holds(r *Route)   { r.OnUnknown = OnUnknownHold }
func reposts(r *Route) { r.OnUnknown = OnUnknownRepost }

// ledgered is the hand-out that the ledger makes of a receipt, at its due time.
func ledgered(h ferry.HandOut, r ferry.Receipt) ferry.HandOut {
	since := h.AwaitedAt
	if len(r.Attempts) > 0 || !h.Awaiting {
		since = time.Now()
	}
	time.Sleep(r.Next.After)
	h = next(h, r)
	h.Awaiting, h.StatusURL, h.AwaitedAt = r.Next.Awaits, r.Next.StatusURL, time.Time{}
	if h.Awaiting {
		h.AwaitedAt = since
	}
	return h
}

// taken posts a message that the destination takes, and gives the next hand-out.
func (w *world) taken() ferry.HandOut {
	w.t.Helper()
	w.erp.set(func(s *script) { s.post = always(taken()) })
	h := w.handOut()
	h.ConfirmURL = "https://broker.example/v1/messages/x/confirm?token=1.x"
	w.publish(h)
	return ledgered(h, w.only())
}

func (w *world) wantPosts(n int) {
	w.t.Helper()
	if p, _ := w.erp.counts(); p != n {
		w.t.Fatalf("%d posts instead of %d\n%s", p, n, w.log)
	}
}

func TestTakenIsPolledAndSentOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.change = polls
		w.run()
		w.erp.set(func(s *script) { s.post = always(taken()) })
		h := w.handOut()
		w.publish(h)
		r := w.only()
		if r.Verdict != ferry.InProgress || len(r.Attempts) != 1 || r.Attempts[0].Verdict != ferry.InProgress {
			t.Fatalf("receipt %+v", r)
		}
		wantNext(t, r, ferry.Next{Do: ferry.DoRetry, After: 5 * time.Second, Doubt: true, Awaits: true, StatusURL: statusURL})
		if w.erp.pollCount() != 0 {
			t.Fatal("asked before the ledger had where to ask")
		}

		// Running, and elsewhere from now on; the pause doubles.
		moved := statusURL + "/2"
		w.erp.set(func(s *script) {
			s.poll = always(ferry.Verdict{Kind: ferry.InProgress, StatusURL: moved, Text: "still working"})
		})
		for _, after := range []time.Duration{5, 10, 20, 40, 60, 60} {
			h = ledgered(h, r)
			w.publish(h)
			r = w.only()
			if len(r.Attempts) != 0 || r.Text != "still working" {
				t.Fatalf("a poll is no attempt: %+v", r)
			}
			wantNext(t, r, ferry.Next{Do: ferry.DoRetry, After: after * time.Second, Doubt: true, Awaits: true, StatusURL: moved})
		}
		// The destination's own pause wins.
		w.erp.set(func(s *script) { s.poll = always(ferry.Verdict{Kind: ferry.InProgress, RetryAfter: 17 * time.Second}) })
		h = ledgered(h, r)
		w.publish(h)
		r = w.only()
		wantNext(t, r, ferry.Next{Do: ferry.DoRetry, After: 17 * time.Second, Doubt: true, Awaits: true, StatusURL: moved})

		var asked adapters.Call
		w.erp.set(func(s *script) {
			s.poll = func(_ context.Context, c adapters.Call) ferry.Verdict {
				asked = c
				return delivered("INV-7")
			}
		})
		h = ledgered(h, r)
		w.publish(h)
		r = w.only()
		if r.Verdict != ferry.Delivered || r.Reference != "INV-7" || r.Next.Do != ferry.DoComplete || asked.StatusURL != moved {
			t.Fatalf("the end: %+v, asked at %s", r, asked.StatusURL)
		}
		w.wantPosts(1)
		w.wantSettled()
	})
}

// Killed between the 202's receipt and the next turn, or in a poll: it polls.
func TestKilledWhileAwaitedPollsAndNeverPosts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.change = polls
		w.run()
		h := w.taken()
		w.reviveFrom(w.snapshot())
		var killed string
		w.erp.set(func(s *script) {
			s.poll = func(context.Context, adapters.Call) ferry.Verdict {
				killed = w.snapshot()
				return delivered("INV-1")
			}
		})
		h.PublishedAt = time.Now()
		w.publish(h)
		w.reviveFrom(killed) // its result was not written
		h.PublishedAt = time.Now()
		w.publish(h)
		if r := w.only(); r.Verdict != ferry.Delivered {
			t.Fatalf("receipt %+v", r)
		}
		w.wantPosts(1)
		if n := w.erp.pollCount(); n != 2 {
			t.Fatalf("%d polls", n)
		}
	})
}

// Killed between the 202 and its record: an unknown outcome. On such a route it
// may have been taken, so absent proves nothing before its time is over.
func TestKilledBeforeTheRecordIsAwaited(t *testing.T) {
	inWorld(t, func(w *world) {
		w.change = polls
		var killed string
		w.erp.post = func(context.Context, adapters.Call) ferry.Verdict {
			killed = w.snapshot()
			return taken()
		}
		w.run()
		h := w.handOut()
		w.publish(h)
		w.reviveFrom(killed)
		w.publish(h)
		r := w.only()
		if r.Verdict != ferry.Unknown || !r.Next.Awaits || r.Next.StatusURL != "" || !r.Next.Doubt {
			t.Fatalf("receipt %+v", r)
		}
		looks := 0
		for r.Next.Awaits {
			h = ledgered(h, r)
			if time.Since(h.AwaitedAt) >= defaultConfirmWithin {
				break
			}
			w.publish(h)
			r = w.only()
			if looks++; looks > 30 {
				t.Fatal("it does not end")
			}
			wantNext(t, r, ferry.Next{Do: ferry.DoRetry, Doubt: true, Awaits: true})
		}
		w.wantPosts(1)
		// Its time is over: found late is found, absent is sent again as one attempt.
		w.erp.set(func(s *script) { s.post = always(delivered("INV-1")) })
		w.publish(h)
		r = w.only()
		if r.Verdict != ferry.Delivered || r.Next.Spends != 1 {
			t.Fatalf("receipt %+v", r)
		}
		w.wantPosts(2)
	})
}

func TestAwaitedIsFoundByAnEarlyLookup(t *testing.T) {
	inWorld(t, func(w *world) {
		w.change = polls
		w.erp.post = always(verdict(ferry.Unknown, ferry.EffectMaybe, 504))
		w.run()
		h := w.handOut()
		w.publish(h)
		r := w.only()
		wantNext(t, r, ferry.Next{Do: ferry.DoRetry, After: time.Minute, Doubt: true, Awaits: true})
		h = ledgered(h, r)
		w.publish(h)
		r = w.only()
		wantNext(t, r, ferry.Next{Do: ferry.DoRetry, After: time.Minute, Doubt: true, Awaits: true})
		w.erp.set(func(s *script) { s.look = looked(adapters.LookupResult{State: adapters.Found, Reference: "INV-3"}) })
		h = ledgered(h, r)
		w.publish(h)
		if r = w.only(); r.Verdict != ferry.Duplicate || r.Reference != "INV-3" {
			t.Fatalf("receipt %+v", r)
		}
		w.wantCounts(1, 2)
	})
}

// What a poll that is no end comes to.
func TestPollOutcomes(t *testing.T) {
	forgot := ferry.Verdict{Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Code: adapters.CodeForgotten, Text: "gone"}
	still := func(after time.Duration) ferry.Next {
		return ferry.Next{Do: ferry.DoRetry, After: after, Doubt: true, Awaits: true, StatusURL: statusURL}
	}
	for name, c := range map[string]struct {
		change func(*Route)
		age    time.Duration // before the poll
		v      ferry.Verdict
		want   ferry.Next
		posts  int
	}{
		"rejected":              {polls, 0, ferry.Verdict{Kind: ferry.Rejected, Text: "no"}, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonRejected}, 1},
		"rejected, blind":       {with(polls, holds), 0, ferry.Verdict{Kind: ferry.Rejected, Text: "no"}, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonRejected}, 1},
		"down":                  {polls, 0, verdict(ferry.Unavailable, ferry.EffectNone, 503), still(0), 1},
		"down, late":            {with(polls, holds), 25 * time.Hour, verdict(ferry.Unavailable, ferry.EffectNone, 0), still(0), 1},
		"throttled":             {polls, 0, ferry.Verdict{Kind: ferry.Throttled, Effect: ferry.EffectNone, RetryAfter: time.Minute}, still(time.Minute), 1},
		"unauthorized":          {polls, 0, verdict(ferry.Unauthorized, ferry.EffectNone, 401), still(30 * time.Second), 1},
		"nonsense":              {polls, 0, verdict(ferry.Failed, ferry.EffectNone, 500), still(30 * time.Second), 1},
		"forgotten at once":     {with(polls, holds), 0, forgot, still(5 * time.Second), 1},
		"forgotten":             {polls, time.Hour, forgot, ferry.Next{Do: ferry.DoRetry, After: time.Minute, Doubt: true, Awaits: true}, 1},
		"forgotten, blind":      {with(polls, holds), time.Hour, forgot, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true}, 1},
		"forgotten, key":        {with(polls, reposts), time.Hour, forgot, ferry.Next{Do: ferry.DoRetry, Spends: 1, Doubt: true}, 1},
		"running, late":         {polls, 25 * time.Hour, ferry.Verdict{Kind: ferry.InProgress}, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true}, 1},
		"running, late, blind":  {with(polls, holds), 25 * time.Hour, ferry.Verdict{Kind: ferry.InProgress}, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true}, 1},
		"running, late, key":    {with(polls, reposts), 25 * time.Hour, ferry.Verdict{Kind: ferry.InProgress}, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true}, 1},
		"forgotten, late":       {polls, 25 * time.Hour, forgot, ferry.Next{Do: ferry.DoRetry, After: 5 * time.Second, Spends: 1, Doubt: true, Awaits: true, StatusURL: statusURL}, 2},
		"forgotten, late, key":  {with(polls, reposts), 25 * time.Hour, forgot, ferry.Next{Do: ferry.DoRetry, After: 5 * time.Second, Spends: 1, Doubt: true, Awaits: true, StatusURL: statusURL}, 2},
		"nonsense, late, blind": {with(polls, holds), 25 * time.Hour, verdict(ferry.Failed, ferry.EffectNone, 400), ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true}, 1},
		"it panics":             {polls, 0, ferry.Verdict{Kind: "panic"}, still(30 * time.Second), 1},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.change = c.change
				w.run()
				h := w.taken()
				time.Sleep(c.age)
				h.PublishedAt = time.Now()
				w.erp.set(func(s *script) {
					s.poll = func(context.Context, adapters.Call) ferry.Verdict {
						if c.v.Kind == "panic" {
							panic("as asked")
						}
						return c.v
					}
				})
				w.publish(h)
				r := w.only()
				wantNext(t, r, c.want)
				if late := c.age > defaultConfirmWithin; late && r.Next.Do == ferry.DoDeadLetter && !strings.Contains(r.Text, "nobody confirmed within 24h0m0s") {
					t.Errorf("text %q", r.Text)
				}
				w.wantPosts(c.posts)
				w.wantSettled()
			})
		})
	}
}

func TestCallbackIsWaitedFor(t *testing.T) {
	inWorld(t, func(w *world) {
		w.change = with(callsBack, holds)
		w.run()
		if h := w.hellos[len(w.hellos)-1]; !h.Routes[0].WantsConfirm {
			t.Fatal("the hello does not ask for addresses")
		}
		w.erp.post = always(ferry.Verdict{Kind: ferry.InProgress, Status: 202})

		// Without an address that the destination could call, nothing is sent.
		h := w.handOut()
		w.publish(h)
		r := w.only()
		if r.Verdict != ferry.NotTried || r.Next.Awaits || r.Next.Doubt {
			t.Fatalf("receipt %+v", r)
		}
		w.wantPosts(0)

		h = ledgered(h, r)
		h.ConfirmURL = "https://broker.example/v1/messages/x/confirm?token=1.x"
		h.ExpiresAt = time.Now().Add(time.Hour) // runs out meanwhile, and ends nothing
		w.publish(h)
		r = w.only()
		wantNext(t, r, ferry.Next{Do: ferry.DoRetry, After: 24 * time.Hour, Doubt: true, Awaits: true})

		h = ledgered(h, r)
		h.PublishedAt = time.Now()
		w.publish(h) // the turn comes: nobody called
		r = w.only()
		wantNext(t, r, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true})
		if !strings.Contains(r.Text, "nobody confirmed within 24h0m0s") {
			t.Errorf("text %q", r.Text)
		}
		w.wantPosts(1)
	})
}

// A lost answer of a destination that calls back: it may call yet.
func TestUnknownIsAwaitedWhereItIsCalledBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.change = with(callsBack, holds)
		w.erp.post = always(verdict(ferry.Unknown, ferry.EffectMaybe, 0))
		w.run()
		h := w.handOut()
		h.ConfirmURL = "https://broker.example/x?token=1.x"
		w.publish(h)
		wantNext(t, w.only(), ferry.Next{Do: ferry.DoRetry, After: 24 * time.Hour, Doubt: true, Awaits: true})
	})
}

// Nobody confirmed: where the destination honours the key it is sent again, and
// that is an attempt, so that it ends.
func TestUnconfirmedRepostsSpendAttempts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.change = with(callsBack, reposts)
		w.erp.blind = true
		w.run()
		h := w.taken()
		for posts := 2; posts <= 3; posts++ {
			h.StatusURL, h.PublishedAt = "", time.Now()
			h.AwaitedAt = time.Now().Add(-25 * time.Hour)
			w.publish(h)
			r := w.only()
			if r.Next.Spends != 1 || !r.Next.Awaits {
				t.Fatalf("receipt %+v", r)
			}
			w.wantPosts(posts)
			h = ledgered(h, r)
		}
		h.StatusURL, h.PublishedAt, h.AwaitedAt = "", time.Now(), time.Now().Add(-25*time.Hour)
		w.publish(h)
		wantNext(t, w.only(), ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true})
		w.wantPosts(3)
	})
}

// A 202 on a route that confirms nothing later is no verdict to wait on.
func TestInProgressWithoutAnybodyToAskIsUnknown(t *testing.T) {
	inWorld(t, func(w *world) {
		w.change = polls
		w.erp.post = always(ferry.Verdict{Kind: ferry.InProgress})
		w.run()
		w.publish(w.handOut())
		r := w.only()
		if r.Verdict != ferry.Unknown || r.Attempts[0].Verdict != ferry.Unknown {
			t.Fatalf("receipt %+v", r)
		}
		wantNext(t, r, ferry.Next{Do: ferry.DoRetry, After: time.Minute, Doubt: true, Awaits: true})
	})
}

// What must hold of every verdict on a route whose destination answers later.
func TestSettleNeverForgetsWhatIsAwaited(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		on := rapid.SampledFrom([]OnUnknown{OnUnknownLookup, OnUnknownRepost, OnUnknownHold}).Draw(t, "onUnknown")
		route := settleRoute(on, on == OnUnknownLookup)
		route.Confirm = rapid.SampledFrom([]Confirm{ConfirmPoll, ConfirmCallback}).Draw(t, "confirm")
		route.ConfirmWithin, route.PollInterval = 24*time.Hour, 5*time.Second
		s := situation{route: route, backoff: time.Second, soon: time.Second, settleTime: time.Minute, resolved: rapid.IntRange(0, 1).Draw(t, "resolved")}
		if s.awaits = rapid.Bool().Draw(t, "awaits"); s.awaits {
			s.open, s.awaited = true, time.Duration(rapid.Int64Range(0, int64(30*time.Hour)).Draw(t, "awaited"))
			s.statusURL = rapid.SampledFrom([]string{"", statusURL}).Draw(t, "where")
		}
		v := sane(ferry.Verdict{
			Kind: rapid.SampledFrom([]ferry.VerdictKind{
				ferry.InProgress, ferry.Delivered, ferry.Throttled, ferry.Unavailable, ferry.Unauthorized, ferry.Unknown,
			}).Draw(t, "kind"),
			Effect:     rapid.SampledFrom([]ferry.Effect{ferry.EffectNone, ferry.EffectMaybe}).Draw(t, "effect"),
			StatusURL:  rapid.SampledFrom([]string{"", statusURL + "/2"}).Draw(t, "elsewhere"),
			RetryAfter: time.Duration(rapid.Int64Range(-1, int64(100*time.Hour)).Draw(t, "retryAfter")),
		})
		next := settle(v, s)
		maybe := v.Effect == ferry.EffectMaybe
		switch {
		case next.Do != ferry.DoRetry && (next.Awaits || next.StatusURL != ""):
			t.Fatalf("ended, and awaited: %+v", next)
		case v.Kind.HasIt():
		case (maybe || s.open) && !next.Doubt:
			t.Fatalf("an open outcome is forgotten: %+v", next)
		case v.Kind == ferry.InProgress:
			where := s.statusURL
			if v.StatusURL != "" {
				where = v.StatusURL
			}
			if !next.Awaits || next.StatusURL != where || next.Spends != s.resolved || next.After > 24*time.Hour || where != "" && next.After <= 0 {
				t.Fatalf("taken: %+v", next)
			}
		case maybe && on == OnUnknownLookup && !next.Awaits,
			maybe && on == OnUnknownHold && next.Awaits != (route.Confirm == ConfirmCallback),
			maybe && next.StatusURL != "":
			t.Fatalf("it may have been taken: %+v", next)
		case !maybe && v.Kind != ferry.Unknown && (next.Awaits != s.awaits || next.StatusURL != s.statusURL):
			t.Fatalf("what kept the destination from answering changes nothing: %+v", next)
		}
	})
}

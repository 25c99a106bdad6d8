package worker

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"ferry"
	"ferry/adapters"
	"ferry/retry"
)

func settleRoute(on OnUnknown, canLookup bool) *Route {
	return &Route{
		Name: testRoute, Adapter: &script{blind: !canLookup}, OnUnknown: on,
		Retry: retry.Policy{Attempts: 3}, Timeout: 30 * time.Second, SettleTime: time.Minute,
	}
}

func TestSettle(t *testing.T) {
	const (
		none  = ferry.EffectNone
		maybe = ferry.EffectMaybe
		done  = ferry.EffectDone
	)
	lookup, blind := settleRoute(OnUnknownLookup, true), settleRoute(OnUnknownHold, false)
	repost, repostAsk := settleRoute(OnUnknownRepost, false), settleRoute(OnUnknownRepost, true)
	repostLater := settleRoute(OnUnknownRepost, true)
	repostLater.Confirm, repostLater.ConfirmWithin = ConfirmPoll, time.Hour
	backoff, soon := 8*time.Second, 3*time.Second
	retryIn := func(after time.Duration, spends int, doubt bool) ferry.Next {
		return ferry.Next{Do: ferry.DoRetry, After: after, Spends: spends, Doubt: doubt}
	}
	dead := func(reason ferry.Reason, spends int, doubt bool) ferry.Next {
		return ferry.Next{Do: ferry.DoDeadLetter, Reason: reason, Spends: spends, Doubt: doubt}
	}
	for name, c := range map[string]struct {
		v    ferry.Verdict
		s    situation
		want ferry.Next
	}{
		"delivered":                      {ferry.Verdict{Kind: ferry.Delivered, Effect: done}, situation{route: lookup}, ferry.Next{Do: ferry.DoComplete}},
		"duplicate":                      {ferry.Verdict{Kind: ferry.Duplicate, Effect: done}, situation{route: blind, open: true}, ferry.Next{Do: ferry.DoComplete}},
		"already exists":                 {ferry.Verdict{Kind: ferry.AlreadyExists, Effect: done}, situation{route: lookup}, dead(ferry.ReasonAlreadyExists, 0, false)},
		"rejected":                       {ferry.Verdict{Kind: ferry.Rejected, Effect: none}, situation{route: lookup}, dead(ferry.ReasonRejected, 0, false)},
		"rejected, after absent":         {ferry.Verdict{Kind: ferry.Rejected, Effect: none}, situation{route: lookup, resolved: 1}, dead(ferry.ReasonRejected, 1, false)},
		"rejected, open, blind":          {ferry.Verdict{Kind: ferry.Rejected, Effect: none}, situation{route: repost, open: true}, dead(ferry.ReasonOutcomeUnknown, 0, true)},
		"rejected, open, can ask":        {ferry.Verdict{Kind: ferry.Rejected, Effect: none}, situation{route: repostAsk, open: true, spent: 1}, retryIn(time.Minute, 2, true)},
		"rejected, maybe, lookup":        {ferry.Verdict{Kind: ferry.Rejected, Effect: maybe}, situation{route: lookup}, retryIn(time.Minute, 0, true)},
		"rejected, maybe, repost":        {ferry.Verdict{Kind: ferry.Rejected, Effect: maybe}, situation{route: repost}, dead(ferry.ReasonOutcomeUnknown, 0, true)},
		"failed, first":                  {ferry.Verdict{Kind: ferry.Failed, Effect: none}, situation{route: lookup}, retryIn(backoff, 1, false)},
		"failed, last":                   {ferry.Verdict{Kind: ferry.Failed, Effect: none}, situation{route: lookup, spent: 2}, dead(ferry.ReasonAttemptsExhausted, 1, false)},
		"failed, after absent":           {ferry.Verdict{Kind: ferry.Failed, Effect: none}, situation{route: lookup, spent: 1, resolved: 1}, dead(ferry.ReasonAttemptsExhausted, 2, false)},
		"failed, maybe, lookup":          {ferry.Verdict{Kind: ferry.Failed, Effect: maybe}, situation{route: lookup, spent: 2}, retryIn(time.Minute, 0, true)},
		"failed, maybe, blind":           {ferry.Verdict{Kind: ferry.Failed, Effect: maybe}, situation{route: blind}, dead(ferry.ReasonOutcomeUnknown, 0, true)},
		"failed, maybe, repost":          {ferry.Verdict{Kind: ferry.Failed, Effect: maybe}, situation{route: repost}, retryIn(backoff, 1, true)},
		"failed, open, repost":           {ferry.Verdict{Kind: ferry.Failed, Effect: none}, situation{route: repost, open: true}, retryIn(backoff, 1, true)},
		"failed, open, repost, last":     {ferry.Verdict{Kind: ferry.Failed, Effect: none}, situation{route: repost, open: true, spent: 2}, dead(ferry.ReasonOutcomeUnknown, 1, true)},
		"failed, open, repost, can ask":  {ferry.Verdict{Kind: ferry.Failed, Effect: none}, situation{route: repostAsk, open: true, spent: 2}, retryIn(time.Minute, 1, true)},
		"failed, open, answers later":    {ferry.Verdict{Kind: ferry.Failed, Effect: none}, situation{route: repostLater, open: true, spent: 2}, retryIn(time.Hour, 1, true)},
		"throttled":                      {ferry.Verdict{Kind: ferry.Throttled, Effect: none}, situation{route: lookup, spent: 2}, retryIn(5*time.Second, 0, false)},
		"throttled, told":                {ferry.Verdict{Kind: ferry.Throttled, Effect: none, RetryAfter: time.Minute}, situation{route: lookup}, retryIn(time.Minute, 0, false)},
		"throttled, too long":            {ferry.Verdict{Kind: ferry.Throttled, Effect: none, RetryAfter: 9 * time.Hour}, situation{route: lookup}, retryIn(time.Hour, 0, false)},
		"throttled, maybe, lookup":       {ferry.Verdict{Kind: ferry.Throttled, Effect: maybe, RetryAfter: 2 * time.Minute}, situation{route: lookup}, retryIn(2*time.Minute, 0, true)},
		"unavailable":                    {ferry.Verdict{Kind: ferry.Unavailable, Effect: none}, situation{route: lookup, spent: 2}, retryIn(soon, 0, false)},
		"unavailable, open":              {ferry.Verdict{Kind: ferry.Unavailable, Effect: none}, situation{route: lookup, open: true}, retryIn(soon, 0, true)},
		"unavailable, told":              {ferry.Verdict{Kind: ferry.Unavailable, Effect: none, RetryAfter: time.Minute}, situation{route: lookup}, retryIn(time.Minute, 0, false)},
		"unavailable, maybe, lookup":     {ferry.Verdict{Kind: ferry.Unavailable, Effect: maybe}, situation{route: lookup}, retryIn(time.Minute, 0, true)},
		"unavailable, maybe, repost":     {ferry.Verdict{Kind: ferry.Unavailable, Effect: maybe}, situation{route: repost, spent: 2}, retryIn(soon, 0, true)},
		"unavailable, maybe, blind":      {ferry.Verdict{Kind: ferry.Unavailable, Effect: maybe}, situation{route: blind}, dead(ferry.ReasonOutcomeUnknown, 0, true)},
		"unauthorized":                   {ferry.Verdict{Kind: ferry.Unauthorized, Effect: none}, situation{route: lookup, spent: 2}, retryIn(30*time.Second, 0, false)},
		"unknown, lookup":                {ferry.Verdict{Kind: ferry.Unknown, Effect: maybe}, situation{route: lookup, spent: 2}, retryIn(time.Minute, 0, true)},
		"unknown, lookup, partly waited": {ferry.Verdict{Kind: ferry.Unknown, Effect: maybe}, situation{route: lookup, settleTime: time.Second}, retryIn(time.Second, 0, true)},
		"unknown, blind":                 {ferry.Verdict{Kind: ferry.Unknown, Effect: maybe}, situation{route: blind}, dead(ferry.ReasonOutcomeUnknown, 0, true)},
		"unknown, repost":                {ferry.Verdict{Kind: ferry.Unknown, Effect: maybe}, situation{route: repost}, retryIn(backoff, 1, true)},
		"unknown, repost, last":          {ferry.Verdict{Kind: ferry.Unknown, Effect: maybe}, situation{route: repost, spent: 2}, dead(ferry.ReasonOutcomeUnknown, 1, true)},
		"unknown, repost, can ask":       {ferry.Verdict{Kind: ferry.Unknown, Effect: maybe}, situation{route: repostAsk, spent: 2}, retryIn(time.Minute, 1, true)},
		"unknown, repost, crashed often": {ferry.Verdict{Kind: ferry.Unknown, Effect: maybe}, situation{route: repost, last: true}, dead(ferry.ReasonOutcomeUnknown, 1, true)},
		"unknown without effect":         {ferry.Verdict{Kind: ferry.Unknown, Effect: none}, situation{route: blind}, retryIn(backoff, 1, false)},
		"not tried":                      {ferry.Verdict{Kind: ferry.NotTried, Effect: none}, situation{route: lookup, spent: 2}, retryIn(soon, 0, false)},
		"not tried, waits":               {ferry.Verdict{Kind: ferry.NotTried, Effect: none}, situation{route: lookup, wait: time.Hour, open: true}, retryIn(time.Hour, 0, true)},
		"not tried, after absent":        {ferry.Verdict{Kind: ferry.NotTried, Effect: none}, situation{route: lookup, resolved: 1}, retryIn(soon, 1, false)},
		"failed alike":                   {ferry.Verdict{Kind: ferry.Failed, Effect: none}, situation{route: lookup, spent: 2, free: true}, retryIn(backoff, 0, false)},
		"failed alike, after absent":     {ferry.Verdict{Kind: ferry.Failed, Effect: none}, situation{route: lookup, spent: 1, resolved: 1, free: true}, retryIn(backoff, 1, false)},
		"failed alike, maybe, lookup":    {ferry.Verdict{Kind: ferry.Failed, Effect: maybe}, situation{route: lookup, spent: 2, free: true}, retryIn(time.Minute, 0, true)},
		"unknown alike, repost":          {ferry.Verdict{Kind: ferry.Unknown, Effect: maybe}, situation{route: repost, spent: 2, free: true}, retryIn(backoff, 0, true)},
		"unknown alike, blind":           {ferry.Verdict{Kind: ferry.Unknown, Effect: maybe}, situation{route: blind, free: true}, dead(ferry.ReasonOutcomeUnknown, 0, true)},
		"rejected alike":                 {ferry.Verdict{Kind: ferry.Rejected, Effect: none}, situation{route: lookup, free: true}, dead(ferry.ReasonRejected, 0, false)},
		"expired":                        {ferry.Verdict{Kind: ferry.Expired, Effect: none}, situation{route: lookup}, dead(ferry.ReasonExpired, 0, false)},
		"undeliverable":                  {ferry.Verdict{Kind: ferry.Failed, Effect: none}, situation{route: lookup, reason: ferry.ReasonUndeliverable, resolved: 1}, dead(ferry.ReasonUndeliverable, 1, false)},
		"body missing":                   {bodyMissing(), situation{route: lookup, reason: ferry.ReasonBodyMissing}, dead(ferry.ReasonBodyMissing, 0, false)},
		"body missing, open":             {bodyMissing(), situation{route: repost, reason: ferry.ReasonBodyMissing, open: true}, dead(ferry.ReasonOutcomeUnknown, 0, true)},
	} {
		t.Run(name, func(t *testing.T) {
			c.s.backoff, c.s.soon = backoff, soon
			if c.s.settleTime == 0 {
				c.s.settleTime = time.Minute
			}
			if got := settle(c.v, c.s); got != c.want {
				t.Fatalf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

// What must hold of every verdict in every situation.
func TestSettleNeverForgets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		on := rapid.SampledFrom([]OnUnknown{OnUnknownLookup, OnUnknownRepost, OnUnknownHold}).Draw(t, "onUnknown")
		canLookup := on == OnUnknownLookup || rapid.Bool().Draw(t, "canLookup")
		v := sane(ferry.Verdict{
			Kind: rapid.SampledFrom([]ferry.VerdictKind{
				ferry.Delivered, ferry.Duplicate, ferry.Rejected, ferry.Failed, ferry.Throttled,
				ferry.Unavailable, ferry.Unauthorized, ferry.Unknown, "nonsense",
			}).Draw(t, "kind"),
			Effect:     rapid.SampledFrom([]ferry.Effect{ferry.EffectNone, ferry.EffectMaybe, ferry.EffectDone, ""}).Draw(t, "effect"),
			RetryAfter: time.Duration(rapid.Int64Range(-1, int64(100*time.Hour)).Draw(t, "retryAfter")),
		})
		s := situation{
			route: settleRoute(on, canLookup), spent: rapid.IntRange(0, 5).Draw(t, "spent"),
			resolved: rapid.IntRange(0, 1).Draw(t, "resolved"), open: on != OnUnknownLookup && rapid.Bool().Draw(t, "open"),
			last: rapid.Bool().Draw(t, "last"), backoff: time.Second, soon: time.Second, settleTime: time.Minute,
		}
		next := settle(v, s)
		has := v.Kind.HasIt()
		openNow := !has && (s.open || v.Effect == ferry.EffectMaybe)
		if (next.Do == ferry.DoComplete) != has {
			t.Fatalf("%s leads to %s", v.Kind, next.Do)
		}
		if !has && next.Doubt != openNow {
			t.Fatalf("an open outcome is %v, and doubt is %v", openNow, next.Doubt)
		}
		if next.Do == ferry.DoDeadLetter && openNow && (next.Reason != ferry.ReasonOutcomeUnknown || on != OnUnknownHold && canLookup) {
			t.Fatalf("an open outcome is set aside as %s (lookup %v)", next.Reason, canLookup)
		}
		if next.Do == ferry.DoDeadLetter && !openNow && next.Reason == ferry.ReasonOutcomeUnknown {
			t.Fatal("OutcomeUnknown for a known outcome")
		}
		if next.Do == ferry.DoRetry && next.After <= 0 || next.After > time.Hour {
			t.Fatalf("again after %s", next.After)
		}
		if v.Effect == ferry.EffectMaybe && on == OnUnknownLookup && (next.Do != ferry.DoRetry || next.After < s.settleTime) {
			t.Fatalf("an open outcome is not waited out: %+v", next)
		}
		switch v.Kind {
		case ferry.Throttled, ferry.Unavailable, ferry.Unauthorized:
			if next.Spends != s.resolved {
				t.Fatalf("%s costs %d attempts", v.Kind, next.Spends)
			}
		case ferry.Failed:
			if !openNow && s.spent+next.Spends < 3 && !s.last && next.Do != ferry.DoRetry {
				t.Fatalf("given up with %d of 3 attempts spent", s.spent+next.Spends)
			}
		}
	})
}

func TestExamine(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	lookup, blind := settleRoute(OnUnknownLookup, true), settleRoute(OnUnknownHold, false)
	repost, repostAsk := settleRoute(OnUnknownRepost, false), settleRoute(OnUnknownRepost, true)
	hand := func(change func(*ferry.HandOut)) ferry.HandOut {
		h := ferry.HandOut{Turn: 5, Revision: 2, Generation: 1, Inbox: "me", PublishedAt: now, ExpiresAt: now.Add(time.Hour)}
		if change != nil {
			change(&h)
		}
		return h
	}
	doubt := func(h *ferry.HandOut) { h.Doubt = true }
	expired := func(h *ferry.HandOut) { h.ExpiresAt = now }
	both := func(h *ferry.HandOut) { h.Doubt, h.ExpiresAt = true, now }
	openRecord := func(revision int, ended time.Time) *record {
		return &record{state: result, turn: 4, generation: 1, doubt: true, own: true, doubtRevision: revision, callEnded: ended}
	}
	for name, c := range map[string]struct {
		route *Route
		h     ferry.HandOut
		rec   *record
		want  plan
	}{
		"fresh":                         {lookup, hand(nil), nil, plan{action: actPost}},
		"other inbox":                   {lookup, hand(func(h *ferry.HandOut) { h.Inbox = "you" }), nil, plan{action: actRefuse}},
		"no inbox":                      {lookup, hand(func(h *ferry.HandOut) { h.Inbox = "" }), nil, plan{action: actRefuse}},
		"stale":                         {lookup, hand(func(h *ferry.HandOut) { h.PublishedAt = now.Add(-73 * time.Hour) }), nil, plan{action: actComplete}},
		"has it, older turn":            {lookup, hand(nil), &record{state: result, turn: 2, hasIt: true}, plan{action: actRetell}},
		"has it, newer turn":            {lookup, hand(nil), &record{state: result, turn: 9, hasIt: true}, plan{action: actRetell}},
		"older than the record":         {lookup, hand(nil), &record{state: begun, turn: 6}, plan{action: actComplete}},
		"same turn, result":             {lookup, hand(nil), &record{state: result, turn: 5}, plan{action: actRetell}},
		"same turn, begun":              {lookup, hand(nil), &record{state: begun, turn: 5}, plan{action: actCrashed, open: true}},
		"same turn, begun, expired":     {lookup, hand(expired), &record{state: begun, turn: 5}, plan{action: actCrashed, open: true}},
		"later turn, settled":           {lookup, hand(nil), &record{state: result, turn: 4}, plan{action: actPost}},
		"expired":                       {lookup, hand(expired), nil, plan{action: actExpire}},
		"expired, blind":                {blind, hand(expired), nil, plan{action: actExpire}},
		"doubt":                         {lookup, hand(doubt), nil, plan{action: actLookup, open: true, spend: true}},
		"doubt, expired":                {lookup, hand(both), nil, plan{action: actLookup, open: true, spend: true}},
		"doubt, blind":                  {blind, hand(doubt), nil, plan{action: actHold, open: true, spend: true}},
		"doubt, blind, expired":         {blind, hand(both), nil, plan{action: actHold, open: true, spend: true}},
		"doubt, blind, risk":            {blind, hand(func(h *ferry.HandOut) { h.Doubt, h.RiskAccepted = true, true }), nil, plan{action: actPost, open: true, spend: true}},
		"doubt, risk, can ask":          {lookup, hand(func(h *ferry.HandOut) { h.Doubt, h.RiskAccepted = true, true }), nil, plan{action: actLookup, open: true, spend: true}},
		"doubt, repost":                 {repost, hand(doubt), nil, plan{action: actPost, open: true, spend: true}},
		"doubt, repost, expired":        {repost, hand(both), nil, plan{action: actHold, open: true, spend: true}},
		"doubt, repost, asks last":      {repostAsk, hand(func(h *ferry.HandOut) { h.Doubt, h.Spent = true, 3 }), nil, plan{action: actLookup, open: true, spend: true}},
		"doubt, not before":             {lookup, hand(func(h *ferry.HandOut) { h.Doubt, h.NotBefore = true, now.Add(time.Second) }), nil, plan{action: actWait, open: true, spend: true, wait: time.Second}},
		"elsewhere":                     {lookup, hand(func(h *ferry.HandOut) { h.Elsewhere = true }), nil, plan{action: actLookup, open: true}},
		"elsewhere, doubt":              {lookup, hand(func(h *ferry.HandOut) { h.Elsewhere, h.Doubt = true, true }), nil, plan{action: actLookup, open: true}},
		"elsewhere, own call":           {lookup, hand(func(h *ferry.HandOut) { h.Elsewhere = true }), openRecord(2, now.Add(-time.Hour)), plan{action: actLookup, open: true, spend: true}},
		"open revision":                 {lookup, hand(func(h *ferry.HandOut) { h.Doubt, h.OpenRevision = true, true }), nil, plan{action: actLookup, open: true, other: true, spend: true}},
		"open on record":                {lookup, hand(nil), openRecord(2, now.Add(-time.Minute)), plan{action: actLookup, open: true, spend: true}},
		"open on record, costs nothing": {lookup, hand(doubt), &record{state: result, turn: 4, generation: 1, doubt: true, own: true, free: true, doubtRevision: 2, callEnded: now.Add(-time.Hour)}, plan{action: actLookup, open: true}},
		"begun, an earlier one free":    {lookup, hand(doubt), &record{state: begun, turn: 4, generation: 1, doubt: true, own: true, free: true, doubtRevision: 2, revision: 2}, plan{action: actLookup, open: true, spend: true}},
		"open on record, other":         {lookup, hand(nil), openRecord(1, now.Add(-time.Minute)), plan{action: actLookup, open: true, other: true, spend: true}},
		"open on record, too early":     {lookup, hand(nil), openRecord(2, now.Add(-59*time.Second)), plan{action: actWait, open: true, spend: true, wait: time.Second}},
		"begun in an earlier turn":      {lookup, hand(nil), &record{state: begun, turn: 4, generation: 1, revision: 2, deadline: now.Add(-50 * time.Second)}, plan{action: actWait, open: true, spend: true, wait: 10 * time.Second}},
		"begun earlier, blind":          {blind, hand(nil), &record{state: begun, turn: 4, generation: 1, revision: 2, deadline: now.Add(-time.Hour)}, plan{action: actHold, open: true, spend: true}},
		"open, an earlier generation":   {lookup, hand(nil), &record{state: begun, turn: 4, revision: 2}, plan{action: actLookup, open: true}},
		"begun earlier, two at odds":    {lookup, hand(nil), &record{state: begun, turn: 4, generation: 1, revision: 2, doubt: true, doubtRevision: 1}, plan{action: actLookup, open: true, other: true, spend: true}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.route.examine(&c.h, c.rec, "me", now, c.h.ExpiresAt); got != c.want {
				t.Fatalf("got  %s %+v\nwant %s %+v", got.action, got, c.want.action, c.want)
			}
		})
	}
}

var _ adapters.Adapter = (*script)(nil)

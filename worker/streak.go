package worker

import (
	"fmt"
	"slices"
	"strings"

	"ferry"
)

// Bounds of what is remembered of failing calls.
const (
	alikeOpens = 3    // different messages that fail alike, with no success between: it is the destination's fault
	alikeFree  = 2    // from which on an alike failure costs nothing
	maxStreaks = 16   // errors that are told apart; the oldest goes
	maxPardons = 4096 // messages that get something back; the oldest goes
)

// streaks are the failures since the last success of a delivery, by what they
// have in common. One message that fails again and again is to blame itself;
// different ones that fail alike are not.
type streaks struct {
	list    []*streak // oldest first
	pardons map[ferry.ID]pardon
	order   []ferry.ID // of pardons, oldest first
}

// streak is one error and the messages that met it.
type streak struct {
	status int
	code   string
	ids    []ferry.ID // different ones, at most alikeOpens
	// What the first of them was charged, before others failed alike. Nobody else
	// ever is.
	first pardon
}

// pardon is what a message is to get back.
type pardon struct {
	generation int
	spent      int  // attempts that the ledger has counted
	open       bool // an open outcome, which costs nothing when it proves absent
}

// serverFault says whether a call failed in a way that may be the destination's
// fault: its own error, or no answer at all. The budget of the message pays for
// it unless others fail alike.
func serverFault(v *ferry.Verdict) bool {
	switch v.Kind {
	case ferry.Failed:
		return v.Status != 0
	case ferry.Unknown:
		return v.Status == 0 || v.Status >= 500
	}
	return false
}

// noAnswer says whether a call ended without the destination's own answer.
func noAnswer(v *ferry.Verdict) bool {
	return v.Kind == ferry.Unknown && (v.Status == 0 || v.Status == 502 || v.Status == 504)
}

// failed notes that a message met an error, and says how many different ones
// did, up to alikeOpens.
func (s *streaks) failed(id ferry.ID, v *ferry.Verdict) int {
	at := s.of(v)
	if at == nil {
		if len(s.list) == maxStreaks {
			s.list = slices.Delete(s.list, 0, 1)
		}
		at = &streak{status: v.Status, code: v.Code}
		s.list = append(s.list, at)
	}
	if len(at.ids) < alikeOpens && !slices.Contains(at.ids, id) {
		at.ids = append(at.ids, id)
	}
	return len(at.ids)
}

func (s *streaks) of(v *ferry.Verdict) *streak {
	for _, at := range s.list {
		if at.status == v.Status && at.code == v.Code {
			return at
		}
	}
	return nil
}

// succeeded: a delivery came through, so what failed before it failed by itself.
func (s *streaks) succeeded() { s.list = nil }

// charge is what a turn is about to cost its message.
type charge struct {
	id         ferry.ID
	generation int
	failed     *ferry.Verdict // of its call, when that was a server fault; else nil
	opens      bool           // its outcome stays open: it costs when it proves absent
	resolved   int            // paid now for an earlier outcome that proved absent
}

// account says whether the turn's own failure costs nothing, and keeps what it
// costs in mind until it is known whether others fail alike.
func (s *streaks) account(c charge) (free bool) {
	for _, at := range s.list {
		if c.resolved > 0 && at.ids[0] == c.id && at.first.open {
			at.first.open = false
			at.first.spent += c.resolved
		}
	}
	if c.failed == nil {
		return false
	}
	at := s.of(c.failed)
	switch {
	case at == nil:
		return false // a success came meanwhile
	case len(at.ids) >= alikeFree:
		return true
	case at.ids[0] != c.id:
		return false
	}
	if at.first.generation != c.generation {
		at.first = pardon{generation: c.generation}
	}
	if c.opens {
		at.first.open = true
	} else {
		at.first.spent++
	}
	return false
}

// forgive gives back what the failures since the last success cost: the
// destination was found to be down.
func (s *streaks) forgive() {
	for _, at := range s.list {
		if p := at.first; p.spent > 0 || p.open {
			s.pardon(at.ids[0], p)
			at.first = pardon{}
		}
	}
}

func (s *streaks) pardon(id ferry.ID, p pardon) {
	if s.pardons == nil {
		s.pardons = map[ferry.ID]pardon{}
	}
	if had, ok := s.pardons[id]; ok {
		if had.generation == p.generation {
			p.spent += had.spent
			p.open = p.open || had.open
		}
		s.pardons[id] = p
		return
	}
	if len(s.order) == maxPardons {
		delete(s.pardons, s.order[0])
		s.order = slices.Delete(s.order, 0, 1)
	}
	s.order = append(s.order, id)
	s.pardons[id] = p
}

// pardoned takes what a message gets back of what the ledger has counted.
func (s *streaks) pardoned(id ferry.ID, generation int) (spent int) {
	p, ok := s.pardons[id]
	if !ok {
		return 0
	}
	if p.generation == generation {
		spent = p.spent
	}
	if p.spent = 0; p.open && p.generation == generation {
		s.pardons[id] = p
		return spent
	}
	s.drop(id)
	return spent
}

// pardonedOpen says whether a message's open outcome, which proved absent, costs
// nothing.
func (s *streaks) pardonedOpen(id ferry.ID, generation int) bool {
	p, ok := s.pardons[id]
	if !ok || !p.open || p.generation != generation {
		return false
	}
	p.open = false
	if s.pardons[id] = p; p.spent == 0 {
		s.drop(id)
	}
	return true
}

func (s *streaks) drop(id ferry.ID) {
	delete(s.pardons, id)
	if i := slices.Index(s.order, id); i >= 0 {
		s.order = slices.Delete(s.order, i, i+1)
	}
}

// alikeReason names the error that different messages met.
func alikeReason(n int, v *ferry.Verdict) string {
	return cut(strings.TrimSpace(fmt.Sprintf("%d messages in a row failed alike: %s", n, errorOf(v))), maxReason)
}

// downReason says why a destination counts as down.
func downReason(v *ferry.Verdict) string {
	return cut("the destination cannot be reached, or is down: "+errorOf(v), maxReason)
}

// maxReason is the length of a reason at the most, bytes.
const maxReason = 300

// errorOf is an error in one line: status, code, the destination's words.
func errorOf(v *ferry.Verdict) string {
	var parts []string
	if v.Status != 0 {
		parts = append(parts, fmt.Sprint(v.Status))
	}
	if v.Code != "" {
		parts = append(parts, v.Code)
	}
	if text := strings.Join(strings.Fields(v.Text), " "); text != "" && text != v.Code {
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return "no answer"
	}
	return strings.Join(parts, " ")
}

package worker

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ferry"
	"ferry/breaker"
)

// answers of a destination, by a letter.
func answers() map[byte]ferry.Verdict {
	return map[byte]ferry.Verdict{
		'+': delivered("INV-1"),
		'r': {Kind: ferry.Rejected, Effect: ferry.EffectNone, Status: 400},
		'f': {Kind: ferry.Failed, Effect: ferry.EffectNone, Status: 500, Code: "SQL_DEADLOCK", Text: "deadlock victim"},
		'g': {Kind: ferry.Failed, Effect: ferry.EffectNone, Status: 500, Code: "NULL_POINTER"},
		'u': {Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Status: 500, Code: "SQL_DEADLOCK"},
		't': {Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Code: "timeout"},
		'd': {Kind: ferry.Unavailable, Effect: ferry.EffectNone, Code: "refused"},
		'q': {Kind: ferry.Throttled, Effect: ferry.EffectNone, Status: 429},
		'm': {Kind: ferry.Rejected, Effect: ferry.EffectNone, Code: "mappingFailed"},
	}
}

// ledgerOf plays the messages of a history against a destination, and keeps what
// each has spent, as the ledger does.
type ledgerOf struct {
	d     *Dest
	spent map[ferry.ID]int
	open  map[ferry.ID]string // of an open outcome: "", "charged" or "free"
	fails map[ferry.ID]int    // failing calls of its own
}

func newLedgerOf() *ledgerOf {
	return &ledgerOf{
		d:     NewDest(DestOptions{Name: "erp", Destination: &script{}}),
		spent: map[ferry.ID]int{}, open: map[ferry.ID]string{}, fails: map[ferry.ID]int{},
	}
}

func idOf(name byte) (id ferry.ID) {
	id[15] = name
	return id
}

// turn is one turn of a message: an open outcome proves absent, then the call.
func (l *ledgerOf) turn(id ferry.ID, v ferry.Verdict) {
	c := charge{id: id, generation: 1}
	if was := l.open[id]; was != "" {
		if was == "charged" && !l.d.pardonedOpen(id, 1) {
			c.resolved = 1
		}
		l.open[id] = ""
	}
	l.d.learn(ticket{}, lesson{verdict: &v, posted: true, id: id})
	if serverFault(&v) && v.Code != "mappingFailed" {
		c.failed, c.opens = &v, v.Effect == ferry.EffectMaybe
		l.fails[id]++
	}
	free := l.d.account(c)
	spends := c.resolved - min(l.d.pardoned(id, 1), l.spent[id])
	switch {
	case c.failed == nil:
	case c.opens && free:
		l.open[id] = "free"
	case c.opens:
		l.open[id] = "charged"
	case !free:
		spends++
	}
	l.spent[id] = max(l.spent[id]+spends, 0)
}

// What mixed histories cost, and whether they open the breaker. A step is a
// message and what its call came to; P is a health request that succeeds.
func TestFailingAlike(t *testing.T) {
	for name, c := range map[string]struct {
		steps string
		spent string // per message that spent something
		open  bool
		says  string
	}{
		"one message alone":                    {"Af Af Af Af", "A4", false, ""},
		"one message among others":             {"Af B+ Af C+ Af", "A3", false, ""},
		"a rejected answer is a success":       {"Af Br Cf Dr Ef", "A1 C1 E1", false, ""},
		"a map that fails is no success":       {"Af Bm Cf Dm Ef", "A1", true, ""},
		"two alike":                            {"Af Bf", "A1", false, ""},
		"three alike":                          {"Af Bf Cf", "A1", true, "3 messages in a row failed alike: 500 SQL_DEADLOCK deadlock victim"},
		"the first gets it back":               {"Af Bf Cf A+", "", false, ""},
		"gets back all of its own":             {"Af Af Af Bf Cf Af", "", true, ""},
		"nothing to give back twice":           {"Af Bf Cf Af Af", "", true, ""},
		"back after the recovery, then alone":  {"Af Bf Cf D+ Af Af", "A2", false, ""},
		"a success between":                    {"Af Bf C+ Df", "A1 D1", false, ""},
		"two messages, again and again":        {"Af Bf Af Bf Af Bf", "A1", false, ""},
		"other errors are counted by each":     {"Af Bg Cf Dg", "A1 B1", false, ""},
		"errors mixed, one of them three":      {"Af Bg Cf Dg Ef", "A1 B1", true, "500 SQL_DEADLOCK"},
		"mixed, both first ones get it back":   {"Af Bg Cf Dg Ef A+ B+", "", false, ""},
		"a health request is no success":       {"Af Bf Cf P Df", "A1", true, ""},
		"throttled is neither":                 {"Af Bq Cf Df", "A1", true, ""},
		"unknown, absent, alone":               {"Au Au Au", "A2", false, ""},
		"unknown alike":                        {"Au Bu Cu P A+ B+ C+", "", false, ""},
		"unknown and failed of one error":      {"Au Bf Cu P A+", "", false, ""},
		"unknown first paid, then given back":  {"Au Au Bu Cu P A+ A+", "", false, ""},
		"no answer from three":                 {"At Bt Ct", "", true, "timeout"},
		"no answer from three, all come again": {"At Bt Ct P A+ B+ C+", "", false, ""},
		"no answer, one message":               {"At At At At", "A3", true, ""},
		"no answer, then refused":              {"At Bd P A+", "", false, ""},
		"failed, then refused":                 {"Af Bd P A+", "", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedgerOf()
			for step := range strings.SplitSeq(c.steps, " ") {
				if step == "P" {
					l.d.pinged(nil, "")
					continue
				}
				l.turn(idOf(step[0]), answers()[step[1]])
			}
			var spent []string
			for name := byte('A'); name <= 'Z'; name++ {
				if n := l.spent[idOf(name)]; n > 0 {
					spent = append(spent, fmt.Sprintf("%c%d", name, n))
				}
			}
			if got := strings.Join(spent, " "); got != c.spent {
				t.Errorf("spent %q instead of %q", got, c.spent)
			}
			if open := l.d.breaker.Snapshot().State != breaker.Closed; open != c.open {
				t.Errorf("open is %v", open)
			}
			if c.open && !strings.Contains(l.d.reason, c.says) {
				t.Errorf("reason %q", l.d.reason)
			}
		})
	}
}

// Whatever happens: nobody pays for another's failures, one message alone pays
// for each of its own, and what is kept in mind is bounded.
func TestNobodyPaysForOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLedgerOf()
		messages := rapid.IntRange(1, 5).Draw(t, "messages")
		kinds := "+rfgutdqm"
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "ping") == 0 {
				l.d.pinged(nil, "")
			}
			id := idOf('A' + byte(rapid.IntRange(0, messages-1).Draw(t, "message")))
			kind := kinds[rapid.IntRange(0, len(kinds)-1).Draw(t, "kind")]
			if messages == 1 && kind == 'd' {
				kind = 'f' // an outage is nobody's fault
			}
			l.turn(id, answers()[kind])
			if l.spent[id] > l.fails[id] {
				t.Fatalf("%d attempts spent by %d failing calls", l.spent[id], l.fails[id])
			}
			pending := 0
			if l.open[id] == "charged" {
				pending = 1
			}
			if messages == 1 && l.spent[id]+pending != l.fails[id] {
				t.Fatalf("alone, %d attempts spent by %d failing calls (%d pending)", l.spent[id], l.fails[id], pending)
			}
		}
	})
}

func TestStreaksAreBounded(t *testing.T) {
	var s streaks
	for i := range 3 * maxPardons {
		var id ferry.ID
		id[0], id[1] = byte(i), byte(i>>8)
		v := ferry.Verdict{Kind: ferry.Failed, Status: 500, Code: fmt.Sprint(i)}
		s.failed(id, &v)
		s.account(charge{id: id, generation: 1, failed: &v})
		s.forgive()
	}
	if len(s.list) > maxStreaks || len(s.pardons) > maxPardons || len(s.order) != len(s.pardons) {
		t.Fatalf("%d streaks, %d pardons, %d in order", len(s.list), len(s.pardons), len(s.order))
	}
}

// A replay begins anew: what an earlier generation paid is not given back to it.
func TestPardonIsOfItsGeneration(t *testing.T) {
	var s streaks
	id := idOf('A')
	s.pardon(id, pardon{generation: 1, spent: 2, open: true})
	if s.pardonedOpen(id, 2) || s.pardoned(id, 2) != 0 || len(s.pardons) != 0 {
		t.Fatal("given to the next generation")
	}
}

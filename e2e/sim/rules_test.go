//go:build ferryrules

package sim

import (
	"strings"
	"testing"

	"ferry/internal/rules"
)

// ruleWorlds says, for each rule, in which world its absence breaks which promise.
func ruleWorlds() map[rules.Rule]scenario {
	one, two := oneWorker(), twoWorkers()
	both := oneWorker()
	both.workers = 2
	asked := one.honouring()
	asked.lookup = true
	long := one.eagerly()
	long.budget = 3
	worlds := map[rules.Rule]scenario{}
	for _, s := range []scenario{
		{"", one.with(some{fails: 1}), rules.Turn, "I1"},
		{"", one.with(some{purge: 1, brokerKill: 1}), rules.Suffix, "I1"},
		{"", both.blind().with(some{bind: 1, losts: 1}), rules.Facts, "I1"},
		{"", one.with(some{fails: 2, repeat: 2}), rules.Once, "I8"},
		{"", both.with(some{bind: 1, expire: 1, copies: 1}), rules.Identity, "I2"},
		{"", both.with(some{bind: 2, brokerKill: 2, expire: 1}), rules.TakeOver, "I2"},
		{"", both.outliving().slowly().with(some{bind: 1, deaf: 1}), rules.Word, "I2"},
		{"", both.slowly().with(some{bind: 2}), rules.Binding, "I2"},
		{"", one.with(some{workerKill: 1, brokerKill: 1}), rules.Begun, "I2"},
		{"", long.with(some{fails: 1, rejects: 1, discard: 1, copies: 3}), rules.OldTurn, "I6"},
		{"", one.slots(2).with(some{copies: 2, expire: 1}), rules.Alone, "I2"},
		{"", two.with(some{expire: 1, copies: 1}), rules.Claim, "I2"},
		{"", two.with(some{rogue: 1}), rules.Holder, "I8"},
		{"", two.with(some{paused: 2}), rules.Deadline, "I2"},
		{"", one.eagerly().with(some{lates: 1}), rules.Wait, "I2"},
		{"", one.with(some{losts: 1}), rules.Lookup, "I2"},
		{"", one.honouring().with(some{losts: 2, edit: 1}), rules.Revision, "I3"},
		{"", one.with(some{early: 1}), rules.Acts, "I6"},
		{"", asked.with(some{losts: 2, rejects: 1}), rules.OpenOutcome, "I9"},
		{"", one.with(some{drain: 1, expire: 1}), rules.GiveBack, "I8"},
		{"", one.blind().with(some{powerCut: 1}), rules.Resend, "I1"},
		{"", both.blind().with(some{bind: 1, brokerKill: 4}), rules.AfterCommit, "I1"},
		{"", one.with(some{purge: 1}), rules.Sweep, "I1"},
		{"", one.with(some{busies: 2, downs: 1}), rules.Budget, "I8"},
		{"", one.answersLater().unbounded(), rules.StatusURL, "I2"},
		{"", two.with(some{backup: 2}), rules.Epoch, "I2"},
	} {
		worlds[s.without] = s
	}
	return worlds
}

// searched is how many seeds are tried at the most: every world breaks within a
// few hundred.
const searched = 5000

// TestEveryRuleMatters takes each rule away: a promise breaks for some seed, and
// holds for the same seed with the rule.
func TestEveryRuleMatters(t *testing.T) {
	worlds := ruleWorlds()
	for _, rule := range rules.All() {
		t.Run(rule.String(), func(t *testing.T) {
			row, ok := worlds[rule]
			if !ok {
				t.Fatal("no world shows what it is for")
			}
			breaks(t, row)
		})
	}
}

// breaks searches a seed for which a promise breaks without the scenario's rule,
// and holds with it.
func breaks(t *testing.T, s scenario) {
	t.Helper()
	broken := map[string]int{}
	for seed := range uint64(searched) {
		restore := rules.Without(s.without)
		out := play(t, s.cfg, seed)
		restore()
		if out.broken == "" {
			continue
		}
		broken[out.broken[:2]]++
		if !strings.HasPrefix(out.broken, s.promise) {
			continue
		}
		t.Logf("seed %d, %d lines: %s", seed, out.lines, out.broken)
		if with := play(t, s.cfg, seed); with.broken != "" {
			t.Errorf("with the rule: %s\n%s", with.broken, with.story)
		}
		return
	}
	t.Errorf("%d seeds keep %s without it; broken: %v", searched, s.promise, broken)
}

// TestModelWithoutTheRule takes from each scenario of the model the rule that it
// is about.
func TestModelWithoutTheRule(t *testing.T) {
	for _, s := range scenarios() {
		if s.without != 0 {
			t.Run(s.name, func(t *testing.T) { breaks(t, s) })
		}
	}
}

// TestNoDeadlineIsNeededWhereTheKeyIsHonoured: a destination that refuses a second
// document needs no assumption about time.
func TestNoDeadlineIsNeededWhereTheKeyIsHonoured(t *testing.T) {
	defer rules.Without(rules.Deadline)()
	defer rules.Without(rules.Wait)()
	cfg := twoWorkers().honouring().unbounded().with(some{expire: 1, paused: 1, lates: 1})
	for seed := range uint64(100) {
		if out := play(t, cfg, seed); out.broken != "" {
			t.Fatalf("seed %d: %s\n%s", seed, out.broken, out.story)
		}
	}
}

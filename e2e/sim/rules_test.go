//go:build ferryrules

package sim

import (
	"testing"

	"ferry/internal/rules"
)

// ruleWorlds says, for each rule, in which world its absence breaks which promise.
func ruleWorlds() map[rules.Rule]struct {
	cfg     config
	promise string
} {
	type row = struct {
		cfg     config
		promise string
	}
	one := config{letters: "A", workers: 1, lookup: true, budget: 2, window: 2, concurrency: 1}
	with := func(c config, f map[fault]int) config {
		for k, n := range f {
			c.faults[k] = n
		}
		return c
	}
	blind, idem, two, slots := one, one, one, one
	blind.lookup = false
	idem.lookup, idem.idempotent = false, true
	asked := idem
	asked.lookup = true
	two.workers = 2
	blindTwo := blind
	blindTwo.workers = 2
	slots.concurrency = 2
	long := one
	long.budget, long.eager = 3, true
	return map[rules.Rule]row{
		rules.Turn:        {with(one, map[fault]int{fails: 1}), "I1"},
		rules.Suffix:      {with(one, map[fault]int{purge: 1, powerCut: 0, brokerKill: 1}), "I1"},
		rules.Facts:       {with(blindTwo, map[fault]int{bind: 1, losts: 1}), "I1"},
		rules.Once:        {with(one, map[fault]int{fails: 2, repeat: 2}), "I8"},
		rules.Identity:    {with(two, map[fault]int{bind: 1, expire: 1, copies: 1}), "I2"},
		rules.TakeOver:    {with(two, map[fault]int{bind: 1, losts: 1}), "I2"},
		rules.Begun:       {with(one, map[fault]int{workerKill: 1, brokerKill: 1}), "I2"},
		rules.OldTurn:     {with(long, map[fault]int{fails: 1, rejects: 1, discard: 1, copies: 3}), "I6"},
		rules.Alone:       {with(slots, map[fault]int{copies: 2, expire: 1}), "I2"},
		rules.Deadline:    {with(two, map[fault]int{bind: 1, freeze: 2}), "I2"},
		rules.Wait:        {with(one, map[fault]int{lates: 1}), "I2"},
		rules.Lookup:      {with(one, map[fault]int{losts: 1}), "I2"},
		rules.Revision:    {with(idem, map[fault]int{losts: 2, edit: 1}), "I3"},
		rules.Acts:        {with(one, map[fault]int{early: 1}), "I6"},
		rules.OpenOutcome: {with(asked, map[fault]int{losts: 2, rejects: 1}), "I9"},
		rules.GiveBack:    {with(one, map[fault]int{drain: 1, expire: 1}), "I8"},
		rules.Resend:      {with(blind, map[fault]int{powerCut: 1}), "I1"},
		rules.AfterCommit: {with(blindTwo, map[fault]int{bind: 1, losts: 1, brokerKill: 2}), "I1"},
		rules.Sweep:       {with(one, map[fault]int{purge: 1}), "I1"},
		rules.Budget:      {with(one, map[fault]int{busies: 2, downs: 1}), "I8"},
	}
}

const searched = 1500

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
			broken := map[string]int{}
			for seed := range uint64(searched) {
				restore := rules.Without(rule)
				out := play(t, row.cfg, seed)
				restore()
				if out.broken == "" {
					continue
				}
				broken[out.broken[:2]]++
				if out.broken[:2] != row.promise {
					continue
				}
				t.Logf("seed %d, %d lines: %s", seed, out.lines, out.broken)
				if testing.Verbose() {
					t.Log(out.story)
				}
				if with := play(t, row.cfg, seed); with.broken != "" {
					t.Errorf("with the rule: %s\n%s", with.broken, with.story)
				}
				return
			}
			t.Errorf("%d seeds keep %s without it; broken: %v", searched, row.promise, broken)
		})
	}
}

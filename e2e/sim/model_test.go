package sim

import (
	"os"
	"strconv"
	"testing"

	"ferry/internal/rules"
)

// scenario is a world of the protocol's model, by the model's name, and the rule
// whose absence breaks a promise in it (0: the model takes away more than one, or
// one that no test build can take away).
type scenario struct {
	name    string
	cfg     config
	without rules.Rule
	promise string
}

type some map[fault]int

func (c config) with(f some) config {
	for k, n := range f {
		c.faults[k] += n
	}
	return c
}

// The worlds of the model: one worker, two that claim, one with two slots.
func oneWorker() config {
	return config{letters: "A", workers: 1, lookup: true, budget: 2, window: 2, concurrency: 1}
}

func twoWorkers() config {
	c := oneWorker()
	c.workers, c.several = 2, true
	return c
}

func (c config) blind() config        { c.lookup = false; return c }
func (c config) honouring() config    { c.lookup, c.idempotent = false, true; return c }
func (c config) asked() config        { c.lookup, c.idempotent = true, true; return c }
func (c config) answersLater() config { c.later = true; return c }
func (c config) inOrder() config      { c.letters, c.keyed = "AB", true; return c }
func (c config) unbounded() config    { c.lateForever = true; return c }
func (c config) eagerly() config      { c.eager = true; return c }
func (c config) slots(n int) config   { c.concurrency = n; return c }
func (c config) outliving() config    { c.outlives = true; return c }
func (c config) slowly() config       { c.letters, c.slow = "AB", true; return c }

// paused is the model's "a lock expires, its holder has not noticed": it stood
// still meanwhile.
const paused = freeze

// scenarios are those of the model, in its order.
func scenarios() []scenario {
	one, two := oneWorker(), twoWorkers()
	both := oneWorker()
	both.workers = 2
	return []scenario{
		{"retry is dropped as a repeat", one.with(some{fails: 1}), rules.Turn, "I1"},
		{"same, full rules without turn", one.with(some{fails: 1}), rules.Turn, "I1"},
		{"attempt number reused after 'busy'", one.with(some{busies: 1}), rules.Turn, "I1"},
		{"finished before, 'only settle'", one.with(some{workerKill: 1}), 0, ""},
		{"queue purged, broker stays up", one.with(some{purge: 1}), rules.Sweep, "I1"},
		{"given back untried, no lookup", one.blind().with(some{drain: 1}), 0, ""},
		{"broker restart, no lookup", one.blind().with(some{brokerKill: 1, powerCut: 1}), 0, ""},
		{"worker dies in the call, count lost", one.with(some{workerKill: 1, brokerKill: 1}), rules.Begun, "I2"},
		{"one worker, all faults, lookup", one.with(some{workerKill: 1, brokerKill: 1, powerCut: 1, expire: 1, fails: 1, repeat: 1}), 0, ""},
		{"one worker, all faults, blind", one.blind().with(some{workerKill: 1, brokerKill: 1, powerCut: 1, expire: 1, losts: 1}), 0, ""},
		{"one worker, late write, no wait", one.with(some{lates: 1}), rules.Wait, "I2"},
		{"one worker, late write, killed", one.with(some{lates: 1, workerKill: 1, powerCut: 1}), rules.Wait, "I2"},
		{"begun not on disk before the call", one.with(some{workerKill: 1, brokerKill: 1}), rules.Begun, "I2"},
		{"budget, crashes and repeats", one.with(some{fails: 3, repeat: 1, powerCut: 1, workerKill: 1}), rules.Once, "I8"},
		{"order, one worker", one.inOrder().with(some{workerKill: 1, brokerKill: 1}), 0, ""},
		{"order, one worker, head discarded", one.inOrder().with(some{expire: 1, workerKill: 1, brokerKill: 1, rejects: 1, discard: 1}), 0, ""},
		{"one worker, edit, stale copy, kills", one.with(some{expire: 1, workerKill: 1, brokerKill: 1, rejects: 1, edit: 1}), 0, ""},

		{"two slots take the same message", one.slots(2).with(some{expire: 1, copies: 1}), rules.Alone, "I2"},
		{"two slots, kills, edit", one.slots(2).with(some{expire: 1, workerKill: 1, rejects: 1, edit: 1}), 0, ""},
		{"discard while pending, one worker", one.with(some{early: 1}), rules.Acts, "I6"},
		{"discard while pending, two workers", two.with(some{early: 1, fails: 1, expire: 1}), rules.Acts, "I6"},
		{"one worker, durable queue", one.with(some{brokerKill: 1, workerKill: 1, expire: 1, rejects: 1, edit: 1}), 0, ""},
		{"one worker, idempotent, late, discard", one.honouring().with(some{lates: 1, workerKill: 1, brokerKill: 1, rejects: 1, discard: 1}), 0, ""},
		{"one worker, late, edit, order", one.inOrder().with(some{lates: 1, workerKill: 1, rejects: 1, edit: 1}), 0, ""},
		{"several, drain, replay, repeats", two.with(some{drain: 1, expire: 1, paused: 1, rejects: 1, replay: 1, repeat: 1}), 0, ""},
		{"several, late, edit, worker kill", two.with(some{lates: 1, workerKill: 1, rejects: 1, edit: 1}), 0, ""},
		{"several, order, late, discard", two.inOrder().with(some{lates: 1, expire: 1, paused: 1, rejects: 1, discard: 1}), 0, ""},
		{"several, budget", two.eagerly().with(some{fails: 3, expire: 1, paused: 1, repeat: 1}), rules.Once, "I8"},
		{"two inboxes under one-worker rules", both.with(some{bind: 1, expire: 1, copies: 1}), rules.Identity, "I2"},
		{"two workers, paused before the call", two.with(some{expire: 1, paused: 1}), rules.Claim, "I2"},
		{"same, no deadline before the call", two.with(some{expire: 1, paused: 2}), rules.Deadline, "I2"},
		{"same, no wait before the lookup", two.with(some{expire: 1, lates: 1}), rules.Wait, "I2"},
		{"two workers, power cut, call running", two.with(some{powerCut: 1}), 0, ""},
		{"two workers, count lost in a kill", two.with(some{brokerKill: 1, expire: 1}), rules.Claim, "I2"},
		{"two workers, edit, stale copy", two.with(some{expire: 1, copies: 1, rejects: 1, edit: 1}), rules.Claim, "I"},
		{"same, destination idempotent", two.honouring().with(some{expire: 1, copies: 1, rejects: 1, discard: 1}), rules.Claim, "I6"},
		{"order, two workers", two.inOrder().with(some{expire: 1, copies: 1}), rules.Claim, "I"},
		{"order, two workers, discarded head", two.inOrder().honouring().with(some{expire: 1, copies: 1, rejects: 1, discard: 1}), rules.Claim, "I"},
		{"two workers differ on one turn", two.with(some{expire: 1, fails: 1, rejects: 1, rogue: 1}), rules.Holder, "I8"},
		{"counts after a stale receipt", two.with(some{expire: 1, rejects: 1, repeat: 1}), 0, ""},
		{"late lookup finds the edited body", two.honouring().with(some{losts: 2, edit: 1}), rules.Revision, "I3"},
		{"stale 'no' after 'yes'", two.honouring().with(some{expire: 1, rejects: 1}), 0, ""},
		{"answer on disk, receipt lost, blind", two.blind().with(some{powerCut: 1}), rules.Resend, "I1"},
		{"two workers, blind, faults", two.blind().with(some{expire: 1, paused: 1, powerCut: 1, workerKill: 1}), 0, ""},
		{"two workers, lookup, faults", two.with(some{expire: 1, paused: 1, powerCut: 1, workerKill: 1, fails: 1}), 0, ""},
		{"durable queue, window passed", two.with(some{brokerKill: 1}), 0, ""},
		{"broker away, the worker works on", one.outliving().inOrder().with(some{away: 2, fails: 1, losts: 1}), 0, ""},
		{"same, killed and frozen meanwhile", one.outliving().with(some{away: 1, freeze: 1, workerKill: 1, expire: 1}), 0, ""},
		{"old worker does not hear of the new one", both.outliving().slowly().with(some{bind: 1, deaf: 1}), rules.Word, "I2"},
		{"same, broker away, a hello comes late", both.outliving().with(some{bind: 2, deaf: 1, away: 1, stale: 2, copies: 1}), 0, ""},
		{"same, blind", both.outliving().blind().with(some{bind: 2, deaf: 1, freeze: 1, stale: 1}), 0, ""},
		{"bound back to the first", both.outliving().slowly().with(some{bind: 3, copies: 2, deaf: 1}), 0, ""},
		{"same, on a queue that ends with the broker", both.slowly().with(some{bind: 2}), rules.Binding, "I2"},
		{"several, broker away", two.outliving().with(some{away: 2, deaf: 1, expire: 1}), 0, ""},
		{"replay, late positive receipt", two.honouring().with(some{expire: 1, losts: 1, replay: 1, repeat: 1}), 0, ""},

		{"LIMIT gone: idempotent destination", one.honouring().unbounded().with(some{lates: 1}), rules.Turn, "I1"},
		{"LIMIT gone: idempotent, no deadline", two.honouring().unbounded().with(some{expire: 1, paused: 1, lates: 1}), 0, ""},
		{"LIMIT: discard needs the deadline", two.asked().eagerly().with(some{paused: 2, rejects: 1, discard: 1}), rules.Deadline, "I6"},
	}
}

// limit is what no rule can help against: a write later than any wait.
func limit() scenario {
	return scenario{"LIMIT: write later than any wait", oneWorker().unbounded().eagerly().with(some{lates: 1}), 0, "I2"}
}

// seedsOf is how many seeds each scenario gets: FERRY_SIM_SEEDS shared among them.
func seedsOf(t *testing.T, short uint64) uint64 {
	t.Helper()
	text := os.Getenv("FERRY_SIM_SEEDS")
	if text == "" {
		return short
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return max(short, n/uint64(len(scenarios())))
}

// TestModel runs every scenario of the protocol's model on the real code.
func TestModel(t *testing.T) {
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for seed := range seedsOf(t, modelSeeds) {
				if out := play(t, s.cfg, seed); out.broken != "" {
					t.Fatalf("seed %d: %s\n%s", seed, out.broken, out.story)
				}
			}
		})
	}
	t.Run(limit().name, func(t *testing.T) {
		t.Parallel()
		for seed := range uint64(2000) {
			if out := play(t, limit().cfg, seed); out.broken != "" {
				t.Logf("seed %d, as it must: %s", seed, out.broken)
				return
			}
		}
		t.Error("a write later than any wait breaks nothing: what is the wait for?")
	})
}

//go:build ferryrules

package worker

import (
	"testing"

	"ferry"
	"ferry/internal/rules"
)

// Without the rule nothing remembers where to ask: the message is looked up, is
// not there yet, and is sent a second time while the first is being worked on.
func TestWithoutTheStatusURLItIsSentTwice(t *testing.T) {
	for _, on := range []bool{true, false} {
		if !on {
			defer rules.Without(rules.StatusURL)()
		}
		inWorld(t, func(w *world) {
			w.change = polls
			w.erp.poll = always(ferry.Verdict{Kind: ferry.InProgress})
			w.run()
			h := w.taken()
			for range 4 {
				w.publish(h)
				h = ledgered(h, w.only())
			}
			if posts, _ := w.erp.counts(); (posts == 1) != on {
				t.Errorf("rule %t: %d posts", on, posts)
			}
		})
	}
}

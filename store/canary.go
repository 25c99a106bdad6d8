package store

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// mostAlike is how many messages of a group may fail as before in a row, with no
// success between, before the rest of the group is stopped.
const mostAlike = 10

// mostOut is how many messages of a replay with a canary may be on their way at a
// time: only while ends come in can they stop the rest. It goes on when half of them
// have ended, so that its steps are not of one message each.
const mostOut = 1000

// mostCanaryError bounds what is kept of the error of a canary message, bytes.
const mostCanaryError = 200

// operationGroup is what a replay with a canary keeps of the dead letters of one
// route that had failed alike.
type operationGroup struct {
	ferry.OperationGroup        // its State is "" while it has no canary of its own
	Failure              string `json:"failure,omitempty"` // see failureOf; empty: of several, none is alike
	Want                 int    `json:"want,omitempty"`    // canary messages
	Sent                 int    `json:"sent,omitempty"`    // of these
	Ended                int    `json:"ended,omitempty"`
	Through              int    `json:"through,omitempty"` // completed
	InARow               int    `json:"inARow,omitempty"`  // failed alike, with no success between
}

func (g *operationGroup) left() int { return g.Total - g.Done - g.Skipped }

// handled is what a bulk act made of a message: which operation, and for a replay
// with a canary as one of which group. A later act on the message ends it.
type handled struct {
	Operation ferry.ID
	Grouped   bool
	Group     uint32
	Canary    bool
}

// as is the stored form of all but the operation.
func (h handled) as() uint64 {
	if !h.Grouped {
		return 0
	}
	n := (uint64(h.Group) + 1) << 1
	if h.Canary {
		n |= 1
	}
	return n
}

func (h *handled) setAs(n uint64) {
	if n >= 2 {
		h.Grouped, h.Canary, h.Group = true, n&1 == 1, uint32(n>>1-1)
	}
}

// arrange numbers the groups anew, the largest first, and shares the canary out: one
// message for each while there are any, the rest in proportion to their sizes.
func (s *Selection) arrange(op *operationRow) (order []uint32) {
	order = make([]uint32, len(s.groups))
	if op.Canary == nil {
		return order // nothing is kept of groups
	}
	old := make([]int, len(s.groups))
	for i := range old {
		old[i] = i
	}
	slices.SortStableFunc(old, func(a, b int) int { return cmp.Compare(s.groups[b].Total, s.groups[a].Total) })
	sorted := make([]operationGroup, len(s.groups))
	for to, from := range old {
		order[from], sorted[to] = uint32(to), s.groups[from]
	}
	s.groups = sorted
	for i, n := range shares(op.Canary.Size, s.groups) {
		if n > 0 {
			s.groups[i].Want, s.groups[i].State = n, ferry.GroupTesting
			op.Testing++
		} else {
			op.Rest = ferry.GroupWaiting
		}
	}
	op.GroupRows = len(s.groups)
	return order
}

// shares is how many of n each group gets, by the method of Sainte-Laguë once each has
// one; the groups are the largest first.
func shares(n int, groups []operationGroup) []int {
	list := make([]int, len(groups))
	for ; n > 0; n-- {
		next, best := -1, 0.0
		for i := range groups {
			claim := float64(groups[i].Total) / float64(2*list[i]+1)
			if list[i] == 0 {
				claim += ferry.MaxSelection
			}
			if list[i] < groups[i].Total && claim > best {
				next, best = i, claim
			}
		}
		if next < 0 {
			return list // there are no more
		}
		list[next]++
	}
	return list
}

// stateOf is the group's state, also of one that follows the others.
func (op *operationRow) stateOf(g *operationGroup) string {
	switch {
	case g.left() == 0 && g.State != ferry.GroupTesting && g.State != ferry.GroupStopped:
		return ferry.GroupDone
	case g.State == "":
		return op.Rest
	}
	return g.State
}

// group is the committer's copy of a group; nil when the operation has none.
func (op *operationRow) group(tx *bbolt.Tx, no uint32) *operationGroup {
	if int(no) >= op.GroupRows {
		return nil
	}
	if g, ok := op.groups[no]; ok {
		return g
	}
	v := tx.Bucket(bOpGroups).Get(rowKey(op.ID, no))
	if v == nil {
		return nil
	}
	g, err := decodeJSON[operationGroup](v)
	if err != nil {
		return nil // it is as if it were not watched
	}
	if op.groups == nil {
		op.groups = map[uint32]*operationGroup{}
	}
	op.groups[no] = &g
	return &g
}

// eachGroup sees every group, as this commit knows it.
func (op *operationRow) eachGroup(tx *bbolt.Tx, see func(no uint32, g *operationGroup) error) error {
	for no := range uint32(op.GroupRows) {
		g := op.groups[no]
		if g == nil {
			v := tx.Bucket(bOpGroups).Get(rowKey(op.ID, no))
			if v == nil {
				continue
			}
			read, err := decodeJSON[operationGroup](v)
			if err != nil {
				return damaged(err)
			}
			g = &read
		}
		if err := see(no, g); err != nil {
			return err
		}
	}
	return nil
}

// tellOperation tells the operation that acted on a message what became of it: in the
// commit of that, so that counts and canary hold over any restart.
func (l *Ledger) tellOperation(tx *bbolt.Tx, r *record, from ferry.State) {
	if r.Handled.Operation.IsZero() || from.Pending() && r.State.Pending() {
		return
	}
	op := l.operationOf(tx, r.Handled.Operation.String())
	switch {
	case op == nil: // forgotten
	case op.Act == ferry.ActDiscard:
		if from == ferry.StateDiscarded {
			op.Restored++
			r.Handled = handled{}
		}
	case op.Act == ferry.ActReplay:
		op.tally(from, -1)
		op.tally(r.State, +1)
		if g := op.groupOf(tx, r); g != nil {
			g.tally(from, -1)
			g.tally(r.State, +1)
			switch {
			case from.Pending():
				op.judge(g, r)
			case r.State.Pending() && r.Handled.Canary: // restored
				op.awaitAgain(g, r.ID)
			}
		}
	}
}

func (op *operationRow) groupOf(tx *bbolt.Tx, r *record) *operationGroup {
	if !r.Handled.Grouped {
		return nil
	}
	return op.group(tx, r.Handled.Group)
}

func (op *operationRow) tally(state ferry.State, by int) {
	switch state {
	case ferry.StateCompleted:
		op.Completed += by
	case ferry.StateDeadLettered:
		op.FailedAgain += by
	case ferry.StateDiscarded:
		op.Discarded += by
	}
}

func (g *operationGroup) tally(state ferry.State, by int) {
	switch state {
	case ferry.StateCompleted:
		g.Completed += by
	case ferry.StateDeadLettered:
		g.FailedAgain += by
	}
}

// judge draws the conclusion from the end of a message that was sent again.
func (op *operationRow) judge(g *operationGroup, r *record) {
	end, text := ferry.CanaryDiscarded, ""
	switch r.State {
	case ferry.StateCompleted:
		end, g.InARow = ferry.CanaryCompleted, 0
	case ferry.StateDeadLettered:
		end, text = ferry.CanaryOtherwise, head(joinWords(r.Dead.Code, r.Dead.Description), mostCanaryError)
		if name, _ := failureOf(r.Dead); name == g.Failure {
			end = ferry.CanaryAlike
			g.InARow++
		}
	}
	if r.Handled.Canary {
		g.Ended++
		if end == ferry.CanaryCompleted {
			g.Through++
		}
		noteEnd(op.Canary, r.ID, end, text)
	}
	live := op.State == ferry.OperationRunning || op.State == ferry.OperationStopped
	switch {
	case !live:
	case g.State == ferry.GroupTesting && r.Handled.Canary && g.left() > 0 && end == ferry.CanaryAlike:
		op.halt(g, fmt.Sprintf("canary message %s failed as before: %s", r.ID.Short(), text))
	case g.State == ferry.GroupTesting:
		op.settleCanary(g)
	case op.stateOf(g) != ferry.GroupStopped && g.InARow >= mostAlike && g.left() > 0:
		op.halt(g, fmt.Sprintf("%d messages in a row failed as before, the last is %s: %s", g.InARow, r.ID.Short(), text))
	}
}

func joinWords(code, text string) string {
	if code == "" {
		return text
	}
	return code + " " + text
}

// noteEnd keeps how a canary message ended.
func noteEnd(c *ferry.OperationCanary, id ferry.ID, end, text string) {
	for i := range c.Messages {
		if m := &c.Messages[i]; m.ID == id {
			m.End, m.Error = end, text
		}
	}
	switch end {
	case ferry.CanaryCompleted:
		c.Completed++
	case ferry.CanaryAlike:
		c.Alike++
	case ferry.CanaryOtherwise:
		c.Otherwise++
	}
}

// awaitAgain takes back that a canary message was discarded: it is on its way anew.
func (op *operationRow) awaitAgain(g *operationGroup, id ferry.ID) {
	g.Ended--
	for i := range op.Canary.Messages {
		if m := &op.Canary.Messages[i]; m.ID == id {
			m.End, m.Error = "", ""
		}
	}
}

// noteSent keeps which messages are the canary.
func (op *operationRow) noteSent(g *operationGroup, r *record) {
	c := op.Canary
	if c.Sent == 0 {
		c.Since = time.Now().UTC()
	}
	c.Sent++
	c.Messages = append(c.Messages, ferry.CanaryMessage{ID: r.ID, Route: g.Route, Group: g.Group})
}

// settleCanary lets the rest of a group go, or stops it, once its canary has ended.
func (op *operationRow) settleCanary(g *operationGroup) {
	if g.State != ferry.GroupTesting || g.Ended < g.Sent || g.Sent < g.Want && g.left() > 0 {
		return
	}
	if g.Through == 0 && g.Sent > 0 && g.left() > 0 {
		op.halt(g, "none of its canary came through")
		return
	}
	g.State = ferry.GroupRunning
	op.Testing--
	if g.Through > 0 {
		op.Passed++
	}
	op.lookAgain()
}

// halt stops what is left of a group, and says why.
func (op *operationRow) halt(g *operationGroup, why string) {
	if g.State == ferry.GroupTesting {
		op.Testing--
	}
	g.State, g.Stopped = ferry.GroupStopped, why
	op.Halted++
	if op.State != ferry.OperationStopped { // else it says already what it waits for
		op.Stopped = fmt.Sprintf("group %s of %s: %s", g.Group, g.Route, why)
	}
	op.lookAgain()
}

// lookAgain has the operation look at its rows anew: some may have their turn now, or
// nothing is left that may.
func (op *operationRow) lookAgain() {
	if op.Testing == 0 && op.Rest == ferry.GroupWaiting {
		op.Rest = ferry.GroupRunning
		if op.Passed == 0 {
			op.Rest = ferry.GroupStopped
		}
	}
	op.Next, op.Idle = 0, false
	op.goesOn()
}

// goesOn begins to measure the speed anew.
func (op *operationRow) goesOn() {
	op.GoesOnSince, op.DoneBefore = time.Now().UTC(), op.Done+op.Skipped
}

// goOn has all that was stopped go on.
func (l *Ledger) goOn(tx *bbolt.Tx, op *operationRow) error {
	for no := range uint32(op.GroupRows) {
		g := op.group(tx, no)
		if g == nil || g.State != ferry.GroupStopped {
			continue
		}
		g.State, g.Stopped, g.InARow = ferry.GroupRunning, "", 0
	}
	if op.Rest == ferry.GroupStopped {
		op.Rest = ferry.GroupRunning
	}
	op.State, op.Stopped, op.Halted = ferry.OperationRunning, "", 0
	op.FinishedAt = nil
	op.lookAgain()
	return nil
}

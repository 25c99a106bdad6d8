package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/commit"
)

// Bounds of one step, so that others' writes wait little for it.
const (
	stepActs = 500
	stepRows = 5_000
	stepTime = 10 * time.Millisecond // in the committer's hands
)

// maxExamples bounds what is kept of skipped messages.
const maxExamples = 10

// tick is what the rate is paced by.
const tick = 100 * time.Millisecond

// Step is what one step of an operation came to.
type Step struct {
	State     string         // of the operation, after it
	Acts      int            // in this step
	Discarded map[string]int // by route
	// Wait is when the next step is due; 0: at once. Of an operation that waits for the
	// ends of messages it is not known: Waits.
	Wait  time.Duration
	Waits bool
	// KeyID is in whose name the operation acts, of a plan.
	KeyID string
}

// PlanOperation says whether a running operation has something to do now, without a
// write. Acts is 1 when it has.
func (l *Ledger) PlanOperation(id string) (step Step, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		op, err := operation(tx, id)
		if err != nil {
			return err
		}
		step.State, step.KeyID = op.State, op.KeyID
		switch wait := op.due(time.Now()); {
		case op.State != ferry.OperationRunning:
		case op.Idle || op.full():
			step.Waits = true
		case wait > 0:
			step.Wait = wait
		default:
			step.Acts = 1
		}
		return nil
	})
	return step, err
}

// full says whether so many are on their way that their ends come first.
func (op *operationRow) full() bool {
	if op.Full {
		return op.Out() > mostOut/2
	}
	return op.Canary != nil && op.Out() >= mostOut
}

// StepOperation carries a running operation on by one step, in one commit: it acts on
// messages, takes them out of the selection and counts them. So each is acted on at
// most once, wherever a kill comes. The caller of ctx is whom the audit log names.
func (l *Ledger) StepOperation(ctx context.Context, id string) (step Step, err error) {
	err = l.update(ctx, 64<<10, func(tx *bbolt.Tx) error {
		op := l.operationOf(tx, id)
		if op == nil {
			return noOperation(id)
		}
		if op.State != ferry.OperationRunning {
			step.State = op.State
			return nil
		}
		s := stepper{l: l, ctx: ctx, tx: tx, op: op, step: &step, began: time.Now()}
		if err := s.run(); err != nil {
			// Something may have been written: whatever it is, it fails the whole group.
			return commit.Abort(fmt.Errorf("operation %s: %s", id, err.Error()))
		}
		step.State = op.State
		return nil
	})
	return step, err
}

// stepper is one step under way, on the committer's goroutine.
type stepper struct {
	l     *Ledger
	ctx   context.Context
	tx    *bbolt.Tx
	op    *operationRow
	step  *Step
	began time.Time
	most  int // acts

	gone []uint32          // rows that had their turn
	kept map[uint32][]byte // of a discard: rows that say what was done
}

func (s *stepper) run() error {
	op := s.op
	if op.GoesOnSince.IsZero() {
		op.goesOn()
	}
	if s.step.Wait = op.due(s.began); s.step.Wait > 0 {
		return nil
	}
	if op.full() || op.Idle {
		s.step.Waits = true
		return nil
	}
	op.Full, s.most = false, op.allowed()
	atEnd, err := s.look()
	if err != nil {
		return err
	}
	if err := s.drop(); err != nil {
		return err
	}
	if s.step.Acts > 0 {
		op.spend(time.Now(), s.step.Acts)
	}
	if atEnd {
		if err := s.reachedEnd(); err != nil {
			return err
		}
	}
	s.step.Wait = op.due(time.Now())
	op.Full = op.full()
	s.step.Waits = op.Idle || op.Full
	return nil
}

// look goes over the selection from where it is, and acts. It says whether it came to
// the end.
func (s *stepper) look() (atEnd bool, err error) {
	c, rows := s.tx.Bucket(bSelected).Cursor(), 0
	for k, v := c.Seek(rowKey(s.op.ID, s.op.Next)); ; k, v = c.Next() {
		if !isRow(k, s.op.ID) {
			return true, nil
		}
		if s.step.Acts >= s.most || rows >= stepRows || s.op.full() || rows > 0 && time.Since(s.began) > stepTime {
			return false, nil
		}
		rows++
		no := rowNumber(k)
		s.op.Next = no + 1
		row, ok := decodeRow(v)
		switch {
		case !ok:
			s.skip(no, nil, ferry.ID{}, ferry.SkipUnreadable)
		case !row.done:
			if err := s.turn(no, row); err != nil {
				return false, err
			}
		}
		if s.op.Next != no+1 {
			return false, nil // a group goes on, or stands still: all is looked at again
		}
	}
}

// turn acts on one message, or passes it over, or skips it.
func (s *stepper) turn(no uint32, row selectedRow) error {
	g, canary := s.op.group(s.tx, row.group), false
	if g != nil {
		switch s.op.stateOf(g) {
		case ferry.GroupTesting:
			if g.Sent >= g.Want {
				return nil
			}
			canary = true
		case ferry.GroupStopped, ferry.GroupWaiting:
			return nil
		}
	}
	r, why := s.readable(row)
	if why != "" {
		s.skip(no, g, row.id, why)
		return nil
	}
	by := handled{Operation: s.id(), Grouped: g != nil, Group: row.group, Canary: canary}
	if err := s.act(r, by); err != nil {
		return err
	}
	s.op.Done++
	s.step.Acts++
	if g != nil {
		g.Done++
		if canary {
			g.Sent++
			s.op.noteSent(g, r)
		}
	}
	if s.op.Act != ferry.ActDiscard {
		s.gone = append(s.gone, no)
		return nil
	}
	done := chosen{id: row.id, generation: uint32(row.generation)}
	v := done.encode([]uint32{row.group})
	v[rowLength-1] = 1
	if s.kept == nil {
		s.kept = map[uint32][]byte{}
	}
	s.kept[no] = v
	return nil
}

func (s *stepper) id() ferry.ID {
	id, err := ferry.ParseID(s.op.ID)
	if err != nil {
		return ferry.ID{} // made by a test: nothing is told to it
	}
	return id
}

// readable reads the message of a row, or says why it is left alone: it is no longer
// what was selected.
func (s *stepper) readable(row selectedRow) (*record, ferry.SkipReason) {
	r, err := get(s.tx, row.id)
	switch {
	case err != nil:
		return nil, ferry.SkipUnreadable
	case r == nil:
		return nil, ferry.SkipGone
	}
	allowed := r.State == ferry.StateDeadLettered
	switch s.op.Act {
	case ferry.ActDiscard:
		err := s.l.mayDiscard(r)
		if ferry.CodeOf(err) == ferry.CodeInDelivery {
			return nil, ferry.SkipInDelivery
		}
		allowed = err == nil
	case ferry.ActRestore:
		allowed = s.l.mayRestore(r) == nil
	}
	switch {
	case allowed && row.generation >= 0 && row.generation != r.Generation:
		return nil, ferry.SkipFailedAnew
	case allowed:
		return r, ""
	case r.State == ferry.StateCompleted:
		return nil, ferry.SkipCompleted
	case r.State == ferry.StateDiscarded:
		return nil, ferry.SkipDiscarded
	case r.State == ferry.StateDeadLettered:
		return nil, ferry.SkipDead
	}
	return nil, ferry.SkipPending
}

// act does it, with its entry in the audit log.
func (s *stepper) act(r *record, by handled) (err error) {
	act := ferry.Act{Act: s.op.Act, By: s.op.By, At: time.Now().UTC(), Note: s.op.Note}
	switch s.op.Act {
	case ferry.ActReplay:
		err = s.l.revive(s.tx, r, nil, act, by)
	case ferry.ActDiscard:
		by.Grouped = false
		if err = s.l.discard(s.tx, r, act, by); s.step.Discarded == nil {
			s.step.Discarded = map[string]int{}
		}
		s.step.Discarded[s.l.peek(r.Route).Name]++
	case ferry.ActRestore:
		err = s.l.restore(s.tx, r, act)
	default:
		err = fmt.Errorf("there is no act %q", s.op.Act)
	}
	if err != nil {
		return err
	}
	return s.l.audit(s.ctx, s.tx, ferry.AuditEntry{At: act.At, By: act.By, Act: act.Act, Target: "message " + r.ID.String(), Detail: s.l.actDetail(r, act.Act), Note: act.Note})
}

// skip counts a message that is left alone, and takes it out of the selection.
func (s *stepper) skip(no uint32, g *operationGroup, id ferry.ID, why ferry.SkipReason) {
	op := s.op
	op.Skipped++
	if op.SkippedBy == nil {
		op.SkippedBy = map[ferry.SkipReason]int{}
	}
	op.SkippedBy[why]++
	if len(op.Examples) < maxExamples && !id.IsZero() {
		op.Examples = append(op.Examples, ferry.Skip{ID: id, Why: why})
	}
	s.gone = append(s.gone, no)
	if g != nil {
		g.Skipped++
		op.settleCanary(g)
	}
}

// drop takes out of the selection what had its turn.
func (s *stepper) drop() (err error) {
	b := s.tx.Bucket(bSelected)
	for _, no := range s.gone {
		err = errors.Join(err, b.Delete(rowKey(s.op.ID, no)))
	}
	for no, v := range s.kept {
		err = errors.Join(err, b.Put(rowKey(s.op.ID, no), v))
	}
	return err
}

// reachedEnd ends the operation, or has it wait for a canary, or for a person.
func (s *stepper) reachedEnd() error {
	op := s.op
	switch {
	case op.Left() == 0:
		op.end(ferry.OperationDone)
		op.Swept = op.Act != ferry.ActDiscard
	case !s.rowsLeft(): // they are lost: nobody can say which they were
		left := op.Left()
		op.Skipped += left
		if op.SkippedBy == nil {
			op.SkippedBy = map[ferry.SkipReason]int{}
		}
		op.SkippedBy[ferry.SkipUnreadable] += left
		op.end(ferry.OperationDone)
	case op.Testing > 0:
		op.Idle = true
	case op.Halted > 0 || op.Rest == ferry.GroupStopped:
		op.State = ferry.OperationStopped
		if op.Stopped == "" {
			op.Stopped = "none of the canary came through"
		}
		return s.l.auditStop(s.tx, op)
	default: // all groups go on: what was passed over has its turn
		op.Next = 0
	}
	return nil
}

// rowsLeft says whether any row is left that had no turn.
func (s *stepper) rowsLeft() bool {
	c := s.tx.Bucket(bSelected).Cursor()
	for k, v := c.Seek([]byte(s.op.ID)); bytes.HasPrefix(k, []byte(s.op.ID)); k, v = c.Next() {
		if row, ok := decodeRow(v); ok && !row.done {
			return true
		}
	}
	return false
}

// The rate is paced by ticks of a tenth of a second, each of which may hand back its
// share: any so many ticks in a row no more than the rate. Ticks that were missed, by
// a restart or a stall, are lost: nothing is made up for.

func (op *operationRow) ratePerTick() float64 { return op.Rate.PerSecond() * tick.Seconds() }

// nextTick is the next tick that may do anything.
func (op *operationRow) nextTick() int64 {
	if op.shareSum(op.Tick, op.Tick+1) > 0 {
		return op.Tick + 1
	}
	n := op.Tick + max(1, int64(math.Floor(1/op.ratePerTick()))-1)
	for n > op.Tick+1 && op.shareSum(op.Tick, n-1) > 0 {
		n--
	}
	for op.shareSum(op.Tick, n) == 0 {
		n++
	}
	return n
}

// shareSum is what the ticks behind from and up to to may do.
func (op *operationRow) shareSum(from, to int64) int {
	return int(int64(op.ratePerTick()*float64(to)+1e-9) - int64(op.ratePerTick()*float64(from)+1e-9))
}

// due is how long to wait for the next step; 0: none.
func (op *operationRow) due(now time.Time) time.Duration {
	if op.Rate.IsZero() || op.TickAt.IsZero() || op.TickLeft > 0 {
		return 0
	}
	apart := time.Duration(op.nextTick()-op.Tick) * tick
	// No longer than that, also when the clock was set back.
	return max(0, min(apart, op.TickAt.Add(apart).Sub(now)))
}

// allowed is how many acts this step may do.
func (op *operationRow) allowed() int {
	switch {
	case op.Rate.IsZero():
		return stepActs
	case op.TickLeft > 0:
		return min(op.TickLeft, stepActs)
	}
	return min(max(1, op.shareSum(op.Tick, op.nextTick())), stepActs)
}

// spend notes that a tick had its share, or some of it.
func (op *operationRow) spend(at time.Time, acts int) {
	if op.Rate.IsZero() {
		return
	}
	if op.TickLeft == 0 {
		next := op.nextTick()
		op.TickLeft = max(1, op.shareSum(op.Tick, next))
		op.Tick = next
	}
	op.TickLeft -= acts
	op.TickAt = at.UTC()
}

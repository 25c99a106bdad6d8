package intake

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry"
)

const (
	maxGroup      = 500      // messages of one commit
	maxGroupBytes = 16 << 20 // of bodies, unless one alone has more
	drainTime     = 20 * time.Second
	settleIn      = 5 * time.Second // after which a queue that was away counts as there
)

// stint is one time of taking in, until something stops it: the link is open for
// as long as it lasts.
type stint struct {
	s    *source
	r    Link
	ctx  context.Context // ends with the stint
	stop context.CancelCauseFunc

	inHand int           // how many messages may be
	slots  chan struct{} // one for each

	came    chan *held // received, in their order
	running sync.WaitGroup

	mu   sync.Mutex
	held map[*held]struct{}
}

// held is a message in hand.
type held struct {
	m     *azservicebus.ReceivedMessage
	renew time.Time // when its lock is to be renewed
	busy  bool      // being renewed
}

// takeFrom takes in from a queue until ctx ends or something stops it.
func (s *source) takeFrom(ctx context.Context, r Receiver) error {
	if err := s.check(ctx, r); err != nil {
		return err
	}
	within, stop := context.WithCancel(ctx)
	defer stop()
	defer s.soonRunning(within)()
	return s.take(ctx, r, s.Concurrency)
}

// take takes in from a link until ctx ends or something stops it, and returns when
// nothing is in hand any more. The error is what stopped it.
func (s *source) take(ctx context.Context, r Link, inHand int) error {
	within, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	st := &stint{
		s: s, r: r, ctx: within, stop: stop, inHand: inHand,
		slots: make(chan struct{}, inHand), came: make(chan *held, inHand), held: map[*held]struct{}{},
	}
	for range inHand {
		st.slots <- struct{}{}
	}
	st.running.Go(st.receive)
	renewing, endRenewing := context.WithCancel(context.WithoutCancel(ctx))
	var renewer sync.WaitGroup
	renewer.Go(func() { st.renewLocks(renewing) })
	st.accept()
	st.running.Wait()
	endRenewing()
	renewer.Wait()

	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	if err := r.Close(closing); err != nil {
		s.log.Debug("the link was not closed in time", "queue", s.Queue, "error", err)
	}
	return context.Cause(within)
}

// soonRunning notes that the source takes in: at once, and of a queue that was away
// after a while, as a look at it may be allowed and receiving not. The result takes
// that back.
func (s *source) soonRunning(ctx context.Context) (stop func()) {
	if s.info().State != ferry.IntakeAway {
		s.become(ferry.IntakeRunning, nil)
		return func() {}
	}
	timer := time.AfterFunc(settleIn, func() {
		if ctx.Err() == nil {
			s.become(ferry.IntakeRunning, nil)
		}
	})
	return func() { timer.Stop() }
}

func (st *stint) isRunning() {
	if st.ctx.Err() == nil {
		st.s.become(ferry.IntakeRunning, nil)
	}
}

// check asks the queue for something that costs nothing, so that a queue that is
// missing, or may not be read, is told at once and not with its first message.
func (s *source) check(ctx context.Context, r Receiver) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	_, err := r.Peek(ctx, math.MaxInt64, 1) // where no message can be
	return err
}

// receive receives as many as there are free slots, until the stint ends.
func (st *stint) receive() {
	defer close(st.came)
	few := 1
	for {
		n := st.freeSlots(few)
		if n == 0 {
			return
		}
		msgs, err := st.r.Receive(st.ctx, n)
		if len(msgs) > 0 {
			st.isRunning()
		}
		// Where more waits, many are received at a time, and share a commit. Else the
		// link still asks for the rest, and must not be left alone.
		if few = 1; len(msgs) == n {
			few = (st.inHand + 3) / 4
		}
		for range n - len(msgs) {
			st.slots <- struct{}{}
		}
		for _, m := range msgs {
			st.came <- st.hold(m)
		}
		if err != nil {
			st.stop(err)
			return
		}
	}
}

// freeSlots waits for some slots and takes all that are free; 0 at the end.
func (st *stint) freeSlots(some int) int {
	for range some {
		select {
		case <-st.ctx.Done():
			return 0
		case <-st.slots:
		}
	}
	for n := some; ; n++ {
		select {
		case <-st.slots:
		default:
			return n
		}
	}
}

// accept puts what came on disk, in groups and in order, and settles it. It
// returns when nothing comes any more.
//
// A large body is a group of its own: it may find the disk full when smaller ones
// do not, and nothing that comes behind it must get on disk before it.
func (st *stint) accept() {
	var group []*held
	size := 0
	flush := func() {
		if len(group) > 0 {
			st.acceptGroup(group)
		}
		group, size = nil, 0
	}
	for h := range st.came {
		if len(h.m.Body) > ferry.InlineBody {
			flush()
		}
		group, size = append(group, h), size+len(h.m.Body)
		if size > maxGroupBytes || len(h.m.Body) > ferry.InlineBody || len(group) == maxGroup || len(st.came) == 0 {
			flush()
		}
	}
	flush()
}

func (st *stint) acceptGroup(group []*held) {
	var refused *refusedByLedger
	if errors.As(context.Cause(st.ctx), &refused) {
		st.giveBack(group) // it stopped meanwhile
		return
	}
	now := time.Now()
	good := make([]*held, 0, len(group))
	msgs := make([]ferry.Message, 0, len(group))
	for _, h := range group {
		msg, fault := st.s.convert(h.m, now)
		switch {
		case fault == nil:
			good, msgs = append(good, h), append(msgs, msg)
		case ofMessage(fault):
			st.settle(h, func(ctx context.Context) { st.setAside(ctx, h.m, fault) })
		default:
			st.refuse([]*held{h}, fault, int64(len(h.m.Body)))
		}
	}
	if len(msgs) == 0 {
		return
	}
	// A slow disk is waited for; after a stop what is in hand still gets onto it.
	ctx, cancel := drain(st.ctx)
	defer cancel()
	answers, errs, err := st.s.broker.AcceptBatch(ctx, msgs, true)
	if err != nil {
		st.refuse(good, err, largest(msgs))
		return
	}
	var back []*held
	var why error
	var size int64
	for i, h := range good {
		switch fault := errs[i]; {
		case fault == nil:
			outcome := outcomeAccepted
			if answers[i].Duplicate {
				outcome = outcomeDuplicate
			}
			st.s.count(outcome)
			st.settle(h, func(ctx context.Context) { st.complete(ctx, h.m) })
		case ofMessage(fault):
			st.settle(h, func(ctx context.Context) { st.setAside(ctx, h.m, fault) })
		case ferry.CodeOf(fault) == ferry.CodeLedgerUnreadable:
			// One record that cannot be read must not stop the others. The message stays
			// locked, and comes again.
			st.s.log.Error("a message cannot be taken in: it stays in its queue", "route", st.s.Route, "queue", st.s.Queue, "sequence", number(h.m), "error", fault)
			st.letGo(h)
		default:
			back, why, size = append(back, h), fault, max(size, int64(len(msgs[i].Body)))
		}
	}
	if len(back) > 0 {
		st.refuse(back, why, size)
	}
}

// drain is a context that outlives ctx by drainTime.
func drain(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(drainTime, cancel) })
	return longer, func() { stop(); cancel() }
}

func largest(msgs []ferry.Message) (size int64) {
	for i := range msgs {
		size = max(size, int64(len(msgs[i].Body)))
	}
	return size
}

// refuse ends the stint: the ledger takes nothing. What is in hand goes back.
func (st *stint) refuse(group []*held, why error, size int64) {
	st.stop(&refusedByLedger{cause: why, size: size})
	st.giveBack(group)
}

func (st *stint) giveBack(group []*held) {
	for _, h := range group {
		st.s.count(outcomeReturned)
		st.settle(h, func(ctx context.Context) {
			if err := st.r.Abandon(ctx, h.m); err != nil {
				st.s.log.Debug("a message stays locked for a while", "queue", st.s.Queue, "sequence", number(h.m), "error", err)
			}
		})
	}
}

// settle ends a message in its queue while others go on.
func (st *stint) settle(h *held, do func(ctx context.Context)) {
	st.running.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(st.ctx), drainTime)
		defer cancel()
		do(ctx)
		st.letGo(h)
	})
}

// complete ends a message that is on disk. When that fails, it comes again and is
// known.
func (st *stint) complete(ctx context.Context, m *azservicebus.ReceivedMessage) {
	if err := st.r.Complete(ctx, m); err != nil {
		st.s.log.Debug("a message that was taken in could not be completed: it comes again, as a repeat", "queue", st.s.Queue, "sequence", number(m), "error", err)
	}
}

func (st *stint) setAside(ctx context.Context, m *azservicebus.ReceivedMessage, fault error) {
	reason, description := reasonOf(fault)
	props := map[string]any{propRefusedRoute: st.s.Route}
	if env := st.s.in.opts.Environment; env != "" {
		props[propRefusedBy] = env
	}
	err := st.r.DeadLetter(ctx, m, reason, description, props)
	if err != nil {
		st.s.log.Warn("a message that cannot be taken in could not be dead-lettered: it comes again", "route", st.s.Route, "queue", st.s.Queue, "sequence", number(m), "reason", reason, "error", err)
		return
	}
	st.s.count(outcomeDeadLettered)
	st.s.log.Warn("intake.deadLettered", "route", st.s.Route, "queue", st.s.Queue, "sequence", number(m), "messageId", m.MessageID, "reason", reason, "description", description)
}

package entity

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// What a queue does is written here a second time, slowly and in one place: a list
// of messages, each with its place. Random use of the queue must agree with it.

type place string

const (
	inActive    place = "active"
	inLocked    place = "locked"
	inScheduled place = "scheduled"
	inDeferred  place = "deferred"
	gone        place = "gone" // settled, expired, cancelled
)

type modelled struct {
	id      string
	number  int64
	at      place
	dead    bool
	aside   bool
	count   uint32
	token   Token
	ttl     time.Duration
	when    time.Time // the end of its lock, its due time, or its age, by its place
	turn    int
	expires time.Time
}

type model struct {
	config  Config
	now     time.Time
	all     []*modelled
	numbers [2]int64 // of the queue and its sub-queue
	turn    int
}

func (m *model) number(dead bool) int64 {
	side := 0
	if dead {
		side = 1
	}
	m.numbers[side]++
	return m.numbers[side]
}

func (m *model) put(x *modelled, at place) {
	m.turn++
	x.at, x.turn, x.when = at, m.turn, time.Time{}
	if at == inActive && !x.dead {
		x.when = x.expires
	}
}

func (m *model) bury(x *modelled) {
	x.dead, x.aside = true, false
	x.number = m.number(true)
	m.put(x, inActive)
}

func (m *model) expire(x *modelled) {
	if m.config.DeadLetterOnExpiry {
		m.bury(x)
	} else {
		x.at, x.when = gone, time.Time{}
	}
}

func (m *model) giveBack(x *modelled, counted bool) {
	x.token = Token{}
	if counted && !x.dead {
		x.count++
		if x.count >= uint32(m.config.MaxDelivery) {
			m.bury(x)
			return
		}
	}
	if x.aside {
		m.put(x, inDeferred)
		return
	}
	m.put(x, inActive)
	if !x.dead && !x.expires.IsZero() && !x.expires.After(m.now) {
		m.expire(x)
	}
}

// pass lets everything happen that is due, in the order of its moments.
func (m *model) pass(d time.Duration) {
	m.now = m.now.Add(d)
	for {
		var next *modelled
		for _, x := range m.all {
			if x.when.IsZero() || x.when.After(m.now) {
				continue
			}
			if next == nil || cmp.Or(x.when.Compare(next.when), cmp.Compare(x.turn, next.turn)) < 0 {
				next = x
			}
		}
		if next == nil {
			return
		}
		switch next.at {
		case inScheduled:
			next.number = m.number(false)
			if next.ttl > 0 {
				next.expires = m.now.Add(next.ttl)
			}
			m.put(next, inActive)
		case inActive:
			m.expire(next)
		case inLocked:
			m.giveBack(next, true)
		}
	}
}

// in lists what is in the queue or its sub-queue, by number.
func (m *model) in(dead bool, at ...place) []*modelled {
	var list []*modelled
	for _, x := range m.all {
		if x.dead == dead && x.at != gone && (len(at) == 0 || slices.Contains(at, x.at)) {
			list = append(list, x)
		}
	}
	slices.SortFunc(list, func(a, b *modelled) int { return cmp.Compare(a.number, b.number) })
	return list
}

func TestEveryMessageIsInOnePlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{now: time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC)}
		m.config = Config{
			Name: "q", LockDuration: 30 * time.Second, MaxDelivery: rapid.IntRange(1, 3).Draw(t, "most"),
			DeadLetterOnExpiry: rapid.Bool().Draw(t, "dead on expiry"), DuplicateWindow: time.Minute,
		}.withDefaults()
		n := New(Options{Now: func() time.Time { return m.now }})
		defer n.Close()
		q, err := n.Create(m.config)
		if err != nil {
			t.Fatal(err)
		}
		used := &use{T: t, model: m, queue: q, sent: map[string]time.Time{}}
		t.Repeat(map[string]func(*rapid.T){
			"send":             func(t *rapid.T) { used.T = t; used.send() },
			"receive":          func(t *rapid.T) { used.T = t; used.receive() },
			"receive deferred": func(t *rapid.T) { used.T = t; used.receiveDeferred() },
			"settle":           func(t *rapid.T) { used.T = t; used.settle() },
			"settle again":     func(t *rapid.T) { used.T = t; used.settleLost() },
			"renew":            func(t *rapid.T) { used.T = t; used.renew() },
			"cancel":           func(t *rapid.T) { used.T = t; used.cancel() },
			"pass": func(t *rapid.T) {
				m.pass(time.Duration(rapid.Int64Range(1, 40_000).Draw(t, "ms")) * time.Millisecond)
			},
			"": func(t *rapid.T) { used.T = t; used.compare() },
		})
	})
}

// use is the queue and its model, used alike.
type use struct {
	*rapid.T
	*model
	queue *Queue
	sent  map[string]time.Time // within the duplicate window
	lost  []Token
}

func (u *use) source() (*Source, bool) {
	if rapid.Bool().Draw(u.T, "sub-queue") {
		return u.queue.DeadLetters(), true
	}
	return u.queue.Main(), false
}

func (u *use) send() {
	var batch []Incoming
	var numbers []int64
	for range rapid.IntRange(1, 4).Draw(u.T, "batch") {
		id := fmt.Sprint(rapid.IntRange(1, 500).Draw(u.T, "id"))
		x := &modelled{id: id, ttl: time.Duration(rapid.SampledFrom([]int{0, 0, 10, 50}).Draw(u.T, "ttl")) * time.Second}
		msg := text(id)
		msg.Header = headerOf(x.ttl)
		due := time.Duration(rapid.SampledFrom([]int{0, 0, 0, -5, 20}).Draw(u.T, "due")) * time.Second
		if due != 0 {
			msg.Annotations = map[any]any{"x-opt-scheduled-enqueue-time": u.now.Add(due)}
		}
		batch = append(batch, in(msg))
		if until, ok := u.sent[id]; ok && u.now.Before(until) {
			continue
		}
		u.sent[id] = u.now.Add(u.config.DuplicateWindow)
		u.all = append(u.all, x)
		x.number = u.number(false)
		numbers = append(numbers, x.number)
		if x.ttl > 0 {
			x.expires = u.now.Add(x.ttl)
		}
		if due > 0 {
			u.put(x, inScheduled)
			x.when = u.now.Add(due)
		} else {
			u.put(x, inActive)
		}
	}
	got, err := u.queue.Schedule(batch...)
	if err != nil {
		u.Fatal(err)
	}
	if !slices.Equal(got, numbers) {
		u.Fatalf("numbers %v, want %v", got, numbers)
	}
}

func (u *use) took(x *modelled, d Delivery, deleted bool) {
	if d.Message.Properties.MessageID != x.id || d.Sequence != x.number || d.Message.Header.DeliveryCount != x.count {
		u.Fatalf("got %v, number %d, count %d; want %+v", d.Message.Properties.MessageID, d.Sequence, d.Message.Header.DeliveryCount, x)
	}
	if deleted {
		x.at, x.when = gone, time.Time{}
		return
	}
	u.put(x, inLocked)
	x.token, x.when = d.Token, u.now.Add(u.config.LockDuration)
}

func (u *use) receive() {
	s, dead := u.source()
	deleted := rapid.IntRange(0, 3).Draw(u.T, "delete") == 0
	l := &link{}
	r, err := s.Attach(l.options(ReceiverOptions{Delete: deleted}))
	if err != nil {
		u.Fatal(err)
	}
	most := rapid.IntRange(1, 5).Draw(u.T, "credit")
	r.Flow(0, uint32(most))
	r.Close()
	want := u.in(dead, inActive)
	want = want[:min(most, len(want))]
	got := l.take()
	if len(got) != len(want) {
		u.Fatalf("got %d, want %d", len(got), len(want))
	}
	for i, x := range want {
		u.took(x, got[i], deleted)
	}
}

func (u *use) receiveDeferred() {
	s, dead := u.source()
	list := u.in(dead, inDeferred)
	if len(list) == 0 {
		u.Skip("nothing is deferred")
	}
	x := rapid.SampledFrom(list).Draw(u.T, "which")
	deleted := rapid.IntRange(0, 3).Draw(u.T, "delete") == 0
	got, err := s.ReceiveDeferred([]int64{x.number}, deleted)
	if err != nil {
		u.Fatal(err)
	}
	u.took(x, got[0], deleted)
}

func (u *use) locked() (*Source, *modelled) {
	s, dead := u.source()
	list := u.in(dead, inLocked)
	if len(list) == 0 {
		u.Skip("nothing is locked")
	}
	return s, rapid.SampledFrom(list).Draw(u.T, "which")
}

func (u *use) settle() {
	s, x := u.locked()
	token := x.token
	u.lost = append(u.lost, token)
	var err error
	switch rapid.SampledFrom([]string{"complete", "abandon", "release", "defer", "dead-letter"}).Draw(u.T, "outcome") {
	case "complete":
		err = s.Complete(token)
		x.at, x.when = gone, time.Time{}
	case "abandon":
		err = s.Abandon(token, nil)
		u.giveBack(x, true)
	case "release":
		err = s.Release(token)
		u.giveBack(x, false)
	case "defer":
		err = s.Defer(token, nil)
		x.aside = true
		u.giveBack(x, false)
	case "dead-letter":
		err = s.DeadLetter(token, "why", "", nil)
		if x.dead {
			if !errors.Is(err, ErrNotAllowed) {
				u.Fatalf("got %v", err)
			}
			u.lost = u.lost[:len(u.lost)-1]
			return
		}
		u.bury(x)
	}
	if err != nil {
		u.Fatal(err)
	}
}

func (u *use) settleLost() {
	if len(u.lost) == 0 {
		u.Skip("no lock was settled")
	}
	s, _ := u.source()
	if err := s.Complete(rapid.SampledFrom(u.lost).Draw(u.T, "token")); !errors.Is(err, ErrLockLost) {
		u.Fatalf("got %v", err)
	}
}

func (u *use) renew() {
	s, x := u.locked()
	until, err := s.Renew(x.token)
	if want := u.now.Add(u.config.LockDuration); err != nil || !until.Equal(want) {
		u.Fatalf("%s, %v, want %s", until, err, want)
	}
	u.turn++
	x.when, x.turn = until, u.turn
}

func (u *use) cancel() {
	list := u.in(false, inScheduled)
	if len(list) == 0 {
		u.Skip("nothing is scheduled")
	}
	x := rapid.SampledFrom(list).Draw(u.T, "which")
	if err := u.queue.CancelScheduled([]int64{x.number}); err != nil {
		u.Fatal(err)
	}
	x.at, x.when = gone, time.Time{}
}

func (u *use) compare() {
	want := Counts{}
	for _, dead := range []bool{false, true} {
		s := u.queue.Main()
		if dead {
			s = u.queue.DeadLetters()
		}
		list := u.in(dead)
		got := s.Messages()
		if len(got) != len(list) {
			u.Fatalf("%s holds %d messages, want %d", s.Address(), len(got), len(list))
		}
		for i, x := range list {
			h := got[i]
			want.Bytes += h.Bytes
			if h.MessageID != x.id || h.Sequence != x.number || string(h.State) != string(x.at) || h.DeliveryCount != x.count {
				u.Fatalf("%s holds %+v, want %+v", s.Address(), h, x)
			}
			if x.at == inLocked && !h.LockedUntil.Equal(x.when) {
				u.Fatalf("locked until %s, want %s", h.LockedUntil, x.when)
			}
		}
		if dead {
			want.Dead = int64(len(list))
		}
	}
	want.Active, want.Locked = int64(len(u.in(false, inActive))), int64(len(u.in(false, inLocked)))
	want.Scheduled, want.Deferred = int64(len(u.in(false, inScheduled))), int64(len(u.in(false, inDeferred)))
	if diff := gocmp.Diff(want, u.queue.Counts()); diff != "" {
		u.Fatal(diff)
	}
}

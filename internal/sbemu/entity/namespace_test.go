package entity

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
	"github.com/google/go-cmp/cmp"
)

func TestNamespace(t *testing.T) {
	now := time.Date(2026, 11, 3, 8, 0, 0, 0, time.UTC)
	n := New(Options{Now: func() time.Time { return now }})
	q, err := n.Create(Config{Name: "Ferry.Messages.orders"})
	must(t, err)
	_, err = n.Create(Config{Name: "ferry.messages.ORDERS"})
	fails(t, err, ErrExists)
	_, err = n.Create(Config{Name: "a/b"})
	must(t, err)
	want := Config{
		Name: "Ferry.Messages.orders", LockDuration: time.Minute, MaxDelivery: 10,
		MaxMessageBytes: 256 << 10, MaxBatchBytes: 256 << 10, MaxSizeBytes: 1 << 30, Status: Active,
	}
	if diff := cmp.Diff(want, q.Config()); diff != "" {
		t.Fatal(diff)
	}
	if same, err := n.Queue("FERRY.messages.orders"); err != nil || same != q {
		t.Fatalf("%v, %v", same, err)
	}
	for address, want := range map[string]*Source{
		"ferry.messages.orders":                               q.Main(),
		"/Ferry.Messages.orders":                              q.Main(),
		"ferry.messages.orders/$deadletterqueue":              q.DeadLetters(),
		"FERRY.messages.orders/$DeadLetterQueue":              q.DeadLetters(),
		"ferry.messages.orders/$Transfer/$DeadLetterQueue":    q.TransferDeadLetters(),
		"/ferry.messages.orders/$transfer/$deadletterqueue":   q.TransferDeadLetters(),
		"ferry.messages.orders/$management":                   nil,
		"orders":                                              nil,
		"":                                                    nil,
		"ferry.messages.orders/$deadletterqueue/$management/": nil,
	} {
		s, err := n.Source(address)
		if want == nil {
			fails(t, err, ErrNotFound)
		} else if err != nil || s != want {
			t.Errorf("%s: %v, %v", address, s, err)
		}
	}
	if got := q.DeadLetters().Address(); got != "Ferry.Messages.orders/$DeadLetterQueue" {
		t.Errorf("address %s", got)
	}
	if list := n.Queues(); len(list) != 2 || list[0].Config().Name != "a/b" || list[1] != q {
		t.Errorf("queues %v", list)
	}

	now = now.Add(time.Minute)
	must(t, q.Update(Config{Name: "other", LockDuration: time.Second, MaxDelivery: 3}))
	if c := q.Config(); c.Name != "Ferry.Messages.orders" || c.LockDuration != time.Second || c.MaxDelivery != 3 {
		t.Errorf("config %+v", c)
	}
	fails(t, q.Update(Config{RequiresSession: true}), ErrNotAllowed)
	fails(t, q.Update(Config{DuplicateWindow: time.Minute}), ErrNotAllowed)
	fails(t, q.Update(Config{LockDuration: MaxLock + 1}), ErrInvalid)
	now = now.Add(time.Minute)
	send(t, q, "a")
	if q.CreatedAt().Add(time.Minute) != q.UpdatedAt() || q.UpdatedAt().Add(time.Minute) != q.AccessedAt() || n.CreatedAt() != q.CreatedAt() {
		t.Errorf("created %s, updated %s, accessed %s", q.CreatedAt(), q.UpdatedAt(), q.AccessedAt())
	}

	must(t, n.Delete("ferry.messages.ORDERS"))
	fails(t, n.Delete("ferry.messages.orders"), ErrNotFound)
	again, err := n.Create(Config{Name: "ferry.messages.orders"})
	must(t, err)
	wantHeld(t, again.Main(), "") // a new one
	n.Close()
	n.Close()
	_, err = n.Create(Config{Name: "x"})
	fails(t, err, ErrClosed)
}

func TestConfigIsChecked(t *testing.T) {
	n := New(Options{})
	defer n.Close()
	for _, c := range []Config{
		{},
		{Name: "a b"},
		{Name: "$x"},
		{Name: "q/$DeadLetterQueue"},
		{Name: "q", LockDuration: -1},
		{Name: "q", LockDuration: MaxLock + 1},
		{Name: "q", MaxDelivery: -1},
		{Name: "q", DefaultTTL: -1},
		{Name: "q", Status: "Sleeping"},
		{Name: "q", MaxSizeBytes: -1},
	} {
		_, err := n.Create(c)
		fails(t, err, ErrInvalid)
	}
}

// With a clock that is set by hand, what is due happens at the next call.
func TestAClockOfItsOwn(t *testing.T) {
	now := time.Now()
	n := New(Options{Now: func() time.Time { return now }})
	defer n.Close()
	q, err := n.Create(Config{Name: "q", LockDuration: time.Minute})
	must(t, err)
	send(t, q, "a")
	token := one(t, q.Main()).Token
	now = now.Add(time.Minute)
	wantHeld(t, q.Main(), "a:active")
	fails(t, q.Main().Complete(token), ErrLockLost)
}

func TestErrorsOnTheWire(t *testing.T) {
	for _, c := range []struct {
		err       error
		condition amqp.ErrCond
		status    int
	}{
		{fmt.Errorf("%w: a", ErrNotFound), amqp.ErrCondNotFound, http.StatusNotFound},
		{ErrLockLost, "com.microsoft:message-lock-lost", http.StatusGone},
		{fmt.Errorf("x: %w", ErrSessionHeld), "com.microsoft:session-cannot-be-locked", http.StatusGone},
		{fmt.Errorf("something else"), amqp.ErrCondInternalError, http.StatusInternalServerError},
	} {
		if Condition(c.err) != c.condition || StatusCode(c.err) != c.status {
			t.Errorf("%v: %s, %d", c.err, Condition(c.err), StatusCode(c.err))
		}
	}
	if StatusCode(nil) != http.StatusOK {
		t.Error("no error has a status of one")
	}
}

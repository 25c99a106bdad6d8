package entity

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
	"github.com/google/go-cmp/cmp"
)

func TestWhatADeliveryShows(t *testing.T) {
	bubble(t, Config{LockDuration: 30 * time.Second}, func(t *testing.T, q *Queue) {
		m := text("a")
		m.Header = &amqp.MessageHeader{Durable: true, Priority: 7, DeliveryCount: 99, TTL: time.Hour}
		m.DeliveryAnnotations = amqp.Annotations{"x-opt-lock-token": "forged"}
		m.Annotations = amqp.Annotations{
			"x-opt-sequence-number": int64(77), "x-opt-locked-until": time.Now(), "x-opt-deadletter-source": "forged",
			"x-opt-partition-key": "k", "mine": "kept",
		}
		m.ApplicationProperties = map[string]any{"n": int64(1)}
		must(t, q.Send(in(m)))
		now := time.Now()
		pass(time.Second)
		d := one(t, q.Main())
		want := &amqp.Message{
			DeliveryTag: d.Token.Tag(),
			Header:      &amqp.MessageHeader{Durable: true, Priority: 7, TTL: time.Hour},
			Annotations: amqp.Annotations{
				"x-opt-sequence-number": int64(1), "x-opt-enqueue-sequence-number": int64(0), "x-opt-enqueued-time": now,
				"x-opt-locked-until": now.Add(31 * time.Second), "x-opt-message-state": int32(0),
				"x-opt-partition-key": "k", "mine": "kept",
			},
			Properties:            &amqp.MessageProperties{MessageID: "a"},
			ApplicationProperties: map[string]any{"n": int64(1)},
			Data:                  [][]byte{[]byte("body of a")},
		}
		if diff := cmp.Diff(want, d.Message, cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }), cmp.FilterPath(func(p cmp.Path) bool {
			f, ok := p.Last().(cmp.StructField)
			return ok && f.Name() >= "a"
		}, cmp.Ignore())); diff != "" {
			t.Fatal(diff)
		}
		if d.Sequence != 1 || !d.LockedUntil.Equal(now.Add(31*time.Second)) {
			t.Fatalf("sequence %d, locked until %s", d.Sequence, d.LockedUntil)
		}
		// What comes over the wire and back is the same.
		data, err := d.Message.MarshalBinary()
		must(t, err)
		var back amqp.Message
		must(t, back.UnmarshalBinary(data))
		if back.Annotations["x-opt-sequence-number"] != int64(1) || back.Annotations["x-opt-message-state"] != int32(0) {
			t.Fatalf("annotations %v", back.Annotations)
		}
		if token, ok := TokenOfTag(d.Message.DeliveryTag); !ok || token != d.Token {
			t.Fatalf("token %x of tag %x, want %x", token, d.Message.DeliveryTag, d.Token)
		}
	})
}

func TestTokensHaveTheOrderOfDotNet(t *testing.T) {
	token := Token{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	want := []byte{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15}
	if diff := cmp.Diff(want, token.Tag()); diff != "" {
		t.Fatal(diff)
	}
	if back, ok := TokenOfTag(want); !ok || back != token {
		t.Fatalf("got %x", back)
	}
	for _, tag := range [][]byte{nil, {1}, make([]byte, 17)} {
		if _, ok := TokenOfTag(tag); ok {
			t.Errorf("%x was taken for a token", tag)
		}
	}
}

func TestAMessageWithoutAnIDGetsOne(t *testing.T) {
	bubble(t, Config{DuplicateWindow: time.Minute}, func(t *testing.T, q *Queue) {
		must(t, q.Send(in(amqp.NewMessage(nil)), in(&amqp.Message{Value: "x", Properties: &amqp.MessageProperties{MessageID: ""}})))
		got := receive(t, q.Main(), 5)
		if len(got) != 2 {
			t.Fatalf("got %d", len(got))
		}
		a, b := got[0].Message.Properties.MessageID.(string), got[1].Message.Properties.MessageID.(string)
		if a == "" || a == b {
			t.Fatalf("ids %q and %q", a, b)
		}
	})
}

func TestASendIsTakenWholeOrNotAtAll(t *testing.T) {
	session := "s"
	long := strings.Repeat("x", MaxIDChars+1)
	withSession := func(id string, s *string, key any) *amqp.Message {
		m := text(id)
		m.Properties.GroupID = s
		if key != nil {
			m.Annotations = amqp.Annotations{"x-opt-partition-key": key}
		}
		return m
	}
	for _, c := range []struct {
		name   string
		config Config
		bad    Incoming
		want   error
	}{
		{"a message too large", Config{MaxMessageBytes: 1000}, Incoming{text("b"), 1001}, ErrTooLarge},
		{"a batch too large", Config{MaxMessageBytes: 1000, MaxBatchBytes: 1000}, Incoming{text("b"), 999}, ErrTooLarge},
		{"measured by itself", Config{MaxMessageBytes: 1000}, in(amqp.NewMessage(make([]byte, 1000))), ErrTooLarge},
		{"more than the queue holds", Config{MaxSizeBytes: 2000}, Incoming{text("b"), 1990}, ErrFull},
		{"no session", Config{RequiresSession: true}, in(text("b")), ErrNotAllowed},
		{"a message id too long", Config{}, in(text(long)), ErrInvalid},
		{"a session id too long", Config{}, in(withSession("b", &long, nil)), ErrInvalid},
		{"partition key and session differ", Config{}, in(withSession("b", &session, "t")), ErrInvalid},
		{"nothing", Config{}, Incoming{}, ErrInvalid},
		{"sending is off", Config{Status: SendDisabled}, in(text("b")), ErrDisabled},
		{"all is off", Config{Status: Disabled}, in(text("b")), ErrDisabled},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, c.config, func(t *testing.T, q *Queue) {
				fails(t, q.Send(in(withSession("a", &session, nil)), c.bad), c.want)
				wantHeld(t, q.Main(), "")
				if b := q.Counts().Bytes; b != 0 {
					t.Fatalf("%d bytes are counted", b)
				}
			})
		})
	}
}

func TestAFullQueueTakesAgainWhenSomethingLeft(t *testing.T) {
	bubble(t, Config{MaxSizeBytes: 100}, func(t *testing.T, q *Queue) {
		must(t, q.Send(Incoming{text("a"), 60}))
		fails(t, q.Send(Incoming{text("b"), 60}), ErrFull)
		must(t, q.Main().DeadLetter(one(t, q.Main()).Token, "r", "", nil))
		fails(t, q.Send(Incoming{text("b"), 60}), ErrFull) // the sub-queue counts
		must(t, q.DeadLetters().Complete(one(t, q.DeadLetters()).Token))
		must(t, q.Send(Incoming{text("b"), 60}))
	})
}

func TestRepeatedIDsAreLeftOut(t *testing.T) {
	bubble(t, Config{DuplicateWindow: 10 * time.Minute}, func(t *testing.T, q *Queue) {
		send(t, q, "a", "b", "a") // within a batch
		send(t, q, "b")
		for _, d := range receive(t, q.Main(), 9) { // also when it was received and is gone
			must(t, q.Main().Complete(d.Token))
		}
		pass(10*time.Minute - time.Second)
		send(t, q, "a", "c")
		wantHeld(t, q.Main(), "c:active")
		pass(time.Second) // what was left out did not make the window longer
		send(t, q, "a")
		wantHeld(t, q.Main(), "c:active a:active")
		if n := q.Main().Totals().Duplicates; n != 3 {
			t.Fatalf("%d were left out, want 3", n)
		}
	})
	bubble(t, Config{}, func(t *testing.T, q *Queue) {
		send(t, q, "a", "a")
		wantHeld(t, q.Main(), "a:active a:active")
	})
}

func TestAFailedSendIsNotRemembered(t *testing.T) {
	bubble(t, Config{DuplicateWindow: time.Minute, MaxMessageBytes: 100}, func(t *testing.T, q *Queue) {
		fails(t, q.Send(in(text("a")), Incoming{text("b"), 101}), ErrTooLarge)
		send(t, q, "a")
		wantHeld(t, q.Main(), "a:active")
	})
}

func TestTheWindowForgetsTheOldestBeyondItsLimit(t *testing.T) {
	var w window
	now := time.Now()
	for i := range MaxRemembered + 3 {
		w.remember(fmt.Sprint(i), now, time.Hour)
	}
	if len(w.until) != MaxRemembered || len(w.queue) != MaxRemembered {
		t.Fatalf("%d ids, %d in order", len(w.until), len(w.queue))
	}
	if w.seen("2", now) || !w.seen("3", now) {
		t.Fatal("not the oldest were forgotten")
	}
}

func TestScheduledMessages(t *testing.T) {
	bubble(t, Config{DuplicateWindow: time.Hour, LockDuration: 5 * time.Minute}, func(t *testing.T, q *Queue) {
		at := func(id string, d time.Duration) *amqp.Message {
			m := text(id)
			m.Annotations = amqp.Annotations{"x-opt-scheduled-enqueue-time": time.Now().Add(d)}
			return m
		}
		must(t, q.Send(in(at("later", time.Minute)))) // by the annotation alone
		numbers, err := q.Schedule(in(at("x", time.Minute)), in(at("y", 30*time.Second)), in(at("x", time.Second)), in(at("z", time.Minute)))
		must(t, err)
		if diff := cmp.Diff([]int64{2, 3, 4}, numbers); diff != "" {
			t.Fatal(diff) // none for the repeated one
		}
		send(t, q, "now")
		l := attach(t, q.Main(), ReceiverOptions{}).grant(10)
		wantIDs(t, l.take(), "now")
		fails(t, q.CancelScheduled([]int64{4, 5}), ErrNotFound) // 5 is not scheduled: neither is cancelled
		must(t, q.CancelScheduled([]int64{4, 4}))
		fails(t, q.CancelScheduled([]int64{4}), ErrNotFound)
		wantCounts(t, q, Counts{Locked: 1, Scheduled: 3})

		peeked, err := q.Main().Peek(0, 1, nil)
		must(t, err)
		if peeked[0].Annotations["x-opt-message-state"] != int32(2) {
			t.Fatalf("annotations %v", peeked[0].Annotations)
		}
		pass(30*time.Second - 1)
		wantIDs(t, l.take(), "")
		pass(1)
		wantIDs(t, l.take(), "y")
		pass(30 * time.Second)
		got := l.take()
		wantIDs(t, got, "later x") // one moment: in the order in which they were sent
		notes := got[0].Message.Annotations
		if notes["x-opt-sequence-number"] != int64(7) || notes["x-opt-enqueue-sequence-number"] != int64(1) || !notes["x-opt-enqueued-time"].(time.Time).Equal(time.Now()) {
			t.Fatalf("annotations %v", notes)
		}
		past, err := q.Schedule(in(at("past", -time.Second)))
		must(t, err)
		if len(past) != 1 {
			t.Fatalf("numbers %v", past)
		}
		wantIDs(t, l.take(), "past")
	})
}

func TestTimeToLive(t *testing.T) {
	live := func(id string, d time.Duration) *amqp.Message {
		m := text(id)
		m.Header = &amqp.MessageHeader{TTL: d}
		return m
	}
	bubble(t, Config{DefaultTTL: time.Minute, DeadLetterOnExpiry: true}, func(t *testing.T, q *Queue) {
		scheduledOne := live("s", time.Second)
		scheduledOne.Annotations = amqp.Annotations{"x-opt-scheduled-enqueue-time": time.Now().Add(90 * time.Second)}
		must(t, q.Send(in(live("locked", time.Second)), in(live("deferred", time.Second)), in(live("short", time.Second)), in(live("long", time.Hour)), in(text("default")), in(scheduledOne)))
		got := receive(t, q.Main(), 2)
		must(t, q.Main().Defer(got[1].Token, nil))
		if ttl := got[0].Message.Header.TTL; ttl != time.Second {
			t.Fatalf("ttl %s", ttl)
		}
		pass(2 * time.Second) // the locked one lives on in its receiver's hands, the deferred one does not age
		wantHeld(t, q.Main(), "locked:locked deferred:deferred long:active default:active s:scheduled")
		wantHeld(t, q.DeadLetters(), "short:active")
		must(t, q.Main().Abandon(got[0].Token, nil)) // too old to be given to anybody
		wantHeld(t, q.DeadLetters(), "short:active locked:active")
		pass(time.Minute)
		wantHeld(t, q.Main(), "deferred:deferred s:scheduled")
		wantHeld(t, q.DeadLetters(), "short:active locked:active long:active default:active")
		pass(28 * time.Second) // its life begins when it is due
		wantHeld(t, q.Main(), "deferred:deferred s:active")
		pass(time.Second)
		wantHeld(t, q.Main(), "deferred:deferred")
		pass(24 * time.Hour) // nothing ages in the sub-queue
		dead := receive(t, q.DeadLetters(), 9)
		wantIDs(t, dead, "short locked long default s")
		props := dead[0].Message.ApplicationProperties
		if props["DeadLetterReason"] != "TTLExpiredException" || props["DeadLetterErrorDescription"] == "" {
			t.Fatalf("properties %v", props)
		}
		if n := q.Main().Totals().Expired; n != 5 {
			t.Fatalf("%d expired, want 5", n)
		}
	})
	bubble(t, Config{}, func(t *testing.T, q *Queue) {
		must(t, q.Send(in(live("a", time.Second)), in(text("b"))))
		pass(time.Second)
		wantHeld(t, q.Main(), "b:active")
		wantHeld(t, q.DeadLetters(), "")
		if b := q.Counts().Bytes; b != q.Main().Messages()[0].Bytes {
			t.Fatalf("%d bytes are counted", b)
		}
	})
	// Longer than a header can say: the two times tell.
	bubble(t, Config{}, func(t *testing.T, q *Queue) {
		m := live("a", 4294967295*time.Millisecond)
		now, then := time.Now(), time.Now().Add(100*24*time.Hour)
		m.Properties.CreationTime, m.Properties.AbsoluteExpiryTime = &now, &then
		must(t, q.Send(in(m)))
		pass(99 * 24 * time.Hour)
		wantHeld(t, q.Main(), "a:active")
		pass(24 * time.Hour)
		wantHeld(t, q.Main(), "")
	})
}

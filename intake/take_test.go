package intake

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry"
	"ferry/internal/servicebus"
)

// inBubble runs a test on an intake that runs, in a bubble of its own time.
func inBubble(t *testing.T, test func(t *testing.T, f *fakeIntake), change ...func(*Source)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(change...)
		f.run(t)
		defer f.stop()
		synctest.Wait()
		test(t, f)
	})
}

func (f *fakeIntake) state(t *testing.T, want ferry.IntakeState) ferry.IntakeInfo {
	t.Helper()
	synctest.Wait()
	info := f.in.Info("invoices")
	if info.State != want {
		t.Fatalf("the intake is %s, want %s: %+v", info.State, want, info)
	}
	return *info
}

func noSpace() error {
	return ferry.Errorf(ferry.CodeNoSpace, "the disk is full").WithHint("make room")
}

func TestTakenInInOrderAndCompleted(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeIntake) {
		f.state(t, ferry.IntakeRunning)
		for i := range 100 {
			f.q.put(fmt.Sprintf("m-%d", i), fmt.Sprintf(`{"n":%d}`, i))
		}
		f.q.put("m-7", `{"n":7}`) // a repeat
		synctest.Wait()
		got := f.b.all()
		for i, m := range got {
			if m.IdempotencyKey != fmt.Sprintf("m-%d", i) {
				t.Fatalf("the message %d is %s", i, m.IdempotencyKey)
			}
		}
		outcomes := f.q.all()
		if len(got) != 100 || len(outcomes) != 101 || slices.ContainsFunc(outcomes, func(o string) bool { return !strings.HasPrefix(o, "complete") }) {
			t.Fatalf("%d accepted, outcomes %q", len(got), outcomes)
		}
		if info := f.in.Info("invoices"); info.Taken != 100 || info.Duplicates != 1 || info.InHand != 0 || f.b.count("accepted") != 100 || f.b.count("duplicate") != 1 {
			t.Errorf("%+v, %v", info, f.b.counts)
		}
		if f.q.most > 32 {
			t.Errorf("%d in hand at a time", f.q.most)
		}
		if len(f.b.groups) > 20 {
			t.Errorf("%d commits for 101 messages: %v", len(f.b.groups), f.b.groups)
		}
	})
}

// While the ledger takes nothing, nothing is dead-lettered and nothing received:
// what was in hand is given back once, however long it lasts.
func TestALedgerThatRefusesPausesIntake(t *testing.T) {
	for _, refusal := range []struct {
		name string
		set  func(b *fakeBroker, err error)
	}{
		{"the whole commit", func(b *fakeBroker, err error) { b.down = func() error { return err } }},
		{"one message", func(b *fakeBroker, err error) { b.fault = func(*ferry.Message) error { return err } }},
	} {
		t.Run(refusal.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fakeIntake) {
				f.b.set(func() {
					refusal.set(f.b, noSpace())
					f.b.room = func(int64) error { return noSpace() }
				})
				for i := range 50 {
					f.q.put(fmt.Sprint("m-", i), "x")
				}
				info := f.state(t, ferry.IntakePaused)
				if info.Reason != "the disk is full" || info.Hint != "make room" || info.InHand != 0 {
					t.Errorf("%+v", info)
				}
				time.Sleep(6 * time.Hour)
				f.state(t, ferry.IntakePaused)
				if f.q.open {
					t.Error("the link is open")
				}
				f.b.set(func() { f.b.down, f.b.fault, f.b.room = nil, nil, nil })
				time.Sleep(fullPause + time.Second)
				f.state(t, ferry.IntakeRunning)
				for _, o := range f.q.all() {
					if strings.HasPrefix(o, "deadLetter") {
						t.Errorf("dead-lettered: %s", o)
					}
				}
				if got := f.b.all(); len(got) != 50 || got[0].IdempotencyKey != "m-0" || got[49].IdempotencyKey != "m-49" {
					t.Errorf("%d accepted", len(got))
				}
				if n := f.b.count("returned"); n > 32 {
					t.Errorf("%d given back", n)
				}
			})
		})
	}
}

// A disk that has room for little, and none for a large body, does not use up the
// deliveries of the large one.
func TestABodyThatFindsNoRoomIsNotTriedAgainAndAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeIntake) {
		large := strings.Repeat("x", 300<<10)
		free := int64(1000)
		f.b.set(func() {
			f.b.fault = func(m *ferry.Message) error {
				if int64(len(m.Body)) > free {
					return noSpace()
				}
				return nil
			}
			f.b.room = func(size int64) error {
				if size > free {
					return noSpace()
				}
				return nil
			}
		})
		f.q.put("large", large)
		f.q.put("small", "x")
		time.Sleep(time.Hour)
		f.state(t, ferry.IntakePaused)
		if got := f.q.all(); !slices.Contains(got, "abandon 1") || len(got) > 2 {
			t.Fatalf("outcomes %q", got)
		}
		f.b.set(func() { free = 1 << 20 })
		time.Sleep(time.Minute)
		if got := f.b.all(); len(got) != 2 || got[0].IdempotencyKey != "large" {
			t.Fatalf("%d accepted", len(got))
		}
	})
}

// A ledger that fails now and then without being full costs a message a delivery
// each time: the pauses grow.
func TestPausesGrow(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeIntake) {
		f.b.set(func() { f.b.down = func() error { return ferry.Errorf(ferry.CodeLedgerUnavailable, "not now") } })
		f.q.put("m", "x")
		time.Sleep(10 * time.Minute)
		if n := len(f.q.all()); n < 3 || n > 10 {
			t.Errorf("tried %d times in ten minutes", n)
		}
		f.b.set(func() { f.b.down = nil })
		time.Sleep(longestStop + time.Minute)
		if len(f.b.all()) != 1 {
			t.Error("not accepted after the ledger is well again")
		}
	})
}

func TestARouteThatIsGonePausesIntake(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeIntake) {
		f.b.set(func() { f.b.gone = true })
		f.q.put("m", "x")
		if info := f.state(t, ferry.IntakePaused); !strings.Contains(info.Reason, "there is no route") {
			t.Errorf("%+v", info)
		}
		time.Sleep(time.Hour)
		f.b.set(func() { f.b.gone = false })
		time.Sleep(time.Minute)
		f.state(t, ferry.IntakeRunning)
		if len(f.b.all()) != 1 {
			t.Error("not accepted")
		}
	})
}

// What can never be taken in is set aside where it lies, one by one, and the
// others go on.
func TestWhatCannotBeTakenInIsDeadLettered(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeIntake) {
		f.b.set(func() {
			f.b.fault = func(m *ferry.Message) error {
				if string(m.Body) == "unordered" {
					return ferry.Errorf(ferry.CodeBadOrderingKey, "the route's orderBy finds no ordering key").WithHint("orderBy: .n")
				}
				return nil
			}
		})
		f.q.put("m-1", "fine")
		f.q.put("m-2", "")
		f.q.put("m-3", strings.Repeat("x", 1<<20+1))
		f.q.put("m-1", "another body")
		f.q.put("m-4", "unordered")
		f.q.put("m-5", "x", func(m *azservicebus.ReceivedMessage) {
			m.ApplicationProperties = map[string]any{}
			for i := range 65 {
				m.ApplicationProperties[fmt.Sprint(i)] = "x"
			}
		})
		f.q.put("m-6", "x", func(m *azservicebus.ReceivedMessage) {
			m.ApplicationProperties = map[string]any{"long": strings.Repeat("x", 33<<10)}
		})
		f.q.put("m-7", "fine, too")
		synctest.Wait()
		first := f.b.all()[0].ID.String()
		const props = " map[FerryEnvironment:test FerryRoute:invoices] "
		want := []string{
			"complete 1", "complete 8",
			"deadLetter badOrderingKey the route's orderBy finds no ordering key; orderBy: .n" + props + "5",
			"deadLetter emptyBody the body is empty; route invoices does not take empty bodies: allowEmpty in the broker's configuration" + props + "2",
			"deadLetter keyReused this MessageId was used before with another body, by message " + first + " (accepted); send a corrected message with another MessageId, or edit the first one: broker dlq edit" + props + "4",
			"deadLetter tooLarge the body has 1048577 bytes; route invoices takes up to 1048576: maxBytes in the broker's configuration" + props + "3",
			"deadLetter tooManyProperties 1 custom properties of 33796 bytes; at most 64, together 32768 bytes" + props + "7",
			"deadLetter tooManyProperties 65 custom properties of 185 bytes; at most 64, together 32768 bytes" + props + "6",
		}
		got := f.q.all()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("outcomes:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if info := f.state(t, ferry.IntakeRunning); info.DeadLettered != 6 || info.Taken != 2 || f.b.count("deadLettered") != 6 {
			t.Errorf("%+v", info)
		}
	})
}

// A crash between accept and complete: the message comes again, is a repeat, and
// is completed.
func TestWhatWasNotCompletedComesAgainAsARepeat(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeIntake) {
		f.q.setFault(func(what string, _ int64) error {
			if what == "complete" {
				return fmt.Errorf("complete: %w", servicebus.ErrUnavailable)
			}
			return nil
		})
		f.q.put("", "x") // no MessageId: its number names it
		synctest.Wait()
		if len(f.b.all()) != 1 || len(f.q.all()) != 0 {
			t.Fatal("not as it was to be: on disk, and not completed")
		}
		f.q.setFault(nil)
		time.Sleep(2 * f.q.lock)
		synctest.Wait()
		if got := f.q.all(); len(f.b.all()) != 1 || f.b.count("duplicate") != 1 || !slices.Equal(got, []string{"complete 1"}) {
			t.Fatalf("%d accepted, %d repeats, outcomes %q", len(f.b.all()), f.b.count("duplicate"), got)
		}
	})
}

// A slow disk: the locks are renewed for as long as it takes, and nothing comes a
// second time.
func TestLocksAreRenewedWhileTheLedgerIsSlow(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeIntake) {
		go1 := make(chan struct{})
		f.b.set(func() { f.b.down = func() error { <-go1; return nil } })
		for i := range 10 {
			f.q.put(fmt.Sprint("m-", i), "x")
		}
		time.Sleep(10 * f.q.lock)
		if info := f.in.Info("invoices"); info.InHand != 10 || info.State != ferry.IntakeRunning {
			t.Errorf("%+v", info)
		}
		close(go1)
		synctest.Wait()
		if got := f.q.all(); len(got) != 10 || f.b.count("duplicate") != 0 || f.q.renewals < 100 || f.q.renewals > 250 {
			t.Errorf("%d completed, %d repeats, %d renewals", len(got), f.b.count("duplicate"), f.q.renewals)
		}
	})
}

// A queue that is missing, or may not be read, is told with what to do, and looked
// for again.
func TestAQueueThatIsAway(t *testing.T) {
	for _, c := range []struct {
		err  error
		hint string
	}{
		{servicebus.ErrNotFound, "make the queue"},
		{servicebus.ErrUnauthorized, "the right Listen"},
		{servicebus.ErrUnavailable, "is port 5671"},
	} {
		for _, when := range []string{"peek", "receive"} {
			t.Run(c.err.Error()+", "+when, func(t *testing.T) {
				inBubble(t, func(t *testing.T, f *fakeIntake) {
					f.q.setFault(func(what string, _ int64) error {
						if what == "receive" || what == when {
							return c.err
						}
						return nil
					})
					time.Sleep(time.Hour)
					if info := f.state(t, ferry.IntakeAway); info.Reason != c.err.Error() || !strings.Contains(info.Hint, c.hint) || time.Since(info.Since) < 59*time.Minute {
						t.Errorf("%+v", info)
					}
					if n := strings.Count(f.log.String(), "intake.away"); n != 1 {
						t.Errorf("the log says so %d times", n)
					}
					if f.q.peeks < 55 || f.q.peeks > 75 {
						t.Errorf("looked for %d times in an hour", f.q.peeks)
					}
					f.q.put("m", "x")
					f.q.setFault(nil)
					time.Sleep(awayPause)
					if f.state(t, ferry.IntakeRunning); len(f.b.all()) != 1 {
						t.Error("not taken in when the queue is there again")
					}
				})
			})
		}
	}
}

// A stop finishes what is in hand, and receives nothing more.
func TestAStopFinishesWhatIsInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.run(t)
		slow := make(chan struct{})
		f.b.set(func() { f.b.down = func() error { <-slow; return nil } })
		f.q.put("m-1", "x")
		synctest.Wait()
		go func() { time.Sleep(5 * time.Second); close(slow) }()
		f.stop()
		if got := f.q.all(); len(f.b.all()) != 1 || !slices.Equal(got, []string{"complete 1"}) || f.q.open {
			t.Errorf("%d accepted, outcomes %q, open %v", len(f.b.all()), got, f.q.open)
		}
		if info := f.in.Info("invoices"); info.State != ferry.IntakeStopped || info.InHand != 0 {
			t.Errorf("%+v", info)
		}
	})
}

// A broker that stops first refuses: what is in hand goes back.
func TestAStopOfTheBrokerGivesBack(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeIntake) {
		f.b.set(func() { f.b.down = func() error { return ferry.Errorf(ferry.CodeStopping, "the broker is stopping") } })
		f.q.put("m-1", "x")
		synctest.Wait()
		f.stop()
		if got := f.q.all(); !slices.Equal(got, []string{"abandon 1"}) {
			t.Errorf("outcomes %q", got)
		}
	})
}

// One record that cannot be read does not stop what has nothing to do with it.
func TestADamagedRecordStopsOneMessageOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeIntake) {
		f.b.set(func() {
			f.b.fault = func(m *ferry.Message) error {
				if m.IdempotencyKey == "bad" {
					return ferry.Errorf(ferry.CodeLedgerUnreadable, "a record of the ledger cannot be read: %w", errors.New("damaged"))
				}
				return nil
			}
		})
		f.q.put("bad", "x")
		f.q.put("good", "x")
		synctest.Wait()
		f.state(t, ferry.IntakeRunning)
		if got := f.q.all(); !slices.Equal(got, []string{"complete 2"}) {
			t.Errorf("outcomes %q", got)
		}
		f.stop()
	})
}

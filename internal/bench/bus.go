package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Who uses Service Bus, in the order of their turns.
const (
	busOne = iota
	busByHand
	busSteady
	busBacklog
	busContenders
)

// busFigure is one run over the double.
type busFigure struct {
	measured
	double float64 // processor time of the double per message, µs
}

// serviceBus compares Ferry over a Service Bus that is 20 ms away with the SDK alone:
// one message at a time, as it is first written, and by hand as well as it can be.
func (b *bench) serviceBus() error {
	few, many := max(b.path/400, 20), max(b.path/2, 1000)
	messages := [busContenders]int{few, many, many, many}
	names := [busContenders]string{"(a) SDK, one at a time", "(c) SDK, 128 and 200 at a time", "Ferry, 64 senders", "Ferry, backlog"}
	fmt.Printf("Over Service Bus (the double, a round trip of %s), messages per second through the queue and completed; a destination that answers at once, %d calls at a time; medians of %d rounds\n\n", 2*oneWay, busCalls, b.rounds)
	var figures [busContenders][]busFigure
	var alone, ferry []float64 // ms, of one message over idle links
	for range b.rounds {
		sdk := func(of int, use func(string, int) (float64, error), double *process) error {
			f, err := measureSDK(use, double, messages[of])
			figures[of] = append(figures[of], f)
			return err
		}
		err := b.withDouble(func(double *process) error {
			idle, err := idleSDK(double.key, idleTimes(b.rounds), idleFor)
			alone = append(alone, idle...)
			return errors.Join(err, sdk(busOne, oneAtATime, double), sdk(busByHand, byHand, double))
		})
		if err != nil {
			return fmt.Errorf("the SDK alone: %w", err)
		}
		err = b.withBus(func(r *busRun) error {
			for range idleTimes(b.rounds) {
				ms, err := r.idle()
				if err != nil {
					return err
				}
				ferry = append(ferry, ms)
			}
			steady, err := r.steady(many)
			if err != nil {
				return err
			}
			backlog, err := r.backlog(many)
			figures[busSteady], figures[busBacklog] = append(figures[busSteady], steady), append(figures[busBacklog], backlog)
			return err
		})
		if err != nil {
			return fmt.Errorf("over Service Bus: %w", err)
		}
	}
	fmt.Printf("%-32s %9s %12s %8s %8s %10s %14s %10s\n", "", "messages", "messages/s", "/(a)", "/(c)", "cpu µs", "double's µs", "peak MB")
	for i, name := range names {
		ms := plain(figures[i])
		fmt.Printf("%-32s %9d %12.0f %8.1f %8.2f %10.0f %14.0f %10.0f\n", name, messages[i], medianOf(ms, rate),
			medianRatio(ms, plain(figures[busOne])), medianRatio(ms, plain(figures[busByHand])), medianOf(ms, cpu), doubles(figures[i]),
			maxOf(ms, func(m measured) float64 { return m.peakMB }))
	}
	fmt.Printf("\nOne message over idle links, median of %d: SDK alone, from the send to the completion %.0f ms; Ferry, from the request to the receipt's commit %.0f ms\n\n",
		len(ferry), median(alone), median(ferry))
	return nil
}

// idleFor is longer than a receiver stays open that nobody uses.
const idleFor = 1500 * time.Millisecond

// idleTimes is how many messages go over idle links in a round.
func idleTimes(rounds int) int { return min(rounds, 3) }

func plain(fs []busFigure) []measured {
	ms := make([]measured, len(fs))
	for i, f := range fs {
		ms[i] = f.measured
	}
	return ms
}

func doubles(fs []busFigure) float64 {
	values := make([]float64, len(fs))
	for i, f := range fs {
		values[i] = f.double
	}
	return median(values)
}

// withDouble runs do with a fresh double.
func (b *bench) withDouble(do func(double *process) error) error {
	double, err := b.start("-role", "double")
	if err != nil {
		return err
	}
	return errors.Join(do(double), double.stop())
}

// measureSDK runs a use of the SDK, in this process.
func measureSDK(use func(connectionString string, messages int) (seconds float64, err error), double *process, messages int) (f busFigure, err error) {
	own, theirs := cpuOf("self"), double.cpuSeconds()
	seconds, err := use(double.key, messages)
	f.perSecond = float64(messages) / seconds
	f.cpu = 1e6 * (cpuOf("self") - own) / float64(messages)
	f.double = 1e6 * (double.cpuSeconds() - theirs) / float64(messages)
	return f, err
}

// busRun is Ferry over a double of its own.
type busRun struct {
	b             *bench
	double, ferry *process
	completed     int
}

// withBus runs do with a fresh double and Ferry over it, all links open.
func (b *bench) withBus(do func(*busRun) error) error {
	return b.withDouble(func(double *process) error {
		dir := b.fresh()
		key := filepath.Join(dir, "connection-string")
		if err := os.WriteFile(key, []byte(double.key), 0o600); err != nil {
			return err
		}
		args := []string{"-role", "serve", "-kind", kindBus, "-dir", dir, "-bus", double.url, "-bus-key", key}
		if b.profile != "" {
			args = append(args, "-profile", b.profile+".bus")
		}
		p, err := b.start(args...)
		if err != nil {
			return err
		}
		r := &busRun{b: b, double: double, ferry: p}
		if _, err = r.one(); err == nil {
			err = do(r)
		}
		return errors.Join(err, p.stop())
	})
}

// one sends a message and waits for its end.
func (r *busRun) one() (ms float64, err error) {
	l, err := r.b.load(r.ferry, senders{conns: 1, messages: 1, await: true, already: r.completed})
	r.completed++
	return l.P50, err
}

// idle is one after a while in which nothing happened.
func (r *busRun) idle() (ms float64, err error) {
	time.Sleep(idleFor)
	return r.one()
}

// steady is from the first request to the last completion, while senders send.
func (r *busRun) steady(messages int) (busFigure, error) {
	return r.measure(messages, func() error {
		_, err := r.b.load(r.ferry, senders{conns: 64, messages: messages})
		return err
	})
}

// backlog is from the end of a pause, in which everything was accepted, to the last
// completion.
func (r *busRun) backlog(messages int) (busFigure, error) {
	if err := post(r.ferry.url + "/pause"); err != nil {
		return busFigure{}, err
	}
	if _, err := r.b.load(r.ferry, senders{conns: 64, messages: messages}); err != nil {
		return busFigure{}, err
	}
	time.Sleep(500 * time.Millisecond) // what follows a pause is over
	return r.measure(messages, func() error { return post(r.ferry.url + "/resume") })
}

func (r *busRun) measure(messages int, begin func() error) (f busFigure, err error) {
	start, own, theirs := time.Now(), r.ferry.cpuSeconds(), r.double.cpuSeconds()
	if err := begin(); err != nil {
		return f, err
	}
	r.completed += messages
	want := strconv.Itoa(r.completed)
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		text, err := get(r.ferry.url + "/completed")
		if err != nil {
			return f, err
		}
		if text == want {
			break
		}
		if time.Now().After(deadline) {
			return f, fmt.Errorf("%s of %s completed after three minutes", text, want)
		}
	}
	f.perSecond = float64(messages) / time.Since(start).Seconds()
	f.cpu = 1e6 * (r.ferry.cpuSeconds() - own) / float64(messages)
	f.double = 1e6 * (r.double.cpuSeconds() - theirs) / float64(messages)
	f.peakMB = r.ferry.peakMB()
	counts, err := get(r.ferry.url + "/counts")
	if err == nil && counts != want+" 0" {
		err = fmt.Errorf("the destination took (messages, twice) %s, not %s 0", counts, want)
	}
	return f, err
}

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"ferry/internal/rules"
)

// variant is the whole path with something else about the protocol.
type variant struct {
	name string
	args []string
}

// variants are held against the first one: Ferry as it is, one worker, every
// rule in force.
func variants() []variant {
	return []variant{
		{name: "Ferry"},
		{name: "no begun", args: []string{"-without", rules.Begun.String()}},
		{name: "claims", args: []string{"-several"}},
	}
}

// senders is how a variant is loaded.
type senders struct {
	name     string
	conns    int
	messages int
	await    bool // each message has to be completed before the next is sent
	already  int  // completed before the load begins
	pace     int  // messages a second over all connections; 0: as fast as they go
}

// protocol shows what rules cost: the same whole path with them and without, in
// turn, all of them of one build that can take rules away.
func (b *bench) protocol() error {
	loads := []senders{
		{name: "1, one by one", conns: 1, messages: max(b.path/20, 100), await: true},
		{name: "1", conns: 1, messages: max(b.path/4, 100)},
		{name: "32", conns: 32, messages: max(b.path/2, 100)},
	}
	exe := filepath.Join(b.dir, "bench-rules")
	build := exec.Command("go", "build", "-tags", "ferryrules", "-o", exe, "ferry/internal/bench")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build with -tags ferryrules: %w", err)
	}
	erp, err := b.start("-role", "erp")
	if err != nil {
		return err
	}
	defer func() { _ = erp.stop() }()
	fmt.Printf("What the protocol costs on the whole path, medians of %d rounds; %d calls of the ERP at a time. One by one: the sender waits until its message is completed; else it waits for the 201 only.\n\n", b.rounds, calls)
	fmt.Printf("%-16s %9s %-10s %12s %14s %10s %18s %10s %12s\n", "senders", "messages", "", "messages/s", "µs/message", "/Ferry", "µs beside Ferry's", "cpu µs", "cpu beside")
	for _, l := range loads {
		figures := map[string][]measured{}
		for range b.rounds {
			for _, v := range variants() {
				m, err := b.deliverAll(whole{exe: exe, kind: kindPath, args: v.args, senders: l}, erp)
				if err != nil {
					return fmt.Errorf("%s, %s senders: %w", v.name, l.name, err)
				}
				figures[v.name] = append(figures[v.name], m)
			}
		}
		ferry := figures[variants()[0].name]
		for _, v := range variants() {
			ms := figures[v.name]
			fmt.Printf("%-16s %9d %-10s %12.0f %14.0f %10.2f %+18.0f %10.0f %+12.0f\n", l.name, l.messages, v.name,
				medianOf(ms, rate), medianOf(ms, micros), medianRatio(ms, ferry), beside(ms, ferry, micros), medianOf(ms, cpu), beside(ms, ferry, cpu))
		}
	}
	fmt.Println()
	return nil
}

// micros is the time per message.
func micros(m measured) float64 { return 1e6 / m.perSecond }

// cpu is the server's processor time per message, µs.
func cpu(m measured) float64 { return m.cpu }

// beside is the median of the differences within each round, as medianRatio.
func beside(ms, others []measured, of func(measured) float64) float64 {
	more := make([]float64, len(ms))
	for i := range ms {
		more[i] = of(ms[i]) - of(others[i])
	}
	return median(more)
}

func (s senders) args() []string {
	return []string{"-conns", strconv.Itoa(s.conns), "-messages", strconv.Itoa(s.messages), "-await=" + strconv.FormatBool(s.await), "-already", strconv.Itoa(s.already), "-pace", strconv.Itoa(s.pace)}
}

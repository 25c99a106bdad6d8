package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// kindMillion is kindLedger for a ledger that may be full: it is measured as who asks
// sees it, with a key that may ask everything.
const kindMillion = "million"

// asked is what is asked of the broker, and how: the median of so many.
type asked struct {
	name, path string
	times      int
}

func theAsked() []asked {
	return []asked{
		{"dlq list, first page", "/v1/dead-letters?limit=50", 9},
		{"dlq list of a route", "/v1/dead-letters?limit=50&route=" + benchRoute, 9},
		{"dlq list by code, none there", "/v1/dead-letters?limit=50&code=E43", 9},
		{"dlq list by text, none there", "/v1/dead-letters?limit=50&q=nothing-like-it", 9},
		{"dlq groups", "/v1/dead-letters/groups", 9},
		{"messages list, first page", "/v1/messages?limit=50", 9},
		{"messages list of a state, none there", "/v1/messages?limit=50&state=discarded", 9},
		{"messages list of a state that is far", "/v1/messages?limit=50&state=deadLettered", 9},
		{"search, a whole key", "/v1/messages?limit=50&q=dead-00000500", 9},
		{"search, the beginning of a key", "/v1/messages?limit=50&q=pending-0000", 9},
		{"search, the beginning of a correlation id", "/v1/messages?limit=50&q=order-dead-0000", 9},
		{"search, none there", "/v1/messages?limit=50&q=nothing-like-it", 9},
		{"status", "/v1/status", 9},
		{"routes", "/v1/routes", 9},
		{"metrics", "/metrics", 9},
		{"reconcile", "/v1/reconciliation", 3},
	}
}

// standing is what one ledger showed.
type standing struct {
	ready                 []float64 // seconds from the start of the process
	resident, own, cached []float64 // MB once it is ready: all, its own, of mapped files
	accepts               []measured
	took                  map[string]float64 // ms
	read                  []float64          // MB resident once all was asked
}

// million holds a ledger with a million pending and a million dead messages against
// an empty one, in turn.
func (b *bench) million() error {
	full, empty := filepath.Join(b.dir, "full"), filepath.Join(b.dir, "empty")
	fmt.Printf("A full ledger, %d pending, %d dead and %d completed messages, beside an empty one; %d rounds, 64 senders for %s each\n\n",
		b.full.pending, b.full.dead, b.full.ended, b.rounds, b.spell)
	for dir, s := range map[string]seeding{full: b.full, empty: {}} {
		if err := b.seed(dir, s); err != nil {
			return err
		}
	}
	figures := map[string]*standing{full: {took: map[string]float64{}}, empty: {took: map[string]float64{}}}
	for round := range b.rounds {
		for _, dir := range []string{empty, full} {
			if err := b.stand(dir, figures[dir], round == 0); err != nil {
				return fmt.Errorf("%s: %w", filepath.Base(dir), err)
			}
		}
		// What was accepted into it must not make the empty one a full one.
		if err := os.RemoveAll(empty); err != nil {
			return err
		}
		if err := b.seed(empty, seeding{}); err != nil {
			return err
		}
	}
	printStandings(figures[empty], figures[full])
	return nil
}

func (b *bench) seed(dir string, s seeding) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, "-role", "seed", "-dir", dir,
		"-pending", strconv.Itoa(s.pending), "-dead", strconv.Itoa(s.dead), "-ended", strconv.Itoa(s.ended))
	if cmd.Stderr = os.Stderr; s == (seeding{}) {
		cmd.Stderr = nil
	}
	return cmd.Run()
}

// stand starts a broker on the ledger and measures it; what is asked only in the first round, before anything is sent.
func (b *bench) stand(dir string, s *standing, ask bool) error {
	began := time.Now()
	p, err := b.start("-role", "serve", "-kind", kindMillion, "-dir", dir)
	if err != nil {
		return err
	}
	s.ready = append(s.ready, time.Since(began).Seconds())
	s.resident = append(s.resident, p.statusMB("VmRSS"))
	s.own = append(s.own, p.statusMB("RssAnon"))
	s.cached = append(s.cached, p.statusMB("RssFile"))
	if ask {
		for _, a := range theAsked() {
			if s.took[a.name], err = p.ask(a); err != nil {
				return errors.Join(fmt.Errorf("%s: %w", a.name, err), p.stop())
			}
			if a.path == "/metrics" { // before reconcile, which reads everything
				s.read = append(s.read, p.statusMB("VmRSS"))
			}
		}
	}
	r, err := b.load(p, senders{conns: 64})
	s.accepts = append(s.accepts, measured{perSecond: float64(r.Sent) / r.Seconds, p50: r.P50, p99: r.P99, peakMB: p.peakMB()})
	return errors.Join(err, p.stop())
}

// ask is the median time of a request, ms.
func (p *process) ask(a asked) (float64, error) {
	times := make([]float64, a.times)
	for i := range times {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+a.path, nil)
		if err != nil {
			cancel()
			return 0, err
		}
		req.Header.Set("Authorization", "Bearer "+p.key)
		began := time.Now()
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			cancel()
			return 0, err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		times[i] = float64(time.Since(began).Microseconds()) / 1000
		err = errors.Join(err, resp.Body.Close())
		cancel()
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d", resp.StatusCode)
		}
		if err != nil {
			return 0, err
		}
	}
	return median(times), nil
}

// statusMB is a line of what Linux tells of the process's memory; elsewhere 0.
func (p *process) statusMB(name string) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024
		}
	}
	return 0
}

func printStandings(empty, full *standing) {
	fmt.Printf("| %-42s | %12s | %12s | %12s |\n|---|---|---|---|\n", "", "empty", "full", "full/empty")
	row := func(name string, e, f float64, ratio bool) {
		text := ""
		if ratio && e > 0 {
			text = fmt.Sprintf("%.2f", f/e)
		}
		fmt.Printf("| %-42s | %12.2f | %12.2f | %12s |\n", name, e, f, text)
	}
	fmt.Printf("| %-42s | %12.0f | %12.0f | %12.2f |\n", "accepts a second", medianOf(empty.accepts, rate), medianOf(full.accepts, rate), medianRatio(full.accepts, empty.accepts))
	p99 := func(m measured) float64 { return m.p99 }
	row("accept p99, ms", medianOf(empty.accepts, p99), medianOf(full.accepts, p99), true)
	row("start to ready, s", median(empty.ready), median(full.ready), true)
	row("memory once ready, MB", median(empty.resident), median(full.resident), true)
	row("of that its own, MB", median(empty.own), median(full.own), true)
	row("of that mapped files, MB", median(empty.cached), median(full.cached), true)
	row("memory after the lists below, MB", median(empty.read), median(full.read), true)
	peak := func(m measured) float64 { return m.peakMB }
	row("highest memory of all rounds, MB", maxOf(empty.accepts, peak), maxOf(full.accepts, peak), true)
	for _, a := range theAsked() {
		row(a.name+", ms", empty.took[a.name], full.took[a.name], true)
	}
	fmt.Println()
}

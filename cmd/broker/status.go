package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"ferry"
)

// exitAttention is `broker status` when somebody should look.
const exitAttention = 3

type statusCmd struct{}

// Run prints the state of everything, what is wrong first.
func (statusCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	report, err := c.Status(a.ctx)
	if err != nil {
		return err
	}
	if a.json() {
		err = a.writeJSON(report)
	} else {
		err = a.writeStatus(report)
	}
	if err == nil && (!report.Ready || len(report.Problems) > 0) {
		return quietExit(exitAttention)
	}
	return err
}

func (a *app) writeStatus(r ferry.StatusReport) error {
	p, now := a.paint(), a.now()
	verdict := p.green("all is well")
	switch {
	case !r.Ready:
		verdict = p.red("not ready: new messages are refused")
	case len(r.Problems) > 0:
		verdict = p.yellow("needs attention")
	}
	a.printf("%s: %s\n", p.bold(cmp.Or(printable(r.Environment), "broker")), verdict)
	for _, problem := range r.Problems {
		a.printf("  %s %s\n", p.yellow("!"), oneLine(problem))
	}
	a.printf("\n")
	if len(r.Routes) == 0 {
		a.printf("no routes are configured\n")
	} else if err := a.writeRoutes(r.Routes); err != nil {
		return err
	}
	a.printf("\n")
	a.writePairs([]pair{
		{"waiting", waiting(now, r)},
		{"dead letters", byReason(p, r.DeadLetters)},
		{"workers", a.workersSeen(r.Workers)},
		{"disk", fmt.Sprintf("%s free, ledger %s", bytesOf(r.DiskFreeBytes), bytesOf(r.LedgerBytes))},
		{"certificate", certificateLine(r.Certificate)},
		{"version", fmt.Sprintf("%s, up %s", printable(r.Version), age(now, r.StartedAt))},
	})
	if sum(r.DeadLetters) > 0 && a.screen.terminal {
		a.remark("\nnext: broker dlq list")
	}
	return nil
}

// certificateLine tells of the listener's certificate; empty without TLS.
func certificateLine(c *ferry.CertificateInfo) string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s, until %s", printable(strings.Join(c.Names, ", ")), moment(c.NotAfter))
}

func waiting(now time.Time, r ferry.StatusReport) string {
	if r.Waiting == 0 || r.OldestPending == nil {
		return count(int(r.Waiting), "message")
	}
	return fmt.Sprintf("%s, oldest %s", count(int(r.Waiting), "message"), age(now, *r.OldestPending))
}

func byReason(p paint, counts map[ferry.Reason]int64) string {
	var parts []string
	for _, reason := range ferry.Reasons() {
		if n := counts[reason]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, p.reason(reason)))
		}
	}
	return cmp.Or(strings.Join(parts, ", "), "none")
}

func sum(counts map[ferry.Reason]int64) (n int64) {
	for _, c := range counts {
		n += c
	}
	return n
}

func (a *app) workersSeen(workers []ferry.WorkerInfo) string {
	var lines []string
	for _, w := range workers {
		if w.RevokedAt != nil {
			continue
		}
		line := w.Name + " never seen"
		if w.LastSeen != nil {
			line = fmt.Sprintf("%s seen %s ago", w.Name, age(a.now(), *w.LastSeen))
		}
		if w.Version != "" {
			line += ", version " + oneLine(w.Version)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return cmp.Or(strings.Join(lines, "\n"), "none: nothing is delivered until a worker runs")
}

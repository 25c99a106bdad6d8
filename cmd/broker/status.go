package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
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
	a.printf("%s: %s\n", environment(p, r.Environment), verdict)
	for i, problem := range r.Problems {
		if i == mostProblems {
			a.printf("  %s and %d more: broker status -o json\n", p.yellow("!"), len(r.Problems)-i)
			break
		}
		a.printf("  %s %s\n", p.yellow("!"), strings.Join(wrap(oneLine(problem), a.screen.width-4), "\n    "))
	}
	a.printf("\n")
	if len(r.Routes) == 0 {
		a.printf("no routes are configured\n")
	} else if err := a.writeRouteStates(r.Routes); err != nil {
		return err
	}
	a.printf("\n")
	a.writePairs(a.fitted([]pair{
		{"waiting", waiting(now, r)},
		{"dead letters", byReason(p, r.DeadLetters)},
		{"operations", operations(r.Operations)},
		{"callbacks", callbacksWaiting(r.CallbacksWaiting)},
		{"workers", a.workersSeen(r.Workers)},
		{"disk", fmt.Sprintf("%s free, ledger %s", bytesOf(r.DiskFreeBytes), bytesOf(r.LedgerBytes))},
		{"certificate", certificateLine(r.Certificate)},
		{"version", fmt.Sprintf("%s, up %s", printable(r.Version), age(now, r.StartedAt))},
	}))
	if sum(r.DeadLetters) > 0 && a.screen.terminal {
		a.remark("\nnext: broker dlq groups")
	}
	return nil
}

// Bounds of what status prints: it is to fit a screen. JSON has all.
const (
	mostProblems = 20
	mostRoutes   = 20
	mostWorkers  = 10
)

// environment is its name, in red where a mistake is dear.
func environment(p paint, name string) string {
	shown := p.bold(cmp.Or(printable(name), "broker"))
	if strings.Contains(strings.ToLower(name), "prod") || strings.EqualFold(name, "live") {
		return p.red(shown)
	}
	return shown
}

// writeRouteStates prints the routes, or where there are many those that need a look,
// the gravest first, and counts the others.
func (a *app) writeRouteStates(all []ferry.RouteInfo) error {
	routes := all
	if len(all) > mostRoutes {
		routes = slices.DeleteFunc(slices.Clone(all), well)
		states := ferry.RouteStates()
		slices.SortStableFunc(routes, func(x, y ferry.RouteInfo) int {
			return cmp.Or(cmp.Compare(slices.Index(states, x.State), slices.Index(states, y.State)), cmp.Compare(y.DeadLetters, x.DeadLetters))
		})
		routes = routes[:min(len(routes), mostRoutes)]
	}
	p, now := a.paint(), a.now()
	t := newTable(long("ROUTE"), left("STATE"), right("WAITING"), right("OLDEST"), right("PARKED"), right("DEAD LETTERS"), long("WORKER"))
	var reasons []pair
	for _, r := range routes {
		t.add(r.Name, cell{string(r.State), func(text string) string { return p.route(r.State, text) }}, strconv.FormatInt(r.Pending, 10),
			ageOf(now, r.OldestPending), strconv.FormatInt(r.Parked, 10), strconv.FormatInt(r.DeadLetters, 10), orDash(r.Worker))
		reasons = append(reasons, pair{r.Name, a.why(r)})
	}
	if len(routes) > 0 {
		if err := t.write(a.stdout, a.screen, p); err != nil {
			return err
		}
	}
	if more := len(all) - len(routes); more > 0 {
		sick := 0
		for _, r := range all {
			if !well(r) {
				sick++
			}
		}
		text := fmt.Sprintf("%s more", count(more, "route"))
		if hidden := sick - len(routes); hidden > 0 {
			text += fmt.Sprintf(", %d of them need a look", hidden)
		}
		a.printf("%s: broker routes list\n", text)
	}
	if len(all) <= mostRoutes && slices.ContainsFunc(reasons, func(r pair) bool { return r.text != "" }) {
		a.printf("\n")
		a.writePairs(a.fitted(reasons))
	}
	return nil
}

// fitted breaks texts into lines that fit the terminal.
func (a *app) fitted(pairs []pair) []pair {
	if a.screen.width == 0 {
		return pairs
	}
	widest := 0
	for _, p := range pairs {
		if p.text != "" {
			widest = max(widest, width(p.name))
		}
	}
	for i := range pairs {
		var lines []string
		for line := range strings.SplitSeq(pairs[i].text, "\n") {
			lines = append(lines, wrap(line, a.screen.width-widest-columnGap)...)
		}
		pairs[i].text = strings.Join(lines, "\n")
	}
	return pairs
}

// well says whether nobody has to look at the route.
func well(r ferry.RouteInfo) bool {
	return r.DeadLetters == 0 && (r.State == ferry.RouteRunning || r.State == ferry.RouteNoWorker && r.Pending == 0) &&
		len(r.Leaving) == 0 && (r.Intake == nil || r.Intake.State == ferry.IntakeRunning)
}

// wrap breaks a sentence into lines of at most so many columns; 0: one line.
func wrap(text string, columns int) (lines []string) {
	if columns < 20 {
		return []string{text}
	}
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && width(line)+1+width(word) > columns {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimLeft(line+" "+word, " ")
	}
	return append(lines, line)
}

// operations are the bulk acts that run or wait for a person, a line each.
func operations(list []ferry.Operation) string {
	var lines []string
	for _, o := range list {
		line := fmt.Sprintf("%s of %d %s: %s", o.Act, o.Total, o.State, progress(o))
		if o.ExpectedEnd != nil {
			line += ", until about " + o.ExpectedEnd.UTC().Format("15:04 UTC")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// callbacksWaiting tells of ends of messages that nobody could be told yet.
func callbacksWaiting(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d wait to be told: broker callbacks list", n)
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
		switch state := stands(a.now(), w); {
		case state == ferry.WorkerNotSinceStart:
			line = w.Name + " not seen since the broker started"
		case w.LastSeen != nil && state == ferry.WorkerStopped:
			line = fmt.Sprintf("%s stopped %s ago", w.Name, age(a.now(), *w.LastSeen))
		case w.LastSeen != nil:
			line = fmt.Sprintf("%s seen %s ago", w.Name, age(a.now(), *w.LastSeen))
		}
		if w.Version != "" {
			line += ", version " + oneLine(w.Version)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	if more := len(lines) - mostWorkers; more > 1 {
		lines = append(lines[:mostWorkers], fmt.Sprintf("and %d more: broker workers list", more))
	}
	return cmp.Or(strings.Join(lines, "\n"), "none: nothing is delivered until a worker runs")
}

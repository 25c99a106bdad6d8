package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"ferry"
)

// With 500 routes the first screen shows those that need a look, counts the others,
// and no line is wider than the terminal.
func TestStatusOfManyRoutesFitsAScreen(t *testing.T) {
	report := ferry.StatusReport{Environment: "contoso-production", Version: "1.2.3", Ready: true, StartedAt: at(-time.Hour)}
	for i := range 500 {
		r := ferry.RouteInfo{Name: fmt.Sprintf("route-%03d-%s", i, strings.Repeat("x", 40)), State: ferry.RouteRunning, Worker: "erp-worker-of-the-second-plant-in-the-north"}
		switch {
		case i%100 == 7:
			r.State = ferry.RouteUnauthorized
			report.Problems = append(report.Problems, "route "+r.Name+" is unauthorized: the destination refuses the credentials that it was given: mend the secret, and it is tried at once")
		case i%10 == 3:
			r.State, r.DeadLetters = ferry.RouteUnavailable, int64(i)
			report.Problems = append(report.Problems, "route "+r.Name+" is unavailable")
		}
		report.Routes = append(report.Routes, r)
	}
	for i := range 40 {
		report.Workers = append(report.Workers, ferry.WorkerInfo{Name: fmt.Sprintf("worker-%02d", i)})
	}
	var out bytes.Buffer
	a := &app{console: console{
		env: func(string) string { return "" }, stdout: &output{to: &out}, stderr: &out, screen: screen{terminal: true, width: 80},
		now: func() time.Time { return at(0) },
	}}
	if err := a.writeStatus(report); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) > 120 {
		t.Errorf("%d lines", len(lines))
	}
	plain := strings.NewReplacer("\x1b[0m", "", "\x1b[1m", "", "\x1b[2m", "", "\x1b[31m", "", "\x1b[32m", "", "\x1b[33m", "")
	for _, line := range lines {
		if n := width(plain.Replace(line)); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	shown := plain.Replace(out.String())
	for _, want := range []string{"480 routes more, 35 of them need a look: broker routes list", "and 35 more: broker status -o json", "and 30 more: broker workers list", "contoso-production: needs attention"} {
		if !strings.Contains(shown, want) {
			t.Errorf("it does not say %q:\n%s", want, shown)
		}
	}
	if first := strings.Index(shown, "unavailable      "); first >= 0 && first < strings.LastIndex(shown, "unauthorized     ") {
		t.Error("the gravest do not come first")
	}
	if !strings.Contains(out.String(), "\x1b[31m") {
		t.Error("production is not red")
	}
}

package main

import (
	"encoding/csv"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"ferry"
)

type usageCmd struct {
	Since string `placeholder:"DAY" help:"First UTC day, such as 2026-11-23, or how long ago, such as 7d (30d)."`
	Until string `placeholder:"DAY" help:"Last UTC day (today)."`
	Key   string `placeholder:"KEY" help:"Only this key, by id or name."`
	Route string `placeholder:"ROUTE" help:"Only this route."`
	By    string `default:"key,route" placeholder:"WHAT" help:"One row per key, route, day, or several of them with commas (${default})."`
	CSV   bool   `name:"csv" help:"Comma-separated values, for spreadsheets."`
}

// Run shows who used the broker, and how much.
func (c usageCmd) Run(a *app) error {
	server, err := a.client()
	if err != nil {
		return err
	}
	rows, err := server.Usage(a.ctx, c.Since, c.Until, c.Key, c.Route, c.By)
	if err != nil {
		return err
	}
	if c.CSV {
		return a.writeUsageCSV(rows)
	}
	by := strings.Split(c.By, ",")
	has := func(what string) bool { return slices.Contains(by, what) }
	var columns []column
	if has(ferry.UsageByDay) {
		columns = append(columns, left("DAY"))
	}
	if has(ferry.UsageByKey) {
		columns = append(columns, left("KEY"), left("NAME"))
	}
	if has(ferry.UsageByRoute) {
		columns = append(columns, left("ROUTE"))
	}
	columns = append(columns, right("REQUESTS"), right("ACCEPTED"), right("REPEATS"), right("REFUSED"), right("IN"), right("P50 MS"), right("P95 MS"), right("P99 MS"), long("REFUSED FOR"))
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	return writeList(a, rows, "nobody used it in that time", columns, func(r ferry.UsageRow) []any {
		var cells []any
		if has(ferry.UsageByDay) {
			cells = append(cells, r.Day)
		}
		if has(ferry.UsageByKey) {
			cells = append(cells, r.Key, orDash(r.Name))
		}
		if has(ferry.UsageByRoute) {
			cells = append(cells, orDash(r.Route))
		}
		p50, p95, p99 := "", "", ""
		if r.Latency != nil {
			p50, p95, p99 = millis(r.Latency.P50), millis(r.Latency.P95), millis(r.Latency.P99)
		}
		return append(cells, n(r.Requests), n(r.Accepted), n(r.Repeats), n(r.Refused), bytesOf(r.BytesIn), orDash(p50), orDash(p95), orDash(p99), orDash(refusedFor(r.ByCode)))
	})
}

// millis shows milliseconds as short as they are known.
func millis(ms float64) string { return strconv.FormatFloat(ms, 'g', 3, 64) }

// refusedFor lists codes, the most frequent first.
func refusedFor(counts map[ferry.Code]int64) string {
	codes := slices.SortedFunc(maps.Keys(counts), func(a, b ferry.Code) int {
		if counts[a] != counts[b] {
			return int(counts[b] - counts[a])
		}
		return strings.Compare(string(a), string(b))
	})
	parts := make([]string, len(codes))
	for i, code := range codes {
		parts[i] = fmt.Sprintf("%s %d", code, counts[code])
	}
	return strings.Join(parts, ", ")
}

func (a *app) writeUsageCSV(rows []ferry.UsageRow) error {
	w := csv.NewWriter(a.stdout)
	lines := [][]string{{
		"day", "key", "name", "route", "requests", "accepted", "repeats", "replaced", "refused", "refusedFor", "bytesIn", "bytesOut",
		"latencyCount", "meanMs", "p50Ms", "p95Ms", "p99Ms", "maxMs",
	}}
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	f := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	for _, r := range rows {
		l := ferry.Latency{}
		if r.Latency != nil {
			l = *r.Latency
		}
		lines = append(lines, []string{
			r.Day, cellText(r.Key), cellText(r.Name), r.Route, n(r.Requests), n(r.Accepted), n(r.Repeats), n(r.Replaced), n(r.Refused), refusedFor(r.ByCode),
			n(r.BytesIn), n(r.BytesOut), n(l.Count), f(l.Mean), f(l.P50), f(l.P95), f(l.P99), f(l.Max),
		})
	}
	return w.WriteAll(lines)
}

// cellText keeps a spreadsheet from taking a name for a formula.
func cellText(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

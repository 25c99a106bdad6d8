package httpcall

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"ferry"
	"ferry/mapping"
)

// Rule judges the answers that it matches: all conditions that are set must
// hold.
type Rule struct {
	Status []StatusRange    // none: any status
	Code   *regexp.Regexp   // over the code that the answer gives
	Says   *regexp.Regexp   // over the words that the answer gives
	Header string           // "Name: value", in any case: a header of the answer
	NoJSON bool             // the body is not whole JSON
	When   *mapping.Program // over the answer's JSON: matches unless it gives false, null or nothing
	Kind   ferry.VerdictKind
	Effect ferry.Effect
	Text   string // our words, put before the destination's
}

// StatusRange is a range of statuses, both ends included.
type StatusRange struct{ From, To int }

// Status makes the condition of single statuses.
func Status(codes ...int) []StatusRange {
	ranges := make([]StatusRange, len(codes))
	for i, code := range codes {
		ranges[i] = StatusRange{code, code}
	}
	return ranges
}

// Between makes the condition of a range, both ends included.
func Between(from, to int) []StatusRange { return []StatusRange{{from, to}} }

// Table is an ordered list of rules. Those that look into the body come before
// those that look at the status only, since statuses lie; among equals the
// first match wins.
type Table []Rule

// Judge gives the first rule that matches, of the first table that has one.
func Judge(ctx context.Context, a *Answer, p Problem, tables ...Table) (Rule, bool) {
	var body any
	decoded, isJSON := false, false
	value := func() (any, bool) {
		if !decoded {
			v, err := mapping.Decode(a.Body)
			body, decoded, isJSON = v, true, err == nil
		}
		return body, isJSON
	}
	for _, table := range tables {
		for _, looksInside := range []bool{true, false} {
			for _, rule := range table {
				if rule.looksInside() == looksInside && rule.matches(ctx, a, p, value) {
					return rule, true
				}
			}
		}
	}
	return Rule{}, false
}

// LooksInside says whether a rule of the table needs the body of an answer of
// that status.
func (t Table) LooksInside(status int) bool {
	for i := range t {
		if t[i].looksInside() && t[i].matchesStatus(status) {
			return true
		}
	}
	return false
}

func (r *Rule) looksInside() bool {
	return r.Code != nil || r.Says != nil || r.When != nil || r.Header != "" || r.NoJSON
}

func (r *Rule) matches(ctx context.Context, a *Answer, p Problem, value func() (any, bool)) bool {
	switch {
	case !r.matchesStatus(a.Status),
		r.Code != nil && !r.Code.MatchString(p.Code),
		r.Says != nil && !r.Says.MatchString(p.Text),
		r.Header != "" && !r.matchesHeader(a):
		return false
	}
	if r.NoJSON {
		if _, ok := value(); ok {
			return false
		}
	}
	if r.When == nil {
		return true
	}
	body, ok := value()
	if !ok {
		return false
	}
	out, err := r.When.Eval(ctx, body)
	return err == nil && out != nil && out != false
}

func (r *Rule) matchesHeader(a *Answer) bool {
	name, value, _ := strings.Cut(r.Header, ":")
	return strings.EqualFold(strings.TrimSpace(a.Header.Get(name)), strings.TrimSpace(value))
}

func (r *Rule) matchesStatus(status int) bool {
	if len(r.Status) == 0 {
		return true
	}
	for _, s := range r.Status {
		if status >= s.From && status <= s.To {
			return true
		}
	}
	return false
}

// ParseRule makes a rule of configuration: status as "409", "5xx", "500-504" or
// several with commas, code and says regular expressions, when a jq program; at
// least one of the four. An empty effect is the one that is usual for the verdict:
// maybe for failed and unknown.
func ParseRule(status, code, says, when, verdict, effect string) (Rule, error) {
	var r Rule
	var err error
	if status == "" && code == "" && says == "" && when == "" {
		return r, bad("a verdict rule needs status, code, says or when")
	}
	if r.Status, err = parseStatus(status); err != nil {
		return r, err
	}
	if code != "" {
		if r.Code, err = regexp.Compile(code); err != nil {
			return r, bad("code: %w", err)
		}
	}
	if says != "" {
		if r.Says, err = regexp.Compile(says); err != nil {
			return r, bad("says: %w", err)
		}
	}
	if when != "" {
		if r.When, err = mapping.Compile(when); err != nil {
			return r, fmt.Errorf("when: %w", err)
		}
	}
	r.Kind = ferry.VerdictKind(verdict)
	usual, ok := usualEffect(r.Kind)
	if !ok {
		return r, bad("there is no verdict %q", verdict).
			WithHint("delivered, duplicate, rejected, failed, throttled, unavailable, unauthorized or unknown")
	}
	switch r.Effect = ferry.Effect(effect); r.Effect {
	case "":
		r.Effect = usual
	case ferry.EffectNone, ferry.EffectDone, ferry.EffectMaybe:
	default:
		return r, bad("there is no effect %q", effect).WithHint("none, done or maybe")
	}
	if r.Kind.HasIt() && r.Effect != ferry.EffectDone {
		return r, bad("the effect of %s is done", r.Kind)
	}
	return r, nil
}

func usualEffect(k ferry.VerdictKind) (ferry.Effect, bool) {
	switch k {
	case ferry.Delivered, ferry.Duplicate:
		return ferry.EffectDone, true
	case ferry.Rejected, ferry.Throttled, ferry.Unavailable, ferry.Unauthorized:
		return ferry.EffectNone, true
	case ferry.Failed, ferry.Unknown:
		return ferry.EffectMaybe, true
	}
	return "", false
}

func parseStatus(s string) ([]StatusRange, error) {
	if s == "" {
		return nil, nil
	}
	var ranges []StatusRange
	for _, part := range strings.Split(s, ",") {
		part = strings.TrimSpace(part)
		if class, ok := strings.CutSuffix(strings.ToLower(part), "xx"); ok {
			part = class + "00-" + class + "99"
		}
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		from, err1 := strconv.Atoi(strings.TrimSpace(low))
		to, err2 := strconv.Atoi(strings.TrimSpace(high))
		if err1 != nil || err2 != nil || from < 100 || to > 599 || from > to {
			return nil, bad("status %q cannot be read", s).WithHint("such as 409, 5xx, 500-504, or several with commas")
		}
		ranges = append(ranges, StatusRange{from, to})
	}
	return ranges, nil
}

func bad(format string, args ...any) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadConfig, format, args...)
}

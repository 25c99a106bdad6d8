package main

import (
	"fmt"
	"strings"
	"time"

	"ferry"
)

// writeStory tells everything about a message: where it stands and why, who
// sent it, each attempt, what operators did, and what is safe to do next.
func (a *app) writeStory(e ferry.Envelope) {
	a.writePairs(a.summary(e))
	a.writeAttempts(e)
	a.writeActs(e.Acts)
	a.writeAdvice(e)
}

func (a *app) summary(e ferry.Envelope) []pair {
	p, now := a.paint(), a.now()
	pairs := []pair{
		{"message", p.bold(e.ID.String())},
		{"route", e.Route},
		{"environment", oneLine(e.Environment)},
		{"state", p.state(e.State) + waitingFor(now, e.WaitingFor)},
	}
	if d := e.DeadLetter; d != nil && e.State == ferry.StateDeadLettered {
		pairs = append(pairs,
			pair{"since", ago(now, d.At)},
			pair{"reason", p.reason(d.Reason) + ": " + meaning(d.Reason)},
			pair{"error", strings.TrimSpace(oneLine(d.Code) + "  " + printable(d.Description))},
			pair{"fields", fieldLines(lastFields(e))},
			pair{"found", oneLine(d.Reference)},
			pair{"group", oneLine(d.Group)},
		)
	}
	if w := e.WaitingFor; w != nil && e.State.Pending() {
		if w.Open {
			pairs = append(pairs, pair{"outcome", p.yellow(openOutcome(e))})
		}
		pairs = append(pairs, pair{"last turn", printable(w.Text)})
	}
	if d := e.Discarded; d != nil && e.State == ferry.StateDiscarded {
		pairs = append(pairs, pair{"discarded", actLine(now, *d)})
	}
	return append(pairs,
		pair{"awaited", awaited(now, e.Awaiting)},
		pair{"conflict", p.red(printable(e.Conflict))},
		pair{"reference", p.green(oneLine(e.Reference))},
		pair{"result", printable(string(e.Result))},
		pair{"note", p.yellow(printable(e.ResultNote))},
		pair{"version", ofVersion(e)},
		pair{"key", oneLine(e.IdempotencyKey)},
		pair{"correlation", oneLine(e.CorrelationID)},
		pair{"ordering key", oneLine(e.OrderingKey)},
		pair{"properties", properties(e.Properties)},
		pair{"sender", sender(e.Sender)},
		pair{"flow run", runLink(e.Sender.Flow)},
		pair{"may repeat", mayRepeat(e.PossibleRepeatOf)},
		pair{"owner", owner(e.Owner)},
		pair{"body", body(e)},
		pair{"accepted", ago(now, e.CreatedAt)},
		pair{"deliver at", agoOf(now, e.DeliverAt)},
		pair{"expires", expires(now, e)},
	)
}

// openOutcome says what is safe while nobody knows what an earlier call did.
func openOutcome(e ferry.Envelope) string {
	return "open: an earlier call may have been written; it is sent again only after the destination was asked for " +
		oneLine(ferry.ExternalKey(e.ID, e.IdempotencyKey)) + ", or where it honours that key"
}

// ago is "4m ago (2026-11-23 09:18:22 UTC)".
func ago(now, t time.Time) string {
	text := age(now, t)
	if !t.After(now) {
		text += " ago"
	}
	return fmt.Sprintf("%s (%s)", text, moment(t))
}

// awaited says since when, and how, the destination's word is waited for.
func awaited(now time.Time, a *ferry.Awaiting) string {
	if a == nil {
		return ""
	}
	text := "since " + ago(now, a.Since) + ", the destination calls back"
	if a.StatusURL != "" {
		text = "since " + ago(now, a.Since) + ", asked at " + oneLine(a.StatusURL)
	}
	if a.AskedAt != nil {
		text += ", last " + ago(now, *a.AskedAt) + ": " + oneLine(a.Said)
	}
	return text
}

func agoOf(now time.Time, t *time.Time) string {
	if t == nil {
		return ""
	}
	return ago(now, *t)
}

func expires(now time.Time, e ferry.Envelope) string {
	if !e.State.Pending() {
		return ""
	}
	return agoOf(now, e.ExpiresAt)
}

func lastFields(e ferry.Envelope) []ferry.FieldError {
	if len(e.Attempts) == 0 {
		return nil
	}
	return e.Attempts[len(e.Attempts)-1].Fields
}

func fieldLines(fields []ferry.FieldError) string {
	widest := 0
	for _, f := range fields {
		widest = max(widest, width(oneLine(f.Field)))
	}
	lines := make([]string, len(fields))
	for i, f := range fields {
		name := oneLine(f.Field)
		lines[i] = name + strings.Repeat(" ", widest-width(name)+columnGap) + oneLine(f.Text)
	}
	return strings.Join(lines, "\n")
}

func properties(all map[string]string) string {
	lines := make([]string, 0, len(all))
	for _, name := range sortedKeys(all) {
		lines = append(lines, oneLine(name)+"="+oneLine(all[name]))
	}
	return strings.Join(lines, "\n")
}

func sender(s ferry.Sender) string {
	parts := []string{}
	if s.Name != "" {
		parts = append(parts, s.Name)
	}
	if f := s.Flow; f != nil {
		for _, p := range []pair{
			{"flow", f.Name},
			{"run", f.RunID},
			{"action", f.Operation},
			{"tracking", f.TrackingID},
			{"in", f.Environment},
		} {
			if p.text != "" {
				parts = append(parts, p.name+" "+p.text)
			}
		}
	}
	return oneLine(strings.Join(parts, ", "))
}

// runLink is the page of the run, for a click.
func runLink(f *ferry.Flow) string {
	if f == nil {
		return ""
	}
	return oneLine(f.RunURL)
}

// mayRepeat says which earlier message the same action of the run sent, with the
// same body.
func mayRepeat(id ferry.ID) string {
	if id.IsZero() {
		return ""
	}
	return id.String() + ": the same run sent the same body with the same action"
}

func owner(o *ferry.Owner) string {
	if o == nil {
		return ""
	}
	if o.Email == "" {
		return oneLine(o.Name)
	}
	return oneLine(strings.TrimSpace(o.Name + " <" + o.Email + ">"))
}

func body(e ferry.Envelope) string {
	text := bytesOf(e.Size)
	if e.ContentType != "" {
		text = oneLine(e.ContentType) + ", " + text
	}
	if e.Revision > 1 {
		text += fmt.Sprintf(", revision %d", e.Revision)
	}
	if e.Generation > 1 {
		text += fmt.Sprintf(", generation %d", e.Generation)
	}
	if e.BodyRemovedAt != nil {
		text += ", removed by retention " + moment(*e.BodyRemovedAt)
	}
	return text
}

func (a *app) writeAttempts(e ferry.Envelope) {
	if len(e.Attempts) == 0 {
		return
	}
	p, now := a.paint(), a.now()
	heading := "attempts"
	if left := e.AttemptsTotal - len(e.Attempts); left > 0 {
		heading = fmt.Sprintf("attempts (%d of %d are kept)", len(e.Attempts), e.AttemptsTotal)
	}
	a.printf("\n%s\n", p.bold(heading))
	for _, attempt := range e.Attempts {
		a.printf("  %d  %s  %s\n", attempt.Number, ago(now, attempt.StartedAt), a.attemptHead(attempt))
		for _, line := range attemptLines(attempt) {
			a.printf("     %s\n", strings.ReplaceAll(line, "\n", "\n     "))
		}
	}
}

// attemptHead is the verdict with its status, code and duration.
func (a *app) attemptHead(t ferry.Attempt) string {
	p := a.paint()
	verdict := string(t.Verdict)
	switch {
	case t.Verdict.HasIt():
		verdict = p.green(verdict)
	case t.Verdict == ferry.Unknown:
		verdict = p.yellow(verdict)
	case t.Verdict != ferry.NotTried:
		verdict = p.red(verdict)
	}
	parts := []string{verdict + effect(t.Effect)}
	if t.Status != 0 {
		parts = append(parts, fmt.Sprintf("status %d", t.Status))
	}
	if t.Code != "" {
		parts = append(parts, oneLine(t.Code))
	}
	parts = append(parts, took(t.DurationMS))
	if t.Worker != "" {
		parts = append(parts, t.Worker)
	}
	return strings.Join(parts, "  ")
}

func effect(e ferry.Effect) string {
	switch e {
	case ferry.EffectNone:
		return ", nothing written"
	case ferry.EffectMaybe:
		return ", may have been written"
	default:
		return ""
	}
}

func attemptLines(t ferry.Attempt) []string {
	var lines []string
	add := func(prefix, text string) {
		if text != "" {
			lines = append(lines, prefix+text)
		}
	}
	add("", oneLine(t.Request))
	add("", strings.TrimRight(printable(t.Text), "\n"))
	add("", fieldLines(t.Fields))
	add("reference ", oneLine(t.Reference))
	add("destination's trace ", oneLine(t.RemoteCorrelationID))
	return lines
}

func (a *app) writeActs(acts []ferry.Act) {
	if len(acts) == 0 {
		return
	}
	a.printf("\n%s\n", a.paint().bold("what was done to it"))
	widest := 0
	for _, act := range acts {
		widest = max(widest, width(oneLine(act.Act)))
	}
	for _, act := range acts {
		a.printf("  %-*s  %s\n", widest, oneLine(act.Act), actLine(a.now(), act))
	}
}

func actLine(now time.Time, act ferry.Act) string {
	text := fmt.Sprintf("%s by %s", ago(now, act.At), orDash(oneLine(act.By)))
	if act.Note != "" {
		text += ": " + oneLine(act.Note)
	}
	return text
}

// ofVersion is the route's version that the message is of, and the worker's.
func ofVersion(e ferry.Envelope) string {
	if e.DeliverAs != "" {
		return e.Version + ", delivered as " + e.DeliverAs
	}
	return e.Version
}

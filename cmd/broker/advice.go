package main

import (
	"sort"

	"ferry"
)

// meaning is a dead letter's reason in words.
func meaning(r ferry.Reason) string {
	switch r {
	case ferry.ReasonRejected:
		return "the destination says that this message, as it is, can never succeed"
	case ferry.ReasonAttemptsExhausted:
		return "every attempt failed"
	case ferry.ReasonExpired:
		return "its time to live ended before it could be delivered"
	case ferry.ReasonOutcomeUnknown:
		return "it may exist at the destination, and nobody could be asked"
	case ferry.ReasonAlreadyExists:
		return "a document with its key exists, and may be that of an earlier revision"
	case ferry.ReasonUndeliverable:
		return "workers ended again and again while they worked on it, or the queue set it aside"
	case ferry.ReasonBodyMissing:
		return "its body is gone or was altered"
	default:
		return oneLine(string(r))
	}
}

// mayExist says whether the destination may have a dead letter of this reason:
// sending it again could make a second document.
func mayExist(r ferry.Reason) bool {
	return r == ferry.ReasonOutcomeUnknown || r == ferry.ReasonAlreadyExists
}

// openWarning is of a dead letter whose receivers may have done it, whatever else
// ended it.
func openWarning(e ferry.Envelope) string {
	return "an earlier receiver may have done it; look at the destination for " + oneLine(ferry.ExternalKey(e.ID, e.IdempotencyKey)) + " before you send it again"
}

// writeAdvice lists the commands that are safe to give next, the likeliest
// first, with a warning where one could post twice.
func (a *app) writeAdvice(e ferry.Envelope) {
	warning, steps := advice(e, a.id(e.ID))
	if len(steps) == 0 {
		return
	}
	p := a.paint()
	a.printf("\n%s\n", p.bold("what to do"))
	if warning != "" {
		a.printf("  %s\n", p.yellow("careful: "+warning))
	}
	widest := 0
	for _, s := range steps {
		widest = max(widest, width(s.name))
	}
	for _, s := range steps {
		a.printf("  %-*s  %s\n", widest, s.name, s.text)
	}
}

func advice(e ferry.Envelope, id string) (warning string, steps []pair) {
	switch e.State {
	case ferry.StateDiscarded:
		return "", []pair{{"it is needed after all", "broker dlq restore " + id}}
	case ferry.StateDeadLettered:
	default:
		return "", nil
	}
	edit := pair{"mend the body and send it again", "broker dlq edit " + id}
	replay := pair{"the cause is gone: send it again", "broker dlq replay " + id}
	accept := pair{"it is there: say so", "broker dlq accept " + id + " --reference NUMBER --note WHY"}
	discard := pair{"nobody needs it", "broker dlq discard " + id + " --note WHY"}
	reason := ferry.Reason("")
	if e.DeadLetter != nil {
		reason = e.DeadLetter.Reason
		if e.DeadLetter.Reference != "" {
			accept.text = "broker dlq accept " + id + " --note WHY"
		}
	}
	if d := e.DeadLetter; d != nil && d.Open && !mayExist(reason) {
		return openWarning(e), []pair{accept, replay, edit, discard}
	}
	switch reason {
	case ferry.ReasonRejected:
		return "", []pair{edit, replay, discard}
	case ferry.ReasonOutcomeUnknown:
		replay.name = "it is surely not there: send it again"
		return "the destination may have it; look there for " + oneLine(ferry.ExternalKey(e.ID, e.IdempotencyKey)) + " before you send it again",
			[]pair{accept, replay, discard}
	case ferry.ReasonAlreadyExists:
		accept.name = "that document is this one: say so"
		replay.name = "that document was removed: send it again"
		return "a document exists; sending again may make a second one", []pair{accept, replay, discard}
	case ferry.ReasonUndeliverable:
		return "something in it, or in its mapping, may end the worker: read the worker's log first", []pair{replay, edit, discard}
	case ferry.ReasonBodyMissing:
		edit.name = "give it its body again"
		edit.text += " -f FILE"
		return "", []pair{edit, discard}
	default:
		return "", []pair{replay, edit, accept, discard}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

package sbemu

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/go-amqp"

	"ferry/internal/sbemu/entity"
	"ferry/internal/sbemu/wire"
)

// mostAtOnce bounds the messages, tokens and numbers of one management request.
const mostAtOnce = 5_000

// mostPeekBytes bounds a reply with messages: what is left out, the next peek brings.
const mostPeekBytes = 1 << 20

var errRequest = errors.New("the request is not as it should be")

// operation is one thing that management does, with the right that it needs.
type operation struct {
	right Rights
	do    func(request, body) (any, error)
}

// body is the map that a request carries.
type body map[string]any

// operations are those of the service, by what follows "com.microsoft:".
func operations() map[string]operation {
	return map[string]operation{
		"renew-lock":                 {Listen, request.renewLock},
		"peek-message":               {Listen, request.peek},
		"schedule-message":           {Send, request.schedule},
		"cancel-scheduled-message":   {Send, request.cancelScheduled},
		"receive-by-sequence-number": {Listen, request.receiveDeferred},
		"update-disposition":         {Listen, request.updateDisposition},
		"renew-session-lock":         {Listen, request.renewSession},
		"get-session-state":          {Listen, request.sessionState},
		"set-session-state":          {Listen, request.setSessionState},
		"get-message-sessions":       {Listen, request.sessions},
	}
}

// manage does what a request to an entity's management asks for.
func (r request) manage() (reply, SettleFault) {
	name, ok := strings.CutPrefix(text(r.msg.ApplicationProperties["operation"]), "com.microsoft:")
	op, known := r.c.srv.operations[name]
	if !ok || !known {
		return refusal(http.StatusNotImplemented, condNotThere, fmt.Sprintf("there is no operation %.60q here", name)), SettleFault{}
	}
	if !r.c.permitted(r.node, op.right, time.Now()) {
		return refusal(http.StatusUnauthorized, condUnauthorized, "no token of this connection has the right to "+name+" on "+r.node.address), SettleFault{}
	}
	if r.c.srv.hooks.busy() {
		return refusal(http.StatusServiceUnavailable, condBusy, textBusy), SettleFault{}
	}
	b := bodyOf(r.msg.Value)
	var fault SettleFault
	if name == "update-disposition" {
		if fault = r.c.srv.hooks.settle(r.node.queue(), dispositions[text(b["disposition-status"])]); fault.Lose {
			return reply{}, fault
		}
	}
	answer, err := op.do(r, b)
	switch {
	case errors.Is(err, errRequest):
		return refusal(http.StatusBadRequest, "com.microsoft:argument-error", err.Error()), fault
	case err != nil:
		return refusal(entity.StatusCode(err), wire.Symbol(entity.Condition(err)), err.Error()), fault
	case answer == nothing:
		return reply{status: http.StatusNoContent}, fault
	}
	return reply{status: http.StatusOK, body: answer}, fault
}

// none answers that there is nothing to give.
type none struct{}

var nothing any = none{}

func bodyOf(v any) body {
	switch m := v.(type) {
	case map[string]any:
		return m
	case map[any]any:
		out := body{}
		for k, v := range m {
			if key := text(k); key != "" {
				out[key] = v
			}
		}
		return out
	}
	return body{}
}

// list reads a list or a typed array of at most mostAtOnce values.
func list[T any](b body, key string) ([]T, error) {
	switch v := b[key].(type) {
	case []T:
		if len(v) > 0 && len(v) <= mostAtOnce {
			return v, nil
		}
	case []any:
		if len(v) == 0 || len(v) > mostAtOnce {
			break
		}
		out := make([]T, 0, len(v))
		for _, e := range v {
			t, ok := e.(T)
			if !ok {
				return nil, fmt.Errorf("%w: %s holds a %T", errRequest, key, e)
			}
			out = append(out, t)
		}
		return out, nil
	case T:
		return []T{v}, nil
	}
	return nil, fmt.Errorf("%w: %s are 1 to %d", errRequest, key, mostAtOnce)
}

func (b body) number(key string) (int64, error) {
	n, ok := number(b[key])
	if !ok {
		return 0, fmt.Errorf("%w: %s is no number", errRequest, key)
	}
	return n, nil
}

// session is the id in a request, or nil.
func (b body) session() *string {
	if id, ok := b["session-id"].(string); ok {
		return &id
	}
	return nil
}

func (b body) sessionID() (string, error) {
	if id := b.session(); id != nil {
		return *id, nil
	}
	return "", fmt.Errorf("%w: session-id is missing", errRequest)
}

func (r request) renewLock(b body) (any, error) {
	tokens, err := list[amqp.UUID](b, "lock-tokens")
	if err != nil {
		return nil, err
	}
	until := make([]time.Time, 0, len(tokens))
	for _, t := range tokens {
		at, err := r.node.source.Renew(entity.Token(t))
		if err != nil {
			return nil, err
		}
		until = append(until, at)
	}
	return map[string]any{"expirations": until}, nil
}

// The outcomes by the names that management has for them.
var dispositions = map[string]string{
	"completed": outcomeCompleted, "abandoned": outcomeAbandoned, "defered": outcomeDeferred, "suspended": outcomeDeadLettered,
	"unlocked": outcomeReleased,
}

func (r request) updateDisposition(b body) (any, error) {
	tokens, err := list[amqp.UUID](b, "lock-tokens")
	if err != nil {
		return nil, err
	}
	var props map[string]any
	if m := bodyOf(b["properties-to-modify"]); len(m) > 0 {
		props = m
	}
	outcome := dispositions[text(b["disposition-status"])]
	for _, t := range tokens {
		token := entity.Token(t)
		switch outcome {
		case outcomeCompleted:
			err = r.node.source.Complete(token)
		case outcomeAbandoned:
			err = r.node.source.Abandon(token, props)
		case outcomeDeferred:
			err = r.node.source.Defer(token, props)
		case outcomeReleased:
			err = r.node.source.Release(token)
		case outcomeDeadLettered:
			err = r.node.source.DeadLetter(token, text(b["deadletter-reason"]), text(b["deadletter-description"]), props)
		default:
			err = fmt.Errorf("%w: there is no disposition %.40q", errRequest, text(b["disposition-status"]))
		}
		if err != nil {
			return nil, err
		}
	}
	return map[string]any{}, nil
}

func (r request) renewSession(b body) (any, error) {
	id, err := b.sessionID()
	if err != nil {
		return nil, err
	}
	until, err := r.node.source.RenewSession(id)
	if err != nil {
		return nil, err
	}
	return map[string]any{"expiration": until}, nil
}

func (r request) sessionState(b body) (any, error) {
	id, err := b.sessionID()
	if err != nil {
		return nil, err
	}
	state, err := r.node.source.SessionState(id)
	if err != nil {
		return nil, err
	}
	if state == nil {
		return map[string]any{"session-state": nil}, nil
	}
	return map[string]any{"session-state": state}, nil
}

func (r request) setSessionState(b body) (any, error) {
	id, err := b.sessionID()
	if err != nil {
		return nil, err
	}
	state, _ := b["session-state"].([]byte)
	if len(state) == 0 {
		state = nil // the Go SDK clears it with no bytes, others with null
	}
	if err := r.node.source.SetSessionState(id, state); err != nil {
		return nil, err
	}
	return map[string]any{}, nil
}

func (r request) sessions(b body) (any, error) {
	skip, err := b.number("skip")
	if err != nil {
		return nil, err
	}
	top, err := b.number("top")
	if err != nil {
		return nil, err
	}
	since, _ := b["last-updated-time"].(time.Time)
	if !inTime(since) {
		since = time.Time{} // the end of the calendar asks for those with messages
	}
	ids, err := r.node.source.Sessions(since, int(max(skip, 0)), int(min(max(top, 0), mostAtOnce)))
	switch {
	case err != nil:
		return nil, err
	case len(ids) == 0:
		return nothing, nil
	}
	return map[string]any{"skip": int32(int(skip) + len(ids)), "sessions-ids": ids}, nil
}

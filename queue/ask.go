package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Handler answers what workers ask. from is the worker as the driver
// authenticated it, empty when it cannot tell.
type Handler interface {
	Hello(ctx context.Context, from string, h Hello) Welcome
	// Body returns the part of a body that r asks for: r.Length bytes, fewer only
	// at its end. ErrBodyMissing: there is no such body. ErrUnauthorized: not for
	// this worker. Anything else is a passing fault.
	Body(ctx context.Context, from string, r BodyRequest) ([]byte, error)
	// Claim gives a turn of a route with several workers to one delivery, on disk
	// before it returns. ErrUnauthorized: not for this worker. Anything else is a
	// passing fault.
	Claim(ctx context.Context, from string, r ClaimRequest) (ClaimAnswer, error)
}

// A question is a version byte, a byte that says what is asked, and JSON. An
// answer is a version byte, a byte that says how it went, and JSON or bytes.
const (
	askHello  byte = 'h'
	askBody   byte = 'b'
	askClaim  byte = 'c'
	askReport byte = 'r'

	answerOK           byte = 'o'
	answerMissing      byte = 'g'
	answerUnauthorized byte = 'u'
	answerFault        byte = 'f' // the broker's, or a question that it does not know
)

// errFault is an answer of answerFault.
var errFault = errors.New("the broker could not answer")

// Hello tells the broker about this worker and returns its answer. Workers only.
func (q *Queue) Hello(ctx context.Context, h Hello) (Welcome, error) {
	answer, err := q.ask(ctx, askHello, h)
	if err != nil {
		return Welcome{}, fmt.Errorf("hello: %w", err)
	}
	var w Welcome
	if err := json.Unmarshal(answer, &w); err != nil {
		return Welcome{}, fmt.Errorf("hello: the broker's answer: %w", err)
	}
	return w, nil
}

func (q *Queue) ask(ctx context.Context, what byte, question any) ([]byte, error) {
	text, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	answer, err := q.driver.Request(ctx, append([]byte{wireVersion, what}, text...))
	if err != nil {
		return nil, err
	}
	if len(answer) < 2 {
		return nil, fmt.Errorf("the broker's answer: %w", errMalformed)
	}
	if answer[0] != wireVersion {
		return nil, versionError{answer[0]}
	}
	switch answer[1] {
	case answerOK:
		return answer[2:], nil
	case answerMissing:
		return nil, ErrBodyMissing
	case answerUnauthorized:
		return nil, ErrUnauthorized
	default:
		return nil, errFault
	}
}

// Serve answers what workers ask until stop, which waits for the answers under
// way. Brokers only.
func (q *Queue) Serve(ctx context.Context, handler Handler) (stop func(), err error) {
	stop, err = q.driver.Serve(ctx, func(ctx context.Context, from string, data []byte) []byte {
		status, answer := q.answer(ctx, handler, from, data)
		return append([]byte{wireVersion, status}, answer...)
	})
	if err != nil {
		return nil, fmt.Errorf("serve the workers' questions: %w", err)
	}
	return stop, nil
}

func (q *Queue) answer(ctx context.Context, handler Handler, from string, data []byte) (status byte, answer []byte) {
	if len(data) < 2 || data[0] != wireVersion {
		q.log.Warn("queue.question", "worker", from, "error", "a question of an unknown version")
		return answerFault, nil
	}
	var err error
	switch data[1] {
	case askHello:
		var h Hello
		if err = json.Unmarshal(data[2:], &h); err == nil && max(len(h.Inbox), len(h.Run)) > maxName {
			err = fmt.Errorf("%w: the name of an inbox or a run is too long", errMalformed)
		}
		if err == nil {
			answer, err = json.Marshal(handler.Hello(ctx, from, h))
		}
	case askBody:
		var r BodyRequest
		if err = json.Unmarshal(data[2:], &r); err == nil {
			answer, err = q.answerBody(ctx, handler, from, r)
		}
	case askClaim:
		answer, err = q.answerClaim(ctx, handler, from, data[2:])
	case askReport:
		answer, err = q.answerReport(ctx, handler, from, data[2:])
	default:
		err = fmt.Errorf("question %d is unknown", data[1])
	}
	switch {
	case err == nil:
		return answerOK, answer
	case errors.Is(err, ErrBodyMissing):
		return answerMissing, nil
	case errors.Is(err, ErrUnauthorized):
		return answerUnauthorized, nil
	default:
		q.log.Warn("queue.question", "worker", from, "error", err.Error())
		return answerFault, nil
	}
}

func (q *Queue) answerBody(ctx context.Context, handler Handler, from string, r BodyRequest) ([]byte, error) {
	if r.Offset < 0 || r.Length < 1 || r.Length > BodyChunk {
		return nil, fmt.Errorf("a body's part of %d bytes at %d", r.Length, r.Offset)
	}
	part, err := handler.Body(ctx, from, r)
	if err == nil && len(part) > r.Length {
		return nil, fmt.Errorf("a body's part has %d bytes instead of %d", len(part), r.Length)
	}
	return part, err
}

package api

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"ferry"
)

// Waiters tells the ends of messages to those who poll for them.
type Waiters interface {
	// ResultToken is the capability to read how a message ended: whoever has it needs
	// no key. The same message and end have the same token, also after a restart.
	ResultToken(id ferry.ID, until ferry.WaitFor) string
	// ResultOf says which message a token is for, and what is waited for; ok is false
	// for anything that ResultToken did not make.
	ResultOf(token string) (id ferry.ID, until ferry.WaitFor, ok bool)
	// MessageHead is Reader.Message without the attempts, which a poll does not need.
	MessageHead(ctx context.Context, id ferry.ID) (ferry.Envelope, error)
}

// waiting lists the calls of senders that wait for the end of a message.
func waiting() []endpoint {
	pending := reply{202, "still pending: ask the Location again after Retry-After seconds; it needs no key", ferry.Envelope{}, nil, []string{"Location", "Retry-After"}}
	ended := reply{200, "the end, whatever it is: state says completed, deadLettered or discarded; as a CloudEvent where Accept asks for one", ferry.Envelope{}, eventTypes(), nil}
	return []endpoint{
		{
			method: http.MethodPost, path: "/v1/routes/{route}/messages/wait", id: "sendMessageAndWait", roles: senders, sends: true, handle: (*call).sendAndWait,
			summary: "Send a message and wait for its end",
			text:    "As sendMessage, for callers that follow 202: the end is at the Location, which needs no key. The same message again has the same Location, also when it has ended.",
			params:  append(sendParams(), waitParams()...), body: &body{text: "the payload"},
			answers: []reply{{202, "the message is on disk; its end is at the Location", ferry.Accepted{}, nil, []string{"Location", "Retry-After"}}},
		},
		{
			method: http.MethodGet, path: "/v1/results/{token}", id: "getResult", open: true, handle: (*call).resultByToken,
			summary: "Learn the end of a message, without a key",
			text:    "The token is the one of the Location that sendMessageAndWait or getMessageResult answered. It is good for one message. While the end is awaited the answer has no attempts.",
			answers: []reply{ended, pending},
		},
		{
			method: http.MethodGet, path: "/v1/messages/{id}/result", id: "getMessageResult", roles: readers, handle: (*call).getResult,
			summary: "Wait for the end of a message", params: waitParams(), answers: []reply{ended, pending},
		},
	}
}

func waitParams() []param {
	const text = "which end: ended (the default) is completed, dead-lettered or discarded; completed waits on across a dead letter, its edit and its replay"
	return []param{
		{name: "waitFor", in: inQuery, enum: enum(ferry.WaitFors()), text: text},
		{name: waitForHeader, in: inHeader, enum: enum(ferry.WaitFors()), text: text},
	}
}

const waitForHeader = "Ferry-Wait-For"

// waitFor reads which end the caller waits for.
func (c *call) waitFor() (ferry.WaitFor, error) {
	value, given, err := c.option(waitForHeader, "waitFor")
	switch until := ferry.WaitFor(value); {
	case err != nil:
		return "", err
	case !given:
		return ferry.WaitEnded, nil
	case until == ferry.WaitEnded || until == ferry.WaitCompleted:
		return until, nil
	}
	return "", ferry.Errorf(ferry.CodeBadRequest, "waitFor=%q means nothing", clip(value)).
		WithHint("one of %s", strings.Join(enum(ferry.WaitFors()), ", "))
}

// sendAndWait takes a message and answers 202 with the address of its end, so that
// a flow waits by itself: it polls that address, and does not send the key there.
func (c *call) sendAndWait() error {
	until, err := c.waitFor() // before anything is accepted
	if err != nil {
		return err
	}
	accepted, err := c.take()
	if err != nil {
		return err
	}
	accepted.StatusURL = c.statusURL(accepted.ID)
	c.pollAt(accepted.ID, until, firstPause)
	return c.json(http.StatusAccepted, accepted)
}

// getResult is for who waits and has a key. The Location needs none: an engine that
// follows it does not send it there.
func (c *call) getResult() error {
	until, err := c.waitFor()
	if err != nil {
		return err
	}
	e, err := c.envelope()
	if err != nil {
		return err
	}
	return c.answerResult(e, until)
}

// resultByToken is what an engine polls.
func (c *call) resultByToken() error {
	// Nothing is read before the token has proved good, and all that are not are
	// answered alike.
	id, until, ok := c.api.svc.ResultOf(c.r.PathValue("token"))
	if !ok {
		return ferry.Errorf(ferry.CodeNotFound, "there is no result at this address").
			WithHint("ask the address of the Location header as it is, to its last character")
	}
	e, err := c.api.svc.MessageHead(c.ctx(), id)
	if err == nil && until.Over(e.State) {
		e, err = c.api.svc.Message(c.ctx(), id) // whole; and it may have been replayed just now
	}
	if ferry.CodeOf(err) == ferry.CodeMessageNotFound {
		return ferry.Errorf(ferry.CodeResultGone, "the broker has this message no longer").
			WithHint("ended messages are kept for the retention; look for its idempotency key in the destination")
	}
	if err != nil {
		return err
	}
	c.route = e.Route
	return c.answerResult(e, until)
}

// answerResult is 202 with a Location while the end is awaited, and 200 at the end,
// whatever the end: any status that an engine repeats would make it ask for ever.
func (c *call) answerResult(e ferry.Envelope, until ferry.WaitFor) error {
	c.complete(&e)
	if until.Over(e.State) {
		return c.answerEnvelope(http.StatusOK, &e)
	}
	c.pollAt(e.ID, until, pauseAfter(c.start.Sub(began(&e))))
	return c.json(http.StatusAccepted, e)
}

// pollAt names the address of a result and when to ask it.
func (c *call) pollAt(id ferry.ID, until ferry.WaitFor, pause time.Duration) {
	h := c.w.Header()
	h.Set("Location", c.publicURL()+resultsPath+c.api.svc.ResultToken(id, until))
	h.Set("Retry-After", strconv.Itoa(int(pause/time.Second)))
}

// The pauses between polls.
const (
	firstPause = 5 * time.Second
	lastPause  = time.Minute
)

// pauseAfter doubles the pause from poll to poll: who asks after each gets 5, 10,
// 20, 40, 60, 60 … seconds. It goes by how long the message has been on its way,
// which the ledger knows: so nothing is kept per poll, and a restart changes nothing.
func pauseAfter(waited time.Duration) time.Duration {
	pause, next := firstPause, firstPause // next: when the poll after the first is due
	for pause < lastPause && waited >= next {
		pause *= 2
		next += pause
	}
	return min(pause, lastPause)
}

// began is when the message was last sent on its way: when it was accepted, or when
// somebody replayed or replaced it. Who waits across a dead letter then learns of
// the end as soon as at first.
func began(e *ferry.Envelope) time.Time {
	began := e.CreatedAt
	for _, act := range e.Acts {
		if (act.Act == "replay" || act.Act == "edit" || act.Act == "replace") && act.At.After(began) {
			began = act.At
		}
	}
	return began
}

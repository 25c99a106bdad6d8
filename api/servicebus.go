package api

import (
	"context"
	"mime"
	"net/http"
	"strings"
	"time"

	"ferry"
)

// The calls of Azure Service Bus' REST API, where a queue is a route: a client
// that was written for that API sends and receives here by changing its address.

// Receivers hands out messages to those who ask for them.
type Receivers interface {
	// Receive gives by the first message of the route that is due, locked, on disk
	// before it returns; nil when none came within wait, or the broker stops. With
	// remove it is completed at once. conflict: workers deliver the route.
	Receive(ctx context.Context, route, by string, wait time.Duration, remove bool) (*ferry.Received, error)
	// SettleLock commits what a receiver says of a message that it received; else
	// lockLost. until is of a lock that was renewed.
	SettleLock(ctx context.Context, s ferry.LockSettle) (until time.Time, err error)
}

// The rights of a SAS policy.
const (
	RightSend   = "send"
	RightListen = "listen"
)

var takers = []ferry.Role{ferry.RoleReceiver}

// serviceBus lists the calls of Azure Service Bus.
func serviceBus() []endpoint {
	const post = http.MethodPost
	timeout := param{name: "timeout", in: inQuery, kind: "integer", text: "seconds; a receive waits so long for a message, at most and by default 55"}
	locked := "/{route}/messages/{message}/{lock}"
	return []endpoint{
		{
			method: post, path: "/{route}/messages", id: "sendToQueue", roles: senders, sends: true, right: RightSend, handle: (*call).sendToQueue,
			summary: "Send a message the way of Service Bus",
			text:    "The body is the payload; what else belongs to the message is in the header BrokerProperties, and every header of the sender's own becomes a property. With the content type application/vnd.microsoft.servicebus.json the body is a batch, accepted as a whole.",
			params: []param{
				timeout,
				{name: brokerHeader, in: inHeader, text: "JSON: MessageId (the idempotency key), SessionId (the ordering key), CorrelationId, Label, To, ReplyTo, ReplyToSessionId, PartitionKey, ScheduledEnqueueTimeUtc, TimeToLive in seconds; others are ignored. At most 32 KiB"},
				{name: keyHeader, in: inHeader, text: "stands for MessageId"},
				{name: conflictHeader, in: inHeader, text: "replace: as in the operation sendMessage; of a batch, for all of its messages"},
			},
			body:    &body{text: "the payload, or a batch"},
			answers: []reply{{201, "on disk; also when it was known", nil, nil, nil}},
		},
		{
			method: post, path: "/{route}/messages/head", id: "receiveFromQueue", roles: takers, right: RightListen, handle: (*call).peekLock,
			summary: "Receive a message and lock it", text: "On routes with workers: pull. It comes again when its lock ends before it was completed.",
			params: []param{timeout},
			answers: []reply{
				{201, "the message, locked: complete, unlock or renew it at its Location", nil, []string{"*/*"}, []string{brokerHeader, "Location"}},
				{204, "no message within the time", nil, nil, nil},
			},
		},
		{
			method: http.MethodDelete, path: "/{route}/messages/head", id: "receiveAndDelete", roles: takers, right: RightListen, handle: (*call).receiveAndDelete,
			summary: "Receive a message and complete it at once", text: "On routes with workers: pull. Who loses the answer has lost the message.",
			params: []param{timeout},
			answers: []reply{
				{200, "the message, completed", nil, []string{"*/*"}, []string{brokerHeader}},
				{204, "no message within the time", nil, nil, nil},
			},
		},
		{
			method: http.MethodDelete, path: locked, id: "completeMessage", roles: takers, right: RightListen, handle: (*call).completeLocked,
			summary: "Complete a message that was received, or reject it",
			text:    "With outcome rejected it becomes a dead letter. The options stand in the query or in the body, which Service Bus does not have.",
			params: []param{
				timeout,
				{name: "outcome", in: inQuery, enum: []string{OutcomeDelivered, OutcomeRejected}, text: "default delivered"},
				{name: "reference", in: inQuery, text: "delivered: the destination's own number of the document, at most 256 bytes"},
				{name: "code", in: inQuery, text: "rejected: the destination's own error code, at most 256 bytes"},
				{name: "text", in: inQuery, text: "the destination's words, at most 4096 bytes"},
			},
			body:    &body{of: LockRequest{}, optional: true},
			answers: []reply{{200, "on disk; also when it was said before", nil, nil, nil}},
		},
		{
			method: http.MethodPut, path: locked, id: "unlockMessage", roles: takers, right: RightListen, handle: (*call).unlockLocked,
			summary: "Give back a message that was received", params: []param{timeout},
			answers: []reply{{200, "it may be received again at once", nil, nil, nil}},
		},
		{
			method: post, path: locked, id: "renewMessageLock", roles: takers, right: RightListen, handle: (*call).renewLocked,
			summary: "Hold a message that was received for longer", params: []param{timeout},
			answers: []reply{{200, "the lock begins anew", nil, nil, []string{brokerHeader}}},
		},
	}
}

// ofQueue says whether a path is one of these calls: /{route}/messages and below.
func ofQueue(path string) bool {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return first != "v1" && (rest == "messages" || strings.HasPrefix(rest, "messages/"))
}

// queueRoute is knownRoute, told the way of Service Bus.
func (c *call) queueRoute() (ferry.Route, error) {
	name := c.r.PathValue("route")
	if !c.who.MaySee(name) {
		return ferry.Route{}, ferry.Errorf(ferry.CodeForbidden, "this key or policy may not use the route %q", clip(name)).
			WithHint("a key is made with --routes, a policy configured with routes")
	}
	route, ok := c.api.svc.Route(name)
	if !ok {
		return ferry.Route{}, ferry.Errorf(ferry.CodeQueueNotFound, "there is no route %q", clip(name)).
			WithHint("a queue of Service Bus is a route here: the broker's configuration lists them")
	}
	c.route = route.Name
	return route, nil
}

// sendToQueue takes one message, or a batch.
func (c *call) sendToQueue() error {
	route, err := c.queueRoute()
	if err != nil {
		return err
	}
	if err := c.checkEncoding(); err != nil {
		return err
	}
	m := c.message(&route)
	if m.ContentType, err = contentType(c.r.Header); err != nil {
		return err
	}
	if media, _, _ := mime.ParseMediaType(m.ContentType); media == batchType {
		return c.sendQueueBatch(&route)
	}
	props, fault := readBrokerHeader(c.r.Header)
	if fault != nil {
		return fault
	}
	if fault := c.takeKeyHeader(&props); fault != nil {
		return fault
	}
	m.Properties = headerProperties(c.r.Header)
	m.OnConflict = c.r.Header.Get(conflictHeader)
	if fault, _ := props.apply(&m, &route); fault != nil {
		return fault
	}
	c.track(&m)
	if m.Version, err = c.version(&route); err != nil {
		return err
	}
	if err = c.headerEvent(&m, &route); err != nil {
		return err
	}
	if err = c.takePayload(&m, maxBytes(&route)); err != nil {
		return err
	}
	if m.BodySize() == 0 && !route.AllowEmpty {
		return emptyBody()
	}
	accepted, err := c.api.svc.Accept(c.ctx(), m)
	if err != nil {
		return err
	}
	c.took(&accepted)
	c.observeAccept()
	c.w.Header()[messageIDHeader] = []string{accepted.ID.String()}
	c.parting(&route, accepted.Version)
	c.answerSent()
	return nil
}

// messageIDHeader tells a sender by which id Ferry knows its message.
const messageIDHeader = "Ferry-Message-Id"

// message is what every message of this request begins as.
func (c *call) message(route *ferry.Route) ferry.Message {
	return ferry.Message{
		Route: route.Name, CreatedAt: c.start.UTC(), Traceparent: traceparent(c.r.Header), Tracestate: tracestate(c.r.Header),
		Sender: ferry.Sender{Name: c.who.Name, KeyID: c.who.KeyID, Flow: c.flowOf()},
		Quotas: c.uses(),
	}
}

// track gives a message of a flow the flow's own correlation id, where it has none.
func (c *call) track(m *ferry.Message) {
	if m.CorrelationID == "" {
		m.CorrelationID = trackedAs(m.Sender.Flow)
	}
}

// takeKeyHeader lets Idempotency-Key stand for the MessageId: dropped, it would
// let repeats through.
func (c *call) takeKeyHeader(props *brokerProperties) *ferry.Error {
	for _, v := range c.r.Header[keyHeader] {
		key, err := unquote(v)
		if err != nil {
			return asError(err)
		}
		if props.MessageID.given && string(props.MessageID.text) != key {
			return ferry.Errorf(ferry.CodeBadRequest, "%s and MessageId are given with different values", keyHeader)
		}
		props.MessageID = text{key, true}
	}
	return nil
}

// answerSent is 201 without a body; the content type comes back as it was sent.
func (c *call) answerSent() {
	if ct := c.r.Header["Content-Type"]; len(ct) == 1 {
		c.w.Header()["Content-Type"] = ct
	}
	c.write(http.StatusCreated, nil)
}

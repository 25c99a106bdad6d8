package sbemu

import (
	"net/http"
	"strings"
	"time"

	"github.com/Azure/go-amqp"

	"ferry/internal/sbemu/wire"
)

// request is a message to $cbs or to the management of an entity.
type request struct {
	c    *conn
	node node
	msg  *amqp.Message
}

// reply is what is answered.
type reply struct {
	status      int
	description string
	condition   wire.Symbol // of an error
	body        any         // nil: an empty map
}

func refusal(status int, condition wire.Symbol, description string) reply {
	return reply{status: status, condition: condition, description: description}
}

// request acts on a request and answers it on the link that it names.
func (l *incoming) request(b []byte) {
	m, err := decode(b)
	if err != nil || m.Properties == nil || m.Properties.ReplyTo == nil {
		l.s.c.endLink(l, failure(condDecode, "a request that cannot be read, or says not where to answer"))
		return
	}
	to := l.s.c.replyLink(l.node, *m.Properties.ReplyTo)
	if to == nil {
		l.s.c.srv.log.Debug("a request names no link to answer on", "address", l.node.address)
		return
	}
	r := request{c: l.s.c, node: l.node, msg: m}
	answer := func(a reply) {
		b, err := a.encode(m)
		if err != nil {
			l.s.c.srv.log.Error("encode a reply", "error", err)
			return
		}
		to.reply(b)
	}
	if l.node.kind == kindTokens {
		answer(r.putToken())
		return
	}
	a, fault := r.manage()
	if !fault.Lose && !fault.Drop {
		l.s.c.after(fault.Delay, func() { answer(a) })
	}
}

// replyLink finds the link on which a reply goes out: by the address of its target,
// or by its own name.
func (c *conn) replyLink(n node, to string) *outgoing {
	for _, s := range c.sessions {
		for _, l := range s.links {
			o, ok := l.(*outgoing)
			if ok && !o.detached && o.node.kind == n.kind && strings.EqualFold(o.node.address, n.address) && (o.target == to || o.name == to) {
				return o
			}
		}
	}
	return nil
}

// reply puts an answer where it waits for credit.
func (l *outgoing) reply(b []byte) {
	if l.detached || l.s.ended {
		return
	}
	if len(l.replies) >= l.s.c.srv.o.Limits.Replies {
		l.s.c.endLink(l, failure(condLimit, "%d replies wait for credit", len(l.replies)))
		return
	}
	l.replies = append(l.replies, b)
	l.s.c.mark(l)
}

func (a reply) encode(to *amqp.Message) ([]byte, error) {
	m := &amqp.Message{
		Properties: &amqp.MessageProperties{CorrelationID: to.Properties.MessageID},
		ApplicationProperties: map[string]any{
			"statusCode": int32(a.status), "statusDescription": a.description,
		},
		Value: a.body,
	}
	if a.condition != "" {
		m.ApplicationProperties["errorCondition"] = amqp.Symbol(a.condition)
	}
	if a.description == "" {
		m.ApplicationProperties["statusDescription"] = http.StatusText(a.status)
	}
	if m.Value == nil {
		m.Value = map[string]any{}
	}
	return m.MarshalBinary()
}

// putToken takes a token for an audience.
func (r request) putToken() reply {
	p := r.msg.ApplicationProperties
	audience, token := text(p["name"]), text(r.msg.Value)
	if text(p["operation"]) != "put-token" || audience == "" || token == "" {
		return refusal(http.StatusBadRequest, condInvalid, "a token, and what it is for, are put here")
	}
	now := time.Now()
	cl, err := r.c.srv.auth.check(text(p["type"]), token, audience, now)
	if err == nil {
		err = r.c.srv.hooks.rejects(resource(audience), cl.policy)
	}
	if err != nil {
		return refusal(http.StatusUnauthorized, condUnauthorized, err.Error())
	}
	path := resource(audience)
	if _, there := r.c.claims[path]; !there && len(r.c.claims) >= r.c.srv.o.Limits.Claims {
		return refusal(http.StatusForbidden, condLimit, "this connection has put too many tokens")
	}
	r.c.claims[path] = cl
	if r.c.nextEnd.IsZero() || cl.expires.Before(r.c.nextEnd) {
		r.c.nextEnd, r.c.rearm = cl.expires, true
	}
	return reply{status: http.StatusAccepted}
}

package intake

import (
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry"
)

// replyOf says where the end of a message is told, nil: nowhere. A place that is
// not allowed is logged and told nothing; the message is taken in all the same.
func (s *source) replyOf(a *arrival, m *azservicebus.ReceivedMessage) *ferry.ReplyTo {
	if a.replyTo == "" || !s.Replies {
		return nil
	}
	queue, why := s.replyQueue(a.replyTo)
	if why == "" && len(a.replyToSession) > 128 {
		why = "ReplyToSessionId has more than 128 bytes"
	}
	if why != "" {
		s.log.Warn("a message asks for a reply that is not sent", "route", s.Route, "queue", s.Queue, "sequence", number(m), "why", why)
		return nil
	}
	r := &ferry.ReplyTo{Kind: ferry.ReplyServiceBus, Target: queue, SessionID: a.replyToSession, CorrelationID: a.id}
	if r.CorrelationID == "" {
		r.CorrelationID = a.correlationID
	}
	return r
}

// replyQueue is the queue that a ReplyTo names in the same namespace: by its name,
// or by its whole address. why says what is wrong with it.
func (s *source) replyQueue(replyTo string) (queue, why string) {
	queue = replyTo
	if strings.Contains(replyTo, "://") {
		u, err := url.Parse(replyTo)
		if err != nil || u.Host == "" {
			return "", "ReplyTo is an address that cannot be read"
		}
		if !strings.EqualFold(u.Hostname(), s.Namespace) {
			return "", "ReplyTo is in another namespace"
		}
		queue = u.Path
	}
	queue = strings.Trim(queue, "/")
	switch {
	case queue == "":
		return "", "ReplyTo names no queue"
	case len(queue) > ferry.MaxReplyTarget:
		return "", "ReplyTo is too long"
	case strings.Trim(strings.ToLower(queue), "abcdefghijklmnopqrstuvwxyz0123456789._-/~") != "":
		return "", "ReplyTo is not the name of a queue"
	case s.own(queue):
		return "", "ReplyTo is a queue that Ferry reads itself"
	}
	return strings.ToLower(queue), "" // as the service sees it: one queue, one target
}

func number(m *azservicebus.ReceivedMessage) int64 {
	if m.SequenceNumber == nil {
		return 0
	}
	return *m.SequenceNumber
}

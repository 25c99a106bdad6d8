package config

import (
	"fmt"
	"regexp"
	"strings"
)

// Intake is where a route takes messages in from, beside those that senders post.
type Intake struct {
	ServiceBus *IntakeServiceBus `yaml:"servicebus"`
}

// IntakeServiceBus is a Service Bus queue that others put messages into.
type IntakeServiceBus struct {
	// The namespace of the queue; default that of queue.servicebus.
	ServiceBus `yaml:",inline"`
	Queue      string `yaml:"queue"`
	// Concurrency is how many messages are in hand at a time; default 32, fewer where
	// maxBytes is large; at most 500.
	Concurrency int `yaml:"concurrency"`
	// Replies: who names a queue in ReplyTo is told the end of the message there;
	// default true.
	Replies *bool `yaml:"replies"`
	// ContentData is auto, the default: payloads are taken out of what flows and old
	// clients put around them; or off: bodies are taken as they are.
	ContentData string `yaml:"contentData"`
}

// SendsReplies says whether replies are sent.
func (s *IntakeServiceBus) SendsReplies() bool { return s.Replies == nil || *s.Replies }

// Unwraps says whether payloads are taken out of what is around them.
func (s *IntakeServiceBus) Unwraps() bool { return s.ContentData != contentDataOff }

// Bounds of an intake.
const (
	defaultInHand  = 32
	maxInHand      = 500
	maxInHandBytes = 256 << 20 // of the default: messages of AMQP are whole in memory
	maxQueueName   = 260

	contentDataAuto = "auto"
	contentDataOff  = "off"
)

func (in *Intake) complete(r *BrokerRoute, shared ServiceBus) {
	if in == nil || in.ServiceBus == nil {
		return
	}
	s := in.ServiceBus
	if s.ServiceBus == (ServiceBus{}) {
		s.ServiceBus = shared
	}
	setDefault(&s.ContentData, contentDataAuto)
	setDefault(&s.Concurrency, int(min(defaultInHand, max(maxInHandBytes/max(int64(r.MaxBytes), 1), 1))))
}

// queueName is what the service lets queues be called.
var queueName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/~-]*[A-Za-z0-9_])?$`)

func (in *Intake) check(d *decoder, path, prefix string) {
	if in == nil {
		return
	}
	if in.ServiceBus == nil {
		d.at(path, "add servicebus: {queue: …}", "%s names nowhere to take messages in from", path)
		return
	}
	s, path := in.ServiceBus, path+".servicebus"
	switch {
	case s.Queue == "":
		d.at(path, "add queue: the name of the queue that flows send to", "%s.queue is missing", path)
	case !queueName.MatchString(s.Queue) || len(s.Queue) > maxQueueName:
		d.at(path+".queue", "letters, digits, dots, dashes, underscores and slashes", "%s.queue: %q cannot be the name of a queue", path, clip(s.Queue))
	case strings.HasPrefix(strings.ToLower(s.Queue), prefix+"."):
		d.at(path+".queue", "make a queue of its own for what flows send", "%s.queue: the queues %s.… are the broker's own", path, prefix)
	}
	if s.IsZero() {
		d.at(path, "add connectionString: env:NAME or namespace: here, or once for all under queue.servicebus", "%s names no namespace", path)
	} else {
		s.ServiceBus.check(d, path)
	}
	d.checkSpan(path+".concurrency", int64(s.Concurrency), 1, maxInHand, func(n int64) string { return fmt.Sprint(n) })
	d.checkOneOf(path+".contentData", s.ContentData, contentDataAuto, contentDataOff)
}

// checkIntakes wants every queue to be taken from by one route.
func (b *Broker) checkIntakes(d *decoder) {
	first := map[string]string{}
	for i := range b.Routes {
		in := b.Routes[i].Intake
		if in == nil || in.ServiceBus == nil || in.ServiceBus.Queue == "" {
			continue
		}
		s := in.ServiceBus
		key := strings.ToLower(fmt.Sprint(s.ConnectionString, " ", s.Namespace, " ", s.Queue))
		if other, taken := first[key]; taken {
			d.at(fmt.Sprintf("routes[%d].intake.servicebus.queue", i), "give each route a queue of its own: whoever is first gets a message",
				"routes[%d].intake: the queue %s is that of the route %s already", i, clip(s.Queue), clip(other))
			continue
		}
		first[key] = b.Routes[i].Name
	}
}

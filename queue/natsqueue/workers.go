package natsqueue

import (
	"fmt"

	"github.com/nats-io/nkeys"

	"ferry"
)

// WorkerAuth is a worker that may connect.
type WorkerAuth struct {
	Name      string
	PublicKey string // nkey of a user: U…
	Routes    []string
}

// rights are the subjects that a login may publish to and subscribe. Everything
// else is denied.
type rights struct{ publish, subscribe []string }

// rights of a worker: the consumers of its routes, its own receipts, questions
// and signals, and an inbox.
func (w WorkerAuth) rights() (rights, error) {
	if err := ferry.ValidName("worker", w.Name); err != nil {
		return rights{}, err
	}
	if !nkeys.IsValidPublicUserKey(w.PublicKey) {
		return rights{}, fmt.Errorf("worker %s: its public key is not one of a user", w.Name)
	}
	publish := []string{receiptSubject + w.Name, askSubject + w.Name}
	for _, route := range w.Routes {
		if err := ferry.ValidName("route", route); err != nil {
			return rights{}, fmt.Errorf("worker %s: %w", w.Name, err)
		}
		consumer := messageStream + "." + route
		publish = append(publish,
			infoSubject+consumer,
			nextSubject+consumer,
			"$JS.ACK."+consumer+".>",
			"$JS.ACK.*.*."+consumer+".>", // the form with domain and account, which newer servers can send
		)
	}
	return rights{publish: publish, subscribe: []string{inboxOf + w.Name + ".>", signalSubject + w.Name}}, nil
}

// brokerRights are what the broker needs on a server elsewhere: streams and
// consumers of its own, messages, signals and answers to workers, their receipts
// and questions.
func brokerRights() rights {
	r := rights{
		publish:   []string{messageSubject + "*", signalSubject + "*", askSubject + brokerName, inboxOf + "*.>", accountSubject},
		subscribe: []string{inboxOf + brokerName + ".>", askSubject + "*"},
	}
	for _, stream := range []string{messageStream, receiptStream} {
		r.publish = append(r.publish, "$JS.API.STREAM.*."+stream, "$JS.API.CONSUMER.*."+stream+".>")
	}
	consumer := receiptStream + "." + receiptConsumer
	r.publish = append(r.publish, nextSubject+consumer, "$JS.ACK."+consumer+".>", "$JS.ACK.*.*."+consumer+".>")
	return r
}

package natsqueue

import (
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"ferry"
)

// WorkerAuth is a worker that may connect.
type WorkerAuth struct {
	Name      string
	PublicKey string // nkey of a user: U…
	Routes    []string
}

// user is the worker's account of rights: the consumers of its routes, its own
// receipts, questions and signals, and an inbox. Everything else is denied.
func (w WorkerAuth) user() (*server.NkeyUser, error) {
	if err := ferry.ValidName("worker", w.Name); err != nil {
		return nil, err
	}
	if !nkeys.IsValidPublicUserKey(w.PublicKey) {
		return nil, fmt.Errorf("worker %s: its public key is not one of a user", w.Name)
	}
	publish := []string{receiptSubject + w.Name, askSubject + w.Name}
	for _, route := range w.Routes {
		if err := ferry.ValidName("route", route); err != nil {
			return nil, fmt.Errorf("worker %s: %w", w.Name, err)
		}
		consumer := messageStream + "." + route
		publish = append(publish,
			infoSubject+consumer,
			nextSubject+consumer,
			"$JS.ACK."+consumer+".>",
			"$JS.ACK.*.*."+consumer+".>", // the form with domain and account, which newer servers can send
		)
	}
	return &server.NkeyUser{
		Nkey: w.PublicKey,
		Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: publish},
			Subscribe: &server.SubjectPermission{Allow: []string{inboxOf + w.Name + ".>", signalSubject + w.Name}},
		},
	}, nil
}

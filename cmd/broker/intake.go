package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"ferry"
	"ferry/api"
	"ferry/broker"
	"ferry/config"
	"ferry/intake"
	"ferry/internal/azure"
	"ferry/internal/servicebus"
	"ferry/secret"
)

// intakes is what takes messages in from queues elsewhere, with its connections.
type intakes struct {
	*intake.Intake
	clients []*servicebus.Client
	stop    func()
}

// openIntakes makes the intakes that the routes have; nothing is called yet. Nil
// when there are none.
func openIntakes(cfg *config.Broker, log *slog.Logger) (*intakes, error) {
	opts := intake.Options{
		OwnPrefixes: []string{cfg.Queue.ServiceBus.Prefix}, Environment: cfg.Environment, Log: log,
		Encode: func(e ferry.Envelope) []byte { return api.EnvelopeJSON(e, cfg.PublicURL) },
	}
	in := &intakes{}
	shared := map[config.ServiceBus]*servicebus.Client{} // one connection for all queues of a namespace
	for _, r := range cfg.Routes {
		if r.Intake == nil || r.Intake.ServiceBus == nil {
			continue
		}
		s := r.Intake.ServiceBus
		bus, ok := shared[s.ServiceBus]
		if !ok {
			var err error
			if bus, err = dialServiceBus(s.ServiceBus, "ferry-intake", log); err != nil {
				return nil, errors.Join(err, in.close(context.Background()))
			}
			shared[s.ServiceBus] = bus
			in.clients = append(in.clients, bus)
		}
		opts.Sources = append(opts.Sources, intake.Source{
			Route: r.Name, Queue: s.Queue, Bus: intake.BusOf(bus), Namespace: bus.Host(),
			Concurrency: s.Concurrency, Replies: s.SendsReplies(), Unwrap: s.Unwraps(),
		})
	}
	if len(opts.Sources) == 0 {
		return nil, nil
	}
	in.Intake = intake.New(opts)
	return in, nil
}

// options are those of a broker whose routes have intakes.
func (in *intakes) options(o *broker.Options) {
	if in != nil {
		o.Intake, o.Tellers = in.Info, map[string]broker.Teller{ferry.ReplyServiceBus: in}
	}
}

// start takes in until close.
func (in *intakes) start(b *broker.Broker) {
	if in == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		in.Run(ctx, b)
	}()
	in.stop = func() {
		cancel()
		<-done
	}
}

// rest stops taking in; replies are still sent.
func (in *intakes) rest() {
	if in != nil && in.stop != nil {
		in.stop()
	}
}

func (in *intakes) close(ctx context.Context) error {
	if in == nil {
		return nil
	}
	var errs []error
	for _, c := range in.clients {
		errs = append(errs, c.Close(ctx))
	}
	return errors.Join(errs...)
}

// dialServiceBus makes a client of a namespace; nothing is called yet. app names
// it in the service's logs, at most 24 characters.
func dialServiceBus(cfg config.ServiceBus, app string, log *slog.Logger) (*servicebus.Client, error) {
	out := servicebus.Config{
		Namespace: cfg.Namespace, WebSockets: cfg.WebSockets, Proxy: cfg.Proxy, Endpoint: cfg.Endpoint, AdminURL: cfg.AdminURL,
		ApplicationID: app, Log: log,
	}
	if cfg.CA != "" {
		pool, err := azure.ReadCA(cfg.CA)
		if err != nil {
			return nil, err
		}
		out.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	if !cfg.ConnectionString.IsZero() {
		text, err := secret.Resolver{}.Resolve(cfg.ConnectionString)
		if err != nil {
			return nil, err
		}
		out.ConnectionString = text.Reveal()
		return servicebus.Dial(out)
	}
	var err error
	if out.Credential, err = azureCredential(cfg.Credential); err != nil {
		return nil, err
	}
	return servicebus.Dial(out)
}

func azureCredential(c config.Credential) (azcore.TokenCredential, error) {
	made := azure.Credential{Kind: c.Type, TenantID: c.TenantID, ClientID: c.ClientID, Certificate: c.Certificate, TokenFile: c.TokenFile}
	for _, s := range []struct {
		ref  secret.Ref
		into *string
	}{{c.ClientSecret, &made.ClientSecret}, {c.Password, &made.Password}} {
		if s.ref.IsZero() {
			continue
		}
		text, err := secret.Resolver{}.Resolve(s.ref)
		if err != nil {
			return nil, err
		}
		*s.into = text.Reveal()
	}
	return azure.New(made, nil)
}

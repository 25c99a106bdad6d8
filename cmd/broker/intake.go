package main

import (
	"context"
	"errors"
	"log/slog"

	"ferry"
	"ferry/api"
	"ferry/broker"
	"ferry/config"
	"ferry/intake"
	"ferry/internal/servicebus"
	"ferry/queue/drivers"
	"ferry/secret"
	"ferry/trace"
)

// intakes is what takes messages in from queues elsewhere, with its connections.
type intakes struct {
	*intake.Intake
	clients []*servicebus.Client
	stop    func()
}

// openIntakes makes the intakes that the routes have; nothing is called yet. Nil
// when there are none.
func openIntakes(cfg *config.Broker, resolver secret.Resolver, tracer *trace.Tracer, log *slog.Logger) (*intakes, error) {
	opts := intake.Options{
		OwnPrefixes: []string{cfg.Queue.ServiceBus.Prefix}, Environment: cfg.Environment, Tracer: tracer, Log: log,
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
			if bus, err = dialServiceBus(s.ServiceBus, resolver, log); err != nil {
				return nil, errors.Join(err, in.close(context.Background()))
			}
			shared[s.ServiceBus] = bus
			in.clients = append(in.clients, bus)
		}
		opts.Sources = append(opts.Sources, intake.Source{
			Route: r.Name, Queue: s.Queue, Bus: intake.BusOf(bus), Namespace: bus.HostName(),
			Concurrency: s.Concurrency, Replies: s.SendsReplies(), Unwrap: s.Unwraps(),
		})
	}
	if len(opts.Sources) == 0 {
		return nil, nil
	}
	in.Intake = intake.New(opts)
	return in, nil
}

// info says how a route's intake stands, nil when it has none.
func (in *intakes) info(route string) *ferry.IntakeInfo {
	if in == nil {
		return nil
	}
	return in.Info(route)
}

// intakeKeys is what the intakes of a configuration are made of.
func intakeKeys(cfg *config.Broker) map[string]config.IntakeServiceBus {
	keys := map[string]config.IntakeServiceBus{}
	for i := range cfg.Routes {
		if in := cfg.Routes[i].Intake; in != nil && in.ServiceBus != nil {
			keys[cfg.Routes[i].Name] = *in.ServiceBus
		}
	}
	return keys
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

// dialServiceBus makes a client of a namespace; nothing is called yet.
func dialServiceBus(cfg config.ServiceBus, resolver secret.Resolver, log *slog.Logger) (*servicebus.Client, error) {
	namespace, err := drivers.Namespace(cfg, resolver, log)
	if err != nil {
		return nil, err
	}
	return servicebus.Dial(namespace)
}

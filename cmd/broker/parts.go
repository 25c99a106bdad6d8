package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"reflect"

	"ferry"
	"ferry/api"
	"ferry/broker"
	"ferry/config"
	"ferry/internal/azure"
	"ferry/jwtauth"
	"ferry/queue/drivers"
	"ferry/secret"
	"ferry/trace"
)

// parts is what one configuration makes beside the broker and its queue. The next
// configuration takes over the parts whose keys it leaves as they are: their
// connections, and what they have learnt, go on.
type parts struct {
	cfg       *config.Broker
	policies  []api.SASPolicy
	issuers   *jwtauth.Verifier // nil: no tokens are taken
	intakes   *intakes          // nil: no route takes in from elsewhere
	callbacks callbacks
	access    *access         // nil: there is no access log
	refs      *azure.BlobRefs // nil: no bodies are taken by reference

	opened closers // for these parts, not taken over
}

// openParts makes the parts of a configuration, or takes them over from before
// (nil: none). On an error everything that it opened is closed again.
func openParts(cfg *config.Broker, resolver secret.Resolver, tracer *trace.Tracer, before *parts, log *slog.Logger) (p *parts, err error) {
	p = &parts{cfg: cfg}
	defer func(made *parts) {
		if err != nil {
			err = errors.Join(err, made.opened.close())
		}
	}(p)
	if p.policies, err = sasPolicies(cfg, resolver, log); err != nil {
		return nil, err
	}
	if before != nil && reflect.DeepEqual(before.cfg.Issuers, cfg.Issuers) {
		p.issuers = before.issuers
	} else if p.issuers, err = openIssuers(cfg, log); err != nil {
		return nil, err
	}
	if before != nil && reflect.DeepEqual(intakeKeys(before.cfg), intakeKeys(cfg)) && reflect.DeepEqual(before.cfg.Secrets, cfg.Secrets) {
		p.intakes = before.intakes
	} else {
		intakes, err := openIntakes(cfg, resolver, tracer, log)
		if err != nil {
			return nil, err
		}
		p.intakes = intakes
		p.opened.add(func() error { return intakes.close(context.Background()) })
	}
	if before != nil && before.cfg.PublicURL == cfg.PublicURL && reflect.DeepEqual(before.cfg.Callbacks, cfg.Callbacks) {
		p.callbacks = before.callbacks
	} else {
		callbacks, err := openCallbacks(cfg, tracer)
		if err != nil {
			return nil, err
		}
		p.callbacks = callbacks
		p.opened.add(func() error { callbacks.Close(); return nil })
	}
	if before != nil && reflect.DeepEqual(before.cfg.AccessLog, cfg.AccessLog) {
		p.access = before.access
	} else {
		if p.access, err = openAccessLog(cfg.AccessLog, os.Stdout, log); err != nil {
			return nil, err
		}
		p.opened.add(p.access.close)
	}
	p.refs, err = drivers.BodyRefs(cfg.BodyRef, resolver)
	return p, err
}

// start begins what runs by itself, and was not taken over.
func (p *parts) start(b *broker.Broker, before *parts) {
	if p.issuers != nil && (before == nil || before.issuers != p.issuers) {
		p.issuers.Start()
	}
	if before == nil || before.intakes != p.intakes {
		p.intakes.start(b)
	}
}

// bodyRefs is nil where none are taken: an interface that holds a nil pointer is not.
func (p *parts) bodyRefs() broker.BodyRefs {
	if p.refs == nil {
		return nil
	}
	return p.refs
}

// tellers tell the ends of messages.
func (p *parts) tellers() map[string]broker.Teller {
	t := map[string]broker.Teller{ferry.ReplyCallback: p.callbacks.Notifier, ferry.ReplySubscription: p.callbacks.Notifier, ferry.ReplyOperator: p.callbacks.Notifier}
	if p.intakes != nil {
		t[ferry.ReplyServiceBus] = p.intakes
	}
	return t
}

// surface is what the HTTP surface needs of the parts.
func (p *parts) surface(o *api.Options) {
	o.SAS, o.Limits, o.Origins = p.policies, limitsOf(p.cfg), p.cfg.CORS.Origins
	o.Certificates, o.AccessLog = certificates(p.cfg), p.access.log()
	if p.issuers != nil {
		o.Tokens = p.issuers
	}
}

// settings is the configuration as the broker takes it.
func (p *parts) settings() broker.Settings {
	return broker.Settings{
		Routes: p.cfg.FerryRoutes(), Retention: p.cfg.Retention.Ferry(), BodyRefs: p.bodyRefs(),
		Tellers: p.tellers(), Caller: p.callbacks.Notifier, Intake: p.intakes.info,
	}
}

// retire ends what the next parts did not take over; nil: there are none.
func (p *parts) retire(next *parts) error {
	p.rest(next)
	var errs []error
	if p.issuers != nil && (next == nil || next.issuers != p.issuers) {
		p.issuers.Close()
	}
	if next == nil || next.intakes != p.intakes {
		errs = append(errs, p.intakes.close(context.Background()))
	}
	if next == nil || next.callbacks != p.callbacks {
		p.callbacks.Close()
	}
	if next == nil || next.access != p.access {
		errs = append(errs, p.access.close())
	}
	return errors.Join(errs...)
}

// rest stops what takes in by itself and is not taken over.
func (p *parts) rest(next *parts) {
	if next == nil || next.intakes != p.intakes {
		p.intakes.rest()
	}
}

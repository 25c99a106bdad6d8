package sbqueue

import (
	"context"
	"errors"
	"time"

	"ferry/internal/servicebus"
)

// ensureQueue sees to it that a queue is there, and says whether it had to be made.
// Errors are those of ConnectBroker.
func (b *Broker) ensureQueue(ctx context.Context, e need) (made bool, err error) {
	during, end, err := b.begin(ctx)
	if err != nil {
		return false, err
	}
	defer end()
	_, err = b.settings(during, e.name)
	switch {
	case err == nil:
		return false, nil
	case ctx.Err() != nil || during.Err() != nil:
		return false, b.wrap(ctx, during.Err())
	case errors.Is(err, servicebus.ErrNotFound) && b.provision:
		b.forgetBirth(e.name)
		made, err = b.create(during, e)
		if err != nil && during.Err() == nil {
			return false, b.explain(e, "Manage", err)
		}
		return made, b.wrap(ctx, err)
	case errors.Is(err, servicebus.ErrNotFound):
		return false, b.explain(e, "", err)
	}
	// Its settings cannot be asked for: is it there?
	if l := b.probe(during, e); len(l.findings) > 0 {
		if during.Err() != nil {
			return false, b.wrap(ctx, during.Err())
		}
		return false, l.findings[0].Err
	}
	return false, nil
}

// create makes a queue. Not every tier, nor an emulator, takes all of what is
// wished for: what only makes it better is left out then.
func (b *Broker) create(ctx context.Context, e need) (made bool, err error) {
	window := time.Duration(0)
	if e.lasting {
		window = duplicateWindow
	}
	for _, s := range specsOf(servicebus.QueueSpec{Name: e.name, Lock: b.lock, MaxDeliveries: deliveries, DuplicateWindow: window}) {
		bounded, cancel := context.WithTimeout(ctx, adminTimeout)
		made, err = b.admin.Create(bounded, s)
		cancel()
		if err == nil {
			if made {
				b.log.Info("queue.made", "queue", e.name, "lock", s.Lock, "maxDeliveries", s.MaxDeliveries, "duplicateWindow", s.DuplicateWindow)
			}
			return made, nil
		}
		if !errors.Is(err, servicebus.ErrRefused) {
			return false, err
		}
	}
	return false, err
}

// specsOf are a queue as it is wished for, and what is tried where that is refused:
// as an emulator takes it, and, as on the tier Basic, without a look for duplicates.
func specsOf(wished servicebus.QueueSpec) []servicebus.QueueSpec {
	emulators, plain := wished, wished
	emulators.MaxDeliveries = deliveriesAtMost
	plain.DuplicateWindow = 0
	if wished.DuplicateWindow == 0 {
		return []servicebus.QueueSpec{wished, emulators}
	}
	emulators.DuplicateWindow = windowAtMost
	plainest := emulators
	plainest.DuplicateWindow = 0
	return []servicebus.QueueSpec{wished, emulators, plain, plainest}
}

// Check looks at everything that a broker needs, its workers' queues too, and
// changes nothing. The error says that it could not look at all.
func Check(ctx context.Context, opts BrokerOptions) ([]Finding, error) {
	b, err := openBroker(opts)
	if err != nil {
		return nil, err
	}
	return b.inspect(ctx, opts.Routes, heard(opts.Workers)), b.Close(context.WithoutCancel(ctx))
}

// CheckWorker looks at everything that a worker needs, and changes nothing.
func CheckWorker(ctx context.Context, opts WorkerOptions) ([]Finding, error) {
	w, err := openWorker(opts)
	if err != nil {
		return nil, err
	}
	return w.inspect(ctx, opts.Routes), w.Close(context.WithoutCancel(ctx))
}

// Provision makes every queue that a broker needs and that is missing, its
// workers' too, and names those that it made.
func Provision(ctx context.Context, opts BrokerOptions) (made []string, err error) {
	opts.Provision = true
	b, err := openBroker(opts)
	if err != nil {
		return nil, err
	}
	for _, e := range b.names.broker(opts.Routes, heard(opts.Workers)) {
		one, err := b.ensureQueue(ctx, e)
		if err != nil {
			return made, errors.Join(err, b.Close(context.WithoutCancel(ctx)))
		}
		if one {
			made = append(made, e.name)
		}
	}
	return made, b.Close(context.WithoutCancel(ctx))
}

func heard(workers []WorkerAuth) []string {
	var list []string
	for _, w := range workers {
		if !w.Revoked {
			list = append(list, w.Name)
		}
	}
	return list
}

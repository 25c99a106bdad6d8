package drivers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"ferry"
	"ferry/internal/servicebus"
	"ferry/queue/sbqueue"
)

// ServiceBusReport is what a look at the broker's queues brought up; nothing was
// changed by it.
type ServiceBusReport struct {
	Namespace string        `json:"namespace"`
	Well      bool          `json:"well"`
	Manage    bool          `json:"manage"` // the settings could be looked at; else only rights were tried
	ClockSkew string        `json:"clockSkew,omitempty"`
	Notes     []string      `json:"notes,omitempty"`
	Queues    []QueueReport `json:"queues"`
}

// QueueReport is one queue. What could not be looked at is empty.
type QueueReport struct {
	Queue           string         `json:"queue"`
	Exists          string         `json:"exists"` // yes, no, unknown
	Listen          string         `json:"listen,omitempty"`
	Send            string         `json:"send,omitempty"` // yes, no; empty: the broker does not need it
	Lock            string         `json:"lock,omitempty"`
	DuplicateWindow string         `json:"duplicateWindow,omitempty"` // none, or how long
	MaxDeliveries   int            `json:"maxDeliveries,omitempty"`
	Sessions        bool           `json:"sessions,omitempty"`
	Partitioned     bool           `json:"partitioned,omitempty"`
	Active          *int64         `json:"active,omitempty"` // messages
	Dead            *int64         `json:"dead,omitempty"`   // in its dead-letter sub-queue
	Problems        []QueueProblem `json:"problems,omitempty"`

	settings bool // could be asked for
}

// QueueProblem is something amiss with a queue.
type QueueProblem struct {
	Problem string `json:"problem"`
	Hint    string `json:"hint,omitempty"`
	Fatal   bool   `json:"fatal,omitempty"` // the broker does not start so
}

const (
	yes, no, unknown = "yes", "no", "unknown"

	lookTimeout = 20 * time.Second
	looksAtOnce = 8
	// skewTold is from when on a clock's difference is told: what the service says of
	// its time has whole seconds.
	skewTold = 5 * time.Second
)

// CheckServiceBus looks at every queue of a broker and of its workers: whether it is
// there, at its settings where the rights allow, and by harmless tries at the
// rights that the broker needs. The error says that it could not look at all.
func CheckServiceBus(ctx context.Context, opts ServiceBusOptions) (ServiceBusReport, error) {
	broker, host, err := opts.broker()
	if err != nil {
		return ServiceBusReport{}, err
	}
	findings, err := sbqueue.Check(ctx, broker)
	if err != nil {
		return ServiceBusReport{}, err
	}
	client, err := servicebus.Dial(broker.Client)
	if err != nil {
		return ServiceBusReport{}, err
	}
	workers := []string{}
	for _, w := range broker.Workers {
		if !w.Revoked {
			workers = append(workers, w.Name)
		}
	}
	rights, err := sbqueue.BrokerRights(broker.Prefix, opts.Routes, workers)
	if err != nil {
		return ServiceBusReport{}, errors.Join(err, client.Close(ctx))
	}
	r := ServiceBusReport{Namespace: host, Well: true, Queues: look(ctx, client, rights)}
	r.take(findings)
	r.tellManage()
	r.tellSkew(ctx, broker.Client, host)
	return r, client.Close(context.WithoutCancel(ctx))
}

// look asks for each queue, a few at a time.
func look(ctx context.Context, client *servicebus.Client, rights []sbqueue.Right) []QueueReport {
	list := make([]QueueReport, len(rights))
	var group sync.WaitGroup
	slots := make(chan struct{}, looksAtOnce)
	for i, r := range rights {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			bounded, cancel := context.WithTimeout(ctx, lookTimeout)
			defer cancel()
			list[i] = lookAt(bounded, client, r.Queue, r.Listen, r.Send)
		})
	}
	group.Wait()
	return list
}

func lookAt(ctx context.Context, client *servicebus.Client, name string, listen, send bool) QueueReport {
	q := QueueReport{Queue: name, Exists: unknown}
	info, err := client.Admin().Queue(ctx, name)
	switch {
	case err == nil:
		q.Exists, q.Lock, q.DuplicateWindow = yes, info.Lock.String(), "none"
		if info.DuplicateWindow > 0 {
			q.DuplicateWindow = info.DuplicateWindow.String()
		}
		q.MaxDeliveries, q.Sessions, q.Partitioned = info.MaxDeliveries, info.RequiresSession, info.Partitioned
		q.Active, q.Dead, q.settings = &info.Active, &info.Dead, true
	case errors.Is(err, servicebus.ErrNotFound):
		q.Exists, q.settings = no, true
		return q
	}
	try := func(needed bool, ask func() error) string {
		if !needed || q.Exists == no {
			return ""
		}
		switch err := ask(); {
		case err == nil:
			q.Exists = yes
			return yes
		case errors.Is(err, servicebus.ErrNotFound):
			q.Exists = no
			return ""
		case errors.Is(err, servicebus.ErrUnauthorized):
			return no
		default:
			return unknown
		}
	}
	receiver := client.Receiver(name, servicebus.ReceiverOptions{})
	q.Listen = try(listen, func() error {
		_, err := receiver.Peek(ctx, 0, 1)
		return err
	})
	_ = receiver.Close(ctx) // it only looked
	q.Send = try(send, func() error {
		_, err := client.Sender(name).MaxBytes(ctx) // attaches a link, and sends nothing
		return err
	})
	return q
}

// take adds what the driver found amiss.
func (r *ServiceBusReport) take(findings []sbqueue.Finding) {
	for _, f := range findings {
		p := QueueProblem{Problem: f.Text, Hint: f.Hint, Fatal: f.Err != nil}
		if p.Fatal {
			r.Well = false
		}
		for i := range r.Queues {
			if q := &r.Queues[i]; q.Queue == f.Queue {
				q.Problems = append(q.Problems, p)
			}
		}
	}
	for i := range r.Queues {
		q := &r.Queues[i]
		for right, state := range map[string]string{"Listen": q.Listen, "Send": q.Send} {
			if state != no || len(q.Problems) > 0 {
				continue
			}
			r.Well = false
			q.Problems = append(q.Problems, QueueProblem{
				Problem: fmt.Sprintf("the right %s on it is refused", right), Fatal: true,
				Hint: "give it to the policy of the connection string, or the identity its role: docs/service-bus.md, \"Rights\"",
			})
		}
	}
}

func (r *ServiceBusReport) tellManage() {
	for _, q := range r.Queues {
		if q.settings {
			r.Manage = true
			return
		}
	}
	r.Notes = append(r.Notes, "without the right Manage (role Azure Service Bus Data Owner) these could not be looked at: lock, duplicate window, maximum deliveries, sessions, partitions, numbers of messages")
}

// tellSkew compares this machine's clock with the namespace's: signatures and locks
// depend on it.
func (r *ServiceBusReport) tellSkew(ctx context.Context, c servicebus.Config, host string) {
	skew, err := clockSkew(ctx, c, host)
	if err != nil {
		r.Notes = append(r.Notes, "the namespace does not tell its time over HTTP: the clocks could not be compared")
		return
	}
	if r.ClockSkew = skew.String(); skew.Abs() < skewTold {
		return
	}
	r.Notes = append(r.Notes, fmt.Sprintf("this machine's clock differs from the namespace's by %s (plus: it is ahead)", skew))
	if skew.Abs() > ferry.MaxClockSkew {
		r.Well = false
	}
}

func clockSkew(ctx context.Context, c servicebus.Config, host string) (time.Duration, error) {
	address := "https://" + host + "/"
	if c.AdminURL != "" {
		address = c.AdminURL
	}
	transport := &http.Transport{TLSClientConfig: c.TLS, Proxy: http.ProxyFromEnvironment}
	if u, err := url.Parse(c.Proxy); err == nil && strings.Contains(c.Proxy, "://") {
		transport.Proxy = http.ProxyURL(u)
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, address, nil)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return 0, err
	}
	_ = answer.Body.Close()
	theirs, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return 0, err
	}
	// Theirs is cut to the second, and was taken somewhere in the round trip.
	middle := began.Add(time.Since(began) / 2)
	return middle.Sub(theirs.Add(time.Second / 2)).Truncate(time.Second), nil
}

// Provision makes every queue that a broker and its workers need and that is
// missing, and names those. What is there stays as it is.
func Provision(ctx context.Context, opts ServiceBusOptions) (made []string, err error) {
	broker, _, err := opts.broker()
	if err != nil {
		return nil, err
	}
	return sbqueue.Provision(ctx, broker)
}

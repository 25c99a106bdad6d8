package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ferry"
	"ferry/secret"
)

// Operators is who runs the broker: whom it tells of itself what needs them.
type Operators struct {
	// Notify are the targets, 1 to 10.
	Notify []OperatorTarget `yaml:"notify"`
	// StoppedFor is how long a route must have stopped before anybody is told, and how
	// long it must be well again; default 1 min, from 1 s to 1 day.
	StoppedFor time.Duration `yaml:"stoppedFor"`
	// WorkerLostAfter is how long a worker must be silent; default 2 min, from 30 s to
	// 1 day.
	WorkerLostAfter time.Duration `yaml:"workerLostAfter"`
	// DeadLettersAbove is how many dead letters of one route are borne; default 100.
	DeadLettersAbove int `yaml:"deadLettersAbove"`
	// DeadLettersTotalAbove is how many of all routes together; default 1,000.
	DeadLettersTotalAbove int `yaml:"deadLettersTotalAbove"`
	// DiskLowBelow is how few free bytes are low, by default 2 GiB; DiskCriticalBelow how
	// few are critical, by default 512 MiB.
	DiskLowBelow      Size `yaml:"diskLowBelow"`
	DiskCriticalBelow Size `yaml:"diskCriticalBelow"`
}

// OperatorTarget is an address that is told.
type OperatorTarget struct {
	// Name names the target where its address must not be shown.
	Name string `yaml:"name"`
	// URL is the address, by reference, since it is often a secret: env:NAME.
	URL secret.Ref `yaml:"url"`
	// Format is event (the default), text or card.
	Format string `yaml:"format"`
	// Events are those that it is told; default all.
	Events []ferry.OperatorEventType `yaml:"events"`
	// Routes are those whose events it is told, beside those of no route; default all.
	Routes []string `yaml:"routes"`
}

func (o *Operators) complete() {
	if o == nil {
		return
	}
	setDefault(&o.StoppedFor, ferry.DefaultStoppedFor)
	setDefault(&o.WorkerLostAfter, ferry.DefaultWorkerLost)
	setDefault(&o.DeadLettersAbove, ferry.DefaultManyDead)
	setDefault(&o.DeadLettersTotalAbove, ferry.DefaultManyDeadTotal)
	setDefault(&o.DiskLowBelow, ferry.DefaultDiskLow)
	setDefault(&o.DiskCriticalBelow, min(ferry.DefaultDiskCritical, o.DiskLowBelow))
	for i := range o.Notify {
		setDefault(&o.Notify[i].Format, ferry.OperatorFormatEvent)
	}
}

func (o *Operators) check(d *decoder, routes []BrokerRoute) {
	if o == nil {
		return
	}
	if n := len(o.Notify); n == 0 || n > ferry.MaxOperatorTargets {
		d.at("operators", "add notify: [{name: on-call, url: env:ON_CALL_URL}]", "operators.notify has %d targets, and takes 1 to %d", n, ferry.MaxOperatorTargets)
	}
	d.checkSpan("operators.stoppedFor", int64(o.StoppedFor), int64(time.Second), int64(day), showDuration)
	d.checkSpan("operators.workerLostAfter", int64(o.WorkerLostAfter), int64(30*time.Second), int64(day), showDuration)
	d.checkSpan("operators.deadLettersAbove", int64(o.DeadLettersAbove), 1, 1_000_000_000, showCount)
	d.checkSpan("operators.deadLettersTotalAbove", int64(o.DeadLettersTotalAbove), 1, 1_000_000_000, showCount)
	d.checkSpan("operators.diskLowBelow", int64(o.DiskLowBelow), 1<<20, 1<<50, showBytes)
	d.checkSpan("operators.diskCriticalBelow", int64(o.DiskCriticalBelow), 1<<20, int64(o.DiskLowBelow), showBytes)
	first := map[string]bool{}
	for i := range o.Notify {
		t, path := &o.Notify[i], fmt.Sprintf("operators.notify[%d]", i)
		if t.Name == "" {
			d.at(path, "add name:", "%s has no name", path)
		} else {
			d.checkName(path+".name", "target", t.Name)
		}
		if first[t.Name] && t.Name != "" {
			d.at(path+".name", "", "the target %s stands here twice", clip(t.Name))
		}
		first[t.Name] = true
		if t.URL.IsZero() {
			d.at(path, "add url: env:NAME, and set the variable to the address", "%s has no url", path)
		}
		d.checkOneOf(path+".format", t.Format, ferry.OperatorFormatEvent, ferry.OperatorFormatText, ferry.OperatorFormatCard)
		for _, e := range t.Events {
			if known := ferry.OperatorEventTypes(); !slices.Contains(known, e) {
				names := make([]string, len(known))
				for i, k := range known {
					names[i] = string(k)
				}
				d.at(path+".events", "there are "+strings.Join(names, ", "), "%s.events: there is no event %q", path, clip(string(e)))
			}
		}
		for _, name := range t.Routes {
			if !slices.ContainsFunc(routes, func(r BrokerRoute) bool { return r.Name == name }) {
				d.at(path+".routes", "", "%s.routes: there is no route %q", path, clip(name))
			}
		}
	}
}

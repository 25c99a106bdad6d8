package main

import (
	"ferry/broker"
	"ferry/config"
	"ferry/secret"
)

// operatorsOf is whom the file wants to be told what needs operators.
func operatorsOf(cfg *config.Broker, resolver secret.Resolver) broker.Operators {
	o := cfg.Operators
	if o == nil {
		return broker.Operators{}
	}
	is := broker.Operators{
		StoppedFor: o.StoppedFor, WorkerLostAfter: o.WorkerLostAfter,
		DeadLettersAbove: int64(o.DeadLettersAbove), DeadLettersTotalAbove: int64(o.DeadLettersTotalAbove),
		DiskLowBelow: int64(o.DiskLowBelow), DiskCriticalBelow: int64(o.DiskCriticalBelow),
	}
	for _, t := range o.Notify {
		is.Targets = append(is.Targets, broker.OperatorTarget{
			Name: t.Name, Format: t.Format, Events: t.Events, Routes: t.Routes,
			URL: func() (string, error) {
				v, err := resolver.Resolve(t.URL)
				return v.Reveal(), err
			},
		})
	}
	return is
}

package config

import (
	"fmt"

	"ferry"
)

// Who delivers the messages of a route.
const (
	workersOne     = "one"
	workersSeveral = "several"
	workersPull    = "pull"
)

func (r *BrokerRoute) completePull() {
	if r.Workers == workersPull {
		setDefault(&r.Lock, ferry.DefaultReceiveLock)
		setDefault(&r.MaxDeliveries, ferry.DefaultMaxDeliveries)
	}
}

func (r *BrokerRoute) checkPull(d *decoder, path string) {
	if !d.checkOneOf(path+".workers", r.Workers, workersOne, workersSeveral, workersPull) {
		return
	}
	if r.Workers != workersPull {
		for _, key := range []string{"lock", "maxDeliveries"} {
			if d.has(path + "." + key) {
				d.at(path+"."+key, "add workers: pull, or take it out", "%s.%s is for routes that receivers pull from", path, key)
			}
		}
		return
	}
	if d.has(path + ".workAway") {
		d.at(path+".workAway", "take it out", "%s.workAway: no worker delivers a route that receivers pull from", path)
	}
	d.checkSpan(path+".lock", int64(r.Lock), int64(ferry.MinReceiveLock), int64(ferry.MaxReceiveLock), showDuration)
	d.checkSpan(path+".maxDeliveries", int64(r.MaxDeliveries), 1, ferry.MaxMaxDeliveries, func(n int64) string { return fmt.Sprint(n) })
}

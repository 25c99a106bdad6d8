package config

import "time"

// Drain is how a program stops.
type Drain struct {
	// Delay is how long /readyz says no while everything else is answered as before,
	// so that a balancer sends no more; default 0, at most 5 minutes.
	Delay time.Duration `yaml:"delay"`
	// Within bounds how long requests under way may take; default 20 s, from 1 s to 10
	// minutes.
	Within time.Duration `yaml:"within"`
}

// WorkerDrain is how a worker stops.
type WorkerDrain struct {
	// Within bounds how long calls that have begun may take to end; default 25 s, from
	// 1 s to 1 hour.
	Within time.Duration `yaml:"within"`
}

// The default times of a stop.
const (
	DefaultDrain       = 20 * time.Second
	DefaultWorkerDrain = 25 * time.Second
)

func (x *Drain) check(d *decoder) {
	d.checkSpan("drain.delay", int64(x.Delay), 0, int64(5*time.Minute), showDuration)
	d.checkSpan("drain.within", int64(x.Within), int64(time.Second), int64(10*time.Minute), showDuration)
}

func (x *WorkerDrain) check(d *decoder) {
	d.checkSpan("drain.within", int64(x.Within), int64(time.Second), int64(time.Hour), showDuration)
}

// checkAdminListen wants an address of its own.
func (b *Broker) checkAdminListen(d *decoder) {
	if b.AdminListen == "" {
		return
	}
	d.checkListen("adminListen", b.AdminListen)
	if b.AdminListen == b.Listen {
		d.at("adminListen", "take it out, or write another address, such as 127.0.0.1:8081", "adminListen is the address of listen")
	}
}

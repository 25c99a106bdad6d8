package config

import (
	"time"

	"ferry/adapters"
)

// Bounds of what a route says about destinations that answer later.
const (
	DefaultConfirmWithin = 24 * time.Hour
	minConfirmWithin     = time.Minute
	maxConfirmWithin     = 30 * day
	DefaultPollInterval  = 5 * time.Second
	minPollInterval      = 100 * time.Millisecond
	maxPollInterval      = time.Hour
)

// PollInterval is the first pause between polls, 0 where none is configured.
func (r *WorkerRoute) PollInterval() time.Duration {
	if r.Poll == nil {
		return 0
	}
	return r.Poll.Interval
}

func (r *WorkerRoute) completeConfirm() {
	if r.Confirm != "" {
		setDefault(&r.ConfirmWithin, DefaultConfirmWithin)
	}
	if r.Poll != nil {
		setDefault(&r.Poll.Interval, DefaultPollInterval)
	}
}

func (r *WorkerRoute) checkConfirm(d *decoder, path string) {
	if r.Confirm == "" {
		for _, key := range []string{"confirmWithin", "confirmHeader", "poll"} {
			if d.has(path + "." + key) {
				d.at(path+"."+key, "add confirm: poll or confirm: callback", "%s.%s is for destinations that answer later, and the route has no confirm", path, key)
			}
		}
		return
	}
	if !d.checkOneOf(path+".confirm", r.Confirm, adapters.ConfirmPoll, adapters.ConfirmCallback) {
		return
	}
	d.checkSpan(path+".confirmWithin", int64(r.ConfirmWithin), int64(minConfirmWithin), int64(maxConfirmWithin), showDuration)
	if r.Confirm != adapters.ConfirmCallback && r.ConfirmHeader != "" {
		d.at(path+".confirmHeader", "", "%s.confirmHeader is for confirm: callback", path)
	}
	if r.Poll == nil {
		return
	}
	if r.Confirm != adapters.ConfirmPoll {
		d.at(path+".poll", "", "%s.poll is for confirm: poll", path)
		return
	}
	d.checkSpan(path+".poll.interval", int64(r.Poll.Interval), int64(minPollInterval), int64(maxPollInterval), showDuration)
	d.checkJQ(path+".poll.state", r.Poll.State)
	d.checkJQ(path+".poll.reference", r.Poll.Reference)
	d.checkJQ(path+".poll.result", r.Poll.Result)
	d.checkJQ(path+".poll.text", r.Poll.Text)
}

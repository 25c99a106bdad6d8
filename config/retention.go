package config

import (
	"reflect"
	"time"

	"go.yaml.in/yaml/v3"

	"ferry"
)

// Retention is how long what has ended is kept. In files one duration for completed
// and discarded messages, or a group of the keys below.
type Retention struct {
	// Completed and Discarded are of such messages; default 30 days, from 1 hour to 10
	// years, and no less than the idempotency window.
	Completed time.Duration `yaml:"completed"`
	Discarded time.Duration `yaml:"discarded"`
	// DeadLettered is of dead letters; default never, else as above.
	DeadLettered Keep `yaml:"deadLettered"`
	// Bodies is of the bodies of completed messages; default as long as the message,
	// from 1 hour to that.
	Bodies time.Duration `yaml:"bodies"`

	Short bool `yaml:"-"` // it stood there as one duration
}

// BrokerRetention is the retention of all routes, and of what belongs to none.
type BrokerRetention struct {
	Retention `yaml:",inline"`
	// Audit is of entries of the audit log in the ledger; default 2 years, from 30 days
	// to 10 years, or never.
	Audit Keep `yaml:"audit"`
}

// Keep is a time after which something is removed, or ferry.KeepForever: never.
type Keep time.Duration

// UnmarshalText reads a duration, or the word never.
func (k *Keep) UnmarshalText(text []byte) error {
	if string(text) == "never" {
		*k = Keep(ferry.KeepForever)
		return nil
	}
	d, err := ferry.ParseDuration(string(text))
	if err != nil {
		return ferry.Errorf(ferry.CodeBadConfig, "%q is neither a duration nor never", clip(string(text))).
			WithHint("write a duration such as 180d, or never")
	}
	*k = Keep(max(d, 0))
	return nil
}

func (r *Retention) decodeNode(d *decoder, n *yaml.Node, path string) { r.decode(d, n, r, path) }

func (r *BrokerRetention) decodeNode(d *decoder, n *yaml.Node, path string) {
	r.decode(d, n, r, path)
}

// decode reads the short form, or whole as the group of keys.
func (r *Retention) decode(d *decoder, n *yaml.Node, whole any, path string) {
	if n.Kind != yaml.ScalarNode {
		d.mapping(n, reflect.ValueOf(whole).Elem(), path)
		return
	}
	d.scalar(n, reflect.ValueOf(&r.Completed).Elem(), path)
	r.Discarded, r.Short = r.Completed, true
}

const maxRetention = 3650 * day

// check holds the retention against its bounds. The short form may be shorter than
// the window in which repeats are known, as it always could: messages are then kept
// for that. Who writes a key of its own is told.
func (r *Retention) check(d *decoder, path string, window time.Duration, all ferry.Retention) {
	if r.Short {
		d.checkSpan(path, int64(r.Completed), int64(time.Hour), int64(maxRetention), showDuration)
	}
	for _, key := range []struct {
		name string
		is   time.Duration
	}{{"completed", r.Completed}, {"discarded", r.Discarded}, {"deadLettered", time.Duration(r.DeadLettered)}} {
		at := path + "." + key.name
		if !d.has(at) || key.is == ferry.KeepForever {
			continue
		}
		if d.checkSpan(at, int64(key.is), int64(time.Hour), int64(maxRetention), showDuration); key.is >= time.Hour && key.is < window {
			d.at(at, "write "+showDuration(int64(window))+" or more, or shorten idempotencyWindow",
				"%s is shorter than idempotencyWindow, %s: a repeat is known by the record of the first", at, showDuration(int64(window)))
		}
	}
	if at := path + ".bodies"; d.has(at) {
		d.checkSpan(at, int64(r.Bodies), int64(time.Hour), int64(maxRetention), showDuration)
		if kept := r.ferry().Over(all).AtLeast(window).Completed; r.Bodies > kept {
			d.at(at, "leave the key out to keep bodies as long as the message",
				"%s is longer than a completed message is kept, %s", at, showDuration(int64(kept)))
		}
	}
}

func (r *BrokerRetention) check(d *decoder, path string, window time.Duration) {
	r.Retention.check(d, path, window, ferry.Retention{})
	if at := path + ".audit"; d.has(at) && time.Duration(r.Audit) != ferry.KeepForever {
		d.checkSpan(at, int64(r.Audit), int64(30*day), int64(maxRetention), showDuration)
	}
}

func (r *Retention) ferry() ferry.Retention {
	return ferry.Retention{Completed: r.Completed, Discarded: r.Discarded, DeadLettered: time.Duration(r.DeadLettered), Bodies: r.Bodies}
}

// Ferry is the retention in the words of the broker.
func (r *BrokerRetention) Ferry() ferry.Retention {
	all := r.ferry()
	all.Audit = time.Duration(r.Audit)
	return all
}

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ferry"
	"ferry/config"
)

// reloader takes over what changes in the configuration file while the server runs:
// all of it, or nothing.
type reloader struct {
	s    *server
	file string // empty: there is none
	log  *slog.Logger

	hangups <-chan os.Signal // that ask for a reload; nil: none do

	turn    sync.Mutex      // around a reload
	serving context.Context // ends when the server begins to stop
	stop    context.CancelFunc

	mu        sync.Mutex
	problem   string // why the file as it is now is not used; empty: it is
	nextStart []string
	at        time.Time // of the last that went well, the start included
}

func newReloader(s *server, file string) *reloader {
	r := &reloader{s: s, file: file, log: s.log, at: time.Now()}
	r.serving, r.stop = context.WithCancel(context.Background())
	return r
}

// end refuses reloads from now on, and waits for the one that is under way, which
// gives up: the server stops, and what it stops must not change.
func (r *reloader) end() {
	r.stop()
	r.turn.Lock()
	defer r.turn.Unlock()
}

func stopping() error {
	return ferry.Errorf(ferry.CodeStopping, "the broker is stopping").WithHint("the next start reads the configuration anyway")
}

// reloadTime bounds a reload: new routes may need channels in a queue that is far.
const reloadTime = time.Minute

// The ways in which a reload begins, as the audit log names them.
const (
	byFile   = "the file changed"
	bySignal = "SIGHUP"
)

// asked is a reload that somebody asked for over HTTP.
func (r *reloader) asked(ctx context.Context, by, note string) (ferry.Reload, error) {
	// Who goes away meanwhile leaves no half of it.
	return r.reload(context.WithoutCancel(ctx), ferry.AuditEntry{By: by, Note: note}, true)
}

// reload reads the file and takes over what changed. always: it is in the audit log
// also when nothing did.
func (r *reloader) reload(ctx context.Context, entry ferry.AuditEntry, always bool) (done ferry.Reload, err error) {
	r.turn.Lock()
	defer r.turn.Unlock()
	if r.serving.Err() != nil {
		return done, stopping()
	}
	asked := ctx
	ctx, cancel := context.WithTimeout(ctx, reloadTime)
	defer cancel()
	defer context.AfterFunc(r.serving, cancel)()
	defer func() {
		if err != nil && (asked.Err() != nil || r.serving.Err() != nil) {
			err = stopping() // the file is not at fault
			return
		}
		r.note(done, err)
	}()
	next, err := config.LoadBroker(r.file)
	if err != nil {
		return done, err
	}
	before := r.s.parts.Load()
	var live bool
	done.Changed, done.NextStart, live = listed(config.Changes(before.cfg, next))
	if !live && !always {
		done.At = time.Now().UTC()
		return done, nil
	}
	entry.Act, entry.Target = "reload", "configuration"
	entry.Detail = detail(done)
	if err := r.apply(ctx, before, config.Effective(before.cfg, next), entry); err != nil {
		return ferry.Reload{}, err
	}
	done.At = time.Now().UTC()
	return done, nil
}

// apply goes over to another configuration, whose keys may all change while the
// server runs.
func (r *reloader) apply(ctx context.Context, before *parts, cfg *config.Broker, entry ferry.AuditEntry) (err error) {
	var opened closers
	defer func() {
		if err != nil {
			_ = opened.close() // it says nothing that the error does not
		}
	}()
	secrets := r.s.secrets
	if len(config.Changes(&config.Broker{Secrets: before.cfg.Secrets}, &config.Broker{Secrets: cfg.Secrets})) > 0 {
		secrets = openSecrets(cfg, r.log)
		opened.add(func() error { secrets.close(); return nil })
	}
	p, err := openParts(cfg, secrets.Resolver, r.s.traces, before, r.log)
	if err != nil {
		return err
	}
	opened.add(p.opened.close)
	if err := r.s.broker.Reconfigure(ctx, p.settings(), entry); err != nil {
		return err
	}
	r.s.broker.SetOperators(operatorsOf(p.cfg, secrets.Resolver))
	r.s.secrets.follow(secrets)
	r.s.parts.Store(p)
	surfaces := r.s.face(p)
	p.start(r.s.broker, before)
	r.s.retire(before, p, surfaces)
	return nil
}

// listed sorts changes by when they take effect. live: some do now.
func listed(changes []config.Change) (now, later []string, live bool) {
	now = []string{}
	for _, c := range changes {
		if c.NextStart {
			later = append(later, c.String())
			continue
		}
		now = append(now, c.String())
	}
	return now, later, len(now) > 0
}

// detail is what the audit log says: keys and routes, no values.
func detail(done ferry.Reload) string {
	const most = 50
	text := "nothing changed"
	if n := len(done.Changed); n > most {
		text = fmt.Sprintf("%s and %d more", strings.Join(done.Changed[:most], ", "), n-most)
	} else if n > 0 {
		text = strings.Join(done.Changed, ", ")
	}
	if n := len(done.NextStart); n > 0 {
		text += "; at the next start: " + strings.Join(done.NextStart[:min(n, most)], ", ")
	}
	return text
}

// note keeps how a reload went, for status, metrics and the log. The same words are
// logged once.
func (r *reloader) note(done ferry.Reload, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		if text := oneLine(err.Error()); text != r.problem {
			r.problem = text
			attrs := []any{"file", r.file, "error", text, "next", "what ran before goes on"}
			if hint := hintOf(err); hint != "" {
				attrs = append(attrs, "hint", hint)
			}
			r.log.Error("config.refused", attrs...)
		}
		return
	}
	was := r.problem
	r.problem, r.at = "", done.At
	if len(done.Changed) > 0 || was != "" || strings.Join(done.NextStart, ",") != strings.Join(r.nextStart, ",") {
		r.log.Info("config.reloaded", "file", r.file, "changed", strings.Join(done.Changed, ", "), "atTheNextStart", strings.Join(done.NextStart, ", "))
	}
	r.nextStart = done.NextStart
}

// problems are what status tells of the configuration.
func (r *reloader) problems() (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.problem != "" {
		list = append(list, fmt.Sprintf("%s is not used as it is now: %s; what ran before goes on", r.file, r.problem))
	}
	if len(r.nextStart) > 0 {
		list = append(list, fmt.Sprintf("in %s %s changed: that takes effect at the next start", r.file, strings.Join(r.nextStart, ", ")))
	}
	return list
}

// collectors are the metrics of reloads.
func (r *reloader) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ferry_config_reload_success", Help: "1: the configuration file as it is now is in use, 0: it is not.",
		}, func() float64 {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.problem == "" {
				return 1
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "ferry_config_last_reload_timestamp_seconds", Help: "When the configuration was last read and found good, Unix time.",
		}, func() float64 {
			r.mu.Lock()
			defer r.mu.Unlock()
			return float64(r.at.Unix())
		}),
	}
}

// follow reloads at SIGHUP, also at one that came before, and when the file has
// changed, until ctx ends.
func (r *reloader) follow(ctx context.Context) (ended chan struct{}) {
	ended = make(chan struct{})
	if r.file == "" {
		close(ended)
		return ended
	}
	look := newFileLook(r.file)
	go func() {
		defer close(ended)
		ticks := time.NewTicker(lookEvery)
		defer ticks.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-r.hangups:
				r.follows(ctx, bySignal, true)
			case now := <-ticks.C:
				if look.changed(r.s.parts.Load().cfg.Files(), now) {
					look.went(r.follows(ctx, byFile, false), now)
				}
			}
		}
	}()
	return ended
}

func (r *reloader) follows(ctx context.Context, why string, always bool) error {
	_, err := r.reload(ctx, ferry.AuditEntry{By: "broker", Note: why}, always)
	return err
}

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"ferry"
	"ferry/broker"
	"ferry/config"
	"ferry/store"
)

type doctorCmd struct {
	Config string `placeholder:"FILE" help:"Look at a broker that is stopped: this configuration and its data folder."`
	Data   string `placeholder:"DIR" help:"Look at a broker that is stopped: this data folder."`
}

// Run asks a running broker, or looks at the files of a stopped one. It exits with
// 3 when something needs attention.
func (c doctorCmd) Run(a *app) error {
	d, err := c.diagnose(a)
	if err != nil {
		return err
	}
	if a.json() {
		err = a.writeJSON(d)
	} else {
		a.writeDiagnosis(&d)
	}
	if err == nil && !d.Well() {
		return quietExit(exitAttention)
	}
	return err
}

func (c doctorCmd) diagnose(a *app) (ferry.Diagnosis, error) {
	if c.Config != "" || c.Data != "" {
		return c.atRest(a)
	}
	server, err := a.client()
	if err != nil {
		return ferry.Diagnosis{}, err
	}
	d, err := server.Doctor(a.ctx)
	if err != nil {
		return d, err
	}
	d.Checks = append(d.Checks, a.localChecks()...)
	return d, nil
}

// localChecks looks at what only this machine, or this user, can see: the key that
// the commands use, and seeds of workers that lie about.
func (a *app) localChecks() []ferry.Check {
	var secrets []string
	if a.globals.KeyFile != "" {
		secrets = append(secrets, a.globals.KeyFile)
	}
	if _, err := os.Stat(localKey); err == nil {
		secrets = append(secrets, localKey)
	}
	seeds, _ := filepath.Glob("*.nk") // a pattern of ours
	if secrets = append(secrets, seeds...); len(secrets) == 0 {
		return nil
	}
	check := broker.CheckPrivate("keys here", secrets...)
	if check.State == ferry.CheckOK {
		check.Text = fmt.Sprintf("only their owner may read the %d key files of this folder", len(secrets))
	}
	return []ferry.Check{check}
}

// atRest looks at a broker that does not run.
func (c doctorCmd) atRest(a *app) (ferry.Diagnosis, error) {
	d := ferry.Diagnosis{At: a.now().UTC(), Version: version()}
	cfg := config.Default()
	if c.Config != "" {
		var err error
		if cfg, err = config.LoadBroker(c.Config); err != nil {
			d.Checks = append(d.Checks, failed("configuration", err))
			if c.Data == "" {
				return d, nil
			}
			cfg = config.Default()
		} else {
			d.Environment = cfg.Environment
			d.Checks = append(d.Checks, ferry.Check{Name: "configuration", State: ferry.CheckOK, Text: c.Config + " is good: " + count(len(cfg.Routes), "route")})
			d.Checks = append(d.Checks, filesAtRest(a, cfg)...)
		}
	}
	dir := cfg.DataDir
	if c.Data != "" {
		dir = c.Data
	}
	if _, err := os.Stat(dir); err != nil {
		return d, fmt.Errorf("the data folder: %w", err)
	}
	d.Checks = append(d.Checks, broker.CheckFolder(dir))
	d.Checks = append(d.Checks, broker.CheckDisk(dir, 0)...)
	d.Checks = append(d.Checks, ledgerAtRest(a, dir))
	for _, name := range []string{"clock", "queue", "workers"} {
		d.Checks = append(d.Checks, ferry.Check{Name: name, State: ferry.CheckSkipped, Text: "the broker does not run"})
	}
	return d, nil
}

// ledgerAtRest reads every page of a ledger that nobody has open, and proves it.
func ledgerAtRest(a *app, dir string) ferry.Check {
	start := time.Now()
	state, err := store.Inspect(a.ctx, dir, slog.New(slog.DiscardHandler))
	switch {
	case ferry.CodeOf(err) == ferry.CodeLedgerLocked:
		return ferry.Check{Name: "ledger", State: ferry.CheckSkipped, Text: "a broker has it open", Hint: "ask that one: broker doctor, without --config and --data"}
	case err != nil:
		return failed("ledger", err)
	case state.Suspect:
		return ferry.Check{Name: "ledger", State: ferry.CheckWarn, Text: "every page is good, and the last run stopped on an error of the disk", Hint: "look at the disk; the next start copies the ledger into a new, checked file first"}
	case state.Schema < store.SchemaVersion():
		return ferry.Check{Name: "ledger", State: ferry.CheckOK, Text: fmt.Sprintf("every page is good; its schema version is %d, and the next start brings it to %d", state.Schema, store.SchemaVersion())}
	case len(state.Findings) > 0:
		return ferry.Check{Name: "ledger", State: ferry.CheckFail, Text: fmt.Sprintf("every page is good, and %s do not add up; the first: %s", count(len(state.Findings), "thing"), state.Findings[0].Text), Hint: "start the broker and let broker reconcile name all of it"}
	}
	return ferry.Check{Name: "ledger", State: ferry.CheckOK, Text: fmt.Sprintf("every page is good, schema version %d, %s add up (%s)", state.Schema, count(int(state.Records), "record"), time.Since(start).Round(time.Millisecond))}
}

func filesAtRest(a *app, cfg *config.Broker) []ferry.Check {
	quiet := slog.New(slog.DiscardHandler)
	secrets := openSecrets(cfg, quiet)
	defer secrets.close()
	list := checkSecrets(secrets, cfg, a.now())
	switch cert, err := certificateOf(cfg, secrets.Resolver, quiet); {
	case err != nil:
		list = append(list, failed("certificate", err))
	case cert != nil:
		list = append(list, broker.CheckCertificate(cert.Info()))
	}
	return append(list, checkKeyFiles(cfg)...)
}

// failed is a check that ended with an error.
func failed(name string, err error) ferry.Check {
	c := ferry.Check{Name: name, State: ferry.CheckFail, Text: err.Error()}
	if known, ok := errors.AsType[*ferry.Error](err); ok {
		c.Hint = known.Hint
	}
	return c
}

func (a *app) writeDiagnosis(d *ferry.Diagnosis) {
	p, worst := a.paint(), 0
	colour := map[ferry.CheckState]func(string) string{ferry.CheckOK: p.green, ferry.CheckWarn: p.yellow, ferry.CheckFail: p.red, ferry.CheckSkipped: p.dim}
	for _, c := range d.Checks {
		paint := colour[c.State]
		if paint == nil {
			paint = p.dim
		}
		a.printf("%s  %s: %s\n", paint(fmt.Sprintf("%-7s", printable(string(c.State)))), printable(c.Name), oneLine(c.Text))
		if c.Hint != "" {
			a.printf("         %s\n", oneLine(c.Hint))
		}
		if c.State == ferry.CheckWarn || c.State == ferry.CheckFail {
			worst++
		}
	}
	if worst == 0 {
		a.printf("all is well\n")
		return
	}
	a.printf("%s\n", count(worst, "thing")+" to look at")
}

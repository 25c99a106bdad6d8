package main

import (
	"fmt"
	"os"
	"strings"

	"ferry"
	"ferry/config"
	"ferry/queue/drivers"
	"ferry/secret"
)

type natsCmd struct {
	Key natsKeyCmd `cmd:"" help:"The broker's login at a NATS server elsewhere: makes its key, and prints its entry for that server."`
}

type natsKeyCmd struct {
	File string `arg:"" help:"Where the key (an nkey seed) lies, readable by you only. It is made when the file is missing, and never replaced."`
}

// Run prints the broker's entry among the users of a NATS account. It speaks to
// no broker.
func (c natsKeyCmd) Run(a *app) error {
	if !holdsSomething(c.File) {
		if err := a.handOver(c.File, drivers.NewBrokerSeed); err != nil {
			return err
		}
		a.remark("the key is made and lies in %s; name it as queue.nats.nkey in broker.yaml", c.File)
	}
	seed, err := secret.Resolver{}.Resolve(config.BrokerNATS{NKey: c.File}.Seed())
	if err != nil {
		return err
	}
	entry, err := drivers.BrokerLoginConfig(seed.Reveal())
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	a.remark("an entry for the users of the broker's account in the configuration of the NATS server:")
	a.printf("%s", entry)
	return nil
}

// writeLogin writes to file what the operator of a NATS server elsewhere must add
// for the worker. Without such a server, or without a file, it does nothing.
func writeLogin(w ferry.NewWorker, file string) error {
	if !w.LoginElsewhere || onServiceBus(w.WorkerInfo) || file == "" {
		return nil
	}
	if err := os.WriteFile(file, []byte(w.LoginConfig), 0o600); err != nil {
		return fmt.Errorf("the worker is known and its credential is written; its entry for the NATS server is not: %w", err)
	}
	return nil
}

func onServiceBus(w ferry.WorkerInfo) bool { return w.Queue == config.DriverServiceBus }

// tellLogin says what else is to be done for a worker: for its login, where that is
// not this broker's to make, and in its worker.yaml. before is said first of a worker
// that had another login.
func (a *app) tellLogin(w ferry.NewWorker, configFile, workerConfig, before string) {
	if onServiceBus(w.WorkerInfo) {
		if configFile != "" {
			a.remark("%s is not written: there is no NATS server", configFile)
		}
		a.printf("\nwhat gives its machine its rights in the namespace (az, in a POSIX shell):\n\n%s", w.LoginConfig)
	} else {
		a.tellNATSLogin(w, configFile, before)
	}
	if workerConfig != "" {
		a.printf("\nthe section of its worker.yaml:\n\n%s", workerConfig)
	}
}

// workerConfig is the section queue of the worker's worker.yaml, with its credential in
// file. Who needs a file of authorities to reach the broker's port needs it there, too.
func (a *app) workerConfig(w ferry.NewWorker, file string) string {
	text := strings.ReplaceAll(w.WorkerConfig, "NKEY", file)
	at, err := a.findServer()
	if err != nil || at.ca == "" || !strings.Contains(text, "url: wss://") {
		return text
	}
	return text + fmt.Sprintf("    ca: %s   # a copy of this file, on the worker's machine\n", at.ca)
}

func (a *app) tellNATSLogin(w ferry.NewWorker, file, before string) {
	switch {
	case !w.LoginElsewhere && file != "":
		a.remark("%s is not written: this broker lets its workers log in by itself", file)
	case !w.LoginElsewhere:
	case file != "":
		a.printf("%sits entry for the NATS server lies in %s: add it to the users of the broker's account there, and reload it\n", before, file)
	default:
		a.printf("%sadd to the users of the broker's account in the configuration of the NATS server, and reload it:\n\n%s", before, w.LoginConfig)
	}
}

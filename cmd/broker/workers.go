package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ferry"
	"ferry/client"
	"ferry/config"
)

type workersCmd struct {
	Add    workersAddCmd    `cmd:"" help:"Let a worker in: makes its credential, which is written once."`
	List   workersListCmd   `cmd:"" help:"Every worker: its routes, when it was last seen."`
	Rotate workersRotateCmd `cmd:"" help:"Give a worker a new credential; the old one ends at once."`
	Revoke workersRevokeCmd `cmd:"" help:"Shut a worker out at once."`
	Bind   workersBindCmd   `cmd:"" help:"Bind a route to another worker's inbox."`
}

type workersAddCmd struct {
	Name   string   `arg:"" help:"The worker, as worker.yaml calls it."`
	Routes []string `required:"" placeholder:"A,B" help:"The routes that it may deliver."`
	Out    string   `required:"" placeholder:"FILE" help:"Write the credential (an nkey seed) here, readable by you only; the file must not exist."`
	Note   string   `placeholder:"TEXT" help:"Why; kept in the audit log."`

	NATSConfig string `name:"nats-config" placeholder:"FILE" help:"With a NATS server elsewhere: write the worker's entry for its configuration here instead of printing it."`

	IfMissing bool `help:"Do nothing, and succeed, when FILE is there already: for scripts that run at every start."`
}

// Run lets the worker in.
func (w workersAddCmd) Run(a *app) error {
	if w.IfMissing && holdsSomething(w.Out) {
		a.printf("%s is there already: nothing to do\n", w.Out)
		return nil
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	return a.handOverSeed("added", w.Out, w.NATSConfig, "", func() (ferry.NewWorker, error) { return c.AddWorker(a.ctx, w.Name, w.Routes, w.Note) })
}

type workersListCmd struct{}

// Run lists the workers.
func (workersListCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	workers, err := c.Workers(a.ctx)
	if err != nil {
		return err
	}
	p, now := a.paint(), a.now()
	return writeList(a, workers, "no workers yet: broker workers add NAME --routes A,B --out FILE lets one in",
		[]column{left("NAME"), long("ROUTES"), long("BOUND"), left("STATE"), long("WAY"), right("LAST SEEN"), left("VERSION"), left("INBOX"), right("AGE")},
		func(w ferry.WorkerInfo) []any {
			return []any{
				w.Name, orDash(strings.Join(w.Routes, ",")), orDash(strings.Join(w.Bound, ",")), workerState(p, now, w),
				connectedBy(w), ageOf(now, w.LastSeen), orDash(w.Version), orDash(shortInbox(w.Inbox)), age(now, w.CreatedAt),
			}
		})
}

// connectedBy says how the worker is connected: its newest connection, and how many
// others it has.
func connectedBy(w ferry.WorkerInfo) string {
	if len(w.Connections) == 0 {
		return "-"
	}
	last := w.Connections[len(w.Connections)-1]
	text := last.Via
	if last.Address != "" {
		text += " " + last.Address
	}
	if more := len(w.Connections) - 1; more > 0 {
		text += fmt.Sprintf(" +%d", more)
	}
	return text
}

// shortInbox is enough of an inbox' identity to tell two of them apart; the whole is
// in the JSON.
func shortInbox(inbox string) string { return inbox[:min(len(inbox), 8)] }

// workerSilent is how long a worker may say nothing before it counts as away, at a
// broker that does not say so itself: it says hello every ten seconds.
const workerSilent = 35 * time.Second

// stands is the worker's state as the broker tells it; a broker of the version
// before tells none.
func stands(now time.Time, w ferry.WorkerInfo) ferry.WorkerState {
	switch {
	case w.State != "":
		return w.State
	case w.RevokedAt != nil:
		return ferry.WorkerRevoked
	case w.LastSeen == nil:
		return ferry.WorkerNotSinceStart
	case now.Sub(*w.LastSeen) > workerSilent:
		return ferry.WorkerAway
	default:
		return ferry.WorkerConnected
	}
}

func workerState(p paint, now time.Time, w ferry.WorkerInfo) cell {
	switch state := stands(now, w); state {
	case ferry.WorkerConnected:
		return cell{string(state), p.green}
	case ferry.WorkerStopped:
		return cell{string(state), p.yellow}
	case ferry.WorkerNeverSeen:
		return cell{"never seen", p.yellow}
	case ferry.WorkerNotSinceStart:
		return cell{"not since the broker started", p.yellow}
	default:
		return cell{string(state), p.red}
	}
}

type workersRotateCmd struct {
	Name string `arg:"" help:"The worker."`
	Note string `placeholder:"TEXT" help:"Why; kept in the audit log."`
	Out  string `required:"" placeholder:"FILE" help:"Write the credential here, readable by you only; the file must not exist."`

	NATSConfig string `name:"nats-config" placeholder:"FILE" help:"With a NATS server elsewhere: write the worker's entry for its configuration here instead of printing it."`
}

// Run gives the worker a new credential.
func (w workersRotateCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	const before = "its old login ends when its entry is replaced at the NATS server\n"
	return a.handOverSeed("rotated", w.Out, w.NATSConfig, before, func() (ferry.NewWorker, error) { return c.RotateWorker(a.ctx, w.Name, w.Note) })
}

type workersRevokeCmd struct {
	Name string `arg:"" help:"The worker."`
	Note string `placeholder:"TEXT" help:"Why; kept in the audit log."`
}

// Run shuts the worker out.
func (w workersRevokeCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	worker, err := c.RevokeWorker(a.ctx, w.Name, w.Note)
	if err != nil {
		return err
	}
	if a.json() {
		return a.writeJSON(worker)
	}
	switch {
	case onServiceBus(worker):
		a.printf("worker %s is revoked: the broker hands it nothing and refuses what it signs\n", worker.Name)
		a.printf("its rights in the namespace are not this broker's to end: take them from its identity, and delete its queue\n")
		return nil
	case worker.LoginElsewhere:
		a.printf("worker %s is revoked: the broker hands it nothing and refuses its receipts\n", worker.Name)
		a.printf("its login is not this broker's to end: remove the entry of %s from the configuration of the NATS server, and reload it\n", worker.PublicKey)
		return nil
	}
	a.printf("worker %s is revoked and cut off\n", worker.Name)
	return nil
}

func queueOf(w ferry.WorkerInfo) string {
	if w.Queue == "" {
		return config.DriverNATS
	}
	return w.Queue
}

type workersBindCmd struct {
	Name  string `arg:"" help:"The worker whose inbox shall deliver the route."`
	Route string `arg:"" help:"The route."`
	Gone  bool   `help:"Whoever had the route before is off or wiped, and can call no more: nothing waits for it. Wants --note."`
	Note  string `help:"Why."`
}

// Run binds the route.
func (w workersBindCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	info, err := c.BindRoute(a.ctx, w.Route, w.Name, w.Gone, w.Note)
	if err != nil {
		return err
	}
	if !a.json() {
		a.printf("route %s is bound to worker %s\n", info.Name, info.Worker)
	}
	info = a.awaitStopped(c, info)
	if a.json() {
		return a.writeJSON(info)
	}
	if len(info.Leaving) == 0 {
		a.remark("what another worker may have begun waits until its call has surely ended, and is looked up first")
	}
	for _, e := range info.Leaving {
		a.tellLeaving(info, e)
	}
	return nil
}

// hearTime is how long a worker that runs may take to say that it has heard.
const hearTime = 5 * time.Second

// awaitStopped gives the worker that had the route a moment to say that it has
// stopped.
func (a *app) awaitStopped(c *client.Client, info ferry.RouteInfo) ferry.RouteInfo {
	running := func(e ferry.Leaving) bool { return !e.Stopped }
	for end := time.Now().Add(hearTime); slices.ContainsFunc(info.Leaving, running) && time.Now().Before(end) && a.ctx.Err() == nil; {
		time.Sleep(hearTime / 10)
		routes, err := c.Routes(a.ctx)
		if err != nil {
			return info // it is bound; how it stands, routes list shows
		}
		for _, r := range routes {
			if r.Name == info.Name {
				info = r
			}
		}
	}
	return info
}

// tellLeaving says what waits for a worker that had the route, and why.
func (a *app) tellLeaving(r ferry.RouteInfo, e ferry.Leaving) {
	if e.Stopped {
		a.printf("worker %s has stopped: %s that it may have begun %s looked up from %s on\n",
			e.Worker, count(e.Messages, "message"), isAre(e.Messages), e.Calm.Format(time.RFC3339))
		return
	}
	a.printf("worker %s has not said that it has heard, and may begin calls until %s: it was let work on while the broker is away\n", e.Worker, e.Until.Format(time.RFC3339))
	a.printf("%s that it may have begun %s until %s; everything else goes to %s now\n",
		count(e.Messages, "message"), waitWaits(e.Messages), e.Calm.Format(time.RFC3339), r.Worker)
	a.remark("when it is heard the wait ends by itself; is its machine off or wiped for good: broker workers bind %s %s --gone --note …", r.Worker, r.Name)
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

func waitWaits(n int) string {
	if n == 1 {
		return "waits"
	}
	return "wait"
}

// handOverSeed writes the credential of a made or rotated worker to file. Of a
// worker that logs in at a NATS server elsewhere it tells the rest of what is to
// be done, with the sentence before first.
func (a *app) handOverSeed(verb, file, configFile, before string, make func() (ferry.NewWorker, error)) error {
	var worker ferry.NewWorker
	err := a.handOver(file, func() (secret string, err error) {
		worker, err = make()
		return worker.Seed, err
	})
	if err != nil {
		return err
	}
	if err := writeLogin(worker, configFile); err != nil {
		return err
	}
	section := a.workerConfig(worker, file)
	if a.json() {
		return a.writeJSON(struct {
			ferry.WorkerInfo
			LoginConfig  string `json:"loginConfig,omitempty"`
			WorkerConfig string `json:"workerConfig,omitempty"`
		}{worker.WorkerInfo, worker.LoginConfig, section})
	}
	a.printf("worker %s is %s for %s\n", worker.Name, verb, strings.Join(worker.Routes, ", "))
	a.printf("its credential lies in %s; nobody can show it again\n", file)
	a.tellLogin(worker, configFile, section, before)
	if a.screen.terminal {
		a.remark("next: name the file as queue.%s.nkey in worker.yaml, then worker run --config worker.yaml", queueOf(worker.WorkerInfo))
	}
	return nil
}

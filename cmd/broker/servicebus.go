package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"ferry"
	"ferry/config"
	"ferry/queue/drivers"
)

type servicebusCmd struct {
	Check     servicebusCheckCmd     `cmd:"" help:"Look at every queue of this broker: whether it is there, its settings, the rights on it. Changes nothing."`
	Provision servicebusProvisionCmd `cmd:"" help:"Make the queues that are missing; what is there stays as it is. Needs the right Manage."`
}

// busFlags are what both commands take.
type busFlags struct {
	Config  string   `placeholder:"FILE" help:"The configuration (else broker.yaml)."`
	Workers []string `placeholder:"A,B" help:"Workers whose queues belong to it."`
}

// load reads the file, which must say where the namespace is.
func (f busFlags) load() (*config.Broker, []string, error) {
	path := f.Config
	if path == "" {
		path = defaultConfig
	}
	cfg, err := config.LoadBroker(path)
	if err != nil {
		return nil, nil, err
	}
	for _, w := range f.Workers {
		if err := ferry.ValidName("worker", w); err != nil {
			return nil, nil, err
		}
	}
	routes := make([]string, len(cfg.Routes))
	for i, r := range cfg.Routes {
		routes[i] = r.Name
	}
	return cfg, routes, nil
}

// options are what looks at the namespace; done is called after that.
func (f busFlags) options(a *app) (opts drivers.ServiceBusOptions, done func(), err error) {
	cfg, routes, err := f.load()
	if err != nil {
		return opts, nil, err
	}
	if cfg.Queue.ServiceBus.IsZero() {
		return opts, nil, ferry.Errorf(ferry.CodeBadConfig, "the configuration names no Service Bus namespace").
			WithHint("add queue: {driver: servicebus, servicebus: {namespace: …}}; docs/configuration.md has the keys")
	}
	log := newLog(a.stderr, "text", "error")
	secrets := openSecrets(cfg, log)
	return drivers.ServiceBusOptions{
		Config: cfg.Queue.ServiceBus, Secrets: secrets.Resolver, Routes: routes, WorkerNames: f.Workers, Log: log,
	}, secrets.close, nil
}

type servicebusCheckCmd struct{ busFlags }

// Run looks at the namespace. It speaks to no broker.
func (c servicebusCheckCmd) Run(a *app) error {
	opts, done, err := c.options(a)
	if err != nil {
		return err
	}
	defer done()
	report, err := drivers.CheckServiceBus(a.ctx, opts)
	if err != nil {
		return err
	}
	if a.json() {
		err = a.writeJSON(report)
	} else {
		err = a.writeBusReport(report)
	}
	if err == nil && !report.Well {
		return ferry.Errorf(ferry.CodeQueueUnsuitable, "the namespace %s cannot carry the queue as it is", report.Namespace).
			WithHint("what to do stands with each queue above; docs/service-bus.md has the settings and the rights")
	}
	return err
}

func (a *app) writeBusReport(r drivers.ServiceBusReport) error {
	p := a.paint()
	a.printf("namespace %s\n\n", r.Namespace)
	t := newTable(long("QUEUE"), left("EXISTS"), left("LISTEN"), left("SEND"), left("LOCK"), left("DUPLICATES"),
		right("DELIVERIES"), right("MESSAGES"), right("SET ASIDE"))
	mark := func(state string) cell {
		switch state {
		case "yes":
			return cell{state, p.green}
		case "no":
			return cell{state, p.red}
		case "":
			return cell{"-", nil}
		default:
			return cell{state, p.yellow}
		}
	}
	for _, q := range r.Queues {
		deliveries := ""
		if q.MaxDeliveries > 0 {
			deliveries = strconv.Itoa(q.MaxDeliveries)
		}
		t.add(q.Queue, mark(q.Exists), mark(q.Listen), mark(q.Send), orDash(q.Lock), orDash(q.DuplicateWindow),
			orDash(deliveries), orDash(number(q.Active)), orDash(number(q.Dead)))
	}
	if err := t.write(a.stdout, a.screen, p); err != nil {
		return err
	}
	for _, q := range r.Queues {
		for _, problem := range q.Problems {
			word := "warning"
			if problem.Fatal {
				word = "problem"
			}
			a.printf("\n%s: %s\n", word, problem.Problem)
			if problem.Hint != "" {
				a.printf("  %s\n", problem.Hint)
			}
		}
	}
	for _, note := range r.Notes {
		a.printf("\nnote: %s\n", note)
	}
	return nil
}

func number(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}

type servicebusProvisionCmd struct {
	busFlags
	Print string `placeholder:"FORM" help:"Write down how they are made, and make nothing: az (commands), bicep (a module), emulator (Config.json of Microsoft's emulator)."`
}

// Run makes what is missing. It speaks to no broker.
func (c servicebusProvisionCmd) Run(a *app) error {
	if c.Print != "" {
		return c.print(a)
	}
	opts, done, err := c.options(a)
	if err != nil {
		return err
	}
	defer done()
	made, err := drivers.Provision(a.ctx, opts)
	if a.json() {
		if made == nil {
			made = []string{}
		}
		return errors.Join(a.writeJSON(map[string][]string{"made": made}), err)
	}
	for _, name := range made {
		a.printf("made %s\n", name)
	}
	if err != nil {
		return err
	}
	if len(made) == 0 {
		a.printf("every queue is there: nothing to make\n")
	}
	a.remark("whether settings and rights of all are right: broker servicebus check")
	return nil
}

func (c servicebusProvisionCmd) print(a *app) error {
	forms := []string{drivers.PlanAz, drivers.PlanBicep, drivers.PlanEmulator}
	if !slices.Contains(forms, c.Print) {
		return usagef("--print %s: there is no such form", c.Print).withHint("one of %v", forms)
	}
	if c.Config == "" {
		if _, err := os.Stat(defaultConfig); errors.Is(err, fs.ErrNotExist) {
			return usagef("there is no %s here", defaultConfig).withHint("name the configuration with --config: its routes have a queue each")
		}
	}
	cfg, routes, err := c.load()
	if err != nil {
		return err
	}
	text, err := drivers.Plan(c.Print, cfg.Queue.ServiceBus, routes, c.Workers)
	if err != nil {
		return fmt.Errorf("the plan: %w", err)
	}
	a.printf("%s", text)
	return nil
}

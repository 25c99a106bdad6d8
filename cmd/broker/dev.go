package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ferry"
	"ferry/broker"
	"ferry/client"
	"ferry/config"
	"ferry/internal/hangup"
)

type devCmd struct {
	Queue     string `enum:"nats,servicebus" default:"nats" help:"nats, or servicebus: over a double of Azure Service Bus in this process, without Azure."`
	ERP       string `name:"erp" enum:"${dialects}" default:"rest" help:"What the practice ERP speaks: ${enum}."`
	Data      string `placeholder:"DIR" help:"Keep the data here (else it goes when the command ends)."`
	LogFormat string `enum:"text,json" default:"text" help:"text or json."`
	LogLevel  string `enum:"debug,info,warn,error" default:"warn" help:"debug, info, warn or error."`
}

const (
	devRoute  = "supplier-invoices"
	devWorker = "dev-worker"
	devSample = `{"invoice":{"number":"INV-2026-0042","supplier":"Contoso Ltd.","currency":"EUR","total":1190.00,"date":"2026-11-26"}}`
)

// sampleTime bounds the wait for the sample: it takes milliseconds.
const sampleTime = 30 * time.Second

// Run shows the whole path in one process: broker, worker and a practice ERP.
func (c devCmd) Run(a *app) error {
	dir := c.Data
	if dir == "" {
		temp, err := os.MkdirTemp("", "ferry-dev-")
		if err != nil {
			return fmt.Errorf("make a folder for the data: %w", err)
		}
		defer func() { _ = os.RemoveAll(temp) }()
		dir = temp
	}
	listener, err := devListen()
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	d := &dev{app: a, dir: dir, url: "http://" + listener.Addr().String()}
	return d.run(c, listener)
}

// devListen takes port 8080, or a free one when that is taken.
func devListen() (net.Listener, error) {
	if l, err := net.Listen("tcp", "127.0.0.1:8080"); err == nil {
		return l, nil
	}
	return listen("listen", "127.0.0.1:0")
}

// dev is one run of `broker dev`.
type dev struct {
	app    *app
	dir    string
	url    string
	double string // the connection string of the Service Bus double; empty: there is none
}

func (d *dev) run(c devCmd, listener net.Listener) (err error) {
	log := newLog(d.app.stderr, c.LogFormat, c.LogLevel)
	defer d.app.outliveHangups(log, hangup.Ends(d.app.stdin))()
	ctx := d.app.ctx
	practiceERP, err := startPractice(c.ERP)
	if err != nil {
		return err
	}
	defer practiceERP.close()

	cfg := config.Default()
	cfg.DataDir, cfg.PublicURL, cfg.Environment = filepath.Join(d.dir, "broker"), d.url, "dev"
	cfg.Queue.NATS.Listen = config.ListenOff
	cfg.Routes = []config.BrokerRoute{{Name: devRoute, SearchKeys: []string{".invoice.number"}}}
	if c.Queue == config.DriverServiceBus {
		double, err := d.startDouble(cfg)
		if err != nil {
			return err
		}
		defer func() { _ = double.Close() }()
	}
	s, err := startServer(ctx, cfg, log)
	if err != nil {
		return err
	}
	if _, err := s.broker.EnsureAdminKey(ctx); err != nil {
		return errors.Join(err, s.stop())
	}
	w, err := d.startWorker(ctx, s, practiceERP)
	if err != nil {
		return errors.Join(err, s.stop())
	}
	served := make(chan error, 1)
	serving, stop := context.WithCancel(ctx)
	defer stop()
	go func() { served <- s.serve(serving, listener) }()

	if err := d.show(ctx, cfg.DataDir, practiceERP); err != nil && ctx.Err() == nil {
		stop()
		return errors.Join(err, w.stop(), <-served)
	}
	<-ctx.Done()
	d.app.printf("\nstopping\n")
	return errors.Join(w.stop(), <-served)
}

// show sends the sample and tells what happened and what to try next.
func (d *dev) show(ctx context.Context, dataDir string, erp *devERP) error {
	keyFile := filepath.Join(dataDir, broker.AdminKeyFile)
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return fmt.Errorf("read the admin key: %w", err)
	}
	key := strings.TrimSpace(string(text))
	api, err := client.New(d.url, key, client.Options{UserAgent: "broker-dev/" + version()})
	if err != nil {
		return err
	}
	d.app.printf("Ferry runs: broker %s, a worker and a practice ERP %s, all in this process.\n", d.url, erp.url)
	d.app.printf("The ERP speaks %s; what makes the worker speak it is in %s.\n", erp.dialect, d.workerFile())
	d.tellDouble()
	d.app.printf("\n")
	started := time.Now()
	accepted, err := api.Send(ctx, devRoute, ferry.Message{
		Body: []byte(devSample), ContentType: "application/json",
		IdempotencyKey: "sample-" + started.UTC().Format("20060102T150405.000"),
	})
	if err != nil {
		return fmt.Errorf("send the sample message: %w", err)
	}
	d.app.printf("A sample message was accepted, on disk, as %s.\n", accepted.ID)
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	e, err := api.Await(ctx, accepted.ID.String())
	if err != nil {
		return fmt.Errorf("wait for the end of the sample message: %w", err)
	}
	if e.State != ferry.StateCompleted {
		return fmt.Errorf("the sample message is %s, not completed", e.State)
	}
	d.app.printf("The ERP has it: document number %s, %s after it was sent.\n", e.Reference, time.Since(started).Round(time.Millisecond))
	d.printNext(key, keyFile)
	return nil
}

func (d *dev) printNext(key, keyFile string) {
	send := d.url + "/v1/routes/" + devRoute + "/messages"
	bad := `{"invoice":{"currency":"EUR"}}`
	d.app.printf(`
Try next, in another terminal:

  # send a message (curl, PowerShell)
  curl -X POST %[1]s -H 'Authorization: Bearer %[2]s' -H 'Content-Type: application/json' -d '%[3]s'
  Invoke-RestMethod -Method Post -Uri %[1]s -Headers @{Authorization='Bearer %[2]s'} -ContentType 'application/json' -Body '%[3]s'

  # send one that the ERP refuses, then look at the dead letters and mend it
  curl -X POST %[1]s -H 'Authorization: Bearer %[2]s' -H 'Content-Type: application/json' -d '%[4]s'
  export FERRY_URL=%[5]s FERRY_KEY_FILE=%[6]s
  %[7]s dlq list
  %[7]s dlq show ID
  %[7]s dlq edit ID
  %[7]s status

Ctrl-C ends it%[8]s.
`, send, key, devSample, bad, d.url, absolute(keyFile), programName(), d.farewell())
}

func (d *dev) farewell() string {
	if strings.HasPrefix(filepath.Base(d.dir), "ferry-dev-") {
		return ", and its data go with it (--data DIR keeps them)"
	}
	return "; the data stay in " + d.dir
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// programName is how the person called this program: `go run` builds it into a
// temporary folder.
func programName() string {
	if exe, err := os.Executable(); err == nil && strings.Contains(exe, "go-build") {
		return "go run ./cmd/broker"
	}
	return "broker"
}

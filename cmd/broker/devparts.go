package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"ferry/adapters/adaptertest/practice"
	"ferry/config"
	"ferry/internal/disk"
	"ferry/internal/sbemu"
	"ferry/internal/sbemu/entity"
	"ferry/queue"
	"ferry/queue/drivers"
	"ferry/secret"
)

// devERP is the practice ERP on a loopback port.
type devERP struct {
	url     string
	dialect string
	key     string // what it wants of who calls; made anew for each run
	erp     *practice.ERP
	http    *http.Server
}

func startPractice(dialect string) (*devERP, error) {
	required, err := practice.RequiredOf(dialect)
	if err != nil {
		return nil, err
	}
	l, err := listen("listen", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	key := rand.Text()
	system := practice.New(key, practice.Settings{Dialect: dialect, OnDuplicate: practice.Conflict, Required: []string{required}})
	p := &devERP{
		url: "http://" + l.Addr().String(), dialect: dialect, key: key, erp: system,
		http: &http.Server{Handler: system, ReadHeaderTimeout: 10 * time.Second},
	}
	go func() { _ = p.http.Serve(l) }()
	return p, nil
}

func (p *devERP) close() {
	_ = p.http.Close()
	p.erp.Close()
}

// flowQueue is the queue of the double that a flow would send to.
const flowQueue = "flow-invoices"

// doubleFile keeps the connection string of the double of one run.
const doubleFile = "servicebus-double.txt"

// startDouble starts a double of Azure Service Bus on a loopback port, and points
// the configuration to it. What it holds goes with the process; what was accepted
// lies in the ledger.
func (d *dev) startDouble(cfg *config.Broker) (*sbemu.Server, error) {
	double, err := sbemu.Start(sbemu.Options{})
	if err != nil {
		return nil, fmt.Errorf("start the Service Bus double: %w", err)
	}
	d.double = double.ConnectionString()
	path := filepath.Join(d.dir, doubleFile)
	if err := d.keep(path, d.double+"\n"); err != nil {
		_ = double.Close()
		return nil, fmt.Errorf("keep the double's connection string: %w", err)
	}
	bus := &cfg.Queue.ServiceBus
	cfg.Queue.Driver = config.DriverServiceBus
	bus.ConnectionString, bus.AdminURL, bus.Provision = secret.Ref("file:"+path), "http://"+double.Addr(), true
	if _, err := double.Namespace().Create(entity.Config{Name: flowQueue}); err != nil {
		_ = double.Close()
		return nil, fmt.Errorf("make the flow's queue: %w", err)
	}
	cfg.Routes[0].Intake = &config.Intake{ServiceBus: &config.IntakeServiceBus{ServiceBus: bus.ServiceBus, Queue: flowQueue, Concurrency: 32}}
	return double, nil
}

// keep writes a file in the place of that of an earlier run.
func (d *dev) keep(path, text string) error {
	err := os.Remove(path)
	if err == nil || os.IsNotExist(err) {
		err = disk.MkdirAll(d.dir, 0o700)
	}
	if err == nil {
		err = disk.WriteNew(path, []byte(text), 0o600)
	}
	return err
}

func (d *dev) tellDouble() {
	if d.double == "" {
		return
	}
	d.app.printf("Its queue is a double of Azure Service Bus in this process, for trying things out: it keeps nothing.\n")
	d.app.printf("Any SDK of Service Bus can connect to it:\n  %s\n", d.double)
	d.app.printf("What an SDK, or a flow, sends to its queue %s is taken in for the route %s.\n", flowQueue, devRoute)
}

// connectInside makes the connection of the practice worker.
func connectInside(ctx context.Context, s *server, seed string) (*queue.Queue, error) {
	switch t := s.transport.(type) {
	case *drivers.NATS:
		return t.Connect(ctx, devWorker, seed, s.log)
	case *drivers.ServiceBus:
		return t.Connect(ctx, devWorker, seed, []string{devRoute}, s.log)
	default:
		return nil, fmt.Errorf("the practice worker cannot connect to %T", s.transport)
	}
}

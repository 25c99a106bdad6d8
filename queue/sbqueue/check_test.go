package sbqueue

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/internal/sbemu"
	"ferry/internal/sbemu/entity"
	"ferry/internal/servicebus"
	"ferry/queue"
)

func TestSettingsAreJudged(t *testing.T) {
	b := &Broker{conn: &conn{lock: time.Minute}}
	good := servicebus.QueueInfo{Lock: time.Minute, DuplicateWindow: 10 * time.Minute, MaxDeliveries: 2000}
	for name, test := range map[string]struct {
		change func(i *servicebus.QueueInfo)
		code   ferry.Code // "": a warning
		text   string     // "": nothing
		short  bool       // also of a queue in which nothing lasts
	}{
		"as it is made":        {change: func(*servicebus.QueueInfo) {}},
		"without duplicates":   {change: func(i *servicebus.QueueInfo) { i.DuplicateWindow = 0 }},
		"a longer lock":        {change: func(i *servicebus.QueueInfo) { i.Lock = 5 * time.Minute }},
		"a long time to live":  {change: func(i *servicebus.QueueInfo) { i.TimeToLive = 14 * 24 * time.Hour }},
		"lock too short":       {func(i *servicebus.QueueInfo) { i.Lock = 20 * time.Second }, ferry.CodeQueueUnsuitable, "locks messages for 20s only", false},
		"lock shorter":         {func(i *servicebus.QueueInfo) { i.Lock = 45 * time.Second }, "", "locks messages for 45s", false},
		"window too short":     {func(i *servicebus.QueueInfo) { i.DuplicateWindow = 30 * time.Second }, ferry.CodeQueueUnsuitable, "detects duplicates for 30s only", true},
		"sessions":             {func(i *servicebus.QueueInfo) { i.RequiresSession = true }, ferry.CodeQueueUnsuitable, "requires sessions", true},
		"partitions":           {func(i *servicebus.QueueInfo) { i.Partitioned = true }, ferry.CodeQueueUnsuitable, "is partitioned", true},
		"few deliveries":       {func(i *servicebus.QueueInfo) { i.MaxDeliveries = 3 }, "", "after 3 deliveries", false},
		"a short time to live": {func(i *servicebus.QueueInfo) { i.TimeToLive = time.Hour }, "", "after 1h0m0s", false},
	} {
		t.Run(name, func(t *testing.T) {
			info := good
			test.change(&info)
			for _, lasting := range []bool{true, false} {
				got := b.judge(need{name: "q", lasting: lasting}, info)
				want := test.text
				if !lasting && !test.short {
					want = ""
				}
				if want == "" {
					if len(got) != 0 {
						t.Errorf("lasting %v: %+v, want nothing", lasting, got)
					}
					continue
				}
				if len(got) != 1 || !strings.Contains(got[0].Text, want) || got[0].Hint == "" || ferry.CodeOf(got[0].Err) != test.code {
					t.Errorf("lasting %v: %+v, want %q and the code %q", lasting, got, want, test.code)
				}
			}
		})
	}
	b.lock = 10 * time.Second // that is what the operator wants
	info := good
	info.Lock = 10 * time.Second
	if got := b.judge(need{name: "q", lasting: true}, info); len(got) != 0 {
		t.Errorf("a short lock that was asked for: %+v", got)
	}
}

// start is a double with the queues of a broker with one route and one worker.
func startDouble(t *testing.T, policies map[string]sbemu.Policy, leaveOut ...string) *sbemu.Server {
	t.Helper()
	all := map[string]sbemu.Policy{sbemu.RootPolicy: {Keys: []string{"root-key"}, Rights: sbemu.Manage}}
	for name, p := range policies {
		all[name] = p
	}
	list, err := Queues("", []string{"orders"}, []string{"erp-1"})
	if err != nil {
		t.Fatal(err)
	}
	var queues []entity.Config
	for _, name := range list {
		left := false
		for _, out := range leaveOut {
			left = left || out == name
		}
		if !left {
			queues = append(queues, entity.Config{Name: name, MaxDelivery: 2000})
		}
	}
	s, err := sbemu.Start(sbemu.Options{Policies: all, Queues: queues})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// listenOnly has the rights of a broker without Manage, but for those left out.
func brokerPolicy(without string) sbemu.Policy {
	rights := map[string]sbemu.Rights{
		"ferry.receipts": sbemu.Listen, "ferry.questions": sbemu.Listen, "ferry.messages.orders": sbemu.Listen | sbemu.Send, "ferry.worker.erp-1": sbemu.Send,
	}
	delete(rights, without)
	return sbemu.Policy{Keys: []string{"secret-key-of-the-broker"}, Entities: rights}
}

func workerPolicy(without string) sbemu.Policy {
	rights := map[string]sbemu.Rights{
		"ferry.receipts": sbemu.Send, "ferry.questions": sbemu.Send, "ferry.messages.orders": sbemu.Listen, "ferry.worker.erp-1": sbemu.Listen,
	}
	delete(rights, without)
	return sbemu.Policy{Keys: []string{"secret-key-of-the-worker"}, Entities: rights}
}

// TestStartOfABrokerWithoutManage: each thing that is missing is named, with what to
// do, and nothing else is said.
func TestStartOfABrokerWithoutManage(t *testing.T) {
	for name, test := range map[string]struct {
		policy  sbemu.Policy
		missing string
		code    ferry.Code
		kind    error
		text    string
	}{
		"all is there":           {policy: brokerPolicy("")},
		"no receipts":            {brokerPolicy(""), "ferry.receipts", ferry.CodeQueueUnsuitable, queue.ErrNotFound, "has no queue ferry.receipts"},
		"no messages":            {brokerPolicy(""), "ferry.messages.orders", ferry.CodeQueueUnsuitable, queue.ErrNotFound, "has no queue ferry.messages.orders"},
		"may not hear questions": {brokerPolicy("ferry.questions"), "", ferry.CodeQueueRefused, queue.ErrUnauthorized, "refuses the right Listen on the queue ferry.questions"},
		"may not send messages": {func() sbemu.Policy {
			p := brokerPolicy("")
			p.Entities["ferry.messages.orders"] = sbemu.Listen
			return p
		}(), "", ferry.CodeQueueRefused, queue.ErrUnauthorized, "refuses the right Send on the queue ferry.messages.orders"},
		"another key": {sbemu.Policy{Keys: []string{"not-this-one"}}, "", ferry.CodeQueueRefused, queue.ErrUnauthorized, "refuses the right Listen on the queue ferry.receipts"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startDouble(t, map[string]sbemu.Policy{"broker": test.policy}, test.missing)
			var log strings.Builder
			public, _ := login(t)
			b, err := ConnectBroker(t.Context(), BrokerOptions{
				Client: servicebus.Config{ConnectionString: s.ConnectionStringOf("broker")}, Routes: []string{"orders"}, Lock: time.Minute,
				Workers: []WorkerAuth{{Name: "erp-1", PublicKey: public}}, Log: slog.New(slog.NewTextHandler(&log, nil)),
			})
			if b != nil {
				defer b.Close(context.WithoutCancel(t.Context()))
			}
			if test.code == "" {
				if err != nil || log.Len() > 0 {
					t.Fatalf("start: %v, log:\n%s", err, &log)
				}
				if p := b.Properties(); p.MaxData != 240<<10 || !p.Outlives || !p.Durable || p.Lock != time.Minute || p.Name != "servicebus" {
					t.Errorf("properties are %+v", p)
				}
				return
			}
			checkStartError(t, err, test.code, test.kind, test.text)
		})
	}
}

func checkStartError(t *testing.T, err error, code ferry.Code, kind error, text string) {
	t.Helper()
	var known *ferry.Error
	if !errors.As(err, &known) || known.Code != code || !errors.Is(err, kind) || !strings.Contains(known.Message, text) || known.Hint == "" {
		t.Fatalf("start: %v (%s), want %s that says %q with a hint", err, ferry.CodeOf(err), code, text)
	}
	if strings.Contains(known.Error()+known.Hint, "key-of-the") {
		t.Errorf("a secret is told: %v", known)
	}
}

func TestStartOfAWorker(t *testing.T) {
	for name, test := range map[string]struct {
		policy  sbemu.Policy
		missing string
		code    ferry.Code
		kind    error
		text    string
	}{
		"all is there":           {policy: workerPolicy("")},
		"no queue of its own":    {workerPolicy(""), "ferry.worker.erp-1", ferry.CodeQueueUnsuitable, queue.ErrNotFound, "has no queue ferry.worker.erp-1"},
		"may not report":         {workerPolicy("ferry.receipts"), "", ferry.CodeQueueRefused, queue.ErrUnauthorized, "refuses the right Send on the queue ferry.receipts"},
		"may not get a route's":  {workerPolicy("ferry.messages.orders"), "", ferry.CodeQueueRefused, queue.ErrUnauthorized, "refuses the right Listen on the queue ferry.messages.orders"},
		"may not hear the word":  {workerPolicy("ferry.worker.erp-1"), "", ferry.CodeQueueRefused, queue.ErrUnauthorized, "refuses the right Listen on the queue ferry.worker.erp-1"},
		"may not ask the broker": {workerPolicy("ferry.questions"), "", ferry.CodeQueueRefused, queue.ErrUnauthorized, "refuses the right Send on the queue ferry.questions"},
	} {
		t.Run(name, func(t *testing.T) {
			s := startDouble(t, map[string]sbemu.Policy{"worker": test.policy}, test.missing)
			_, seed := login(t)
			w, err := Connect(t.Context(), WorkerOptions{
				Client: servicebus.Config{ConnectionString: s.ConnectionStringOf("worker")}, Worker: "erp-1", Seed: seed, Routes: []string{"orders"},
			})
			if w != nil {
				defer w.Close(context.WithoutCancel(t.Context()))
			}
			if test.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				if p := w.Properties(); p.MaxData != 240<<10 || p.Lock != DefaultLock || !p.Outlives {
					t.Errorf("properties are %+v", p)
				}
				return
			}
			checkStartError(t, err, test.code, test.kind, test.text)
		})
	}
}

// TestStartWhereNobodyAnswers: one sentence, whatever the number of routes.
func TestStartWhereNobodyAnswers(t *testing.T) {
	s := startDouble(t, nil)
	s.SetAway(true)
	_, seed := login(t)
	_, err := Connect(t.Context(), WorkerOptions{
		Client: servicebus.Config{ConnectionString: s.ConnectionString()}, Worker: "erp-1", Seed: seed, Routes: []string{"orders", "b", "c"},
	})
	checkStartError(t, err, ferry.CodeQueueUnreachable, queue.ErrUnavailable, "cannot be reached")
	_, err = ConnectBroker(t.Context(), BrokerOptions{Client: servicebus.Config{ConnectionString: s.ConnectionString()}, Routes: []string{"orders"}})
	checkStartError(t, err, ferry.CodeQueueUnreachable, queue.ErrUnavailable, "cannot be reached")
	if n := strings.Count(err.Error(), "cannot be reached:"); n != 1 {
		t.Errorf("it is said %d times: %v", n, err)
	}
}

func TestBadOptions(t *testing.T) {
	_, seed := login(t)
	client := servicebus.Config{ConnectionString: "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=a;SharedAccessKey=b;UseDevelopmentEmulator=true"}
	for name, err := range map[string]error{
		"no client": func() error { _, err := ConnectBroker(t.Context(), BrokerOptions{}); return err }(),
		"prefix": func() error {
			_, err := ConnectBroker(t.Context(), BrokerOptions{Client: client, Prefix: "a/b"})
			return err
		}(),
		"no seed": func() error {
			_, err := Connect(t.Context(), WorkerOptions{Client: client, Worker: "erp-1"})
			return err
		}(),
		"worker name": func() error {
			_, err := Connect(t.Context(), WorkerOptions{Client: client, Worker: "ERP", Seed: seed})
			return err
		}(),
	} {
		var known *ferry.Error
		if !errors.As(err, &known) || known.Code != ferry.CodeBadConfig && known.Code != ferry.CodeBadName {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// fakeAdmin is a namespace's administration.
type fakeAdmin struct {
	queues map[string]servicebus.QueueInfo
	refuse func(servicebus.QueueSpec) error
	made   []servicebus.QueueSpec
}

func (a *fakeAdmin) Queue(_ context.Context, name string) (servicebus.QueueInfo, error) {
	info, ok := a.queues[name]
	if !ok {
		return info, servicebus.ErrNotFound
	}
	return info, nil
}

func (a *fakeAdmin) Create(_ context.Context, s servicebus.QueueSpec) (bool, error) {
	if a.refuse != nil {
		if err := a.refuse(s); err != nil {
			return false, err
		}
	}
	a.made = append(a.made, s)
	a.queues[s.Name] = servicebus.QueueInfo{Name: s.Name, Lock: s.Lock, DuplicateWindow: s.DuplicateWindow, MaxDeliveries: s.MaxDeliveries}
	return true, nil
}

func offline(t *testing.T, opts BrokerOptions, a admin) *Broker {
	t.Helper()
	opts.Client = servicebus.Config{ConnectionString: "Endpoint=sb://127.0.0.1:1;SharedAccessKeyName=a;SharedAccessKey=b;UseDevelopmentEmulator=true"}
	b, err := openBroker(opts)
	if err != nil {
		t.Fatal(err)
	}
	b.admin = a
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// TestQueuesAreMadeAsTheTierTakesThem: what only makes a queue better is left out
// where it is refused; everything else is an error.
func TestQueuesAreMadeAsTheTierTakesThem(t *testing.T) {
	for name, test := range map[string]struct {
		refuse func(servicebus.QueueSpec) error
		want   servicebus.QueueSpec
		err    error
	}{
		"Standard": {nil, servicebus.QueueSpec{Name: "ferry.messages.orders", Lock: time.Minute, MaxDeliveries: 2000, DuplicateWindow: 10 * time.Minute}, nil},
		"Basic": {func(s servicebus.QueueSpec) error {
			if s.DuplicateWindow > 0 {
				return servicebus.ErrRefused
			}
			return nil
		}, servicebus.QueueSpec{Name: "ferry.messages.orders", Lock: time.Minute, MaxDeliveries: 2000}, nil},
		"the emulator": {func(s servicebus.QueueSpec) error {
			if s.DuplicateWindow > 5*time.Minute || s.MaxDeliveries > 10 {
				return servicebus.ErrRefused
			}
			return nil
		}, servicebus.QueueSpec{Name: "ferry.messages.orders", Lock: time.Minute, MaxDeliveries: 10, DuplicateWindow: 5 * time.Minute}, nil},
		"no right": {func(servicebus.QueueSpec) error { return servicebus.ErrUnauthorized }, servicebus.QueueSpec{}, queue.ErrUnauthorized},
		"away":     {func(servicebus.QueueSpec) error { return servicebus.ErrUnavailable }, servicebus.QueueSpec{}, queue.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			a := &fakeAdmin{queues: map[string]servicebus.QueueInfo{}, refuse: test.refuse}
			b := offline(t, BrokerOptions{Provision: true}, a)
			made, err := b.Ensure(t.Context(), queue.MessagesOf("orders"))
			if !errors.Is(err, test.err) || made != (test.err == nil) {
				t.Fatalf("ensure: %v, %v, want %v", made, err, test.err)
			}
			if test.err != nil {
				return
			}
			if diff := cmp.Diff([]servicebus.QueueSpec{test.want}, a.made); diff != "" {
				t.Errorf("made (-want +got):\n%s", diff)
			}
			if made, err := b.Ensure(t.Context(), queue.MessagesOf("orders")); err != nil || made {
				t.Errorf("ensure again: %v, %v", made, err)
			}
		})
	}
}

// TestWithoutProvisionNothingIsMade: the error names the queue and the command.
func TestWithoutProvisionNothingIsMade(t *testing.T) {
	a := &fakeAdmin{queues: map[string]servicebus.QueueInfo{}}
	b := offline(t, BrokerOptions{}, a)
	made, err := b.Ensure(t.Context(), queue.AllReceipts())
	checkStartError(t, err, ferry.CodeQueueUnsuitable, queue.ErrNotFound, "has no queue ferry.receipts")
	if made || len(a.made) > 0 {
		t.Errorf("made: %v, %+v", made, a.made)
	}
	var log strings.Builder
	b.log = slog.New(slog.NewTextHandler(&log, nil))
	public, _ := login(t)
	if err := b.SetWorkers(t.Context(), []WorkerAuth{{Name: "erp-1", PublicKey: public}}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "queue=ferry.worker.erp-1") || !strings.Contains(log.String(), "broker servicebus provision") {
		t.Errorf("the log does not say which queue a new worker needs:\n%s", &log)
	}
}

// TestCheckTellsEverything: not only the first thing that is amiss.
func TestCheckTellsEverything(t *testing.T) {
	s := startDouble(t, map[string]sbemu.Policy{"broker": brokerPolicy("ferry.questions"), "worker": workerPolicy("ferry.receipts")}, "ferry.messages.orders")
	public, seed := login(t)
	for name, check := range map[string]func() ([]Finding, error){
		"ferry.questions refuses Listen": func() ([]Finding, error) {
			return Check(t.Context(), BrokerOptions{
				Client: servicebus.Config{ConnectionString: s.ConnectionStringOf("broker")}, Routes: []string{"orders"},
				Workers: []WorkerAuth{{Name: "erp-1", PublicKey: public}, {Name: "erp-0", Revoked: true}},
			})
		},
		"ferry.receipts refuses Send": func() ([]Finding, error) {
			return CheckWorker(t.Context(), WorkerOptions{
				Client: servicebus.Config{ConnectionString: s.ConnectionStringOf("worker")}, Worker: "erp-1", Seed: seed, Routes: []string{"orders"},
			})
		},
	} {
		findings, err := check()
		if err != nil || len(findings) != 2 {
			t.Fatalf("%s: %+v, %v, want two findings", name, findings, err)
		}
		queueName, right, _ := strings.Cut(name, " refuses ")
		for _, f := range findings {
			refused := f.Queue == queueName && strings.Contains(f.Text, "the right "+right) && ferry.CodeOf(f.Err) == ferry.CodeQueueRefused
			missing := f.Queue == "ferry.messages.orders" && errors.Is(f.Err, queue.ErrNotFound)
			if f.Hint == "" || !refused && !missing {
				t.Errorf("%s: %+v", name, f)
			}
		}
	}
}

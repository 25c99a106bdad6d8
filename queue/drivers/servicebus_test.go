package drivers

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/config"
	"ferry/internal/sbemu"
	"ferry/queue"
	"ferry/secret"
)

func env(pairs ...string) secret.Resolver {
	return secret.Resolver{LookupEnv: func(name string) (string, bool) {
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}}
}

func TestNamespace(t *testing.T) {
	const text = "Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=hunter2"
	c, err := Namespace(config.ServiceBus{ConnectionString: "env:BUS", WebSockets: true, Proxy: "env", Endpoint: "10.0.0.1:443", AdminURL: "http://a:1"}, env("BUS", text), nil)
	if err != nil || c.ConnectionString != text || !c.WebSockets || c.Proxy != "env" || c.Endpoint != "10.0.0.1:443" || c.AdminURL != "http://a:1" || c.TLS != nil {
		t.Errorf("%v, %v", c.Endpoint, err)
	}
	for kind, cfg := range map[string]config.Credential{
		"secret":  {Type: config.CredentialSecret, TenantID: "t", ClientID: "c", ClientSecret: "env:SECRET"},
		"managed": {Type: config.CredentialManaged},
		"default": {},
	} {
		c, err := Namespace(config.ServiceBus{Namespace: "x.servicebus.windows.net", Credential: cfg, Proxy: "http://p:1", WebSockets: true}, env("SECRET", "hunter2"), nil)
		if err != nil || c.Credential == nil || c.Namespace != "x.servicebus.windows.net" || c.ConnectionString != "" {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for what, cfg := range map[string]config.ServiceBus{
		"no such variable": {ConnectionString: "env:NONE"},
		"no such secret":   {Namespace: "x", Credential: config.Credential{Type: config.CredentialSecret, TenantID: "t", ClientID: "c", ClientSecret: "env:NONE"}},
		"no such file":     {ConnectionString: "env:BUS", CA: "none.pem"},
		"no certificate":   {Namespace: "x", Credential: config.Credential{Type: config.CredentialCertificate, TenantID: "t", ClientID: "c", Certificate: "none.pem"}},
	} {
		_, err := Namespace(cfg, env("BUS", text), nil)
		if ferry.CodeOf(err) != ferry.CodeBadConfig || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// onDouble is a broker's connection to a double, where it makes its queues.
func onDouble(t *testing.T, workers ...ferry.WorkerInfo) *ServiceBus {
	t.Helper()
	double, err := sbemu.Start(sbemu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = double.Close() })
	cfg := config.Default().Queue.ServiceBus
	cfg.ConnectionString, cfg.AdminURL, cfg.Provision = "env:BUS", "http://"+double.Addr(), true
	s, err := ConnectServiceBus(t.Context(), ServiceBusOptions{Config: cfg, Secrets: env("BUS", double.ConnectionString()), Routes: []string{"orders"}, Workers: workers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	if _, err := s.Queue().Ensure(t.Context(), []string{"orders"}); err != nil {
		t.Fatal(err)
	}
	return s
}

// greeter answers hellos.
type greeter struct{}

func (greeter) Hello(_ context.Context, from string, _ queue.Hello) queue.Welcome {
	return queue.Welcome{Start: from}
}

func (greeter) Body(context.Context, string, queue.BodyRequest) ([]byte, error) {
	return nil, queue.ErrBodyMissing
}

func (greeter) Claim(context.Context, string, queue.ClaimRequest) (queue.ClaimAnswer, error) {
	return queue.ClaimAnswer{}, queue.ErrUnauthorized
}

// A worker is let in, heard under its own name, and shut out.
func TestWorkersOnServiceBus(t *testing.T) {
	s := onDouble(t)
	stop, err := s.Queue().Serve(t.Context(), greeter{})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	public, seed, err := s.NewLogin()
	if err != nil {
		t.Fatal(err)
	}
	w := ferry.WorkerInfo{Name: "w1", PublicKey: public, Routes: []string{"orders"}}
	if err := s.SetWorkers([]ferry.WorkerInfo{w}); err != nil {
		t.Fatal(err)
	}
	q, err := s.Connect(t.Context(), "w1", seed, w.Routes, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = q.Close(context.Background()) }()
	if !q.Properties().Outlives || !s.Queue().Properties().Outlives {
		t.Error("Service Bus runs on while the broker is away")
	}
	if welcome, err := q.Hello(t.Context(), queue.Hello{Worker: "w1"}); err != nil || welcome.Start != "w1" {
		t.Fatalf("%+v, %v", welcome, err)
	}
	now := time.Now()
	w.RevokedAt = &now
	if err := s.SetWorkers([]ferry.WorkerInfo{w}); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Hello(t.Context(), queue.Hello{Worker: "w1"}); !errors.Is(err, queue.ErrUnauthorized) {
		t.Errorf("after it was revoked: %v", err)
	}
}

// What `workers add` prints is a good worker.yaml, and names every queue.
func TestWhatAWorkerIsGiven(t *testing.T) {
	s := onDouble(t)
	s.opts.Config.Prefix, s.opts.Config.Lock = "f2", 2*time.Minute
	seed := filepath.Join(t.TempDir(), "w1.nk")
	if err := os.WriteFile(seed, []byte("a seed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, how := range []func(c *config.BrokerServiceBus){
		func(*config.BrokerServiceBus) {},
		func(c *config.BrokerServiceBus) {
			c.ConnectionString, c.Namespace, c.WebSockets, c.Endpoint = "", "x.servicebus.windows.net", true, "10.0.0.1:443"
		},
	} {
		how(&s.opts.Config)
		file := filepath.Join(t.TempDir(), "worker.yaml")
		text := "name: w1\n" + s.WorkerConfig(seed) + "routes: [{name: orders, adapter: erp, url: 'https://erp.example'}]\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := config.LoadWorker(file)
		if err != nil {
			t.Fatalf("%v:\n%s", err, text)
		}
		got, want := w.Queue.ServiceBus, s.opts.Config
		if got.Prefix != "f2" || got.Lock != want.Lock || got.WebSockets != want.WebSockets || got.Endpoint != want.Endpoint || got.Namespace != want.Namespace || got.NKey != seed {
			t.Errorf("%+v of %+v", got, want)
		}
	}
	login, err := s.LoginConfig(ferry.WorkerInfo{Name: "w1", Routes: []string{"orders", "notes"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`Receiver" --scope "$SCOPE/f2.messages.orders"`, `Receiver" --scope "$SCOPE/f2.messages.notes"`, `Receiver" --scope "$SCOPE/f2.worker.w1"`,
		`Sender" --scope "$SCOPE/f2.receipts"`, `Sender" --scope "$SCOPE/f2.questions"`, "--name f2.worker.w1 --lock-duration PT2M",
	} {
		if !strings.Contains(login, want) {
			t.Errorf("it lacks %s:\n%s", want, login)
		}
	}
	if strings.Contains(login, `Sender" --scope "$SCOPE/f2.messages`) {
		t.Errorf("a worker sends no messages:\n%s", login)
	}
}

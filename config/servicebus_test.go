package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/secret"
)

func TestBrokerOnServiceBus(t *testing.T) {
	const text = `
queue:
  driver: servicebus
  servicebus:
    namespace: contoso.servicebus.windows.net
    credential: {type: clientSecret, tenantId: t, clientId: c, clientSecret: env:SECRET}
    webSockets: true
    proxy: env
    endpoint: 10.0.0.4:443
    prefix: ferry-test
    lock: 2m
    provision: true
routes:
  - {name: orders}
  - {name: invoices, window: 50}
`
	b, err := Loader{}.parseBroker([]byte(text), "broker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := BrokerServiceBus{
		ServiceBus: ServiceBus{
			Namespace:  "contoso.servicebus.windows.net",
			Credential: Credential{Type: CredentialSecret, TenantID: "t", ClientID: "c", ClientSecret: "env:SECRET"},
			WebSockets: true, Proxy: "env", Endpoint: "10.0.0.4:443",
		},
		Prefix: "ferry-test", Lock: 2 * time.Minute, Provision: true,
	}
	if diff := cmp.Diff(want, b.Queue.ServiceBus, exceptSums()); diff != "" {
		t.Fatal(diff)
	}
	if diff := cmp.Diff([]secret.Ref{"env:SECRET"}, b.Queue.ServiceBus.Secrets()); diff != "" {
		t.Fatal(diff)
	}
	if b.Routes[0].Window != 10_000 || b.Routes[1].Window != 50 {
		t.Fatalf("windows %d and %d", b.Routes[0].Window, b.Routes[1].Window)
	}
}

func TestServiceBusBesideNATS(t *testing.T) {
	b, err := Loader{}.parseBroker([]byte("queue: {servicebus: {connectionString: env:BUS}}\nroutes: [{name: orders}]\n"), "broker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	bus := b.Queue.ServiceBus
	if b.Queue.Driver != DriverNATS || bus.ConnectionString != "env:BUS" || bus.Prefix != "ferry" || bus.Lock != time.Minute || b.Routes[0].Window != ferry.DefaultWindow {
		t.Fatalf("%+v", b)
	}
	if !Default().Queue.ServiceBus.IsZero() || bus.IsZero() {
		t.Fatal("which of the two names a namespace?")
	}
}

func TestWorkerOnServiceBus(t *testing.T) {
	const text = `
name: w1
queue:
  driver: servicebus
  servicebus: {connectionString: env:BUS, webSockets: true, proxy: "http://proxy:3128", nkey: SEED, prefix: f2, lock: 30s}
routes:
  - {name: orders, adapter: erp, url: "https://erp.example"}
`
	seed := writeSeed(t)
	w, err := Loader{}.parseWorker([]byte(strings.Replace(text, "SEED", seed, 1)), "worker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := WorkerServiceBus{
		ServiceBus: ServiceBus{ConnectionString: "env:BUS", WebSockets: true, Proxy: "http://proxy:3128"},
		Prefix:     "f2", Lock: 30 * time.Second, NKey: seed,
	}
	if diff := cmp.Diff(want, w.Queue.ServiceBus, exceptSums()); diff != "" {
		t.Fatal(diff)
	}
	if w.Queue.ServiceBus.Seed() != secret.Ref("file:"+seed) {
		t.Fatal(w.Queue.ServiceBus.Seed())
	}
}

func TestServiceBusRefuses(t *testing.T) {
	const name = "namespace: x.servicebus.windows.net"
	for what, c := range map[string]wrong{
		"nothing named":          {"", "queue.servicebus names no namespace", "connectionString"},
		"both":                   {name + ", connectionString: env:BUS", "queue.servicebus.namespace and queue.servicebus.connectionString exclude each other", ""},
		"a literal secret":       {"connectionString: 'Endpoint=sb://x;SharedAccessKeyName=a;SharedAccessKey=hunter2'", "queue.servicebus.connectionString: a secret stands here literally", "env:NAME"},
		"credential of a string": {"connectionString: env:BUS, credential: {type: azureCli}", "queue.servicebus.credential and queue.servicebus.connectionString exclude each other", ""},
		"a URL for a name":       {"namespace: 'sb://x.servicebus.windows.net/'", "is not the host name of a namespace", "contoso"},
		"a bare name":            {"namespace: contoso", `"contoso" is not the host name`, "contoso.servicebus.windows.net"},
		"kind":                   {name + ", credential: {type: managedIdentiy}", `queue.servicebus.credential.type: "managedIdentiy" is not known`, "did you mean managedIdentity?"},
		"half a secret":          {name + ", credential: {type: clientSecret, tenantId: t, clientId: c}", "queue.servicebus.credential.clientSecret is missing", "clientSecret needs"},
		"literal client secret":  {name + ", credential: {type: clientSecret, tenantId: t, clientId: c, clientSecret: hunter2}", "queue.servicebus.credential.clientSecret: a secret stands here literally", ""},
		"not of this kind":       {name + ", credential: {type: managedIdentity, clientSecret: env:K}", "queue.servicebus.credential.clientSecret is not used with type managedIdentity", "clientId"},
		"not of the default":     {name + ", credential: {clientId: c}", "queue.servicebus.credential.clientId is not used with type default", "tenantId"},
		"no certificate":         {name + ", credential: {type: certificate, tenantId: t, clientId: c, certificate: ./none.pem}", "there is no file ./none.pem", ""},
		"proxy alone":            {name + ", proxy: env", "AMQP goes through a proxy only over WebSockets", "webSockets: true"},
		"proxy is none":          {name + ", webSockets: true, proxy: proxy", "queue.servicebus.proxy is not a URL", "http://"},
		"password of a proxy":    {name + ", webSockets: true, proxy: 'http://u:hunter2@p:1'", "queue.servicebus.proxy holds credentials", ""},
		"endpoint":               {name + ", endpoint: here", `queue.servicebus.endpoint: "here" is not an address`, "HOST:PORT"},
		"admin":                  {name + ", adminUrl: '127.0.0.1:5300'", "queue.servicebus.adminUrl is not a URL", "http://"},
		"ca":                     {name + ", ca: ./none.pem", "queue.servicebus.ca: there is no file", ""},
		"lock":                   {name + ", lock: 6m", "queue.servicebus.lock must lie between 5s and 5m0s", ""},
		"prefix":                 {name + ", prefix: a/b", `"a/b" cannot begin the names of queues`, ""},
		"bodies: two ways":       {name + ", bodies: {container: 'https://a.blob.core.windows.net/c', sasUrl: env:BODIES}", "queue.servicebus.bodies.sasUrl stands alone", "take one of the two ways out"},
		"bodies: nowhere":        {name + ", bodies: {lifetime: 7d}", "queue.servicebus.bodies.container is missing", "add container"},
		"bodies: a bad name":     {name + ", bodies: {container: A, connectionString: env:BODIES}", "is not the name of a container", "the container's name alone"},
		"bodies: a day at least": {name + ", bodies: {sasUrl: env:BODIES, lifetime: 1h}", "queue.servicebus.bodies.lifetime", ""},
	} {
		t.Run(what, func(t *testing.T) {
			broker := "queue: {driver: servicebus, servicebus: {" + c.yaml + "}}\n"
			_, err := Loader{}.parseBroker([]byte(broker), "f.yaml")
			check(t, err, c)
			if strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("the secret is repeated: %v", err)
			}
			// A worker has the same keys, and is refused for the same reason.
			if c.yaml != "" {
				c.yaml += ", "
			}
			_, err = Loader{}.parseWorker([]byte("name: w1\nqueue: {driver: servicebus, servicebus: {"+c.yaml+"nkey: env:S}}\n"), "f.yaml")
			check(t, err, c)
			// Where another driver carries the queue, a section that stands there must be right.
			_, err = Loader{}.parseBroker([]byte(strings.Replace(broker, "driver: servicebus", "driver: nats", 1)), "f.yaml")
			check(t, err, c)
		})
	}
	t.Run("no seed", func(t *testing.T) {
		_, err := Loader{}.parseWorker([]byte("name: w1\nqueue: {driver: servicebus, servicebus: {connectionString: env:B}}\n"), "f.yaml")
		check(t, err, wrong{"", "queue.servicebus.nkey is missing", "workers add"})
	})
}

func TestBodies(t *testing.T) {
	const path = "queue.servicebus.bodies"
	for want, b := range map[string]Bodies{
		"": {Container: "https://a.blob.core.windows.net/bodies", Lifetime: 30 * day},
		"queue.servicebus.bodies.container is missing": {Lifetime: day},
		"is not a URL":                   {Container: "bodies", Lifetime: day},
		"is not the name of a container": {Container: "https://a/b", ConnectionString: "env:S", Lifetime: day},
		"exclude each other":             {Container: "bodies", ConnectionString: "env:S", Credential: Credential{Type: CredentialCLI}, Lifetime: day},
		"clientSecret is missing":        {Container: "https://a/b", Credential: Credential{Type: CredentialSecret, TenantID: "t", ClientID: "c"}, Lifetime: day},
		"must lie between 1d and 365d":   {Container: "bodies", ConnectionString: "env:S", Lifetime: time.Hour},
	} {
		d := &decoder{lines: map[string]int{}}
		b.check(d, path)
		if got := d.problems.Error(); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%+v: %q, want %q", b, got, want)
		}
	}
}

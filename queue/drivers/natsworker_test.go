package drivers

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"ferry"
	"ferry/config"
	"ferry/secret"
)

// The proxy is the configuration's, or that of the environment as it was handed over.
func TestProxyOfWorkers(t *testing.T) {
	for name, c := range map[string]struct {
		config config.WorkerNATS
		env    []string
		to     string
		want   string // the proxy; empty: none
		fails  string
	}{
		"nothing said":       {config.WorkerNATS{}, []string{"HTTPS_PROXY", "http://p:3128"}, "https://b.example", "http://p:3128", ""},
		"env":                {config.WorkerNATS{Proxy: "env"}, []string{"https_proxy", "p:3128"}, "https://b.example", "http://p:3128", ""},
		"left out":           {config.WorkerNATS{Proxy: "env"}, []string{"HTTPS_PROXY", "http://p:3128", "NO_PROXY", "b.example"}, "https://b.example", "", ""},
		"this machine":       {config.WorkerNATS{Proxy: "env"}, []string{"HTTPS_PROXY", "http://p:3128"}, "https://127.0.0.1:8443", "", ""},
		"none in it":         {config.WorkerNATS{Proxy: "env"}, nil, "https://b.example", "", ""},
		"for http alone":     {config.WorkerNATS{Proxy: "env"}, []string{"HTTP_PROXY", "http://p:3128"}, "https://b.example", "", ""},
		"off":                {config.WorkerNATS{Proxy: "off"}, []string{"HTTPS_PROXY", "http://p:3128"}, "https://b.example", "", ""},
		"fixed":              {config.WorkerNATS{Proxy: "http://q:1"}, []string{"HTTPS_PROXY", "http://p:3128", "NO_PROXY", "*"}, "https://127.0.0.1", "http://q:1", ""},
		"no URL":             {config.WorkerNATS{}, []string{"HTTPS_PROXY", "http://u:hunter2@[::"}, "https://b.example", "", "HTTPS_PROXY in the environment"},
		"of an unknown kind": {config.WorkerNATS{}, []string{"HTTPS_PROXY", "ftp://u:hunter2@p"}, "https://b.example", "", "HTTPS_PROXY in the environment"},
	} {
		o := NATSWorkerOptions{Config: c.config, LookupEnv: env(c.env...).LookupEnv}
		p, err := o.proxy()
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v, want %q", name, err, c.fails)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		found := ""
		if p.Find != nil {
			to, err := url.Parse(c.to)
			if err != nil {
				t.Fatal(err)
			}
			u, err := p.Find(to)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if u != nil {
				found = u.String()
			}
		}
		if found != c.want {
			t.Errorf("%s: %q, want %q", name, found, c.want)
		}
	}
}

// The password is read when it is needed, so that a new one counts.
func TestProxyPasswordIsReadAnew(t *testing.T) {
	password := "first"
	o := NATSWorkerOptions{
		Config:    config.WorkerNATS{Proxy: "http://p:1", ProxyAuth: config.ProxyAuth{Username: "u", Password: "env:PW"}},
		Secrets:   secret.Resolver{LookupEnv: func(string) (string, bool) { return password, password != "" }},
		LookupEnv: env().LookupEnv,
	}
	p, err := o.proxy()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"first", "second"} {
		password = want
		if user, got, err := p.Login(); user != "u" || got != want || err != nil {
			t.Errorf("%s %s, %v", user, got, err)
		}
	}
	password = ""
	if _, _, err := p.Login(); err == nil {
		t.Error("a password that is gone is no error")
	}
}

func TestWebURL(t *testing.T) {
	for public, want := range map[string]string{
		"https://broker.example":       "wss://broker.example/queue",
		"https://broker.example:8443/": "wss://broker.example:8443/queue",
		"https://example.com/ferry":    "wss://example.com/ferry/queue",
		"http://127.0.0.1:8080":        "ws://127.0.0.1:8080/queue",
		"http://localhost:8080":        "ws://localhost:8080/queue",
		"http://broker:8080":           "ws://broker:8080/queue in the clear",
		"":                             "",
	} {
		got, plain := webURL(public)
		if plain {
			got += " in the clear"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", public, got, want)
		}
	}
}

// Where the queue is elsewhere, /queue says what kind of place workers connect to.
func TestServeQueueElsewhere(t *testing.T) {
	for says, link := range map[string]interface {
		ServeQueue(http.ResponseWriter, *http.Request) error
	}{"NATS server elsewhere": &ExternalNATS{url: "nats://inside.example:4222"}, "Azure Service Bus": &ServiceBus{host: "inside"}} {
		w := httptest.NewRecorder()
		err := link.ServeQueue(w, httptest.NewRequest(http.MethodGet, "/queue", nil))
		e, ok := errors.AsType[*ferry.Error](err)
		if !ok || e.Code != ferry.CodeNotFound || !strings.Contains(e.Message, says) || e.Hint == "" || strings.Contains(e.Message+e.Hint, "inside") {
			t.Errorf("%v, want %q", err, says)
		}
	}
}

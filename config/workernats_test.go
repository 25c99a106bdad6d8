package config

import (
	"strings"
	"testing"
)

func TestWorkerNATS(t *testing.T) {
	const rest = "destinations:\n  erp: {adapter: erp, url: 'https://e'}\nroutes:\n  - {name: a1, destination: erp}\n"
	parse := func(nats string) (*Worker, error) {
		return Loader{LookupEnv: env("SEED", "x", "PW", "hunter2")}.parseWorker([]byte("name: w1\nqueue: {nats: {nkey: env:SEED, "+nats+"}}\n"+rest), "f.yaml")
	}
	for _, nats := range []string{
		"url: 'wss://broker.example/queue'",
		"url: 'wss://broker.example:8443/ferry/queue', proxy: env, ca: config.go",
		"url: 'wss://broker.example/queue', proxy: off",
		"url: 'wss://broker.example/queue', proxy: 'http://proxy:3128', proxyAuth: {username: u, password: env:PW}",
		"url: 'wss://broker.example/queue', proxyAuth: {username: u, password: env:PW}",
		"url: 'ws://127.0.0.1:8080/queue'",
		"url: 'ws://localhost:8080/queue', proxy: off",
		"url: 'ws://broker:8080/queue', plaintext: true",
		"url: 'nats://a:4222,nats://b:4222'",
		"url: 'tls://a:4222', ca: config.go",
	} {
		w, err := parse(nats)
		if err != nil {
			t.Errorf("%s: %v", nats, err)
			continue
		}
		if proxy := w.Queue.NATS.Proxy; proxy == "" {
			t.Errorf("%s: no word on the proxy", nats)
		}
	}
	for nats, says := range map[string]string{
		"proxy: off":                                                                   "queue.nats.url is missing",
		"url: 'https://broker.example/queue'":                                          "workers connect to the broker by a WebSocket, not by https",
		"url: 'wss://broker.example'":                                                  "queue.nats.url has no path",
		"url: 'wss://a.example/queue,wss://b/queue'":                                   "only one URL",
		"url: 'wss://u:hunter2@broker.example/queue'":                                  "holds credentials",
		"url: 'ws://broker.example/queue'":                                             "ws sends everything in the clear, and broker.example is another machine",
		"url: 'nats://a:4222', proxy: env":                                             "queue.nats.proxy is for a wss url",
		"url: 'ws://localhost/queue', proxyAuth: {username: u, password: env:PW}":      "queue.nats.proxy is for a wss url",
		"url: 'wss://b/queue', proxy: 'http://u:hunter2@proxy:3128'":                   "queue.nats.proxy holds credentials",
		"url: 'wss://b/queue', proxy: on":                                              "queue.nats.proxy is not a URL that can be used",
		"url: 'wss://b/queue', proxy: 'socks5://proxy:1080'":                           "queue.nats.proxy is not a URL that can be used",
		"url: 'wss://b/queue', proxy: 'http://proxy:3128/pac'":                         "which a proxy does not have",
		"url: 'wss://b/queue', proxy: off, proxyAuth: {username: u, password: env:PW}": "queue.nats.proxyAuth is given, and queue.nats.proxy is off",
		"url: 'wss://b/queue', proxyAuth: {username: u}":                               "username and password are both needed",
		"url: 'wss://b/queue', proxyAuth: {username: 'a:b', password: env:PW}":         "has a colon",
		"url: 'wss://b/queue', proxyAuth: {username: u, password: hunter2}":            "a secret stands here literally",
		"url: 'wss://b/queue', ca: nowhere.pem":                                        "queue.nats.ca: there is no file nowhere.pem",
		"url: 'nats://b:4222', ca: config.go":                                          "queue.nats.ca is for a way with TLS",
	} {
		_, err := parse(nats)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", nats, err, says)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the secret is repeated: %v", nats, err)
		}
	}
	w, err := parse("url: 'wss://b/queue', proxyAuth: {username: u, password: env:PW}")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, r := range w.References() {
		found = found || r.Path == "queue.nats.proxyAuth.password"
	}
	if !found {
		t.Errorf("the proxy's password is none of the secrets that are resolved at the start: %+v", w.References())
	}
}

package drivers

import (
	"context"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"ferry"
	"ferry/config"
	"ferry/queue"
	"ferry/queue/natsqueue"
	"ferry/secret"
)

// NATSWorkerOptions of ConnectNATSWorker.
type NATSWorkerOptions struct {
	Config    config.WorkerNATS
	Secrets   secret.Resolver
	LookupEnv func(string) (string, bool) // where HTTPS_PROXY and NO_PROXY are read
	Worker    string
	Agent     string // names the program to proxies
	Log       *slog.Logger
}

// ConnectNATSWorker makes a worker's connection to the broker's queue. Errors are
// those of natsqueue.Connect.
func ConnectNATSWorker(ctx context.Context, opts NATSWorkerOptions) (*queue.Queue, error) {
	seed, err := opts.Secrets.Resolve(opts.Config.Seed())
	if err != nil {
		return nil, err
	}
	proxy, err := opts.proxy()
	if err != nil {
		return nil, err
	}
	driver, err := natsqueue.Connect(ctx, natsqueue.ConnectOptions{
		Worker: opts.Worker, URL: opts.Config.URL, CA: opts.Config.CA, Proxy: proxy, Agent: opts.Agent,
		Seed: []byte(seed.Reveal()), Lock: opts.Config.Lock, Log: opts.Log,
	})
	if err != nil {
		return nil, err
	}
	return queue.New(driver, queue.Options{Log: opts.Log}), nil
}

// proxy is the configuration's word on the proxy. Its password is read at each
// connection.
func (o *NATSWorkerOptions) proxy() (natsqueue.Proxy, error) {
	var p natsqueue.Proxy
	switch o.Config.Proxy {
	case config.ProxyOff:
		return p, nil
	case config.ProxyEnv, "":
		find, err := o.proxyOfEnv()
		if err != nil {
			return p, err
		}
		p.Find = find
	default:
		fixed, err := url.Parse(o.Config.Proxy)
		if err != nil {
			return p, err
		}
		p.Find = func(*url.URL) (*url.URL, error) { return fixed, nil }
	}
	if auth := o.Config.ProxyAuth; auth.Username != "" {
		p.Login = func() (user, password string, err error) {
			value, err := o.Secrets.Resolve(auth.Password)
			if err != nil {
				return "", "", err
			}
			return auth.Username, value.Reveal(), nil
		}
	}
	return p, nil
}

// proxyOfEnv reads the environment the usual way: in capitals or small, with this
// machine left out. What cannot be read is an error, not the way without a proxy;
// it is not repeated, because it may hold a password.
func (o *NATSWorkerOptions) proxyOfEnv() (func(*url.URL) (*url.URL, error), error) {
	look := func(names ...string) string {
		for _, name := range names {
			if v, ok := o.LookupEnv(name); ok && v != "" {
				return v
			}
		}
		return ""
	}
	named := look("HTTPS_PROXY", "https_proxy")
	if named != "" && !isProxy(named) && (strings.Contains(named, "://") || !isProxy("http://"+named)) {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "HTTPS_PROXY in the environment is not the URL of a proxy").
			WithHint("http://HOST:PORT; or set queue.nats.proxy in worker.yaml to the proxy's URL, or to off")
	}
	return (&httpproxy.Config{HTTPSProxy: named, NoProxy: look("NO_PROXY", "no_proxy")}).ProxyFunc(), nil
}

func isProxy(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme)
}

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"ferry"
	"ferry/broker"
	"ferry/config"
)

// What the doctor of a running server looks at beside the broker's own checks: what
// only the configuration knows.

// reachTime bounds the look at the server's own address.
const reachTime = 5 * time.Second

// serverChecks gives the checks of a server that runs by cfg.
func serverChecks(ctx context.Context, cfg *config.Broker, secrets *secrets) []ferry.Check {
	list := checkSecrets(secrets, cfg, time.Now())
	list = append(list, checkKeyFiles(cfg)...)
	return append(list, configDrift(cfg), checkReachable(ctx, cfg))
}

// checkSecrets tries every reference of the file again.
func checkSecrets(secrets *secrets, cfg *config.Broker, now time.Time) []ferry.Check {
	const name = "secrets"
	tried, _ := secrets.check(cfg, false, now) // each says for itself what is wrong
	if len(tried) == 0 {
		return []ferry.Check{{Name: name, State: ferry.CheckSkipped, Text: "the configuration refers to none"}}
	}
	var list []ferry.Check
	for _, s := range tried {
		switch {
		case s.Problem != "":
			list = append(list, ferry.Check{Name: name, State: ferry.CheckFail, Text: s.Path + ": " + s.Problem, Hint: s.Hint})
		case s.Note != "":
			list = append(list, ferry.Check{Name: name, State: ferry.CheckWarn, Text: s.Path + ": " + s.Secret + ", " + s.Note, Hint: "give it a new version in the vault"})
		}
	}
	if len(list) == 0 {
		list = []ferry.Check{{Name: name, State: ferry.CheckOK, Text: "each of the " + count(len(tried), "reference") + " can be read"}}
	}
	return list
}

// checkKeyFiles looks who may read the files that secrets lie in: that of the
// certificate's key, and those that the configuration refers to.
func checkKeyFiles(cfg *config.Broker) []ferry.Check {
	var paths []string
	for _, r := range cfg.References() {
		if path, ok := strings.CutPrefix(r.Ref.String(), "file:"); ok {
			paths = append(paths, path)
		}
	}
	if cfg.TLS != nil && cfg.TLS.Key.Path() != "" {
		paths = append(paths, cfg.TLS.Key.Path())
	}
	if len(paths) == 0 {
		return nil
	}
	return []ferry.Check{broker.CheckPrivate("secret files", paths...)}
}

// configDrift says whether the file says what the broker runs by.
func configDrift(cfg *config.Broker) ferry.Check {
	const name = "configuration"
	if cfg.File == "" {
		return ferry.Check{Name: name, State: ferry.CheckSkipped, Text: "the broker runs without a file"}
	}
	next, err := config.LoadBroker(cfg.File)
	if err != nil {
		return ferry.Check{
			Name: name, State: ferry.CheckFail, Text: "what ran before goes on, and the next start would refuse the file as it is now: " + oneLine(err.Error()),
			Hint: "broker check --config " + cfg.File,
		}
	}
	now, later, _ := listed(config.Changes(cfg, next))
	switch {
	case len(now) > 0:
		return ferry.Check{
			Name: name, State: ferry.CheckWarn, Text: cfg.File + " was changed since it was read: " + strings.Join(append(now, later...), ", "),
			Hint: "broker reload",
		}
	case len(later) > 0:
		return ferry.Check{
			Name: name, State: ferry.CheckWarn, Text: cfg.File + " was changed: " + strings.Join(later, ", "),
			Hint: "that takes effect at the next start",
		}
	}
	return ferry.Check{Name: name, State: ferry.CheckOK, Text: cfg.File + " is what the broker runs by"}
}

// checkReachable asks the broker's public address, as a worker or a flow would.
func checkReachable(ctx context.Context, cfg *config.Broker) ferry.Check {
	const name = "own address"
	url, certain := cfg.PublicURL, true
	if url == "" {
		scheme := "http"
		if cfg.TLS != nil {
			scheme = "https"
		}
		url, certain = scheme+"://"+dialable(cfg.Listen), false
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: !certain}} //nolint:gosec // without publicUrl nobody says whom the certificate is for
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(url, "/")+"/healthz", nil)
	if err == nil {
		var resp *http.Response
		if resp, err = (&http.Client{Transport: transport}).Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("it answers %d", resp.StatusCode)
			}
		}
	}
	if err != nil {
		return ferry.Check{
			Name: name, State: ferry.CheckWarn, Text: fmt.Sprintf("the broker does not reach itself at %s: %v", url, err),
			Hint: "is the name known here, does the proxy before it let this machine in, does the certificate name it and lead to a root that this machine trusts?",
		}
	}
	return ferry.Check{Name: name, State: ferry.CheckOK, Text: url + " answers"}
}

// dialable is an address that can be called: a listener on all interfaces is called
// on this machine's own.
func dialable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

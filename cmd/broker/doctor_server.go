package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
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
func serverChecks(cfg *config.Broker, secrets *secrets) func(ctx context.Context) []ferry.Check {
	drift := configDrift(cfg.File)
	return func(ctx context.Context) []ferry.Check {
		list := checkSecrets(secrets, cfg, time.Now())
		list = append(list, checkKeyFiles(cfg)...)
		return append(list, drift(), checkReachable(ctx, cfg))
	}
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
	if len(paths) == 0 {
		return nil
	}
	return []ferry.Check{broker.CheckPrivate("secret files", paths...)}
}

// configDrift says whether the file is still what it was when this was made.
func configDrift(file string) func() ferry.Check {
	const name = "configuration"
	was, err := os.ReadFile(file)
	sum := sha256.Sum256(was)
	return func() ferry.Check {
		if file == "" || err != nil {
			return ferry.Check{Name: name, State: ferry.CheckSkipped, Text: "the broker runs without a file"}
		}
		now, err := os.ReadFile(file)
		switch is := sha256.Sum256(now); {
		case err != nil:
			return ferry.Check{Name: name, State: ferry.CheckWarn, Text: "the file that it was started with cannot be read any more: " + err.Error(), Hint: "put it back before the next start"}
		case !bytes.Equal(is[:], sum[:]):
			if _, err := config.LoadBroker(file); err != nil {
				return ferry.Check{Name: name, State: ferry.CheckFail, Text: file + " was changed since it was read, and the next start would refuse it: " + err.Error(), Hint: "broker check --config " + file}
			}
			return ferry.Check{Name: name, State: ferry.CheckWarn, Text: file + " was changed since it was read", Hint: "what it says now takes effect at the next start"}
		}
		return ferry.Check{Name: name, State: ferry.CheckOK, Text: file + " is what the broker runs by"}
	}
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

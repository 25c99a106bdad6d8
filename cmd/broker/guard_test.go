package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/client"
	"ferry/config"
)

// selfSigned makes a certificate for 127.0.0.1 that ends after a while, and its key.
func selfSigned(t *testing.T, life time.Duration) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "broker"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life), IsCA: true, BasicConstraintsValid: true,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}

func writeFiles(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

const guardedConfig = `
dataDir: DIR/data
listen: 127.0.0.1:0
publicUrl: https://127.0.0.1
queue: {nats: {listen: off}}
tls: {cert: DIR/broker.pem, key: DIR/broker.key}
limits: {perKey: {quota: 3/31d}}
routes: [{name: orders}, {name: notes, rate: 60/m, burst: 1}]
`

// guarded starts a broker from a file in dir, on a port of its own, and stops it.
func guarded(t *testing.T, dir string) (s *server, address string, stop func()) {
	t.Helper()
	file := filepath.Join(dir, "broker.yaml")
	writeFiles(t, dir, map[string][]byte{"broker.yaml": []byte(strings.ReplaceAll(guardedConfig, "DIR", filepath.ToSlash(dir)))})
	cfg, err := config.LoadBroker(file)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = startServer(t.Context(), cfg, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx, l) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the broker ended: %v", err)
		}
	}
	t.Cleanup(stop)
	return s, l.Addr().String(), stop
}

func key(t *testing.T, s *server, spec ferry.KeySpec) string {
	t.Helper()
	made, err := s.broker.CreateKey(t.Context(), spec, "test")
	if err != nil {
		t.Fatal(err)
	}
	return made.Secret
}

// TestCertificateIsReplacedWhileServing: the command line trusts what --ca names;
// status, log and metrics tell of the certificate and of files that cannot be used.
func TestCertificateIsReplacedWhileServing(t *testing.T) {
	dir := t.TempDir()
	firstCert, firstKey := selfSigned(t, 40*24*time.Hour)
	secondCert, secondKey := selfSigned(t, 5*24*time.Hour)
	writeFiles(t, dir, map[string][]byte{"broker.pem": firstCert, "broker.key": firstKey, "ca.pem": append(firstCert, secondCert...)})
	s, address, _ := guarded(t, dir)
	url, admin := "https://"+address, key(t, s, ferry.KeySpec{Name: "admin2", Role: ferry.RoleAdmin})

	roots, err := authorities(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(url, admin, client.Options{RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	status := func() ferry.StatusReport {
		t.Helper()
		report, err := c.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if report.Certificate == nil {
			t.Fatal("status does not tell of the certificate")
		}
		return report
	}
	metric := func(name string) string {
		t.Helper()
		text := metricsOf(t, s)
		for line := range strings.SplitSeq(text, "\n") {
			if value, ok := strings.CutPrefix(line, name+" "); ok {
				return value
			}
		}
		t.Fatalf("no %s in the metrics", name)
		return ""
	}
	first := status()
	if left := time.Until(first.Certificate.NotAfter); left < 39*24*time.Hour || strings.Contains(strings.Join(first.Problems, " "), "certificate") {
		t.Errorf("%s left, problems %q", left, first.Problems)
	}
	if got := metric("ferry_certificate_reload_failed"); got != "0" {
		t.Errorf("reload failed: %s", got)
	}
	expires := metric("ferry_certificate_expiry_timestamp_seconds")

	writeFiles(t, dir, map[string][]byte{"broker.pem": secondCert}) // with the key of the first
	s.certificate.Look()
	if problems := strings.Join(status().Problems, " "); !strings.Contains(problems, "are not a pair") {
		t.Errorf("status does not tell of the half pair: %s", problems)
	}
	if metric("ferry_certificate_reload_failed") != "1" || metric("ferry_certificate_expiry_timestamp_seconds") != expires {
		t.Error("the metrics do not tell of the half pair")
	}
	writeFiles(t, dir, map[string][]byte{"broker.key": secondKey})
	s.certificate.Look()
	if problems := strings.Join(status().Problems, " "); !strings.Contains(problems, "ends in 4 days") || strings.Contains(problems, "pair") {
		t.Errorf("of a certificate that ends soon status tells: %s", problems)
	}
	if metric("ferry_certificate_reload_failed") != "0" || metric("ferry_certificate_expiry_timestamp_seconds") == expires {
		t.Error("the metrics do not tell of the new certificate")
	}

	// The command line, with and without --ca.
	for name, c := range map[string]struct {
		args []string
		env  map[string]string
		code int
		says string
	}{
		"none":    {nil, nil, 1, "--ca, FERRY_CA"},
		"flag":    {[]string{"--ca", filepath.Join(dir, "ca.pem")}, nil, exitAttention, ""},
		"env":     {nil, map[string]string{"FERRY_CA": filepath.Join(dir, "ca.pem")}, exitAttention, ""},
		"no file": {[]string{"--ca", filepath.Join(dir, "none.pem")}, nil, 1, "the file of --ca"},
		"a key":   {[]string{"--ca", filepath.Join(dir, "broker.key")}, nil, 1, "holds no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"FERRY_URL": url, "FERRY_KEY": admin}
			for k, v := range c.env {
				env[k] = v
			}
			var stdout, stderr strings.Builder
			code := run(t.Context(), append([]string{"status"}, c.args...), func(name string) string { return env[name] }, strings.NewReader(""), &stdout, &stderr)
			if code != c.code || !strings.Contains(stderr.String(), c.says) {
				t.Errorf("exit %d: %s", code, stderr.String())
			}
			if c.says == "" && !strings.Contains(stdout.String(), "certificate") {
				t.Errorf("nothing of the certificate: %s", stdout.String())
			}
		})
	}
}

func metricsOf(t *testing.T, s *server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: s.broker.Metrics(), ReadHeaderTimeout: time.Minute}
	go func() { _ = web.Serve(l) }()
	defer func() { _ = web.Close() }()
	resp, err := http.Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestQuotaOutlivesARestart: the whole broker, from its file; what was used of a day
// is used after a restart, and a key's own limit outlives it too.
func TestQuotaOutlivesARestart(t *testing.T) {
	dir := t.TempDir()
	certPEM, keyPEM := selfSigned(t, 40*24*time.Hour)
	writeFiles(t, dir, map[string][]byte{"broker.pem": certPEM, "broker.key": keyPEM})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	s, address, stop := guarded(t, dir)
	common := key(t, s, ferry.KeySpec{Name: "common", Role: ferry.RoleSender})
	own := key(t, s, ferry.KeySpec{Name: "own", Role: ferry.RoleSender, Limit: ferry.Limit{Quota: ferry.Rate{Calls: 1, Per: 31 * 24 * time.Hour}}})
	send := func(key, route string) error {
		t.Helper()
		c, err := client.New("https://"+address, key, client.Options{RootCAs: roots})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Send(t.Context(), route, ferry.Message{Body: []byte(`{}`)})
		return err
	}
	refused := func(err error, code ferry.Code) {
		t.Helper()
		if ferry.CodeOf(err) != code {
			t.Errorf("answered %v, want %s", err, code)
		}
	}
	for _, sent := range []error{send(common, "orders"), send(common, "orders"), send(own, "orders")} {
		if sent != nil {
			t.Fatal(sent)
		}
	}
	refused(send(own, "orders"), ferry.CodeQuotaExceeded)
	stop()
	s, address, _ = guarded(t, dir)
	refused(send(own, "orders"), ferry.CodeQuotaExceeded)
	if err := send(common, "notes"); err != nil {
		t.Fatal(err)
	}
	refused(send(common, "orders"), ferry.CodeQuotaExceeded)
	refused(send(common, "notes"), ferry.CodeTooManyRequests) // its burst is 1
	for _, k := range must(s.broker.Keys(t.Context()))(t) {
		if k.Name != "own" {
			continue
		}
		if k.Limit.Quota.Calls != 1 {
			t.Errorf("the key came back with the limit %+v", k.Limit)
		}
		// A larger number is the same quota: what was used of it stays used.
		larger := ferry.Limit{Quota: ferry.Rate{Calls: 2, Per: 31 * 24 * time.Hour}}
		if _, err := s.broker.EditKey(t.Context(), k.ID, ferry.KeyEdit{Limit: &larger}, "test"); err != nil {
			t.Fatal(err)
		}
		if err := send(own, "orders"); err != nil {
			t.Error(err)
		}
		refused(send(own, "orders"), ferry.CodeQuotaExceeded)
	}
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

package servicebus

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"ferry/internal/sbemu"
)

// certificate makes one for the double, and who trusts it.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "double"}, DNSNames: []string{sbemu.Host},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12},
		&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// tokens is a credential of Entra ID.
type tokens struct {
	asked atomic.Int32
	fail  atomic.Bool
}

func (c *tokens) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	c.asked.Add(1)
	if _, limited := ctx.Deadline(); !limited || c.fail.Load() {
		return azcore.AccessToken{}, errors.New("the tenant is away")
	}
	return azcore.AccessToken{Token: "a.good.token", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// proxy is an HTTP proxy that counts what goes through it.
func proxy(t *testing.T, to string) (address string, used *atomic.Int32) {
	t.Helper()
	used = &atomic.Int32{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "CONNECT only", http.StatusMethodNotAllowed)
			return
		}
		used.Add(1)
		back, err := net.Dial("tcp", to)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		front, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			_ = back.Close()
			return
		}
		_, _ = io.WriteString(front, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() { _, _ = io.Copy(back, front); _ = back.Close() }()
		_, _ = io.Copy(front, back)
		_ = front.Close()
	}))
	t.Cleanup(s.Close)
	return s.URL, used
}

func TestWaysToTheNamespace(t *testing.T) {
	server, client := certificate(t)
	for name, tune := range map[string]func(*testing.T, *sbemu.Options, *Config) (after func()){
		"plain":                   func(*testing.T, *sbemu.Options, *Config) func() { return nil },
		"plain, over a WebSocket": func(_ *testing.T, _ *sbemu.Options, c *Config) func() { c.WebSockets = true; return nil },
		"TLS":                     func(_ *testing.T, o *sbemu.Options, c *Config) func() { o.TLS, c.TLS = server, client; return nil },
		"TLS, over a WebSocket": func(_ *testing.T, o *sbemu.Options, c *Config) func() {
			o.TLS, c.TLS, c.WebSockets = server, client, true
			return nil
		},
		"a credential of Entra ID": entraID(server, client),
	} {
		t.Run(name, func(t *testing.T) {
			var after func()
			d := start(t, func(o *sbemu.Options, c *Config, _ *timing) { after = tune(t, o, c) })
			d.send(3)
			r := d.client.Receiver(queue, ReceiverOptions{})
			for range 3 {
				if err := r.Complete(d.soon(), d.receive(r, 1)[0]); err != nil {
					t.Fatal(err)
				}
			}
			d.emu.DropConnections()
			d.until("it is there again", func() bool { return d.client.Sender(queue).Send(d.soon(), messages(0, 1)) == nil })
			d.receive(r, 1)
			if after != nil {
				after()
			}
		})
	}
}

func entraID(server, client *tls.Config) func(*testing.T, *sbemu.Options, *Config) func() {
	return func(t *testing.T, o *sbemu.Options, c *Config) func() {
		credential := &tokens{}
		o.TLS, c.TLS = server, client
		c.Namespace, c.Credential = sbemu.Host, credential
		o.CheckJWT = func(token string) (string, error) {
			if token != "a.good.token" {
				return "", errors.New("who is that")
			}
			return sbemu.RootPolicy, nil
		}
		return func() {
			if credential.asked.Load() == 0 {
				t.Error("no token was asked for")
			}
		}
	}
}

func TestAWebSocketGoesThroughTheProxy(t *testing.T) {
	server, client := certificate(t)
	d := start(t, func(o *sbemu.Options, _ *Config, _ *timing) { o.TLS = server })
	url, used := proxy(t, d.emu.Addr())
	// Nothing but the proxy knows the way: the name of the namespace is nowhere.
	c := d.dial(Config{ConnectionString: d.emu.ConnectionString(), WebSockets: true, Proxy: url, TLS: client}, quick())
	if err := c.Sender(queue).Send(d.soon(), messages(0, 1)); err != nil {
		t.Fatal(err)
	}
	if used.Load() != 1 {
		t.Errorf("the proxy was used %d times", used.Load())
	}
}

func TestACertificateThatNobodyTrusts(t *testing.T) {
	server, _ := certificate(t)
	for _, over := range []bool{false, true} {
		d := start(t, func(o *sbemu.Options, c *Config, _ *timing) { o.TLS, c.WebSockets = server, over })
		err := d.client.Sender(queue).Send(d.soon(), messages(0, 1))
		if _, unknown := errors.AsType[*tls.CertificateVerificationError](err); !errors.Is(err, ErrUnavailable) || !unknown {
			t.Errorf("over WebSockets: %v: %v", over, err)
		}
	}
}

func TestACredentialThatGivesNoToken(t *testing.T) {
	server, client := certificate(t)
	credential := &tokens{}
	credential.fail.Store(true)
	d := start(t, func(o *sbemu.Options, c *Config, _ *timing) {
		o.TLS, c.TLS, c.Namespace, c.Credential = server, client, sbemu.Host, credential
		o.CheckJWT = func(string) (string, error) { return sbemu.RootPolicy, nil }
	})
	if err := d.client.Sender(queue).Send(d.soon(), messages(0, 1)); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("%v", err)
	}
	if n := credential.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	credential.fail.Store(false)
	d.send(1)
}

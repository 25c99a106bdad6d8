package keyvault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"software.sslmate.com/src/go-pkcs12"

	"ferry/config"
	"ferry/internal/azure"
	"ferry/secret"
)

// Open makes a Store that asks the vaults of cfg. Nothing is called, and nothing of
// cfg is read, before a secret is asked for. local resolves the secrets of the
// credential; a Vault of its own is not asked.
func Open(cfg config.KeyVault, local secret.Resolver, log *slog.Logger) *Store {
	local.Vault = nil
	v := &vaults{cfg: cfg, local: local, clients: map[string]*azsecrets.Client{}}
	return New(Options{Read: v.read, Refresh: cfg.Refresh, Log: log, Close: v.close})
}

// vaults are the clients of the vaults that the references name.
type vaults struct {
	cfg   config.KeyVault
	local secret.Resolver

	mu         sync.Mutex
	credential azcore.TokenCredential // nil: not made yet
	mark       string                 // of the secrets that it was made with
	transport  *http.Client
	clients    map[string]*azsecrets.Client // by host
}

// read reads one secret from its vault.
func (v *vaults) read(ctx context.Context, ref secret.VaultRef) (got Secret, err error) {
	client, err := v.client(ref)
	if err != nil {
		return Secret{}, err
	}
	answer, err := v.get(ctx, client, ref)
	if refused, ok := errors.AsType[*azcore.ResponseError](err); ok && refused.StatusCode == http.StatusUnauthorized {
		// The SDK keeps its token, which may have been taken back: once more with a fresh one.
		v.forget()
		if client, err = v.client(ref); err != nil {
			return Secret{}, err
		}
		answer, err = v.get(ctx, client, ref)
	}
	if err != nil {
		return Secret{}, explain(ref, err)
	}
	if answer.Value == nil || *answer.Value == "" {
		return Secret{}, lasting(ref, "write a value into it", "it is empty")
	}
	if len(*answer.Value) > secret.MaxSize {
		return Secret{}, lasting(ref, docsHint, "it is larger than %d bytes", secret.MaxSize)
	}
	text := *answer.Value
	if answer.ContentType != nil && strings.EqualFold(*answer.ContentType, "application/x-pkcs12") {
		if text, err = pemOf(text); err != nil {
			return Secret{}, lasting(ref, "a certificate of the vault whose policy says application/x-pem-file needs no reading", "its PKCS#12 cannot be read: %w", err)
		}
	}
	got.Value = secret.NewValue(text)
	if answer.ID != nil {
		got.Version = versionOf(string(*answer.ID))
	}
	if a := answer.Attributes; a != nil {
		if a.Expires != nil {
			got.Expires = *a.Expires
		}
		if a.NotBefore != nil {
			got.NotBefore = *a.NotBefore
		}
	}
	return got, nil
}

// get survives what the SDK makes of a challenge that is none of a vault.
func (v *vaults) get(ctx context.Context, client *azsecrets.Client, ref secret.VaultRef) (answer azsecrets.GetSecretResponse, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("the WWW-Authenticate header of the answer cannot be read")
		}
	}()
	return client.GetSecret(ctx, ref.Name, ref.Version, nil)
}

// forget has the credential made anew, and with it its tokens.
func (v *vaults) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.credential = nil
}

func versionOf(id string) string {
	parts := strings.Split(id, "/")
	last := parts[len(parts)-1]
	if len(parts) < 6 || len(last) > 64 { // https://HOST/secrets/NAME/VERSION
		return ""
	}
	return last
}

// client makes the client of the reference's vault, or finds it. The credential is
// made anew when one of its secrets has changed.
func (v *vaults) client(ref secret.VaultRef) (*azsecrets.Client, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	host := ref.Vault
	if !ref.IsHost() {
		host += "." + v.cfg.Suffix
	}
	if err := v.open(); err != nil {
		return nil, err
	}
	if c, ok := v.clients[host]; ok {
		return c, nil
	}
	c, err := azsecrets.NewClient("https://"+host, v.credential, &azsecrets.ClientOptions{
		ClientOptions: policy.ClientOptions{
			Transport: v.transport,
			// More is the store's own schedule; a longer Retry-After ends the tries.
			Retry:     policy.RetryOptions{MaxRetries: 2, RetryDelay: 500 * time.Millisecond, MaxRetryDelay: 2 * time.Second},
			Telemetry: policy.TelemetryOptions{ApplicationID: "ferry"},
		},
		DisableChallengeResourceVerification: !v.cfg.Verifies(),
	})
	if err != nil {
		return nil, lasting(ref, docsHint, "its vault cannot be asked: %w", err)
	}
	v.clients[host] = c
	return c, nil
}

// open makes the credential and the way out.
func (v *vaults) open() error {
	c := azure.Credential{
		Kind: v.cfg.Credential.Type, TenantID: v.cfg.Credential.TenantID, ClientID: v.cfg.Credential.ClientID,
		Certificate: v.cfg.Credential.Certificate, TokenFile: v.cfg.Credential.TokenFile, Authority: v.cfg.Authority,
		Soon: true, // a read has 10 s for both, the token and the secret
	}
	for _, s := range []struct {
		ref secret.Ref
		to  *string
	}{{v.cfg.Credential.ClientSecret, &c.ClientSecret}, {v.cfg.Credential.Password, &c.Password}} {
		if s.ref.IsZero() {
			continue
		}
		value, err := v.local.Resolve(s.ref)
		if err != nil {
			return fmt.Errorf("secrets.keyVault.credential: %w", err)
		}
		*s.to = value.Reveal()
	}
	mark := c.ClientSecret + "\x00" + c.Password
	if v.credential != nil && v.mark == mark {
		return nil
	}
	if v.transport == nil {
		var err error
		if v.transport, err = transport(v.cfg); err != nil {
			return err
		}
	}
	var identity *http.Client
	if c.Kind == azure.ClientSecret || c.Kind == azure.Certificate || c.Kind == azure.WorkloadIdentity {
		identity = &http.Client{Transport: plainTransport(v.transport)} // a machine's own identity is asked for on the machine
	}
	credential, err := azure.New(c, identity)
	if err != nil {
		return err
	}
	v.credential, v.mark = credential, mark
	clear(v.clients)
	return nil
}

// close closes idle connections.
func (v *vaults) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.transport != nil {
		t := v.transport.Transport.(vaultTransport)
		t.CloseIdleConnections()
		t.plain.CloseIdleConnections()
	}
}

// vaultTransport dials the endpoint for the vaults, and nothing else there.
type vaultTransport struct {
	*http.Transport
	plain *http.Transport
}

func plainTransport(c *http.Client) http.RoundTripper { return c.Transport.(vaultTransport).plain }

func transport(cfg config.KeyVault) (*http.Client, error) {
	plain := http.DefaultTransport.(*http.Transport).Clone()
	plain.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CA != "" {
		roots, err := azure.ReadCA(cfg.CA)
		if err != nil {
			return nil, err
		}
		plain.TLSClientConfig.RootCAs = roots
	}
	own := plain.Clone()
	if cfg.Endpoint != "" {
		own.Proxy = nil // the endpoint is near
		dialer := &net.Dialer{Timeout: 5 * time.Second}
		own.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, cfg.Endpoint)
		}
	}
	client := &http.Client{Transport: vaultTransport{own, plain}}
	// A vault that sends elsewhere must not be followed with its token.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client, nil
}

// pemOf turns a base64 PKCS#12, as a certificate's secret holds it, into PEM: the
// key, then the certificates.
func pemOf(text string) (string, error) {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", errors.New("it is not base64")
	}
	key, leaf, chain, err := pkcs12.DecodeChain(data, "")
	if err != nil {
		return "", errors.New("it is damaged, has a password, or no certificate with its key")
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", errors.New("its key is of an unknown kind")
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for _, c := range append([]*x509.Certificate{leaf}, chain...) {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return string(out), nil
}

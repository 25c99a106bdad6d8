package drivers

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/url"

	"ferry/config"
	"ferry/internal/azure"
	"ferry/internal/servicebus"
	"ferry/secret"
)

// applicationID is what the logs of Service Bus show.
const applicationID = "ferry"

// Namespace makes what a client of Service Bus needs of the keys of a
// configuration file. Secrets are read here, once; nobody is called.
func Namespace(cfg config.ServiceBus, secrets secret.Resolver, log *slog.Logger) (servicebus.Config, error) {
	out := servicebus.Config{
		Namespace: cfg.Namespace, WebSockets: cfg.WebSockets, Proxy: cfg.Proxy, Endpoint: cfg.Endpoint, AdminURL: cfg.AdminURL,
		ApplicationID: applicationID, Log: log,
	}
	var roots *x509.CertPool
	if cfg.CA != "" {
		var err error
		if roots, err = azure.ReadCA(cfg.CA); err != nil {
			return out, err
		}
		out.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	if !cfg.ConnectionString.IsZero() {
		text, err := secrets.Resolve(cfg.ConnectionString)
		out.ConnectionString = text.Reveal()
		return out, err
	}
	credential, err := Credential(cfg.Credential, secrets)
	if err != nil {
		return out, err
	}
	out.Credential, err = azure.New(credential, identityClient(credential.Kind, cfg.Proxy, roots))
	return out, err
}

// Credential resolves the secrets of a credential of Entra ID.
func Credential(cfg config.Credential, secrets secret.Resolver) (azure.Credential, error) {
	out := azure.Credential{
		Kind: cfg.Type, TenantID: cfg.TenantID, ClientID: cfg.ClientID, Certificate: cfg.Certificate, TokenFile: cfg.TokenFile,
	}
	for _, s := range []struct {
		ref secret.Ref
		to  *string
	}{{cfg.ClientSecret, &out.ClientSecret}, {cfg.Password, &out.Password}} {
		if s.ref.IsZero() {
			continue
		}
		value, err := secrets.Resolve(s.ref)
		if err != nil {
			return out, err
		}
		*s.to = value.Reveal()
	}
	return out, nil
}

// identityClient asks Entra ID for tokens through the same proxy and with the same
// certificates; nil: as the SDK does, by the environment. A machine's own identity
// is asked for on the machine, where no proxy is.
func identityClient(kind, proxy string, roots *x509.CertPool) *http.Client {
	if kind != azure.ClientSecret && kind != azure.Certificate && kind != azure.WorkloadIdentity {
		return nil
	}
	return clientThrough(proxy, roots)
}

// clientThrough is a client through a proxy and with further certificates; nil when
// neither is set.
func clientThrough(proxy string, roots *x509.CertPool) *http.Client {
	if proxy == "" && roots == nil {
		return nil
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if roots != nil {
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	if u, err := url.Parse(proxy); proxy != "" && proxy != "env" && err == nil {
		transport.Proxy = http.ProxyURL(u)
	}
	return &http.Client{Transport: transport}
}

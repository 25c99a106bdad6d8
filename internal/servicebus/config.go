// Package servicebus is Azure Service Bus as the rest of Ferry uses it: the SDK
// with what it leaves to its users. Settlements are bounded and tried once more by
// lock token; receivers are bounded, watched, and made anew with their connection
// when they stop working; what is not asked for is not held; errors are of a few
// kinds. It knows nothing of messages, receipts or routes.
package servicebus

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"ferry"
)

// Config says how to reach a namespace.
type Config struct {
	// ConnectionString, a secret; or Namespace with Credential.
	ConnectionString string
	Namespace        string // x.servicebus.windows.net
	Credential       azcore.TokenCredential

	WebSockets bool        // AMQP over WebSockets on port 443
	Proxy      string      // with WebSockets, and for Admin: URL of an HTTP proxy, "env" for that of the environment, empty for none
	TLS        *tls.Config // nil: the system's certificates
	// Endpoint is dialled in the place of the namespace's own address, HOST:PORT:
	// private endpoints, and doubles.
	Endpoint string
	// AdminURL is where queues are looked at and made, such as
	// http://127.0.0.1:5300; empty: https at the namespace.
	AdminURL string

	ApplicationID string // at most 24 characters: shown in the service's logs
	Log           *slog.Logger
}

const maxApplicationID = 24 // what the SDK documents

// namespace is a checked Config: where to dial, and how.
type namespace struct {
	host     string // with its port, if one is written
	emulator bool   // no TLS, and no port 443
	secrets  []string
}

// check reads the configuration. Its errors never show the key.
func (c Config) check() (namespace, error) {
	ns, err := c.where()
	if err != nil {
		return namespace{}, err
	}
	if c.Proxy != "" && !c.WebSockets {
		return namespace{}, bad("a proxy carries AMQP over WebSockets only, and they are off").
			WithHint("turn WebSockets on: a proxy lets port 443 through, not 5671")
	}
	if c.Proxy != "" && c.Proxy != proxyFromEnv {
		if u, err := url.Parse(c.Proxy); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5") {
			// The URL may hold a password: it is not shown.
			return namespace{}, bad("the proxy is not a URL").WithHint(`write http://HOST:PORT, or "env" for that of the environment`)
		}
	}
	if c.Endpoint != "" {
		if host, port, err := net.SplitHostPort(c.Endpoint); err != nil || host == "" || port == "" {
			return namespace{}, bad("the endpoint %q is not HOST:PORT", c.Endpoint)
		}
	}
	if c.AdminURL != "" {
		u, err := url.Parse(c.AdminURL)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil {
			return namespace{}, bad("the address of the administration is not a URL").WithHint("write https://HOST[:PORT], or http://HOST:PORT of an emulator")
		}
	}
	if len(c.ApplicationID) > maxApplicationID {
		return namespace{}, bad("the application id %q has more than %d characters", c.ApplicationID, maxApplicationID)
	}
	return ns, nil
}

func (c Config) where() (namespace, error) {
	switch {
	case c.ConnectionString != "" && c.Namespace != "":
		return namespace{}, bad("both a connection string and a namespace are given").
			WithHint("a connection string names its namespace by itself: remove one of the two")
	case c.ConnectionString != "":
		return parseConnectionString(c.ConnectionString)
	case c.Namespace == "":
		return namespace{}, bad("neither a connection string nor a namespace is given").
			WithHint("give the connection string of the namespace, or its name and a credential of Entra ID")
	case c.Credential == nil:
		return namespace{}, bad("the namespace %s has no credential", c.Namespace).
			WithHint("give a credential of Entra ID, or a connection string in the place of the namespace")
	case !hostName(c.Namespace):
		return namespace{}, bad("%q is not the host name of a namespace", c.Namespace).
			WithHint("write it as in the portal: NAME.servicebus.windows.net")
	default:
		return namespace{host: c.Namespace}, nil
	}
}

// hostName says whether s is a host with or without a port, and nothing else.
func hostName(s string) bool {
	u, err := url.Parse("sb://" + s)
	return err == nil && u.Host == s && u.Hostname() != "" && !strings.ContainsAny(s, "@ ")
}

func bad(format string, args ...any) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadConfig, format, args...)
}

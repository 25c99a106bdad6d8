// Package servicebus is Azure Service Bus as the rest of Ferry uses it: the SDK
// with what it leaves to its users. Settlements are bounded and tried once more by
// lock token; receivers are bounded, watched, and made anew with their connection
// when they stop working; what is not asked for is not held; errors are of a few
// kinds. It knows nothing of messages, receipts or routes.
package servicebus

import (
	"crypto/tls"
	"log/slog"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// Config says how to reach a namespace.
type Config struct {
	// ConnectionString, a secret; or Namespace with Credential.
	ConnectionString string
	Namespace        string // x.servicebus.windows.net
	Credential       azcore.TokenCredential

	WebSockets bool        // AMQP over WebSockets on port 443
	Proxy      string      // URL of an HTTP proxy, "env" for that of the environment, empty for none; WebSockets only
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

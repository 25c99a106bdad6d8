package servicebus

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"github.com/coder/websocket"
)

// dialWebSocket makes the connection of a client over WebSockets: port 443, and
// through a proxy where one is set.
func (c Config) dialWebSocket(proxy func(*http.Request) (*url.URL, error)) func(context.Context, azservicebus.NewWebSocketConnArgs) (net.Conn, error) {
	return func(ctx context.Context, args azservicebus.NewWebSocketConnArgs) (net.Conn, error) {
		transport := &http.Transport{Proxy: proxy, TLSClientConfig: c.TLS}
		if c.Endpoint != "" {
			transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, c.Endpoint)
			}
		}
		ws, _, err := websocket.Dial(ctx, args.Host, &websocket.DialOptions{
			Subprotocols: []string{"amqp"}, HTTPClient: &http.Client{Transport: transport},
		})
		if err != nil {
			return nil, fmt.Errorf("open the WebSocket: %w", err)
		}
		ws.SetReadLimit(-1) // AMQP bounds its frames by itself
		// The connection outlives the dialling.
		return websocket.NetConn(context.WithoutCancel(ctx), ws, websocket.MessageBinary), nil
	}
}

package servicebus

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/coder/websocket"
)

const proxyFromEnv = "env"

// proxy is how HTTP requests leave: through the configured proxy, the
// environment's, or none.
func (c Config) proxy() func(*http.Request) (*url.URL, error) {
	switch c.Proxy {
	case "":
		return nil
	case proxyFromEnv:
		return http.ProxyFromEnvironment
	default:
		u, err := url.Parse(c.Proxy)
		return func(*http.Request) (*url.URL, error) { return u, err }
	}
}

// dialWebSocket makes a connection over WebSockets: port 443, and through a proxy
// where one is set.
func (c Config) dialWebSocket(ctx context.Context, ns namespace) (net.Conn, error) {
	transport := &http.Transport{Proxy: c.proxy(), TLSClientConfig: c.TLS}
	if c.Endpoint != "" {
		own, _ := hostPort(ns.host, "443")
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			// A proxy is dialled at its own address.
			if address == own {
				address = c.Endpoint
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
	}
	scheme := "wss"
	if ns.emulator {
		scheme = "ws"
	}
	ws, response, err := websocket.Dial(ctx, scheme+"://"+ns.host+"/$servicebus/websocket", &websocket.DialOptions{
		Subprotocols: []string{"amqp"}, HTTPClient: &http.Client{Transport: transport},
	})
	if response != nil && response.Body != nil {
		_ = response.Body.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("open the WebSocket: %w", err)
	}
	ws.SetReadLimit(-1) // AMQP bounds its frames by itself
	// The connection outlives the dialling.
	return abrupt{websocket.NetConn(context.WithoutCancel(ctx), ws, websocket.MessageBinary), ws}, nil
}

// abrupt ends a WebSocket without waiting for the other side's farewell: AMQP has
// its own, and a dead peer gives none.
type abrupt struct {
	net.Conn
	ws *websocket.Conn
}

func (a abrupt) Close() error {
	err := a.ws.CloseNow()
	_ = a.Conn.Close() // stops its timers
	return err
}

package servicebus

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"
)

// dial makes the connection that the SDK then speaks AMQP over. The SDK would dial
// by itself, but then nobody here would hear of the connection's end.
func (c Config) dial(ctx context.Context, ns namespace) (net.Conn, error) {
	if c.WebSockets {
		return c.dialWebSocket(ctx, ns)
	}
	port := "5671"
	if ns.emulator {
		port = "5672"
	}
	address, host := hostPort(ns.host, port)
	if c.Endpoint != "" {
		address = c.Endpoint
	}
	dialer := &net.Dialer{KeepAlive: 30 * time.Second}
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil || ns.emulator {
		return raw, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS != nil {
		config = c.TLS.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = host
	}
	secured := tls.Client(raw, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("TLS with %s: %w", address, err)
	}
	return secured, nil
}

// hostPort gives the address to dial, with the port that is written or else the
// usual one, and the bare host.
func hostPort(host, usual string) (address, name string) {
	if h, port, err := net.SplitHostPort(host); err == nil {
		return net.JoinHostPort(h, port), h
	}
	return net.JoinHostPort(host, usual), host
}

// watched is a connection that says when it ends. The SDK reads it all the time,
// so that its end is known at once and not with the next call.
type watched struct {
	net.Conn
	once  sync.Once
	ended func(error)
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err != nil {
		w.end(err)
	}
	return n, err
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	if err != nil {
		w.end(err)
	}
	return n, err
}

func (w *watched) Close() error {
	w.end(net.ErrClosed)
	return w.Conn.Close()
}

func (w *watched) end(err error) { w.once.Do(func() { w.ended(err) }) }

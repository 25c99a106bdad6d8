package httpauth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// How long a new connection waits for a refusal of the client's certificate.
const (
	leastRefusalWait = 20 * time.Millisecond
	mostRefusalWait  = time.Second
)

// settledDial makes connections whose certificates are settled, both of them.
//
// With TLS 1.3 the client's handshake ends before the destination has looked at
// the client's certificate (RFC 8446, section 4.4.2). Its refusal then meets the
// request, which may see nothing but a broken connection: a lost answer, as it
// seems. So, where the destination asked for a certificate, the connection waits
// for the time of two exchanges before the request is sent; a connection serves
// many requests.
func settledDial(transport *http.Transport, config *tls.Config) func(ctx context.Context, network, address string) (net.Conn, error) {
	dial := transport.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	timeout := transport.TLSHandshakeTimeout
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		conn, err := settle(ctx, raw, config, address)
		if err != nil {
			_ = raw.Close() // the error says more
			return nil, err
		}
		return conn, nil
	}
}

func settle(ctx context.Context, raw net.Conn, config *tls.Config, address string) (*tls.Conn, error) {
	config = config.Clone()
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		config.ServerName = host
	}
	var asked atomic.Bool
	give := config.GetClientCertificate
	config.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked.Store(true)
		if give == nil {
			return &tls.Certificate{}, nil
		}
		return give(info)
	}
	began := time.Now()
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	if !asked.Load() || conn.ConnectionState().Version < tls.VersionTLS13 {
		return conn, nil
	}
	wait := min(max(2*time.Since(began), leastRefusalWait), mostRefusalWait)
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return nil, err
	}
	var early [1]byte
	n, err := conn.Read(early[:])
	switch {
	case n > 0:
		return nil, errors.New("the destination speaks before it is asked")
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("after the handshake: %w", err)
	}
	return conn, conn.SetReadDeadline(time.Time{})
}

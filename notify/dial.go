package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

const dialTimeout = 10 * time.Second

// maxAddresses is how many of a name's addresses are tried.
const maxAddresses = 8

// blocked is an address that must not be called. The resolver of the subscriber
// said so: it is tried again, since names move, and is given up in time.
type blocked struct{ why error }

func (b *blocked) Error() string { return b.why.Error() }

// guard makes the connections of one scheme.
type guard struct {
	scheme  string
	policy  *policy
	resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	dial    func(ctx context.Context, network, address string) (net.Conn, error) // tests; nil: the network
}

// DialContext looks a name up once, and connects to an address that it has checked
// itself: no other can slip in between.
func (g *guard) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, errors.New("the port cannot be read")
	}
	ips, err := g.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	var errs []error
	ips = ips[:min(len(ips), maxAddresses)]
	for i, ip := range ips {
		to := netip.AddrPortFrom(ip, uint16(port))
		if err := g.policy.check(g.scheme, host, to); err != nil {
			errs = append(errs, &blocked{err})
			continue
		}
		// One that swallows what is sent to it must leave time for the others.
		share := dialTimeout
		if end, ok := ctx.Deadline(); ok {
			share = min(share, time.Until(end)/time.Duration(len(ips)-i))
		}
		part, cancel := context.WithTimeout(ctx, share)
		conn, err := g.connect(part, host, to)
		cancel()
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func (g *guard) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	ips, err := g.resolve(ctx, host)
	switch {
	case err != nil:
		return nil, fmt.Errorf("look up %s: %w", host, err)
	case len(ips) == 0:
		return nil, fmt.Errorf("look up %s: there is no address", host)
	}
	return ips, nil
}

// connect connects to one address. What the system really connects to is held
// against the policy once more.
func (g *guard) connect(ctx context.Context, host string, to netip.AddrPort) (net.Conn, error) {
	if g.dial != nil {
		return g.dial(ctx, "tcp", to.String())
	}
	d := net.Dialer{Timeout: dialTimeout, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if err := g.policy.check(g.scheme, host, at); err != nil {
			return &blocked{err}
		}
		return nil
	}}
	return d.DialContext(ctx, "tcp", to.String())
}

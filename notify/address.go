package notify

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"ferry"
)

// closed are networks that lie inside what is public by its first bits, and lead to
// no host of the internet. What the next address is for, the registry of special
// addresses says (RFC 6890 and its successors).
func closed() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),        // this network
		netip.MustParsePrefix("10.0.0.0/8"),       // private
		netip.MustParsePrefix("100.64.0.0/10"),    // behind carriers' NAT
		netip.MustParsePrefix("127.0.0.0/8"),      // this machine
		netip.MustParsePrefix("168.63.129.16/32"), // Azure's own, from inside its machines
		netip.MustParsePrefix("169.254.0.0/16"),   // link-local; the metadata of clouds
		netip.MustParsePrefix("172.16.0.0/12"),    // private
		netip.MustParsePrefix("192.0.0.0/24"),     // protocols
		netip.MustParsePrefix("192.0.2.0/24"),     // documentation
		netip.MustParsePrefix("192.31.196.0/24"),  // AS112
		netip.MustParsePrefix("192.52.193.0/24"),  // AMT
		netip.MustParsePrefix("192.88.99.0/24"),   // relays of 6to4
		netip.MustParsePrefix("192.168.0.0/16"),   // private
		netip.MustParsePrefix("192.175.48.0/24"),  // AS112
		netip.MustParsePrefix("198.18.0.0/15"),    // benchmarks
		netip.MustParsePrefix("198.51.100.0/24"),  // documentation
		netip.MustParsePrefix("203.0.113.0/24"),   // documentation
		netip.MustParsePrefix("224.0.0.0/3"),      // multicast, reserved, broadcast

		netip.MustParsePrefix("2001::/23"),         // protocols, Teredo, ORCHID among them
		netip.MustParsePrefix("2001:db8::/32"),     // documentation
		netip.MustParsePrefix("2002::/16"),         // 6to4: an IPv4 address in disguise
		netip.MustParsePrefix("2620:4f:8000::/48"), // AS112
		netip.MustParsePrefix("3fff::/20"),         // documentation
	}
}

// policy says what may be called.
type policy struct {
	closed []netip.Prefix
	allow  []allowed
	global netip.Prefix // of IPv6: all that is assigned to hosts of the internet
	nat64  netip.Prefix // IPv4 addresses, as networks without IPv4 write them
}

// allowed is an entry of Options.Allow: a host or a network, at a port or at any.
type allowed struct {
	host    string
	network netip.Prefix
	port    uint16 // 0: any
}

func newPolicy(allow []string) (*policy, error) {
	p := &policy{closed: closed(), global: netip.MustParsePrefix("2000::/3"), nat64: netip.MustParsePrefix("64:ff9b::/96")}
	for _, entry := range allow {
		a, err := parseAllowed(entry)
		if err != nil {
			return nil, err
		}
		p.allow = append(p.allow, a)
	}
	return p, nil
}

func parseAllowed(entry string) (allowed, error) {
	var a allowed
	host := entry
	if _, err := netip.ParseAddr(entry); err != nil {
		if i := strings.LastIndexByte(entry, ':'); i >= 0 && !strings.Contains(entry[i:], "/") {
			port, err := strconv.ParseUint(entry[i+1:], 10, 16)
			if err != nil || port == 0 {
				return a, badAllowed(entry)
			}
			a.port, host = uint16(port), strings.TrimSuffix(strings.TrimPrefix(entry[:i], "["), "]")
		}
	}
	if network, err := netip.ParsePrefix(host); err == nil {
		a.network = network.Masked()
		return a, nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		ip = ip.Unmap().WithZone("")
		a.network = netip.PrefixFrom(ip, ip.BitLen())
		return a, nil
	}
	if a.host = strings.ToLower(strings.TrimSuffix(host, ".")); a.host == "" {
		return a, badAllowed(entry)
	}
	return a, nil
}

func badAllowed(entry string) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadConfig, "callbacks.allow: %q names nothing that could be called", entry).
		WithHint("a host, an address or a network, with a port or without: hooks.corp.example, 10.20.30.40:8443, 10.20.0.0/16")
}

func (a allowed) atPort(port uint16) bool { return a.port == 0 || a.port == port }

// named says whether the host of an address is allowed by its name, wherever it
// leads.
func (p *policy) named(host string, port uint16) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, a := range p.allow {
		if a.host != "" && a.host == host && a.atPort(port) {
			return true
		}
	}
	return false
}

// listed says whether an address lies in a network that is allowed.
func (p *policy) listed(ip netip.Addr, port uint16) bool {
	for _, a := range p.allow {
		if a.host == "" && a.atPort(port) && a.network.Contains(ip) {
			return true
		}
	}
	return false
}

// public says whether an address is one of the internet's hosts.
func (p *policy) public(ip netip.Addr) bool {
	if ip.Is6() {
		if p.nat64.Contains(ip) {
			raw := ip.As16()
			return p.public(netip.AddrFrom4([4]byte(raw[12:])))
		}
		if !p.global.Contains(ip) {
			return false
		}
	}
	for _, c := range p.closed {
		if c.Contains(ip) {
			return false
		}
	}
	return true
}

// check says why a connection for host must not be made to an address.
func (p *policy) check(scheme, host string, to netip.AddrPort) error {
	if to.Addr().Zone() != "" {
		return fmt.Errorf("%s leads to an address of a link", host)
	}
	ip := to.Addr().Unmap()
	switch {
	case ip.IsUnspecified() || ip.IsMulticast():
		return fmt.Errorf("%s leads to %s, which is no host", host, ip)
	case scheme == "http" && !ip.IsLoopback():
		return fmt.Errorf("%s leads to %s, and http is for the broker's own machine only", host, ip)
	case p.listed(ip, to.Port()):
		return nil
	case !portOpen(to.Port()) && !p.named(host, to.Port()):
		return fmt.Errorf("the port %d is not for callbacks", to.Port())
	case p.public(ip):
		return nil
	case p.named(host, to.Port()) && !platform(ip):
		return nil
	default:
		return fmt.Errorf("%s leads to %s, which is not public", host, ip)
	}
}

// platform says whether an address is that of what a machine runs on, which hands
// out credentials to who asks: only a network that is listed opens it, no name.
func platform(ip netip.Addr) bool {
	return ip.IsLinkLocalUnicast() || ip == netip.AddrFrom4([4]byte{168, 63, 129, 16}) || ip == netip.MustParseAddr("fd00:ec2::254")
}

// portOpen says whether a port is one that callbacks go to: not those below 1024
// that other services listen on, and would take the words of a callback for theirs.
func portOpen(port uint16) bool { return port == 443 || port >= 1024 }

// MayCall says why an address cannot be called, nil when it may be tried. Names are
// not looked up: what they lead to is looked at when they are called.
func (n *Notifier) MayCall(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" || len(address) > ferry.MaxCallbackURL || u.Scheme != "https" && u.Scheme != "http" {
		return badAddress("it is no absolute https URL without user and fragment")
	}
	port, err := portOf(u)
	if err != nil {
		return badAddress(err.Error())
	}
	host := u.Hostname()
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil:
		if err := n.policy.check(u.Scheme, host, netip.AddrPortFrom(ip, port)); err != nil {
			return badAddress(err.Error())
		}
	case u.Scheme == "http" && (!strings.EqualFold(host, "localhost") || !n.policy.named(host, port)):
		return badAddress("http is for the broker's own machine only, where callbacks.allow names it")
	case strings.EqualFold(host, "localhost") && !n.policy.named(host, port):
		return badAddress("localhost is not public")
	case !portOpen(port) && !n.policy.named(host, port):
		return badAddress(fmt.Sprintf("the port %d is not for callbacks", port))
	}
	return nil
}

// badAddress does not repeat the address: its query is often a secret.
func badAddress(why string) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadCallbackURL, "the callback URL cannot be called: %s", why).
		WithHint("callbacks reach https at public addresses, port 443 or 1024 and above; callbacks.allow in broker.yaml opens more")
}

func portOf(u *url.URL) (uint16, error) {
	text := u.Port()
	switch {
	case text == "" && u.Scheme == "http":
		return 80, nil
	case text == "":
		return 443, nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("its port cannot be read")
	}
	return uint16(port), nil
}

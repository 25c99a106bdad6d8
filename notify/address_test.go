package notify

import (
	"net/netip"
	"strings"
	"testing"

	"ferry"
)

func TestWhatIsPublic(t *testing.T) {
	p, err := newPolicy(nil)
	if err != nil {
		t.Fatal(err)
	}
	for ip, public := range map[string]bool{
		"20.50.88.240": true, "8.8.8.8": true, "1.1.1.1": true, "172.32.0.1": true, "100.128.0.1": true, "192.169.0.1": true, "168.63.129.17": true,
		"2603:1020:201:10::10f": true, "2001:4860:4860::8888": true, "2a00:1450:4001::1": true,
		"::ffff:8.8.8.8":   true,
		"64:ff9b::8.8.8.8": true,

		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "10.255.255.255": false, "100.64.0.1": false, "100.100.100.200": false, "100.127.255.255": false,
		"127.0.0.1": false, "127.255.0.1": false, "169.254.169.254": false, "168.63.129.16": false, "172.16.0.1": false, "172.31.255.255": false,
		"192.0.0.192": false, "192.0.2.1": false, "192.88.99.1": false, "192.168.1.1": false, "198.18.0.1": false, "198.19.255.255": false,
		"198.51.100.1": false, "203.0.113.1": false, "224.0.0.1": false, "239.255.255.255": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::7f00:1": false, "::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, "::ffff:10.1.2.3": false, "::ffff:0:0": false,
		"64:ff9b::127.0.0.1": false, "64:ff9b::169.254.169.254": false, "64:ff9b::10.0.0.1": false, "64:ff9b:1::8.8.8.8": false,
		"2002:7f00:1::": false, "2002:a9fe:a9fe::": false, "2002:0808:0808::": false, "2001::1": false, "2001:0:7f00:1::": false, "2001:db8::1": false, "2001:10::1": false, "2001:20::1": false,
		"fc00::1": false, "fd00:ec2::254": false, "fe80::1": false, "fe80::1%eth0": false, "fec0::1": false, "ff02::1": false, "ff0e::1": false, "100::1": false, "3fff::1": false, "5f00::1": false, "4000::1": false,
	} {
		err := p.check("https", "h.example", netip.AddrPortFrom(netip.MustParseAddr(ip), 443))
		if (err == nil) != public {
			t.Errorf("%s: %v", ip, err)
		}
	}
}

func TestWhatIsAllowed(t *testing.T) {
	p, err := newPolicy([]string{"hooks.corp.example", "Mail.Corp.Example:25", "10.20.0.0/16", "10.30.0.1:8443", "[fd12::1]:9443", "fd13::/16", "localhost:9000", "127.0.0.1", "169.254.7.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		scheme, host, to string
		good             bool
	}{
		{"https", "hooks.corp.example", "10.9.9.9:443", true},
		{"https", "HOOKS.corp.example.", "10.9.9.9:443", true},
		{"https", "other.corp.example", "10.9.9.9:443", false},
		{"https", "x.hooks.corp.example", "10.9.9.9:443", false},
		{"https", "hooks.corp.example", "169.254.169.254:443", false}, // not even then
		{"https", "hooks.corp.example", "168.63.129.16:443", false},
		{"https", "hooks.corp.example", "[fd00:ec2::254]:443", false},
		{"https", "hooks.corp.example", "224.0.0.1:443", false},
		{"https", "hooks.corp.example", "0.0.0.0:443", false},
		{"https", "mail.corp.example", "10.9.9.9:25", true},
		{"https", "mail.corp.example", "10.9.9.9:443", false},
		{"https", "any.example", "10.20.255.1:443", true},
		{"https", "any.example", "[::ffff:10.20.255.1]:443", true},
		{"https", "any.example", "10.21.0.1:443", false},
		{"https", "any.example", "10.30.0.1:8443", true},
		{"https", "any.example", "10.30.0.1:443", false},
		{"https", "any.example", "[fd12::1]:9443", true},
		{"https", "any.example", "[fd12::1]:443", false},
		{"https", "any.example", "[fd13::99]:443", true},
		{"https", "any.example", "169.254.7.9:443", true},
		{"https", "public.example", "8.8.8.8:25", false},
		{"https", "public.example", "8.8.8.8:80", false},
		{"https", "public.example", "8.8.8.8:8443", true},
		{"http", "localhost", "127.0.0.1:9000", true},
		{"http", "any.example", "127.0.0.1:80", true}, // the network is listed
		{"http", "any.example", "[::1]:80", false},
		{"http", "hooks.corp.example", "10.9.9.9:8080", false},
		{"http", "any.example", "10.20.0.1:8080", false},
		{"http", "public.example", "8.8.8.8:8080", false},
	} {
		if err := p.check(c.scheme, c.host, netip.MustParseAddrPort(c.to)); (err == nil) != c.good {
			t.Errorf("%s at %s by %s: %v", c.host, c.to, c.scheme, err)
		}
	}
	for _, entry := range []string{"", ":", "host:", "host:0", "host:65536", "host:https", "[::1]:x"} {
		if _, err := newPolicy([]string{entry}); ferry.CodeOf(err) != ferry.CodeBadConfig {
			t.Errorf("%q is allowed: %v", entry, err)
		}
	}
}

// What can be seen of an address is refused when a message or a subscription asks
// for it; its query is never repeated.
func TestMayCall(t *testing.T) {
	strict := notifier(t, Options{})
	open := notifier(t, Options{Allow: []string{"127.0.0.1", "localhost", "10.0.0.0/8"}})
	for address, want := range map[string][2]bool{ // strict, open
		"https://prod-12.westeurope.logic.azure.com:443/workflows/1/triggers/t?sig=SECRET": {true, true},
		"https://h.example/":                                             {true, true},
		"https://h.example:8443/?sig=SECRET":                             {true, true},
		"https://8.8.8.8/":                                               {true, true},
		"https://h.example:25/?sig=SECRET":                               {false, false},
		"https://h.example:0/":                                           {false, false},
		"https://h.example:99999/":                                       {false, false},
		"http://h.example/?sig=SECRET":                                   {false, false},
		"https://127.0.0.1/?sig=SECRET":                                  {false, true},
		"https://[::1]/?sig=SECRET":                                      {false, false},
		"https://[::ffff:127.0.0.1]/?sig=SECRET":                         {false, true},
		"https://[::ffff:7f00:1]/":                                       {false, true},
		"https://10.1.2.3/?sig=SECRET":                                   {false, true},
		"https://169.254.169.254/latest/":                                {false, false},
		"https://[fe80::1%25eth0]/":                                      {false, false},
		"http://127.0.0.1:9000/?sig=SECRET":                              {false, true},
		"http://localhost:9000/?sig=SECRET":                              {false, true},
		"http://10.1.2.3/?sig=SECRET":                                    {false, false},
		"https://localhost/?sig=SECRET":                                  {false, true},
		"ftp://h.example/":                                               {false, false},
		"https://user:SECRET@h.example/":                                 {false, false},
		"https://h.example/#SECRET":                                      {false, false},
		"https:///cb?sig=SECRET":                                         {false, false},
		"//h.example/?sig=SECRET":                                        {false, false},
		"SECRET":                                                         {false, false},
		"https://h.example/" + strings.Repeat("a", ferry.MaxCallbackURL): {false, false},
	} {
		for i, n := range []*Notifier{strict, open} {
			err := n.MayCall(address)
			if (err == nil) != want[i] {
				t.Errorf("%s (%d): %v", address, i, err)
			}
			if err != nil && (ferry.CodeOf(err) != ferry.CodeBadCallbackURL || strings.Contains(err.Error(), "SECRET")) {
				t.Errorf("%s: %v", address, err)
			}
		}
	}
}

// No address that leads where it may not is let through, whatever form it has.
func FuzzCheck(f *testing.F) {
	for _, ip := range []string{"127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:a00::", "8.8.8.8", "fe80::1%1"} {
		f.Add(ip)
	}
	p, err := newPolicy(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return
		}
		if p.check("https", "h", netip.AddrPortFrom(ip, 443)) != nil {
			return
		}
		plain := ip.Unmap()
		if plain.IsPrivate() || plain.IsLoopback() || plain.IsLinkLocalUnicast() || plain.IsMulticast() || plain.IsUnspecified() || ip.Zone() != "" {
			t.Fatalf("%s may be called", text)
		}
	})
}

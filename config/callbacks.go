package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Callbacks says whom the broker may call back: https at public addresses, and
// what Allow adds.
type Callbacks struct {
	// Allow opens more, at most 100: names of hosts, addresses and networks such as
	// 10.20.0.0/16, each also with a :PORT. Of the broker's own machine http is taken as
	// well.
	Allow []string `yaml:"allow"`
	// CA is a file of certificates in PEM that callbacks trust beside the system's.
	CA string `yaml:"ca"`
	ca fileSum
	// Format is what callbacks are sent as: json, the default, the message itself; or
	// cloudevents, CloudEvents 1.0 in JSON whose data is the message.
	Format string `yaml:"format"`
	// Timeout is how long one callback may take; default 10 s, from 1 s to 1 min.
	Timeout time.Duration `yaml:"timeout"`
}

const (
	defaultCallbackTimeout = 10 * time.Second
	maxCallbackAllow       = 100
)

// The formats of callbacks.
const (
	FormatJSON        = "json"
	FormatCloudEvents = "cloudevents"
)

func (c *Callbacks) complete() {
	setDefault(&c.Timeout, defaultCallbackTimeout)
	setDefault(&c.Format, FormatJSON)
}

func (c *Callbacks) check(d *decoder) {
	if len(c.Allow) > maxCallbackAllow {
		d.at("callbacks.allow", "", "callbacks.allow has %d entries, %d at most", len(c.Allow), maxCallbackAllow)
	}
	for i, entry := range c.Allow {
		if !allowable(entry) {
			d.at(fmt.Sprintf("callbacks.allow[%d]", i), "write a host, an address or a network: hooks.corp.example, 10.20.30.40:8443, 10.20.0.0/16",
				"callbacks.allow[%d]: %q names nothing that could be called", i, clip(entry))
		}
	}
	c.ca = d.readFile("callbacks.ca", c.CA)
	d.checkOneOf("callbacks.format", c.Format, FormatJSON, FormatCloudEvents)
	d.checkSpan("callbacks.timeout", int64(c.Timeout), int64(time.Second), int64(time.Minute), showDuration)
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)

// allowable says whether an entry of allow can be read: HOST, ADDRESS or NETWORK,
// and a :PORT behind it. An IPv6 address with a port stands in brackets.
func allowable(entry string) bool {
	if _, err := netip.ParsePrefix(entry); err == nil {
		return true
	}
	if _, err := netip.ParseAddr(entry); err == nil {
		return true
	}
	host := entry
	if i := strings.LastIndexByte(entry, ':'); i >= 0 {
		port, err := strconv.ParseUint(entry[i+1:], 10, 16)
		if err != nil || port == 0 {
			return false
		}
		host = strings.TrimSuffix(strings.TrimPrefix(entry[:i], "["), "]")
	}
	if _, err := netip.ParsePrefix(host); err == nil {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	// A name of digits alone would be a mistyped address.
	return len(host) <= 253 && hostName.MatchString(host) && strings.Trim(host, "0123456789.") != ""
}

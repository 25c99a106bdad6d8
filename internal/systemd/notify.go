// Package systemd tells a service manager how the process stands, by the protocol
// of sd_notify: a datagram to the socket that the environment names. Elsewhere it
// does nothing.
package systemd

import (
	"net"
	"os"
	"strings"
)

// The states.
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
)

// Notify tells a state.
func Notify(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	if abstract, ok := strings.CutPrefix(name, "@"); ok {
		name = "\x00" + abstract
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_, err = c.Write([]byte(state))
	return err
}

package natsqueue

import (
	"encoding/base64"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

// logins decides who may connect to the embedded server and what for. The server
// could hold the list itself, but changes it only by reading all its options
// anew, and in doing so it writes to what the deliveries under way read.
type logins struct {
	server *server.Server // set before it starts; nil in no call of Check
	door   *door          // likewise

	mu      sync.Mutex
	known   map[string]*rights // by public nkey; nil rights: everything
	open    map[uint64]login   // by the connection's number
	sweepAt int                // connections in open at which closed ones are forgotten
}

// login is who a connection has logged in as.
type login struct {
	key     string // public nkey
	address string // where it came from over TCP; empty: another way
	since   time.Time
}

// sweepFrom is how many connections are remembered before it is asked which of
// them are still there: the server does not tell of those that end.
const sweepFrom = 64

func newLogins(known map[string]*rights) *logins {
	return &logins{known: known, open: make(map[uint64]login), sweepAt: sweepFrom}
}

// knownLogins lists the broker, who may do everything, and the workers.
func knownLogins(broker string, workers []WorkerAuth) (map[string]*rights, error) {
	known := make(map[string]*rights, len(workers)+1)
	for _, w := range workers {
		r, err := w.rights()
		if err != nil {
			return nil, err
		}
		known[w.PublicKey] = &r
	}
	known[broker] = nil
	return known, nil
}

// Check is the server's question whether a connection may be made: its key has
// to be known, and has to have signed what the server made up for this
// connection.
func (l *logins) Check(c server.ClientAuthentication) bool {
	id, key := c.GetID(), c.GetOpts().Nkey
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, id) // a connection may introduce itself again, as someone else
	allowed, known := l.known[key]
	if !known || !signed(c, key) {
		return false
	}
	c.RegisterUser(&server.User{Permissions: allowed.permissions()})
	l.sweep()
	l.open[id] = login{key: key, address: tcpAddress(c.RemoteAddress()), since: time.Now().UTC()}
	l.door.entered(id, key)
	return true
}

func tcpAddress(a net.Addr) string {
	if a == nil || a.Network() != "tcp" {
		return ""
	}
	return a.String()
}

// connections lists those that are open, but for those of one key.
func (l *logins) connections(d *door, but string) []Connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []Connection
	for id, who := range l.open {
		if who.key == but || l.server.GetClient(id) == nil {
			continue
		}
		c := Connection{PublicKey: who.key, Via: ViaProcess, Address: who.address, Since: who.since}
		if remote, ok := d.remoteOf(id); ok {
			c.Via, c.Address = ViaQueue, remote
		} else if who.address != "" {
			c.Via = ViaTCP
		}
		list = append(list, c)
	}
	return list
}

// signed says whether the key has signed the connection's nonce. The signature
// comes in base64 for URLs, from older clients in the other one.
func signed(c server.ClientAuthentication, key string) bool {
	nonce, text := c.GetNonce(), c.GetOpts().Sig
	if len(nonce) == 0 || text == "" {
		return false
	}
	signature, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		if signature, err = base64.StdEncoding.DecodeString(text); err != nil {
			return false
		}
	}
	public, err := nkeys.FromPublicKey(key)
	return err == nil && public.Verify(nonce, signature) == nil
}

// replace changes who may connect. A connection keeps going unless its key is
// known no more, or may hear something else than before: what it hears was
// settled when it subscribed. Those are cut off, and what they still send counts
// for nothing.
func (l *logins) replace(known map[string]*rights) {
	for _, id := range l.swap(known) {
		_ = l.server.DisconnectClientByID(id) // an error says that it has gone by itself
	}
}

// swap is replace but for the cutting: it names the connections.
func (l *logins) swap(known map[string]*rights) (cut []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.known
	l.known = known
	for id, who := range l.open {
		connection := l.server.GetClient(id)
		if connection == nil {
			delete(l.open, id)
			continue
		}
		was, is := before[who.key], known[who.key]
		if _, still := known[who.key]; !still || !was.hears(is) {
			connection.RegisterUser(&server.User{Permissions: nothing()})
			delete(l.open, id)
			cut = append(cut, id)
			continue
		}
		if !was.says(is) {
			connection.RegisterUser(&server.User{Permissions: is.permissions()})
		}
	}
	return cut
}

// sweep forgets connections that have ended, once there are twice as many as
// after the last time. l.mu is held.
func (l *logins) sweep() {
	if len(l.open) < l.sweepAt {
		return
	}
	for id := range l.open {
		if l.server.GetClient(id) == nil {
			delete(l.open, id)
		}
	}
	l.sweepAt = max(sweepFrom, 2*len(l.open))
}

// permissions are the rights in the server's words; nil: everything.
func (r *rights) permissions() *server.Permissions {
	if r == nil {
		return nil
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: r.publish},
		Subscribe: &server.SubjectPermission{Allow: r.subscribe},
	}
}

func nothing() *server.Permissions {
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Deny: []string{">"}},
		Subscribe: &server.SubjectPermission{Deny: []string{">"}},
	}
}

// hears and says compare what two logins may subscribe and publish.
func (r *rights) hears(other *rights) bool {
	return r == other || r != nil && other != nil && slices.Equal(r.subscribe, other.subscribe)
}

func (r *rights) says(other *rights) bool {
	return r == other || r != nil && other != nil && slices.Equal(r.publish, other.publish)
}

package natsqueue

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats-server/v2/server"

	"ferry"
)

// Bounds of what comes through a door. A visit that has not logged in ends after
// loginTime: the server's own bound.
const (
	maxVisits        = 2048 // together
	maxLoginVisits   = 64   // of one login
	maxStrangers     = 256  // that have not logged in yet, together
	maxStrangersFrom = 32   // of those, from one address
	loginTime        = 5 * time.Second
	leaveTime        = time.Second // for the other side to take what was sent last
)

// door is the way of workers to the server through an HTTP listener of somebody
// else: each visit is a WebSocket of binary messages, whose bytes are those of a
// connection to the server. Who may do what the server decides, as over TCP.
type door struct {
	server *server.Server
	log    *slog.Logger
	ctx    context.Context // ends every visit
	end    context.CancelFunc
	group  sync.WaitGroup // of visits

	mu        sync.Mutex
	shut      bool
	visits    map[*visit]struct{}
	known     map[uint64]*visit // by the server's number of the connection
	strangers map[string]int    // visits that have not logged in, by address
	waiting   int               // the same, together
	logins    map[string]int    // visits by public nkey
}

// visit is one WebSocket.
type visit struct {
	remote string // host and port that it came from
	from   string // what is counted by: the host
	id     uint64 // the server's number of the connection; 0: not yet known
	login  string // public nkey; empty: it has not logged in
	ctx    context.Context
	end    context.CancelFunc
}

func newDoor(s *server.Server, log *slog.Logger) *door {
	d := &door{
		server: s, log: log, visits: map[*visit]struct{}{}, known: map[uint64]*visit{},
		strangers: map[string]int{}, logins: map[string]int{},
	}
	d.ctx, d.end = context.WithCancel(context.Background())
	return d
}

// ServeQueue makes the request a worker's connection to the server, and returns; the
// connection lives on. An error is a *ferry.Error, and nothing was answered.
func (s *Server) ServeQueue(w http.ResponseWriter, r *http.Request) error {
	d := s.door
	if err := checkUpgrade(r); err != nil {
		w.Header().Set("Upgrade", "websocket")
		return err
	}
	v, err := d.admit(r.RemoteAddr)
	if err != nil {
		return err
	}
	taken := &upgrading{ResponseWriter: w}
	ws, err := websocket.Accept(taken, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		d.leave(v)
		return upgradeRequired("this is no handshake of a WebSocket: %w", err)
	}
	// The library's own ways to close wait for the other side.
	context.AfterFunc(v.ctx, func() { _ = taken.conn.Close() })
	go d.carry(v, ws)
	return nil
}

// upgrading keeps back what the library would answer beside the upgrade: a refusal
// is answered where all are.
type upgrading struct {
	http.ResponseWriter
	conn net.Conn // once it was taken over
}

func (u *upgrading) WriteHeader(status int) {
	if status == http.StatusSwitchingProtocols {
		u.ResponseWriter.WriteHeader(status)
	}
}

func (u *upgrading) Write(p []byte) (int, error) { return len(p), nil }

// Hijack takes the connection over.
func (u *upgrading) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffer, err := http.NewResponseController(u.ResponseWriter).Hijack()
	u.conn = conn
	return conn, buffer, err
}

func upgradeRequired(format string, args ...any) error {
	return ferry.Errorf(ferry.CodeUpgradeRequired, format, args...).
		WithHint("workers connect here by themselves: queue.nats.url in worker.yaml. If one did, a proxy before the broker does not pass WebSockets on")
}

// checkUpgrade tells requests that are none of a worker's.
func checkUpgrade(r *http.Request) error {
	if _, browser := r.Header["Origin"]; browser {
		return ferry.Errorf(ferry.CodeForbidden, "pages in a browser may not use the queue").WithHint("workers send no Origin")
	}
	if r.Method != http.MethodGet || !hasToken(r.Header["Connection"], "upgrade") || !hasToken(r.Header["Upgrade"], "websocket") {
		return upgradeRequired("only a WebSocket leads to the queue")
	}
	return nil
}

func hasToken(values []string, token string) bool {
	for _, v := range values {
		for one := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(one), token) {
				return true
			}
		}
	}
	return false
}

// admit lets a stranger in, if there is room for one.
func (d *door) admit(remote string) (*visit, error) {
	v := &visit{remote: remote, from: hostOf(remote)}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.shut:
		return nil, ferry.Errorf(ferry.CodeStopping, "the queue is stopping").WithHint("try again in a moment")
	case d.strangers[v.from] >= maxStrangersFrom:
		return nil, ferry.Errorf(ferry.CodeTooManyRequests, "%d connections from this address have not logged in yet", maxStrangersFrom).WithHint("try again in a moment")
	case d.waiting >= maxStrangers:
		return nil, ferry.Errorf(ferry.CodeTooManyRequests, "%d connections have not logged in yet", maxStrangers).WithHint("try again in a moment")
	case len(d.visits) >= maxVisits:
		return nil, ferry.Errorf(ferry.CodeTooManyRequests, "%d workers' connections are open", maxVisits).WithHint("is some worker opening more and more of them?")
	}
	v.ctx, v.end = context.WithCancel(d.ctx)
	d.visits[v] = struct{}{}
	d.strangers[v.from]++
	d.waiting++
	d.group.Add(1)
	return v, nil
}

// hostOf is what an address counts as: of IPv6 the network that one customer gets.
func hostOf(remote string) string {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	ip := at.Addr().Unmap()
	if ip.Is6() {
		if network, err := ip.Prefix(64); err == nil {
			return network.String()
		}
	}
	return ip.String()
}

// meet notes the server's number of a visit's connection.
func (d *door) meet(v *visit, id uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v.id = id
	d.known[id] = v
}

// entered notes that a connection logged in. It is called for all of the server's,
// those that did not come through the door, too.
func (d *door) entered(id uint64, login string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.known[id]
	if v == nil {
		return
	}
	d.forgetLogin(v)
	if d.logins[login] >= maxLoginVisits {
		d.log.Warn("queue.connections", "address", v.remote, "login", login, "error", "the login has too many connections open: this one is ended")
		v.end()
	}
	v.login = login
	d.logins[login]++
}

// forgetLogin makes nobody of a visit. d.mu is held.
func (d *door) forgetLogin(v *visit) {
	if v.login == "" {
		if d.strangers[v.from]--; d.strangers[v.from] <= 0 {
			delete(d.strangers, v.from)
		}
		d.waiting--
		return
	}
	if d.logins[v.login]--; d.logins[v.login] <= 0 {
		delete(d.logins, v.login)
	}
}

// leave ends a visit.
func (d *door) leave(v *visit) {
	v.end()
	d.mu.Lock()
	d.forgetLogin(v)
	delete(d.visits, v)
	delete(d.known, v.id)
	d.mu.Unlock()
	d.group.Done()
}

// remoteOf is where a connection came from through the door.
func (d *door) remoteOf(id uint64) (remote string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := d.known[id]; v != nil {
		return v.remote, true
	}
	return "", false
}

// close lets nobody in any more, and waits for the visits to end. The server has
// stopped, or is about to.
func (d *door) close() {
	d.mu.Lock()
	d.shut = true
	d.mu.Unlock()
	d.group.Wait() // the server has ended their connections: each leaves within leaveTime
	d.end()
}

// The ways of a connection to the server.
const (
	ViaQueue   = "/queue"
	ViaTCP     = "tcp"
	ViaProcess = "process" // that of the server itself
)

// Connection is one that has logged in.
type Connection struct {
	PublicKey string
	Via       string
	Address   string // where it came from; empty: from this process
	Since     time.Time
}

// Connections lists those that are open, by age; the broker's own is none of them.
func (s *Server) Connections() []Connection {
	list := s.logins.connections(s.door, s.public)
	slices.SortFunc(list, func(a, b Connection) int { return a.Since.Compare(b.Since) })
	return list
}

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry"
	"ferry/client"
)

// proxy is an HTTP proxy that wants a login, and knows the way to brokerName, which
// this machine does not.
type proxy struct {
	address   string
	to        string // where brokerName is
	mu        sync.Mutex
	tunnels   map[net.Conn]bool
	made      int
	strangers int // who showed no login, or another
}

const (
	brokerName    = "broker.ferry.test"
	proxyUser     = "ferry"
	proxyPassword = "between-two-machines"
)

// startProxy starts it for a broker at to.
func startProxy(t *testing.T, to string) *proxy {
	t.Helper()
	p := &proxy{to: to, tunnels: map[net.Conn]bool{}}
	server := httptest.NewServer(p)
	p.address = server.Listener.Addr().String()
	t.Cleanup(func() { server.Close(); p.cut() })
	return p
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	login := "Basic " + base64.StdEncoding.EncodeToString([]byte(proxyUser+":"+proxyPassword))
	if r.Header.Get("Proxy-Authorization") != login {
		p.mu.Lock()
		p.strangers++
		p.mu.Unlock()
		w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	host, _, err := net.SplitHostPort(r.Host)
	if r.Method != http.MethodConnect || err != nil || host != brokerName {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	up, err := net.Dial("tcp", p.to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	down, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = up.Close()
		return
	}
	p.mu.Lock()
	p.tunnels[up], p.tunnels[down] = true, true
	p.made++
	p.mu.Unlock()
	_, _ = io.WriteString(down, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { _, _ = io.Copy(up, down); _ = up.Close() }()
	_, _ = io.Copy(down, up)
	_ = down.Close()
}

// cut ends every connection through the proxy, and says how many there were so far.
func (p *proxy) cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.tunnels {
		_ = conn.Close()
	}
	p.tunnels = map[net.Conn]bool{}
	return p.made
}

// linkWorld is a world whose broker has an address with TLS and nothing else, and a
// certificate by an authority of its own.
type linkWorld struct {
	*world
	t         *testing.T
	host      string // of publicUrl
	authority tls.Certificate
	roots     *x509.CertPool
}

func newLinkWorld(t *testing.T, host string) *linkWorld {
	t.Helper()
	w := &linkWorld{world: newWorld(t, quickOptions()), t: t, host: host, roots: x509.NewCertPool()}
	w.authority = mint(t, &x509.Certificate{Subject: pkix.Name{CommonName: "Authority of our own"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	w.writePair("ca", w.authority)
	w.roots.AddCert(w.authority.Leaf)
	w.renew()
	_, port, _ := net.SplitHostPort(w.api)
	w.rewrite("broker.yaml", func(lines []string) []string {
		for i, line := range lines {
			if strings.HasPrefix(line, "queue: ") {
				lines[i] = `queue: {nats: {listen: "off", lock: 5s}}`
			}
		}
		return append(lines, "publicUrl: https://"+net.JoinHostPort(host, port), "tls: {cert: ./broker.pem, key: ./broker.key}", "")
	})
	return w
}

// renew gives the broker another certificate, as a renewal does: one file after the
// other. It returns its number.
func (w *linkWorld) renew() string {
	w.t.Helper()
	leaf := mint(w.t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "broker"}, DNSNames: []string{brokerName, "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, &w.authority)
	w.writePair("broker", leaf)
	return leaf.Leaf.SerialNumber.String()
}

func (w *linkWorld) rewrite(name string, change func(lines []string) []string) {
	w.t.Helper()
	text, err := os.ReadFile(w.path(name))
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(name, strings.Join(change(strings.Split(strings.TrimSpace(string(text)), "\n")), "\n"))
}

// workerQueueIs sets the section queue of worker.yaml.
func (w *linkWorld) workerQueueIs(nats string) {
	w.t.Helper()
	w.rewrite("worker.yaml", func(lines []string) []string {
		for i, line := range lines {
			if strings.HasPrefix(line, "queue: ") {
				lines[i] = "queue: {nats: {lock: 5s, " + nats + "}}"
			}
		}
		return append(lines, "")
	})
}

func (w *linkWorld) startBroker() {
	w.t.Helper()
	w.launchBroker()
	var key string
	eventually(w.t, 20*time.Second, func() string {
		text, err := os.ReadFile(w.path("data/admin.key"))
		key = strings.TrimSpace(string(text))
		if err != nil || key == "" {
			return fmt.Sprintf("no admin key: %v", err)
		}
		return ""
	})
	c, err := client.New("https://"+w.api, key, client.Options{RootCAs: w.roots})
	if err != nil {
		w.t.Fatal(err)
	}
	w.client = c
	w.awaitBroker()
}

func (w *linkWorld) admin(args ...string) string {
	w.t.Helper()
	r := command(w.t, w.dir, "broker", append(args, "--server", "https://"+w.api, "--ca", "ca.pem", "--key-file", w.path("data/admin.key"))...)
	if r.code != 0 {
		w.t.Fatalf("broker %v: %d\n%s%s", args, r.code, r.out, r.errOut)
	}
	return r.out
}

// serial is the number of the certificate that a new connection is shown.
func (w *linkWorld) serial() string {
	conn, err := tls.Dial("tcp", w.api, &tls.Config{RootCAs: w.roots})
	if err != nil {
		return err.Error()
	}
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// connections are those of the worker.
func (w *linkWorld) connections() []ferry.WorkerConnection {
	w.t.Helper()
	var list struct{ Items []ferry.WorkerInfo }
	if err := json.Unmarshal([]byte(w.admin("workers", "list", "-o", "json")), &list); err != nil || len(list.Items) != 1 {
		w.t.Fatalf("workers list: %v, %+v", err, list)
	}
	return list.Items[0].Connections
}

// awaitConnected waits for the one connection of the worker, and gives it.
func (w *linkWorld) awaitConnected() (one ferry.WorkerConnection) {
	w.t.Helper()
	eventually(w.t, 20*time.Second, func() string {
		list := w.connections()
		if len(list) != 1 || list[0].Via != "/queue" {
			return fmt.Sprintf("connections: %+v", list)
		}
		one = list[0]
		return ""
	})
	return one
}

// steadyLoad is twenty messages a second; one of ten lies in a file of its own, which
// the worker fetches in chunks over its connection.
func (w *linkWorld) steadyLoad() *load {
	l := &load{w: w.world, stop: make(chan struct{}), accepted: map[string]ferry.ID{}, body: func(n int64, key string) string {
		if n%10 == 0 {
			return invoiceOf(key, ferry.InlineBody+100_000)
		}
		return kibibyte(key)
	}}
	ctx, cancel := context.WithCancel(w.t.Context())
	w.t.Cleanup(func() { cancel(); l.group.Wait() })
	for range 2 {
		l.group.Go(func() { l.run(ctx, 100*time.Millisecond) })
	}
	return l
}

// awaitDelivered waits until n more documents are in the ERP.
func (w *linkWorld) awaitDelivered(n int) {
	w.t.Helper()
	want := len(w.erp.Documents("")) + n
	eventually(w.t, 30*time.Second, func() string {
		if have := len(w.erp.Documents("")); have < want {
			return fmt.Sprintf("%d documents, not %d", have, want)
		}
		return ""
	})
}

func (w *linkWorld) checkWorker(want string) {
	w.t.Helper()
	r := command(w.t, w.dir, "worker", "check", "--config", "worker.yaml")
	if all := r.out + r.errOut; !strings.Contains(all, want) {
		w.t.Errorf("worker check does not say %q: exit code %d\n%s", want, r.code, all)
	} else if strings.Contains(all, proxyPassword) {
		w.t.Errorf("the proxy's password is shown: %s", all)
	}
}

// TestWorkerThroughProxy: a worker that has nothing but a way to a proxy, and a broker
// that has nothing open but its port with a certificate by an authority of its own.
// Under load the certificate is renewed, every connection is cut, the worker's login
// is rotated, and revoked. Every message is in the ERP exactly once.
func TestWorkerThroughProxy(t *testing.T) {
	t.Parallel()
	w := newLinkWorld(t, brokerName)
	p := startProxy(t, w.api)
	throughProxy(t, w, "http://"+p.address, func() { p.cut() })
}

func throughProxy(t *testing.T, w *linkWorld, proxyURL string, cut func()) {
	_, port, _ := net.SplitHostPort(w.api)
	url := "wss://" + net.JoinHostPort(w.host, port) + "/queue"
	w.startBroker()
	told := w.admin("workers", "add", "erp-worker", "--routes", invoices, "--out", "erp-worker.nk")
	for _, line := range []string{"url: " + url, "nkey: erp-worker.nk", "ca: ca.pem"} {
		if !strings.Contains(told, line) {
			t.Errorf("workers add does not print %q:\n%s", line, told)
		}
	}
	w.write("proxy.pw", proxyPassword+"\n")
	w.write("wrong.pw", "something else\n")
	queue := func(nkey, password, ca string) {
		w.workerQueueIs(fmt.Sprintf(`url: %q, nkey: ./%s, ca: ./%s, proxy: %q, proxyAuth: {username: %s, password: "file:./%s"}`, url, nkey, ca, proxyURL, proxyUser, password))
	}
	queue("erp-worker.nk", "wrong.pw", "ca.pem")
	w.checkWorker("refuses the login that it was shown (4")
	w.writePair("stranger", mint(t, &x509.Certificate{Subject: pkix.Name{CommonName: "stranger"}, IsCA: true, BasicConstraintsValid: true}, nil))
	queue("erp-worker.nk", "proxy.pw", "stranger.pem")
	w.checkWorker("is signed by nobody whom this machine or ./stranger.pem knows")
	queue("erp-worker.nk", "proxy.pw", "ca.pem")
	w.checkWorker("well    queue " + url)

	w.startWorker()
	w.awaitGranted()
	first := w.awaitConnected()
	l := w.steadyLoad()
	w.awaitDelivered(10)

	// Renewed: who is connected stays so, and who comes sees the new one.
	serial := w.renew()
	eventually(t, 30*time.Second, func() string {
		if shown := w.serial(); shown != serial {
			return "the certificate shown is " + shown
		}
		return ""
	})
	if still := w.connections(); len(still) != 1 || still[0] != first {
		t.Errorf("the worker's connection is %+v, and was %+v", still, first)
	}
	w.awaitDelivered(5)
	cut()
	w.awaitDelivered(20)
	if again := w.awaitConnected(); again == first {
		t.Errorf("it is still the connection that was cut: %+v", again)
	}

	// Rotated: the old one ends at once, the new one works.
	w.admin("workers", "rotate", "erp-worker", "--out", "second.nk", "--note", "yearly")
	w.awaitRefused()
	w.worker.kill()
	queue("second.nk", "proxy.pw", "ca.pem")
	w.startWorker()
	w.awaitDelivered(20)

	// Revoked: not one call begins later than a second.
	w.admin("workers", "revoke", "erp-worker", "--note", "the machine was stolen")
	time.Sleep(time.Second)
	if list := w.connections(); len(list) != 0 {
		t.Errorf("the revoked worker is connected: %+v", list)
	}
	documents := w.documentsAtRest()
	l.awaitMore(10)
	if late := len(w.erp.Documents("")) - documents; late != 0 {
		t.Errorf("%d documents came after the worker was revoked", late)
	}
	w.awaitRefused()
	w.worker.kill()
	w.checkWorker("FAILED  queue " + url)

	w.admin("workers", "add", "erp-worker", "--routes", invoices, "--out", "third.nk")
	queue("third.nk", "proxy.pw", "ca.pem")
	w.startWorker()
	accepted := l.end()
	w.wantOnce(accepted)
	if strings.Contains(w.worker.out.String(), proxyPassword) {
		t.Error("the worker's log has the proxy's password")
	}
	t.Logf("%d messages, each in the ERP exactly once", len(accepted))

	// A stop ends the connections of workers, too, and does not wait for them.
	if code := w.broker.stop(t, 15*time.Second); code != 0 {
		t.Errorf("the broker's exit code is %d", code)
	}
}

// awaitRefused waits until the worker says that its login is no longer taken.
func (w *linkWorld) awaitRefused() {
	w.t.Helper()
	eventually(w.t, 15*time.Second, func() string {
		if text := w.worker.out.String(); !strings.Contains(text, "it was revoked, or rotated") {
			return "the worker does not say that it was refused"
		}
		return ""
	})
}

// TestWorkerProxyOfEnvironment: HTTPS_PROXY of the worker's environment is used
// without a word in its configuration, and what it holds is nowhere shown.
func TestWorkerProxyOfEnvironment(t *testing.T) {
	t.Parallel()
	w := newLinkWorld(t, brokerName)
	p := startProxy(t, w.api)
	_, port, _ := net.SplitHostPort(w.api)
	url := "wss://" + net.JoinHostPort(brokerName, port) + "/queue"
	w.startBroker()
	w.admin("workers", "add", "erp-worker", "--routes", invoices, "--out", "erp-worker.nk")
	w.workerQueueIs(fmt.Sprintf("url: %q, nkey: ./erp-worker.nk, ca: ./ca.pem", url))
	check := func(environment ...string) *process {
		cmd := exec.Command(filepath.Join(programs, "worker"), "check", "--config", "worker.yaml")
		cmd.Env = environment
		c := startCommand(t, w.dir, "worker", cmd)
		c.exit(t, 30*time.Second)
		return c
	}
	named := "HTTPS_PROXY=http://" + proxyUser + ":" + proxyPassword + "@" + p.address
	for name, c := range map[string]struct {
		environment []string
		want        string
	}{
		"with it":         {[]string{named}, "well    queue"},
		"in small":        {[]string{strings.Replace(named, "HTTPS_PROXY", "https_proxy", 1)}, "well    queue"},
		"another login":   {[]string{strings.Replace(named, proxyUser, "other", 1)}, "refuses the login that it was shown (407)"},
		"no login":        {[]string{"HTTPS_PROXY=" + p.address}, "wants a login (407)"},
		"not for it":      {[]string{named, "NO_PROXY=.ferry.test"}, "cannot be looked up"},
		"without it":      {nil, "cannot be looked up"},
		"nobody is there": {[]string{"HTTPS_PROXY=http://u:" + proxyPassword + "@" + freePort(t)}, "cannot be reached: connection refused"},
		"no URL":          {[]string{"HTTPS_PROXY=http://u:" + proxyPassword + "@[::"}, "HTTPS_PROXY in the environment is not the URL of a proxy"},
	} {
		if text := check(c.environment...).out.String(); !strings.Contains(text, c.want) || strings.Contains(text, proxyPassword) {
			t.Errorf("%s: %s, want %q", name, text, c.want)
		}
	}
}

// TestWorkerThroughRealProxy is TestWorkerThroughProxy through a proxy that others
// wrote.
func TestWorkerThroughRealProxy(t *testing.T) {
	program := os.Getenv("FERRY_TINYPROXY")
	if program == "" {
		t.Skip("FERRY_TINYPROXY is not set: make test-all installs tinyproxy")
	}
	w := newLinkWorld(t, "127.0.0.1")
	_, port, _ := net.SplitHostPort(w.api)
	listen := freePort(t)
	host, own, _ := net.SplitHostPort(listen)
	w.write("tinyproxy.conf", fmt.Sprintf("Port %s\nListen %s\nTimeout 600\nMaxClients 50\nAllow 127.0.0.1\nBasicAuth %s %s\nConnectPort %s\nLogLevel Connect\n", own, host, proxyUser, proxyPassword, port))
	start := func() *process {
		t.Helper()
		p := startCommand(t, w.dir, "tinyproxy", exec.Command(program, "-d", "-c", "tinyproxy.conf"))
		eventually(t, 10*time.Second, func() string {
			conn, err := net.Dial("tcp", listen)
			if err != nil {
				return err.Error()
			}
			_ = conn.Close()
			return ""
		})
		return p
	}
	p := start()
	throughProxy(t, w, "http://"+listen, func() {
		p.kill()
		p = start()
	})
	if text := p.out.String(); !strings.Contains(text, "127.0.0.1:"+port) && !strings.Contains(text, "CONNECT") {
		t.Errorf("the proxy passed nothing on: %s", text)
	}
}

// documentsAtRest waits out the calls that were begun already, and counts the ERP's
// documents.
func (w *world) documentsAtRest() int {
	w.t.Helper()
	n := len(w.erp.Documents(""))
	for range 100 {
		time.Sleep(500 * time.Millisecond)
		now := len(w.erp.Documents(""))
		if now == n {
			return n
		}
		n = now
	}
	w.t.Fatal("documents come and come")
	return 0
}

package config

import (
	"net/netip"
	"net/url"
	"strings"
	"time"

	"ferry/secret"
)

// Words of WorkerNATS.Proxy.
const (
	ProxyEnv = "env" // HTTPS_PROXY and NO_PROXY of the environment
	ProxyOff = "off"
)

// ProxyAuth is a login at an HTTP proxy, by HTTP basic.
type ProxyAuth struct {
	Username string     `yaml:"username"`
	Password secret.Ref `yaml:"password"`
}

// Seed is NKey as a reference.
func (n WorkerNATS) Seed() secret.Ref { return seedRef(n.NKey) }

// Web says whether the URL is a WebSocket's, on the port of the broker's API.
func (n WorkerNATS) Web() bool {
	scheme, _, _ := strings.Cut(n.URL, "://")
	return scheme == "wss" || scheme == "ws"
}

func (n WorkerNATS) check(d *decoder, path string) {
	at := path + ".url"
	scheme, _, _ := strings.Cut(n.URL, "://")
	switch {
	case n.URL == "":
		d.at(at, "add queue: {nats: {url: wss://HOST/queue}}, or nats://HOST:4222 for a broker in the same network", "%s is missing", at)
	case n.Web():
		n.checkWeb(d, at)
	case scheme == "https" || scheme == "http":
		d.at(at, "write wss://HOST/queue", "%s: workers connect to the broker by a WebSocket, not by %s", at, scheme)
	default:
		d.checkNATSURLs(at, n.URL, "nats", "tls")
	}
	n.checkProxy(d, path)
	if d.has(path + ".ca") {
		d.checkFile(path+".ca", n.CA)
		if scheme == "nats" || scheme == "ws" {
			d.at(path+".ca", "write wss:// or tls:// in the url, or take ca out", "%s.ca is for a way with TLS, and %s.url has none", path, path)
		}
	}
	d.checkSpan(path+".lock", int64(n.Lock), int64(5*time.Second), int64(15*time.Minute), showDuration)
	d.checkNKey(path+".nkey", n.NKey, "name the file that `broker workers add NAME --out FILE` wrote")
}

// checkWeb wants one URL; without TLS one of this machine, unless that is said.
func (n WorkerNATS) checkWeb(d *decoder, at string) {
	d.checkURL(at, n.URL, "wss://broker.example/queue", "wss", "ws")
	u, err := url.Parse(n.URL)
	if err != nil || u.Hostname() == "" {
		return // checkURL has told
	}
	if strings.Contains(n.URL, ",") {
		d.at(at, "one broker has one URL", "%s: there can be only one URL with %s", at, u.Scheme)
		return
	}
	if u.Path == "" || u.Path == "/" {
		d.at(at, "write "+u.Scheme+"://"+u.Host+"/queue", "%s has no path", at)
	}
	if u.Scheme == "ws" && !n.Plaintext && !isOwnMachine(u.Hostname()) {
		d.at(at, "use wss://; or plaintext: true where everything between the two machines may read and change the messages",
			"%s: ws sends everything in the clear, and %s is another machine", at, u.Hostname())
	}
}

// isOwnMachine says whether a host can only be this machine.
func isOwnMachine(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func (n WorkerNATS) checkProxy(d *decoder, path string) {
	at := path + ".proxy"
	wss := strings.HasPrefix(n.URL, "wss://")
	if (d.has(at) || d.has(path+".proxyAuth")) && n.Proxy != ProxyOff && n.URL != "" && !wss {
		d.at(at, "write wss:// in the url, or take the proxy out", "%s is for a wss url: a proxy passes nothing else on", at)
		return
	}
	switch n.Proxy {
	case ProxyEnv, ProxyOff, "":
	default:
		// A password in it would stand in the file literally.
		d.checkURL(at, n.Proxy, "http://proxy.example:3128", "http", "https")
		if u, err := url.Parse(n.Proxy); err == nil && u.Host != "" && u.Path != "" && u.Path != "/" {
			d.at(at, "write http://HOST:PORT", "%s has a path, which a proxy does not have", at)
		}
	}
	auth := path + ".proxyAuth"
	switch given := d.has(auth); {
	case given && n.Proxy == ProxyOff:
		d.at(auth, "take one of the two out", "%s is given, and %s is off", auth, at)
	case given && (n.ProxyAuth.Username == "" || n.ProxyAuth.Password == ""):
		d.at(auth, "proxyAuth: {username: NAME, password: env:NAME}", "%s: username and password are both needed", auth)
	case strings.Contains(n.ProxyAuth.Username, ":"):
		d.at(auth+".username", "", "%s.username has a colon, which HTTP basic cannot carry", auth)
	}
}

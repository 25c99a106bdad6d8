package natsqueue

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"ferry"
	"ferry/queue"
)

// Unwrap makes it a fault at the edge, and queue.ErrUnavailable.
func (e *ReachError) Unwrap() []error { return []error{e.fault, queue.ErrUnavailable} }

// way is one attempt to reach the broker, and what became known on it.
type way struct {
	to      *url.URL
	ca      string
	through *url.URL // the proxy; nil: none
	showed  bool     // a login was shown to the proxy
}

// proxyRefusal is a proxy's answer that is not a way through.
type proxyRefusal struct {
	status  int
	schemes []string // of Proxy-Authenticate
}

func (e *proxyRefusal) Error() string { return fmt.Sprintf("the proxy answers %d", e.status) }

// proxyLogin says that the login for the proxy cannot be read.
type proxyLogin struct{ error }

func (e *proxyLogin) Unwrap() error { return e.error }

// fault says in a sentence why the attempt failed. answer is the broker's, or that of
// something before it; nil: there was none.
func (w *way) fault(answer *http.Response, err error) error {
	if answer != nil {
		return w.answered(answer, err)
	}
	var refusal *proxyRefusal
	var login *proxyLogin
	var op *net.OpError
	switch {
	case errors.As(err, &refusal):
		return w.refused(refusal)
	case errors.As(err, &login):
		return unreachable("the password for the proxy %s cannot be read: %w", w.proxy(), login.error).hint("queue.nats.proxyAuth in worker.yaml names it")
	case errors.As(err, &op) && op.Op == "proxyconnect":
		return unreachable("the proxy %s cannot be reached: %s", w.proxy(), cause(op.Err)).
			hint("is queue.nats.proxy in worker.yaml, or HTTPS_PROXY in the environment, right? proxy: off goes without")
	}
	if w.through != nil && timedOut(err) {
		return unreachable("%s did not answer in time through the proxy %s", hostPort(w.to), w.proxy()).hint("is the broker running, and may the proxy reach it?")
	}
	return netFault(w.to, w.ca, err)
}

func (w *way) proxy() string {
	if w.through == nil {
		return "of the environment"
	}
	return w.through.Scheme + "://" + w.through.Host // never who logs in
}

func (w *way) refused(e *proxyRefusal) error {
	target := hostPort(w.to)
	switch e.status {
	case http.StatusProxyAuthRequired, http.StatusUnauthorized: // some answer 401 to a wrong password
		return w.wantsLogin(e)
	case http.StatusForbidden, http.StatusMethodNotAllowed:
		return unreachable("the proxy %s does not let this worker through to %s (%d)", w.proxy(), target, e.status).
			hint("have CONNECT to %s allowed there for this machine", target)
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusInternalServerError:
		return unreachable("the proxy %s cannot reach %s (%d)", w.proxy(), target, e.status).
			hint("is the broker running, and does the proxy know its name?")
	default:
		return unreachable("the proxy %s answers %d to CONNECT %s", w.proxy(), e.status, target).hint("is this an HTTP proxy that takes CONNECT?")
	}
}

func (w *way) wantsLogin(e *proxyRefusal) error {
	switch {
	case len(e.schemes) > 0 && !slices.ContainsFunc(e.schemes, offersBasic):
		return unreachable("the proxy %s wants a login of another kind than HTTP basic (%d)", w.proxy(), e.status).
			hint("have this machine let through without one, or name a local proxy in queue.nats.proxy that logs in there, such as Px or CNTLM")
	case w.showed:
		return unreachable("the proxy %s refuses the login that it was shown (%d)", w.proxy(), e.status).
			hint("check queue.nats.proxyAuth in worker.yaml, or what is in HTTPS_PROXY")
	default:
		return unreachable("the proxy %s wants a login (%d)", w.proxy(), e.status).
			hint("queue.nats.proxyAuth: {username: NAME, password: env:NAME} in worker.yaml")
	}
}

// offersBasic says whether a line of Proxy-Authenticate offers HTTP basic. A line may
// offer several ways, between commas, as it has between the parameters of one; those
// inside quotes part nothing.
func offersBasic(line string) bool {
	quoted, escaped := false, false
	for part := range strings.FieldsFuncSeq(line, func(r rune) bool {
		switch {
		case escaped:
			escaped = false
		case quoted && r == '\\':
			escaped = true
		case r == '"':
			quoted = !quoted
		}
		return r == ',' && !quoted
	}) {
		scheme, _, _ := strings.Cut(strings.TrimSpace(part), " ")
		if strings.EqualFold(scheme, "basic") {
			return true
		}
	}
	return false
}

// nothingHere is what a broker says of a path that it does not have.
const nothingHere = "there is nothing at this path"

// answered says what an answer means that is no WebSocket.
func (w *way) answered(r *http.Response, err error) error {
	shown := shownURL(w.to)
	var told struct{ Code, Detail, Hint string }
	if r.Body != nil {
		text, _ := io.ReadAll(io.LimitReader(r.Body, 4<<10)) // the library has kept its beginning
		if strings.Contains(r.Header.Get("Content-Type"), "json") {
			_ = json.Unmarshal(text, &told) // what is not a broker's problem tells nothing
		}
	}
	switch status := r.StatusCode; {
	case told.Code == string(ferry.CodeNotFound) && told.Detail == nothingHere:
		return unreachable("the broker at %s has nothing at this path (%d)", shown, status).
			hint("is the path /queue, below what publicUrl of broker.yaml says? a broker of an older version has none: use nats://")
	case told.Code != "" && told.Detail != "":
		return unreachable("the broker at %s answers %d: %s", shown, status, clip(told.Detail)).hint("%s", clip(told.Hint))
	case status == http.StatusNotFound:
		return unreachable("there is no broker's queue at %s (404)", shown).
			hint("is the path right, and does the host name lead to the broker? https://%s/healthz answers where it does", w.to.Host)
	case status >= 300 && status < 400:
		where := "elsewhere"
		if u, err := url.Parse(r.Header.Get("Location")); err == nil && u.Host != "" {
			where = "to " + clip(u.Host+u.Path)
		}
		return unreachable("%s leads %s (%d), and a worker follows nowhere", shown, where, status).hint("write the broker's own address into queue.nats.url")
	case status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout:
		return unreachable("what stands before the broker at %s answers %d: the broker cannot be reached behind it", shown, status).hint("is the broker running?")
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return unreachable("what stands before the broker at %s refuses this worker (%d)", shown, status).hint("have it let /queue through: the worker logs in at the broker by its nkey")
	case status == http.StatusSwitchingProtocols:
		return unreachable("the answer of %s is no WebSocket's: %w", shown, err)
	default:
		return unreachable("%s answers %d, as a web page does, and not as a broker's queue", shown, status).
			hint("is the path right, and does whatever stands before the broker pass WebSockets on?")
	}
}

// netFault says why a connection to a broker, or to a NATS server, was not made.
func netFault(to *url.URL, ca string, err error) error {
	target := hostPort(to)
	var (
		unknown  x509.UnknownAuthorityError
		name     x509.HostnameError
		invalid  x509.CertificateInvalidError
		noTLS    tls.RecordHeaderError
		alert    tls.AlertError
		dns      *net.DNSError
		verified *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &unknown):
		by := ""
		if unknown.Cert != nil && unknown.Cert.Issuer.String() != "" {
			by = ", " + clip(unknown.Cert.Issuer.String())
		}
		if ca == "" {
			return unreachable("the certificate of %s is signed by nobody whom this machine knows%s", target, by).
				hint("name the file of who signed it as queue.nats.ca; is it signed by a proxy that looks into TLS, have %s left out there", target)
		}
		return unreachable("the certificate of %s is signed by nobody whom this machine or %s knows%s", target, ca, by).
			hint("queue.nats.ca must hold who signed the certificate, or the certificate itself")
	case errors.As(err, &name):
		names := "no host"
		if name.Certificate != nil && len(name.Certificate.DNSNames)+len(name.Certificate.IPAddresses) > 0 {
			names = clip(fmt.Sprint(append(name.Certificate.DNSNames, ipTexts(name.Certificate.IPAddresses)...)))
		}
		return unreachable("the certificate of %s is for %s, not for %s", target, names, to.Hostname()).
			hint("write a name of the certificate into queue.nats.url, or have one made for %s", to.Hostname())
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		when := ""
		if invalid.Cert != nil {
			when = fmt.Sprintf(": it is good from %s until %s", invalid.Cert.NotBefore.UTC().Format(time.RFC3339), invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
		}
		return unreachable("the certificate of %s is not good now%s", target, when).hint("renew it at the broker; and look at this machine's clock")
	case errors.As(err, &verified):
		return unreachable("the certificate of %s cannot be trusted: %s", target, clip(verified.Err.Error()))
	case errors.As(err, &noTLS), errors.Is(err, http.ErrSchemeMismatch):
		return unreachable("%s speaks no TLS", target).hint("is the port right? a broker without tls: in broker.yaml, and without a proxy before it, is reached by ws:// or nats://")
	case errors.As(err, &alert):
		return unreachable("%s refuses the TLS connection: %s", target, clip(alert.Error()))
	case errors.As(err, &dns):
		return unreachable("the name %s cannot be looked up: %s", dns.Name, clip(dns.Err)).
			hint("is the name in queue.nats.url right? where only a proxy knows it, set queue.nats.proxy")
	case errors.Is(err, syscall.ECONNREFUSED):
		return unreachable("nothing listens at %s: connection refused", target).hint("is the broker running, and does queue.nats.url name its address?")
	case timedOut(err):
		return unreachable("%s did not answer in time", target).hint("is the address right, and is the way open? where only a proxy leads out, set queue.nats.proxy")
	default:
		return unreachable("%s cannot be reached: %s", target, clip(cause(err))).hint("is the broker running, and does queue.nats.url name its queue's address?")
	}
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

func ipTexts(ips []net.IP) []string {
	list := make([]string, len(ips))
	for i, ip := range ips {
		list[i] = ip.String()
	}
	return list
}

// cause is the innermost text of an error: what is around it repeats addresses.
func cause(err error) string {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return clip(err.Error())
}

// clip bounds what somebody else said.
func clip(s string) string {
	const most = 300
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	switch u.Scheme {
	case "wss", "https":
		return u.Host + ":443"
	case "ws", "http":
		return u.Host + ":80"
	default:
		return u.Host + ":4222"
	}
}

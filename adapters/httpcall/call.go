package httpcall

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"syscall"

	"ferry"
	"ferry/trace"
)

// MaxAnswer is how much of an answer's body is read, in bytes.
const MaxAnswer = 1 << 20

// Failure says what kept an answer away.
type Failure string

// The failures.
const (
	FailureNone      Failure = ""
	FailureCancelled Failure = "cancelled" // the caller gave up
	FailureTimeout   Failure = "timeout"
	FailureRefused   Failure = "refused"  // nobody listens there
	FailureDNS       Failure = "dns"      // the name cannot be resolved
	FailureTLS       Failure = "tls"      // certificates do not fit: theirs or ours
	FailureCut       Failure = "cut"      // the connection ended early
	FailureProtocol  Failure = "protocol" // what came is not HTTP, or the request could not be made
)

// Answer is what came of a call.
type Answer struct {
	Status    int // 0: no answer, see Failure
	Header    http.Header
	Body      []byte // at most MaxAnswer
	Truncated bool   // the body was longer
	BodyErr   error  // the body ended early; Body is what came

	Failure Failure
	Effect  ferry.Effect // without an answer: none or maybe
	Err     error        // without an answer; its text is masked
}

// NewRequest makes a request that is sent at most once when method may write.
// The body is read while it is sent: leave it as it is.
func NewRequest(ctx context.Context, method, address string, body []byte) (*http.Request, error) {
	return NewStream(ctx, method, address, ferry.NewBodyReader(body), int64(len(body)))
}

// NewStream is NewRequest with a body of size bytes that is read while it is sent,
// and closed when it was, also on an error. To send it again, open it again.
func NewStream(ctx context.Context, method, address string, body io.ReadCloser, size int64) (*http.Request, error) {
	u, err := url.Parse(address)
	if err != nil {
		_ = body.Close() // it was read only
		return nil, errors.New(MaskText(err.Error()))
	}
	return NewStreamTo(ctx, method, u, body, size)
}

// NewStreamTo is NewStream with an address that was read before. It is not altered.
func NewStreamTo(ctx context.Context, method string, u *url.URL, body io.ReadCloser, size int64) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, "", nil)
	if err != nil {
		_ = body.Close() // it was read only
		return nil, errors.New(MaskText(err.Error()))
	}
	own := *u
	req.URL, req.Host = &own, u.Host
	if size <= 0 {
		_ = body.Close()
		return req, nil
	}
	if m, ok := ferry.InMemory(body); ok {
		// A type that net/http knows: headers and body leave in one packet.
		body = io.NopCloser(m)
	}
	// Without GetBody the body cannot be rewound, and so is never sent again.
	req.Body, req.ContentLength = body, size
	return req, nil
}

// Do makes the call, by the deadline of req's context, and reads the answer.
func Do(rt http.RoundTripper, req *http.Request) *Answer {
	req, span := trace.Request(req)
	a := do(rt, req)
	span.Answered(a.Status)
	return a
}

func do(rt http.RoundTripper, req *http.Request) *Answer {
	w := newWatch()
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &w.trace))
	if req.Body == nil && writes(req.Method) {
		hideReplayKeys(req)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return failed(req.Context(), err, w.effect())
	}
	defer func() { _ = resp.Body.Close() }() // all that is wanted was read
	a := &Answer{Status: resp.StatusCode, Header: resp.Header}
	a.read(resp)
	return a
}

func (a *Answer) read(resp *http.Response) {
	if n := resp.ContentLength; n >= 0 && n <= MaxAnswer {
		a.Body = make([]byte, n)
		var came int
		came, a.BodyErr = io.ReadFull(resp.Body, a.Body)
		a.Body = a.Body[:came]
		return
	}
	var buf bytes.Buffer
	_, a.BodyErr = buf.ReadFrom(io.LimitReader(resp.Body, MaxAnswer+1))
	a.Body = buf.Bytes()
	if len(a.Body) > MaxAnswer {
		a.Body, a.Truncated = a.Body[:MaxAnswer], true
	}
}

// Whole says whether all of the answer's body was read.
func (a *Answer) Whole() bool { return !a.Truncated && a.BodyErr == nil }

// hideReplayKeys keeps net/http from sending a request without a body again:
// it looks for two headers by their canonical spelling, and case means nothing
// to the server. (A request of which nothing was written may still be sent on
// another connection, which is harmless.)
func hideReplayKeys(req *http.Request) {
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if v, ok := req.Header[name]; ok {
			delete(req.Header, name)
			req.Header[strings.ToLower(name)] = v
		}
	}
}

func writes(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return false
	}
	return true
}

func failed(ctx context.Context, err error, effect ferry.Effect) *Answer {
	failure := failureOf(ctx, err)
	if failure == FailureTLS {
		// Certificates are settled before the destination reads a request.
		effect = ferry.EffectNone
	}
	if failure == FailureRefused || failure == FailureDNS {
		effect = ferry.EffectNone
	}
	return &Answer{Failure: failure, Effect: effect, Err: errors.New(cutText(MaskText(err.Error()), ferry.MaxAttemptText))}
}

func failureOf(ctx context.Context, err error) Failure {
	var (
		dns     *net.DNSError
		verify  *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		timeout net.Error
	)
	switch {
	case errors.Is(ctx.Err(), context.Canceled), errors.Is(err, context.Canceled):
		return FailureCancelled
	case errors.As(err, &verify), errors.As(err, &unknown), errors.As(err, &host), errors.As(err, &invalid):
		return FailureTLS
	case refusesCertificate(err):
		return FailureTLS
	case errors.As(err, &dns) && !dns.IsTimeout:
		return FailureDNS
	// Windows has an error number of its own for it.
	case isDial(err) && (errors.Is(err, syscall.ECONNREFUSED) || strings.Contains(err.Error(), "refused")):
		return FailureRefused
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return FailureTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed), isDial(err), strings.Contains(err.Error(), "server closed idle connection"):
		return FailureCut
	default:
		return FailureProtocol
	}
}

// refusesCertificate says whether the other side refused our certificate, or the
// lack of one. crypto/tls gives its alerts a type of its own that is not
// exported, so that the words have to do: RFC 8446, section 6.2.
func refusesCertificate(err error) bool {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" || op.Err == nil {
		return false
	}
	text := op.Err.Error()
	return strings.Contains(text, "certificate") || strings.Contains(text, "access denied")
}

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect")
}

package httpauth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"

	"github.com/Azure/go-ntlmssp"

	"ferry/secret"
)

// ntlm logs connections on with a Windows user name and password, by NTLM
// version 2. NTLM belongs to a connection (MS-NTHT): all steps go over the same
// one, which then stays logged on. So each call has a connection of its own, from
// [lanes].
//
// The first step asks HEAD, without a body, and the second one bears the request
// itself: its body leaves once, over a connection whose logon it completes or
// that is logged on.
type ntlm struct {
	cfg Config
	source
	refused refusal
	// eachTime: the destination forgets a logon after one request, so that each
	// one needs its own. It is found out: see Refused.
	eachTime atomic.Bool
	suspect  atomic.Bool
}

// logon is the logon of one request, from Apply to Refused.
type logon struct {
	user     string
	password secret.Value
	print    string
	stale    atomic.Bool // a connection was not logged on any more, and the body is gone
}

// logonKey is the key of a logon in a context.
type logonKey struct{}

// Apply reads the password and leaves it with the request, for the transport.
func (n *ntlm) Apply(req *http.Request) error {
	password, err := n.resolver.Resolve(n.ref)
	if err != nil {
		return err
	}
	l := &logon{user: n.cfg.Username, password: password, print: n.Fingerprint()}
	if n.cfg.Domain != "" {
		l.user = n.cfg.Domain + `\` + n.cfg.Username
	}
	*req = *req.WithContext(context.WithValue(req.Context(), logonKey{}, l))
	return nil
}

func (n *ntlm) Show(req *http.Request) { req.Header.Set("Authorization", "NTLM "+Mask) }

func (n *ntlm) Redact(text string) string { return n.redact(text) }

// Refused: a connection that was logged on was answered with 401. That its body
// cannot be sent again here does not make the password wrong: the request is made
// once more, with a logon. When that helps, the destination wants one each time.
func (n *ntlm) Refused(req *http.Request) bool {
	l, ok := req.Context().Value(logonKey{}).(*logon)
	if !ok || !l.stale.Load() {
		return false
	}
	n.suspect.Store(true)
	return true
}

// Wrap gives each call a connection of its own.
func (n *ntlm) Wrap(base http.RoundTripper) http.RoundTripper {
	transport, ok := base.(*http.Transport)
	if !ok {
		return unfit{}
	}
	return &lanes{ntlm: n, base: transport}
}

// unfit stands where connections cannot be told apart.
type unfit struct{}

func (unfit) RoundTrip(req *http.Request) (*http.Response, error) {
	closeBody(req)
	return nil, errors.New("ntlm needs connections of net/http")
}

// send makes the request over the lane's connection.
func (n *ntlm) send(lane *lane, req *http.Request, l *logon) (*http.Response, error) {
	body := hold(req)
	resp, err := n.sendHeld(lane, req, l, body)
	if err != nil {
		body.release()
	}
	return resp, err
}

func (n *ntlm) sendHeld(lane *lane, req *http.Request, l *logon, body *heldBody) (*http.Response, error) {
	if lane.loggedOn == l.print && !n.eachTime.Load() && !n.suspect.Load() {
		resp, err := lane.again(req)
		switch {
		case errors.Is(err, errOtherConnection):
			// It was closed meanwhile; nothing was sent.
		case err != nil:
			return nil, err
		case !challenges(resp):
			return resp, nil
		case body != nil:
			lane.loggedOn = ""
			l.stale.Store(true)
			return resp, nil
		default:
			drain(resp)
		}
	}
	if lane.loggedOn != l.print {
		lane.rt.CloseIdleConnections() // nothing of another identity
	}
	lane.loggedOn = ""
	if n.refused.stands(l.print) {
		return refusedBefore(req, body), nil
	}
	resp, proved, err := n.logOn(lane, req, l)
	if err != nil || !proved {
		return resp, err
	}
	if challenges(resp) {
		n.suspect.Store(false)
		n.refused.note(l.print)
		return resp, nil
	}
	if n.suspect.CompareAndSwap(true, false) {
		n.eachTime.Store(true)
	}
	lane.loggedOn = l.print
	return resp, nil
}

// logOn makes the steps, the last one with the request itself. proved: the
// password was put to the proof.
func (n *ntlm) logOn(lane *lane, req *http.Request, l *logon) (resp *http.Response, proved bool, err error) {
	first, err := lane.challenge(req)
	switch {
	case err != nil:
		return nil, false, fmt.Errorf("ntlm, first step: %w", err)
	case first.busy != nil:
		return first.busy, false, nil
	case first.challenge == nil:
		lane.dials.Store(true)
		resp, err = lane.rt.RoundTrip(req) // it asks for no logon
		return resp, false, err
	}
	answer, err := ntlmssp.NewAuthenticateMessage(first.challenge, l.user, l.password.Reveal(), nil)
	if err != nil {
		return nil, false, fmt.Errorf("ntlm: the challenge cannot be answered: %w", err)
	}
	last := req.Clone(req.Context())
	last.Header.Set("Authorization", first.scheme+" "+base64.StdEncoding.EncodeToString(answer))
	resp, err = lane.again(last)
	if errors.Is(err, errOtherConnection) {
		return nil, false, errors.New("ntlm: the connection is closed between the steps of the logon: by the destination, or a proxy on the way")
	}
	return resp, true, err
}

// firstStep is what came of the first step: a challenge, or an answer in the place
// of the request's own, or neither: no logon is wanted.
type firstStep struct {
	scheme    string
	challenge []byte
	busy      *http.Response
}

// challenge makes the first step: HEAD with what we can, answered with a
// challenge. Where HEAD is not known, GET asks; it writes nothing either, and is
// answered before anything is looked up.
func (l *lane) challenge(req *http.Request) (firstStep, error) {
	hello, err := ntlmssp.NewNegotiateMessage("", "")
	if err != nil {
		return firstStep{}, err
	}
	l.dials.Store(true)
	for _, method := range []string{http.MethodHead, http.MethodGet} {
	schemes:
		for _, scheme := range []string{"NTLM", "Negotiate"} {
			// Without the trace of the request: what these steps write is not the request.
			ask := (&http.Request{Method: method, URL: req.URL, Host: req.Host, Header: http.Header{}}).WithContext(bare{req.Context()})
			ask.Header.Set("Authorization", scheme+" "+base64.StdEncoding.EncodeToString(hello))
			resp, err := l.rt.RoundTrip(ask)
			if err != nil {
				return firstStep{}, err
			}
			switch status := resp.StatusCode; {
			case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
				return firstStep{busy: resp}, nil // nothing was sent, which is what they mean
			case status >= 500 && status != http.StatusNotImplemented:
				drain(resp)
				return firstStep{}, fmt.Errorf("the destination answers with status %d", status)
			case status == http.StatusUnauthorized:
				drain(resp)
				if token := offer(resp.Header, scheme); len(token) > 0 {
					return firstStep{scheme: scheme, challenge: token}, nil
				}
			case method == http.MethodHead && unknownMethod(status):
				drain(resp)
				break schemes
			default:
				drain(resp)
				return firstStep{}, nil
			}
		}
	}
	return firstStep{}, nil
}

func unknownMethod(status int) bool {
	return status == http.StatusNotFound || status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented
}

// offer is the token that an answer holds for a scheme, in one header of several
// or in a list.
func offer(h http.Header, scheme string) []byte {
	for _, line := range h.Values("Www-Authenticate") {
		for _, part := range strings.Split(line, ",") {
			name, token, _ := strings.Cut(strings.TrimSpace(part), " ")
			if !strings.EqualFold(name, scheme) {
				continue
			}
			if data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(token)); err == nil && len(data) > 0 {
				return data
			}
		}
	}
	return nil
}

// challenges says whether an answer asks for a logon.
func challenges(resp *http.Response) bool {
	if resp.StatusCode != http.StatusUnauthorized {
		return false
	}
	for _, line := range resp.Header.Values("Www-Authenticate") {
		for _, part := range strings.Split(line, ",") {
			if name, _, _ := strings.Cut(strings.TrimSpace(part), " "); strings.EqualFold(name, "NTLM") || strings.EqualFold(name, "Negotiate") {
				return true
			}
		}
	}
	return false
}

// refusedBefore answers in the place of the destination, which refused the same
// password a moment ago.
func refusedBefore(req *http.Request, body *heldBody) *http.Response {
	body.release()
	return &http.Response{
		Status: "401 Unauthorized", StatusCode: http.StatusUnauthorized, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"text/plain"}}, Request: req,
		Body: io.NopCloser(strings.NewReader("the same password was refused a moment ago")), ContentLength: -1,
	}
}

// lookingForConnection tells who follows the request that a connection is looked
// for: when the first steps fail, nothing of the request was sent.
func lookingForConnection(req *http.Request) {
	if t := httptrace.ContextClientTrace(req.Context()); t != nil && t.GetConn != nil {
		t.GetConn(req.URL.Host)
	}
}

// bare is a context without values.
type bare struct{ context.Context }

func (bare) Value(any) any { return nil }

// drain makes a connection ready for the next request.
func drain(resp *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 256<<10))
	_ = resp.Body.Close() // of an answer that is not looked at
}

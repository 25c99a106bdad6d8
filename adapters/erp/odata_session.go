package erp

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"ferry/adapters/httpcall"
	"ferry/httpauth"
)

// Bounds of a session of SAP Gateway.
const (
	maxCookies     = 50
	maxCookieBytes = 16 << 10 // of all of them
	maxTokenBytes  = 1 << 10
	keptSessions   = 4 // whose secrets are taken out of texts, the current one with them
	shortestHidden = 8 // bytes: a shorter value would garble texts and protect nothing
)

const csrfHeader = "X-CSRF-Token"

// sapSession is the CSRF token of one service and the cookies that it goes with:
// SAP Gateway takes no request that writes without both. They are fetched once for
// all deliveries, and again when the service says that they are over.
type sapSession struct {
	d *destination

	mu       sync.Mutex
	current  *sapTicket
	fetching chan struct{} // closed when the fetch that is under way ends
	failed   error         // what the last fetch came to
	kept     []*sapTicket  // for redaction, the newest last
}

// sapTicket is what one fetch gave; neither changes afterwards.
type sapTicket struct {
	token   string // "": the service hands out none
	cookies []string
}

func newSAPSession(d *destination) session { return &sapSession{d: d} }

// prepare puts token and cookies on a request. Who only reads needs no token, and
// begins no session.
func (s *sapSession) prepare(ctx context.Context, req *http.Request) error {
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		s.mu.Lock()
		ticket := s.current
		s.mu.Unlock()
		if ticket != nil {
			ticket.putCookies(req)
		}
		return nil
	}
	ticket, err := s.ticket(ctx)
	if err != nil {
		return err
	}
	if ticket.token != "" {
		req.Header.Set(csrfHeader, ticket.token)
	}
	ticket.putCookies(req)
	return nil
}

// ticket gives the current one. However many wait for it, one of them fetches; a
// fetch that fails fails for all that waited for it.
func (s *sapSession) ticket(ctx context.Context) (*sapTicket, error) {
	s.mu.Lock()
	if s.current != nil {
		defer s.mu.Unlock()
		return s.current, nil
	}
	done := s.fetching
	if done == nil {
		done = make(chan struct{})
		s.fetching = done
		// Not with this caller's deadline: others wait for it too. The destination's
		// time-out bounds it.
		go s.fetchFor(context.WithoutCancel(ctx), done)
	}
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: the CSRF token did not come in time", httpauth.ErrUnavailable)
	case <-done:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.current != nil:
		return s.current, nil
	case s.failed != nil:
		return nil, s.failed
	}
	return nil, fmt.Errorf("%w: the session ended as soon as it began", httpauth.ErrUnavailable)
}

func (s *sapSession) fetchFor(ctx context.Context, done chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, s.d.cfg.Timeout)
	defer cancel()
	ticket, err := s.fetch(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current, s.failed, s.fetching = ticket, err, nil
	if ticket != nil {
		s.kept = append(s.kept, ticket)
		if len(s.kept) > keptSessions {
			s.kept = s.kept[1:]
		}
	}
	close(done)
}

// fetch asks for a token: by HEAD and by GET, with a slash at the end and without
// one, since systems and what stands before them differ in what they take. The
// answer may be an error and bear a token all the same.
func (s *sapSession) fetch(ctx context.Context) (*sapTicket, error) {
	base, last := s.d.base, 0
	query := joinQueries(base.query)
	if query != "" {
		query = "?" + query
	}
	renewed := false
	for _, try := range []struct{ method, path string }{
		{http.MethodHead, "/"}, {http.MethodHead, ""}, {http.MethodGet, "/"}, {http.MethodGet, ""},
	} {
		a, req, err := s.ask(ctx, try.method, base.prefix+try.path+query)
		if r, ok := s.d.auth.(httpauth.Renewer); ok && err == nil && a.Status == http.StatusUnauthorized && !renewed && r.Refused(req) {
			renewed = true
			a, _, err = s.ask(ctx, try.method, base.prefix+try.path+query)
		}
		switch {
		case err != nil:
			return nil, err
		case a.Err != nil:
			return nil, fmt.Errorf("%w: fetching the CSRF token: %w", httpauth.ErrUnavailable, a.Err)
		}
		token := a.Header.Get(csrfHeader)
		if token != "" && len(token) <= maxTokenBytes && !strings.EqualFold(token, "Required") && !strings.EqualFold(token, "Fetch") {
			return &sapTicket{token: token, cookies: cookiesOf(a.Header)}, nil
		}
		if last = a.Status; last == http.StatusUnauthorized || last == http.StatusProxyAuthRequired || last == http.StatusTooManyRequests || last >= 500 && last != http.StatusNotImplemented {
			break
		}
		if try.method == http.MethodGet && last >= 200 && last <= 299 {
			return &sapTicket{cookies: cookiesOf(a.Header)}, nil // the service wants none, as behind some gateways
		}
	}
	err := fmt.Errorf("the service answers the question for a CSRF token with %d", last)
	if last == http.StatusUnauthorized || last == http.StatusForbidden || last == http.StatusProxyAuthRequired {
		return nil, fmt.Errorf("%w: %w", httpauth.ErrRefused, err)
	}
	return nil, fmt.Errorf("%w: %w; check url", httpauth.ErrUnavailable, err)
}

func (s *sapSession) ask(ctx context.Context, method, address string) (*httpcall.Answer, *http.Request, error) {
	req, err := httpcall.NewRequest(ctx, method, address, nil)
	if err != nil {
		return nil, nil, err
	}
	setAll(req.Header, s.d.cfg.Headers)
	standardHeaders(req.Header)
	req.Header.Set("Accept", "application/json")
	req.Header.Set(csrfHeader, "Fetch")
	if err := s.d.auth.Apply(req); err != nil {
		return nil, nil, err
	}
	return httpcall.Do(s.d.transport, req), req, nil
}

// cookiesOf are the cookies that an answer sets, as they go back: all of them, since
// which one the token goes with differs by system, and by what stands before it.
func cookiesOf(h http.Header) []string {
	var cookies []string
	at, size := map[string]int{}, 0
	for _, line := range h.Values("Set-Cookie") {
		cookie, _, _ := strings.Cut(line, ";")
		cookie = strings.TrimSpace(cookie)
		name, value, ok := strings.Cut(cookie, "=")
		if size += len(cookie) + 2; !ok || name == "" || value == "" || !validValue(cookie) || size > maxCookieBytes || len(cookies) >= maxCookies {
			continue
		}
		if i, again := at[name]; again {
			cookies[i] = cookie
			continue
		}
		at[name] = len(cookies)
		cookies = append(cookies, cookie)
	}
	return cookies
}

func (t *sapTicket) putCookies(req *http.Request) {
	if len(t.cookies) > 0 {
		req.Header.Set("Cookie", strings.Join(t.cookies, "; "))
	}
}

// ended: the service refuses the token, or the cookies that it goes with. Nothing
// was written, and one repeat with a fresh one makes sense.
func (s *sapSession) ended(req *http.Request, a *httpcall.Answer, _ httpcall.Problem) bool {
	over := a.Status == http.StatusForbidden && strings.EqualFold(a.Header.Get(csrfHeader), "Required")
	if !over && a.Status != http.StatusUnauthorized {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Another delivery may have noticed it first, and begun a new one.
	if s.current != nil && s.current.token == req.Header.Get(csrfHeader) {
		s.current = nil
	}
	return over
}

func (s *sapSession) show(req *http.Request) {
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		return
	}
	req.Header.Set(csrfHeader, httpauth.Mask)
	req.Header.Set("Cookie", httpauth.Mask)
}

func (s *sapSession) redact(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.kept {
		if len(t.token) >= shortestHidden {
			text = strings.ReplaceAll(text, t.token, httpauth.Mask)
		}
		for _, cookie := range t.cookies {
			_, value, _ := strings.Cut(cookie, "=")
			if len(value) >= shortestHidden && !strings.HasPrefix(value, "sap-client=") {
				text = strings.ReplaceAll(text, value, httpauth.Mask)
			}
		}
	}
	return text
}

// close leaves the session to end by itself: logging out would end it for every
// other worker of the same user.
func (*sapSession) close(context.Context) {}

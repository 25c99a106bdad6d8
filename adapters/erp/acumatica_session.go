package erp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"ferry/adapters/httpcall"
	"ferry/httpauth"
	"ferry/mapping"
)

// acumaticaSession is a session that a user name and a password log on, held by
// cookies. Licenses count sessions, often three: all routes of the destination
// share one, and it is logged out.
type acumaticaSession struct {
	d    *destination
	turn chan struct{} // taken by who logs on: the others wait, and use that session

	mu      sync.Mutex
	cookies string   // as a request sends them; "": none
	now     []string // the cookies one by one, for redaction
	before  []string // those of the session before: an answer may still quote them
	logons  int      // that ended, well or not
	failed  error    // what the last one came to
}

func newAcumaticaSession(d *destination) session {
	if !d.dialect.ownLogon {
		return nil
	}
	return &acumaticaSession{d: d, turn: make(chan struct{}, 1)}
}

func (s *acumaticaSession) prepare(ctx context.Context, req *http.Request) error {
	cookies, logons, _ := s.current()
	if cookies == "" {
		select {
		case s.turn <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("%w: the time for the call was over while it waited for a session", httpauth.ErrUnavailable)
		}
		defer func() { <-s.turn }()
		now, ended, err := s.current()
		switch cookies = now; {
		case cookies != "":
		case ended != logons && err != nil:
			return err // of the logon that this one waited for: a storm of them locks the user
		default:
			cookies, err = s.logOn(ctx)
			s.note(err)
			if err != nil {
				return err
			}
		}
	}
	req.Header.Set("Cookie", cookies)
	return nil
}

func (s *acumaticaSession) current() (cookies string, logons int, failed error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cookies, s.logons, s.failed
}

func (s *acumaticaSession) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logons++
	s.failed = err
}

// logOn makes a session. The credentials are in the body, which no one sees.
func (s *acumaticaSession) logOn(ctx context.Context) (cookies string, err error) {
	name, password, err := s.d.auth.(httpauth.Credentials).Credentials()
	if err != nil {
		return "", err
	}
	logon := map[string]any{"name": name, "password": password.Reveal()}
	if s.d.cfg.Company != "" {
		logon["company"] = s.d.cfg.Company
	}
	body, err := mapping.Encode(logon)
	if err != nil {
		return "", errors.New("the user name or the password cannot be written as JSON")
	}
	a, err := s.post(ctx, "login", body, "")
	switch {
	case err != nil:
		return "", err
	case a.Err != nil:
		return "", fmt.Errorf("%w: the logon was not answered: %w", httpauth.ErrUnavailable, a.Err)
	case a.Status < 200 || a.Status > 299:
		return "", s.logOnError(a)
	}
	list := cookiesOf(a.Header)
	if len(list) == 0 {
		return "", fmt.Errorf("%w: the logon was answered without a session", httpauth.ErrUnavailable)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cookies, s.before, s.now = strings.Join(list, "; "), s.now, list
	return s.cookies, nil
}

// logOnError judges a logon that did not succeed. A wrong password is answered
// with 500, and trying it again locks the user: all that an exception says counts
// as a refusal, but for what is known to pass.
func (s *acumaticaSession) logOnError(a *httpcall.Answer) error {
	p := acumaticaProblem(a)
	text := s.d.auth.Redact(p.Text)
	switch {
	case acumaticaFull.MatchString(p.Text):
		return fmt.Errorf("%w: all sessions of the license are in use: %s", httpauth.ErrUnavailable, text)
	case a.Status == http.StatusTooManyRequests, a.Status >= 501, a.Status == http.StatusRequestTimeout,
		strings.Contains(strings.ToLower(p.Text), "maintenance"):
		return fmt.Errorf("%w: the logon was answered with status %d: %s", httpauth.ErrUnavailable, a.Status, text)
	case a.Status == http.StatusInternalServerError && p.Code == "":
		return fmt.Errorf("%w: the logon was answered with status 500", httpauth.ErrUnavailable)
	}
	return fmt.Errorf("%w: the logon was answered with status %d: %s", httpauth.ErrRefused, a.Status, text)
}

func (s *acumaticaSession) post(ctx context.Context, act string, body []byte, cookies string) (*httpcall.Answer, error) {
	req, err := httpcall.NewRequest(ctx, http.MethodPost, s.d.base.under("/entity/auth/"+act, ""), body)
	if err != nil {
		return nil, err
	}
	setAll(req.Header, s.d.cfg.Headers)
	standardHeaders(req.Header)
	req.Header.Set("Content-Type", "application/json")
	if cookies != "" {
		req.Header.Set("Cookie", cookies)
	}
	return httpcall.Do(s.d.transport, req), nil
}

// ended drops the session that a refused request went with, unless another one
// has taken its place already.
func (s *acumaticaSession) ended(req *http.Request, a *httpcall.Answer, _ httpcall.Problem) bool {
	if a.Status != http.StatusUnauthorized {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cookies == req.Header.Get("Cookie") {
		s.cookies = ""
	}
	return true
}

func (*acumaticaSession) show(req *http.Request) { req.Header.Set("Cookie", httpauth.Mask) }

func (s *acumaticaSession) redact(text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cookie := range slices.Concat(s.now, s.before) {
		if _, value, _ := strings.Cut(cookie, "="); len(value) >= shortestHidden { // a branch's number is no secret
			text = strings.ReplaceAll(text, value, httpauth.Mask)
		}
	}
	return text
}

// close gives the session back to the license.
func (s *acumaticaSession) close(ctx context.Context) {
	s.mu.Lock()
	cookies := s.cookies
	s.cookies = ""
	s.mu.Unlock()
	if cookies != "" {
		// Nobody is left to tell when it fails: the session then ends by itself.
		_, _ = s.post(ctx, "logout", nil, cookies)
	}
}

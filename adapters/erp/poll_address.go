package erp

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
)

// statusURL makes the address to keep of what an answer named. It leads to the
// destination itself, since credentials go with the question. What would log on
// by itself is not kept: the address comes back masked, and the whole one stays
// in memory.
func (r *route) statusURL(asked *url.URL, address string) (string, error) {
	u, err := asked.Parse(address)
	switch {
	case err != nil:
		return "", errors.New("the address to ask cannot be read")
	case !r.dest.base.holds(u):
		return "", fmt.Errorf("the address to ask leads to another host, %s", cut(u.Host, 128))
	case u.User != nil:
		return "", errors.New("the address to ask holds a user name or a password")
	}
	u.Fragment, u.RawFragment = "", ""
	whole := u.String()
	if len(whole) > ferry.MaxStatusURL {
		return "", fmt.Errorf("the address to ask has %d bytes, at most %d are kept", len(whole), ferry.MaxStatusURL)
	}
	if masked := httpcall.MaskURL(u); masked != whole {
		return masked, r.dest.signed.keep(masked, whole)
	}
	return whole, nil
}

// holds says whether u is of the same scheme, host and port.
func (b base) holds(u *url.URL) bool {
	own, err := url.Parse(b.prefix)
	return err == nil && strings.EqualFold(own.Scheme, u.Scheme) && strings.EqualFold(own.Hostname(), u.Hostname()) && portOf(own) == portOf(u)
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	default:
		return "80"
	}
}

// signed keeps the addresses that hold a credential, in memory alone: masked
// address -> whole address. A restart forgets them.
type signed struct {
	mu    sync.Mutex
	whole map[string]string
}

const maxSigned = 10_000

func (s *signed) keep(masked, whole string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.whole[masked]; ok && known != whole {
		return errors.New("two addresses to ask differ in their credentials only, which are not kept")
	}
	if s.whole == nil {
		s.whole = map[string]string{}
	}
	if len(s.whole) >= maxSigned {
		for k := range s.whole { // any: its message is looked up instead
			delete(s.whole, k)
			break
		}
	}
	s.whole[masked] = whole
	return nil
}

func (s *signed) of(masked string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	whole, ok := s.whole[masked]
	return whole, ok
}

func (s *signed) drop(masked string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.whole, masked)
}

// pollAddress is the address that was kept, as it can be asked.
func (r *route) pollAddress(call adapters.Call) (*url.URL, error) {
	address := call.StatusURL
	if whole, ok := r.dest.signed.of(address); ok {
		address = whole
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || address == "":
		return nil, errors.New("the address to ask cannot be read")
	case !r.dest.base.holds(u) || u.User != nil:
		return nil, errors.New("the address to ask is not of this destination")
	case address == call.StatusURL && strings.Contains(u.RawQuery, "=***"):
		return nil, errors.New("the address to ask held a credential, which is not kept beyond the worker's end")
	}
	return u, nil
}

// ledTo is an address that an answer leads to, which has to be the destination's own.
func (r *route) ledTo(asked *url.URL, address string) (*url.URL, bool) {
	u, err := asked.Parse(address)
	if err != nil || address == "" || u.User != nil || !r.dest.base.holds(u) {
		return nil, false
	}
	return u, true
}

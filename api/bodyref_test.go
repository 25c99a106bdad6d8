package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
)

func TestBodyByReference(t *testing.T) {
	s := newSurface(t)
	query := invoices + "?bodyRef=" + url.QueryEscape(fakeRef)
	for what, a := range map[string]answer{
		"as a header":         s.call("sender-key", http.MethodPost, invoices, "", "Ferry-Body-Ref: "+fakeRef),
		"in the query":        s.call("sender-key", http.MethodPost, query, ""),
		"with a content type": s.call("sender-key", http.MethodPost, query, "", "Content-Type: text/plain"),
	} {
		accepted := read[ferry.Accepted](t, a, http.StatusCreated)
		got := s.fake.messages[accepted.ID].msg
		want := "application/json"
		if what == "with a content type" {
			want = "text/plain"
		}
		if string(got.Body) != fakeBlob || got.ContentType != want {
			t.Errorf("%s: accepted %q of %q", what, got.Body, got.ContentType)
		}
	}
	if strings.Contains(s.log.String(), "signature") {
		t.Errorf("the signature is in the log:\n%s", s.log)
	}
}

func TestBodyByReferenceRefused(t *testing.T) {
	s := newSurface(t)
	ref := "Ferry-Body-Ref: " + fakeRef
	for what, c := range map[string]struct {
		target, body, header string
		code                 ferry.Code
	}{
		"with a body":        {invoices, "{}", ref, ferry.CodeBadBodyRef},
		"another account":    {invoices, "", "Ferry-Body-Ref: https://evil.example/x", ferry.CodeBadBodyRef},
		"two that disagree":  {invoices + "?bodyRef=https://a.example/x", "", ref, ferry.CodeBadRequest},
		"larger than may be": {"/v1/routes/tiny/messages", "", ref, ferry.CodeTooLarge},
	} {
		p := s.call("any-key", http.MethodPost, c.target, c.body, c.header).problem(t)
		if p.Code != c.code {
			t.Errorf("%s: %s, want %s", what, p.Code, c.code)
		}
	}
	s.fake.brokenBlob = true
	a := s.call("sender-key", http.MethodPost, invoices, "", ref)
	if p := a.problem(t); p.Code != ferry.CodeBodyRefUnavailable || a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
		t.Errorf("broken off: %d %s, want a 503 to send again after", a.StatusCode, p.Code)
	}
	if len(s.fake.messages) != 0 {
		t.Errorf("%d messages were accepted", len(s.fake.messages))
	}
}

// stillReader gives nothing until its context ends.
type stillReader struct{ ctx context.Context }

func (r stillReader) Read([]byte) (int, error) {
	<-r.ctx.Done()
	return 0, r.ctx.Err()
}

// An account that stands still does not hold a request, and its place, for ever.
func TestABlobThatStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSurface(t)
		s.fake.stillBlob = true
		a := s.call("sender-key", http.MethodPost, invoices, "", "Ferry-Body-Ref: "+fakeRef)
		if p := a.problem(t); p.Code != ferry.CodeBodyRefUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("%d %s, want a 503 to send again after", a.StatusCode, p.Code)
		}
	})
}

// The time of a blob is not that of the caller's connection: an account that stands
// still is one, and no caller who left; one that is slow is waited for.
func TestSlowBlob(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*fake)
		status int
		least  time.Duration
		most   time.Duration
	}{
		"the account stands still": {func(f *fake) { f.stillAccount = true }, http.StatusServiceUnavailable, 2 * time.Minute, 6 * time.Minute},
		"the blob stands still":    {func(f *fake) { f.stillBlob = true }, http.StatusServiceUnavailable, 2 * time.Minute, 6 * time.Minute},
		"it is slow":               {func(f *fake) { f.blobPause = 14 * time.Second }, http.StatusCreated, 3 * time.Minute, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				c.change(f)
				p := inMemory(t, f, nil)
				conn, began := p.dial(t, "192.0.2.1:1"), time.Now()
				if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer any-key\r\nFerry-Body-Ref: %s\r\nContent-Length: 0\r\n\r\n", invoices, fakeRef); err != nil {
					t.Fatal(err)
				}
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatalf("after %s: %v", time.Since(began), err)
				}
				text, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != c.status {
					t.Errorf("after %s: %d %s (%v)", time.Since(began), resp.StatusCode, text, err)
				}
				if took := time.Since(began); took < c.least || took > c.most {
					t.Errorf("it took %s, between %s and %s is right", took, c.least, c.most)
				}
				if c.status != http.StatusCreated && (!strings.Contains(string(text), string(ferry.CodeBodyRefUnavailable)) || resp.Header.Get("Retry-After") == "" || len(f.order) != 0) {
					t.Errorf("Retry-After %q, %d messages: %s", resp.Header.Get("Retry-After"), len(f.order), text)
				}
			})
		})
	}
}

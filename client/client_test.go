package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ferry"
	"ferry/client"
)

// answers is a transport that answers by itself.
type answers func(*http.Request) (int, string, string)

func (f answers) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	status, contentType, body := f(r)
	return &http.Response{
		StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)),
		Header: http.Header{"Content-Type": {contentType}, "X-Request-Id": {"req-9"}},
		Body:   io.NopCloser(strings.NewReader(body)), Request: r,
	}, nil
}

func newClient(t *testing.T, f answers) *client.Client {
	t.Helper()
	c, err := client.New("http://broker.test/", "the-key\n", client.Options{HTTP: &http.Client{Transport: f}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewRefusesURLs(t *testing.T) {
	for _, u := range []string{"", "broker", "ftp://h", "http://", "http://u:hush@h", "http://h?x=1", "http://h#a", "http://h:x/", "://"} {
		_, err := client.New(u, "", client.Options{})
		if ferry.CodeOf(err) != ferry.CodeBadRequest {
			t.Errorf("New(%q): %v", u, err)
		} else if strings.Contains(err.Error(), "hush") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
	c, err := client.New("https://h:8443/ferry/", "", client.Options{})
	if err != nil || c.Server() != "https://h:8443/ferry" {
		t.Errorf("Server() = %q, %v", c.Server(), err)
	}
}

func TestRequestCarriesTheKeyAsHeaderOnly(t *testing.T) {
	c := newClient(t, func(r *http.Request) (int, string, string) {
		if r.Header.Get("Authorization") != "Bearer the-key" || strings.Contains(r.URL.String(), "the-key") {
			t.Errorf("%s with %v", r.URL, r.Header)
		}
		if r.URL.EscapedPath() != "/v1/messages/a%2Fb%3Fc" {
			t.Errorf("path %s", r.URL.EscapedPath())
		}
		return 200, "application/json", `{}`
	})
	if _, err := c.Message(t.Context(), "a/b?c"); err != nil {
		t.Error(err)
	}
}

func TestProblems(t *testing.T) {
	id := ferry.NewID(time.Now())
	for name, tc := range map[string]struct {
		status      int
		contentType string
		body        string
		want        ferry.Error
	}{
		"whole": {
			409, "application/problem+json; charset=utf-8",
			`{"type":"urn:ferry:error:keyReused","title":"key reused","status":409,"detail":"the key is known","code":"keyReused","requestId":"r-1","hint":"h","errors":[{"detail":"d","pointer":"/1"}],"id":"` + id.String() + `","route":"a","state":"queued","statusUrl":"u"}`,
			ferry.Error{
				Code: ferry.CodeKeyReused, Message: "the key is known", Hint: "h", RequestID: "r-1", Details: []ferry.ErrorDetail{{Detail: "d", Pointer: "/1"}},
				Existing: &ferry.Accepted{ID: id, Route: "a", State: ferry.StateQueued, StatusURL: "u"},
			},
		},
		"title only":      {503, "application/problem+json", `{"title":"no space","code":"noSpace"}`, ferry.Error{Code: ferry.CodeNoSpace, Message: "no space"}},
		"a proxy's page":  {502, "text/html", `<html>`, ferry.Error{Code: ferry.CodeInternal, RequestID: "req-9"}},
		"other JSON":      {404, "application/json", `{"code":"x"}`, ferry.Error{Code: ferry.CodeInternal, RequestID: "req-9"}},
		"a redirect":      {302, "text/html", ``, ferry.Error{Code: ferry.CodeInternal, RequestID: "req-9"}},
		"200, not JSON":   {200, "text/html", `<html>`, ferry.Error{Code: ferry.CodeInternal, RequestID: "req-9"}},
		"broken problem":  {400, "application/problem+json", `{`, ferry.Error{Code: ferry.CodeInternal, RequestID: "req-9"}},
		"endless problem": {400, "application/problem+json", strings.Repeat(" ", 2<<20), ferry.Error{Code: ferry.CodeInternal, RequestID: "req-9"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, func(*http.Request) (int, string, string) { return tc.status, tc.contentType, tc.body })
			_, err := c.Status(t.Context())
			var got *ferry.Error
			if !errors.As(err, &got) {
				t.Fatalf("error %v is no *ferry.Error", err)
			}
			ignore := cmpopts.IgnoreUnexported(ferry.Error{})
			if tc.want.Code == ferry.CodeInternal {
				if got.Message == "" || got.Hint == "" {
					t.Errorf("says %q, hint %q", got.Message, got.Hint)
				}
				tc.want.Message, tc.want.Hint = got.Message, got.Hint
			}
			if diff := cmp.Diff(&tc.want, got, ignore); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNothingIsRepeated: a write that fails is tried once.
func TestNothingIsRepeated(t *testing.T) {
	calls := 0
	c := newClient(t, func(*http.Request) (int, string, string) {
		calls++
		return 503, "application/problem+json", `{"code":"noSpace","detail":"full"}`
	})
	if _, err := c.Send(t.Context(), "orders", ferry.Message{Body: []byte("x")}); ferry.CodeOf(err) != ferry.CodeNoSpace {
		t.Errorf("error %v", err)
	}
	if calls != 1 {
		t.Errorf("%d calls", calls)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	elsewhere := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	ts := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer ts.Close()
	c, err := client.New(ts.URL, "the-key", client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Send(t.Context(), "orders", ferry.Message{}); ferry.CodeOf(err) != ferry.CodeInternal {
		t.Errorf("error %v", err)
	}
	if elsewhere != 0 {
		t.Error("the key went to another server")
	}
}

func TestUnreachable(t *testing.T) {
	ts := httptest.NewServer(http.NotFoundHandler())
	ts.Close()
	c, err := client.New(ts.URL, "the-key", client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Messages(t.Context(), ferry.MessageFilter{Q: "searched-for"})
	if err == nil || !strings.Contains(err.Error(), ts.URL) || strings.Contains(err.Error(), "searched-for") {
		t.Errorf("error %v", err)
	}
}

func TestContextEndsACall(t *testing.T) {
	c := newClient(t, func(*http.Request) (int, string, string) { return 200, "application/json", `{}` })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Me(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestPagesEndWithAnError(t *testing.T) {
	var cursors []string
	c := newClient(t, func(r *http.Request) (int, string, string) {
		cursors = append(cursors, r.URL.Query().Get("cursor"))
		switch len(cursors) {
		case 1:
			return 200, "application/json", `{"items":[{"route":"a"},{"route":"b"}],"nextCursor":"c1"}`
		case 2:
			return 200, "application/json", `{"items":[{"route":"c"}],"nextCursor":"c2"}`
		default:
			return 400, "application/problem+json", `{"code":"badCursor","detail":"too old"}`
		}
	})
	var routes []string
	var last error
	for e, err := range c.AllDeadLetters(t.Context(), ferry.DeadLetterFilter{Limit: 2}) {
		if last = err; err == nil {
			routes = append(routes, e.Route)
		}
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, routes); diff != "" {
		t.Errorf("walked (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"", "c1", "c2"}, cursors); diff != "" {
		t.Errorf("cursors (-want +got):\n%s", diff)
	}
	if ferry.CodeOf(last) != ferry.CodeBadCursor {
		t.Errorf("ended with %v", last)
	}
	cursors = nil
	for range c.AllMessages(t.Context(), ferry.MessageFilter{}) {
		break
	}
	if len(cursors) != 1 {
		t.Errorf("a walk that was left asked %d times", len(cursors))
	}
}

// A broker of the version before knows no wait, and pauses all the same.
func TestPauseAtABrokerOfBefore(t *testing.T) {
	var bodies []string
	c := newClient(t, func(r *http.Request) (int, string, string) {
		body, _ := io.ReadAll(r.Body)
		if bodies = append(bodies, string(body)); strings.Contains(string(body), "wait") {
			return 400, "application/problem+json", `{"code":"malformed","status":400,"detail":"the body cannot be read: unknown field \"wait\""}`
		}
		return 200, "application/json", `{"name":"orders","state":"paused"}`
	})
	info, err := c.Pause(t.Context(), "orders", "month end", time.Time{}, 0)
	if err != nil || info.State != ferry.RoutePaused {
		t.Errorf("%+v, %v", info, err)
	}
	if diff := cmp.Diff([]string{`{"note":"month end","wait":"0s"}`, `{"note":"month end"}`}, bodies); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		asked := 0
		c := newClient(t, func(*http.Request) (int, string, string) {
			asked++
			if time.Since(start) < time.Minute {
				return 200, "application/json", `{"state":"queued"}`
			}
			return 200, "application/json", `{"state":"completed","reference":"4711"}`
		})
		e, err := c.Await(t.Context(), "id")
		if err != nil || e.Reference != "4711" {
			t.Errorf("%+v, %v", e, err)
		}
		if took := time.Since(start); took > 63*time.Second || asked > 60 {
			t.Errorf("took %s and %d questions", took, asked)
		}

		start = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		e, err = c.Await(ctx, "id")
		if !errors.Is(err, context.DeadlineExceeded) || e.State != ferry.StateQueued || time.Since(start) != 10*time.Second {
			t.Errorf("after %s: %+v, %v", time.Since(start), e, err)
		}
	})
}

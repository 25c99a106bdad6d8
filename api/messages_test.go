package api_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"ferry"
)

func TestTimesAndLists(t *testing.T) {
	s := newSurface(t)
	id := s.send(`{}`).ID.String()
	text := string(s.call("sender-key", http.MethodGet, "/v1/messages/"+id, "").body)
	if !strings.Contains(text, `"createdAt":"2026-11-23T08:30:00.120Z"`) {
		t.Errorf("times are not UTC with milliseconds: %s", text)
	}
	if !strings.Contains(text, `"attempts":[]`) {
		t.Errorf("an empty list is not []: %s", text)
	}
	for _, path := range []string{"/v1/dead-letters", "/v1/keys"} {
		if text := string(s.call("admin-key", http.MethodGet, path, "").body); text != `{"items":[]}` {
			t.Errorf("%s: %s", path, text)
		}
	}
}

func TestSenderSeesItsRoutesOnly(t *testing.T) {
	s := newSurface(t)
	mine := s.send(`{}`)
	read[ferry.Accepted](t, s.call("any-key", http.MethodPost, "/v1/routes/orders/messages", `{}`), http.StatusCreated)
	page := read[ferry.Page](t, s.call("sender-key", http.MethodGet, "/v1/messages", ""), http.StatusOK)
	if len(page.Items) != 1 || page.Items[0].ID != mine.ID || page.Items[0].StatusURL != mine.StatusURL {
		t.Errorf("a sender sees %+v", page.Items)
	}
	for _, key := range []string{"any-key", "operator-key", "admin-key"} {
		if page := read[ferry.Page](t, s.call(key, http.MethodGet, "/v1/messages", ""), http.StatusOK); len(page.Items) != 2 {
			t.Errorf("%s sees %d messages", key, len(page.Items))
		}
	}
}

func TestResult(t *testing.T) {
	s := newSurface(t)
	sent := s.send(`{}`)
	a := s.call("sender-key", http.MethodGet, "/v1/messages/"+sent.ID.String()+"/result", "")
	if a.StatusCode != http.StatusAccepted || !strings.HasPrefix(a.Header.Get("Location"), "http://broker.test/v1/results/") || a.Header.Get("Retry-After") == "" {
		t.Errorf("pending: %d %v", a.StatusCode, a.Header)
	}
	s.fake.kill(sent.ID)
	if a := s.call("sender-key", http.MethodGet, "/v1/messages/"+sent.ID.String()+"/result", ""); a.StatusCode != http.StatusOK {
		t.Errorf("dead-lettered: %d", a.StatusCode)
	}
}

// TestBodyIsNoPage: a stored page must not run on the broker's own address.
func TestBodyIsNoPage(t *testing.T) {
	s := newSurface(t)
	id := s.send("<script>1</script>", "Content-Type: text/html").ID.String()
	a := s.call("sender-key", http.MethodGet, "/v1/messages/"+id+"/body", "")
	h := a.Header
	if string(a.body) != "<script>1</script>" || h.Get("Content-Type") != "text/html" {
		t.Errorf("%q %q", a.body, h.Get("Content-Type"))
	}
	if !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") || !strings.Contains(h.Get("Content-Security-Policy"), "sandbox") ||
		h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("header %v", h)
	}
}

func TestSinceAgo(t *testing.T) {
	s := newSurface(t)
	read[ferry.Page](t, s.call("operator-key", http.MethodGet, "/v1/messages?since=1d", ""), http.StatusOK)
	if last := s.fake.acts[len(s.fake.acts)-1]; regexp.MustCompile(`Since:0001`).MatchString(last) {
		t.Errorf("since is not asked for: %s", last)
	}
}

// TestReplayBodies: how an edited body reaches the broker.
func TestReplayBodies(t *testing.T) {
	s := newSurface(t)
	xml := s.send("<a/>", "Content-Type: application/xml").ID.String()
	js := s.send("{}", "Content-Type: application/json; charset=utf-8").ID.String()
	none := s.send("{}").ID.String()
	for name, tc := range map[string]struct {
		id, body, want string
	}{
		"XML as text":         {xml, `{"body":"<a>\u00e4</a>"}`, `replay body="<a>ä</a>" nil=false type="application/xml" note="" by=olga`},
		"JSON to the byte":    {js, `{"body": {"n": 1.0} ,"note":"x"}`, `replay body="{\"n\": 1.0}" nil=false type="application/json; charset=utf-8" note="x" by=olga`},
		"JSON in XML's stead": {xml, `{"body":{},"contentType":"application/json"}`, `replay body="{}" nil=false type="application/json" note="" by=olga`},
		"base64":              {xml, `{"bodyBase64":"/w"}`, `replay body="\xff" nil=false type="application/xml" note="" by=olga`},
		"type unknown":        {none, `{"body":7}`, `replay body="7" nil=false type="application/json" note="" by=olga`},
		"as it is":            {xml, `{"note":"again"}`, `replay body="" nil=true type="" note="again" by=olga`},
		"no request body":     {xml, ``, `replay body="" nil=true type="" note="" by=olga`},
	} {
		a := s.call("operator-key", http.MethodPost, "/v1/dead-letters/"+tc.id+"/replay", tc.body)
		if a.StatusCode != http.StatusOK || s.fake.acts[len(s.fake.acts)-1] != tc.want {
			t.Errorf("%s: %d %s\n got %s\nwant %s", name, a.StatusCode, a.body, s.fake.acts[len(s.fake.acts)-1], tc.want)
		}
	}
}

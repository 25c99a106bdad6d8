package practice_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry/adapters/adaptertest/practice"
)

// client calls a practice ERP through its HTTP surface, without a network.
type client struct {
	t   *testing.T
	erp *practice.ERP
}

func (c client) do(method, path, body string, header ...string) (int, map[string]any) {
	c.t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	c.erp.ServeHTTP(rec, req)
	var out map[string]any
	if rec.Body.Len() > 0 {
		if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil {
			c.t.Fatalf("%s %s: %s", method, path, rec.Body)
		}
	}
	return rec.Code, out
}

func TestInvoices(t *testing.T) {
	c := client{t, practice.New("", practice.Settings{})}
	status, first := c.do("POST", "/invoices", `{"number":"A","total":1.10}`, "Idempotency-Key", "k 1", "Ferry-Message-Id", "m1")
	if status != 201 || first["id"] != "INV-000001" || first["externalId"] != "k 1" {
		t.Fatalf("%d %v", status, first)
	}
	if _, second := c.do("POST", "/invoices", `<Invoice><a/></Invoice>`, "Ferry-Message-Id", "m2"); second["id"] != "INV-000002" || second["externalId"] != "m2" {
		t.Errorf("%v", second)
	}
	for path, want := range map[string]string{
		"/invoices?externalId=k%201": "[INV-000001]", "/invoices?externalId=none": "[]", "/invoices": "[INV-000001 INV-000002]",
	} {
		_, found := c.do("GET", path, "")
		ids := []any{}
		for _, item := range found["items"].([]any) {
			ids = append(ids, item.(map[string]any)["id"])
		}
		if fmt.Sprint(ids) != want {
			t.Errorf("%s: %v", path, ids)
		}
	}
	if status, doc := c.do("GET", "/invoices/INV-000001", ""); status != 200 || fmt.Sprint(doc["body"]) != "map[number:A total:1.1]" {
		t.Errorf("%d %v", status, doc)
	}
	for _, number := range []string{"INV-000003", "INV-1", "INV-0", "x"} {
		if status, _ := c.do("GET", "/invoices/"+number, ""); status != 404 {
			t.Errorf("%s: %d", number, status)
		}
	}
	docs := c.erp.Documents("")
	if len(docs) != 2 || string(docs[0].Body) != `{"number":"A","total":1.10}` || docs[1].Text != `<Invoice><a/></Invoice>` {
		t.Errorf("%+v", docs)
	}
	if _, all := c.do("GET", "/documents", ""); all["count"] != 2.0 {
		t.Errorf("%v", all)
	}
	if status, _ := c.do("GET", "/ping", ""); status != 200 {
		t.Errorf("ping: %d", status)
	}
}

func TestValidation(t *testing.T) {
	c := client{t, practice.New("", practice.Settings{Required: []string{"number"}})}
	for body, want := range map[string]string{
		`{"number":"A"}`: "201", `{"number":"A","total":"-1"}`: "400 #/total", `{"number":null}`: "400 #/number", `{"number":"","total":-0.01}`: "400 #/number #/total",
		`[]`: "400", `null`: "400", ``: "400", `{`: "400", `<a>`: "400", `<a></b>`: "400", `<a b="c"/>`: "201", `<!-- only -->`: "400",
	} {
		status, answer := c.do("POST", "/invoices", body)
		got := fmt.Sprint(status)
		if faults, ok := answer["errors"].([]any); ok {
			for _, f := range faults {
				got += " " + f.(map[string]any)["pointer"].(string)
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
	if status, _ := c.do("POST", "/invoices", `{"number":"`+strings.Repeat("x", practice.MaxBody)+`"}`); status != 413 {
		t.Errorf("too large: %d", status)
	}
}

func TestDuplicates(t *testing.T) {
	for how, want := range map[practice.OnDuplicate]string{
		practice.WriteAgain: "201 INV-000002", practice.Conflict: "409 INV-000001", practice.Repeat: "200 INV-000001", practice.BareError: "500 <nil>",
	} {
		c := client{t, practice.New("", practice.Settings{})}
		if status, answer := c.do("PUT", "/_settings", fmt.Sprintf(`{"onDuplicate":%q}`, how)); status != 204 {
			t.Fatalf("%d %v", status, answer)
		}
		c.do("POST", "/invoices", `{}`, "Idempotency-Key", "k")
		status, answer := c.do("POST", "/invoices", `{}`, "Idempotency-Key", "k")
		if got := fmt.Sprint(status, " ", answer["id"]); got != want {
			t.Errorf("%s: %s, want %s", how, got, want)
		}
		if twice := c.erp.State().WrittenTwice; (len(twice) == 1) != (how == practice.WriteAgain) {
			t.Errorf("%s: written twice: %v", how, twice)
		}
	}
}

func TestAPIKey(t *testing.T) {
	c := client{t, practice.New("let-me-in", practice.Settings{})}
	for want, header := range map[int][]string{201: {"X-Api-Key", "let-me-in"}, 401: {"X-Api-Key", "let-me-in2"}} {
		if status, _ := c.do("POST", "/invoices", `{}`, header...); status != want {
			t.Errorf("%v: %d", header, status)
		}
	}
	for _, path := range []string{"/invoices", "/documents", "/_state"} {
		if status, _ := c.do("GET", path, ""); status != 401 {
			t.Errorf("%s without a key: %d", path, status)
		}
	}
	if status, _ := c.do("GET", "/ping", ""); status != 200 {
		t.Errorf("ping: %d", status)
	}
}

func TestFaultsOverHTTP(t *testing.T) {
	c := client{t, practice.New("", practice.Settings{})}
	for _, bad := range []string{
		`{"kind":"nope"}`, `{"kind":"slow","delay":"x"}`, `{"kind":"slow","delay":"6m"}`, `{"kind":"cutAfter","on":"ping"}`, `{"kind":"status","on":"x"}`,
		`{"kind":"status","status":99}`, `{"kind":"status","times":-2}`, `[`, `7`,
	} {
		if status, _ := c.do("POST", "/_faults", bad); status != 400 {
			t.Errorf("%s: %d", bad, status)
		}
	}
	if status, answer := c.do("POST", "/_faults", `[{"kind":"status","status":503,"times":2},{"kind":"status","status":418,"key":"only"},{"kind":"statusAfterWrite","code":"E","text":"late"}]`); status != 204 {
		t.Fatalf("%d %v", status, answer)
	}
	var got []int
	for _, key := range []string{"a", "b", "c", "only", "d"} {
		status, _ := c.do("POST", "/invoices", `{}`, "Idempotency-Key", key)
		got = append(got, status)
	}
	if fmt.Sprint(got) != "[503 503 500 418 201]" {
		t.Errorf("statuses %v", got)
	}
	if met := c.erp.State().Met; met["status"] != 3 || met["statusAfterWrite"] != 1 {
		t.Errorf("met %v", met)
	}
	if len(c.erp.Documents("c")) != 1 || len(c.erp.Documents("a")) != 0 || c.erp.Calls(practice.OpCreate) != 5 {
		t.Errorf("documents %+v", c.erp.Documents(""))
	}
	c.do("POST", "/_faults", `{"kind":"status","times":-1,"on":"lookup"}`)
	for range 3 {
		if status, _ := c.do("GET", "/invoices?externalId=c", ""); status != 500 {
			t.Errorf("lookup: %d", status)
		}
	}
	c.do("DELETE", "/_faults", "")
	if status, _ := c.do("GET", "/invoices?externalId=c", ""); status != 200 {
		t.Errorf("lookup after clearing: %d", status)
	}
	for range practice.MaxFaults {
		if err := c.erp.Fail(practice.Fault{Kind: practice.FaultSlow}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.erp.Fail(practice.Fault{Kind: practice.FaultSlow}); err == nil {
		t.Error("faults without end")
	}
}

// Late and slow, to the second, over a pipe.
func TestTimingInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		erp := practice.New("", practice.Settings{})
		pipe := newPipe(erp)
		defer pipe.close()
		post := func(key string, timeout time.Duration) (int, time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://erp/invoices", io.NopCloser(strings.NewReader(`{}`)))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Ferry-Message-Id", key)
			start := time.Now()
			resp, err := pipe.client.Do(req)
			if err != nil {
				return 0, time.Since(start)
			}
			defer func() { _ = resp.Body.Close() }()
			_, _ = io.Copy(io.Discard, resp.Body)
			return resp.StatusCode, time.Since(start)
		}
		for _, c := range []struct {
			fault           practice.Fault
			status          int
			took            time.Duration
			now, in30, in60 int // documents
		}{
			{practice.Fault{Kind: practice.FaultSlow, Delay: 5 * time.Second}, 201, 5 * time.Second, 1, 1, 1},
			{practice.Fault{Kind: practice.FaultSlow, Delay: 25 * time.Second}, 0, 20 * time.Second, 0, 0, 0},
			{practice.Fault{Kind: practice.FaultHang}, 0, 20 * time.Second, 0, 0, 0},
			{practice.Fault{Kind: practice.FaultWriteLate, Delay: time.Minute}, 0, 20 * time.Second, 0, 0, 1},
			{practice.Fault{Kind: practice.FaultCutWriteLate, Delay: 20 * time.Second}, 0, 0, 0, 1, 1},
			{practice.Fault{Kind: practice.FaultCutAfter}, 0, 0, 1, 1, 1},
			{practice.Fault{Kind: practice.FaultCutBefore}, 0, 0, 0, 0, 0},
		} {
			key := fmt.Sprint(c.fault.Kind, c.fault.Delay)
			if err := erp.Fail(c.fault); err != nil {
				t.Fatal(err)
			}
			status, took := post(key, 20*time.Second)
			synctest.Wait()
			counts := []int{len(erp.Documents(key))}
			for range 2 {
				time.Sleep(30 * time.Second)
				synctest.Wait()
				counts = append(counts, len(erp.Documents(key)))
			}
			if status != c.status || took != c.took || fmt.Sprint(counts) != fmt.Sprint([]int{c.now, c.in30, c.in60}) {
				t.Errorf("%s: status %d after %s, documents %v", key, status, took, counts)
			}
		}
		// Close forgets what would be written late.
		if err := erp.Fail(practice.Fault{Kind: practice.FaultCutWriteLate, Delay: time.Minute}); err != nil {
			t.Fatal(err)
		}
		post("forgotten", time.Second)
		erp.Close()
		time.Sleep(2 * time.Minute)
		if n := len(erp.Documents("forgotten")); n != 0 {
			t.Errorf("written after Close: %d", n)
		}
	})
}

func TestConcurrencyIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		erp := practice.New("", practice.Settings{})
		pipe := newPipe(erp)
		defer pipe.close()
		if err := erp.Fail(practice.Fault{Kind: practice.FaultSlow, Delay: time.Second, Times: 5}); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 3)
		for range 3 {
			go func() {
				resp, err := pipe.client.Post("http://erp/invoices", "application/json", strings.NewReader(`{}`))
				if err == nil {
					_ = resp.Body.Close()
				}
				done <- err
			}()
		}
		for range 3 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if s := erp.State(); s.MaxConcurrent != 3 || s.Documents != 3 || s.Calls["create"] != 3 {
			t.Errorf("%+v", s)
		}
	})
}

// pipe serves a handler over net.Pipe, so that time may stand still meanwhile.
type pipe struct {
	client *http.Client
	server *http.Server
	conns  chan net.Conn
	done   chan struct{}
}

func newPipe(h http.Handler) *pipe {
	p := &pipe{server: &http.Server{Handler: h}, conns: make(chan net.Conn), done: make(chan struct{})}
	p.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		here, there := net.Pipe()
		select {
		case p.conns <- there:
			return here, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}}
	go func() { _ = p.server.Serve(p) }()
	return p
}

func (p *pipe) close() {
	p.client.CloseIdleConnections()
	_ = p.server.Close()
}

func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipe) Close() error   { close(p.done); return nil }
func (p *pipe) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func TestLaterOverHTTP(t *testing.T) {
	erp := practice.New("", practice.Settings{})
	server := httptest.NewServer(erp)
	t.Cleanup(func() { erp.Close(); server.Close() })
	called := make(chan string, 4)
	back := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		called <- string(body)
	}))
	t.Cleanup(back.Close)
	do := func(method, path, body string, header ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, resp.Header.Get("Location") + string(text)
	}
	for _, bad := range []string{`{"later":{"how":"fax"}}`, `{"later":{"how":"poll","delay":"soon"}}`, `{"later":{"delay":"1h"}}`} {
		if status, text := do("PUT", "/_settings", bad); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", bad, status, text)
		}
	}

	do("PUT", "/_settings", `{"onDuplicate":"repeat","later":{"how":"poll","delay":"10ms"}}`)
	for range 2 { // the key is honoured: one operation
		if status, text := do("POST", "/invoices", `{"number":"1"}`, "Idempotency-Key", "k"); status != http.StatusAccepted || !strings.HasPrefix(text, "/operations/op-000001") {
			t.Fatalf("%d %s", status, text)
		}
	}
	deadline := time.Now().Add(5 * time.Second)
	for len(erp.Documents("k")) == 0 { // by itself, without a question
		if time.Now().After(deadline) {
			t.Fatal("it is never written")
		}
		time.Sleep(time.Millisecond)
	}
	if status, text := do("GET", "/operations/op-000001", ""); status != http.StatusOK || !strings.Contains(text, "INV-000001") {
		t.Errorf("%d %s", status, text)
	}
	do("PUT", "/_settings", `{"later":{"how":"poll","forgotten":true}}`)
	if status, _ := do("GET", "/operations/op-000001", ""); status != http.StatusNotFound {
		t.Errorf("forgotten: %d", status)
	}

	do("PUT", "/_settings", `{"later":{"how":"callback","before":true,"reject":true,"twice":true}}`)
	do("POST", "/invoices", `{"number":"2"}`, "Ferry-Confirm-Url", back.URL)
	for range 2 {
		if said := <-called; !strings.Contains(said, `"rejected"`) {
			t.Errorf("it says %s", said)
		}
	}
	if got := erp.State().Callbacks; len(got) != 2 || got[0] != http.StatusOK || erp.State().Documents != 1 {
		t.Errorf("%+v", erp.State())
	}
}

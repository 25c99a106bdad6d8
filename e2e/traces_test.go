package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"

	"ferry"
	"ferry/adapters/adaptertest/practice"
)

// tracesCollector takes OTLP over HTTP, as its specification has it.
type tracesCollector struct {
	mu    sync.Mutex
	spans []tracedSpan
	text  bytes.Buffer // everything that came, unpacked
	auth  map[string]int
	bad   string
}

type tracedSpan struct {
	service, name, kind string
	trace, id, parent   string
	state               string
	about               map[string]string
	links               map[string]string // span by what the link says it is
}

func (c *tracesCollector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, err := gzip.NewReader(r.Body)
	if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		c.bad = fmt.Sprintf("%s %v %v", r.URL, r.Header, err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	data, err := io.ReadAll(body)
	var in collector.ExportTraceServiceRequest
	if err = firstError(err, proto.Unmarshal(data, &in)); err != nil {
		c.bad = err.Error()
		return
	}
	c.text.Write(data)
	c.auth[r.Header.Get("Authorization")]++
	for _, rs := range in.ResourceSpans {
		service := texts(rs.Resource.Attributes)["service.name"]
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				one := tracedSpan{
					service: service, name: s.Name, kind: strings.TrimPrefix(s.Kind.String(), "SPAN_KIND_"), trace: hex.EncodeToString(s.TraceId), id: hex.EncodeToString(s.SpanId),
					parent: hex.EncodeToString(s.ParentSpanId), state: s.TraceState, about: texts(s.Attributes), links: map[string]string{},
				}
				for _, l := range s.Links {
					one.links[texts(l.Attributes)["ferry.link"]] = hex.EncodeToString(l.SpanId)
				}
				c.spans = append(c.spans, one)
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func texts(list []*common.KeyValue) map[string]string {
	m := map[string]string{}
	for _, kv := range list {
		switch v := kv.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			m[kv.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			m[kv.Key] = fmt.Sprint(v.IntValue)
		case *common.AnyValue_BoolValue:
			m[kv.Key] = fmt.Sprint(v.BoolValue)
		}
	}
	return m
}

// TestTraces: the sender's trace goes through broker and worker to the ERP and back;
// the attempts are linked, and nothing secret is in it.
func TestTraces(t *testing.T) {
	c := &tracesCollector{auth: map[string]int{}}
	collecting := httptest.NewServer(c)
	defer collecting.Close()
	w := newWorld(t, options{
		destination: []string{"timeout: 2s", "auth: {type: apiKey, header: x-api-key, key: file:erp.key}"},
		route:       []string{`lookup: {url: "/invoices?externalId={externalKey}", reference: ".items[0].id"}`, "settleTime: 200ms", "retry: {attempts: 5, initialDelay: 100ms}"},
	})
	var (
		mu   sync.Mutex
		seen []string // the traceparent of each call at the ERP
	)
	erp := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ping" {
			mu.Lock()
			seen = append(seen, r.Header.Get("Traceparent")+" "+r.Header.Get("Tracestate"))
			mu.Unlock()
		}
		w.erp.ServeHTTP(rw, r)
	}))
	defer erp.Close()
	w.write("erp.key", "erp-secret-key")
	w.write("otlp.token", "Bearer otlp-secret-token")
	traces := fmt.Sprintf("traces: {sample: 0, otlp: {endpoint: %q, headers: {authorization: file:otlp.token}}}\n", collecting.URL)
	for _, name := range []string{"broker.yaml", "worker.yaml"} {
		text, err := os.ReadFile(w.path(name))
		if err != nil {
			t.Fatal(err)
		}
		w.write(name, traces+strings.ReplaceAll(string(text), w.erpURL, erp.URL))
	}
	w.start()
	if err := w.erp.Fail(practice.Fault{Kind: practice.FaultStatus, Status: 500, Times: 1}); err != nil {
		t.Fatal(err)
	}
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	key, err := os.ReadFile(w.path("data/admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	send := func(traceparent, key string) ferry.ID {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.api+"/v1/routes/"+invoices+"/messages", strings.NewReader(`{"number":"the-body"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Traceparent", traceparent)
		req.Header.Set("Tracestate", "vendor=abc")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		id, err := ferry.ParseID(resp.Header.Get("Location")[strings.LastIndex(resp.Header.Get("Location"), "/")+1:])
		if resp.StatusCode != http.StatusCreated || err != nil {
			t.Fatalf("%s, %v", resp.Status, err)
		}
		return id
	}
	admin := strings.TrimSpace(string(key))
	id := send("00-"+trace+"-"+parent+"-01", admin)
	w.await(id, ferry.StateCompleted, 30*time.Second)
	mu.Lock()
	recorded := len(seen)
	mu.Unlock()
	const quiet = "11f7651916cd43dd8448eb211c80319c"
	w.await(send("00-"+quiet+"-"+parent+"-00", admin), ferry.StateCompleted, 30*time.Second)
	if code := w.worker.stop(t, 30*time.Second); code != 0 {
		t.Errorf("the worker ended with %d", code)
	}
	if code := w.broker.stop(t, 30*time.Second); code != 0 {
		t.Errorf("the broker ended with %d", code)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bad != "" || len(c.auth) != 1 || c.auth["Bearer otlp-secret-token"] == 0 {
		t.Errorf("the collector was sent %s %v", c.bad, c.auth)
	}
	for _, secret := range []string{"the-body", "erp-secret-key", "otlp-secret-token", admin[len(admin)-20:]} {
		if bytes.Contains(c.text.Bytes(), []byte(secret)) {
			t.Errorf("%s is in a span", secret)
		}
	}
	byID, byName := map[string]tracedSpan{}, map[string][]tracedSpan{}
	for _, s := range c.spans {
		if s.trace != trace { // what was not sampled by its sender, and sample is 0
			t.Errorf("a span of another trace: %+v", s)
			continue
		}
		byID[s.id] = s
		byName[s.name] = append(byName[s.name], s)
		if s.state != "vendor=abc" && s.name != "receipt "+invoices { // a receipt tells its span alone
			t.Errorf("the tracestate of %s is %q", s.name, s.state)
		}
	}
	accepts, turns, receipts := byName["accept "+invoices], byName["deliver "+invoices], byName["receipt "+invoices]
	if len(accepts) != 1 || len(turns) < 2 || len(receipts) != len(turns) || len(byName["lookup "+invoices]) == 0 {
		t.Fatalf("%d accepts, %d turns, %d receipts: %+v", len(accepts), len(turns), len(receipts), c.spans)
	}
	accept := accepts[0]
	if accept.parent != parent || accept.kind != "SERVER" || accept.service != "ferry-broker" || accept.about["messaging.message.id"] != id.String() ||
		accept.about["messaging.message.body.size"] != "21" || accept.about["ferry.duplicate"] != "false" {
		t.Errorf("accept: %+v", accept)
	}
	delivered, linked := 0, 0
	for _, s := range turns {
		if s.parent != accept.id || s.links["accept"] != accept.id || s.kind != "CONSUMER" || s.service != "ferry-worker" {
			t.Errorf("turn: %+v", s)
		}
		if s.about["ferry.verdict"] == "delivered" && s.about["ferry.reference"] != "" {
			delivered++
		}
		if before, ok := byID[s.links["previousAttempt"]]; ok && before.name == s.name && before.id != s.id {
			linked++
		}
	}
	if delivered != 1 || linked == 0 {
		t.Errorf("%d turns delivered, %d linked to the attempt before: %+v", delivered, linked, turns)
	}
	for _, s := range receipts {
		if byID[s.parent].name != "deliver "+invoices || s.service != "ferry-broker" {
			t.Errorf("receipt: %+v", s)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, header := range seen[:recorded] {
		p := strings.Split(header, "-")
		if len(p) != 4 || p[1] != trace || p[3] != "01 vendor=abc" || byID[p[2]].kind != "CLIENT" {
			t.Errorf("the ERP was called with %q", header)
		}
	}
	for _, header := range seen[recorded:] {
		if p := strings.Split(header, "-"); len(p) != 4 || p[1] != quiet || p[3] != "00 vendor=abc" {
			t.Errorf("the ERP was called with %q", header)
		}
	}
}

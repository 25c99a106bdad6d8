package erp_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/erp"
	"ferry/shape"
)

// A receiver of CloudEvents gets events that keep to the specification, in either
// mode, under the key that the destination knows the message by.
func TestMessagesGoOutAsCloudEvents(t *testing.T) {
	type got struct {
		header http.Header
		body   string
	}
	came := make(chan got, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		came <- got{r.Header, string(body)}
		_, _ = io.WriteString(w, `{"id":"DOC-1"}`)
	}))
	defer server.Close()
	open := erp.New(nil, server.Client().Transport)
	dest, err := open(adapters.DestinationConfig{Name: "hub", Adapter: "erp", URL: server.URL, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dest.Close() }()
	for name, c := range map[string]struct {
		config     adapters.RouteConfig
		properties map[string]string
		body, want string
		id, kind   string
		source     string
	}{
		"binary":     {adapters.RouteConfig{CloudEvents: "binary"}, nil, `{"n":1.10}`, `{"n":1.10}`, "INV-1", "ferry.invoices", "/ferry/routes/invoices"},
		"structured": {adapters.RouteConfig{CloudEvents: "structured", CloudEventType: "com.contoso.invoice", CloudEventSource: "/contoso"}, nil, `{"n":1.10}`, `{"n":1.10}`, "INV-1", "com.contoso.invoice", "/contoso"},
		"mapped":     {adapters.RouteConfig{CloudEvents: "structured", Map: `{m: .n}`}, nil, `{"n":1.10}`, `{"m":1.10}`, "INV-1", "ferry.invoices", "/ferry/routes/invoices"},
		"as it came": {adapters.RouteConfig{CloudEvents: "binary", CloudEventType: "other"}, map[string]string{"ce-type": "order", "ce-source": "/shop", "ce-id": "42", "ce-subject": "ä b", "mine": "x"}, `{}`, `{}`, "INV-1", "order", "/shop"},
	} {
		t.Run(name, func(t *testing.T) {
			c.config.Route, c.config.URL = "invoices", "/events"
			adapter, err := dest.Route(c.config)
			if err != nil {
				t.Fatal(err)
			}
			v := adapter.Deliver(t.Context(), adapters.Call{Number: 1, HandOut: ferry.HandOut{
				ID: ferry.NewID(time.Now()), Route: "invoices", Turn: 1, Revision: 1, ExternalKey: "INV-1", ContentType: "application/json",
				Body: []byte(c.body), Size: int64(len(c.body)), CreatedAt: time.Unix(1_800_000_000, 0), Properties: c.properties,
			}})
			if v.Kind != ferry.Delivered {
				t.Fatalf("%+v", v)
			}
			g := <-came
			var e *shape.Event
			var fault *ferry.Error
			if c.config.CloudEvents == adapters.EventsBinary {
				if e, fault = shape.HeaderEvent(g.header); e != nil {
					e.Data, e.ContentType = []byte(g.body), g.header.Get("Content-Type")
				}
			} else {
				e, fault = shape.ReadEvent(g.header.Get("Content-Type"), []byte(g.body))
			}
			if fault != nil || e == nil {
				t.Fatalf("%+v: %v", g, fault)
			}
			a := e.Attributes
			if string(e.Data) != c.want || e.ContentType != "application/json" || a["id"] != c.id || a["type"] != c.kind || a["source"] != c.source || a["time"] != "2027-01-15T08:00:00Z" || a["subject"] != c.properties["ce-subject"] {
				t.Errorf("%q of the type %q: %v", e.Data, e.ContentType, a)
			}
			if g.header.Get("Idempotency-Key") != "INV-1" {
				t.Errorf("headers %v", g.header)
			}
		})
	}
	for _, c := range []adapters.RouteConfig{{CloudEvents: "avro"}, {CloudEventType: "t"}, {CloudEvents: "binary", KeyField: "k"}, {CloudEvents: "binary", CloudEventType: "a\nb"}} {
		c.Route, c.URL = "invoices", "/events"
		if _, err := dest.Route(c); ferry.CodeOf(err) != ferry.CodeBadConfig {
			t.Errorf("%+v: %v", c, err)
		}
	}
	other, err := open(adapters.DestinationConfig{Name: "sap", Adapter: "erp", Dialect: "frappe", URL: server.URL, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	if _, err := other.Route(adapters.RouteConfig{Route: "invoices", Entity: "X", CloudEvents: "binary"}); err == nil || !strings.Contains(err.Error(), "cloudEvents") {
		t.Errorf("a dialect that has no events: %v", err)
	}
}

package erp_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/erp"
	"ferry/secret"
)

// TestKeysOfTheMessage: the external key stays the same over attempts, replays
// and revisions; the request's id is another one for an edited body only.
func TestKeysOfTheMessage(t *testing.T) {
	type seen struct {
		Ref, Request, Header, Query, ID string
		Revision                        int
	}
	var got []seen
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var s seen
		if err := json.Unmarshal(body, &s); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		s.Header, s.Query = r.Header.Get("X-Request-Uuid"), r.URL.Query().Get("rid")
		got = append(got, s)
		w.WriteHeader(http.StatusCreated)
	}))
	defer srv.Close()
	d, err := erp.New(secret.Resolver{}, nil)(adapters.DestinationConfig{Name: "erp", URL: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	adapter, err := d.Route(adapters.RouteConfig{
		URL: "/invoices?rid={requestId}", RequestIDHeader: "X-Request-UUID", KeyField: "ref", KeyLength: 16,
		Map: `{request: $requestId, id: $messageId, revision: $revision}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := call()
	c.ExternalKey, c.Body = "a key that is longer than the field", []byte(`{}`)
	for _, turn := range []struct{ revision, number int }{{0, 1}, {1, 2}, {2, 3}, {2, 4}} {
		c.Revision, c.Number = turn.revision, turn.number
		if v := adapter.Deliver(context.Background(), c); v.Kind != ferry.Delivered {
			t.Fatalf("%+v", v)
		}
	}
	for i, s := range got {
		switch {
		case s.Ref != got[0].Ref || len(s.Ref) > 16 || s.Ref == "":
			t.Errorf("%d: the document's reference is %q, then %q", i, got[0].Ref, s.Ref)
		case s.Request != s.Header || s.Request != s.Query || len(s.Request) != 36:
			t.Errorf("%d: request ids differ: %+v", i, s)
		case s.ID != c.ID.String():
			t.Errorf("%d: message id %q", i, s.ID)
		}
	}
	if got[0].Request != got[1].Request || got[2].Request != got[3].Request || got[1].Request == got[2].Request {
		t.Errorf("request ids: %+v", got)
	}
	if got[0].Revision != 1 || got[3].Revision != 2 {
		t.Errorf("revisions: %+v", got)
	}
}

// TestSettingsOfOtherDialectsAreRefused: left in place they look as if they worked.
func TestSettingsOfOtherDialectsAreRefused(t *testing.T) {
	open := erp.New(secret.Resolver{}, nil)
	if _, err := open(adapters.DestinationConfig{Name: "erp", URL: "http://erp.example", Client: "100"}); ferry.CodeOf(err) != ferry.CodeBadConfig {
		t.Errorf("client with rest: %v", err)
	}
	d, err := open(adapters.DestinationConfig{Name: "erp", URL: "http://erp.example"})
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]adapters.RouteConfig{
		"entity": {Entity: "Invoices"}, "write": {Write: "upsert"}, "finish": {Finish: "post"}, "batch": {Batch: true},
		"key": {Key: map[string]string{"a": ".b"}}, "keyLength": {KeyLength: 16}, "keyLength of 3": {KeyField: "ref", KeyLength: 3},
		"requestIdHeader": {RequestIDHeader: "Authorization"},
	} {
		if _, err := d.Route(cfg); ferry.CodeOf(err) != ferry.CodeBadConfig {
			t.Errorf("%s: %v", name, err)
		}
	}
}

package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/api"
)

const batch = invoices + "/batch"

func TestBatchBodies(t *testing.T) {
	s := newSurface(t)
	a := s.call("sender-key", http.MethodPost, batch, "\ufeff"+`[
		{"body": {"n": 1.10, "big":12345678901234567890,  "s":"<&>"} , "idempotencyKey":"a", "properties":{"p":"1"}},
		{"body": "<x>ä</x>", "contentType": "application/xml", "correlationId":"c", "timeToLive":"PT5M"},
		{"bodyBase64": "/wA=", "orderingKey":"o"},
		{"bodyBase64": "eyI", "contentType":"application/vnd.a+json"},
		{"body": "text"},
		{"body": null}
	]`, "x-ms-workflow-run-id: r1")
	got := read[api.BatchAnswer](t, a, http.StatusOK)
	if got.Accepted != 6 || got.Refused != 0 || len(got.Items) != 6 {
		t.Fatalf("answer %s", a.body)
	}
	want := [][2]string{
		{`{"n": 1.10, "big":12345678901234567890,  "s":"<&>"}`, "application/json"},
		{`<x>ä</x>`, "application/xml"},
		{"\xff\x00", "application/octet-stream"},
		{`{"`, "application/vnd.a+json"},
		{`"text"`, "application/json"},
		{`null`, "application/json"},
	}
	for i, item := range got.Items {
		m := s.fake.messages[item.ID].msg
		if diff := cmp.Diff(want[i], [2]string{string(m.Body), m.ContentType}); diff != "" {
			t.Errorf("item %d (-want +got):\n%s", i, diff)
		}
		if item.Status != 201 || item.Duplicate == nil || *item.Duplicate || item.StatusURL == "" {
			t.Errorf("item %d: %+v", i, item)
		}
		if m.Sender.Name != "flow" || m.Sender.Flow == nil || m.Sender.Flow.RunID != "r1" {
			t.Errorf("item %d: sender %+v", i, m.Sender)
		}
	}
	if m := s.fake.messages[got.Items[0].ID].msg; m.IdempotencyKey != "a" || m.Properties["p"] != "1" {
		t.Errorf("item 0: %+v", m)
	}
	if m := s.fake.messages[got.Items[1].ID].msg; m.CorrelationID != "c" || m.TimeToLive.Minutes() != 5 {
		t.Errorf("item 1: %+v", m)
	}
}

// badBatch has one good message among the bad.
const badBatch = `[
	{"body":1},
	{"body":1,"idempotencyKey":""},
	{"body":1,"idempotencyKey":7},
	{"body":1,"deliverAt":"soon"},
	{"body":1,"unknown":1},
	{},
	7,
	{"body":{},"contentType":"text/xml"},
	{"body":2,"idempotencyKey":"known"},
	{"body":1,"properties":{"a b":"1"}}
]`

func TestBatchAllOrNothing(t *testing.T) {
	s := newSurface(t)
	s.send("1", "Idempotency-Key: known")

	p := s.refusal(s.call("sender-key", http.MethodPost, batch, badBatch), ferry.CodeInvalid)
	var pointers []string
	for _, e := range p.Errors {
		pointers = append(pointers, e.Pointer)
	}
	want := []string{"/1/idempotencyKey", "/2/idempotencyKey", "/3/deliverAt", "/4", "/5/body", "/6", "/7/body", "/9/properties"}
	if diff := cmp.Diff(want, pointers); diff != "" {
		t.Errorf("pointers (-want +got):\n%s", diff)
	}

	p = s.refusal(s.call("sender-key", http.MethodPost, batch, `[{"body":1},{"body":2,"idempotencyKey":"known"}]`), ferry.CodeInvalid)
	if len(p.Errors) != 1 || p.Errors[0].Pointer != "/1" || !strings.HasPrefix(p.Errors[0].Detail, "keyReused") {
		t.Errorf("errors %+v", p.Errors)
	}
	if len(s.fake.order) != 1 {
		t.Errorf("%d messages were accepted of batches that were refused", len(s.fake.order)-1)
	}
}

func TestBatchPartial(t *testing.T) {
	s := newSurface(t)
	known := s.send("1", "Idempotency-Key: known")
	s.wrong = true
	got := read[api.BatchAnswer](t, s.call("sender-key", http.MethodPost, batch+"?partial=true", badBatch), http.StatusOK)
	type line struct {
		Status int
		Code   ferry.Code
	}
	var lines []line
	for _, item := range got.Items {
		lines = append(lines, line{item.Status, item.Code})
	}
	want := []line{
		{201, ""},
		{400, ferry.CodeBadKey},
		{422, ferry.CodeInvalid},
		{400, ferry.CodeBadTime},
		{400, ferry.CodeBadRequest},
		{400, ferry.CodeEmptyBody},
		{422, ferry.CodeInvalid},
		{422, ferry.CodeInvalid},
		{409, ferry.CodeKeyReused},
		{400, ferry.CodeBadRequest},
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	if got.Accepted != 1 || got.Refused != 9 || got.Items[8].ID != known.ID {
		t.Errorf("answer %+v", got)
	}
	if len(s.fake.refused) != 9 {
		t.Errorf("refused counted: %q", s.fake.refused)
	}
}

func TestBatchRefusedWhole(t *testing.T) {
	item := `{"body":1}`
	for name, tc := range map[string]struct {
		target, body string
		header       string
		code         ferry.Code
	}{
		"empty":           {batch, "", "A: b", ferry.CodeEmptyBody},
		"no messages":     {batch, "[]", "A: b", ferry.CodeInvalid},
		"an object":       {batch, item, "A: b", ferry.CodeInvalid},
		"cut":             {batch, "[" + item, "A: b", ferry.CodeBadRequest},
		"501":             {batch, "[" + strings.Repeat(item+",", 500) + item + "]", "A: b", ferry.CodeBatchTooLarge},
		"too large":       {batch, "[" + strings.Repeat(" ", 17<<20) + "]", "A: b", ferry.CodeTooLarge},
		"item too large":  {"/v1/routes/small/messages/batch", `[{"body":"` + strings.Repeat("x", 63) + `"}]`, "A: b", ferry.CodeInvalid},
		"not JSON":        {batch, "[" + item + "]", "Content-Type: text/csv", ferry.CodeUnsupportedMedia},
		"chunks":          {batch, "[" + item + "]", "X-Ms-Transfer-Mode: Chunked", ferry.CodeChunkingNotSupported},
		"partial=maybe":   {batch + "?partial=maybe", "[" + item + "]", "A: b", ferry.CodeBadRequest},
		"options of send": {batch + "?idempotencyKey=a", "[" + item + "]", "A: b", ferry.CodeBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSurface(t)
			s.refusal(s.call("sender-key", http.MethodPost, tc.target, tc.body, tc.header), tc.code)
			if len(s.fake.order) != 0 {
				t.Errorf("%d messages accepted", len(s.fake.order))
			}
		})
	}
}

func TestBatchOf500(t *testing.T) {
	s := newSurface(t)
	items := make([]json.RawMessage, ferry.MaxBatch)
	for i := range items {
		items[i] = json.RawMessage(fmt.Sprintf(`{"body":%d}`, i))
	}
	body, err := json.Marshal(items)
	if err != nil {
		t.Fatal(err)
	}
	got := read[api.BatchAnswer](t, s.call("sender-key", http.MethodPost, batch, string(body)), http.StatusOK)
	if got.Accepted != ferry.MaxBatch {
		t.Fatalf("%d accepted", got.Accepted)
	}
	for i, item := range got.Items {
		if body := string(s.fake.messages[item.ID].msg.Body); body != fmt.Sprint(i) {
			t.Fatalf("item %d has the body %s: out of order", i, body)
		}
	}
	s.fake.err = ferry.Errorf(ferry.CodeNoSpace, "the disk is full")
	s.refusal(s.call("sender-key", http.MethodPost, batch+"?partial=true", string(body)), ferry.CodeNoSpace)
}

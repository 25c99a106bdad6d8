package api

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
)

// TestEncodeAsTheStandardDoes: what encode writes, encoding/json reads back as
// it was.
func TestEncodeAsTheStandardDoes(t *testing.T) {
	at := time.Date(2026, 11, 23, 9, 30, 0, 5e6, time.UTC)
	id := ferry.NewID(at)
	until := at.Add(time.Hour)
	for _, v := range []any{
		ferry.Envelope{
			ID: id, Route: "r", State: ferry.StateRetrying, Size: 1 << 40, CreatedAt: at, UpdatedAt: at, ExpiresAt: &until,
			Properties: map[string]string{"b": "\"\\\n\x01\x7f", "a": "ä𝄞<&>\u2028"}, Result: json.RawMessage(`{"n": 1.10}`),
			WaitingFor: &ferry.WaitingFor{Reason: "orderingKey", Behind: &id},
			Attempts:   []ferry.Attempt{{Number: 1, Turn: 1 << 60, StartedAt: at, Fields: []ferry.FieldError{{Field: "f", Text: "t"}}}},
		},
		ferry.NewKey{Key: ferry.Key{ID: "k", Name: "n", CreatedAt: at, Routes: []string{"a"}}, Secret: "s"},
		ferry.BulkAnswer{ByRoute: map[string]map[ferry.Reason]int{"r": {ferry.ReasonExpired: 2}}},
		ferry.BulkRequest{Filter: ferry.DeadLetterFilter{Since: at}},
		ferry.StatusReport{StartedAt: at, DeadLetters: map[ferry.Reason]int64{"x": 1}, Routes: []ferry.RouteInfo{}, Workers: []ferry.WorkerInfo{}},
	} {
		data := encode(v)
		back := reflect.New(reflect.TypeOf(v))
		if err := json.Unmarshal(data, back.Interface()); err != nil {
			t.Errorf("%T: %v: %s", v, err, data)
			continue
		}
		if diff := cmp.Diff(v, back.Elem().Interface()); diff != "" {
			t.Errorf("%T (-want +got):\n%s\n%s", v, diff, data)
		}
	}
}

func TestEncodeItsOwnWay(t *testing.T) {
	type of struct {
		At   time.Time       `json:"at"`
		None []int           `json:"none"`
		Raw  json.RawMessage `json:"raw"`
		Data []byte          `json:"data"`
		Nil  *int            `json:"nil"`
		Zero time.Time       `json:"zero,omitzero"`
		Text string          `json:"text"`
		F    float64         `json:"f"`
	}
	v := of{At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600)), Raw: json.RawMessage("{broken"), Data: []byte{0xff}, Text: "\xff", F: 1.5}
	want := `{"at":"2026-01-02T02:04:05.000Z","none":[],"raw":"{broken","data":"/w==","nil":null,"text":"` + "\ufffd" + `","f":1.5}`
	if got := string(encode(v)); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	// Large whole numbers keep every digit.
	v.Raw = json.RawMessage(`12345678901234567890.10`)
	if got := string(encode(v.Raw)); got != `12345678901234567890.10` {
		t.Errorf("raw: %s", got)
	}
}

// TestAppendAccepted: the answer by hand is the one that encode would write.
func TestAppendAccepted(t *testing.T) {
	for _, a := range []ferry.Accepted{
		{ID: ferry.NewID(time.Now()), Route: "r1", State: ferry.StateAccepted, StatusURL: `http://h/"x`},
		{ID: ferry.NewID(time.Now()), Route: "r1", State: ferry.StateCompleted, Duplicate: true, Revision: 12},
	} {
		if diff := cmp.Diff(string(encode(a)), string(appendAccepted(nil, &a))); diff != "" {
			t.Errorf("-encode +by hand:\n%s", diff)
		}
	}
}

func TestPauseAfter(t *testing.T) {
	for waited, want := range map[time.Duration]time.Duration{
		0: 5, -time.Hour: 5, 4999 * time.Millisecond: 5, 5 * time.Second: 10, 14 * time.Second: 10, 15 * time.Second: 20,
		35 * time.Second: 40, 74 * time.Second: 40, 75 * time.Second: 60, 1000 * time.Hour: 60,
	} {
		if got := pauseAfter(waited); got != want*time.Second {
			t.Errorf("after %s: %s, want %d s", waited, got, want)
		}
	}
}

func TestShownPath(t *testing.T) {
	token := strings.Repeat("aZ-_3", 13)
	for path, want := range map[string]string{
		"/v1/messages/01936d2e-7c1a-7f3b-9e4d-5a6b7c8d9e0f/body": "/v1/messages/01936d2e-7c1a-7f3b-9e4d-5a6b7c8d9e0f/body",
		"/v1/results/" + token:                    "/v1/results/***",
		"/v1/results/short":                       "/v1/results/***",
		"/v1/results/a/" + token:                  "/v1/results/***",
		"/V1/Results/" + token:                    "/V1/Results/***",
		"//v1/results/" + token:                   "//v1/results/***",
		"/base/v1//results/" + token + "/":        "/base/v1//results/***/",
		"/" + token:                               "/***",
		"/results/" + token + "/x/" + token:       "/results/***/x/***",
		"/v1/results/":                            "/v1/results/",
		"/ȺȺ/v1/results/x":                        "/ȺȺ/v1/results/***", // longer in small letters
		"/ȺȺȺȺȺȺ/v1/results/" + token:             "/ȺȺȺȺȺȺ/v1/results/***",
		"/\u212a/v1/Results/" + token[:20]:        "/\u212a/v1/Results/***", // shorter
		"/v1/subscriptions/" + token[:20]:         "/v1/subscriptions/***",
		"/v1/subscriptions/completed":             "/v1/subscriptions/completed",
		"/v1/subscriptions/dead-lettered":         "/v1/subscriptions/dead-lettered",
		"/v1/routes/" + strings.Repeat("a b", 30): "/v1/routes/" + strings.Repeat("a b", 30),
		"": "",
	} {
		if got := shownPath(path); got != want {
			t.Errorf("%s is shown as %s, want %s", path, got, want)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "a\"b\\", "\x00\x1f\x7f", "ä\xff𝄞", "\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got, want string
		data := appendString(nil, s)
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		standard, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(standard, &want); err != nil || got != want {
			t.Fatalf("%q reads back as %q, want %q", data, got, want)
		}
	})
}

func FuzzUnquote(f *testing.F) {
	for _, s := range []string{`a`, `"a"`, `"a\"b\\"`, `"`, `""x`, `"\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := unquote(s)
		switch {
		case err != nil && ferry.CodeOf(err) != ferry.CodeBadKey:
			t.Fatalf("%q: code %s", s, ferry.CodeOf(err))
		case err == nil && len(got) > len(s):
			t.Fatalf("%q grew to %q", s, got)
		case err == nil && s != "" && s[0] != '"' && got != s:
			t.Fatalf("bare %q became %q", s, got)
		}
	})
}

package client_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"ferry"
	"ferry/client"
)

func TestSendFrom(t *testing.T) {
	var got *http.Request
	var body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		got, body = r, string(data)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"id":"01936d2e-7c1a-7f3b-9e4d-5a6b7c8d9e0f","route":"orders","state":"accepted"}`)
	}))
	defer server.Close()
	c, err := client.New(server.URL, "the-key", client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("large ", 100_000)
	m := ferry.Message{IdempotencyKey: "k", ContentType: "text/plain", Body: []byte("left out")}
	for name, tc := range map[string]struct {
		body   string
		size   int64
		length int64
	}{
		"with a length":    {large, int64(len(large)), int64(len(large))},
		"without a length": {large, -1, -1},
		"empty":            {"", 0, 0},
	} {
		a, err := c.SendFrom(t.Context(), "orders", m, struct{ io.Reader }{strings.NewReader(tc.body)}, tc.size)
		if err != nil || a.Route != "orders" {
			t.Fatalf("%s: %+v, %v", name, a, err)
		}
		if body != tc.body || got.ContentLength != tc.length || got.Header.Get("Idempotency-Key") != `"k"` || got.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("%s: %d bytes of length %d, %v", name, len(body), got.ContentLength, got.Header)
		}
	}
	cut := errors.New("the disk is asleep")
	if _, err := c.SendFrom(t.Context(), "orders", m, io.MultiReader(strings.NewReader("x"), failing{cut}), 10); !errors.Is(err, cut) {
		t.Errorf("a body that cannot be read: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestBodyIsHeldAgainstItsHash: what was altered or cut on the way is no body.
func TestBodyIsHeldAgainstItsHash(t *testing.T) {
	large := bytes.Repeat([]byte("large "), 100_000)
	sum := sha256.Sum256(large)
	digest := "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
	for name, tc := range map[string]struct {
		body   []byte
		length int
		digest string
		ok     bool
	}{
		"as it is":           {large, len(large), digest, true},
		"an older broker":    {large, len(large), "", true},
		"altered":            {bytes.ToUpper(large), len(large), digest, false},
		"cut, length known":  {large[:1000], len(large), digest, false},
		"cut, with a digest": {large[:1000], 1000, digest, false},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", strconv.Itoa(tc.length))
			if tc.digest != "" {
				w.Header().Set("Repr-Digest", tc.digest)
			}
			_, _ = w.Write(tc.body)
		}))
		c, err := client.New(server.URL, "the-key", client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.OpenBody(t.Context(), "abcdef", 2)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(b)
		if (err == nil) != tc.ok || tc.ok && !bytes.Equal(got, tc.body) || b.ContentType != "text/plain" || b.Size != int64(tc.length) {
			t.Errorf("%s: %d bytes, %v, %+v", name, len(got), err, b)
		}
		if err := b.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if whole, media, err := c.Body(t.Context(), "abcdef", 0); (err == nil) != tc.ok || tc.ok && (!bytes.Equal(whole, large) || media != "text/plain") {
			t.Errorf("%s, whole: %d bytes, %v", name, len(whole), err)
		}
		server.Close()
	}
}

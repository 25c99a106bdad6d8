package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"ferry"
	"ferry/api"
)

// passing tells when the first part of a body has come through.
type passing struct {
	*fake
	through chan int
}

func (p passing) StageBody(ctx context.Context, route string, r io.Reader, limit int64) (ferry.StagedBody, error) {
	head := make([]byte, 1<<20)
	n, err := io.ReadFull(r, head)
	if err != nil {
		return ferry.StagedBody{}, err
	}
	p.through <- n
	return p.fake.StageBody(ctx, route, io.MultiReader(bytes.NewReader(head), r), limit)
}

// TestALargeBodyGoesThroughAsItComes: with and without a length, what has come of
// it is passed on before the rest is sent.
func TestALargeBodyGoesThroughAsItComes(t *testing.T) {
	for name, length := range map[string]int64{"length": 3 << 20, "chunked": -1} {
		t.Run(name, func(t *testing.T) {
			p := passing{newFake(), make(chan int, 1)}
			ts, _ := serve(t, p, api.Options{})
			body := bytes.Repeat([]byte("0123456789abcdef"), 3<<16)
			reader, writer := io.Pipe()
			go func() {
				_, _ = writer.Write(body[:2<<20])
				<-p.through
				_, _ = writer.Write(body[2<<20:])
				_ = writer.Close()
			}()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ts.URL+"/v1/routes/large/messages", reader)
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = length
			req.Header.Set("Authorization", "Bearer any-key")
			resp, err := ts.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusCreated || p.stages != 1 {
				t.Fatalf("status %d, staged %d", resp.StatusCode, p.stages)
			}
			if got := p.messages[p.order[0]].msg.Body; !bytes.Equal(got, body) {
				t.Errorf("%d bytes arrived, or others", len(got))
			}
		})
	}
}

// TestOnlyLargeBodiesAreStaged: a small one stays in memory, which is faster.
func TestOnlyLargeBodiesAreStaged(t *testing.T) {
	f := newFake()
	ts, _ := serve(t, f, api.Options{})
	for size, want := range map[int]int{1: 0, ferry.InlineBody: 0, ferry.InlineBody + 1: 1} {
		for name, r := range map[string]io.Reader{"length": bytes.NewReader(make([]byte, size)), "chunked": struct{ io.Reader }{bytes.NewReader(make([]byte, size))}} {
			f.stages = 0
			if resp := post(t, ts, "/v1/routes/large/messages", r, "any-key"); resp.StatusCode != http.StatusCreated || f.stages != want {
				t.Errorf("%d bytes, %s: status %d, staged %d times, want %d", size, name, resp.StatusCode, f.stages, want)
			}
		}
	}
}

func TestLargeBodiesRefused(t *testing.T) {
	const head = "POST /v1/routes/invoices/messages HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer sender-key\r\n"
	chunks := func(n int) string {
		return strings.Repeat(fmt.Sprintf("%x\r\n%s\r\n", 64<<10, strings.Repeat("x", 64<<10)), n)
	}
	full := ferry.Errorf(ferry.CodeNoSpace, "the disk is full")
	for name, tc := range map[string]struct {
		request string
		cut     bool
		err     error
		code    ferry.Code
	}{
		"chunked beyond the limit": {head + "Transfer-Encoding: chunked\r\n\r\n" + chunks(17) + "0\r\n\r\n", false, nil, ferry.CodeTooLarge},
		"length beyond the limit":  {head + "Content-Length: 1048577\r\n\r\n", false, nil, ferry.CodeTooLarge},
		"cut off":                  {head + "Content-Length: 1000000\r\n\r\n" + strings.Repeat("x", 500_000), true, nil, ferry.CodeBadRequest},
		"chunked and cut off":      {head + "Transfer-Encoding: chunked\r\n\r\n" + chunks(10), true, nil, ferry.CodeBadRequest},
		"full disk":                {head + "Content-Length: 1000000\r\n\r\n" + strings.Repeat("x", 1_000_000), false, full, ferry.CodeNoSpace},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.err = tc.err
			ts, _ := serve(t, f, api.Options{})
			resp, p := raw(t, ts, tc.request, tc.cut)
			if p.Code != tc.code || resp.StatusCode != api.Status(tc.code) {
				t.Errorf("%d %s (%s), want %s", resp.StatusCode, p.Code, p.Detail, tc.code)
			}
			if tc.code == ferry.CodeTooLarge && !strings.Contains(p.Hint, "maxBytes") {
				t.Errorf("the hint is %q", p.Hint)
			}
			if len(f.order) != 0 || len(f.staged) != 0 {
				t.Errorf("%d messages, %d staged bodies stay", len(f.order), len(f.staged))
			}
		})
	}
}

// TestBodyInParts: HEAD, and one part by Range; of any other Range the whole.
func TestBodyInParts(t *testing.T) {
	s := newSurface(t)
	text := "0123456789"
	path := "/v1/messages/" + s.send(text).ID.String() + "/body"
	sum := sha256.Sum256([]byte(text))
	digest := "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
	whole := s.call("sender-key", http.MethodGet, path, "")
	tag := whole.Header.Get("Etag")
	for _, tc := range []struct {
		condition, wanted string
		status            int
		body, content     string
	}{
		{"", "", 200, text, ""},
		{"", "bytes=0-3", 206, "0123", "bytes 0-3/10"},
		{"", "bytes=8-", 206, "89", "bytes 8-9/10"},
		{"", "bytes=8-100", 206, "89", "bytes 8-9/10"},
		{"", "bytes=-3", 206, "789", "bytes 7-9/10"},
		{"", "bytes=-100", 206, text, "bytes 0-9/10"},
		{"", "bytes=10-", 200, text, ""},
		{"", "bytes=-0", 200, text, ""},
		{"", "bytes=5-2", 200, text, ""},
		{"", "bytes=0-1,4-5", 200, text, ""},
		{"", "bytes=+1-2", 200, text, ""},
		{"", "bytes=1-99999999999999999999", 200, text, ""},
		{"", "lines=0-3", 200, text, ""},
		{tag, "bytes=0-3", 206, "0123", "bytes 0-3/10"},
		{`"another"`, "bytes=0-3", 200, text, ""},
	} {
		var header []string
		if tc.wanted != "" {
			header = append(header, "Range: "+tc.wanted)
		}
		if tc.condition != "" {
			header = append(header, "If-Range: "+tc.condition)
		}
		a := s.call("sender-key", http.MethodGet, path, "", header...)
		if a.StatusCode != tc.status || string(a.body) != tc.body || a.Header.Get("Content-Range") != tc.content ||
			a.Header.Get("Content-Length") != fmt.Sprint(len(tc.body)) || a.Header.Get("Repr-Digest") != digest {
			t.Errorf("%q %q: %d %q %v", tc.wanted, tc.condition, a.StatusCode, a.body, a.Header)
		}
		a = s.call("sender-key", http.MethodHead, path, "", header...)
		if a.StatusCode != tc.status || len(a.body) != 0 || a.Header.Get("Content-Length") != fmt.Sprint(len(tc.body)) {
			t.Errorf("HEAD %q: %d %q %v", tc.wanted, a.StatusCode, a.body, a.Header)
		}
	}
	s.fake.err = ferry.Errorf(ferry.CodeBodyMissing, "the body is gone")
	s.refusal(s.call("operator-key", http.MethodGet, path, ""), ferry.CodeBodyMissing)
}

// refusing refuses every large body at once.
type refusing struct{ *fake }

func (refusing) StageBody(context.Context, string, io.Reader, int64) (ferry.StagedBody, error) {
	return ferry.StagedBody{}, ferry.Errorf(ferry.CodeNoSpace, "the disk is full")
}

// TestARefusedSenderHearsWhy: it reads the answer only after it has written all.
func TestARefusedSenderHearsWhy(t *testing.T) {
	ts, _ := serve(t, refusing{newFake()}, api.Options{})
	const size = 4 << 20 // more than the connection holds
	head := fmt.Sprintf("POST /v1/routes/large/messages HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer any-key\r\nContent-Length: %d\r\n\r\n", size)
	resp, p := raw(t, ts, head+strings.Repeat("x", size), false)
	if p.Code != ferry.CodeNoSpace || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s, Retry-After %q", resp.StatusCode, p.Code, resp.Header.Get("Retry-After"))
	}
	// One that waits to be asked for its body is not asked for it.
	resp, p = raw(t, ts, strings.Replace(head, "\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n", 1), false)
	if p.Code != ferry.CodeNoSpace || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("with Expect: %d %s", resp.StatusCode, p.Code)
	}
}

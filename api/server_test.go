package api_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/api"
)

// serve puts the surface behind a real server with the limits of api.Server.
func serve(t *testing.T, f api.Service, opts api.Options) (*httptest.Server, http.Handler) {
	t.Helper()
	h := api.New(f, opts)
	ts := httptest.NewUnstartedServer(h)
	limits := api.Server("", h)
	ts.Config.MaxHeaderBytes = limits.MaxHeaderBytes
	ts.Config.ReadHeaderTimeout = limits.ReadHeaderTimeout
	ts.Config.ReadTimeout, ts.Config.WriteTimeout = limits.ReadTimeout, limits.WriteTimeout
	ts.Start()
	t.Cleanup(ts.Close)
	return ts, h
}

// raw writes a request as it stands and reads the answer.
func raw(t *testing.T, ts *httptest.Server, request string, closeWrite bool) (*http.Response, api.Problem) {
	t.Helper()
	conn, err := net.Dial("tcp", ts.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if closeWrite {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("read the answer: %v", err)
	}
	defer resp.Body.Close()
	var p api.Problem
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		t.Fatalf("the answer %d is not JSON: %v", resp.StatusCode, err)
	}
	return resp, p
}

const smallHead = "POST /v1/routes/small/messages HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer sender-key\r\n"

func TestBodyLengths(t *testing.T) {
	chunk := func(n int) string { return fmt.Sprintf("%x\r\n%s\r\n", n, strings.Repeat("x", n)) }
	for name, tc := range map[string]struct {
		request string
		cut     bool
		code    ferry.Code
	}{
		"length beyond the limit":               {smallHead + "Content-Length: 65\r\n\r\n" + strings.Repeat("x", 65), false, ferry.CodeTooLarge},
		"length beyond the limit, no body sent": {smallHead + "Content-Length: 2000000\r\n\r\n", false, ferry.CodeTooLarge},
		"length beyond every limit":             {smallHead + "Content-Length: 9999999999999\r\n\r\n", false, ferry.CodeTooLarge},
		"chunked beyond the limit":              {smallHead + "Transfer-Encoding: chunked\r\n\r\n" + chunk(40) + chunk(40) + "0\r\n\r\n", false, ferry.CodeTooLarge},
		"cut off":                               {smallHead + "Content-Length: 60\r\n\r\nabc", true, ferry.CodeBadRequest},
		"chunked and empty":                     {smallHead + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false, ferry.CodeEmptyBody},
		"header block":                          {smallHead + "X-Long: " + strings.Repeat("x", 33<<10) + "\r\n\r\n", false, ferry.CodeHeaderTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			ts, _ := serve(t, f, api.Options{})
			resp, p := raw(t, ts, tc.request, tc.cut)
			if p.Code != tc.code || resp.StatusCode != api.Status(tc.code) {
				t.Errorf("%d %s (%s), want %s", resp.StatusCode, p.Code, p.Detail, tc.code)
			}
			if len(f.order) != 0 {
				t.Error("the message was accepted")
			}
		})
	}
}

func TestChunkedBodyOfTheExactLimit(t *testing.T) {
	f := newFake()
	ts, _ := serve(t, f, api.Options{})
	body := strings.Repeat("x", 64)
	resp := post(t, ts, "/v1/routes/small/messages", struct{ io.Reader }{strings.NewReader(body)}, "sender-key")
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("status %d", resp.StatusCode)
	}
	if got := string(f.messages[f.order[0]].msg.Body); got != body {
		t.Errorf("%d bytes kept", len(got))
	}
	if loc := resp.Header.Get("Location"); loc != ts.URL+"/v1/messages/"+f.order[0].String() {
		t.Errorf("without a public URL the Location is %q", loc)
	}
}

// TestLargeBodies sends bodies that make the buffer grow, with and without a
// length.
func TestLargeBodies(t *testing.T) {
	f := newFake()
	ts, _ := serve(t, f, api.Options{})
	for i, size := range []int{1, 8 << 10, 8<<10 + 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 5<<20 + 7} {
		body := bytes.Repeat([]byte{byte(i), 7, 0xff}, size/3+1)[:size]
		for name, r := range map[string]io.Reader{"length": bytes.NewReader(body), "chunked": struct{ io.Reader }{bytes.NewReader(body)}} {
			resp := post(t, ts, "/v1/routes/large/messages", r, "any-key")
			if resp.StatusCode != http.StatusCreated {
				t.Fatalf("%d bytes, %s: %d", size, name, resp.StatusCode)
			}
			if got := f.messages[f.order[len(f.order)-1]].msg.Body; !bytes.Equal(got, body) {
				t.Errorf("%d bytes, %s: %d bytes arrived, or others", size, name, len(got))
			}
		}
	}
}

func post(t *testing.T, ts *httptest.Server, path string, body io.Reader, key string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ts.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := ts.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// TestBodyMemory holds one request in the middle of its body and wants another
// refused while both do not fit, and accepted afterwards.
func TestBodyMemory(t *testing.T) {
	f := newFake()
	ts, _ := serve(t, f, api.Options{BodyMemory: 128 << 10})
	reader, writer := io.Pipe()
	first := make(chan int, 1)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ts.URL+"/v1/routes/large/messages", reader)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer any-key")
	req.ContentLength = 112 << 10
	go func() {
		resp, err := ts.Client().Do(req)
		if err != nil {
			first <- 0
			return
		}
		_ = resp.Body.Close()
		first <- resp.StatusCode
	}()
	if _, err := writer.Write(make([]byte, 100<<10)); err != nil {
		t.Fatal(err)
	}

	deadline := time.Now().Add(10 * time.Second)
	for { // until the first holds its memory
		resp := post(t, ts, "/v1/routes/large/messages", bytes.NewReader(make([]byte, 25<<10)), "any-key")
		if resp.StatusCode == http.StatusTooManyRequests {
			if resp.Header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("never refused, last %d", resp.StatusCode)
		}
	}
	// A body that goes to a file takes none of it.
	if resp := post(t, ts, "/v1/routes/large/messages", bytes.NewReader(make([]byte, 3<<20)), "any-key"); resp.StatusCode != http.StatusCreated {
		t.Errorf("a large body while the memory is taken: %d", resp.StatusCode)
	}
	if _, err := writer.Write(make([]byte, 12<<10)); err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	if status := <-first; status != http.StatusCreated {
		t.Errorf("the first was answered %d", status)
	}
	// One body fits whatever the bound, and all memory came back.
	if resp := post(t, ts, "/v1/routes/large/messages", bytes.NewReader(make([]byte, 200<<10)), "any-key"); resp.StatusCode != http.StatusCreated {
		t.Errorf("a body larger than the bound, alone: %d", resp.StatusCode)
	}
}

// TestBodyThatStandsStill: the server's ReadTimeout ends it with an answer, and
// the memory comes back.
func TestBodyThatStandsStill(t *testing.T) {
	f := newFake()
	h := api.New(f, api.Options{})
	ts := httptest.NewUnstartedServer(h)
	ts.Config.ReadTimeout = 50 * time.Millisecond
	ts.Start()
	defer ts.Close()
	resp, p := raw(t, ts, smallHead+"Content-Length: 60\r\n\r\nabc", false)
	if resp.StatusCode != http.StatusBadRequest || !strings.Contains(p.Detail, "slowly") || len(f.order) != 0 {
		t.Errorf("%d %s, %d messages", resp.StatusCode, p.Detail, len(f.order))
	}
}

func TestHead(t *testing.T) {
	s := newSurface(t)
	id := s.send(`{}`).ID.String()
	a := s.call("sender-key", http.MethodHead, "/v1/messages/"+id, "")
	if a.StatusCode != http.StatusOK {
		t.Errorf("HEAD: %d", a.StatusCode)
	}
}

func TestServerLimits(t *testing.T) {
	s := api.Server("127.0.0.1:0", http.NotFoundHandler())
	if s.MaxHeaderBytes <= ferry.MaxHeaderBytes || s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= 0 || s.WriteTimeout <= 0 || s.IdleTimeout <= 0 {
		t.Errorf("a limit is missing: %+v", s)
	}
}

// Package hostile makes requests that nobody should send: mutilated, oversized,
// smuggled, slow and cut off, drawn from a seed. Tests throw them at the real
// surface; what a seed draws it draws again.
package hostile

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Call is one call of the surface that is under attack, as its description has it.
type Call struct {
	Method, Path string   // with {parameters}
	Query        []string // names of the parameters that it knows
}

// Target is what the requests are made for.
type Target struct {
	Calls   []Call
	Routes  []string
	Keys    []string // good ones, of any role
	IDs     []string // of messages that exist
	MaxBody int      // the longest body that is sent whole, bytes
}

// Request is what one connection is given.
type Request struct {
	Kind  string   // what was drawn
	Parts [][]byte // written one after the other
	Pause time.Duration
	// Cut: the connection ends after the parts, without waiting for an answer.
	Cut bool
	// Whole says that a server has all that it needs to answer.
	Whole bool
}

// Bytes is how many the request has.
func (r *Request) Bytes() (n int) {
	for _, p := range r.Parts {
		n += len(p)
	}
	return n
}

// Generator draws requests. It must not be used concurrently.
type Generator struct {
	r *rand.Rand
	t Target
}

// New makes a generator: the same seed draws the same requests.
func New(seed uint64, t Target) *Generator {
	return &Generator{r: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), t: t}
}

// kinds are what is drawn, each as often as it stands here.
var kinds = []struct {
	name   string
	weight int
	draw   func(*Generator) (raw []byte, whole bool)
}{
	{"call", 30, (*Generator).call},
	{"body", 20, (*Generator).hostileBody},
	{"path", 12, (*Generator).hostilePath},
	{"query", 6, (*Generator).hostileQuery},
	{"header", 14, (*Generator).hostileHeader},
	{"login", 6, (*Generator).hostileLogin},
	{"framing", 14, (*Generator).framing},
	{"noise", 4, (*Generator).noise},
	{"pipeline", 2, (*Generator).pipeline},
}

// Next draws a request.
func (g *Generator) Next() Request {
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	n := g.r.IntN(total)
	i := 0
	for n >= kinds[i].weight {
		n -= kinds[i].weight
		i++
	}
	raw, whole := kinds[i].draw(g)
	req := Request{Kind: kinds[i].name, Parts: [][]byte{raw}, Whole: whole}
	switch g.r.IntN(20) {
	case 0: // cut off somewhere
		req.Kind += ", cut"
		req.Parts[0] = raw[:g.r.IntN(len(raw)+1)]
		req.Cut, req.Whole = true, false
	case 1: // sent whole, and nobody waits
		req.Kind += ", left"
		req.Cut = true
	case 2: // a few bytes at a time
		req.Kind += ", slow"
		req.Parts, req.Pause = g.split(raw), time.Millisecond
	case 3: // a byte is another one
		req.Kind += ", flipped"
		req.Parts[0] = bytes.Clone(raw)
		for range 1 + g.r.IntN(4) {
			if len(raw) > 0 {
				req.Parts[0][g.r.IntN(min(len(raw), 2048))] = byte(g.r.Uint32())
			}
		}
		req.Whole = false // a length may have become another one
	}
	return req
}

// split cuts the first kilobyte into pieces of a few bytes.
func (g *Generator) split(raw []byte) (parts [][]byte) {
	for len(raw) > 0 && len(parts) < 20 {
		n := min(len(raw), 1+g.r.IntN(64))
		parts, raw = append(parts, raw[:n]), raw[n:]
	}
	return append(parts, raw)
}

func pick[T any](g *Generator, list ...T) T { return list[g.r.IntN(len(list))] }

func (g *Generator) chance(n int) bool { return g.r.IntN(n) == 0 }

// request is a request that is put together piece by piece.
type request struct {
	method, target, version string
	headers                 []string // whole lines
	body                    []byte
	length                  string // of Content-Length; "": what it is; "-": none
}

func (r *request) bytes() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s %s\r\n", r.method, r.target, r.version)
	for _, h := range r.headers {
		b.WriteString(h)
		b.WriteString("\r\n")
	}
	switch r.length {
	case "-":
	case "":
		if len(r.body) > 0 || r.method == "POST" || r.method == "PUT" {
			b.WriteString("Content-Length: " + strconv.Itoa(len(r.body)) + "\r\n")
		}
	default:
		b.WriteString("Content-Length: " + r.length + "\r\n")
	}
	b.WriteString("\r\n")
	b.Write(r.body)
	return b.Bytes()
}

// sane is a request as a decent caller makes it.
func (g *Generator) sane() *request {
	c := pick(g, g.t.Calls...)
	if g.chance(2) { // sending is what is done most
		c = Call{Method: "POST", Path: "/v1/routes/{route}/messages"}
	}
	r := &request{method: c.Method, target: g.fill(c.Path), version: "HTTP/1.1", headers: []string{"Host: broker.test", "Authorization: Bearer " + pick(g, g.t.Keys...)}}
	if len(c.Query) > 0 && g.chance(3) {
		r.target += "?" + pick(g, c.Query...) + "=" + pick(g, "1", "true", "x", "7d", "2026-11-26T00:00:00Z")
	}
	if c.Method == "POST" || c.Method == "PUT" {
		r.headers = append(r.headers, "Content-Type: application/json")
		r.body = []byte(pick(g, `{}`, `{"number":"INV-1","total":1.5}`, `[]`, `{"note":"why"}`, `[{"body":{"number":1}}]`, `{"filter":{"route":"orders"},"dryRun":true}`))
	}
	return r
}

// fill puts something into the parameters of a path.
func (g *Generator) fill(path string) string {
	for {
		from := strings.IndexByte(path, '{')
		to := strings.IndexByte(path, '}')
		if from < 0 || to < from {
			return path
		}
		value := pick(g, "x", "019aaaaa-0000-7000-8000-000000000000", strings.Repeat("a", 70), "abcdef")
		switch path[from+1 : to] {
		case "route":
			value = pick(g, g.t.Routes...)
		case "version":
			value = pick(g, "v1", "v2", "v9", "")
		case "id", "message":
			if len(g.t.IDs) > 0 && g.chance(2) {
				value = pick(g, g.t.IDs...)
			}
		}
		path = path[:from] + value + path[to+1:]
	}
}

// call is a call of the surface with nothing wrong but what it asks for.
func (g *Generator) call() ([]byte, bool) {
	r := g.sane()
	if g.chance(4) {
		r.method = pick(g, "GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "post", "M-SEARCH", strings.Repeat("X", 300))
	}
	if g.chance(6) {
		r.headers = append(r.headers, pick(g, "Range: bytes=0-", "Range: bytes=-1,0-0,5-2", "If-None-Match: *", "Expect: 100-continue", "Origin: https://evil.example", "Origin: https://portal.example",
			"Accept: application/xml;q=0.1, */*;q=0", "x-ms-transfer-mode: chunked", "Prefer: respond-async", "Connection: close", "Connection: keep-alive, Upgrade, x"))
	}
	return r.bytes(), true
}

// hostilePath is a path that no router likes.
func (g *Generator) hostilePath() ([]byte, bool) {
	r := g.sane()
	segment := pick(g, "%00", "%2e%2e", "..", ".", "%2F", "%5c", "%zz", "%", "%c0%ae", "%ff%fe", "%u002e", "ä", "\xff\xfe", "%25%32%66", "a%20b", "~", "*", ";a=b",
		strings.Repeat("a/", 300), strings.Repeat("%41", 500), strings.Repeat("x", 20_000), "%0d%0aX-Injected:%201", "\x7f", "%E2%80%AE", "-", "v1", "{route}")
	switch g.r.IntN(6) {
	case 0:
		r.target = "/" + segment
	case 1:
		r.target = "//" + segment + "/v1/me"
	case 2:
		r.target = "/v1/routes/" + segment + "/messages"
	case 3:
		r.target = strings.Replace(r.target, "/", "/"+segment+"/", 1+g.r.IntN(3))
	case 4:
		r.target = pick(g, "http://other.test/v1/me", "https://[::1]:99999/", "*", "", "?", "#", "/v1/me#x", "broker.test:80", "http://", "/v1/messages/"+segment+"/body", "javascript:1", "///", "/./v1/me", "/v1//me", "/v1/me/")
	default:
		r.target += "/" + segment
	}
	return r.bytes(), false // the server itself may take it for the end of everything
}

// hostileQuery is a query that means nothing, or too much.
func (g *Generator) hostileQuery() ([]byte, bool) {
	r := g.sane()
	name := pick(g, "q", "cursor", "limit", "since", "route", "idempotencyKey", "deliverAt", "timeToLive", "orderingKey", "callbackUrl", "bodyRef", "subscription-key", "partial", "token", "timeout", "onConflict", "state", "waitFor", "after", "version")
	value := pick(g, "%00", "%ff%fe%fd", "-1", "99999999999999999999", "1e309", "NaN", "%zz", "a;b", "a&"+name+"=b", "%F0%9F%92%A9", "0x10", "true", "[]", "{}", "' or 1=1 --", "2026-13-45T99:99:99Z",
		"P9999999999Y", "PT0.0000001S", "-5m", "9999999d", strings.Repeat("a", 300), strings.Repeat("%41", 9000), strings.Repeat("(", 5000), "https://169.254.169.254/", "http://[::1]:1/", "file:///etc/passwd", "https://a:b@c.example/%0d%0a")
	sep := "?"
	if strings.Contains(r.target, "?") {
		sep = "&"
	}
	r.target += sep + name + "=" + strings.ReplaceAll(value, " ", "+")
	if g.chance(5) {
		r.target += strings.Repeat("&"+name+"=x", g.r.IntN(3000))
	}
	return r.bytes(), false
}

// noise is not HTTP.
func (g *Generator) noise() ([]byte, bool) {
	switch g.r.IntN(6) {
	case 0:
		return []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 200)), false // TLS
	case 1:
		return []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"), false
	case 2:
		return []byte("SSH-2.0-OpenSSH_9.9\r\n"), false
	case 3:
		return []byte(strings.Repeat("\r\n", 1+g.r.IntN(5000))), false
	case 4:
		return []byte(strings.Repeat("A", 1+g.r.IntN(200_000))), false
	}
	b := make([]byte, 1+g.r.IntN(4096))
	for i := range b {
		b[i] = byte(g.r.Uint32())
	}
	return b, false
}

// pipeline is many requests in one.
func (g *Generator) pipeline() ([]byte, bool) {
	var all []byte
	for range 2 + g.r.IntN(20) {
		all = append(all, g.sane().bytes()...)
	}
	return all, true
}

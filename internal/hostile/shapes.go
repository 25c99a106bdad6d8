package hostile

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// hostileBody is a body that a parser may stumble over, under a type that leads to
// one.
func (g *Generator) hostileBody() ([]byte, bool) {
	r := g.sane()
	route := pick(g, g.t.Routes...)
	r.method, r.target = "POST", pick(g, "/v1/routes/"+route+"/messages", "/v1/routes/"+route+"/messages", "/v1/routes/"+route+"/messages/batch", "/v1/routes/"+route+"/messages/wait",
		"/"+route+"/messages", "/v1/keys", "/v1/dead-letters/replay", "/v1/subscriptions/completed", "/v1/routes/"+route+"/pause", g.fill("/v1/dead-letters/{id}/replay"))
	r.body = g.payload()
	if len(r.body) > g.t.MaxBody {
		r.body = r.body[:g.t.MaxBody]
	}
	r.headers[len(r.headers)-1] = "Content-Type: " + pick(g, "application/json", "application/json", "application/json; charset=utf-16", "application/cloudevents+json", "application/cloudevents-batch+json",
		"application/xml", "text/xml; charset=\"x\"", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "application/octet-stream", "application/vnd.microsoft.servicebus.json",
		"application/json;;;", "a/b;"+strings.Repeat("c=d;", 200), "\xff/\xfe", "*/*", "")
	if g.chance(8) {
		r.headers = append(r.headers, pick(g, "Content-Encoding: gzip", "Content-Encoding: br, gzip", "ce-specversion: 1.0", "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /x\r\nce-type: "+strings.Repeat("t", 3000), "Idempotency-Key: \"", "Ferry-Properties: {\"a\":", "Ferry-Deliver-At: now"))
	}
	return r.bytes(), true
}

// payload is a body.
func (g *Generator) payload() []byte {
	deep := 1 << (4 + g.r.IntN(14))
	switch g.r.IntN(22) {
	case 0:
		return []byte(strings.Repeat("[", deep))
	case 1:
		return []byte(strings.Repeat("[", deep) + strings.Repeat("]", deep))
	case 2:
		return []byte(strings.Repeat(`{"a":`, deep) + "1" + strings.Repeat("}", deep))
	case 3:
		return []byte(`{"number":` + pick(g, "1e999999999", "-1e-999999999", strings.Repeat("9", 50_000), "0."+strings.Repeat("0", 50_000)+"1", "1E400", "-0", "00", "0x1", "1.", "NaN", "Infinity") + `}`)
	case 4:
		return []byte(`{"number":"` + pick(g, `\ud800`, `\udc00\ud800`, `\u0000`, "\x00", "\xff\xfe", `\x41`, "\u2028", `\`, strings.Repeat(`\u0041`, 20_000)) + `"}`)
	case 5:
		var b bytes.Buffer
		b.WriteByte('{')
		for i := range 1 + g.r.IntN(20_000) {
			fmt.Fprintf(&b, `"k%d":%d,`, i, i)
		}
		b.WriteString(`"z":0}`)
		return b.Bytes()
	case 6:
		return []byte(`{"a":1` + strings.Repeat(`,"a":{"a":1}`, g.r.IntN(2000)) + `}`)
	case 7:
		return []byte("\xef\xbb\xbf" + `{"number":1}` + pick(g, "", "\x00", "garbage", "{}", strings.Repeat(" ", 100_000)))
	case 8:
		return []byte("[" + strings.TrimSuffix(strings.Repeat(`{"body":{}},`, pick(g, 0, 1, 500, 501, 5000)), ",") + "]")
	case 9:
		return []byte(`[{"body":` + strings.Repeat(`[`, 200) + strings.Repeat(`]`, 200) + `},{"bodyBase64":"` + pick(g, "====", "!", base64.StdEncoding.EncodeToString(make([]byte, 9000))) + `"},7,null,[],{"properties":{"a":1}},{"idempotencyKey":""}]`)
	case 10:
		return []byte(`<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">` + entities(12) + `]><l>&a12;</l>`)
	case 11:
		return []byte(`<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>`)
	case 12:
		return []byte(strings.Repeat("<a>", deep) + strings.Repeat("</a>", deep))
	case 13:
		return []byte(strings.Repeat("a=b&", g.r.IntN(20_000)) + pick(g, "%zz", "%", "=", "&&&", "a[b][c]=d", strings.Repeat("k", 70_000)+"=1"))
	case 14:
		return []byte(`{"specversion":"1.0","id":` + pick(g, `"1"`, `1`, `null`, `""`) + `,"source":"` + pick(g, "/x", "", "\x01", "://") + `","type":"t","data_base64":"!!!!","data":{},"time":"never"}`)
	case 15:
		return []byte(`[{"Body":"x","BrokerProperties":{"TimeToLive":-1,"MessageId":` + pick(g, `""`, `7`, `null`, `{}`) + `},"UserProperties":{"a":[]}}]`)
	case 16:
		return []byte(`{"name":` + pick(g, `"../../x"`, `""`, `null`, `"a\u0000b"`, `{}`) + `,"role":"admin","routes":["orders","orders","*"],"limit":{"rate":"9999999999/s","burst":-1}}`)
	case 17:
		return []byte(`{"filter":{"route":"orders","q":"` + strings.Repeat("(", 3000) + `","since":"x"},"expect":-1,"all":true,"dryRun":true}`)
	case 18:
		return []byte(`{"callbackUrl":"` + pick(g, "http://127.0.0.1:1/", "https://169.254.169.254/", "https://[::1]/", "https://x@y/", "gopher://x", "https://a.example/"+strings.Repeat("a", 9000)) + `"}`)
	case 19:
		return make([]byte, pick(g, 0, 1, 255<<10, 256<<10+1, 1<<20, 1<<20+1))
	case 20:
		return []byte(`"` + strings.Repeat("s", 1+g.r.IntN(300_000)))
	}
	b := make([]byte, g.r.IntN(3000))
	for i := range b {
		b[i] = byte(g.r.Uint32())
	}
	return b
}

func entities(n int) string {
	var b strings.Builder
	last := "a"
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, `<!ENTITY a%d "%s">`, i, strings.Repeat("&"+last+";", 10))
		last = "a" + strconv.Itoa(i)
	}
	return b.String()
}

// hostileHeader is headers that are too many, too long, twice, or mean something.
func (g *Generator) hostileHeader() ([]byte, bool) {
	r := g.sane()
	whole := true
	switch g.r.IntN(12) {
	case 0:
		for i := range g.r.IntN(3000) {
			r.headers = append(r.headers, fmt.Sprintf("X-%d: %d", i, i))
		}
	case 1:
		r.headers = append(r.headers, "X-Long: "+strings.Repeat("l", 1<<(8+g.r.IntN(12))))
	case 2:
		for i := range g.r.IntN(400) {
			r.headers = append(r.headers, fmt.Sprintf("Ferry-Property-%d: %s", i, strings.Repeat("v", g.r.IntN(200))))
		}
	case 3:
		twice := pick(g, "Content-Type: text/plain", "Idempotency-Key: a", "Authorization: Bearer b", "Host: other.test", "Ferry-Ordering-Key: x", "BrokerProperties: {}", "Content-Length: 5", "Ferry-Deliver-At: 2026-11-26T00:00:00Z")
		r.headers = append(r.headers, twice, twice)
		whole = false
	case 4:
		r.headers = append(r.headers, "Ferry-Properties: "+pick(g, `{"a":`+strings.Repeat("[", 8000)+`}`, `{"a":1}`, `[]`, `{"":"x"}`, "\xff", `{"a":"b","a":"c"}`, "{"+strings.Repeat(`"k":"v",`, 2000)+"}"))
	case 5:
		r.headers = append(r.headers, "BrokerProperties: "+pick(g, "{", `{"TimeToLive":1e308}`, `{"ScheduledEnqueueTimeUtc":"never"}`, `{"MessageId":"`+strings.Repeat("m", 5000)+`"}`, "null", `{"SessionId":"\u0000"}`, strings.Repeat("{", 9000)))
	case 6:
		r.headers = append(r.headers, pick(g, "Idempotency-Key: ", "Ferry-Correlation-Id: ", "Ferry-Ordering-Key: ", "Ferry-Time-To-Live: ", "Ferry-Callback-Url: ", "Ferry-Body-Ref: ", "Ferry-On-Conflict: ", "traceparent: ", "x-ms-workflow-run-id: ", "x-ms-action-tracking-id: ", "x-ms-client-tracking-id: ", "X-Request-Id: ", "X-Forwarded-For: ", "Forwarded: ", "X-Forwarded-Host: ", "Range: ")+
			pick(g, "", "\xff\xfe", strings.Repeat("z", 300), "\"", `"a\"`, "a\tb", "-1", "%00", "00-"+strings.Repeat("0", 32)+"-"+strings.Repeat("0", 16)+"-01", "https://127.0.0.1/x", "999999999999999999999d", "\x80"))
	case 7:
		r.headers[0] = pick(g, "Host: ", "Host: a b", "Host: "+strings.Repeat("h", 5000), "Host: [::1", "Host: x/../y", "Host: \xff", "X: no host")
		whole = false
	case 8:
		r.headers = append(r.headers, pick(g, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x", "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__", "Expect: the-impossible", "TE: trailers", "Connection: "+strings.Repeat("a,", 2000), "Trailer: Content-Length"))
		whole = false
	case 9:
		r.headers = append(r.headers, pick(g, " X-Folded: 1", "X-Folded: 1\r\n 2", "X Space: 1", "X-Colon : 1", ": none", "no colon", "X-Null: a\x00b", "X-Cr: a\rb", "X-Bare: a\nX-Other: b", "\x00: 1", "X-\xc3\xa4: 1"))
		whole = false
	case 10:
		r.version = pick(g, "HTTP/1.0", "HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/3", "http/1.1", "HTTP/1.1 ", "", "HTTP/"+strings.Repeat("1", 500))
		whole = false
	default:
		r.headers = append(r.headers, "Origin: "+pick(g, "null", "https://evil.example", strings.Repeat("o", 3000), "https://portal.example\x00"), "Access-Control-Request-Method: "+pick(g, "POST", "\xff", ""), "Access-Control-Request-Headers: "+strings.Repeat("a,", g.r.IntN(3000)))
		r.method = "OPTIONS"
	}
	return r.bytes(), whole
}

// hostileLogin is a key that is none.
func (g *Generator) hostileLogin() ([]byte, bool) {
	r := g.sane()
	good := pick(g, g.t.Keys...)
	r.headers[1] = pick(g, "Authorization: Bearer "+good[:len(good)-1], "Authorization: Bearer fry_x_y_z", "Authorization: Bearer "+strings.Repeat("_", 20_000), "Authorization: Bearer", "Authorization: "+good, "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte("a:"+good)),
		"Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.", "Authorization: Bearer "+strings.Repeat("eyJ", 3000)+".."+strings.Repeat("A", 3000), "Authorization: bearer\t"+good, "Ocp-Apim-Subscription-Key: \xff",
		"Authorization: SharedAccessSignature sr=&sig=&se=&skn=", "Authorization: SharedAccessSignature sr=http%3A%2F%2Fx&sig=AAAA&se=99999999999999999999&skn=flows", "Authorization: SharedAccessSignature "+strings.Repeat("a=b&", 3000), "Authorization: SharedAccessSignature sr=%zz&sig=%zz&se=-1&skn=%zz",
		"Cookie: key="+good, "Proxy-Authorization: Bearer "+good, "X-None: 1", "Authorization: Negotiate "+strings.Repeat("A", 9000), "Authorization: Bearer "+good+", Bearer "+good)
	return r.bytes(), true
}

// framing is about where a request ends: what smuggles a second one past a proxy.
func (g *Generator) framing() ([]byte, bool) {
	r := g.sane()
	r.method, r.target = "POST", "/v1/routes/"+pick(g, g.t.Routes...)+"/messages"
	hidden := "GET /v1/keys HTTP/1.1\r\nHost: b\r\n\r\n"
	body := `{"number":1}`
	switch g.r.IntN(10) {
	case 0: // both lengths
		r.headers = append(r.headers, "Transfer-Encoding: chunked")
		r.length, r.body = strconv.Itoa(len(body)), []byte("0\r\n\r\n"+hidden)
	case 1: // two lengths
		r.headers = append(r.headers, "Content-Length: "+strconv.Itoa(len(body)+7))
		r.body = []byte(body)
	case 2:
		r.headers = append(r.headers, "Transfer-Encoding: "+pick(g, "xchunked", "chunked, identity", "identity, chunked", "chunked, chunked", "gzip, chunked", "\tchunked", "chunked\x0b", "CHUNKED", "", "chunked;a=b", "c\u0068unked"))
		r.length, r.body = "-", []byte("c\r\n"+body+"\r\n0\r\n\r\n")
	case 3:
		r.headers = append(r.headers, "Transfer-Encoding: chunked")
		size := pick(g, "ffffffffffffffff", "-1", "0x5", "5 ", " 5", "5;"+strings.Repeat("x", 20_000), "g", "", "00000000000000000000005", "7fffffffffffffff", "5\n")
		r.length, r.body = "-", []byte(size+"\r\nhello\r\n0\r\n\r\n")
	case 4:
		r.length, r.body = pick(g, "-5", "+5", "5 5", "5,5", "0x5", "5.0", "99999999999999999999", "9223372036854775807", "１２", "5\t", "", " "), []byte("hello")
		if r.length == "" {
			r.length = "-"
		}
	case 5: // longer than it is
		r.length, r.body = strconv.Itoa(len(body)+1+g.r.IntN(1<<20)), []byte(body)
	case 6: // shorter than it is
		r.length, r.body = strconv.Itoa(g.r.IntN(len(body))), []byte(body+hidden)
	case 7: // trailers
		r.headers = append(r.headers, "Transfer-Encoding: chunked", "Trailer: X-A")
		r.length, r.body = "-", []byte("c\r\n"+body+"\r\n0\r\nX-A: 1\r\nAuthorization: Bearer x\r\nContent-Length: 5\r\n\r\n")
	case 8: // very many small chunks
		r.headers = append(r.headers, "Transfer-Encoding: chunked")
		r.length, r.body = "-", []byte(strings.Repeat("1\r\n \r\n", g.r.IntN(20_000))+"0\r\n\r\n")
	default: // bare line feeds
		return bytes.ReplaceAll(r.bytes(), []byte("\r\n"), []byte("\n")), false
	}
	return r.bytes(), false
}

package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"ferry"
)

// budget bounds the memory of all request bodies together.
type budget struct {
	most int64
	used atomic.Int64
}

// take says whether n more bytes fit for a request that has held some before.
// One that is alone always fits, so that a body of the largest size can pass
// whatever the bound.
func (b *budget) take(n, held int64) bool {
	used := b.used.Add(n)
	if used > b.most && used != n+held {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *budget) give(n int64) {
	if n != 0 {
		b.used.Add(-n)
	}
}

// Reading bodies. Up to firstRead is read under the server's ReadTimeout alone;
// beyond it each bodyStep has bodyPace to arrive, so that a large body may take
// its time but never stand still. A message beyond ferry.InlineBody is not held
// in memory at all: see upload.go.
const (
	firstRead = 1 << 20
	bodyStep  = 1 << 20
	bodyPace  = time.Minute
)

// readBody reads the whole body, at most limit bytes. A Content-Length beyond
// the limit is refused before a byte is read; a chunked body as soon as it is
// beyond. hint says what the limit is.
func (c *call) readBody(limit int64, hint string) ([]byte, error) {
	if c.r.ContentLength > limit {
		return nil, tooLarge(limit, hint)
	}
	body, more, err := c.readUpTo(limit)
	if more {
		return nil, tooLarge(limit, hint)
	}
	return body, err
}

// readUpTo reads the body into memory. more: it is longer than limit bytes, and
// what was read is its beginning.
func (c *call) readUpTo(limit int64) (buf []byte, more bool, err error) {
	length := c.r.ContentLength
	if length == 0 {
		return nil, false, nil
	}
	size := length
	if size < 0 {
		size = 8 << 10
	}
	if buf, err = c.grow(nil, min(size, firstRead, limit)+1); err != nil { // one more, to see the end
		return nil, false, err
	}
	for {
		n, err := c.r.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		c.read += int64(n)
		switch {
		case int64(len(buf)) > limit:
			return buf, true, nil
		case errors.Is(err, io.EOF):
			return buf, false, nil
		case err != nil:
			return nil, false, readFault(err)
		case length >= 0 && int64(len(buf)) == length:
			return buf, false, nil
		case len(buf) == cap(buf):
			want := min(2*int64(cap(buf)), limit+1)
			if length >= 0 {
				want = min(want, length+1)
			}
			if buf, err = c.grow(buf, want); err != nil {
				return nil, false, err
			}
		}
	}
}

// grow gives buf the capacity, paying from the budget, and more time to a large
// body.
func (c *call) grow(buf []byte, capacity int64) ([]byte, error) {
	// While it is copied, the old buffer counts too; its part comes back after.
	if !c.api.bodies.take(capacity, c.held) {
		return nil, ferry.Errorf(ferry.CodeTooManyRequests, "the broker holds as many bodies as it has memory for").
			WithHint("send again after the time in Retry-After")
	}
	c.held += capacity
	if capacity > firstRead+1 {
		rc := http.NewResponseController(c.w)
		until := time.Now().Add(bodyPace * time.Duration(1+(capacity-int64(len(buf)))/bodyStep))
		_ = rc.SetReadDeadline(until) // not supported: the server's limits alone
		_ = rc.SetWriteDeadline(until.Add(bodyPace))
	}
	bigger := make([]byte, len(buf), capacity)
	copy(bigger, buf)
	c.api.bodies.give(int64(cap(buf)))
	c.held -= int64(cap(buf))
	return bigger, nil
}

func tooLarge(limit int64, hint string) error {
	return ferry.Errorf(ferry.CodeTooLarge, "the body is larger than %d bytes", limit).WithHint("%s", hint)
}

func readFault(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ferry.Errorf(ferry.CodeBadRequest, "the body came too slowly")
	}
	return ferry.Errorf(ferry.CodeBadRequest, "the body ended before its length")
}

// maxCommand bounds the JSON of requests that carry no payload, bytes.
const maxCommand = 1 << 20

// decode reads a JSON request into v. An empty body leaves v as it is, when that
// is allowed; members that v does not have are refused.
func (c *call) decode(v any, limit int64, mayBeEmpty bool) error {
	data, err := c.jsonBody(limit)
	if err != nil {
		return err
	}
	if len(data) == 0 && mayBeEmpty {
		return nil
	}
	if fault := unmarshal(data, v); fault != nil {
		return fault
	}
	return nil
}

// jsonBody reads a body that must be JSON, without the byte order mark that some
// shells put in front.
func (c *call) jsonBody(limit int64) ([]byte, error) {
	if err := c.checkEncoding(); err != nil {
		return nil, err
	}
	if ct := c.r.Header.Get("Content-Type"); ct != "" && !isJSON(ct) {
		return nil, ferry.Errorf(ferry.CodeUnsupportedMedia, "the content type %q is not taken here", clip(ct)).
			WithHint("send application/json")
	}
	data, err := c.readBody(limit, "send less at a time")
	return bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\ufeff"))), err
}

// checkEncoding takes bodies as they are only: the body that is hashed, kept and
// delivered is the one that was sent.
func (c *call) checkEncoding() error {
	for _, v := range c.r.Header["Content-Encoding"] {
		if v != "" && !strings.EqualFold(v, "identity") {
			return ferry.Errorf(ferry.CodeUnsupportedMedia, "the content encoding %q is not taken", clip(v)).
				WithHint("send the body as it is, without Content-Encoding")
		}
	}
	return nil
}

// unmarshal reads one strict JSON value. It is nil when all is well.
func unmarshal(data []byte, v any) *ferry.Error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		return ferry.Errorf(ferry.CodeBadRequest, "something follows the JSON value")
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		e := ferry.Errorf(ferry.CodeInvalid, "%s cannot be a JSON %s", member(wrong.Field), wrong.Value)
		e.Details = []ferry.ErrorDetail{{Detail: e.Message, Pointer: pointer(wrong.Field)}}
		return e
	}
	if e, ok := errors.AsType[*ferry.Error](err); ok {
		return e
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return ferry.Errorf(ferry.CodeBadRequest, "the body is not JSON: at byte %d, %v", syntax.Offset, syntax)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ferry.Errorf(ferry.CodeBadRequest, "the body is not JSON: it ends too early")
	}
	return ferry.Errorf(ferry.CodeBadRequest, "the body cannot be read: %s", strings.TrimPrefix(err.Error(), "json: "))
}

func member(path string) string {
	if path == "" {
		return "the body"
	}
	return path
}

// pointer makes a JSON pointer of encoding/json's dotted path.
func pointer(path string) string {
	if path == "" {
		return ""
	}
	return "/" + strings.ReplaceAll(path, ".", "/")
}

// isJSON says whether a content type is one of JSON.
func isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return false
	}
	return media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json")
}

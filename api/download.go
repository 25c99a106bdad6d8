package api

import (
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"ferry"
)

// getBody answers the payload to the byte, or the part of it that Range asks for;
// it was held against its hash before the first byte is sent. It is a stranger's
// data on the broker's own address: no browser may show it as a page.
func (c *call) getBody() error {
	revision, err := c.number("revision", 1, 1<<30, 0)
	if err != nil {
		return err
	}
	e, err := c.envelope()
	if err != nil {
		return err
	}
	body, err := c.api.svc.OpenBody(c.ctx(), e.ID, revision)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	tag := `"` + hex.EncodeToString(body.SHA256) + `"`
	h := c.w.Header()
	h["Content-Type"] = []string{firstOf(body.ContentType, "application/octet-stream")}
	h["Content-Disposition"] = []string{`attachment; filename="` + e.ID.String() + `"`}
	h["Content-Security-Policy"] = []string{"sandbox; default-src 'none'"}
	h["Accept-Ranges"] = []string{"bytes"}
	h["Etag"] = []string{tag}
	// Of the whole body, whatever part is asked for (RFC 9530).
	h["Repr-Digest"] = []string{"sha-256=:" + base64.StdEncoding.EncodeToString(body.SHA256) + ":"}

	status, from, length := http.StatusOK, int64(0), body.Size
	wanted := c.r.Header.Get("Range")
	if condition := c.r.Header.Get("If-Range"); condition != "" && condition != tag {
		wanted = ""
	}
	if first, n, ok := byteRange(wanted, body.Size); ok {
		status, from, length = http.StatusPartialContent, first, n
		h["Content-Range"] = []string{"bytes " + strconv.FormatInt(first, 10) + "-" + strconv.FormatInt(first+n-1, 10) + "/" + strconv.FormatInt(body.Size, 10)}
		if _, err := body.Seek(from, io.SeekStart); err != nil {
			return err
		}
	}
	if length > firstRead {
		rc := http.NewResponseController(c.w)
		_ = rc.SetWriteDeadline(time.Now().Add(bodyPace * time.Duration(1+length/bodyStep)))
	}
	c.stream(status, length, &body)
	return nil
}

// byteRange reads a Range of one part that lies in a body of size bytes. Of any
// other the whole body is sent, as RFC 9110 allows.
func byteRange(text string, size int64) (from, n int64, ok bool) {
	spec, isBytes := strings.CutPrefix(text, "bytes=")
	first, last, hasDash := strings.Cut(strings.TrimSpace(spec), "-")
	if !isBytes || !hasDash || size == 0 {
		return 0, 0, false
	}
	to := size - 1
	if last != "" {
		v, err := strconv.ParseUint(last, 10, 63)
		if err != nil {
			return 0, 0, false
		}
		if first == "" { // so many at the end
			n = min(int64(v), size)
			return size - n, n, n > 0
		}
		to = min(to, int64(v))
	}
	v, err := strconv.ParseUint(first, 10, 63)
	if err != nil || int64(v) > to {
		return 0, 0, false
	}
	return int64(v), to - int64(v) + 1, true
}

// stream answers length bytes of a body. When they cannot be read, the connection
// ends before all of them came, and the caller sees that.
func (c *call) stream(status int, length int64, body *ferry.BodyReader) {
	c.status, c.wrote = status, true
	c.w.Header()["Content-Length"] = []string{strconv.FormatInt(length, 10)}
	c.w.WriteHeader(status)
	if c.r.Method == http.MethodHead {
		return
	}
	if _, err := io.CopyN(c.w, body.ReadSeekCloser, length); err != nil {
		c.api.log.Warn("a body was not sent whole", "requestId", c.id, "bytes", length, "error", err)
	}
}

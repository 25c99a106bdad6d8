package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"ferry"
)

const maxBytesHint = "the route's limit is maxBytes in the broker's configuration"

// takePayload reads a message's body, of at most limit bytes: into memory when the
// ledger itself will hold it; a larger one goes through to a file beside the ledger
// as it comes, and takes no part of the memory for bodies.
func (c *call) takePayload(m *ferry.Message, limit int64) error {
	if c.r.ContentLength > limit {
		return tooLarge(limit, maxBytesHint)
	}
	if c.r.ContentLength > ferry.InlineBody {
		return c.stage(m, c.r.Body, limit)
	}
	body, more, err := c.readUpTo(min(limit, ferry.InlineBody))
	switch {
	case err != nil:
		return err
	case !more:
		m.Body = body
		return nil
	case limit <= ferry.InlineBody:
		return tooLarge(limit, maxBytesHint)
	}
	// Its length was not known before; what was read of it goes first.
	return c.stage(m, io.MultiReader(bytes.NewReader(body), c.r.Body), limit)
}

// stage passes the body on to the ledger's folder.
func (c *call) stage(m *ferry.Message, from io.Reader, limit int64) error {
	r := &pacedReader{from: from, rc: http.NewResponseController(c.w)}
	staged, err := c.api.svc.StageBody(c.ctx(), m.Route, r, limit)
	c.read = r.read
	c.api.bodies.give(c.held)
	c.held = 0
	switch {
	case err == nil:
		m.Staged = &staged
		return nil
	case r.fault != nil:
		return readFault(r.fault)
	case ferry.CodeOf(err) == ferry.CodeTooLarge:
		err = tooLarge(limit, maxBytesHint)
	}
	if r.read > 0 || c.r.Header.Get("Expect") == "" { // who waits to be asked for the body has sent none
		r.drain(limit)
	}
	return err
}

// drainTime is how long the rest of a body is read that is refused.
const drainTime = 5 * time.Second

// drain reads on for a while: a sender that is still writing when the connection
// ends may never see why it was refused.
func (r *pacedReader) drain(most int64) {
	_ = r.rc.SetReadDeadline(time.Now().Add(drainTime))
	_, _ = io.CopyN(io.Discard, r.from, most)
}

// pacedReader gives each bodyStep of a body bodyPace to arrive, and keeps what
// ended it early.
type pacedReader struct {
	from        io.Reader
	rc          *http.ResponseController
	read, until int64 // bytes read, and up to which the deadline stands
	fault       error
}

func (r *pacedReader) Read(p []byte) (int, error) {
	if r.read >= r.until {
		r.until = r.read + bodyStep
		deadline := time.Now().Add(bodyPace)
		_ = r.rc.SetReadDeadline(deadline) // not supported: the server's limits alone
		_ = r.rc.SetWriteDeadline(deadline.Add(bodyPace))
	}
	n, err := r.from.Read(p)
	r.read += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		r.fault = err
	}
	return n, err
}

// notingReader keeps what ended a body early that comes from elsewhere: the
// deadlines of the caller's connection are no matter of it.
type notingReader struct {
	from  io.Reader
	fault error
}

func (r *notingReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.fault = err
	}
	return n, err
}

// referredTime is how long a blob may take to be read: an account that stands still
// must not keep one of the few places for bodies on their way.
const referredTime = 5 * time.Minute

func brokenOff() error {
	return ferry.Errorf(ferry.CodeBodyRefUnavailable, "the blob that bodyRef names did not come whole").
		WithHint("send again after the time in Retry-After")
}

// takeReferred reads a body from where the sender says that it lies. The message is
// accepted with the body, as any other: what becomes of the blob afterwards does
// not matter.
func (c *call) takeReferred(m *ferry.Message, url string, limit int64) error {
	if n, _ := c.r.Body.Read(make([]byte, 1)); n > 0 {
		return ferry.Errorf(ferry.CodeBadBodyRef, "the request has a body, and bodyRef names another one").WithHint("leave one of the two out")
	}
	// The server's limits are those of a body that comes over the connection; when they
	// pass it takes the caller for gone.
	c.allow(referredTime)
	ctx, cancel := context.WithTimeout(c.ctx(), referredTime)
	defer cancel()
	blob, contentType, err := c.api.svc.OpenBodyRef(ctx, url)
	if err != nil && ctx.Err() != nil && c.ctx().Err() == nil {
		return brokenOff()
	}
	if err != nil {
		return err
	}
	defer func() { _ = blob.Close() }()
	r := &notingReader{from: blob}
	staged, err := c.api.svc.StageBody(c.ctx(), m.Route, r, limit)
	switch {
	case r.fault != nil && c.ctx().Err() == nil:
		return brokenOff()
	case ferry.CodeOf(err) == ferry.CodeTooLarge:
		return tooLarge(limit, maxBytesHint)
	case err != nil:
		return err
	}
	m.Staged = &staged
	if m.ContentType == "" && len(contentType) <= maxContentType && plain(contentType) {
		m.ContentType = contentType
	}
	return nil
}

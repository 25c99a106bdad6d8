package client

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"time"

	"ferry"
)

// bodyPace is how long a mebibyte of a body may take beyond the client's time-out.
const bodyPace = time.Minute

// SendFrom is Send with a body that is read while it is sent, for those that are
// too large for memory; m's own is left out. size is its length in bytes; negative:
// until it ends, which some proxies do not take.
func (c *Client) SendFrom(ctx context.Context, route string, m ferry.Message, body io.Reader, size int64) (ferry.Accepted, error) {
	req, err := c.sending(ctx, route, &m, []byte{})
	if err != nil {
		return ferry.Accepted{}, err
	}
	if size != 0 {
		// It cannot be rewound: net/http must not send it again.
		req.Body, req.GetBody, req.ContentLength = io.NopCloser(body), nil, size
	}
	var a ferry.Accepted
	err = c.patient(size).do(req, &a)
	return a, err
}

// patient is the client with as much time as a body of size bytes may take.
func (c *Client) patient(size int64) *Client {
	if size < 0 {
		size = ferry.MaxBody
	}
	if c.http.Timeout == 0 || size <= ferry.InlineBody {
		return c
	}
	slow, calls := *c, *c.http
	calls.Timeout += bodyPace * time.Duration(1+size>>20)
	slow.http = &calls
	return &slow
}

// Body is a message's payload on its way. Reading it to its end holds it against
// the hash that the broker told: io.EOF means that all of it came, as it was
// accepted.
type Body struct {
	ContentType string
	Size        int64 // bytes

	answer io.ReadCloser
	sum    hash.Hash
	digest string // as the broker told it; empty: it did not
}

// Read reads the next of it.
func (b *Body) Read(p []byte) (int, error) {
	n, err := b.answer.Read(p)
	b.sum.Write(p[:n])
	if errors.Is(err, io.EOF) && b.digest != "" && b.digest != digestOf(b.sum) {
		err = errors.New("the body was altered on its way: its SHA-256 is not what the broker told")
	}
	return n, err
}

// Close ends the reading.
func (b *Body) Close() error { return b.answer.Close() }

func digestOf(sum hash.Hash) string {
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum.Sum(nil)) + ":"
}

// OpenBody opens a message's payload; revision 0 means the current one. Who opens
// it closes it. It never comes whole into memory.
func (c *Client) OpenBody(ctx context.Context, id string, revision int) (*Body, error) {
	q := url.Values{}
	if revision != 0 {
		q.Set("revision", itoa(revision))
	}
	req, err := c.request(ctx, http.MethodGet, "/v1/messages/"+seg(id)+"/body", q, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.patient(ferry.MaxBody).http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the broker at %s: %w", c.base, unwrapURL(err))
	}
	if resp.StatusCode >= 300 {
		defer closeBody(resp.Body)
		return nil, readProblem(resp)
	}
	return &Body{
		ContentType: resp.Header.Get("Content-Type"), Size: resp.ContentLength,
		answer: resp.Body, sum: sha256.New(), digest: resp.Header.Get("Repr-Digest"),
	}, nil
}

// Body reads a message's payload and content type into memory, at most
// ferry.MaxBody bytes; revision 0 means the current one.
func (c *Client) Body(ctx context.Context, id string, revision int) ([]byte, string, error) {
	b, err := c.OpenBody(ctx, id, revision)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = b.Close() }() // all that is wanted was read
	data, err := readAll(b, ferry.MaxBody)
	if err != nil {
		return nil, "", fmt.Errorf("read the broker's answer: %w", err)
	}
	return data, b.ContentType, nil
}

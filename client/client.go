// Package client is the typed client of the broker's HTTP interface: one method
// per endpoint, in the nouns of package ferry.
//
// An answer that refuses comes back as a *ferry.Error with the broker's code,
// sentence, hint and request id; ferry.CodeOf asks for the code. No call is
// repeated by itself: a write that failed on the way may be repeated by the
// caller when it carries an idempotency key.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ferry"
)

// Options of a Client; the zero value is good.
type Options struct {
	// HTTP makes the calls; nil: a client with a time-out of two minutes that
	// follows no redirects, so that the key goes nowhere else.
	HTTP *http.Client
	// RootCAs is what the broker's certificate is checked against; nil: the system's.
	// It means nothing beside HTTP.
	RootCAs *x509.CertPool
	// UserAgent names the program; empty: "ferry-client".
	UserAgent string
}

// Client calls one broker with one key. It may be used concurrently.
type Client struct {
	base      string // without a trailing slash
	key       string
	userAgent string
	http      *http.Client
}

// maxAnswer bounds what is read of a JSON answer, bytes.
const maxAnswer = 64 << 20

// New makes a client of the broker at baseURL, such as http://127.0.0.1:8080.
// An empty key is for the endpoints that need none. The error's code is
// ferry.CodeBadRequest when the URL cannot be a broker's.
func New(baseURL, key string, opts Options) (*Client, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" {
		// The text is not repeated: it may hold a password.
		return nil, ferry.Errorf(ferry.CodeBadRequest, "the server's URL cannot be used").
			WithHint("it looks like https://broker.example or http://127.0.0.1:8080, without user, query and fragment")
	}
	c := &Client{
		base:      strings.TrimRight(u.String(), "/"),
		key:       strings.TrimSpace(key),
		userAgent: opts.UserAgent,
		http:      opts.HTTP,
	}
	if c.userAgent == "" {
		c.userAgent = "ferry-client"
	}
	if c.http == nil {
		c.http = &http.Client{
			Timeout: 2 * time.Minute,
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		}
		if system, ok := http.DefaultTransport.(*http.Transport); ok && opts.RootCAs != nil {
			own := system.Clone()
			own.TLSClientConfig = &tls.Config{RootCAs: opts.RootCAs, MinVersion: tls.VersionTLS12}
			c.http.Transport = own
		}
	}
	return c, nil
}

// Server is the broker's URL, without a trailing slash.
func (c *Client) Server() string { return c.base }

// get reads a JSON answer into out.
func (c *Client) get(ctx context.Context, path string, query url.Values, out any) error {
	return c.call(ctx, http.MethodGet, path, query, nil, out)
}

// post sends in as JSON (nil: no body) and reads a JSON answer into out.
func (c *Client) post(ctx context.Context, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("write the request: %w", err)
		}
	}
	return c.call(ctx, http.MethodPost, path, nil, body, out)
}

func (c *Client) call(ctx context.Context, method, path string, query url.Values, body []byte, out any) error {
	req, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return c.do(req, out)
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, body []byte) (*http.Request, error) {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, reader)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	req.Header.Set("User-Agent", c.userAgent)
	return req, nil
}

// do reads the whole JSON answer into out.
func (c *Client) do(req *http.Request, out any) error {
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("cannot reach the broker at %s: %w", c.base, unwrapURL(err))
	}
	defer closeBody(resp.Body)
	if resp.StatusCode >= 300 {
		return readProblem(resp)
	}
	if out == nil {
		return nil
	}
	return readJSON(resp, out)
}

// raw reads the whole answer as it is, at most limit bytes.
func (c *Client) raw(ctx context.Context, path string, query url.Values, limit int64) ([]byte, http.Header, error) {
	req, err := c.request(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return nil, nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot reach the broker at %s: %w", c.base, unwrapURL(err))
	}
	defer closeBody(resp.Body)
	if resp.StatusCode >= 300 {
		return nil, nil, readProblem(resp)
	}
	data, err := readAll(resp.Body, limit)
	if err != nil {
		return nil, nil, fmt.Errorf("read the broker's answer: %w", err)
	}
	return data, resp.Header, nil
}

func readAll(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("it is longer than %d bytes", limit)
	}
	return data, err
}

// closeBody reads a short rest so that the connection can serve again.
func closeBody(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 4<<10)
	_ = body.Close()
}

// unwrapURL takes the method and URL off the error: the message names the
// broker already, and a query may hold what a person searched for.
func unwrapURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// seg makes one path segment of s.
func seg(s string) string { return url.PathEscape(s) }

package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"ferry"
)

// Prove reads the proof that nothing was lost: what each route and day counts, and
// what does not add up. It takes seconds per million messages; ctx bounds it.
func (c *Client) Prove(ctx context.Context, req ferry.ProofRequest) (ferry.Proof, error) {
	query := url.Values{}
	if req.Route != "" {
		query.Set("route", req.Route)
	}
	if !req.Since.IsZero() {
		query.Set("since", req.Since.UTC().Format(time.RFC3339))
	}
	if req.Deep {
		query.Set("deep", "true")
	}
	var proof ferry.Proof
	err := c.waiting().get(ctx, "/v1/reconciliation", query, &proof)
	return proof, err
}

// Doctor asks what needs attention.
func (c *Client) Doctor(ctx context.Context) (ferry.Diagnosis, error) {
	var d ferry.Diagnosis
	err := c.waiting().get(ctx, "/v1/doctor", nil, &d)
	return d, err
}

// Backup begins a backup. The caller reads it to its end, and closes it; only one
// that ends with its checksums is whole.
func (c *Client) Backup(ctx context.Context) (io.ReadCloser, error) {
	req, err := c.request(ctx, http.MethodPost, "/v1/backup", nil, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.waiting().http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("cannot reach the broker at %s: %w", c.base, unwrapURL(err))
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		defer closeBody(resp.Body)
		return nil, readProblem(resp)
	}
	return resp.Body, nil
}

// waiting is the client without a time-out of its own.
func (c *Client) waiting() *Client {
	own, calls := *c, *c.http
	calls.Timeout = 0
	own.http = &calls
	return &own
}

package client

import (
	"context"

	"ferry"
)

// CreateKey makes an API key; its text is in the answer and nowhere else.
func (c *Client) CreateKey(ctx context.Context, spec ferry.KeySpec) (ferry.NewKey, error) {
	in := struct {
		Name      string      `json:"name"`
		Role      ferry.Role  `json:"role"`
		Routes    []string    `json:"routes,omitempty"`
		ExpiresAt string      `json:"expiresAt,omitempty"`
		Limit     ferry.Limit `json:"limit,omitzero"`
	}{spec.Name, spec.Role, spec.Routes, formatTime(spec.Expires), spec.Limit}
	var k ferry.NewKey
	err := c.post(ctx, "/v1/keys", in, &k)
	return k, err
}

// Keys lists the API keys, without their text.
func (c *Client) Keys(ctx context.Context) ([]ferry.Key, error) {
	return list[ferry.Key](ctx, c, "/v1/keys", nil)
}

// RotateKey gives a key another text; the old one ends.
func (c *Client) RotateKey(ctx context.Context, id string) (ferry.NewKey, error) {
	var k ferry.NewKey
	err := c.post(ctx, "/v1/keys/"+seg(id)+"/rotate", nil, &k)
	return k, err
}

// RevokeKey ends a key at once.
func (c *Client) RevokeKey(ctx context.Context, id string) (ferry.Key, error) {
	var k ferry.Key
	err := c.post(ctx, "/v1/keys/"+seg(id)+"/revoke", nil, &k)
	return k, err
}

// AddWorker makes a worker for the routes; its seed is in the answer and nowhere
// else.
func (c *Client) AddWorker(ctx context.Context, name string, routes []string) (ferry.NewWorker, error) {
	in := struct {
		Name   string   `json:"name"`
		Routes []string `json:"routes"`
	}{name, routes}
	var w ferry.NewWorker
	err := c.post(ctx, "/v1/workers", in, &w)
	return w, err
}

// Workers lists the workers.
func (c *Client) Workers(ctx context.Context) ([]ferry.WorkerInfo, error) {
	return list[ferry.WorkerInfo](ctx, c, "/v1/workers", nil)
}

// RotateWorker gives a worker another seed; the old one ends.
func (c *Client) RotateWorker(ctx context.Context, name string) (ferry.NewWorker, error) {
	var w ferry.NewWorker
	err := c.post(ctx, "/v1/workers/"+seg(name)+"/rotate", nil, &w)
	return w, err
}

// RevokeWorker cuts a worker off at once.
func (c *Client) RevokeWorker(ctx context.Context, name string) (ferry.WorkerInfo, error) {
	var w ferry.WorkerInfo
	err := c.post(ctx, "/v1/workers/"+seg(name)+"/revoke", nil, &w)
	return w, err
}

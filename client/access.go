package client

import (
	"context"

	"ferry"
)

// CreateKey makes an API key; its text is in the answer and nowhere else.
func (c *Client) CreateKey(ctx context.Context, spec ferry.KeySpec) (ferry.NewKey, error) {
	in := struct {
		Name        string      `json:"name"`
		Role        ferry.Role  `json:"role"`
		Routes      []string    `json:"routes,omitempty"`
		ExpiresAt   string      `json:"expiresAt,omitempty"`
		Environment string      `json:"environmentId,omitempty"`
		Note        string      `json:"note,omitempty"`
		Limit       ferry.Limit `json:"limit,omitzero"`
	}{spec.Name, spec.Role, spec.Routes, formatTime(spec.Expires), spec.Environment, spec.Note, spec.Limit}
	var k ferry.NewKey
	err := c.post(ctx, "/v1/keys", in, &k)
	return k, err
}

// Keys lists the API keys, without their text.
func (c *Client) Keys(ctx context.Context) ([]ferry.Key, error) {
	return list[ferry.Key](ctx, c, "/v1/keys", nil)
}

// RotateKey gives one of a key's secrets another text: primary, secondary, or with
// neither the older one. The other goes on.
func (c *Client) RotateKey(ctx context.Context, id, secret, note string) (ferry.NewKey, error) {
	in := struct {
		Secret string `json:"secret,omitempty"`
		Note   string `json:"note,omitempty"`
	}{secret, note}
	var k ferry.NewKey
	if secret == "" && note == "" {
		err := c.post(ctx, "/v1/keys/"+seg(id)+"/rotate", nil, &k)
		return k, err
	}
	err := c.post(ctx, "/v1/keys/"+seg(id)+"/rotate", in, &k)
	return k, err
}

// EditKey changes what a key may, and until when; its secrets stay.
func (c *Client) EditKey(ctx context.Context, id string, edit ferry.KeyEdit) (ferry.Key, error) {
	in := struct {
		ExpiresAt   *string      `json:"expiresAt,omitempty"`
		Routes      *[]string    `json:"routes,omitempty"`
		Environment *string      `json:"environmentId,omitempty"`
		Limit       *ferry.Limit `json:"limit,omitempty"`
		Note        string       `json:"note,omitempty"`
	}{Routes: edit.Routes, Environment: edit.Environment, Limit: edit.Limit, Note: edit.Note}
	if edit.Expires != nil {
		at := formatTime(*edit.Expires)
		in.ExpiresAt = &at
	}
	var k ferry.Key
	err := c.post(ctx, "/v1/keys/"+seg(id)+"/edit", in, &k)
	return k, err
}

// RevokeKey ends a key at once, both of its secrets.
func (c *Client) RevokeKey(ctx context.Context, id, note string) (ferry.Key, error) {
	var k ferry.Key
	err := c.post(ctx, "/v1/keys/"+seg(id)+"/revoke", noted(note), &k)
	return k, err
}

// AddWorker makes a worker for the routes; its seed is in the answer and nowhere
// else.
func (c *Client) AddWorker(ctx context.Context, name string, routes []string, note string) (ferry.NewWorker, error) {
	in := struct {
		Name   string   `json:"name"`
		Routes []string `json:"routes"`
		Note   string   `json:"note,omitempty"`
	}{name, routes, note}
	var w ferry.NewWorker
	err := c.post(ctx, "/v1/workers", in, &w)
	return w, err
}

// Workers lists the workers.
func (c *Client) Workers(ctx context.Context) ([]ferry.WorkerInfo, error) {
	return list[ferry.WorkerInfo](ctx, c, "/v1/workers", nil)
}

// RotateWorker gives a worker another seed; the old one ends.
func (c *Client) RotateWorker(ctx context.Context, name, note string) (ferry.NewWorker, error) {
	var w ferry.NewWorker
	err := c.post(ctx, "/v1/workers/"+seg(name)+"/rotate", noted(note), &w)
	return w, err
}

// RevokeWorker cuts a worker off at once.
func (c *Client) RevokeWorker(ctx context.Context, name, note string) (ferry.WorkerInfo, error) {
	var w ferry.WorkerInfo
	err := c.post(ctx, "/v1/workers/"+seg(name)+"/revoke", noted(note), &w)
	return w, err
}

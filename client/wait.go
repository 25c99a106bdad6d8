package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"ferry"
)

// Waiting is a message that was accepted, and where its end is told.
type Waiting struct {
	ferry.Accepted
	Location string        // absolute; whoever has it needs no key
	After    time.Duration // when to ask there first
}

// SendAndWait is Send for whom follows a 202: it says where the end of the message
// is told. Until is which end, ferry.WaitEnded when empty.
func (c *Client) SendAndWait(ctx context.Context, route string, m ferry.Message, until ferry.WaitFor) (Waiting, error) {
	body := m.Body
	if body == nil {
		body = []byte{}
	}
	req, err := c.sending(ctx, route, &m, body)
	if err != nil {
		return Waiting{}, err
	}
	req.URL.Path += "/wait"
	if until != "" {
		req.Header.Set("Ferry-Wait-For", string(until))
	}
	var w Waiting
	resp, err := c.patient(int64(len(body))).http.Do(req)
	if err != nil {
		return w, fmt.Errorf("cannot reach the broker at %s: %w", c.base, unwrapURL(err))
	}
	defer closeBody(resp.Body)
	if resp.StatusCode >= 300 {
		return w, readProblem(resp)
	}
	if err := readJSON(resp, &w.Accepted); err != nil {
		return w, err
	}
	w.Location, w.After = resp.Header.Get("Location"), pauseOf(resp.Header)
	return w, nil
}

// Result reads a message as whoever waits for its end does; until says which end,
// ferry.WaitEnded when empty. done is false while it is awaited.
func (c *Client) Result(ctx context.Context, id string, until ferry.WaitFor) (e ferry.Envelope, done bool, err error) {
	q := url.Values{}
	set(q, "waitFor", string(until))
	req, err := c.request(ctx, http.MethodGet, "/v1/messages/"+seg(id)+"/result", q, nil)
	if err != nil {
		return e, false, err
	}
	e, done, _, err = c.result(req)
	return e, done, err
}

// ResultAt asks a Location, without a key. after is when to ask again.
func (c *Client) ResultAt(ctx context.Context, location string) (e ferry.Envelope, done bool, after time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, location, http.NoBody)
	if err != nil {
		// The error repeats the URL, which stands for a key.
		return e, false, 0, ferry.Errorf(ferry.CodeBadRequest, "the location cannot be used")
	}
	req.Header.Set("User-Agent", c.userAgent)
	return c.result(req)
}

func (c *Client) result(req *http.Request) (e ferry.Envelope, done bool, after time.Duration, err error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return e, false, 0, fmt.Errorf("cannot reach the broker at %s: %w", c.base, unwrapURL(err))
	}
	defer closeBody(resp.Body)
	if resp.StatusCode >= 300 {
		return e, false, 0, readProblem(resp)
	}
	err = readJSON(resp, &e)
	return e, err == nil && resp.StatusCode == http.StatusOK, pauseOf(resp.Header), err
}

// Await asks for a message until it has ended, at first every 100 ms and slower
// and slower up to every 2 s. When ctx ends first, the message as last seen
// comes back with ctx's error.
func (c *Client) Await(ctx context.Context, id string) (ferry.Envelope, error) {
	return c.AwaitEnd(ctx, id, ferry.WaitEnded)
}

// AwaitEnd is Await for the end that until says.
func (c *Client) AwaitEnd(ctx context.Context, id string, until ferry.WaitFor) (ferry.Envelope, error) {
	var last ferry.Envelope
	for pause := 100 * time.Millisecond; ; pause = min(pause*3/2, 2*time.Second) {
		e, err := c.Message(ctx, id)
		if err == nil {
			last = e
		}
		if ctx.Err() != nil {
			return last, ctx.Err()
		}
		if err != nil || until.Over(e.State) {
			return last, err
		}
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// pauseOf is the Retry-After of an answer, 0 when it has none.
func pauseOf(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// readJSON reads the whole JSON answer into out.
func readJSON(resp *http.Response, out any) error {
	data, err := readAll(resp.Body, maxAnswer)
	if err != nil {
		return fmt.Errorf("read the broker's answer: %w", err)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return notABroker(resp, err)
	}
	return nil
}
